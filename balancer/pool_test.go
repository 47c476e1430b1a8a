package balancer

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

func TestConfigFaultsAreAllTold(t *testing.T) {
	f := func(change func(*Config), want ...string) {
		t.Helper()
		c := Config{Endpoints: hosts(2), Active: testActive(), Passive: testPassive(), Breaker: testBreaker()}
		change(&c)
		_, err := New("api", c, Hooks{Probe: noProbe}, 0)
		if err == nil {
			t.Errorf("no error, want %q", want)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("error %q lacks %q", err, w)
			}
		}
	}
	f(func(c *Config) { c.Endpoints[0].Address = "10.0.0.1" }, "pool api", "want host:port")
	f(func(c *Config) { c.Endpoints[0].Address = "10.0.0.1:0" }, "65535")
	f(func(c *Config) { c.Endpoints[0].Address = ":80" }, "host is missing")
	f(func(c *Config) { c.Endpoints[0].Weight = 0; c.Panic = 2 }, "weight 0", "panic 2")
	f(func(c *Config) { c.Endpoints[1] = c.Endpoints[0] }, "given twice")
	f(func(c *Config) { c.Endpoints[0].Address = "example.com:80" }, "Resolve")
	f(func(c *Config) { c.Active.Interval = 0 }, "interval")
	f(func(c *Config) { c.Active.Rise = 0 }, "rise")
	f(func(c *Config) { c.Passive.Eject = 0 }, "eject")
	f(func(c *Config) { c.Passive.MaxEject = -1 }, "max eject")
	f(func(c *Config) { c.Passive.MinRequests = -1 }, "negative")
	f(func(c *Config) { c.Breaker.HalfOpen = 0 }, "half open")
	f(func(c *Config) { c.Breaker.MaxTimeout = 1 }, "max timeout")
	f(func(c *Config) { c.MaxConnections = -1 }, "max connections")
	f(func(c *Config) { c.SlowStart = -1 }, "slow start")
	f(func(c *Config) { c.Budget.Ratio = -1 }, "retry budget")
	f(func(c *Config) { c.Balance = 99 }, "balance(99)")
	if _, err := New("api", Config{Active: testActive()}, Hooks{}, 0); err == nil || !strings.Contains(err.Error(), "Probe") {
		t.Errorf("error %v, want one about Probe", err)
	}
}

func TestMisses(t *testing.T) {
	for _, b := range allBalances {
		p := newPool(t, Config{Balance: b, Breaker: BreakerConfig{FailureThreshold: 1, RecoveryThreshold: 1, Timeout: time.Second, MaxTimeout: time.Second, HalfOpen: 1}}, Hooks{})
		f := func(want Miss, now mono.Time) Lease {
			t.Helper()
			l, miss := p.Lease(1, nil, now)
			if miss != want || (miss == OK) != (l.Endpoint() != nil) {
				t.Errorf("%v: %v with %v, want %v", b, miss, l.Endpoint(), want)
			}
			return l
		}
		f(NoEndpoint, second(0))
		c := p.cfg
		c.Endpoints, c.MaxConnections = hosts(2), 1
		if err := p.Reconfigure(c, second(0)); err != nil {
			t.Fatal(err)
		}
		x, y := f(OK, second(0)), f(OK, second(0))
		f(NoRoom, second(0))
		x.Report(Fault, 0, second(0))
		x.Done(second(0))
		f(NoRoom, second(0)) // one is full, the other's breaker is open
		y.Report(Failure, 0, second(0))
		y.Done(second(0))
		f(BreakerOpen, second(0.9))
		for range 6 { // half open, one permit each: it comes back without a verdict
			z := f(OK, second(1))
			z.Done(second(1))
			z = f(OK, second(1))
			z.Report(Ignore, 0, second(1))
			z.Done(second(1))
		}
		for _, e := range c.Endpoints {
			if err := p.Drain(e.Address); err != nil {
				t.Fatal(err)
			}
		}
		f(NoEndpoint, second(2))
		for _, e := range p.members {
			if e.InFlight() != 0 {
				t.Errorf("%v: %d in flight", b, e.InFlight())
			}
		}
	}
}

