package gateway

import (
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/mono"
	"weir/telemetry"
)

// left returns how many units the policy of that name has for a request.
func left(t *testing.T, g *Gateway, name string, c *fakeCarrier) int64 {
	t.Helper()
	for _, p := range g.snap.Load().policies {
		if p.name == name {
			x := g.exchange(c)
			x.route = x.snap.routes[0]
			if x.use(p, true); len(x.uses) == 0 {
				t.Fatalf("policy %s does not apply", name)
			}
			return x.uses[0].v.limiter.Peek(x.uses[0].key, 0, x.start).Left
		}
	}
	t.Fatalf("no policy %s", name)
	return 0
}

// TestBucketsOutliveReloads: what a policy is remembered by is its name, algorithm and dimensions; all else are numbers.
func TestBucketsOutliveReloads(t *testing.T) {
	const pools = "pools: [{name: api, endpoints: [{address: '127.0.0.1:1'}]}]\nroutes: [{name: all, pool: api}]\n"
	const first = "dimensions: [{name: user, from: 'header:x-user'}]\npolicies: [{name: p, dimensions: [user], limit: 10, window: 1h}]\n"
	f := func(name, second string, want int64) {
		t.Helper()
		g := newGateway(t, pools+first)
		c := request("GET", "/")
		c.fields = map[string]string{"x-user": "u", "x-other": "o"}
		for range 4 {
			g.serve(g.exchange(c))
		}
		reload(t, g, pools+second)
		if got := left(t, g, "p", c); got != want {
			t.Errorf("%s: %d left, want %d", name, got, want)
		}
	}
	f("nothing changed", first, 6)
	f("another order, another policy", "dimensions: [{name: host2, from: host}, {name: user, from: 'header:x-user'}]\npolicies: [{name: q, limit: 1}, {name: p, dimensions: [user], limit: 10, window: 1h}]\n", 6)
	f("shadow", "dimensions: [{name: user, from: 'header:x-user'}]\npolicies: [{name: p, dimensions: [user], limit: 10, window: 1h, mode: shadow}]\n", 6)
	f("a condition", "dimensions: [{name: user, from: 'header:x-user'}]\npolicies: [{name: p, dimensions: [user], limit: 10, window: 1h, when: 'request.method == \"GET\"'}]\n", 6)
	f("a larger bucket", "dimensions: [{name: user, from: 'header:x-user'}]\npolicies: [{name: p, dimensions: [user], limit: 10, window: 1h, burst: 20}]\n", 16)
	f("a smaller one", "dimensions: [{name: user, from: 'header:x-user'}]\npolicies: [{name: p, dimensions: [user], limit: 5, window: 1h}]\n", 1)
	f("another source", "dimensions: [{name: user, from: 'header:x-other'}]\npolicies: [{name: p, dimensions: [user], limit: 10, window: 1h}]\n", 10)
	f("a default", "dimensions: [{name: user, from: 'header:x-user', default: nobody}]\npolicies: [{name: p, dimensions: [user], limit: 10, window: 1h}]\n", 10)
	f("other dimensions", "policies: [{name: p, dimensions: [ip], limit: 10, window: 1h}]\n", 10)
}

func TestPoolsOutliveReloads(t *testing.T) {
	const routes = "routes: [{name: all, pool: api}]\n"
	pool := func(rest, endpoints string) string {
		return "pools: [{name: api, breaker: {failure_threshold: 3, timeout: 5m}, health: {passive: {consecutive_failures: 0, error_rate: 0%}}, retry: {attempts: 1}, " + rest + "endpoints: [" + endpoints + "]}]\n"
	}
	const one, two = "{address: '127.0.0.1:1'}", "{address: '127.0.0.1:2'}"
	g := newGateway(t, pool("", one)+routes)
	before := g.snap.Load().pools[0].pool
	broken := request("GET", "/")
	broken.script = []Result{{Fault: FaultReset, Sent: true}}
	for range 3 {
		g.serve(g.exchange(broken))
	}
	opened := func() string { return before.balancer.Stats().Endpoints[0].BreakerState }
	if opened() != "open" {
		t.Fatalf("the breaker is %s", opened())
	}
	id := before.balancer.Stats().Endpoints[0].ID

	reload(t, g, pool("connections: {max: 7}, timeout: {response_header: 1s}, balance: least_requests, ", one+", "+two)+routes)
	now := g.snap.Load().pools[0]
	if now.pool != before || now.balancer.Stats().Endpoints[0].ID != id || opened() != "open" {
		t.Errorf("the endpoint that stays is another one, or well: %s", opened())
	}
	if got := now.gate.Stats().Limit; got != 14 {
		t.Errorf("%d seats, want 2 × 7", got)
	}
	if now.header != time.Second || now.balancer.Stats().Balance.String() != "least_requests" {
		t.Error("new numbers are not in force")
	}

	reload(t, g, pool("tls: {enabled: true}, ", one)+routes)
	if g.snap.Load().pools[0].pool == before {
		t.Error("a pool that speaks TLS now is the one that did not")
	}
	g.live.background.Wait()
	select {
	case <-before.done:
	default:
		t.Error("the pool that is gone still runs")
	}
	c := request("GET", "/")
	if g.serve(g.exchange(c)); c.status != 200 {
		t.Errorf("status %d", c.status)
	}
}

