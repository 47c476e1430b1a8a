package limiter

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// moment is a line of a table of time: at, ask for n, and the answer.
type moment struct {
	at   time.Duration
	n    int64
	want Decision
}

func allowed(left int64, reset time.Duration) Decision {
	return Decision{OK: true, Left: left, Reset: reset}
}

func refuse(left int64, retry, reset time.Duration) Decision {
	return Decision{Left: left, Retry: retry, Reset: reset}
}

// table runs a table of time. A line of n < 0 gives back what the last take spent.
func table(t *testing.T, name string, s Spec, o Options, lines []moment) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Helper()
		l := newSpec(t, s, o)
		var last spending
		sh, h := l.shard(key(1))
		for i, m := range lines {
			now := mono.Time(m.at)
			if m.n < 0 {
				sh.give(key(1), h, -m.n, &last, false, now)
				m.n = 0
			}
			if got := l.Peek(key(1), m.n, now); got != m.want {
				t.Errorf("line %d: at %v peek %d: got %+v, want %+v", i, m.at, m.n, got, m.want)
			}
			got, sp := sh.spendAs(key(1), h, m.n, now)
			if got != m.want {
				t.Fatalf("line %d: at %v take %d: got %+v, want %+v", i, m.at, m.n, got, m.want)
			}
			if got.OK && m.n > 0 {
				last = sp
			}
		}
	})
}

func TestTableOfTime(t *testing.T) {
	f := func(name string, r Rate, lines []moment) {
		t.Helper()
		table(t, name, Spec{Rate: r}, Options{}, lines)
	}
	const s, ms = time.Second, time.Millisecond
	f("one a second, burst 3", Rate{1, s, 3}, []moment{
		{58 * s, 1, allowed(2, 1*s)},
		{58 * s, 1, allowed(1, 2*s)},
		{58 * s, 1, allowed(0, 3*s)},
		{58 * s, 1, refuse(0, 1*s, 3*s)},
		{58*s + 400*ms, 1, refuse(0, 600*ms, 2600*ms)},
		{59*s - 1, 1, refuse(0, 1, 2*s+1)},
		{59 * s, 1, allowed(0, 3*s)},
		{61 * s, 2, allowed(0, 3*s)},
		{63 * s, 3, refuse(2, 1*s, 1*s)},
		{90 * s, 0, allowed(3, 0)},
		{90 * s, 4, refuse(3, Never, 0)},
		{90 * s, 3, allowed(0, 3*s)},
		{91 * s, 4, refuse(1, Never, 2*s)},
	})
	f("an interval of no whole nanoseconds", Rate{3, s, 1}, []moment{
		{0, 1, allowed(0, 333_333_334)},
		{333_333_333, 1, refuse(0, 1, 1)},
		{333_333_334, 1, allowed(0, 333_333_334)}, // full again at ⅔ ns before, so it starts anew
		{500_000_000, 1, refuse(0, 166_666_668, 166_666_668)},
		{1 * s, 1, allowed(0, 333_333_334)},
	})
	f("thirds add up to a second", Rate{3, s, 2}, []moment{
		{0, 2, allowed(0, 666_666_667)},
		{333_333_334, 1, allowed(0, 666_666_666)}, // full at 1 s exactly: the third is not rounded
		{666_666_667, 1, allowed(0, 666_666_667)},
		{1*s - 1, 1, refuse(0, 1, 333_333_335)},
		{1 * s, 1, allowed(0, 666_666_667)},
	})
	f("time goes back", Rate{1, s, 10}, []moment{
		{100 * s, 5, allowed(5, 5*s)},
		{95 * s, 1, allowed(4, 11*s)},
		{0, 4, allowed(0, 110*s)},
		{50 * s, 1, refuse(0, 51*s, 60*s)},
		{100 * s, 1, refuse(0, 1*s, 10*s)},
		{101 * s, 1, allowed(0, 10*s)},
	})
	f("one a month", Rate{1, 720 * time.Hour, 1}, []moment{
		{0, 1, allowed(0, 720*time.Hour)},
		{720*time.Hour - 1, 1, refuse(0, 1, 1)},
		{720 * time.Hour, 1, allowed(0, 720*time.Hour)},
	})
	f("ten million a second", Rate{10_000_000, s, 2}, []moment{
		{0, 2, allowed(0, 200)},
		{99, 1, refuse(0, 1, 101)},
		{100, 1, allowed(0, 200)},
	})
	f("three a nanosecond", Rate{3, 1, 6}, []moment{
		{0, 5, allowed(1, 2)},
		{0, 2, refuse(1, 1, 2)},
		{1, 4, allowed(0, 2)},
	})
}

