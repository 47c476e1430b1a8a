package limiter

import (
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

func TestNewRefusesNonsense(t *testing.T) {
	f := func(r Rate, o Options, want string) {
		t.Helper()
		if _, err := New("p", Spec{Rate: r}, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	ok := Rate{1, time.Second, 1}
	f(Rate{0, time.Second, 1}, Options{}, "limiter p: rate of 0 units")
	f(ok, Options{MaxBytes: MinMaxBytes - 1}, "limiter p: 65535 bytes")
	f(ok, Options{MaxBytes: -1}, "at least 65536")
	l := newLimiter(t, ok, Options{MaxBytes: MinMaxBytes})
	if l.Name() != "test" || l.Spec().Rate != ok {
		t.Errorf("%s %+v", l.Name(), l.Spec())
	}
}

func TestNegativeUnitsPanic(t *testing.T) {
	l := newLimiter(t, plenty, Options{})
	f := func(name string, call func()) {
		t.Helper()
		defer func() {
			if r, _ := recover().(string); !strings.HasPrefix(r, "BUG: ") {
				t.Errorf("%s: panic %q", name, r)
			}
		}()
		call()
	}
	f("take", func() { l.Take(Key{}, -1, 0) })
	f("peek", func() { l.Peek(Key{}, -1, 0) })

	f("charge", func() { new(Charge).Add(l, Key{}, -1) })
}

func TestPeekAndRefusalsCreateNothing(t *testing.T) {
	l := newLimiter(t, Rate{1, time.Second, 5}, Options{})
	l.Peek(key(1), 1, 0)
	l.Take(key(2), 0, 0)
	l.Take(key(3), 6, 0)
	refund(l, key(4), 3, 0)
	if st := l.Stats(); st.Keys != 0 || st.Allowed != 0 || st.Refused != 1 {
		t.Errorf("%+v", st)
	}
	l.Take(key(5), 5, 0)
	l.Take(key(5), 1, 0)
	if st := l.Stats(); st.Keys != 1 || st.Allowed != 1 || st.Refused != 2 || st.Refunded != 1 {
		t.Errorf("%+v", st)
	}
}

func TestSetRate(t *testing.T) {
	const s = time.Second
	old := Rate{10, s, 10}
	f := func(name string, spent int64, wait time.Duration, r Rate, want Decision) {
		t.Helper()
		l := newLimiter(t, old, Options{})
		l.Take(key(1), spent, 0)
		now := mono.Time(wait)
		if err := l.SetSpec(Spec{Rate: r}, now); err != nil {
			t.Fatal(err)
		}
		if got := l.Peek(key(1), 1, now); got != want || l.Spec().Rate != r {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	f("unchanged", 10, 0, old, refuse(0, s/10, s))
	f("slower: the units stay owed", 4, 0, Rate{1, s, 10}, allowed(5, 5*s))
	f("faster", 4, 0, Rate{100, s, 10}, allowed(5, 50*time.Millisecond))
	f("higher burst", 10, 0, Rate{10, s, 15}, allowed(4, 1100*time.Millisecond))
	f("lower burst, owed less", 2, 0, Rate{10, s, 5}, allowed(2, 300*time.Millisecond))
	f("lower burst, owed more: empty, not worse", 8, 0, Rate{10, s, 5}, refuse(0, s/10, s/2))
	f("half a unit owed", 1, 50*time.Millisecond, Rate{1, s, 10}, allowed(8, 1500*time.Millisecond))
	f("a third of a tick is rounded up", 1, 50*time.Millisecond, Rate{3, s, 10}, allowed(8, s/2))
	f("full stays full", 5, s/2, Rate{1, s, 20}, allowed(19, s))
	l := newLimiter(t, Rate{1, 1, 1 << 60}, Options{})
	l.Take(key(1), 1<<60, 0)
	if err := l.SetSpec(Spec{Rate: Rate{1, time.Hour, 3}}, 0); err != nil {
		t.Fatal(err)
	}
	if d := l.Peek(key(1), 0, 0); d != allowed(0, 3*time.Hour) {
		t.Errorf("more owed than the new burst: %+v", d)
	}
	l = newLimiter(t, old, Options{})
	if err := l.SetSpec(Spec{Rate: Rate{}}, 0); err == nil || l.Spec().Rate != old {
		t.Errorf("%v, rate %+v", err, l.Spec().Rate)
	}
}

// A change of rate never gives a unit that was not there, and takes less than a tick.
func TestSetRateKeepsWhatIsOwed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := anyRate().Draw(t, "from"), anyRate().Draw(t, "to")
		g, h := newGCRA(from), newGCRA(to)
		b := g.fresh()
		n := 1 + units(t, from)
		if n <= from.Burst {
			g.spend(nil, &b, n, 0)
		}
		now := mono.Time(pause(t, from))
		c := b
		h.convert(nil, g, &c, now)
		was, is := owed(g, b, now), owed(h, c, now)
		if burst := big.NewRat(to.Burst, 1); was.Cmp(burst) > 0 {
			was = burst
		}
		tick := big.NewRat(1, int64(h.per))
		if d := is.Sub(is, was); d.Sign() < 0 || d.Cmp(tick) >= 0 {
			t.Fatalf("owed %v more of %+v after %+v", d, c, b)
		}
	})
}

// owed is what b owes at now, in units.
func owed(g *gcra, b bucket, now mono.Time) *big.Rat {
	if b.x == int64(past) {
		return new(big.Rat)
	}
	r := new(big.Rat).SetFrac(new(big.Int).SetUint64(g.tat(&b).frac), new(big.Int).SetUint64(g.num))
	r.Add(r, big.NewRat(b.x-int64(max(now, b.last)), 1))
	if r.Sign() < 0 {
		return new(big.Rat)
	}
	return r.Mul(r, big.NewRat(g.rate.N, int64(g.rate.Per)))
}

// Whatever the threads do, exactly burst + rate·T units are given out, and the counters say so.
func TestConcurrentTakesAreExact(t *testing.T) {
	const workers, rounds = 8, 20_000
	l := newLimiter(t, Rate{7, time.Microsecond, 1000}, Options{})
	var clock, got, refused, refunds atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			var c Charge
			for i := range rounds {
				now := mono.Time(clock.Add(3))
				c.Reset()
				c.Add(l, key(0), int64(1+i%3))
				switch refusedBy := c.Take(now); {
				case refusedBy >= 0:
					refused.Add(1)
				case i%16 == w:
					c.Refund(now)
					refunds.Add(1)
				default:
					got.Add(int64(1 + i%3))
				}
			}
		})
	}
	wg.Wait()
	end := mono.Time(clock.Load())
	left := l.Peek(key(0), 0, end).Left
	most := 1000 + 7*int64(end)/1000
	if sum := got.Load() + left; sum > most {
		t.Errorf("%d units given and %d left after %d ns: more than %d", got.Load(), left, end, most)
	} else if sum < most-1 {
		t.Logf("%d of %d units: the bucket was full for a while", sum, most)
	}
	st := l.Stats()
	if st.Allowed+st.Refused != workers*rounds || st.Refused != uint64(refused.Load()) || st.Refunded != uint64(refunds.Load()) {
		t.Errorf("%+v after %d refused, %d refunded", st, refused.Load(), refunds.Load())
	}
}

