package balancer

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/mono"
)

// world is endpoints that can be up or down, in the fake time of a synctest bubble.
type world struct {
	mu     sync.Mutex
	down   map[string]bool
	probes map[string]int
	start  time.Time
}

func newWorld() *world {
	return &world{down: map[string]bool{}, probes: map[string]int{}, start: time.Now()}
}

func (w *world) now() mono.Time { return second(time.Since(w.start).Seconds()) }

func (w *world) set(down bool, addresses ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range addresses {
		w.down[a] = down
	}
}

func (w *world) probe(_ context.Context, e *Endpoint) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.probes[e.Address()]++
	if w.down[e.Address()] {
		return errors.New("connection refused")
	}
	return nil
}

func (w *world) count(address string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.probes[address]
}

// run runs p until the returned function is called, which waits for it.
func run(p *Pool) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	return func() { cancel(); <-done }
}

func TestActiveHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, j := newWorld(), &journal{}
		c := Config{Endpoints: hosts(2), Active: testActive(), Breaker: testBreaker()}
		x, y := c.Endpoints[0].Address, c.Endpoints[1].Address
		w.set(true, y)
		p := newPool(t, c, Hooks{Probe: w.probe, Now: w.now, Event: j.note})
		if states(p) != "hh" {
			t.Error("not healthy before the first probe")
		}
		defer run(p)()
		f := func(after time.Duration, want, events string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if got, ev := states(p), j.kinds(); got != want || ev != events {
				t.Errorf("after %v: %s with events %q, want %s with %q", after, got, ev, want, events)
			}
		}
		f(time.Millisecond, "hu", "unhealthy") // with no history one failed probe decides
		w.set(false, y)
		f(401*time.Millisecond, "hh", "healthy") // it went down just now: probes hurry, and two are good
		w.set(true, x)
		f(2400*time.Millisecond, "uh", "unhealthy") // one interval, then hurried: fall 3
		w.set(true, y)
		f(2400*time.Millisecond, "uu", "unhealthy")
		if _, miss := p.Lease(0, nil, w.now()); miss != NoEndpoint {
			t.Errorf("miss %v when all are dead, want no_endpoint", miss)
		}
		f(30*time.Second, "uu", "")
		w.set(false, x, y)
		f(2*time.Second+time.Millisecond, "hh", "healthy healthy") // within one interval
	})
}

func TestFaultsHurryProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := Config{Endpoints: hosts(2), Active: testActive()}
		c.Active.Interval = 100 * time.Second
		p := newPool(t, c, Hooks{Probe: w.probe, Now: w.now})
		defer run(p)()
		time.Sleep(30 * time.Second)
		x := c.Endpoints[0].Address
		w.set(true, x)
		for range 20 {
			fail(member(t, p, 0), 1, w.now())
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		if states(p) != "uh" || w.count(x) != 4 {
			t.Errorf("%s after %d probes, want uh after 4 at most every 10 s", states(p), w.count(x))
		}
	})
}

func TestProbesAreJittered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var at []time.Time
		p := newPool(t, Config{Endpoints: hosts(1), Active: testActive()}, Hooks{Now: newWorld().now, Probe: func(context.Context, *Endpoint) error {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Now())
			return nil
		}})
		stop := run(p)
		time.Sleep(time.Minute)
		stop()
		gaps := map[time.Duration]bool{}
		for i := 1; i < len(at); i++ {
			gap := at[i].Sub(at[i-1])
			if gap < 1400*time.Millisecond || gap > 1800*time.Millisecond {
				t.Errorf("a gap of %v", gap)
			}
			gaps[gap] = true
		}
		if len(gaps) < 10 {
			t.Errorf("%d different gaps among %d probes", len(gaps), len(at))
		}
	})
}

// TestRecoveryHalfOpensTheBreaker: the only endpoint refuses for 300 ms, too short for Fall; its breaker would wait 30 s.
func TestRecoveryHalfOpensTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := Config{Endpoints: hosts(1), Active: testActive(), Breaker: testBreaker()}
		p := newPool(t, c, Hooks{Probe: w.probe, Now: w.now})
		defer run(p)()
		time.Sleep(5 * time.Second)
		w.set(true, c.Endpoints[0].Address)
		for range 10 {
			exchange(t, p, Fault, w.now())
		}
		time.Sleep(300 * time.Millisecond)
		if _, miss := p.Lease(0, nil, w.now()); miss != BreakerOpen {
			t.Errorf("miss %v, want breaker_open", miss)
		}
		w.set(false, c.Endpoints[0].Address)
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		for range 5 {
			exchange(t, p, Success, w.now())
		}
		if got := p.Stats().Endpoints[0]; got.BreakerState != "closed" || got.BreakerTransitions != 3 {
			t.Errorf("%s after %d transitions, want closed after 3", got.BreakerState, got.BreakerTransitions)
		}
		// What fails requests but not probes keeps its timeout.
		for range 10 {
			exchange(t, p, Failure, w.now())
		}
		time.Sleep(29 * time.Second)
		if _, miss := p.Lease(0, nil, w.now()); miss != BreakerOpen {
			t.Errorf("miss %v, want breaker_open", miss)
		}
	})
}

