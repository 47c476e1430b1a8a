package tests

import (
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// redisServer is a redis-server of the test's own, without persistence.
type redisServer struct {
	t    testing.TB
	addr string
	cmd  *exec.Cmd
}

func startRedis(t testing.TB) *redisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed: make deps")
	}
	r := &redisServer{t: t, addr: freeAddr(t)}
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *redisServer) start() {
	r.t.Helper()
	_, port, _ := net.SplitHostPort(r.addr)
	r.cmd = exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", r.t.TempDir())
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	noError(r.t, r.cmd.Start())
	eventually(r.t, 10*time.Second, "redis-server", func() bool {
		c, err := net.Dial("tcp", r.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (r *redisServer) kill() {
	if r.cmd != nil {
		r.cmd.Process.Kill()
		r.cmd.Wait()
		r.cmd = nil
	}
}

func strictConfig(policies string) string {
	return base + `
listeners: [{name: web, address: "@web"}]
dimensions: [{name: user, from: "header:x-user"}]
routes: [{name: all, respond: {status: 200, body: ok}}]
redis: {addresses: ["@redis"], timeout: 500ms}
policies: [` + policies + `]
`
}

func startStrict(t *testing.T, r *redisServer, policies string) *weir {
	t.Helper()
	w := startWeir(t, strictConfig(policies), map[string]string{"redis": r.addr})
	eventually(t, 10*time.Second, "the store's state", func() bool { return strings.Contains(w.metrics(), "weir_redis_up 1") })
	return w
}

func (w *weir) metrics() string {
	_, text, err := tryFetch(plainClient, "GET", "http://"+w.vars["admin"]+"/metrics", "")
	noError(w.t, err)
	return text
}

// spendAt asks n times, all at once, at several gateways in turn, and returns how many were let in. Any answer but 200 and 429 is an error.
func spendAt(t *testing.T, n int, user string, gateways ...*weir) int {
	t.Helper()
	var ok atomic.Int64
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			resp, _, err := tryFetch(plainClient, "GET", "http://"+gateways[i%len(gateways)].vars["web"]+"/", "", "X-User: "+user)
			switch {
			case err != nil:
				t.Error(err)
			case resp.StatusCode == 200:
				ok.Add(1)
			case resp.StatusCode != 429:
				t.Errorf("status %d", resp.StatusCode)
			}
		})
	}
	all.Wait()
	return int(ok.Load())
}

// TestStrictIsExact: two gateways let in as many as one limit allows, whoever is asked, and a chain is all or nothing across store and
// limiters.
func TestStrictIsExact(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	const policies = `{name: exact, dimensions: [user], limit: 50, window: 1h, scope: strict},
		{name: near, dimensions: [user], limit: 30, window: 1h, burst: 30}, {name: watch, dimensions: [user], limit: 10, window: 1h, scope: strict, mode: shadow}`
	a, b := startStrict(t, r, policies), startStrict(t, r, policies)
	if n := spendAt(t, 120, "ann", a, b); n != 50 {
		t.Errorf("two gateways let in %d, want 50: 30 at most at each, and 50 in all", n)
	}
	if n := spendAt(t, 60, "bob", a); n != 30 {
		t.Errorf("one gateway let in %d, want the 30 of its own limit", n)
	}
	if n := spendAt(t, 60, "bob", b); n != 20 {
		t.Errorf("the other let in %d, want the 20 that the store still had", n)
	}
	resp, _ := fetch(t, "GET", "http://"+a.vars["web"]+"/", "", "X-User: ann")
	if violated := violated(resp); !strings.Contains(resp.Header.Get("Weir-Reason"), `policy="`) {
		t.Errorf("Weir-Reason %q, violated %q", resp.Header.Get("Weir-Reason"), violated)
	}
	resp, _ = fetch(t, "GET", "http://"+a.vars["web"]+"/", "", "X-User: eve")
	if got := left(resp, "exact"); got != 49 {
		t.Errorf("%d left of exact, want 49: %v", got, resp.Header["Ratelimit"])
	}
	if _, text := fetch(t, "GET", "http://"+a.vars["admin"]+"/api/v1/metrics?key=eve", ""); !regexp.MustCompile(`"policy": "exact"[^{}]*"allowed": 1,\s*"refused": 0,`).MatchString(text) {
		t.Errorf("the key's use does not show what the store let in: %s", text)
	}
}

// TestStrictOutage: what happens without the store is what on_outage says, at once, and its return is noticed.
func TestStrictOutage(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]struct{ n, status int }{
		"local": {5, 429}, "cluster": {5, 429}, "open": {40, 200}, "closed": {0, 503},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := startRedis(t)
			w := startStrict(t, r, fmt.Sprintf(`{name: exact, dimensions: [user], limit: 5, window: 1h, scope: strict, on_outage: %s}`, mode))
			if n := spendAt(t, 20, "ann", w); n != 5 {
				t.Errorf("%d let in by the store, want 5", n)
			}
			r.kill()
			eventually(t, 10*time.Second, "the store's state", func() bool { return strings.Contains(w.metrics(), "weir_redis_up 0") })
			got, last := 0, &http.Response{}
			for range 40 {
				last, _ = fetch(t, "GET", "http://"+w.vars["web"]+"/", "", "X-User: ann")
				if last.StatusCode == 200 {
					got++
				}
			}
			if got != want.n || last.StatusCode != want.status {
				t.Errorf("%d let in without the store, the last with %d; want %d and %d", got, last.StatusCode, want.n, want.status)
			}
			if mode == "closed" && (last.Header.Get("Retry-After") == "" || !strings.HasPrefix(last.Header.Get("Weir-Reason"), "no_store")) {
				t.Errorf("refused with %v", last.Header)
			}
			r.start()
			eventually(t, 10*time.Second, "the store's state", func() bool { return strings.Contains(w.metrics(), "weir_redis_up 1") })
			if n := spendAt(t, 20, "ann", w); n != 5 { // it starts empty
				t.Errorf("%d let in by the store that is back, want 5", n)
			}
		})
	}
}

