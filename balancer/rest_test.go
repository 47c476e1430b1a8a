package balancer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// wish makes e ask for a rest of d.
func wish(e *Endpoint, d time.Duration, now mono.Time) {
	l := Lease{e: e}
	l.Rest(d, now)
}

// TestRest is a table of time: wishes for a rest of the first endpoint, and whether it rests before and after.
func TestRest(t *testing.T) {
	for _, b := range allBalances {
		j := &journal{}
		p := newPool(t, Config{Balance: b, Endpoints: hosts(3), Passive: testPassive(), Breaker: testBreaker()}, Hooks{Event: j.note})
		e := member(t, p, 0)
		f := func(at float64, wished time.Duration, want bool, events string) {
			t.Helper()
			if wished != 0 {
				wish(e, wished, second(at))
			}
			met := 0
			for i := range 60 {
				l := lease(t, p, mix(uint64(i)), nil, second(at))
				if l.Endpoint() == e {
					met++
				}
				l.Done(second(at))
			}
			state, wantState := states(p), map[bool]string{true: "rhh", false: "hhh"}[want]
			if want != (met == 0) || state != wantState || p.Stats().Healthy != 3 {
				t.Errorf("%v at %v s: leased %d times, %s; want %s", b, at, met, state, wantState)
			}
			if got := j.kinds(); got != events {
				t.Errorf("%v at %v s: told %q, want %q", b, at, got, events)
			}
		}
		f(0, 0, false, "")
		f(0, -time.Second, false, "")
		f(1, 3*time.Second, true, "resting")
		f(1.5, time.Second, true, "") // no shorter
		f(3.99, 0, true, "")
		f(4, 0, false, "")                 // all its weight at once
		f(5, time.Second, true, "resting") // again
		f(5.05, 9*time.Second, true, "")   // not heard: just after the last
		f(5.2, 2*time.Second, true, "")    // longer
		f(5.4, time.Millisecond, true, "") // no shorter than the longer
		f(7.19, 0, true, "")
		f(7.2, 0, false, "")
		f(8, time.Hour, true, "resting") // the cap
		if s := p.Stats().Endpoints[0]; s.RestEnd != second(18) || s.Since != second(8) || !s.Healthy || p.Stats().Endpoints[1].RestEnd != 0 {
			t.Errorf("%+v", s)
		}
		f(17.9, 0, true, "")
		f(18, 0, false, "")
		if e.breaker.Transitions() != 0 || e.failing.Load() != 0 || e.failures.Load() != 0 {
			t.Errorf("%v: wishes alone counted as failures", b)
		}
	}
	var none Lease
	none.Rest(time.Second, 0)
}

// TestTheLastDoesNotRest: neither the only one, nor the last that is well and awake, nor more than the share.
func TestTheLastDoesNotRest(t *testing.T) {
	f := func(n int, share float64, want string) *Pool {
		t.Helper()
		c := Config{Endpoints: hosts(n), Passive: testPassive()}
		c.Passive.MaxEject = share
		p := newPool(t, c, Hooks{})
		for i := range n {
			wish(member(t, p, i), time.Second, second(0))
		}
		if got := states(p); got != want {
			t.Errorf("%d of them, share %v: %s, want %s", n, share, got, want)
		}
		return p
	}
	f(1, 1, "h")
	f(2, 0, "rh")
	f(2, 1, "rh")
	f(4, 0.5, "rrhh")
	f(4, 1, "rrrh")
	f(6, 0.34, "rrhhhh")

	p := f(4, 0.5, "rrhh")
	fail(member(t, p, 2), 5, second(0)) // an ejection takes the room of the rest that ends first
	if got := states(p); got != "hreh" && got != "rheh" {
		t.Errorf("%s after an ejection", got)
	}
	if err := p.Drain("10.0.0.4:80"); err != nil {
		t.Fatal(err)
	}
	if got := states(p); got != "hhed" {
		t.Errorf("%s: one of three may be out", got)
	}
	p = f(2, 0.5, "rh")
	if err := p.Drain("10.0.0.2:80"); err != nil {
		t.Fatal(err)
	}
	if got := states(p); got != "hd" || exchange(t, p, Success, second(0)) != member(t, p, 0) {
		t.Errorf("%s: the last one rests", got)
	}
}