func TestReconfigureKeepsStateOfTheSame(t *testing.T) {
	var attached, detached []string
	h := Hooks{
		Attach: func(e *Endpoint) any { attached = append(attached, e.Address()); return "conns of " + e.Address() },
		Detach: func(e *Endpoint) { detached = append(detached, e.Value.(string)) },
	}
	c := Config{Endpoints: hosts(3), Passive: testPassive(), Breaker: testBreaker()}
	p := newPool(t, c, h)
	held := lease(t, p, 0, nil, second(0))
	held.Report(Success, 7*time.Millisecond, second(0))
	e := held.Endpoint()
	c.Endpoints = append([]EndpointConfig{{Address: "10.0.9.9:80", Weight: 2}}, hosts(2, 5)...)
	c.Endpoints[1].Zone = "b"
	if err := p.Reconfigure(c, second(1)); err != nil {
		t.Fatal(err)
	}
	if got := member(t, p, 1); got != e || e.InFlight() != 1 || e.latency.last() != 7*time.Millisecond || e.Zone() != "b" || e.weight.Load() != 5 {
		t.Errorf("the first endpoint did not keep its state: %+v", p.Stats())
	}
	if strings.Join(attached, " ") != "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.9.9:80" || strings.Join(detached, " ") != "conns of 10.0.0.3:80" {
		t.Errorf("attached %v, detached %v", attached, detached)
	}
	before := p.Stats()
	c.Panic = 7
	if err := p.Reconfigure(c, second(1)); err == nil || p.Stats().Healthy != before.Healthy || p.cfg.Panic != 0 {
		t.Errorf("a bad configuration gave %v and changed something", err)
	}
	held.Done(second(2))
	if e.InFlight() != 0 {
		t.Error("in flight after Done")
	}
}

func TestDrainAndReady(t *testing.T) {
	j := &journal{}
	p := newPool(t, Config{Endpoints: hosts(2)}, Hooks{Event: j.note})
	err := p.Drain("10.0.0.7:80")
	if err == nil || !strings.Contains(err.Error(), "10.0.0.1:80, 10.0.0.2:80") {
		t.Errorf("error %v, want one that lists what is known", err)
	}
	for range 4 { // two each
		l := lease(t, p, 0, nil, second(0))
		if l.Endpoint().InFlight() == 2 {
			l.Tunnel()
		}
	}
	if err := p.Drain("10.0.0.1:80"); err != nil {
		t.Fatal(err)
	}
	if d := j.ev[0].Detail; d != "1 requests and 1 tunnels are in progress" {
		t.Errorf("it began with %q", d)
	}
	for range 10 {
		if e := exchange(t, p, Success, second(0)); e.Address() != "10.0.0.2:80" {
			t.Fatal("leased a draining endpoint")
		}
	}
	if err := p.Reconfigure(Config{Endpoints: hosts(3)}, second(0)); err != nil {
		t.Fatal(err)
	}
	if s := states(p); s != "dhh" {
		t.Errorf("states %s after a reload, want dhh", s)
	}
	if err := p.Ready("10.0.0.1:80"); err != nil || states(p) != "hhh" {
		t.Errorf("%v, states %s", err, states(p))
	}
	if got := j.kinds(); got != "draining ready" {
		t.Errorf("events %q", got)
	}
}

func TestZoneIsPreferredWhileItIsWell(t *testing.T) {
	c := Config{Balance: RoundRobin, Endpoints: hosts(8), Zone: "a", MaxConnections: 1}
	for i := range c.Endpoints {
		c.Endpoints[i].Zone = []string{"a", "b"}[i/4]
	}
	p := newPool(t, c, Hooks{})
	f := func(want string) {
		t.Helper()
		seen := map[string]bool{}
		for range 16 {
			seen[exchange(t, p, Success, second(0)).Zone()] = true
		}
		if got := len(seen); got != len(want) || !seen[want[:1]] {
			t.Errorf("leases in zones %v, want %s", seen, want)
		}
	}
	f("a")
	setUnhealthy(p, 0)
	f("a") // three of four: 75 %
	setUnhealthy(p, 0, 1)
	f("ab")
	setUnhealthy(p)
	f("a")
	var held []Lease
	for range 4 { // our zone is full: the other one helps
		held = append(held, lease(t, p, 0, nil, second(0)))
	}
	f("b")
	for i := range held {
		held[i].Done(second(0))
	}
	c.Zone = "c"
	if err := p.Reconfigure(c, second(0)); err != nil {
		t.Fatal(err)
	}
	f("ab")
}

// setUnhealthy makes those members unhealthy, and the others well.
func setUnhealthy(p *Pool, which ...int) {
	p.mu.Lock()
	for _, e := range p.members {
		e.unhealthy = false
	}
	for _, i := range which {
		p.members[i].unhealthy = true
	}
	p.rebuildLocked(second(0))
	p.unlock()
}

func TestPanic(t *testing.T) {
	for _, b := range allBalances {
		j := &journal{}
		p := newPool(t, Config{Balance: b, Endpoints: hosts(4), Panic: 0.5}, Hooks{Event: j.note})
		reach := func() int {
			seen := map[*Endpoint]bool{}
			for i := range 400 {
				if l, miss := p.Lease(mix(uint64(i)), nil, second(0)); miss == OK {
					seen[l.Endpoint()] = true
					l.Done(second(0))
				}
			}
			return len(seen)
		}
		f := func(unhealthy []int, want int, panics bool, events string) {
			t.Helper()
			setUnhealthy(p, unhealthy...)
			s := p.Stats()
			if got, ev := reach(), j.kinds(); got != want || s.Panic != panics || ev != events || s.Healthy != 4-len(unhealthy) {
				t.Errorf("%v: %v unhealthy: %d reached, panic %v, events %q; want %d, %v, %q", b, unhealthy, got, s.Panic, ev, want, panics, events)
			}
		}
		f(nil, 4, false, "")
		f([]int{0, 1}, 2, false, "")
		f([]int{0, 1, 2}, 4, true, "panic")
		f([]int{0, 1, 2, 3}, 0, false, "panic_over") // nothing to gain
		f([]int{0}, 3, false, "")
	}
}