// TestFailedCompileLeavesEverything: whatever step fails, what is in force stays, and a later reload works.
func TestFailedCompileLeavesEverything(t *testing.T) {
	const good = "pools: [{name: api, endpoints: [{address: '127.0.0.1:1'}]}]\nroutes: [{name: all, pool: api}]\npolicies: [{name: p, limit: 10, window: 1h}]\n"
	g := newGateway(t, good)
	c := request("GET", "/")
	g.serve(g.exchange(c))
	snap, pool := g.snap.Load(), g.snap.Load().pools[0].pool
	f := func(name, yaml, want string) {
		t.Helper()
		conf := parse(t, yaml)
		switch name { // what may go wrong though the file is valid: files behind it change
		case "certificate":
			conf.Pools[0].TLS.Enabled, conf.Pools[0].TLS.CA = true, "/nonexistent/ca.pem"
		case "the last step":
			conf.Routes[0].Rewrite.Regex = "("
		}
		if _, err := g.Compile(conf); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		if g.snap.Load() != snap || g.live.pools[pool.identity] != pool || len(g.live.pools) != 1 || len(g.live.limiters) != 1 {
			t.Errorf("%s: something changed", name)
		}
		if got := left(t, g, "p", c); got != 9 {
			t.Errorf("%s: %d left, want 9", name, got)
		}
	}
	demo := "pools: [{name: demo, demo: {}}]\n"
	f("certificate", strings.ReplaceAll(good, "api", "other"), "/nonexistent/ca.pem")
	f("the last step", demo+"routes: [{name: r, pool: demo}]\npolicies: [{name: p, limit: 99, window: 1h}]\n", "missing closing )")
	reload(t, g, strings.Replace(good, "limit: 10", "limit: 20", 1))
	if got := left(t, g, "p", c); got != 19 {
		t.Errorf("%d left after the reload, want 19", got)
	}
}

// TestDiscardEndsTheDemo: a snapshot that is not installed leaves no socket behind, one that is keeps it until it is gone.
func TestDiscardEndsTheDemo(t *testing.T) {
	const yaml = "pools: [{name: demo, demo: {}}]\nroutes: [{name: all, pool: demo}]\n"
	g := New(Options{Hub: telemetry.NewHub(), Log: slog.New(slog.DiscardHandler)})
	defer g.Close()
	s, err := g.Compile(parse(t, yaml))
	if err != nil {
		t.Fatal(err)
	}
	addr := s.pools[0].demo.address()
	answers := func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	if !answers() {
		t.Error("no demo")
	}
	s.Discard()
	s.Discard()
	if answers() {
		t.Error("the demo outlives Discard")
	}
	reload(t, g, yaml)
	s = g.snap.Load()
	addr = s.pools[0].demo.address()
	s.Discard() // installed: nothing to discard
	reload(t, g, yaml)
	if g.snap.Load().pools[0].demo.address() != addr || !answers() {
		t.Error("the demo did not survive a reload")
	}
	resp, err := http.DefaultTransport.RoundTrip(must(http.NewRequest("GET", "http://"+addr+"/?status=418", nil)))
	if err != nil || resp.StatusCode != 418 {
		t.Errorf("%v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	reload(t, g, "routes: [{name: all, respond: {body: x}}]\n")
	g.live.background.Wait()
	if answers() {
		t.Error("the demo outlives its pool")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestReloadsUnderLoad changes everything there is while requests are served: none fails, whatever snapshot it has.
func TestReloadsUnderLoad(t *testing.T) {
	files := []string{
		"pools: [{name: api, endpoints: [{address: '127.0.0.1:1'}]}]\nroutes: [{name: all, pool: api}]\npolicies: [{name: p, limit: 1000000, window: 1s}]\n",
		"pools: [{name: api, balance: ring_hash, hash_on: user, endpoints: [{address: '127.0.0.1:2'}, {address: '127.0.0.1:1'}]}]\nroutes: [{name: a, match: {path: /a}, pool: api}, {name: all, pool: api}]\ndimensions: [{name: user, from: 'header:x-user', default: u}]\npolicies: [{name: p, limit: 2000000, window: 1s}, {name: q, dimensions: [user], limit: 1000000}]\n",
		"pools: [{name: other, endpoints: [{address: '127.0.0.1:3'}]}]\nroutes: [{name: b, match: {path: /b}, pool: other}, {name: all, pool: other}]\npolicies: [{name: p, dimensions: [path], limit: 1000000}]\n",
	}
	g := newGateway(t, files[0])
	stop := make(chan struct{})
	var tasks sync.WaitGroup
	for _, path := range []string{"/a", "/b"} {
		tasks.Go(func() {
			x := g.exchange(request("GET", path))
			for {
				select {
				case <-stop:
					return
				default:
				}
				x.reset()
				x.snap, x.start = g.snap.Load(), mono.Now()
				x.identify()
				if g.serve(x); x.answered != 200 {
					t.Errorf("status %d, %+v", x.answered, x.verdict)
					return
				}
			}
		})
	}
	for i := range 60 {
		reload(t, g, files[i%len(files)])
		if _, err := g.Explain(g.snap.Load(), Question{URL: "/a"}); err != nil {
			t.Error(err)
		}
		g.Pools()
	}
	close(stop)
	tasks.Wait()
	if err := everythingBack(g); err != nil {
		t.Error(err)
	}
}
