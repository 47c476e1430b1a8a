package limiter

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

func TestTableOfSlidingWindow(t *testing.T) {
	const s = time.Second
	minute := Spec{Algorithm: SlidingWindow, Rate: Rate{N: 10, Per: 60 * s}, Parts: 6} // sub-windows of 10 s
	table(t, "sub-window edges", minute, Options{}, []moment{
		{0, 0, allowed(10, 0)},
		{5 * s, 4, allowed(6, 65*s)},
		{10*s - 1, 1, allowed(5, 60*s+1)},
		{10 * s, 5, allowed(0, 70*s)},
		{60 * s, 6, refuse(0, 20*s, 20*s)},
		{60 * s, 5, refuse(0, 10*s, 20*s)},
		{70*s - 1, 1, refuse(0, 1, 10*s+1)},
		{70 * s, 6, refuse(5, 10*s, 10*s)},
		{70 * s, 5, allowed(0, 70*s)},
		{80 * s, 5, allowed(0, 70*s)},
		{70 * s, 1, refuse(0, 70*s, 80*s)}, // counts as 80 s
		{150 * s, 11, refuse(10, Never, 0)},
	})
	table(t, "a third sub-window", minute, Options{}, []moment{
		{0, 1, allowed(9, 70*s)},
		{10 * s, 2, allowed(7, 70*s)},
		{20 * s, 3, allowed(4, 70*s)},
		{30 * s, 4, allowed(0, 70*s)},
		{30 * s, 1, refuse(0, 40*s, 70*s)},
		{30 * s, 2, refuse(0, 50*s, 70*s)},
		{30 * s, 4, refuse(0, 60*s, 70*s)},
		{30 * s, 7, refuse(0, 70*s, 70*s)},
		{80 * s, 0, allowed(3, 20*s)},
		{80 * s, 3, allowed(0, 70*s)},
		{500 * s, 1, allowed(9, 70*s)},
	})
	table(t, "a ring is used again", Spec{Algorithm: SlidingWindow, Rate: Rate{N: 10, Per: 60 * s}, Parts: 3}, Options{}, []moment{
		{0, 1, allowed(9, 80*s)},
		{20 * s, 2, allowed(7, 80*s)},
		{40 * s, 3, allowed(4, 80*s)},
		{160 * s, 1, allowed(9, 80*s)}, // all is over
		{180 * s, 1, allowed(8, 80*s)},
		{200 * s, 1, allowed(7, 80*s)},
		{220 * s, 0, allowed(7, 60*s)},
		{240 * s, 0, allowed(8, 40*s)},
		{260 * s, 0, allowed(9, 20*s)},
		{280 * s, 0, allowed(10, 0)},
	})
	table(t, "the newest given back", minute, Options{}, []moment{
		{0, 3, allowed(7, 70*s)},
		{20 * s, 2, allowed(5, 70*s)},
		{20 * s, -2, allowed(7, 50*s)},
		{40 * s, 1, allowed(6, 70*s)},
		{70*s - 1, 0, allowed(6, 40*s+1)},
		{70 * s, 0, allowed(9, 40*s)},
	})
	table(t, "given back to its sub-window", minute, Options{}, []moment{
		{0, 3, allowed(7, 70*s)},
		{20 * s, 2, allowed(5, 70*s)},
		{30 * s, -2, allowed(7, 40*s)}, // nothing newer than 0 s is left
		{30 * s, 1, allowed(6, 70*s)},
		{70 * s, 0, allowed(9, 30*s)},
		{70 * s, -1, allowed(10, 0)},
	})
	table(t, "a sixtieth of a second", Spec{Algorithm: SlidingWindow, Rate: Rate{N: 2, Per: s}, Parts: 60}, Options{}, []moment{
		{16_666_666, 1, allowed(1, 1*s+1)}, // the last ns of sub-window 0: 1/60 s is 16,666,666.7 ns
		{16_666_667, 1, allowed(0, 1_016_666_667)},
		{1_016_666_666, 1, refuse(0, 1, 16_666_668)},
		{1_016_666_667, 1, allowed(0, 1_016_666_667)},
		{1_033_333_333, 1, refuse(0, 1, 1_000_000_001)},
		{1_033_333_334, 1, allowed(0, 1*s+16_666_666)},
	})
	table(t, "one part", Spec{Algorithm: SlidingWindow, Rate: Rate{N: 1, Per: s}, Parts: 1}, Options{}, []moment{
		{0, 1, allowed(0, 2*s)},
		{2*s - 1, 1, refuse(0, 1, 1)},
		{2 * s, 1, allowed(0, 2*s)},
	})
}

