package strict

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"weir/limiter"
)

func TestMain(m *testing.M) {
	// Of a client that is closed: it sleeps for a second before it looks.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// server is a redis-server of the test's own.
type server struct {
	t    testing.TB
	dir  string
	port int
	args []string
	cmd  *exec.Cmd
	done chan struct{}
}

var (
	ports sync.Mutex
	used  = map[int]bool{}
)

// freePort is one that nobody listens on, and neither on the port of the cluster's bus.
func freePort(t testing.TB) int {
	ports.Lock()
	defer ports.Unlock()
	for range 1000 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		port := l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		if port > 50_000 || used[port] {
			port = 20_000 + port%10_000
		}
		if used[port] {
			continue
		}
		bus, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port+10_000))
		if err != nil {
			continue
		}
		_ = bus.Close()
		l, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		_ = l.Close()
		used[port] = true
		return port
	}
	t.Fatal("no free port")
	return 0
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newServer starts a redis-server on a free port of the loopback, and ends it with the test.
func newServer(t testing.TB, args ...string) *server {
	t.Helper()
	binary(t, "redis-server")
	s := &server{t: t, dir: t.TempDir(), port: freePort(t), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func binary(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: scripts/deps.sh installs it", name)
	}
	return path
}

func (s *server) addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

func (s *server) start() {
	s.t.Helper()
	args := append([]string{"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--dir", s.dir, "--logfile", filepath.Join(s.dir, "log"), "--daemonize", "no"}, s.args...)
	s.launch(args...)
}

func (s *server) launch(args ...string) {
	s.t.Helper()
	s.cmd = exec.Command(binary(s.t, "redis-server"), args...)
	must(s.t, s.cmd.Start())
	s.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(s.cmd, s.done)
	until(s.t, 5*time.Second, "redis-server listens", func() bool {
		c, err := net.Dial("tcp", s.addr())
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.done
	s.cmd = nil
}

func (s *server) client() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.addr(), Protocol: 2, DisableIdentity: true})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// until waits for a condition of another process.
func until(t testing.TB, most time.Duration, what string, cond func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !cond() {
		if time.Since(start) > most {
			t.Fatalf("not within %v: %s", most, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return time.Since(start)
}

// opened is a store that is up. The timeout is long, for machines that are busy with other tests.
func opened(t testing.TB, c Config, clock func() int64) *Store {
	t.Helper()
	s := started(t, c, clock)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	must(t, s.Wait(ctx))
	return s
}

func started(t testing.TB, c Config, clock func() int64) *Store {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
	s, err := open(c, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})), clock)
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func policy(t testing.TB, id uint64, s limiter.Spec) *Policy {
	t.Helper()
	p, err := NewPolicy(id, s)
	if err != nil {
		t.Fatalf("%+v: %v", s, err)
	}
	return p
}

func key(n uint64) limiter.Key { return limiter.Key{Hi: n * 0x9e3779b97f4a7c15, Lo: n} }

func bucketOf(n int64, per time.Duration, burst int64) limiter.Spec {
	return limiter.Spec{Rate: limiter.Rate{N: n, Per: per, Burst: burst}}
}

// take asks for one step.
func take(t testing.TB, s *Store, a Ask) Answer {
	t.Helper()
	var answers [1]Answer
	refused, err := s.Take(context.Background(), []Ask{a}, answers[:])
	must(t, err)
	if (refused < 0) != (answers[0].OK || a.Soft) {
		t.Fatalf("refused by %d, and the answer is %+v", refused, answers[0])
	}
	return answers[0]
}

func show(a any) string { return fmt.Sprintf("%+v", a) }

func writeFile(t testing.TB, name, text string) {
	t.Helper()
	must(t, os.WriteFile(name, []byte(text), 0o600))
}
