package balancer

import (
	"testing"
	"time"
)

var allBalances = []Balance{RoundRobin, Weighted, LeastRequests, P2C, Random, RingHash, Maglev}

func TestLeaseIsGivenBackOnce(t *testing.T) {
	for _, b := range allBalances {
		p := newPool(t, Config{Balance: b, Endpoints: hosts(3), Breaker: testBreaker(), Passive: testPassive()}, Hooks{})
		l := lease(t, p, 7, nil, second(0))
		e := l.Endpoint()
		if e.InFlight() != 1 {
			t.Errorf("%v: %d in flight, want 1", b, e.InFlight())
		}
		l.Report(Success, time.Millisecond, second(0))
		l.Report(Fault, time.Millisecond, second(0))
		l.Done(second(0))
		l.Done(second(0))
		l.Report(Fault, time.Millisecond, second(0))
		if e.InFlight() != 0 || e.faults.Load() != 0 {
			t.Errorf("%v: in flight %d, faults %d; want 0, 0", b, e.InFlight(), e.faults.Load())
		}
	}
	var none Lease
	none.Report(Fault, 0, 0)
	none.Done(0)
	if none.Endpoint() != nil {
		t.Error("the zero lease has an endpoint")
	}
}

// TestLeaseOfATunnel: a tunnel is no request in flight, and has none of the connections that these may have; but whatever balances by load
// gives its endpoint less.
func TestLeaseOfATunnel(t *testing.T) {
	for _, b := range allBalances {
		p := newPool(t, Config{Balance: b, Endpoints: hosts(1), MaxConnections: 1, Breaker: testBreaker(), Passive: testPassive()}, Hooks{})
		l := lease(t, p, 7, nil, second(0))
		e := l.Endpoint()
		l.Report(Success, time.Millisecond, second(0))
		for range 2 {
			l.Tunnel()
			if s := p.Stats().Endpoints[0]; s.InFlight != 0 || s.Tunnels != 1 || e.busy() != 1 {
				t.Errorf("%v: %d in flight, %d tunnels", b, s.InFlight, s.Tunnels)
			}
		}
		other := lease(t, p, 7, nil, second(0))
		other.Done(second(0))
		other.Tunnel()
		for range 2 {
			l.Done(second(0))
			l.Tunnel()
			if s := p.Stats().Endpoints[0]; s.InFlight != 0 || s.Tunnels != 0 {
				t.Errorf("%v: %d in flight, %d tunnels afterwards", b, s.InFlight, s.Tunnels)
			}
		}
	}
	for _, b := range []Balance{LeastRequests, P2C, RingHash} {
		p := newPool(t, Config{Balance: b, Endpoints: hosts(2)}, Hooks{})
		tunnels := map[string]int{}
		for range 200 {
			l := lease(t, p, 7, nil, second(0))
			l.Report(Success, time.Millisecond, second(0))
			l.Tunnel()
			tunnels[l.Endpoint().Address()]++
		}
		for _, e := range p.members {
			if n := tunnels[e.Address()]; n < 70 {
				t.Errorf("%v: %s has %d tunnels of 200", b, e.Address(), n)
			}
		}
	}
	var none Lease
	none.Tunnel()
}

// TestLeaseBreaks: an attempt that began well and ended badly counts as one failure beside its success, and others as what they were.
func TestLeaseBreaks(t *testing.T) {
	f := func(name string, failures uint64, open bool, do func(l *Lease)) {
		t.Helper()
		b := testBreaker()
		b.FailureThreshold = 1
		p := newPool(t, Config{Endpoints: hosts(2), Breaker: b, Passive: testPassive()}, Hooks{})
		l := lease(t, p, 0, nil, second(0))
		e := l.Endpoint()
		do(&l)
		if got := e.failures.Load(); got != failures || (e.breaker.State() == BreakerStateOpen) != open {
			t.Errorf("%s: %d failures, breaker %v", name, got, e.breaker.State())
		}
		if all, bad := e.reports.sum(second(1)); bad != failures || all > bad+1 {
			t.Errorf("%s: %d of %d bad", name, bad, all)
		}
	}
	good := func(l *Lease) { l.Report(Success, time.Millisecond, second(0)) }
	broke := func(l *Lease) { l.Broke(second(1)) }
	f("good", 0, false, good)
	f("good, then broke", 1, true, func(l *Lease) { good(l); broke(l) })
	f("twice", 1, true, func(l *Lease) { good(l); broke(l); broke(l) })
	f("bad already", 1, true, func(l *Lease) { l.Report(Failure, 0, second(0)); broke(l) })
	f("not reported", 0, false, broke)
	f("ignored", 0, false, func(l *Lease) { l.Report(Ignore, 0, second(0)); broke(l) })
	f("given back", 0, false, func(l *Lease) { good(l); l.Done(second(0)); broke(l) })
	var none Lease
	none.Broke(0)
}

