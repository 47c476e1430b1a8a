package balancer

import (
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// machine is the breaker's reference: plain fields, no cleverness.
type machine struct {
	c         BreakerConfig
	state     BreakerState
	gen       uint32
	failures  int
	permits   int
	successes int
	openings  int
	opened    mono.Time
	until     mono.Time
	warned    mono.Time
}

func (m *machine) enter(s BreakerState) {
	m.state = s
	m.gen++
	m.failures, m.permits, m.successes = 0, 0, 0
}

func (m *machine) permit(now mono.Time) (uint32, bool) {
	if m.state == BreakerStateOpen && now >= m.until {
		m.enter(BreakerStateHalfOpen)
	}
	if m.state == BreakerStateOpen || m.state == BreakerStateHalfOpen && m.permits >= m.c.HalfOpen {
		return m.gen, false
	}
	if m.state == BreakerStateHalfOpen {
		m.permits++
	}
	return m.gen, true
}

func (m *machine) open(now mono.Time) {
	m.openings++
	m.opened = now
	m.until = now.Add(m.wait())
	m.enter(BreakerStateOpen)
}

func (m *machine) wait() time.Duration {
	return time.Duration(min(float64(m.c.Timeout)*math.Pow(2, float64(m.openings-1)), float64(m.c.MaxTimeout)))
}

func (m *machine) reconfigure(c BreakerConfig) {
	m.c = c
	if m.state == BreakerStateOpen {
		m.until = m.opened.Add(m.wait())
	}
	if m.state != BreakerStateClosed && c.FailureThreshold == 0 {
		m.openings = 0
		m.enter(BreakerStateClosed)
	}
}

func (m *machine) report(gen uint32, success bool, now mono.Time) {
	if gen != m.gen || m.c.FailureThreshold == 0 {
		return
	}
	switch {
	case m.state == BreakerStateClosed && success:
		m.failures = 0
	case m.state == BreakerStateClosed:
		enough := m.c.FailureThreshold
		if now < m.warned {
			enough = max(1, enough/4)
		}
		if m.failures++; m.failures >= enough {
			m.open(now)
		}
	case m.state == BreakerStateHalfOpen && success:
		m.permits--
		if m.successes++; m.successes >= m.c.RecoveryThreshold {
			m.openings = 0
			m.enter(BreakerStateClosed)
		}
	case m.state == BreakerStateHalfOpen:
		m.open(now)
	}
}

func (m *machine) cancel(gen uint32) {
	if gen == m.gen && m.state == BreakerStateHalfOpen {
		m.permits--
	}
}

func drawBreaker(t *rapid.T) BreakerConfig {
	timeout := time.Duration(rapid.IntRange(1, 20).Draw(t, "timeout")) * time.Second
	return BreakerConfig{
		FailureThreshold:  rapid.IntRange(0, 9).Draw(t, "failures"),
		RecoveryThreshold: rapid.IntRange(1, 4).Draw(t, "recovery"),
		Timeout:           timeout,
		MaxTimeout:        timeout * time.Duration(rapid.IntRange(1, 9).Draw(t, "max")),
		HalfOpen:          rapid.IntRange(1, 3).Draw(t, "halfopen"),
	}
}

// TestBreakerIsItsMachine runs random calls, with answers that come in any order and generation, warnings and changes of the
// numbers, against the reference.
func TestBreakerIsItsMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawBreaker(t)
		var seen []BreakerState
		b, m := NewBreaker(c, func(to BreakerState, _ time.Duration) { seen = append(seen, to) }), &machine{c: c}
		now := second(0)
		var out []uint32
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			ready := b.Ready(now)
			switch op := rapid.IntRange(0, 11).Draw(t, "op"); {
			case op == 11:
				m.warned = now.Add(time.Duration(rapid.IntRange(-1, 10).Draw(t, "warned")) * time.Second)
				b.Warn(m.warned)
			case op == 10:
				c = drawBreaker(t)
				b.Reconfigure(c)
				m.reconfigure(c)
			case op < 4 || len(out) == 0:
				gen, ok := b.Permit(now)
				wantGen, want := m.permit(now)
				if ok != want || ok && gen != wantGen || ready != ok {
					t.Fatalf("Permit = %d, %v (Ready %v), want %d, %v", gen, ok, ready, wantGen, want)
				}
				if ok {
					out = append(out, gen)
				}
			case op == 9:
				now = now.Add(c.Timeout)
			default:
				i := rapid.IntRange(0, len(out)-1).Draw(t, "which")
				gen := out[i]
				out = append(out[:i], out[i+1:]...)
				if op == 8 {
					b.Cancel(gen)
					m.cancel(gen)
				} else {
					b.Report(gen, op < 6, now)
					m.report(gen, op < 6, now)
				}
			}
			if b.State() != m.state || b.Transitions() != uint64(m.gen) || len(seen) != int(m.gen) {
				t.Fatalf("state %v after %d transitions (%d told), want %v after %d", b.State(), b.Transitions(), len(seen), m.state, m.gen)
			}
			if len(seen) > 0 && seen[len(seen)-1] != m.state {
				t.Fatalf("told %v, want %v", seen[len(seen)-1], m.state)
			}
		}
	})
}

