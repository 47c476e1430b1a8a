package tests

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// weir is one running gateway process.
type weir struct {
	t      testing.TB
	cmd    *exec.Cmd
	dir    string            // holds config.yaml; the process runs in it
	config string            // path of the config file
	vars   map[string]string // what @name stood for
	log    lockedBuffer      // stdout and stderr
	exited chan struct{}
	ended  bool   // the test has ended the process itself
	in     *space // network namespace of the process; nil: this one's
}

// base is the part of a config that tests do not care about.
const base = `
node: {name: test, data_dir: ""}
admin: {address: "@admin"}
telemetry: {access_log: {output: "off"}}
`

var placeholder = regexp.MustCompile(`@([a-z][a-z0-9_]*)`)

// startWeir runs `weir run` with a config in which @name stands for vars[name] or, for a name that is not there, for a free
// loopback address. It returns when /readyz answers 200. The process gets SIGTERM at the end of the test and must exit 0.
func startWeir(t testing.TB, config string, vars map[string]string) *weir {
	t.Helper()
	return startWeirAs(t, config, vars, weirBin)
}

// startWeirAs is startWeir with a command line of its own before `run -c`.
func startWeirAs(t testing.TB, config string, vars map[string]string, argv ...string) *weir {
	t.Helper()
	return startWeirIn(t, nil, config, vars, argv...)
}

// startWeirIn is startWeirAs in a space.
func startWeirIn(t testing.TB, in *space, config string, vars map[string]string, argv ...string) *weir {
	t.Helper()
	w := &weir{t: t, dir: t.TempDir(), vars: map[string]string{}, exited: make(chan struct{}), in: in}
	for k, v := range vars {
		w.vars[k] = v
	}
	w.vars["dir"] = w.dir
	w.config = filepath.Join(w.dir, "config.yaml")
	w.writeConfig(config)
	w.launch(argv...)
	w.waitReady()
	return w
}

// launch runs argv and `run -c` of the config, to be ended with the test.
func (w *weir) launch(argv ...string) {
	w.t.Helper()
	argv = append(argv, "run", "-c", w.config)
	w.cmd = exec.Command(argv[0], argv[1:]...)
	w.cmd.Dir, w.cmd.Stdout, w.cmd.Stderr = w.dir, &w.log, &w.log
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := w.in.do(w.cmd.Start); err != nil {
		w.t.Fatal(err)
	}
	go func() { w.cmd.Wait(); close(w.exited) }()
	w.t.Cleanup(w.cleanup)
}

// client reaches the addresses of the process.
func (w *weir) client() *http.Client {
	if w.in != nil {
		return w.in.client
	}
	return plainClient
}

// expand replaces every @name.
func (w *weir) expand(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(m string) string {
		name := m[1:]
		if _, ok := w.vars[name]; !ok {
			w.vars[name] = freeAddr(w.t)
		}
		return w.vars[name]
	})
}

// writeConfig replaces the config file at once, as an editor does that writes beside and renames.
func (w *weir) writeConfig(text string) {
	w.t.Helper()
	tmp := w.config + ".new"
	if err := os.WriteFile(tmp, []byte(w.expand(text)), 0o644); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(tmp, w.config); err != nil {
		w.t.Fatal(err)
	}
}

func (w *weir) waitReady() {
	w.t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		select {
		case <-w.exited:
			w.ended = true
			w.t.Fatalf("weir ended at start: %v\n%s", w.cmd.ProcessState, w.log.String())
		default:
		}
		resp, err := w.client().Get(w.adminURL("/readyz"))
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == 200 {
			return
		}
	}
	w.t.Fatalf("weir is not ready after 15 s\n%s", w.log.String())
}

// addr is the address that @name stood for.
func (w *weir) addr(name string) string {
	a, ok := w.vars[name]
	if !ok {
		w.t.Fatalf("no @%s in the config", name)
	}
	return a
}

func (w *weir) url(path string) string      { return "http://" + w.addr("web") + path }
func (w *weir) adminURL(path string) string { return "http://" + w.addr("admin") + path }

// signal sends a signal to the process.
func (w *weir) signal(s os.Signal) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(s); err != nil {
		w.t.Fatal(err)
	}
}