func TestSlowStart(t *testing.T) {
	for _, b := range []Balance{RoundRobin, Weighted, Random, LeastRequests} {
		c := Config{Balance: b, Endpoints: hosts(1), SlowStart: 10 * time.Second}
		p := newPool(t, c, Hooks{})
		if member(t, p, 0).ramping.Load() != 0 {
			t.Errorf("%v: the first endpoint starts slowly", b)
		}
		c.Endpoints = hosts(2)
		if err := p.Reconfigure(c, second(0)); err != nil {
			t.Fatal(err)
		}
		young := member(t, p, 1)
		f := func(at, low, high float64) {
			t.Helper()
			before := young.leases.Load()
			var held []Lease
			for range 2000 {
				l := lease(t, p, 0, nil, second(at))
				if b == LeastRequests {
					held = append(held, l)
				} else {
					l.Done(second(at))
				}
			}
			for i := range held {
				held[i].Done(second(at))
			}
			ratio := float64(young.leases.Load()-before) / 2000
			ratio /= 1 - ratio
			if ratio < low || ratio > high {
				t.Errorf("%v: at %v s it has %.2f of the other's leases, want %v to %v", b, at, ratio, low, high)
			}
		}
		f(0, 0.05, 0.17)
		f(5, 0.35, 0.75)
		f(10, 0.85, 1.15)
		if young.ramping.Load() != 0 {
			t.Errorf("%v: the ramp has not ended", b)
		}
	}
}

// TestNothingIsLost runs random calls and looks at what must always hold.
func TestNothingIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{
			Balance: rapid.SampledFrom(allBalances).Draw(t, "balance"), Endpoints: hosts(rapid.IntRange(1, 6).Draw(t, "n")),
			Passive: testPassive(), Breaker: testBreaker(), Panic: rapid.SampledFrom([]float64{0, 0.5}).Draw(t, "panic"),
			MaxConnections: rapid.IntRange(0, 3).Draw(t, "max"), SlowStart: time.Second,
		}
		c.Breaker.FailureThreshold = 3
		p, err := New("test", c, Hooks{}, second(0))
		if err != nil {
			t.Fatal(err)
		}
		now := second(0)
		var out []Lease
		all := map[*Endpoint]bool{}
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
			switch op := rapid.IntRange(0, 9).Draw(t, "op"); {
			case op < 4:
				l, miss := p.Lease(uint64(op), nil, now)
				if (miss == OK) != (l.Endpoint() != nil) {
					t.Fatalf("%v with %v", miss, l.Endpoint())
				}
				if miss == OK {
					out = append(out, l)
				}
				if miss == NoEndpoint && len(p.members) > 0 {
					t.Fatal("no endpoint, though nothing but ejection could have taken them")
				}
			case op < 9 && len(out) > 0:
				i := rapid.IntRange(0, len(out)-1).Draw(t, "which")
				out[i].Report(Outcome(rapid.IntRange(0, 3).Draw(t, "outcome")), time.Millisecond, now)
				if op > 5 {
					out[i].Done(now)
					out = append(out[:i], out[i+1:]...)
				}
			case op == 9:
				c.Endpoints = hosts(rapid.IntRange(1, 6).Draw(t, "n"))
				if err := p.Reconfigure(c, now); err != nil {
					t.Fatal(err)
				}
			}
			for _, e := range p.members {
				all[e] = true
			}
			held := map[*Endpoint]int64{}
			for i := range out {
				held[out[i].Endpoint()]++
			}
			for e := range all {
				if e.InFlight() != held[e] {
					t.Fatalf("%d in flight, %d held", e.InFlight(), held[e])
				}
			}
		}
	})
}

func TestTwoNamesForOneAddress(t *testing.T) {
	h := Hooks{Resolve: func(context.Context, string) ([]netip.Addr, time.Duration, error) { return nil, 0, nil }}
	c := Config{Endpoints: []EndpointConfig{{Address: "10.0.0.1:80", Weight: 3}, {Address: "web.example:80", Weight: 1}}}
	p := newPool(t, c, h)
	p.resolved(p.answers["web.example"], []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("fd00::1")}, nil, second(0))
	s := p.Stats()
	if len(s.Endpoints) != 2 || s.Endpoints[0].Weight != 3 || s.Endpoints[1].Address != "[fd00::1]:80" || s.Endpoints[1].Name != "web.example:80" {
		t.Errorf("%+v", s.Endpoints)
	}
}
