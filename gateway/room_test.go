package gateway

import (
	"testing"
	"time"

	"weir/internal/mono"
	"weir/shaping"
)

// TestPriorities: a request has the priority of its route, or what it says itself where the route lets it; policies only raise it.
func TestPriorities(t *testing.T) {
	g := newGateway(t, `dimensions: [{name: vip, from: "header:x-vip"}]
pools: [{name: api, endpoints: [{address: "127.0.0.1:1"}]}]
routes:
  - {name: batch, match: {path: "/batch/*"}, pool: api, priority: low}
  - {name: asked, match: {path: "/asked/*"}, pool: api, priority: {from: "header:x-priority", default: high}}
  - {name: rest, pool: api}
policies: [{name: vips, dimensions: [vip], limit: 1000, priority: high}]
`)
	f := func(path, vip, asked, want string) {
		t.Helper()
		c := request("GET", path)
		c.fields = map[string]string{}
		if vip != "" {
			c.fields["x-vip"] = vip
		}
		if asked != "" {
			c.fields["x-priority"] = asked
		}
		x := g.exchange(c)
		g.serve(x)
		if got := x.priority.String(); got != want || c.status != 200 {
			t.Errorf("%s vip=%q asked=%q: %s, status %d; want %s", path, vip, asked, got, c.status, want)
		}
	}
	f("/", "", "", "normal")
	f("/", "", "critical", "normal")
	f("/", "1", "", "high")
	f("/batch/x", "", "", "low")
	f("/batch/x", "", "critical", "low")
	f("/batch/x", "1", "", "high")
	f("/asked/x", "", "", "high")
	f("/asked/x", "", "low", "low")
	f("/asked/x", "", "Critical", "critical")
	f("/asked/x", "", "huge", "high")
	f("/asked/x", "1", "low", "high")
	f("/asked/x", "1", "critical", "critical")
}

// TestClasses: whose a request is in the queue, and with what weight.
func TestClasses(t *testing.T) {
	g := newGateway(t, `dimensions: [{name: plan, from: "header:x-plan"}]
pools: [{name: api, endpoints: [{address: "127.0.0.1:1"}]}]
routes: [{name: rest, pool: api, priority: critical}]
backpressure: {queue: {by: plan, weights: [{value: gold, weight: 4}], default_weight: 2}}
`)
	class := func(plan string) shaping.Class {
		c := request("GET", "/")
		if plan != "" {
			c.fields = map[string]string{"x-plan": plan}
		}
		x := g.exchange(c)
		g.serve(x)
		return x.class()
	}
	gold, iron, none := class("gold"), class("iron"), class("")
	if gold.Weight != 4 || iron.Weight != 2 || none.Weight != 2 || gold.Band != shaping.Critical {
		t.Errorf("gold %+v, iron %+v, none %+v", gold, iron, none)
	}
	if gold.Flow == iron.Flow || none.Flow != 0 || gold.Flow != class("gold").Flow {
		t.Errorf("flows: gold %x, iron %x, none %x", gold.Flow, iron.Flow, none.Flow)
	}
}

// TestGateFollowsConfiguration: an estimator keeps what it has learnt over a reload with other bounds, and goes with its algorithm.
func TestGateFollowsConfiguration(t *testing.T) {
	const pool = `pools: [{name: api, connections: {max: 100}, endpoints: [{address: "127.0.0.1:1"}]}]
routes: [{name: rest, pool: api}]
`
	g := newGateway(t, pool)
	limit := func(want int) {
		t.Helper()
		if got := g.snap.Load().pools[0].gate.Stats().Limit; got != want {
			t.Errorf("limit %d, want %d", got, want)
		}
	}
	limit(100)
	reload(t, g, pool+"backpressure: {concurrency: {algorithm: aimd, min: 2, initial: 10}}\n")
	limit(10)
	p := g.snap.Load().pools[0]
	seat, _ := p.gate.TryEnter()
	seat.Leave(shaping.Drop, time.Millisecond, mono.Now())
	halved := p.gate.Stats().Limit
	if halved >= 10 {
		t.Fatalf("limit %d after a drop", halved)
	}
	reload(t, g, pool+"backpressure: {concurrency: {algorithm: aimd, min: 3, initial: 10}}\n")
	limit(halved)
	reload(t, g, pool+"backpressure: {concurrency: {algorithm: aimd, min: 40, initial: 40}}\n")
	limit(40)
	reload(t, g, pool+"backpressure: {concurrency: {algorithm: vegas, min: 3, initial: 12}}\n")
	limit(12)
	reload(t, g, pool)
	limit(100)
}

// TestSeatsAreSamples: what the estimator learns of how a request ended.
func TestSeatsAreSamples(t *testing.T) {
	f := func(want shaping.Sample, hasty bool, r Result) {
		t.Helper()
		x := &Exchange{car: request("GET", "/"), begun: 1, headAt: 100, due: 100, hasty: hasty, result: r}
		if got := x.sample(); got != want {
			t.Errorf("%+v (hasty %v): %v, want %v", r, hasty, got, want)
		}
	}
	f(shaping.Success, false, Result{Status: 200, Sent: true})
	f(shaping.Success, false, Result{Status: 404, Sent: true})
	f(shaping.Success, false, Result{Status: 429, Sent: true})
	f(shaping.Success, false, Result{Status: 500, Sent: true})
	f(shaping.Success, false, Result{Status: 504, Sent: true})
	f(shaping.Ignore, false, Result{Status: 503, Sent: true})
	f(shaping.Drop, false, Result{Status: 503, Sent: true, Rest: true})
	f(shaping.Drop, false, Result{Fault: FaultTimeout, Sent: true})
	f(shaping.Drop, false, Result{Fault: FaultReset, Sent: true})
	f(shaping.Ignore, true, Result{Fault: FaultTimeout, Sent: true})
	f(shaping.Ignore, false, Result{Fault: FaultConnect})
	f(shaping.Ignore, false, Result{Fault: FaultClient, Sent: true})
	f(shaping.Ignore, false, Result{Fault: FaultProtocol, Sent: true})
	streamed := request("POST", "/")
	streamed.stored = false
	x := &Exchange{car: streamed, begun: 1, headAt: 100, result: Result{Status: 200, Sent: true}}
	if got := x.sample(); got != shaping.Ignore {
		t.Errorf("a body that was sent on as it came: %v", got)
	}
}

// TestHold: the seat of a route that holds it for the headers is free while the answer is sent, and no seat is given back twice.
func TestHold(t *testing.T) {
	g := newGateway(t, `pools: [{name: api, endpoints: [{address: "127.0.0.1:1"}]}]
routes:
  - {name: events, match: {path: "/events"}, pool: api, hold: headers}
  - {name: rest, pool: api}
`)
	gate := g.snap.Load().pools[0].gate
	f := func(path string, want int) {
		t.Helper()
		c := request("GET", path)
		during := -1
		c.deliver = func() { during = gate.Stats().InFlight }
		g.serve(g.exchange(c))
		if after := gate.Stats().InFlight; during != want || after != 0 {
			t.Errorf("%s: %d seats in use while the answer is sent, want %d; %d after", path, during, want, after)
		}
	}
	f("/events", 0)
	f("/rest", 1)
}
