package gateway

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"weir/balancer"
	"weir/internal/mono"
)

// TestRouteDimensionInCondition: a condition that asks for the route before there is one must not make it absent for good.
func TestRouteDimensionInCondition(t *testing.T) {
	g := newGateway(t, "routes: [{name: a, match: {when: \"route == 'x' || request.path == '/a'\"}, respond: {body: x}}]\npolicies: [{name: p, dimensions: [route], limit: 1, window: 1h}]\n")
	for range 2 {
		c := request("GET", "/a")
		g.serve(g.exchange(c))
		t.Log(c.status)
	}
	c := request("GET", "/a")
	if g.serve(g.exchange(c)); c.status != 429 {
		t.Errorf("status %d, want 429: the policy by route does not apply", c.status)
	}
}

func TestPanicWhileDelivering(t *testing.T) {
	g := newGateway(t, poolYAML("", plainUpstream(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))+"routes: [{name: all, pool: api, response: {set: [{name: a, value: '${ip}'}]}}]\n")
	g.snap.Load().routes[0].response.add[0].value = template{{dim: 63}} // whatever panics
	k := dial(t, g)
	k.c.SetReadDeadline(time.Now().Add(2 * time.Second))
	io.WriteString(k.c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(k.c), nil)
	if err != nil && !strings.Contains(err.Error(), "EOF") {
		t.Errorf("%v: neither an answer nor the end of the connection", err)
	}
	_ = resp
}

func TestPanicTwiceLeaksNothing(t *testing.T) {
	g := newGateway(t, poolYAML("", "127.0.0.1:1")+"routes: [{name: all, pool: api}]\n")
	c := request("GET", "/")
	c.script = []Result{{Fault: FaultReset, Sent: true}}
	c.refuse = func(*Reply) { panic("always") }
	func() {
		defer func() { recover() }()
		g.serve(g.exchange(c))
	}()
	if err := everythingBack(g); err != nil {
		t.Error(err)
	}
}

func TestExplainLeavesNoTrace(t *testing.T) {
	g := newGateway(t, "pools: [{name: api, breaker: {failure_threshold: 1, timeout: 1ms}, retry: {attempts: 1}, endpoints: [{address: '127.0.0.1:1'}]}]\nroutes: [{name: all, pool: api}]\n")
	g.Explain(g.Snapshot(), Question{URL: "/"})
	if n := g.Pools()[0].Endpoints[0].Requests; n != 0 {
		t.Errorf("%d requests counted", n)
	}
	c := request("GET", "/")
	c.script = []Result{{Fault: FaultReset, Sent: true}}
	g.serve(g.exchange(c))
	for mono.Now() < 0 {
	}
	time.Sleep(10 * time.Millisecond)
	before := g.Pools()[0].Endpoints[0].Breaker
	g.Explain(g.Snapshot(), Question{URL: "/"})
	if after := g.Pools()[0].Endpoints[0].Breaker; after != before {
		t.Errorf("the breaker was %s, and is %s after it was explained", before, after)
	}
	_ = balancer.OK
}

func TestRedirectTransforms(t *testing.T) {
	g := newGateway(t, "routes: [{name: r, redirect: {to: /x}, response: {set: [{name: x-a, value: b}]}}]\n")
	c := request("GET", "/")
	head := ""
	c.refuse = func(r *Reply) { head = string(r.Head) }
	g.serve(g.exchange(c))
	if !strings.Contains(head, "x-a: b") {
		t.Errorf("%q", head)
	}
}