// Time stands still: to the unit, over many keys, while other keys come and the rate is set to and fro.
func TestConcurrentBurstsAreExact(t *testing.T) {
	const workers, keys, burst = 8, 500, 20
	a, b := Rate{1, time.Hour, burst}, Rate{3, time.Hour, burst}
	l := newLimiter(t, a, Options{})
	var got [keys]atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range keys * burst {
				k := (i*(2*w+1) + w) % keys
				if l.Take(key(k), 1, 0).OK {
					got[k].Add(1)
				}
				l.Take(key(keys+w*keys*burst+i), 1, 0)
			}
		})
	}
	wg.Go(func() {
		for i := range 20 {
			if err := l.SetSpec(Spec{Rate: []Rate{b, a}[i%2]}, 0); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	for k := range got {
		if n := got[k].Load(); n != burst {
			t.Errorf("key %d was given %d", k, n)
		}
	}
}

func TestDecisionsDoNotAllocate(t *testing.T) {
	l := newLimiter(t, plenty, Options{})
	var c Charge
	f := func(name string, call func()) {
		t.Helper()
		if n := testing.AllocsPerRun(1000, call); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	f("take", func() { l.Take(key(1), 1, 0) })
	f("take, refused", func() { l.Take(key(1), 1<<40, 0) })
	f("peek", func() { l.Peek(key(1), 1, 0) })
	for i, s := range specs() {
		own, now := newSpec(t, s, Options{}), mono.Time(0)
		own.Take(key(i), 1, 0)
		for range 3000 { // the ring is there
			now += 1_000_000
			own.Take(key(i), 1, now)
		}
		f(s.Algorithm.String(), func() {
			now += 1_000_000
			c.Reset()
			c.Add(own, key(i), 2)
			c.Take(now)
			c.Correct(0, 3, now)
			c.Correct(0, 1, now)
			c.Refund(now)
			own.Take(key(i), 1, now)
			own.Peek(key(i), 1, now)
			own.Take(key(i), 1<<40, now)
		})
	}
	f("stats", func() { l.Stats() })
	f("charge", func() {
		c.Reset()
		for i := range 16 {
			c.Add(l, key(i), 1)
		}
		c.Take(0)
		c.Decisions()
		c.Refund(0)
	})
}

// TestCount: decisions made elsewhere are counted beside those made here, and cost nothing.
func TestCount(t *testing.T) {
	l := newLimiter(t, Rate{N: 1, Per: time.Hour, Burst: 2}, Options{})
	for range 3 {
		l.Count(key(1), true, 0)
	}
	l.Count(key(1), false, 0)
	l.Take(key(1), 1, 0)
	if allowed, refused, ok := l.Counts(key(1)); allowed != 4 || refused != 1 || !ok {
		t.Errorf("%d allowed, %d refused, known %v; want 4, 1, true", allowed, refused, ok)
	}
	if d := l.Peek(key(1), 0, 0); d.Left != 1 {
		t.Errorf("%d left, want 1", d.Left)
	}
}