func TestLeaseSkipsTriedThenReturnsThem(t *testing.T) {
	for _, b := range allBalances {
		p := newPool(t, Config{Balance: b, Endpoints: hosts(4)}, Hooks{})
		var tried Set
		for range 4 {
			l := lease(t, p, 99, &tried, second(0))
			if tried.Has(l.Endpoint()) {
				t.Fatalf("%v: leased a tried endpoint while others were left", b)
			}
			tried.Add(l.Endpoint())
			l.Done(second(0))
		}
		l := lease(t, p, 99, &tried, second(0))
		l.Done(second(0))
	}
}

func TestLeaseAllocatesNothing(t *testing.T) {
	for _, b := range allBalances {
		c := Config{Balance: b, Endpoints: hosts(10, 1, 5, 3), Breaker: testBreaker(), Passive: testPassive(), Active: testActive(),
			Budget: BudgetConfig{Ratio: 0.2, MinPerSecond: 3}, MaxConnections: 100, SlowStart: time.Second, Zone: "a"}
		p := newPool(t, c, Hooks{})
		i := 0.0
		got := testing.AllocsPerRun(1000, func() {
			i++
			now := second(i / 1000)
			var tried Set
			p.Budget().Request(now)
			first, _ := p.Lease(uint64(i), &tried, now)
			first.Report(Ignore, 0, now)
			first.Done(now)
			tried.Add(first.Endpoint())
			p.Budget().Retry(now)
			l, _ := p.Lease(uint64(i), &tried, now)
			l.Report(Success, time.Millisecond, now)
			l.Done(now)
		})
		if got != 0 {
			t.Errorf("%v: %v allocations, want 0", b, got)
		}
	}
}

func TestSetForgetsTheOldest(t *testing.T) {
	p := newPool(t, Config{Endpoints: hosts(20)}, Hooks{})
	var s Set
	s.Add(nil)
	for i := range 20 {
		e := member(t, p, i)
		if s.Has(e) {
			t.Fatalf("has %d before it was added", i)
		}
		s.Add(e)
		s.Add(e)
		for back := range min(i+1, 8) {
			if !s.Has(member(t, p, i-back)) {
				t.Fatalf("after %d, %d is missing", i, i-back)
			}
		}
		if i >= 8 && s.Has(member(t, p, i-8)) {
			t.Fatalf("after %d, %d is still there", i, i-8)
		}
	}
	s.Reset()
	if s.Has(member(t, p, 19)) {
		t.Error("not empty after Reset")
	}
}

// TestTakeLost: what pick found may be gone when it is taken; then nothing may stay counted.
func TestTakeLost(t *testing.T) {
	p := newPool(t, Config{Endpoints: hosts(1), Breaker: BreakerConfig{FailureThreshold: 1, RecoveryThreshold: 1, Timeout: 1, MaxTimeout: 1, HalfOpen: 1}}, Hooks{})
	e := member(t, p, 0)
	f := func(limit int64, now float64, want bool, inflight int64) {
		t.Helper()
		if _, ok := e.take(limit, second(now)); ok != want || e.InFlight() != inflight {
			t.Errorf("%v with %d in flight, want %v with %d", ok, e.InFlight(), want, inflight)
		}
	}
	f(2, 0, true, 1)
	f(2, 0, true, 2)
	f(2, 0, false, 2)
	f(0, 0, true, 3)
	e.breaker.Report(0, false, second(5))
	f(0, 5, false, 3)
	f(9, 5, false, 3)
}
