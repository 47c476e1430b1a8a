package tests

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wireConfig is what the corpus runs against: no retries, and nothing that stops asking an upstream that misbehaves.
const wireConfig = base + `
listeners:
  - name: web
    address: "@web"
    limits: {header_bytes: 8KiB, headers: 50, header_timeout: 1s, idle_timeout: 10s, body: 64KiB}
dimensions:
  - {name: tenant, from: "header:x-tenant"}
  - {name: q, from: "query:qk"}
  - {name: sid, from: "cookie:sid"}
pools:
  - name: up
    endpoints: [{address: "@up"}]
    health: {passive: {consecutive_failures: 0, error_rate: 0%}, panic: 0%}
    breaker: {failure_threshold: 0}
    retry: {attempts: 1}
routes:
  - {name: spent, match: {path: "/spent/*"}, pool: up}
  - {name: fixed, match: {path: "/fixed"}, respond: {status: 200, body: fixed}}
  - name: set
    match: {path: "/set/*"}
    pool: up
    request: {set: [{name: x-set, value: "tenant ${tenant}"}]}
  - {name: up, match: {path: "/up/*"}, pool: up, timeout: 1s}
policies:
  - {name: one-an-hour, limit: 1, window: 1h, routes: [spent]}
`

// TestWire runs the corpus. Each file has a gateway and an upstream of its own, and its cases run one after the other.
func TestWire(t *testing.T) {
	paths, err := filepath.Glob("testdata/wire/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, path := range paths {
		cases := readCases(t, path)
		total += len(cases)
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t)
			w := startWeir(t, wireConfig, map[string]string{"up": u.addr})
			dial(t, w.addr("web")).ask("GET /spent/ HTTP/1.1\r\nHost: a.test\r\n\r\n")
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, w.addr("web"), u) })
			}
			if bytes.Contains(u.everything(), []byte("smuggled HTTP")) {
				t.Errorf("a request inside another's body reached the upstream")
			}
		})
	}
	if total < 200 {
		t.Errorf("the corpus has %d cases, want at least 200", total)
	}
}

// run plays the case against a gateway at addr whose upstream is u.
func (c *wireCase) run(t *testing.T, addr string, u *upstream) {
	u.begin(func(r *upRequest) answer {
		if r.n < len(c.answers) && !strings.HasPrefix(r.target, "/up/after") {
			return answer{early: c.early[r.n], steps: c.answers[r.n]}
		}
		return echoAnswer(r)
	})
	cl := dial(t, addr)
	answered := make(chan struct{}, 100) // a token per response read, for >await
	sent := make(chan struct{})
	go func() { defer close(sent); c.send(cl, answered) }()
	last := c.readAll(t, cl, answered)
	if last == nil {
		return
	}
	if c.cut && !c.mayCut && last.status < 500 && (last.err == nil || isTimeout(last.err)) {
		t.Errorf("the response %q ends as if it were whole: %v", cl.got.String(), last.err)
	}
	if c.reason != nil && !slices.Contains(c.reason, last.reason()) {
		t.Errorf("Weir-Reason %q, want %q", last.get("Weir-Reason"), c.reason)
	}
	if c.body != nil && string(last.body) != *c.body {
		t.Errorf("body %q, want %q", last.body, *c.body)
	}
	c.follow(t, cl, addr, u)
	<-sent
	if c.upstream[0] < c.upstream[1] {
		time.Sleep(20 * time.Millisecond) // a head that was sent on may still be under way
	}
	c.verify(t, cl, u)
}

func (c *wireCase) send(cl *raw, answered chan struct{}) {
	for _, s := range c.sends {
		switch s.kind {
		case "write":
			if cl.send(string(s.data)) != nil {
				return
			}
		case "drip":
			for i := range s.data {
				time.Sleep(s.wait)
				cl.send(string(s.data[i : i+1]))
			}
		case "wait":
			time.Sleep(s.wait)
		case "await":
			select {
			case <-answered:
			case <-time.After(5 * time.Second):
				return
			}
		case "fin":
			cl.c.(*net.TCPConn).CloseWrite()
		}
	}
}

// readAll reads the responses that are expected and returns the last, or nil after a failure that makes the rest moot.
func (c *wireCase) readAll(t *testing.T, cl *raw, answered chan struct{}) *response {
	var last *response
	for i, want := range c.statuses {
		last = cl.read(4*time.Second, c.head)
		for c.interim && last.status/100 == 1 {
			last = cl.read(4*time.Second, c.head)
		}
		answered <- struct{}{}
		is := strconv.Itoa(last.status)
		if last.err == errHeadless {
			is = "none"
		}
		if !slices.Contains(want, is) {
			t.Errorf("response %d is %s (%v), want %v; received %q", i, is, last.err, want, cl.got.String())
			return nil
		}
		if last.err != nil && is != "none" && !c.cut {
			t.Errorf("response %d: %v; received %q", i, last.err, cl.got.String())
			return nil
		}
	}
	return last
}

// follow checks what became of the connection, and that a further request is answered as it should be, exactly once.
func (c *wireCase) follow(t *testing.T, cl *raw, addr string, u *upstream) {
	if c.conn == "close" {
		if err := cl.closedWithin(3 * time.Second); err != nil {
			t.Errorf("the connection is not closed: %v", err)
		}
	}
	next := cl
	if c.conn != "keep" {
		next = dial(t, addr)
	}
	received := cl.got.Len()
	next.send("GET " + c.after() + " HTTP/1.1\r\nHost: a.test\r\n\r\n")
	resp := next.read(4*time.Second, false)
	if resp.err != nil || resp.status != 200 || string(resp.body) != "GET "+c.after() {
		t.Errorf("the request after it is answered %d %q: %v", resp.status, resp.body, resp.err)
	}
	cl.got.Truncate(received)
	next.c.Close()
}

// after is the target of the request that follows the case.
func (c *wireCase) after() string { return "/up/after-" + c.name }

// verify holds what the upstream received, and the bytes on both sides, against the case.
func (c *wireCase) verify(t *testing.T, cl *raw, u *upstream) {
	reqs, faults := u.got()
	if len(faults) > 0 {
		t.Errorf("the upstream cannot parse what it received: %s", faults)
	}
	var sent []byte
	n, after, conns := 0, 0, map[int]bool{}
	for _, r := range reqs {
		conns[r.conn.id] = true
		if r.target == c.after() {
			after++
			continue
		}
		n++
		sent = append(sent, r.raw...)
	}
	if n < c.upstream[0] || n > c.upstream[1] || after != 1 {
		t.Errorf("the upstream received %s, want %v and %s once", targets(reqs), c.upstream, c.after())
	}
	if c.conns > 0 && len(conns) != c.conns {
		t.Errorf("%d upstream connections were used, want %d", len(conns), c.conns)
	}
	for _, k := range c.checks {
		bytes := sent
		if strings.HasSuffix(k.verb, "got") {
			bytes = cl.got.Bytes()
		}
		if k.re.Match(bytes) != (k.verb == "saw" || k.verb == "got") {
			t.Errorf("%s %s: it is %q", k.verb, k.re, bytes)
		}
	}
}

func targets(reqs []*upRequest) string {
	var s []string
	for _, r := range reqs {
		s = append(s, r.method+" "+r.target)
	}
	return fmt.Sprintf("%q", s)
}
