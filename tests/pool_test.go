package tests

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// twoEndpoints is a pool of @a and @b with probes and retries.
const twoEndpoints = base + `
listeners: [{name: web, address: "@web"}]
pools:
  - name: up
    balance: round_robin
    endpoints: [{address: "@a"}, {address: "@b"}]
    health: {active: {path: /healthz, interval: 500ms, timeout: 200ms, rise: 1, fall: 2}}
    breaker: {timeout: 500ms}
    connections: {dial_timeout: 300ms}
    retry: {attempts: 3, on: [connect, reset, "503"]}
routes: [{name: all, pool: up, timeout: 2s}]
`

// TestEndpointKilled kills one of two endpoints under load, and brings it back.
func TestEndpointKilled(t *testing.T) {
	t.Parallel()
	a, b := serve(t, say("a")), serve(t, say("b"))
	w := startWeir(t, twoEndpoints, map[string]string{"a": a.addr, "b": b.addr})
	l := startLoad(w.url("/"), 8, 300)
	time.Sleep(time.Second)
	a.kill()
	time.Sleep(3 * time.Second)
	a.start()
	before := a.hits.Load()
	eventually(t, 6*time.Second, "the endpoint is used again", func() bool { return a.hits.Load() > before+10 })
	total, failed, seen := l.stop()
	t.Logf("%d requests: %s", total, seen)
	if failed*1000 > total || total < 500 {
		t.Errorf("%d of %d requests failed: %s", failed, total, seen)
	}
}

// TestAllKilled kills the only two endpoints: the refusal comes at once and says why; they are back within an interval.
func TestAllKilled(t *testing.T) {
	t.Parallel()
	a, b := serve(t, say("a")), serve(t, say("b"))
	w := startWeir(t, twoEndpoints, map[string]string{"a": a.addr, "b": b.addr})
	fetch(t, "GET", w.url("/"), "")
	a.kill()
	b.kill()
	for range 5 { // at once, before any probe has failed
		start := time.Now()
		resp, body := fetch(t, "GET", w.url("/"), "")
		r := reasonOf(resp)
		if resp.StatusCode != 503 || (r != "no_endpoint" && r != "breaker_open") {
			t.Errorf("%d %q %s", resp.StatusCode, r, body)
		}
		if took := time.Since(start); took > 200*time.Millisecond {
			t.Errorf("the refusal took %v", took)
		}
	}
	a.start()
	b.start()
	back := time.Now()
	eventually(t, 3*time.Second, "the pool answers again", func() bool {
		resp, _ := fetch(t, "GET", w.url("/"), "")
		return resp.StatusCode == 200
	})
	t.Logf("back after %v", time.Since(back))
	if took := time.Since(back); took > 1500*time.Millisecond {
		t.Errorf("back after %v, the interval is 500 ms", took)
	}
}

// TestNeverAnswers checks the route's timeout, and that the breaker answers at once afterwards.
func TestNeverAnswers(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	u.begin(func(r *upRequest) answer { return answer{steps: []step{{kind: "hang"}}} })
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools:
  - name: up
    endpoints: [{address: "@up"}]
    health: {passive: {consecutive_failures: 0, error_rate: 0%}}
    breaker: {failure_threshold: 3, timeout: 30s}
routes: [{name: all, pool: up, timeout: 300ms}]
`, map[string]string{"up": u.addr})
	for i := range 3 {
		start := time.Now()
		resp, _ := fetch(t, "GET", w.url("/"), "")
		if took := time.Since(start); resp.StatusCode != 504 || reasonOf(resp) != "upstream_timeout" || took < 290*time.Millisecond || took > 600*time.Millisecond {
			t.Errorf("%d: %d %q after %v", i, resp.StatusCode, reasonOf(resp), took)
		}
	}
	start := time.Now()
	resp, _ := fetch(t, "GET", w.url("/"), "")
	if took := time.Since(start); resp.StatusCode != 503 || reasonOf(resp) != "breaker_open" || took > 200*time.Millisecond {
		t.Errorf("the breaker: %d %q after %v", resp.StatusCode, reasonOf(resp), took)
	}
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After on the breaker's refusal")
	}
	if v := w.metric("weir_breaker_state"); v == 0 {
		t.Error("weir_breaker_state is 0")
	}
}

// TestRetries checks what is tried again and what is not.
func TestRetries(t *testing.T) {
	t.Parallel()
	f := func(name, method, body, first string, wantStatus, wantTries int) {
		t.Run(name, func(t *testing.T) {
			var tries atomic.Int64
			script := func(r *upRequest) answer {
				if tries.Add(1) > 1 {
					return echoAnswer(r)
				}
				if first == "reset" || first == "close" {
					return answer{steps: []step{{kind: first}}}
				}
				return answer{steps: []step{{kind: "write", data: []byte("HTTP/1.1 " + first + "\r\nContent-Length: 2\r\n\r\nno")}}}
			}
			a, b := newUpstream(t), newUpstream(t)
			a.begin(script)
			b.begin(script)
			w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools: [{name: up, balance: round_robin, endpoints: [{address: "@a"}, {address: "@b"}], retry: {attempts: 2}}]
routes: [{name: all, pool: up, timeout: 2s}]
`, map[string]string{"a": a.addr, "b": b.addr})
			resp, text := fetch(t, method, w.url("/x"), body)
			if resp.StatusCode != wantStatus || int(tries.Load()) != wantTries {
				t.Errorf("%d %q after %d tries, want %d after %d", resp.StatusCode, text, tries.Load(), wantStatus, wantTries)
			}
			if wantTries > 1 && w.metric("weir_upstream_retries_total") != 1 {
				t.Errorf("weir_upstream_retries_total is %v", w.metric("weir_upstream_retries_total"))
			}
		})
	}
	f("get-reset", "GET", "", "reset", 200, 2)
	f("get-closed", "GET", "", "close", 200, 2)
	f("get-503", "GET", "", "503 Busy", 200, 2)
	f("get-500", "GET", "", "500 Oops", 500, 1)
	f("put-reset", "PUT", "body", "reset", 200, 2)
	f("post-reset", "POST", "body", "reset", 502, 1)
	f("post-503", "POST", "body", "503 Busy", 503, 1)
}

