package limiter

import (
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// Slow requests end one after the other and turn out to cost little: what has long refilled is not given a second time.
func TestLateRefundsGiveNothingTwice(t *testing.T) {
	const s, ms = mono.Time(time.Second), mono.Time(time.Millisecond)
	l := newLimiter(t, Rate{100, time.Second, 100}, Options{})
	var slow [6]Charge
	for i := range slow {
		slow[i].Add(l, key(1), 100)
		if slow[i].Take(mono.Time(i)*s) >= 0 {
			t.Fatal("refused")
		}
	}
	kept := 0
	for now := 6 * s; now < 7*s; now += ms {
		if i := int((now - 6*s) / (150 * ms)); i < len(slow) {
			slow[i].Correct(0, 1, now)
			slow[i].Settle(now)
		}
		for l.Take(key(1), 1, now).OK {
			kept++
		}
	}
	if kept != 199 {
		t.Errorf("%d units in a second", kept)
	}
}

// Thirty queue, one behind them stays, the thirty leave; half a second later so do 25, then 20: who stays goes on at the rate, and not all
// of them when the first one does.
func TestWhoLeavesTheQueueMovesNobodyUp(t *testing.T) {
	f := func(spec Spec) {
		t.Helper()
		l := newSpec(t, spec, Options{})
		var kept []mono.Time
		for i := range 6 {
			now := mono.Time(i) * mono.Time(500*time.Millisecond)
			leaving := make([]Charge, 30-5*i)
			for j := range leaving {
				leaving[j].Add(l, key(1), 1)
				leaving[j].Take(now)
			}
			if d := l.Take(key(1), 1, now); d.OK {
				kept = append(kept, now.Add(d.Wait))
			}
			for j := range leaving {
				leaving[j].Refund(now + 1)
			}
		}
		if len(kept) != 6 {
			t.Errorf("%v: %d were let in", spec.Algorithm, len(kept))
		}
		for i, at := range kept[1:] {
			if d := at.Sub(kept[i]); d < 100*time.Millisecond {
				t.Errorf("%v: %v apart", spec.Algorithm, d)
			}
		}
	}
	f(Spec{Rate: Rate{10, time.Second, 1}, MaxWait: time.Minute})
	f(Spec{Algorithm: LeakyBucket, Rate: Rate{10, time.Second, 1000}, MaxWait: time.Minute})
}

func TestTableOfRefunds(t *testing.T) {
	const s = time.Second
	f := func(name string, spec Spec, lines []moment) {
		t.Helper()
		table(t, name, spec, Options{}, lines)
	}
	f("the last in the queue leaves", Spec{Rate: Rate{1, s, 1}, MaxWait: 9 * s}, []moment{
		{0, 1, allowed(0, s)},
		{0, 1, waits(0, s, 2*s)},
		{0, 1, waits(0, 2*s, 3*s)},
		{0, -1, allowed(0, 2*s)},
		{0, 1, waits(0, 2*s, 3*s)},
	})
	f("half has refilled", Spec{Rate: Rate{1, s, 4}}, []moment{
		{0, 4, allowed(0, 4*s)},
		{2 * s, -4, allowed(4, 0)},
		{2 * s, 4, allowed(0, 4*s)},
		{4 * s, -1, allowed(3, s)},
		{4 * s, -3, allowed(4, 0)},
	})
	// In the middle of the line: who waits behind may move up by what the burst leaves.
	l := newSpec(t, Spec{Rate: Rate{1, s, 4}, MaxWait: 9 * s}, Options{})
	var c Charge
	c.Add(l, key(1), 4)
	c.Take(0)
	l.Take(key(1), 1, 0)
	if c.Refund(0); l.Peek(key(1), 0, 0).Reset != 2*s {
		t.Errorf("%+v", l.Peek(key(1), 0, 0))
	}
}

// Over every interval between two instants at which requests go on, what is admitted and kept is at most burst + T·N/Per, whoever leaves
// or is corrected, and when.
func TestKeptOverEveryInterval(t *testing.T) {
	check(t, func(t *rapid.T) {
		keptOverEveryInterval(t, anySpec().Filter(func(s Spec) bool {
			return s.Algorithm == TokenBucket || s.Algorithm == LeakyBucket
		}).Draw(t, "spec"))
	})
}

// The same where what was given back is counted in steps of many units.
func TestKeptWithCoarseSteps(t *testing.T) {
	check(t, func(t *rapid.T) {
		s := Spec{Algorithm: rapid.SampledFrom([]Algorithm{TokenBucket, LeakyBucket}).Draw(t, "algorithm")}
		s.Rate = Rate{rapid.Int64Range(1<<49, 1<<62).Draw(t, "n") | 1, time.Hour, rapid.Int64Range(1<<20, 1<<40).Draw(t, "burst")}
		g := newGCRA(s.Rate)
		if g.step() == 0 { // it had a factor in common with the window
			t.Skip()
		}
		if rapid.Bool().Draw(t, "waits") {
			s.MaxWait = time.Duration(rapid.Int64Range(0, 2*g.full.ns+10).Draw(t, "wait"))
		}
		keptOverEveryInterval(t, s)
	})
}

func keptOverEveryInterval(t *rapid.T, spec Spec) {
	type admission struct {
		c  *Charge
		at mono.Time
		n  int64
	}
	l := newSpec(t, spec, Options{})
	r := spec.Rate
	var all []*admission
	now := mono.Time(1 << 50)
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		now = now.Add(rapid.SampledFrom([]time.Duration{0, 0, 1, pause(t, r)}).Draw(t, "pause"))
		at := now.Add(-rapid.SampledFrom([]time.Duration{0, 0, 0, 1, pause(t, r)}).Draw(t, "late"))
		if len(all) > 0 && rapid.IntRange(0, 2).Draw(t, "end") == 0 {
			a := all[rapid.IntRange(max(0, len(all)-8), len(all)-1).Draw(t, "which")]
			a.n = rapid.Int64Range(0, a.n).Draw(t, "cost")
			a.c.Correct(0, a.n, at)
			continue
		}
		n := rapid.Int64Range(1, r.Burst).Draw(t, "units")
		c := new(Charge)
		if c.Add(l, key(1), n); c.Take(at) < 0 {
			s, h := l.shard(key(1))
			seen := s.findLocked(key(1), h).last // an earlier now counts as that
			all = append(all, &admission{c, max(seen, at.Add(c.Wait())), n})
		}
	}
	all = slices.DeleteFunc(all, func(a *admission) bool { return a.n == 0 })
	for _, from := range all {
		for _, to := range all {
			sum, last := int64(0), int64(0)
			for _, a := range all {
				if from.at <= a.at && a.at <= to.at {
					sum += a.n
					if a.at == to.at {
						last = a.n
					}
				}
			}
			d := to.at.Sub(from.at)
			if spec.MaxWait > 0 {
				d++ // Wait is rounded up to a whole ns
			}
			most := new(big.Rat).Mul(big.NewRat(r.N, int64(r.Per)), big.NewRat(int64(d), 1))
			even := spec.Algorithm == LeakyBucket && spec.MaxWait > 0 && from.at < to.at
			if d >= 0 && (big.NewRat(sum-r.Burst, 1).Cmp(most) > 0 || even && big.NewRat(sum-last, 1).Cmp(most) > 0) {
				t.Fatalf("%d units in %v", sum, d)
			}
		}
	}
}

