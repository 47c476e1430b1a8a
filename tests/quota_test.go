package tests

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// quotaConfig keeps its quotas in data.
func quotaConfig(data string, limit int) string {
	return strings.Replace(answers("q", "free"), `data_dir: ""`, `data_dir: "`+data+`"`, 1) + fmt.Sprintf(`
dimensions: [{name: key, from: "header:x-key", default: all}]
policies: [{name: q, algorithm: quota, dimensions: [key], limit: %d, window: month, routes: [q]}]
`, limit)
}

// again runs weir once more with the same config and addresses, after it has ended.
func (w *weir) again() *weir {
	w.t.Helper()
	n := &weir{t: w.t, dir: w.dir, config: w.config, vars: w.vars, in: w.in, exited: make(chan struct{})}
	n.launch(weirBin)
	n.waitReady()
	return n
}

// stop ends weir with SIGTERM.
func (w *weir) stop() {
	w.t.Helper()
	w.signal(syscall.SIGTERM)
	if c := w.wait(20 * time.Second); c != 0 {
		w.t.Errorf("exit %d after SIGTERM", c)
	}
}

// startFails runs weir with a config and returns what it says; it must exit 1 within ten seconds.
func startFails(t *testing.T, config string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience(10*time.Second))
	defer cancel()
	cmd := exec.CommandContext(ctx, weirBin, "run", "-c", config)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("exit %d, %v, want 1: %s", cmd.ProcessState.ExitCode(), err, out)
	}
	if bytes.Contains(out, []byte("goroutine ")) || bytes.Contains(out, []byte("panic")) {
		t.Errorf("no clear error: %s", out)
	}
	return string(out)
}

// quotaLeft is what explain says is left of the quota q for everybody.
func quotaLeft(w *weir) int {
	_, body := w.admin("POST", "/api/v1/explain", `{"method":"GET","url":"http://a.test/q"}`)
	return number(body, `"remaining":\s*(\d+)`)
}

// TestQuotaSurvives ends the gateway in good order, without and with requests under way: nothing is forgotten.
func TestQuotaSurvives(t *testing.T) {
	t.Parallel()
	w := startWeir(t, quotaConfig("@dir/data", 600), nil)
	f := func(key string, want int) {
		t.Helper()
		if resp, _ := fetch(t, "GET", w.url("/q"), "", "X-Key: "+key); left(resp, "q") != want {
			t.Errorf("%s: %d, %d left, want %d", key, resp.StatusCode, left(resp, "q"), want)
		}
	}
	for i := range 7 {
		f("a", 599-i)
	}
	f("b", 599)
	w.stop()
	w = w.again()
	f("a", 592)
	f("b", 598)
	f("c", 599)
	p := &pacer{addr: w.addr("web"), path: "/q", rate: 800, conns: 4}
	p.connect(t)
	done := make(chan struct{})
	go func() { p.run(500 * time.Millisecond); close(done) }()
	time.Sleep(300 * time.Millisecond)
	w.stop()
	<-done
	passed, _, unanswered := p.admitted()
	w = w.again()
	if spent := 600 - quotaLeft(w); spent < len(passed) || spent > len(passed)+unanswered || len(passed) < 50 {
		t.Errorf("%d spent after the restart, %d were admitted and %d had no answer", spent, len(passed), unanswered)
	}
}

// forgotten is how much spending a kill may undo: it is written ten times a second, and writing takes time.
const forgotten = 200 * time.Millisecond