// TestRetryConnect checks that even a POST goes to another endpoint when the first refuses the connection.
func TestRetryConnect(t *testing.T) {
	t.Parallel()
	b := serve(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools: [{name: up, balance: round_robin, endpoints: [{address: "@nobody"}, {address: "@b"}], retry: {attempts: 2}}]
routes: [{name: all, pool: up}]
`, map[string]string{"b": b.addr})
	for i := range 6 {
		if resp, text := fetch(t, "POST", w.url("/"), "body"); resp.StatusCode != 200 || text != "body" {
			t.Errorf("%d: %d %q", i, resp.StatusCode, text)
		}
	}
}

// TestStaleConnection checks that an upstream that closes idle connections, or talks on them, costs no request.
func TestStaleConnection(t *testing.T) {
	t.Parallel()
	for name, junk := range map[string]string{"closed": "", "answers-unasked": "HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nevil"} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t)
			spoiled := make(chan struct{})
			u.begin(func(r *upRequest) answer {
				a := echoAnswer(r)
				if strings.HasPrefix(r.target, "/last") {
					c := r.conn.c
					a.steps = append(a.steps, step{kind: "call", call: func(io.Reader) bool {
						time.Sleep(50 * time.Millisecond) // the answer has been passed on by then
						io.WriteString(c, junk)
						if junk == "" {
							c.Close()
						}
						spoiled <- struct{}{}
						return junk != ""
					}})
				}
				return a
			})
			w := startWeir(t, strings.Replace(onePool, `"@up"}]`, `"@up"}], retry: {attempts: 1}`, 1), map[string]string{"up": u.addr})
			c := dial(t, w.addr("web"))
			for i := range 5 {
				c.ask(fmt.Sprintf("GET /last/%d HTTP/1.1\r\nHost: a.test\r\n\r\n", i))
				<-spoiled
				time.Sleep(20 * time.Millisecond)
				want := fmt.Sprintf("POST /next/%d", i)
				r := c.ask(want + " HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi")
				if r.status != 200 || string(r.body) != want {
					t.Errorf("%s %q, want %q", r.line, r.body, want)
				}
			}
		})
	}
}

// TestDrain takes an endpoint out by API and back.
func TestDrain(t *testing.T) {
	t.Parallel()
	a, b := serve(t, say("a")), serve(t, say("b"))
	w := startWeir(t, twoEndpoints, map[string]string{"a": a.addr, "b": b.addr})
	count := func() (n int) {
		for range 20 {
			if _, text := fetch(t, "GET", w.url("/"), ""); text == "a" {
				n++
			}
		}
		return n
	}
	if n := count(); n == 0 || n == 20 {
		t.Errorf("%d of 20 at the first", n)
	}
	path := "/api/v1/pools/up/endpoints/" + a.addr
	if status, body := w.admin("POST", path+"/drain", ""); status/100 != 2 {
		t.Fatalf("drain: %d %s", status, body)
	}
	if n := count(); n != 0 {
		t.Errorf("%d of 20 at a drained endpoint", n)
	}
	if _, body := w.admin("GET", "/api/v1/pools", ""); !strings.Contains(body, a.addr) || !strings.Contains(body, "drain") {
		t.Errorf("/api/v1/pools does not show it: %s", body)
	}
	if status, body := w.admin("POST", path+"/ready", ""); status/100 != 2 {
		t.Fatalf("ready: %d %s", status, body)
	}
	if n := count(); n == 0 {
		t.Error("the endpoint is not used again")
	}
	if status, _ := w.admin("POST", "/api/v1/pools/up/endpoints/192.0.2.1:1/drain", ""); status != 404 {
		t.Errorf("drain of an unknown endpoint: %d", status)
	}
	if status, _ := w.admin("POST", "/api/v1/pools/none/endpoints/"+a.addr+"/drain", ""); status != 404 {
		t.Errorf("drain in an unknown pool: %d", status)
	}
}

// TestHostName checks that an endpoint may be a name, and that a name that does not resolve is an endpoint that is not well.
func TestHostName(t *testing.T) {
	t.Parallel()
	up := serve(t, say("ok"))
	_, port, _ := strings.Cut(up.addr, ":")
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools:
  - {name: up, endpoints: [{address: "localhost:`+port+`"}]}
  - {name: none, endpoints: [{address: "name.invalid:80"}]}
routes: [{name: none, match: {path: /none}, pool: none}, {name: all, pool: up}]
`, nil)
	eventually(t, 3*time.Second, "the name resolves", func() bool {
		_, text := fetch(t, "GET", w.url("/"), "")
		return text == "ok"
	})
	start := time.Now()
	if resp, _ := fetch(t, "GET", w.url("/none"), ""); resp.StatusCode != 503 && resp.StatusCode != 502 || time.Since(start) > 5*time.Second {
		t.Errorf("%d %q after %v", resp.StatusCode, reasonOf(resp), time.Since(start))
	}
}