// Chains that overlap, each undone in any order: nothing is lost, not a fraction.
func TestOverlappingUndosAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRate().Draw(t, "rate")
		l := newLimiter(t, r, Options{})
		now := mono.Time(rapid.Int64Range(0, 1<<50).Draw(t, "start"))
		l.Take(key(1), units(t, r), now)
		now = now.Add(pause(t, r))
		was := l.Peek(key(1), 0, now)
		open := make([]Charge, rapid.IntRange(1, 6).Draw(t, "chains"))
		for i := range open {
			open[i].Add(l, key(1), units(t, r))
			open[i].Take(now)
		}
		for _, i := range rapid.Permutation([]int{0, 1, 2, 3, 4, 5}).Draw(t, "order") {
			if i < len(open) {
				open[i].Refund(now)
			}
		}
		if is := l.Peek(key(1), 0, now); is != was {
			t.Fatalf("was %+v, is %+v", was, is)
		}
	})
}

// A count that runs over voids what is in flight, and the bucket owes what it did.
func TestGivenRunsOver(t *testing.T) {
	l := newLimiter(t, Rate{1, time.Second, 10}, Options{})
	var a, b Charge
	for _, c := range []*Charge{&a, &b} {
		c.Add(l, key(1), 2)
		c.Take(0)
	}
	s, h := l.shard(key(1))
	s.findLocked(key(1), h).y = 1<<64 - 2 // N is 1: no fraction
	a.steps[0].mark.given, b.steps[0].mark.given = 1<<64-2, 1<<64-2
	a.Refund(0)
	if b.Refund(0); l.Peek(key(1), 0, 0) != allowed(8, 2*time.Second) {
		t.Errorf("%+v", l.Peek(key(1), 0, 0))
	}
	b.Reset()
	b.Add(l, key(1), 2)
	b.Take(0)
	if b.Refund(0); l.Peek(key(1), 0, 0) != allowed(8, 2*time.Second) {
		t.Errorf("%+v", l.Peek(key(1), 0, 0))
	}
}

