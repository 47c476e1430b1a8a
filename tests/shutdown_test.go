package tests

import (
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestShutdown sends SIGTERM with requests of 1 s in flight: none is lost, new ones are refused, the exit code is 0.
func TestShutdown(t *testing.T) {
	t.Parallel()
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			time.Sleep(time.Second)
		}
		say("ok")(w, r)
	})
	w := startWeir(t, onePool, map[string]string{"up": up.addr})
	idle := dial(t, w.addr("web"))
	idle.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	var wg sync.WaitGroup
	var mu sync.Mutex
	ok := 0
	const n = 50
	for range n {
		c := dial(t, w.addr("web"))
		c.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n")
		wg.Go(func() {
			r := c.read(5*time.Second, false)
			mu.Lock()
			defer mu.Unlock()
			if r.status == 200 && r.err == nil && string(r.body) == "ok" {
				ok++
			} else {
				t.Errorf("%s %v", r.line, r.err)
			}
		})
	}
	eventually(t, 3*time.Second, "they are in flight", func() bool { return up.hits.Load() == n+1 })
	w.signal(syscall.SIGTERM)
	start := time.Now()
	eventually(t, 900*time.Millisecond, "new connections are refused, or answered 503", func() bool {
		c, err := net.DialTimeout("tcp", w.addr("web"), time.Second)
		if err != nil {
			return true
		}
		defer c.Close()
		r := newRaw(t, c)
		r.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		resp := r.read(time.Second, false)
		return resp.err != nil || resp.status == 503
	})
	if err := idle.closedWithin(3 * time.Second); err != nil {
		t.Errorf("an idle connection: %v", err)
	}
	wg.Wait()
	if code := w.wait(5 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(start); ok != n || took > 4*time.Second {
		t.Errorf("%d of %d requests are served; it took %v", ok, n, took)
	}
}

// TestShutdownKeepAlive sends requests on keep-alive connections all through SIGTERM: a request that was taken is answered.
func TestShutdownKeepAlive(t *testing.T) {
	t.Parallel()
	up := serve(t, say("ok"))
	w := startWeir(t, onePool, map[string]string{"up": up.addr})
	var wg sync.WaitGroup
	for range 8 {
		c := dial(t, w.addr("web"))
		wg.Go(func() {
			for range 10000 {
				c.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
				r := c.read(5*time.Second, false)
				if r.err == errHeadless || isReset(r.err) {
					return // closed between requests
				}
				if r.err != nil || r.status != 200 && r.status != 503 {
					t.Errorf("%s %v", r.line, r.err)
					return
				}
				if r.get("Connection") == "close" {
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	w.signal(syscall.SIGTERM)
	if code := w.wait(5 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	wg.Wait()
}

// TestShutdownTimeout checks that a request that never ends holds the process no longer than shutdown_timeout.
func TestShutdownTimeout(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	u.begin(func(r *upRequest) answer { return answer{steps: []step{{kind: "hang"}}} })
	w := startWeir(t, onePool+"shutdown_timeout: 1s\n", map[string]string{"up": u.addr})
	c := dial(t, w.addr("web"))
	c.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	eventually(t, 2*time.Second, "it is in flight", func() bool { return u.open() == 1 })
	w.signal(syscall.SIGTERM)
	start := time.Now()
	code := w.wait(6 * time.Second)
	if took := time.Since(start); took < 800*time.Millisecond || took > 3*time.Second {
		t.Errorf("it ended after %v with code %d, shutdown_timeout is 1 s", took, code)
	}
}

// TestKill checks that a gateway killed under way starts again at once on the same addresses.
func TestKill(t *testing.T) {
	t.Parallel()
	up := serve(t, say("ok"))
	w := startWeir(t, onePool, map[string]string{"up": up.addr})
	for range 20 {
		dial(t, w.addr("web")).ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	}
	w.kill()
	start := time.Now()
	again := startWeir(t, onePool, w.vars)
	t.Logf("ready %v after the start", time.Since(start))
	if resp, text := fetch(t, "GET", again.url("/"), ""); resp.StatusCode != 200 || text != "ok" {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
}