// TestRestOfTheIll: what is out for another reason, gone, or in panic, does not rest, and nothing is told.
func TestRestOfTheIll(t *testing.T) {
	j := &journal{}
	c := Config{Endpoints: hosts(4), Passive: testPassive(), Active: testActive(), Breaker: testBreaker()}
	c.Passive.MaxEject = 1
	p := newPool(t, c, Hooks{Event: j.note})
	f := func(what string, e *Endpoint, want, events string) {
		t.Helper()
		j.kinds()
		wish(e, 9*time.Second, second(1))
		if got, told := states(p), j.kinds(); got != want || told != events {
			t.Errorf("%s: %s and %q, want %s and %q", what, got, told, want, events)
		}
	}
	e := member(t, p, 0)
	p.probed(e, "/", errors.New("refused"), second(1))
	f("unhealthy", e, "uhhh", "")
	p.probed(e, "/", nil, second(1))
	p.probed(e, "/", nil, second(1))
	e.deaf.Store(0)
	f("well again", e, "rhhh", "resting")
	p.probed(e, "/", errors.New("refused"), second(1))
	p.probed(e, "/", errors.New("refused"), second(1))
	p.probed(e, "/", errors.New("refused"), second(1))
	for i := range 3 {
		fail(member(t, p, i+1), 10, second(1))
	}
	if l, miss := p.Lease(0, nil, second(1)); miss != BreakerOpen {
		t.Errorf("%v with %v: leased one that rests and is unhealthy", miss, l.Endpoint())
	}

	p = newPool(t, Config{Endpoints: hosts(4), Passive: c.Passive, Panic: 0.6}, Hooks{Event: j.note})
	f("all are well", member(t, p, 3), "hhhr", "resting")
	fail(member(t, p, 1), 5, second(1))
	fail(member(t, p, 2), 5, second(1))
	f("panic", member(t, p, 0), "heeh", "")
	gone := member(t, p, 0)
	if err := p.Reconfigure(Config{Endpoints: hosts(4)[1:]}, second(1)); err != nil {
		t.Fatal(err)
	}
	gone.deaf.Store(0)
	f("gone", gone, "hhh", "")
}

// TestRestIsLastResort: when the breakers of all others are open, one that rests is leased, and otherwise not even for a retry.
func TestRestIsLastResort(t *testing.T) {
	for _, b := range allBalances {
		c := Config{Balance: b, Endpoints: hosts(2), Breaker: testBreaker(), MaxConnections: 11}
		p := newPool(t, c, Hooks{})
		resting, awake := member(t, p, 0), member(t, p, 1)
		wish(resting, time.Second, second(0))
		var tried Set
		tried.Add(awake)
		l := lease(t, p, 1, &tried, second(0))
		if l.Endpoint() != awake {
			t.Errorf("%v: a retry met the one that rests", b)
		}
		var held []Lease
		for range 10 {
			held = append(held, lease(t, p, 1, nil, second(0)))
		}
		if l, miss := p.Lease(1, nil, second(0)); miss != NoRoom {
			t.Errorf("%v: %v with %v, want no_room", b, miss, l.Endpoint())
		}
		for i := range held {
			held[i].Report(Fault, 0, second(0))
			held[i].Done(second(0))
		}
		if l := lease(t, p, 1, nil, second(0)); l.Endpoint() != resting {
			t.Errorf("%v: leased one whose breaker is open", b)
		}
	}
}