// TestConnectionsToEndpoint checks that a pool opens no more connections than it may.
func TestConnectionsToEndpoint(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	u.begin(func(r *upRequest) answer {
		a := echoAnswer(r)
		return answer{steps: append([]step{{kind: "wait", wait: 300 * time.Millisecond}}, a.steps...)}
	})
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools: [{name: up, endpoints: [{address: "@up"}], connections: {max: 3}}]
routes: [{name: all, pool: up}]
`, map[string]string{"up": u.addr})
	var conns []*raw
	for range 10 {
		c := dial(t, w.addr("web"))
		c.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		conns = append(conns, c)
	}
	served := 0
	for _, c := range conns {
		switch r := c.read(5*time.Second, false); {
		case r.status == 200:
			served++
		case r.status != 503:
			t.Errorf("%s, %v", r.line, r.err)
		}
	}
	if n := u.open(); n > 3 || served < 3 {
		t.Errorf("%d connections, %d served; want at most 3 and at least 3", n, served)
	}
}

// TestFallback checks each thing a route can answer instead of a refusal.
func TestFallback(t *testing.T) {
	t.Parallel()
	other := serve(t, say("other pool"))
	u := newUpstream(t)
	u.begin(func(r *upRequest) answer { return answer{steps: []step{{kind: "hang"}}} })
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools:
  - {name: dead, endpoints: [{address: "@nobody"}], retry: {attempts: 1}}
  - {name: hung, endpoints: [{address: "@up"}]}
  - {name: other, endpoints: [{address: "@other"}]}
routes:
  - name: fixed
    match: {path: /fixed}
    pool: dead
    fallback: {on: [upstream_error, no_endpoint, breaker_open], respond: {status: 203, body: instead, headers: [{name: x-fallback, value: "1"}]}}
  - name: pool
    match: {path: /pool}
    pool: dead
    fallback: {on: [upstream_error, no_endpoint, breaker_open], pool: other}
  - name: timeout
    match: {path: /timeout}
    pool: hung
    timeout: 300ms
    fallback: {on: [timeout], respond: {body: late}}
  - name: other-reason
    match: {path: /other-reason}
    pool: hung
    timeout: 300ms
    fallback: {on: [no_endpoint], respond: {body: late}}
  - name: limited
    match: {path: /limited}
    pool: other
    fallback: {on: [limited], respond: {body: enough}}
policies: [{name: one, limit: 1, window: 1h, routes: [limited]}]
`, map[string]string{"up": u.addr, "other": other.addr})
	f := func(path string, status int, want string) {
		t.Helper()
		resp, text := fetch(t, "GET", w.url(path), "")
		if resp.StatusCode != status || want != "" && text != want {
			t.Errorf("%s: %d %q, want %d %q", path, resp.StatusCode, text, status, want)
		}
		if path == "/fixed" && resp.Header.Get("X-Fallback") != "1" {
			t.Errorf("%s: %v", path, resp.Header)
		}
	}
	for range 15 { // past the breaker's threshold, so that its refusal is covered too
		f("/fixed", 203, "instead")
	}
	f("/pool", 200, "other pool")
	f("/timeout", 200, "late")
	f("/other-reason", 504, "")
	f("/limited", 200, "other pool")
	f("/limited", 200, "enough")
}
