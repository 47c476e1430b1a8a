package gateway

import (
	"bytes"
	"runtime"
	"testing"
	"time"

	"weir/balancer"
	"weir/internal/mono"
	"weir/shaping"
)

const pressed = `pools: [{name: api, endpoints: [{address: "127.0.0.1:1"}]}]
routes: [{name: vital, match: {path: "/vital"}, pool: api, priority: critical}, {name: rest, pool: api}]
policies: [{name: p, limit: 100, window: 1h}]
backpressure:
  signals: {cpu: off, memory: off, queue_delay: off, inflight: 4}
  load_shedding: {}
  degrade: [{at: 0.8, disable: [retries, ratelimit_headers]}]
`

// overload has g believe for so long that n requests are in flight.
func overload(t *testing.T, g *Gateway, n int, at mono.Time, d time.Duration) mono.Time {
	t.Helper()
	gate := g.snap.Load().pools[0].gate
	var seats []shaping.Seat
	for range n {
		s, ok := gate.TryEnter()
		if !ok {
			t.Fatal("no seat")
		}
		seats = append(seats, s)
	}
	for end := at.Add(d); at < end; at = at.Add(pressureEvery) {
		g.pressure.tick(at)
	}
	for i := range seats {
		seats[i].Leave(shaping.Ignore, 0, at)
	}
	return at
}

// TestShed: under load requests are refused by priority before they wait, cost nothing of their limits and say when to come back; what can be done
// without is. When the load is over all is as before.
func TestShed(t *testing.T) {
	g := newGateway(t, pressed)
	serve := func(path string) (*Exchange, *fakeCarrier) {
		c := request("GET", path)
		x := g.exchange(c)
		g.serve(x)
		return x, c
	}
	at := overload(t, g, 16, mono.Now(), 10*time.Second)
	shed := 0
	for range 400 {
		x, c := serve("/")
		if x.verdict.Reason != Shed {
			continue
		}
		shed++
		if c.status != 503 || retryAfter(&x.verdict) < 1 || !bytes.Contains(x.reply.Head, []byte("Weir-Reason: shed\r\n")) || !bytes.Contains(x.reply.Head, []byte("Retry-After: ")) {
			t.Fatalf("status %d, head %s", c.status, x.reply.Head)
		}
	}
	if shed < 350 {
		t.Errorf("%d of 400 shed at four times what is full", shed)
	}
	if x, c := serve("/vital"); x.verdict.Reason == Shed || c.status == 503 {
		t.Error("what is critical was shed")
	}
	if x, _ := serve("/vital"); x.off != noRetries|noLimitFields {
		t.Errorf("features off: %b", x.off)
	}
	if got := g.Load(); got.Level < 1 || got.Worst != "inflight" || len(got.Degraded) != 2 || got.Shed["normal"].Requests != uint64(shed) {
		t.Errorf("%+v", got)
	}
	overload(t, g, 0, at, 15*time.Second)
	for range 5 {
		if x, _ := serve("/"); x.verdict.Reason == Shed || x.off != 0 {
			t.Errorf("still %v, off %b", x.verdict.Reason, x.off)
		}
	}
	if st := g.snap.Load().policies[0].variants[0].limiter.Stats(); st.Allowed-st.Refunded != uint64(400-shed+2+5) || st.Refused > 0 {
		t.Errorf("%d charged and %d given back: what was shed was charged", st.Allowed, st.Refunded)
	}
}