// TestRestBound: whatever is wished, ejected and drained, a rest is granted exactly if there is room and another is awake; never more than
// the share is out, and no one that rests is leased.
func TestRestBound(t *testing.T) {
	granted := 0
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "n")
		c := Config{Balance: rapid.SampledFrom(allBalances).Draw(t, "balance"), Endpoints: hosts(n), Passive: testPassive()}
		c.Passive.MaxEject = float64(rapid.IntRange(0, 10).Draw(t, "max")) / 10
		c.Panic = float64(rapid.IntRange(0, 6).Draw(t, "panic")) / 10
		p, err := New("test", c, Hooks{}, second(0))
		if err != nil {
			t.Fatal(err)
		}
		now := second(0)
		ends := make([]mono.Time, n) // the naive model: when each rest would end
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(100, 2000).Draw(t, "ms")) * time.Millisecond)
			leased, miss := p.Lease(1, nil, now) // it renews the view
			leased.Done(now)
			i := rapid.IntRange(0, n-1).Draw(t, "which")
			e := p.members[i]
			before := states(p)
			if awake := strings.Count(before, "h"); (miss == OK) != (strings.Trim(before, "d") != "") || awake == 0 && strings.Contains(before, "r") {
				t.Fatalf("%v with %s", miss, before)
			}
			in := strings.Count(before, "h") + strings.Count(before, "e") + strings.Count(before, "r")
			out, most := in-strings.Count(before, "h"), max(1, int(c.Passive.MaxEject*float64(in)+1e-9))
			if strings.Contains(before, "r") && out > most {
				t.Fatalf("%s: more than %d out", before, most)
			}
			for k, s := range before {
				if (s == 'r') != (p.members[k].resting && s != 'd') || s == 'r' && (now >= ends[k] || leased.Endpoint() == p.members[k]) {
					t.Fatalf("%s at %v: rests until %v, leased %v", before, now, ends[k], leased.Endpoint().Address())
				}
			}
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0:
				fail(e, 5, now)
			case 1:
				p.mu.Lock()
				p.drainLocked(e, !e.draining, now)
				p.rebuildLocked(now)
				p.mu.Unlock()
			default:
				d := time.Duration(rapid.IntRange(1, 12).Draw(t, "s")) * time.Second
				want := before[i] == 'r' || before[i] == 'h' && strings.Count(before, "h") > 1 && out < most && !p.view.Load().panics
				if want {
					ends[i] = max(ends[i], now.Add(min(d, 10*time.Second)))
					granted++
				}
				wish(e, d, now)
				if got := states(p)[i] == 'r'; got != want {
					t.Fatalf("%s: the wish of %d granted: %v", before, i, got)
				}
			}
		}
	})
	if granted == 0 {
		t.Error("no rest was granted")
	}
}

// TestRestEndsByRun: without leases too, since Run renews the view.
func TestRestEndsByRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := newPool(t, Config{Endpoints: hosts(2)}, Hooks{Now: w.now})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.Run(ctx) }()
		synctest.Wait() // it waits for nothing yet
		wish(member(t, p, 0), 2*time.Second, w.now())
		time.Sleep(1999 * time.Millisecond)
		if synctest.Wait(); states(p) != "rh" {
			t.Errorf("%s, want rh", states(p))
		}
		time.Sleep(2 * time.Millisecond)
		if synctest.Wait(); states(p) != "hh" {
			t.Errorf("%s, want hh", states(p))
		}
		cancel()
		<-done
	})
}

// TestRestAllocatesNothing: neither leases while one rests, nor wishes that are not granted.
func TestRestAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, b := range allBalances {
		p := newPool(t, Config{Balance: b, Endpoints: hosts(4), Passive: testPassive(), Breaker: testBreaker()}, Hooks{})
		wish(member(t, p, 0), 10*time.Second, second(0))
		wish(member(t, p, 1), 10*time.Second, second(0))
		i := 0.0
		got := testing.AllocsPerRun(1000, func() {
			i++
			now := second(i / 1000)
			l, _ := p.Lease(uint64(i), nil, now)
			l.Report(Success, time.Millisecond, now)
			l.Rest(time.Second, now) // asked for again and again, for nothing
			l.Done(now)
		})
		if got != 0 || states(p) != "rrhh" {
			t.Errorf("%v: %v allocations, want 0; %s", b, got, states(p))
		}
	}
}