// Without room for a ring the older of two sub-windows counts as long as the newer, and what is given back is found there.
func TestSlidingWindowWithoutRings(t *testing.T) {
	type held struct {
		spending
		i int
		n int64
	}
	check(t, func(t *rapid.T) {
		spec := Spec{Algorithm: SlidingWindow, Rate: Rate{N: 8, Per: 60}, Parts: rapid.IntRange(1, 10).Draw(t, "parts")}
		l, o := newSpec(t, spec, Options{}), newOracle(spec, 0)
		s, h := l.shard(key(1))
		room := rapid.IntRange(0, 3).Draw(t, "room")
		s.rings.grow = func(int64) bool { room--; return room > 0 }
		var all []held
		now := mono.Time(0)
		for range rapid.IntRange(1, 60).Draw(t, "takes") {
			now = now.Add(stride(t, spec))
			if n := rapid.Int64Range(1, 3).Draw(t, "units"); len(all) > 0 && rapid.IntRange(0, 2).Draw(t, "give") == 0 {
				p := all[len(all)-1]
				all = all[:len(all)-1]
				s.give(key(1), h, p.n, &p.spending, false, now)
				o.give(p.i, p.n, now)
			} else if d, sp := s.spendAs(key(1), h, n, now); d.OK {
				if !o.take(n, now, false).OK {
					t.Fatalf("%d too many at %d", n, now)
				}
				all = append(all, held{sp, o.spend(n, now), n})
			}
			if got, want := l.Peek(key(1), 0, now), o.take(0, now, false); got.Left > want.Left {
				t.Fatalf("%+v at %d, want %+v", got, now, want)
			}
			checkRings(t, s)
		}
		if d := l.Peek(key(1), 0, now.Add(2*60+60)); d.Left != 8 {
			t.Fatalf("not all came back: %+v", d)
		}
	})
}

// What windows and seats count is kept by every change of the spec, with no ring lost; what is in use is never less than before.
func TestSetSpecGivesNothingAway(t *testing.T) {
	check(t, func(t *rapid.T) {
		a := anySpec().Filter(func(s Spec) bool { return s.Algorithm >= SlidingWindow && s.Algorithm != Adaptive }).Draw(t, "spec")
		l := newSpec(t, a, Options{})
		now := mono.Time(1 << 50)
		for range rapid.IntRange(1, 8).Draw(t, "changes") {
			for range rapid.IntRange(0, 6).Draw(t, "takes") {
				l.Take(key(rapid.IntRange(0, 2).Draw(t, "key")), rapid.Int64Range(1, 3).Draw(t, "units"), now)
				now = now.Add(stride(t, a))
			}
			b := a
			b.Rate.N = rapid.Int64Range(1, 12).Draw(t, "n")
			b.Rate.Per = rapid.SampledFrom([]time.Duration{a.Rate.Per, 1000, 7919, time.Minute}).Draw(t, "per")
			if b.Parts > 0 {
				b.Parts = rapid.IntRange(1, 60).Draw(t, "parts")
			}
			var before [3]Decision
			for k := range before {
				before[k] = l.Peek(key(k), 0, now)
			}
			if err := l.SetSpec(b, now); err != nil {
				t.Fatal(err)
			}
			for k, was := range before {
				used := a.Rate.N - was.Left
				if is := l.Peek(key(k), 0, now); used < a.Rate.N && is.Left != max(0, b.Rate.N-used) || is.Left > max(0, b.Rate.N-used) {
					t.Fatalf("key %d had %+v of %+v, has %+v of %+v", k, was, a, is, b)
				}
			}
			for i := range l.shards {
				checkRings(t, &l.shards[i])
			}
			a = b
		}
	})
}

// A bucket that owes more than its burst recovers while its rate is moved all the time, as that of an adaptive limit is.
func TestMovedRateDoesNotStarve(t *testing.T) {
	rates := [2]Rate{{5, time.Second, 1}, {5001, 1000 * time.Second, 1}}
	l := newSpec(t, Spec{Algorithm: Adaptive, Rate: rates[0], MaxWait: time.Second}, Options{})
	for range 6 {
		l.Take(key(1), 1, 0)
	}
	now := mono.Time(0)
	for i := range 11 {
		now = now.Add(100 * time.Millisecond)
		if err := l.SetSpec(Spec{Algorithm: Adaptive, Rate: rates[i%2], MaxWait: time.Second}, now); err != nil {
			t.Fatal(err)
		}
	}
	if d := l.Peek(key(1), 1, now); !d.OK || d.Wait > 110*time.Millisecond {
		t.Errorf("after 1.1 s: %+v", d) // 6 units owed, 5.5 refilled
	}
}

// Who changes the sub-windows may have read the clock before who spent, and the one who spends next before both.
func TestReorderedChangeOfSubWindows(t *testing.T) {
	spec := Spec{Algorithm: SlidingWindow, Rate: Rate{N: 10, Per: 60}, Parts: 6}
	l := newSpec(t, spec, Options{})
	l.Take(key(1), 3, 20)
	l.Take(key(2), 3, 0)
	spec.Parts = 12
	if err := l.SetSpec(spec, 5); err != nil {
		t.Fatal(err)
	}
	if early, late := l.Peek(key(1), 0, 84).Left, l.Peek(key(1), 0, 85).Left; early != 7 || late != 10 {
		t.Errorf("%d left, then %d", early, late)
	}
	spec.Parts = 6
	if err := l.SetSpec(spec, 100); err != nil {
		t.Fatal(err)
	}
	l.Take(key(2), 10, 1) // counts as 100
	if left := l.Peek(key(2), 0, 159).Left; left != 0 {
		t.Errorf("%d left", left)
	}
}