// TestShedByPool: a queue that stands sheds who asks for more than his share of that pool: those with somebody waiting. Others, and other pools, pay nothing.
func TestShedByPool(t *testing.T) {
	g := newGateway(t, `dimensions: [{name: tenant, from: "header:x-tenant"}]
pools: [{name: api, connections: {max: 1}, endpoints: [{address: "127.0.0.1:1"}]}, {name: other, connections: {max: 1}, endpoints: [{address: "127.0.0.1:2"}]}]
routes: [{name: other, match: {path: "/other"}, pool: other}, {name: rest, pool: api}]
backpressure: {signals: {cpu: off, memory: off, queue_delay: 10ms, inflight: off}, queue: {by: tenant, max_wait: 10m}, load_shedding: {}}
`)
	gate := g.snap.Load().pools[0].gate
	held, _ := gate.TryEnter()
	class := func(tenant string) shaping.Class {
		c := request("GET", "/")
		c.fields = map[string]string{"x-tenant": tenant}
		x := g.exchange(c)
		x.route = x.snap.routes[1]
		return x.class()
	}
	now, waits := mono.Now(), make(chan shaping.Refusal)
	for range 3 {
		go func() {
			seat, r := gate.Enter(shaping.Ask{Class: class("crowd"), Due: mono.Never}, now)
			seat.Leave(shaping.Ignore, 0, now)
			waits <- r
		}()
	}
	for gate.Stats().Waiting < 3 {
		runtime.Gosched()
	}
	for at := now; at < now.Add(20*time.Second); at = at.Add(pressureEvery) {
		g.pressure.tick(at)
	}
	shed := func(path, tenant string, route int) (n int) {
		for range 50 {
			c := request("GET", path)
			c.fields = map[string]string{"x-tenant": tenant}
			x := g.exchange(c)
			x.route = x.snap.routes[route]
			if v, refused := x.shed(x.route.targets[0].pool.pool); refused {
				n++
				if v.Reason != Shed || v.Retry == 0 {
					t.Fatalf("%+v", v)
				}
			}
		}
		return n
	}
	if n := shed("/", "crowd", 1); n < 40 {
		t.Errorf("%d of 50 of the crowd are shed", n)
	}
	if n := shed("/", "alone", 1); n != 0 {
		t.Errorf("%d of 50 are shed of who has nobody waiting", n)
	}
	if n := shed("/other", "crowd", 0); n != 0 {
		t.Errorf("%d of 50 are shed before another pool", n)
	}
	if v := g.Load(); v.Worst != "queue_delay" || v.Pool != "api" || g.Queues()[0].Shed["normal"].Requests < 40 || g.Queues()[1].Load != 0 {
		t.Errorf("%+v", v)
	}
	held.Leave(shaping.Ignore, 0, now)
	for range 3 {
		if r := <-waits; r != shaping.OK {
			t.Error(r)
		}
	}
}

// TestPressureOffAndOn: a configuration without the section ends all of it.
func TestPressureOffAndOn(t *testing.T) {
	g := newGateway(t, pressed)
	overload(t, g, 16, mono.Now(), 10*time.Second)
	if g.pressure.node.shedder.Load() == nil || g.pressure.off.Load() == 0 {
		t.Fatal("nothing happened")
	}
	reload(t, g, "pools: [{name: api, endpoints: [{address: \"127.0.0.1:1\"}]}]\nroutes: [{name: rest, pool: api}]\n")
	if g.pressure.node.shedder.Load() != nil || g.pressure.off.Load() != 0 || g.Load().Known {
		t.Error("it goes on")
	}
	g.pressure.tick(mono.Now())
	reload(t, g, pressed)
	if g.pressure.node.shedder.Load().Share() != 0 {
		t.Error("it begins with what was")
	}
}

// TestPeers: a peer's load counts in the mean, its word for three seconds; its open breakers are told to the pool.
func TestPeers(t *testing.T) {
	g, other := newGateway(t, pressed), newGateway(t, pressed)
	now := mono.Now()
	overload(t, other, 8, now, time.Second)
	b := other.snap.Load().pools[0].balancer
	for range 10 {
		lease, miss := b.Lease(0, new(balancer.Set), now)
		if miss != balancer.OK {
			t.Fatal(miss)
		}
		lease.Report(balancer.Fault, time.Millisecond, now)
		lease.Done(now)
	}
	frame := other.AppendPressure(nil, 7)
	if err := g.HearPressure(frame, now); err != nil {
		t.Fatal(err)
	}
	if got := g.pressure.peers.mean("", 0, now); got != 1 {
		t.Errorf("mean load %v of 0 and 2, want 1", got)
	}
	if got := g.snap.Load().pools[0].balancer.Stats().Endpoints[0].PeersEnd; got <= now {
		t.Errorf("the pool has not heard of the open breaker: %v", got)
	}
	if n := g.pressure.peers.heard(now.Add(4 * time.Second)); n != 0 {
		t.Errorf("%d peers after four seconds", n)
	}
}

// FuzzHearPressure: no frame panics, allocates without bound, or opens a breaker.
func FuzzHearPressure(f *testing.F) {
	f.Add([]byte{3, 'a', 'p', 'i', 0, 50, 11, '1', '2', '7', '.', '0', '.', '0', '.', '1', ':', '1', 1, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		words, err := parsePools(frame)
		if err == nil && len(words) > len(frame) {
			t.Errorf("%d words of %d bytes", len(words), len(frame))
		}
	})
}