func TestRateValidate(t *testing.T) {
	f := func(r Rate, ok bool) {
		t.Helper()
		if err := r.Validate(); (err == nil) != ok {
			t.Errorf("%+v: %v", r, err)
		}
	}
	const month = 720 * time.Hour
	f(Rate{1, month, 1}, true)
	f(Rate{999_983, month, 999_983}, true)
	f(Rate{10_000_000, time.Second, 1 << 40}, true)
	f(Rate{1<<63 - 1, 1<<61 - 1, 1<<63 - 1}, true)
	f(Rate{1, 1 << 61, 1}, true)
	f(Rate{1, 1<<61 + 1, 1}, false)
	f(Rate{1, month, 1000}, false)
	f(Rate{1, 1 << 62, 1 << 62}, false)
	f(Rate{0, time.Second, 1}, false)
	f(Rate{-1, time.Second, 1}, false)
	f(Rate{1, 0, 1}, false)
	f(Rate{1, -time.Second, 1}, false)
	f(Rate{1, time.Second, 0}, false)
}

func TestGCRAIsItsModel(t *testing.T) {
	type held struct {
		spending
		place
		n int64
	}
	rapid.Check(t, func(t *rapid.T) {
		r := anyRate().Draw(t, "rate")
		l, m := newLimiter(t, r, Options{}), newModel(r)
		now := mono.Time(rapid.Int64Range(0, 1<<60).Draw(t, "start"))
		k := Key{1, 2}
		s, h := l.shard(k)
		var all []held
		t.Repeat(map[string]func(*rapid.T){
			"pass": func(t *rapid.T) { now = now.Add(pause(t, r)) },
			"back": func(t *rapid.T) { now = max(0, now.Add(-pause(t, r))) },
			"take": func(t *rapid.T) {
				n := units(t, r)
				peek := l.Peek(k, n, now)
				got, sp := s.spendAs(k, h, n, now)
				want := m.take(n, now, n > 0)
				if got != want || peek != want {
					t.Fatalf("take %d at %d: got %+v, peeked %+v, want %+v", n, now, got, peek, want)
				}
				if got.OK && n > 0 {
					all = append(all, held{sp, m.place(n), n})
				}
			},
			"peek": func(t *rapid.T) {
				n := units(t, r)
				if got, want := l.Peek(k, n, now), m.take(n, now, false); got != want {
					t.Fatalf("peek %d at %d: got %+v, want %+v", n, now, got, want)
				}
			},
			"refund": func(t *rapid.T) {
				n := units(t, r)
				if len(all) == 0 {
					return
				}
				p := &all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
				if n = min(n, p.n); n > 0 {
					p.n -= n
					s.give(k, h, n, &p.spending, false, now)
					m.refund(&p.place, n, now)
				}
			},
		})
	})
}