// TestQuotaSurvivesKill kills the gateway under load at random moments, again and again. What was acknowledged earlier than 200 ms
// before that is never forgotten, and in all no more is admitted than the limit and what was forgotten.
func TestQuotaSurvivesKill(t *testing.T) { // alone: how long a write takes is a part of what it checks
	const limit = 4000
	w := startWeir(t, quotaConfig("@dir/data", limit), nil)
	total, lost, sent := 0, 0, 0
	for life := range 4 {
		p := &pacer{addr: w.addr("web"), path: "/q", rate: 2000, conns: 4}
		p.connect(t)
		done := make(chan struct{})
		lives := 150*time.Millisecond + rand.N(500*time.Millisecond)
		go func() { p.run(lives); close(done) }()
		time.Sleep(lives - 20*time.Millisecond)
		killed := time.Now()
		w.kill()
		<-done
		passed, offered, _ := p.admitted()
		sure := 0
		for _, s := range passed {
			if s.received.Before(killed.Add(-patience(forgotten))) {
				sure++
			}
		}
		before := total - lost // at least this was kept so far
		total, sent = total+len(passed), sent+offered
		w = w.again()
		spent := limit - quotaLeft(w)
		t.Logf("life %d of %v: %d admitted, %d of them for sure to be kept, %d spent in all", life, lives, len(passed), sure, spent)
		if spent < before+sure {
			t.Errorf("%d spent after the kill, %d at least were to be kept", spent, before+sure)
		}
		if spent > sent {
			t.Errorf("%d spent, %d sent", spent, sent)
		}
		lost = max(lost, total-spent)
	}
	p := &pacer{addr: w.addr("web"), path: "/q", rate: 2000, conns: 4}
	p.connect(t)
	p.run(time.Duration(limit-total+lost)*time.Second/2000 + 500*time.Millisecond)
	passed, _, _ := p.admitted()
	unanswered := sent - total
	total += len(passed)
	if n := quotaLeft(w); n != 0 {
		t.Fatalf("%d left", n)
	}
	if total > limit+lost || total < limit-unanswered {
		t.Errorf("%d admitted in five lives, the limit is %d, %d were forgotten", total, limit, lost)
	}
}

// TestQuotaFiles starts with a directory that another gateway uses, and with damaged files.
func TestQuotaFiles(t *testing.T) {
	t.Parallel()
	w := startWeir(t, quotaConfig("@dir/data", 1000), nil)
	for i := range 300 {
		fetch(t, "GET", w.url("/q"), "", fmt.Sprint("X-Key: k", i))
	}
	other := filepath.Join(t.TempDir(), "config.yaml")
	text := strings.NewReplacer("@dir", w.dir, "@admin", freeAddr(t), "@web", freeAddr(t)).Replace(quotaConfig("@dir/data", 1000))
	noError(t, os.WriteFile(other, []byte(text), 0o644))
	if out := startFails(t, other); !strings.Contains(out, "another gateway") || !strings.Contains(out, filepath.Join(w.dir, "data")) {
		t.Errorf("a directory in use: %s", out)
	}
	if resp, _ := fetch(t, "GET", w.url("/q"), ""); resp.StatusCode != 200 {
		t.Errorf("the first gateway: %d", resp.StatusCode)
	}
	w.stop()
	for _, file := range []string{"quota.db", "secret"} {
		path := filepath.Join(w.dir, "data", file)
		good, err := os.ReadFile(path)
		noError(t, err)
		damaged := bytes.Clone(good)
		for i := 2 * 4096; i < len(damaged); i++ { // all but the first pages, which say what is where: others may be in no use
			damaged[i] ^= 0x5a
		}
		for what, bad := range map[string][]byte{"cut": good[:min(len(good)/2, 9000)], "other": []byte(strings.Repeat("not what it was\n", 4096)), "damaged": damaged} {
			if file == "secret" && what == "damaged" {
				continue // any bytes may be a secret
			}
			noError(t, os.WriteFile(path, bad, 0o600))
			if out := startFails(t, w.config); !strings.Contains(out, file) {
				t.Errorf("%s, %s: %s", file, what, out)
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, bad) {
				t.Errorf("%s, %s: it was changed, %v", file, what, err)
			}
		}
		noError(t, os.WriteFile(path, good, 0o600))
	}
	w = w.again()
	if resp, _ := fetch(t, "GET", w.url("/q"), "", "X-Key: k7"); left(resp, "q") != 998 {
		t.Errorf("with the good files again: %d left, want 998", left(resp, "q"))
	}
}