// One correction of much does not run the count over: another key of the shard keeps its refund, and who was behind gets its own.
func TestGivenInSteps(t *testing.T) {
	f := func(r Rate, lost int64) {
		t.Helper()
		l := newLimiter(t, r, Options{})
		l.shards, l.shift = l.shards[:1], 64
		var a, b, other Charge
		take := func(c *Charge, k int, n int64) {
			c.Add(l, key(k), n)
			if c.Take(0) >= 0 {
				t.Fatal("refused")
			}
		}
		take(&other, 2, 1000)
		take(&a, 1, r.Burst/4)
		take(&b, 1, r.Burst/4)
		a.Correct(0, 1, 0)
		if other.Refund(0); l.Peek(key(2), 0, 0).Left != r.Burst {
			t.Errorf("%+v: %d of the other key are left", r, l.Peek(key(2), 0, 0).Left)
		}
		now := mono.Time(l.Peek(key(1), 0, 0).Reset / 4) // a quarter of what b spent has refilled
		b.Refund(now)
		if left := l.Peek(key(1), 0, now).Left; left < r.Burst-lost || left > r.Burst {
			t.Errorf("%+v: %d are left", r, left)
		}
	}
	f(Rate{1_000_000, time.Second, 100_000}, 1) // steps of a unit
	f(Rate{999_999_999_999_989, time.Hour, 400_000}, 400_000/512)
	f(Rate{999_999_999_999_989, time.Hour, 1_000_000_000}, 1_000_000_000/512)
	f(Rate{999_999_999_999_989, time.Hour, 500_000_000_000_000}, 500_000_000_000_000/512)
}

// However few bits are left, and however large the burst, what is given back counts as at least that.
func TestStepsRoundUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.OneOf(rapid.Int64Range(1, math.MaxInt64), rapid.Int64Range(1<<48, 1<<52), rapid.Int64Range(1<<62, math.MaxInt64))
		r := Rate{number.Draw(t, "n") | 1, time.Duration(rapid.Int64Range(1, 1<<62).Draw(t, "per")), number.Draw(t, "burst")}
		if r.Validate() != nil {
			r.Per = 1
		}
		if r.Validate() != nil {
			r.Burst = 1
		}
		g := newGCRA(r)
		b := g.fresh()
		s := g.cost(rapid.OneOf(rapid.Just(r.Burst), rapid.Int64Range(1, r.Burst)).Draw(t, "units"))
		if most := max(1, r.Burst/512); g.bits <= 52 && most>>g.step() == 0 {
			t.Fatalf("a step is 1<<%d units", g.step())
		}
		if g.count(&b, s) {
			if g.bits < 63 {
				t.Fatalf("%v at once runs the count over", s)
			}
			return
		}
		if steps := b.y >> g.bits; s.after(g.moved(steps)) {
			t.Fatalf("%v counted as %d steps, %v", s, steps, g.moved(steps))
		}
		if g.moved(math.MaxUint64>>g.bits).after(span{ns: maxRefill}) || b.y&(1<<g.bits-1) != 0 {
			t.Fatalf("%d", b.y)
		}
	})
}