func TestBreakerTimeoutsDouble(t *testing.T) {
	c := BreakerConfig{FailureThreshold: 1, RecoveryThreshold: 1, Timeout: 10 * time.Second, MaxTimeout: 35 * time.Second, HalfOpen: 1}
	var waits []time.Duration
	b := NewBreaker(c, func(to BreakerState, wait time.Duration) {
		if to == BreakerStateOpen {
			waits = append(waits, wait)
		}
	})
	now := second(0)
	fail := func(after time.Duration, success bool) {
		t.Helper()
		now = now.Add(after)
		if _, ok := b.Permit(now - 1); ok && after > 0 {
			t.Fatalf("permitted before %v were over", after)
		}
		gen, ok := b.Permit(now)
		if !ok {
			t.Fatalf("not permitted after %v", after)
		}
		b.Report(gen, success, now)
	}
	fail(0, false)
	fail(10*time.Second, false)
	fail(20*time.Second, false)
	fail(35*time.Second, false)
	fail(35*time.Second, true) // closed: the doubling starts anew
	fail(0, false)
	want := []time.Duration{10e9, 20e9, 35e9, 35e9, 10e9}
	if len(waits) != len(want) {
		t.Fatalf("opened for %v, want %v", waits, want)
	}
	for i := range want {
		if waits[i] != want[i] {
			t.Fatalf("opened for %v, want %v", waits, want)
		}
	}
}

func TestBreakerHalfOpensEarlyAndTurnsOff(t *testing.T) {
	c := testBreaker()
	c.FailureThreshold = 1
	b := NewBreaker(c, nil)
	b.HalfOpen() // closed: nothing to do
	gen, _ := b.Permit(second(0))
	b.Report(gen, false, second(0))
	if _, ok := b.Permit(second(1)); ok {
		t.Fatal("permitted while open")
	}
	b.HalfOpen()
	for i := range 5 {
		if _, ok := b.Permit(second(1)); ok != (i < c.HalfOpen) {
			t.Fatalf("permit %d: %v", i, ok)
		}
	}
	c.FailureThreshold = 0
	b.Reconfigure(c)
	for range 100 {
		gen, ok := b.Permit(second(2))
		if !ok {
			t.Fatal("refused though off")
		}
		b.Report(gen, false, second(2))
	}
}

// TestBreakerReshapedInPlace: new numbers hold from the next report or permit on, and nothing that was counted is lost.
func TestBreakerReshapedInPlace(t *testing.T) {
	c := testBreaker()
	p := newPool(t, Config{Endpoints: hosts(1), Breaker: c}, Hooks{})
	e := member(t, p, 0)
	reshape := func(change func(*BreakerConfig), at float64) {
		t.Helper()
		change(&c)
		if err := p.Reconfigure(Config{Endpoints: hosts(1), Breaker: c}, second(at)); err != nil {
			t.Fatal(err)
		}
	}
	is := func(want BreakerState) {
		t.Helper()
		if got := e.breaker.State(); got != want {
			t.Fatalf("%v, want %v", got, want)
		}
	}
	permits := func(at float64, want int) (l []Lease) {
		t.Helper()
		for {
			one, miss := p.Lease(0, nil, second(at))
			if miss != OK {
				break
			}
			l = append(l, one)
		}
		if len(l) != want {
			t.Fatalf("%d permits at %v s, want %d", len(l), at, want)
		}
		return l
	}
	fail(e, 4, second(0))
	reshape(func(c *BreakerConfig) { c.FailureThreshold = 5 }, 0)
	is(BreakerStateClosed)
	fail(e, 1, second(0)) // the fifth: four are remembered
	is(BreakerStateOpen)
	permits(29, 0)
	reshape(func(c *BreakerConfig) { c.Timeout = 40 * time.Second }, 29)
	permits(39, 0)
	reshape(func(c *BreakerConfig) { c.Timeout = 4 * time.Second }, 39)
	l := permits(39, 3)
	reshape(func(c *BreakerConfig) { c.HalfOpen = 4 }, 39)
	l = append(l, permits(39, 1)...)
	for i := range l[:3] {
		l[i].Report(Success, 0, second(39))
	}
	is(BreakerStateHalfOpen)
	reshape(func(c *BreakerConfig) { c.RecoveryThreshold = 4 }, 39)
	l[3].Report(Success, 0, second(39)) // the fourth
	is(BreakerStateClosed)
}

// TestTheLastReconfigureCounts: of changes at the same time, pool and breakers end with the same one.
func TestTheLastReconfigureCounts(t *testing.T) {
	p := newPool(t, Config{Endpoints: hosts(3), Breaker: testBreaker()}, Hooks{})
	for range 200 {
		var wg sync.WaitGroup
		for n := range 4 {
			c := testBreaker()
			c.FailureThreshold += n
			wg.Go(func() {
				if err := p.Reconfigure(Config{Endpoints: hosts(3), Breaker: c}, second(0)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, e := range p.members {
			if e.breaker.cfg != p.cfg.Breaker {
				t.Fatalf("the breaker has %+v, the pool %+v", e.breaker.cfg, p.cfg.Breaker)
			}
		}
	}
}

// TestBreakerClosesOnceWhenTurnedOff: a change that turns breakers off is told as their closing.
func TestBreakerClosesOnceWhenTurnedOff(t *testing.T) {
	j := &journal{}
	p := newPool(t, Config{Endpoints: hosts(2), Breaker: testBreaker()}, Hooks{Event: j.note})
	fail(member(t, p, 1), 10, second(0))
	if err := p.Reconfigure(Config{Endpoints: hosts(2)}, second(0)); err != nil {
		t.Fatal(err)
	}
	if got := j.kinds(); got != "breaker_open breaker_closed" {
		t.Errorf("told %q", got)
	}
}
