package balancer

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// fail reports n bad outcomes of e at now, without asking the pool for leases.
func fail(e *Endpoint, n int, now mono.Time) {
	for range n {
		e.inflight.Add(1)
		l := Lease{e: e}
		l.Report(Fault, 0, now)
		l.Done(now)
	}
}

func TestEjectionGrowsAndEnds(t *testing.T) {
	j := &journal{}
	p := newPool(t, Config{Balance: RoundRobin, Endpoints: hosts(3), Passive: testPassive()}, Hooks{Event: j.note})
	e := member(t, p, 1)
	at := 0.0
	f := func(after, ejectedFor float64) {
		t.Helper()
		at += after
		fail(e, 4, second(at))
		if states(p) != "hhh" {
			t.Fatalf("at %v s: %s after four failures", at, states(p))
		}
		fail(e, 1, second(at))
		if states(p) != "heh" {
			t.Fatalf("at %v s: %s after five failures", at, states(p))
		}
		for range 10 {
			if exchange(t, p, Success, second(at+ejectedFor-0.001)) == e {
				t.Fatalf("at %v s: leased before %v s were over", at, ejectedFor)
			}
		}
		at += ejectedFor
		lease(t, p, 0, nil, second(at))
		if states(p) != "hhh" {
			t.Fatalf("at %v s: %s, the ejection has not ended", at, states(p))
		}
		if got := strings.Count(j.kinds(), "ejected"); got != 1 {
			t.Fatalf("%d ejections told", got)
		}
	}
	f(0, 5)
	f(1, 10)
	f(9, 20)
	f(1, 40)
	f(1, 50)
	f(49, 50)
	f(50, 5) // back for as long as it was out: afresh
}

func TestErrorRateEjects(t *testing.T) {
	c := testPassive()
	c.ConsecutiveFailures = 0
	p := newPool(t, Config{Endpoints: hosts(2), Passive: c}, Hooks{})
	e := member(t, p, 0)
	report := func(o Outcome, at float64) {
		l := Lease{e: e}
		l.Report(o, 0, second(at))
	}
	f := func(at float64, good, bad int, want string) {
		t.Helper()
		for range good {
			report(Success, at)
		}
		for range bad {
			report(Failure, at)
		}
		if got := states(p); got != want {
			t.Errorf("at %v s: %s, want %s", at, got, want)
		}
	}
	f(0, 0, 19, "hh")  // too few
	f(11, 11, 9, "hh") // the old ones are out of sight, 45 %
	f(12, 0, 1, "hh")  // 10 of 21
	f(13, 0, 1, "eh")  // 11 of 22
}

// TestMaxEject: whatever fails, never more than max(1, share) are ejected, never all, and there is always a lease.
func TestMaxEject(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "n")
		c := Config{Balance: rapid.SampledFrom(allBalances).Draw(t, "balance"), Endpoints: hosts(n), Passive: testPassive()}
		c.Passive.MaxEject = float64(rapid.IntRange(0, 10).Draw(t, "max")) / 10
		p, err := New("test", c, Hooks{}, second(0))
		if err != nil {
			t.Fatal(err)
		}
		now := second(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
			fail(p.members[rapid.IntRange(0, n-1).Draw(t, "which")], rapid.IntRange(1, 6).Draw(t, "failures"), now)
			ejected := strings.Count(states(p), "e")
			if ejected > max(1, int(c.Passive.MaxEject*float64(n)+1e-9)) || ejected == n {
				t.Fatalf("%d of %d ejected at %v", ejected, n, c.Passive.MaxEject)
			}
			l, miss := p.Lease(1, nil, now)
			if miss != OK {
				t.Fatal(miss)
			}
			l.Done(now)
		}
	})
}

func TestOnlyOneStaysAndItsBreakerAnswers(t *testing.T) {
	p := newPool(t, Config{Endpoints: hosts(1), Passive: testPassive(), Breaker: testBreaker()}, Hooks{})
	for range 10 {
		exchange(t, p, Fault, second(0))
	}
	if _, miss := p.Lease(0, nil, second(0)); miss != BreakerOpen || states(p) != "h" {
		t.Errorf("%v, state %s; want breaker_open, h", miss, states(p))
	}
}

func TestTheEjectedAreUsedWhenTheRestIsGone(t *testing.T) {
	c := Config{Endpoints: hosts(2), Passive: testPassive()}
	p := newPool(t, c, Hooks{})
	fail(member(t, p, 0), 5, second(0))
	if err := p.Drain(c.Endpoints[1].Address); err != nil {
		t.Fatal(err)
	}
	if e := exchange(t, p, Success, second(0)); e != member(t, p, 0) {
		t.Error("leased what drains")
	}
	c.Passive = PassiveConfig{}
	if err := p.Reconfigure(c, second(0)); err != nil || states(p) != "hd" {
		t.Errorf("%v, %s: ejected though passive health is off", err, states(p))
	}
}

// TestKillUnderLoad sends 300 requests a second for 20 s, with one retry, while one of n endpoints refuses from second 2 to 5,
// and one more is dead from the second 8 on.
func TestKillUnderLoad(t *testing.T) {
	for _, b := range allBalances {
		for _, n := range []int{2, 5} {
			c := Config{Balance: b, Endpoints: hosts(n), Passive: testPassive(), Breaker: testBreaker(), Panic: 0.3,
				Budget: BudgetConfig{Ratio: 0.2, MinPerSecond: 3}, MaxConnections: 1024}
			p := newPool(t, c, Hooks{})
			down := func(e *Endpoint, at float64) bool {
				return e == member(t, p, 0) && at >= 2 && at < 5 || e == member(t, p, 1) && at >= 8
			}
			failed, retried := 0, 0
			for i := range 6000 {
				at := float64(i) / 300
				now := second(at)
				var tried Set
				ok := false
				p.Budget().Request(now)
				for attempt := range 2 {
					if attempt > 0 && !p.Budget().Retry(now) {
						break
					}
					l, miss := p.Lease(mix(uint64(i)), &tried, now)
					if miss != OK {
						break
					}
					ok = !down(l.Endpoint(), at)
					if ok {
						l.Report(Success, time.Millisecond, now)
					} else {
						l.Report(Fault, time.Microsecond, now)
						retried++
					}
					l.Done(now)
					tried.Add(l.Endpoint())
					if ok {
						break
					}
				}
				if !ok {
					failed++
				}
			}
			if failed > 0 || retried == 0 || retried > 100 {
				t.Errorf("%v of %d: %d failed, %d retried", b, n, failed, retried)
			}
		}
	}
}