// A bucket gave way and came back while a request was in flight: its refund takes nothing off what was spent since.
func TestRefundAfterEviction(t *testing.T) {
	const s = mono.Time(time.Second)
	l := tiny(t, Rate{1, time.Second, 10})
	var a, b Charge
	for _, c := range []*Charge{&a, &b} {
		c.Add(l, key(0), 5)
		c.Take(0)
	}
	a.Refund(0) // b's place ends at 5 s now
	for i := range 16 {
		l.Take(key(1+i), 1, 6*s)
	}
	if l.Stats().Evictions != 1 {
		t.Fatalf("%+v", l.Stats())
	}
	l.Take(key(0), 9, 8*s)
	if b.Refund(8 * s); l.Peek(key(0), 0, 8*s).Left != 1 {
		t.Errorf("%+v", l.Peek(key(0), 0, 8*s))
	}
}

func TestWhatWasSpentByOtherNumbersDoesNotComeBack(t *testing.T) {
	l := newLimiter(t, Rate{1, time.Second, 10}, Options{})
	var c Charge
	c.Add(l, key(1), 5)
	c.Take(0)
	if err := l.SetSpec(Spec{Rate: Rate{1, time.Minute, 10}}, 0); err != nil {
		t.Fatal(err)
	}
	if c.Refund(0); l.Peek(key(1), 0, 0).Left != 5 {
		t.Errorf("%+v", l.Peek(key(1), 0, 0))
	}
}

func TestSetMaxBytes(t *testing.T) {
	l := newLimiter(t, Rate{1, time.Hour, 1}, Options{MaxBytes: MinMaxBytes})
	if b := l.Stats().Bytes; b != FixedBytes(MinMaxBytes) || FixedBytes(0) != FixedBytes(DefaultMaxBytes) {
		t.Errorf("%d bytes before the first key, %d said", b, FixedBytes(MinMaxBytes))
	}
	fill := func(from int) Stats {
		for i := range 20_000 {
			l.Take(key(from+i), 1, 0)
		}
		return l.Stats()
	}
	full := fill(0)
	if full.Bytes > MinMaxBytes || full.Overflow == 0 {
		t.Errorf("%+v", full)
	}
	l.SetMaxBytes(1 << 30)
	if l.Reset(key(0), 0); l.Stats().MaxBytes != 1<<30 {
		t.Errorf("%+v", l.Stats())
	}
	for i := range l.shards {
		l.shards[i].unknown = l.shards[i].fresh() // as after an hour
	}
	more := fill(20_000)
	if more.Keys < full.Keys+20_000-64 {
		t.Errorf("%+v, then %+v", full, more)
	}
	l.SetMaxBytes(1)
	if less := fill(40_000); less.Bytes > more.Bytes+16*tableBytes(1) || less.Keys < more.Keys {
		t.Errorf("%+v, then %+v", more, less)
	}
	l.Retire()
	l.SetMaxBytes(1 << 30)
	if st := fill(60_000); st.Keys > more.Keys+16*16 {
		t.Errorf("%+v", st)
	}
}

func TestWaiting(t *testing.T) {
	l := newSpec(t, Spec{Algorithm: Concurrency, Rate: Rate{N: 1}}, Options{})
	_, leave := l.Await(key(1))
	l.Await(key(2))
	if l.Waiting() != 2 {
		t.Errorf("%d wait", l.Waiting())
	}
	leave()
	var c Charge
	c.Add(l, key(2), 1)
	c.Take(0)
	if c.Settle(0); l.Waiting() != 0 {
		t.Errorf("%d wait", l.Waiting())
	}
}