// TestStrictSettles: costs are corrected, and seats given back, in the store.
func TestStrictSettles(t *testing.T) {
	t.Parallel()
	r, h := startRedis(t), serveHeld(t)
	config := base + `
listeners: [{name: web, address: "@web"}]
dimensions: [{name: user, from: "header:x-user"}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up}]
redis: {addresses: ["@redis"], timeout: 500ms}
policies:
  - {name: bytes, dimensions: [user], limit: 1000, window: 1h, scope: strict, cost: 100, settle: response.bytes}
  - {name: seats, dimensions: [user], algorithm: concurrency, limit: 2, scope: strict}
`
	w := startWeir(t, config, map[string]string{"redis": r.addr, "up": h.addr})
	eventually(t, 10*time.Second, "the store's state", func() bool { return strings.Contains(w.metrics(), "weir_redis_up 1") })
	ask := func() *raw {
		c := dial(t, w.vars["web"])
		noError(t, c.send("GET / HTTP/1.1\r\nHost: a\r\nX-User: ann\r\n\r\n"))
		return c
	}
	first, second := ask(), ask()
	h.waitIn(2)
	if resp := ask().read(5*time.Second, false); resp == nil || resp.status != 429 {
		t.Errorf("a third one in progress: %v, want 429", resp)
	}
	h.free <- struct{}{}
	h.free <- struct{}{}
	for _, c := range []*raw{first, second} {
		if resp := c.read(5*time.Second, false); resp == nil || resp.status != 200 {
			t.Errorf("answer %v, want 200", resp)
		}
	}
	served, got := 0, int64(0)
	eventually(t, 5*time.Second, "two answers of 2 bytes each paid, and 100 of the one that asks", func() bool { // what they did cost comes back beside them
		h.free <- struct{}{}
		resp, _ := fetch(t, "GET", "http://"+w.vars["web"]+"/", "", "X-User: ann")
		if resp.StatusCode != 200 {
			<-h.free
			return false
		}
		served++
		got = int64(left(resp, "bytes"))
		return got == int64(1000-2*(2+served-1)-100)
	})
	if t.Failed() {
		t.Errorf("%d bytes left at the %d. question", got, served)
	}
}

// TestStrictKilledUnderLoad: killing the store at full load fails no request, and what has no strict policy does not notice.
func TestStrictKilledUnderLoad(t *testing.T) {
	r := startRedis(t)
	config := base + `
listeners: [{name: web, address: "@web"}]
routes:
  - {name: exact, match: {path: /exact}, respond: {status: 200, body: ok}}
  - {name: plain, respond: {status: 200, body: ok}}
redis: {addresses: ["@redis"]}
policies:
  - {name: exact, dimensions: [ip], limit: 1000000, window: 1s, scope: strict, routes: [exact]}
  - {name: near, dimensions: [ip], limit: 1000000, window: 1s}
`
	w := startWeir(t, config, map[string]string{"redis": r.addr})
	up := func(want string) {
		t.Helper()
		eventually(t, 10*time.Second, "weir_redis_up "+want, func() bool { return strings.Contains(w.metrics(), "weir_redis_up "+want) })
	}
	up("1")
	run := func(during func()) (exact, plain *load) {
		exact, plain = startLoad("http://"+w.vars["web"]+"/exact", 64, 8000), startLoad("http://"+w.vars["web"]+"/plain", 4, 500)
		during()
		for _, l := range []*load{exact, plain} {
			if total, failed, seen := l.stop(); failed > 0 || total == 0 {
				t.Errorf("%d of %d failed: %s", failed, total, seen)
			}
		}
		return exact, plain
	}
	exact, plain := run(func() { time.Sleep(2 * time.Second) })
	t.Logf("with redis: p99 of strict requests %v, of others %v", exact.quantile(0.99), plain.quantile(0.99))
	exact, plain = run(func() {
		time.Sleep(500 * time.Millisecond)
		r.kill()
		up("0")
		time.Sleep(time.Second)
		r.start()
		up("1")
		time.Sleep(500 * time.Millisecond)
	})
	t.Logf("killed and back: p99 of strict requests %v, of others %v", exact.quantile(0.99), plain.quantile(0.99))
	if answered, failed := count(w, `weir_redis_calls_total{result="answered"}`), count(w, `weir_redis_calls_total{result="failed"}`); answered == 0 || failed == 0 {
		t.Errorf("%v calls answered, %v failed: the store was not asked, or did not go away", answered, failed)
	}
}

// count reads one metric.
func count(w *weir, name string) (n float64) {
	for line := range strings.Lines(w.metrics()) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			fmt.Sscan(rest, &n)
		}
	}
	return n
}