// Over every interval between two admissions, not only the whole: admitted ≤ burst + T·N/Per. And a key that always asks
// gets every unit of it.
func TestAdmittedOverEveryInterval(t *testing.T) {
	type admission struct {
		at mono.Time
		n  int64
	}
	within := func(r Rate, n int64, d time.Duration) bool {
		most := new(big.Rat).Mul(big.NewRat(r.N, int64(r.Per)), big.NewRat(int64(d), 1))
		return big.NewRat(n-r.Burst, 1).Cmp(most) <= 0
	}
	rapid.Check(t, func(t *rapid.T) {
		r := anyRate().Draw(t, "rate")
		l := newLimiter(t, r, Options{})
		var all []admission
		var now, seen mono.Time
		for range rapid.IntRange(1, 60).Draw(t, "takes") {
			now = now.Add(pause(t, r))
			at := max(0, now.Add(-rapid.SampledFrom([]time.Duration{0, 0, 1, pause(t, r)}).Draw(t, "late")))
			if n := 1 + units(t, r); l.Take(Key{}, n, at).OK {
				seen = max(seen, at)
				all = append(all, admission{seen, n})
			}
		}
		for i := range all {
			sum := int64(0)
			for _, a := range all[i:] {
				sum += a.n
				if d := a.at.Sub(all[i].at); !within(r, sum, d) {
					t.Fatalf("%d units in %v", sum, d)
				}
			}
		}
	})
}

func TestABusyKeyGetsEveryUnit(t *testing.T) {
	f := func(r Rate) {
		t.Helper()
		l := newLimiter(t, r, Options{})
		got, now := int64(0), mono.Time(0)
		for range 200_000 {
			if d := l.Take(key(1), 1, now); d.OK {
				got++
			} else {
				now = now.Add(d.Retry)
			}
		}
		want := new(big.Int).Mul(big.NewInt(r.N), big.NewInt(int64(now)))
		want.Quo(want, big.NewInt(int64(r.Per)))
		if got != want.Int64()+r.Burst && got != want.Int64()+r.Burst-1 { // the last wait may have ended unused
			t.Errorf("%+v: %d units in %v, want %v", r, got, time.Duration(now), want.Int64()+r.Burst)
		}
	}
	f(Rate{1, time.Second, 1})
	f(Rate{7, time.Second, 3})
	f(Rate{999_983, time.Second, 10})
	f(Rate{9_999_991, time.Second, 1000})
	f(Rate{999_983, 720 * time.Hour, 5})
}

func TestRetryAndResetAreTight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRate().Draw(t, "rate")
		l := newLimiter(t, r, Options{})
		k, now := Key{}, mono.Time(0)
		for range rapid.IntRange(1, 20).Draw(t, "takes") {
			now = now.Add(pause(t, r))
			n := 1 + units(t, r)
			d := l.Take(k, n, now)
			if d.Retry != Never && (d.OK != (d.Retry == 0) || !l.Peek(k, n, now.Add(d.Retry)).OK && !d.OK) {
				t.Fatalf("take %d at %d: %+v, then %+v", n, now, d, l.Peek(k, n, now.Add(d.Retry)))
			}
			if !d.OK && d.Retry != Never && l.Peek(k, n, now.Add(d.Retry-1)).OK {
				t.Fatalf("take %d at %d: %+v, but it succeeds 1 ns before", n, now, d)
			}
			if d.Reset > 0 && l.Peek(k, r.Burst, now.Add(d.Reset-1)).OK || !l.Peek(k, r.Burst, now.Add(d.Reset)).OK {
				t.Fatalf("take %d at %d: %+v, not full then or before", n, now, d)
			}
			if d.Left > 0 && !l.Peek(k, d.Left, now).OK || l.Peek(k, d.Left+1, now).OK {
				t.Fatalf("take %d at %d: %+v is not what is left", n, now, d)
			}
		}
	})
}

func TestTakeThenRefundIsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRate().Draw(t, "rate")
		l := newLimiter(t, r, Options{})
		k, now := Key{}, mono.Time(0)
		for range rapid.IntRange(0, 5).Draw(t, "takes") {
			l.Take(k, units(t, r), now)
			now = now.Add(pause(t, r))
		}
		n, later := units(t, r), now.Add(pause(t, r))
		was, wasLater := l.Peek(k, 1, now), l.Peek(k, 1, later)
		var c Charge
		if c.Add(l, k, n); c.Take(now) < 0 {
			c.Refund(now)
		}
		if is, isLater := l.Peek(k, 1, now), l.Peek(k, 1, later); is != was || isLater != wasLater {
			t.Fatalf("was %+v, %+v later; is %+v, %+v later", was, wasLater, is, isLater)
		}
	})
}