func TestKeyChangeLetsOneProbeDecide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := Config{Endpoints: hosts(2), Active: testActive()}
		p := newPool(t, c, Hooks{Probe: w.probe, Now: w.now})
		defer run(p)()
		f := func(want string) {
			t.Helper()
			if err := p.Reconfigure(c, w.now()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(201 * time.Millisecond)
			synctest.Wait()
			if got := states(p); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		time.Sleep(20 * time.Second)
		w.set(true, c.Endpoints[0].Address)
		c.Active.Fall = 30
		f("hh")
		c.Active.Key = "/other"
		f("uh")
		w.set(false, c.Endpoints[0].Address)
		c.Active.Key, c.Active.Rise = "/third", 30
		f("hh")
		c.Active.Enabled = false
		w.set(true, c.Endpoints[0].Address, c.Endpoints[1].Address)
		f("hh")
		before := w.count(c.Endpoints[0].Address)
		time.Sleep(time.Minute)
		if w.count(c.Endpoints[0].Address) != before {
			t.Error("probed though turned off")
		}
		c.Active.Enabled = true
		f("uu")
	})
}

func TestRunEndsEjections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, j := newWorld(), &journal{}
		p := newPool(t, Config{Endpoints: hosts(2), Passive: testPassive()}, Hooks{Now: w.now, Event: j.note})
		stop := run(p)
		time.Sleep(time.Second)
		fail(member(t, p, 0), 5, w.now())
		time.Sleep(5*time.Second + 2*time.Millisecond)
		synctest.Wait()
		stop()
		if got := j.kinds(); got != "ejected returned" {
			t.Errorf("events %q without a lease, want ejected returned", got)
		}
	})
}

func TestResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, j := newWorld(), &journal{}
		var answer atomic.Pointer[[]netip.Addr]
		var asked atomic.Int64
		set := func(addrs ...string) {
			var a []netip.Addr
			for _, s := range addrs {
				a = append(a, netip.MustParseAddr(s))
			}
			answer.Store(&a)
		}
		set()
		h := Hooks{Now: w.now, Event: j.note, Resolve: func(_ context.Context, host string) ([]netip.Addr, time.Duration, error) {
			asked.Add(1)
			a := *answer.Load()
			if len(a) == 0 {
				return nil, 0, errors.New("no such host")
			}
			return a, 3 * time.Second, nil
		}}
		c := Config{Endpoints: []EndpointConfig{{Address: "api.example:8443", Weight: 4, Zone: "z"}}, SlowStart: time.Minute}
		p := newPool(t, c, h)
		defer run(p)()
		f := func(after time.Duration, events string, want ...string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			s := p.Stats()
			if len(s.Endpoints) != len(want) {
				t.Fatalf("after %v: %+v, want %v", after, s.Endpoints, want)
			}
			for i, e := range s.Endpoints {
				if e.Address != want[i] || e.Name != "api.example:8443" || e.Weight != 4 || e.Zone != "z" {
					t.Errorf("after %v: %+v, want %s", after, e, want[i])
				}
			}
			if got := j.kinds(); got != events {
				t.Errorf("after %v: events %q, want %q", after, got, events)
			}
		}
		f(1500*time.Millisecond, "resolve_failed")
		if _, miss := p.Lease(0, nil, w.now()); miss != NoEndpoint {
			t.Errorf("miss %v before the first answer", miss)
		}
		set("10.0.0.2", "10.0.0.1", "10.0.0.2")
		f(time.Second, "resolve_recovered", "10.0.0.1:8443", "10.0.0.2:8443")
		kept := member(t, p, 1)
		if kept.ramping.Load() != 0 {
			t.Error("the first answer starts slowly")
		}
		set("10.0.0.2", "10.0.0.3")
		f(3*time.Second, "", "10.0.0.2:8443", "10.0.0.3:8443")
		if member(t, p, 0) != kept || member(t, p, 1).ramping.Load() == 0 {
			t.Error("a kept address is a new endpoint, or a new one does not start slowly")
		}
		set()
		f(10*time.Second, "resolve_failed", "10.0.0.2:8443", "10.0.0.3:8443")
		if err := p.Drain("api.example:8443"); err != nil {
			t.Fatal(err)
		}
		set("10.0.0.4")
		f(time.Second, "draining draining resolve_recovered", "10.0.0.4:8443")
		if states(p) != "d" {
			t.Errorf("a new address of a draining name is %s", states(p))
		}
		if err := p.Reconfigure(Config{}, w.now()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before := asked.Load()
		f(time.Minute, "")
		if asked.Load() != before {
			t.Error("resolves a host that is gone")
		}
		if err := p.Reconfigure(c, w.now()); err != nil {
			t.Fatal(err)
		}
		f(time.Millisecond, "", "10.0.0.4:8443")
	})
}

func TestProbeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := newPool(t, Config{Endpoints: hosts(1), Active: testActive()}, Hooks{Now: w.now, Probe: func(ctx context.Context, _ *Endpoint) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		stop := run(p)
		time.Sleep(501 * time.Millisecond)
		synctest.Wait()
		if states(p) != "u" {
			t.Error("healthy though the probe never answers")
		}
		time.Sleep(300 * time.Millisecond) // in the middle of a probe
		stop()
	})
}

func TestAnOvertakenProbeSaysNothing(t *testing.T) {
	w := newWorld()
	c := Config{Endpoints: hosts(1), Active: testActive()}
	p := newPool(t, c, Hooks{Now: w.now})
	e := member(t, p, 0)
	p.probed(e, "/before", errors.New("404"), w.now())
	if states(p) != "h" || e.known {
		t.Error("a probe of another key counts")
	}
	c.Active.Enabled = false
	if err := p.Reconfigure(c, w.now()); err != nil {
		t.Fatal(err)
	}
	p.probed(e, c.Active.Key, errors.New("404"), w.now())
	if states(p) != "h" || e.known {
		t.Error("a probe counts though probes are off")
	}
	c.Active.Enabled = true
	if err := p.Reconfigure(c, w.now()); err != nil {
		t.Fatal(err)
	}
	p.probed(e, c.Active.Key, errors.New("404"), w.now())
	if states(p) != "u" {
		t.Error("the first probe does not decide")
	}
}