// wait returns the exit code, or fails the test if the process still runs after d.
func (w *weir) wait(d time.Duration) int {
	w.t.Helper()
	select {
	case <-w.exited:
		w.ended = true
		return w.cmd.ProcessState.ExitCode()
	case <-time.After(d):
		w.cmd.Process.Kill()
		<-w.exited
		w.ended = true
		w.t.Fatalf("weir still runs after %v\n%s", d, w.log.String())
		return -1
	}
}

// kill ends the process with SIGKILL.
func (w *weir) kill() {
	w.cmd.Process.Kill()
	<-w.exited
	w.ended = true
}

func (w *weir) cleanup() {
	if !w.ended {
		select {
		case <-w.exited:
			w.t.Errorf("weir ended by itself: %v", w.cmd.ProcessState)
		default:
			w.cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-w.exited:
				if c := w.cmd.ProcessState.ExitCode(); c != 0 {
					w.t.Errorf("weir exits %d after SIGTERM, want 0", c)
				}
			case <-time.After(40 * time.Second):
				w.cmd.Process.Kill()
				<-w.exited
				w.t.Errorf("weir does not end after SIGTERM")
			}
		}
	}
	log := w.log.String()
	for _, bad := range []string{"DATA RACE", "panic:", "BUG:", "fatal error:"} {
		if strings.Contains(log, bad) {
			w.t.Errorf("the log holds %q", bad)
		}
	}
	if w.t.Failed() && log != "" {
		if len(log) > 20000 {
			log = log[:20000] + "\n[cut]"
		}
		w.t.Logf("weir's output:\n%s", log)
	}
}

// rss is the resident memory of the process in bytes.
func (w *weir) rss() int64 {
	w.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	if err != nil {
		w.t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		w.t.Fatalf("no VmRSS in %s", text)
	}
	kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return kb << 10
}

// cpu is the user and system time the process has used.
func (w *weir) cpu() time.Duration {
	w.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.cmd.Process.Pid))
	if err != nil {
		w.t.Fatal(err)
	}
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// metric is the sum of all samples of a metric whose labels contain every one of parts; 0 if there is none.
func (w *weir) metric(name string, parts ...string) float64 {
	w.t.Helper()
	status, body := w.admin("GET", "/metrics", "")
	if status != 200 {
		w.t.Fatalf("/metrics answers %d", status)
	}
	sum := 0.0
lines:
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), name)
		if !ok || rest == "" || (rest[0] != '{' && rest[0] != ' ') {
			continue
		}
		for _, p := range parts {
			if !strings.Contains(rest, p) {
				continue lines
			}
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			w.t.Fatalf("metric line %q: %v", line, err)
		}
		sum += v
	}
	return sum
}

// admin calls the admin API.
func (w *weir) admin(method, path, body string) (status int, answer string) {
	w.t.Helper()
	req, err := http.NewRequest(method, w.adminURL(path), strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := w.client().Do(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, string(b)
}

// quiet is a log that says nothing.
var quiet = log.New(io.Discard, "", 0)

// plainClient opens a connection per request, so that no test leaves an idle one behind.
var plainClient = &http.Client{
	Timeout:       10 * time.Second,
	Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

var nextPort atomic.Uint32

func init() { nextPort.Store(uint32(12000 + rand.IntN(16000))) }

// freeAddr is a loopback address nobody listens on, outside the range of ephemeral ports, given out once.
func freeAddr(t testing.TB) string {
	t.Helper()
	l := listenFree(t)
	l.Close()
	return l.Addr().String()
}

// listenFree listens on a free loopback address outside the range that outgoing connections use.
func listenFree(t testing.TB) net.Listener {
	t.Helper()
	for range 2000 {
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12000+nextPort.Add(1)%20000)); err == nil {
			return l
		}
	}
	t.Fatal("no free port")
	return nil
}

// lockedBuffer is a bytes.Buffer that several goroutines may use. Past 8 MiB it drops what comes.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.b.Len() < 8<<20 {
		b.b.Write(p)
	}
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// patience is how long to wait for what should take d: longer for a binary with the race detector, which is several times
// slower.
func patience(d time.Duration) time.Duration {
	if raced {
		return 4 * d
	}
	return d
}

// eventually polls until ok holds, or fails the test after d.
func eventually(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience(d)); ; time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}