// TestQuotaReload changes the limit; what was spent stays spent, also over a restart.
func TestQuotaReload(t *testing.T) {
	t.Parallel()
	w := startWeir(t, quotaConfig("@dir/data", 10), nil)
	f := func(status, want int) {
		t.Helper()
		if resp, _ := fetch(t, "GET", w.url("/q"), ""); resp.StatusCode != status || left(resp, "q") != want {
			t.Errorf("%d, %d left, want %d and %d", resp.StatusCode, left(resp, "q"), status, want)
		}
	}
	reload := func(config string) {
		t.Helper()
		w.writeConfig(config)
		if status, body := w.admin("POST", "/api/v1/config/reload", ""); status != 200 {
			t.Fatalf("reload: %d %s", status, body)
		}
	}
	for i := range 6 {
		f(200, 9-i)
	}
	reload(quotaConfig("@dir/data", 20))
	f(200, 13)
	reload(quotaConfig("@dir/data", 5))
	f(429, 0)
	w.stop()
	w = w.again()
	f(429, 0)
	reload(quotaConfig("@dir/data", 8))
	f(200, 0)
	f(429, 0)
	w.writeConfig(quotaConfig("@dir/elsewhere", 8))
	if status, body := w.admin("POST", "/api/v1/config/reload", ""); status == 200 || !strings.Contains(body, "data_dir") {
		t.Errorf("another data_dir: %d %s", status, body)
	}
	f(429, 0)
	w.writeConfig(strings.Replace(quotaConfig("@dir/data", 8), "algorithm: quota", "mode: \"off\", algorithm: quota", 1)) // out of force and back
	if status, body := w.admin("POST", "/api/v1/config/reload", ""); status != 200 {
		t.Fatalf("reload: %d %s", status, body)
	}
	f(200, -1)
	reload(quotaConfig("@dir/data", 9))
	f(200, 0)
	f(429, 0)
}

// TestQuotaDirectory: without a quota nobody minds a data_dir that cannot be; with one the reload says so, and whatever it had begun is
// undone.
func TestQuotaDirectory(t *testing.T) {
	t.Parallel()
	inFile := strings.ReplaceAll(quotaConfig("@dir/config.yaml/data", 10), "algorithm: quota", `mode: "off", algorithm: quota`)
	w := startWeir(t, inFile, nil)
	f := func(config string, want ...string) {
		t.Helper()
		w.writeConfig(config)
		status, body := w.admin("POST", "/api/v1/config/reload", "")
		if (status == 200) != (len(want) == 0) {
			t.Fatalf("reload: %d %s, want %q", status, body, want)
		}
		for _, s := range want {
			if !strings.Contains(body, w.expand(s)) {
				t.Errorf("reload: %s, want %q", body, s)
			}
		}
		if resp, _ := fetch(t, "GET", w.url("/q"), ""); resp.StatusCode != 200 {
			t.Errorf("it answers %d", resp.StatusCode)
		}
	}
	f(quotaConfig("@dir/config.yaml/data", 10), "config.yaml/data", "not a directory")
	f(quotaConfig("", 10)) // kept nowhere
	f(inFile)
	busy := listenFree(t)
	defer busy.Close()
	f(quotaConfig("@dir/rejected", 10)+"admin: {address: \""+busy.Addr().String()+"\"}\n", "admin") // a fault of the file
	f(strings.Replace(quotaConfig("@dir/rejected", 10), "@admin", busy.Addr().String(), 1), "address already in use")
	f(quotaConfig("@dir/data", 10)) // that is, data_dir is not what the rejected file said
	f(quotaConfig("@dir/rejected", 10), "cannot change while quotas are kept in @dir/data")
	f(quotaConfig("@dir/data", 12))
	if n := quotaLeft(w); n != 9 { // three since there is a quota
		t.Errorf("%d left, want 9", n)
	}
	w.stop()
	if w = w.again(); quotaLeft(w) != 9 {
		t.Errorf("%d left after the restart, want 9", quotaLeft(w))
	}
}
