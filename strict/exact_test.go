package strict

import (
	"context"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/limiter"
)

// TestNothingIsLost: over a million requests at odd rates, what is owed is exact to the last tick.
func TestNothingIsLost(t *testing.T) {
	r := newServer(t)
	var clock atomic.Int64
	s := opened(t, Config{Addresses: []string{r.addr()}}, clock.Load)
	f := func(name string, spec limiter.Spec, step func(i int64) int64) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			const chains = 200
			requests := int64(1_000_000)
			if raceEnabled {
				requests = 40_000 // its burst is not used up, but the arithmetic is the same
			}
			clock.Store(start)
			p := policy(t, runs.Add(1), spec)
			asks, answers := make([]Ask, chains), make([]Answer, chains)
			for i := range asks {
				asks[i] = Ask{Policy: p, Key: key(1), N: 1}
			}
			admitted := int64(0)
			for i := int64(0); i < requests; i += chains {
				refused, err := s.Take(context.Background(), asks, answers)
				must(t, err)
				if refused < 0 {
					admitted += chains
				}
				clock.Add(step(i))
			}
			if admitted != requests {
				t.Fatalf("%d of %d were admitted", admitted, requests)
			}
			// The bucket never ran full in between, so that it owes all but what has refilled.
			var last [1]Answer
			_, err := s.Take(context.Background(), asks[:1], last[:])
			must(t, err)
			want := new(big.Rat).Mul(new(big.Rat).SetInt64(requests+1), new(big.Rat).SetFrac(new(big.Int).SetUint64(p.per), new(big.Int).SetUint64(p.num)))
			want.Add(want, new(big.Rat).SetInt64(start))
			if got := p.rat(last[0].Mark.tat); got.Cmp(want) != 0 {
				t.Fatalf("the arrival time is %v, want %v", got, want)
			}
		})
	}
	month := 30 * 24 * time.Hour
	f("999,983 a month", bucketOf(999_983, month, 1_500_000), func(int64) int64 { return 17 })
	f("10 million a second", bucketOf(10_000_000, time.Second, 1000), func(i int64) int64 { return 20 - 5*max(0, 1-i) })
	f("7 a second", bucketOf(7, time.Second, 2_000_000), func(int64) int64 { return 1 })
	f("a large denominator", bucketOf(4_000_000_000_037, 999_999_937*time.Second, 2_000_000), func(int64) int64 { return 1 })
}

// TestTightToTheTick: at 10 M/s a microsecond gives ten units, not nine and not eleven.
func TestTightToTheTick(t *testing.T) {
	r := newServer(t)
	var clock atomic.Int64
	clock.Store(start)
	s := opened(t, Config{Addresses: []string{r.addr()}}, clock.Load)
	f := func(spec limiter.Spec, us, want int64) {
		t.Helper()
		a := Ask{Policy: policy(t, runs.Add(1), spec), Key: key(1), N: spec.Rate.Burst}
		if !take(t, s, a).OK {
			t.Fatal("the burst does not fit")
		}
		clock.Add(us)
		if got := take(t, s, Ask{Policy: a.Policy, Key: a.Key}).Left; got != want {
			t.Errorf("%+v: %d units after %d µs, want %d", spec.Rate, got, us, want)
		}
		a.N = 1
		for i := range want {
			if !take(t, s, a).OK {
				t.Fatalf("%+v: unit %d of %d is refused", spec.Rate, i, want)
			}
		}
		if got := take(t, s, a); got.OK {
			t.Errorf("%+v: one too many", spec.Rate)
		} else if clock.Add(got.Retry.Microseconds() - 1); take(t, s, a).OK {
			t.Errorf("%+v: it succeeds before Retry", spec.Rate)
		}
		if clock.Add(1); !take(t, s, a).OK {
			t.Errorf("%+v: it fails at Retry", spec.Rate)
		}
	}
	f(bucketOf(10_000_000, time.Second, 100), 1, 10)
	f(bucketOf(10_000_000, time.Second, 100), 3, 30)
	f(bucketOf(3, 10*time.Microsecond, 3), 10, 3)
	f(bucketOf(3, 10*time.Microsecond, 3), 9, 2)
	f(bucketOf(999_983, 30*24*time.Hour, 10), 2_592_045, 1) // a unit is 2,592,044.06… µs
	f(bucketOf(999_983, 30*24*time.Hour, 10), 2_592_044, 0)
}

// TestChainsAreWhole: many at once spend chains of a narrow, a middle and a wide policy; each admits to the unit, and nothing is left over
// from chains that were refused.
func TestChainsAreWhole(t *testing.T) {
	r := newServer(t)
	s := opened(t, Config{Addresses: []string{r.addr()}}, nil)
	wholeChains(t, s, false)
	if st := s.Stats(); st.Batches >= st.Calls {
		t.Errorf("%d calls in %d batches: nothing was put together", st.Calls, st.Batches)
	}
}

func wholeChains(t *testing.T, s *Store, grouped bool) {
	base := 10 * runs.Add(1000) // keys of its own
	const goroutines, each = 50, 60
	day := 24 * time.Hour
	narrow := policy(t, 1, limiter.Spec{Algorithm: limiter.FixedWindow, Rate: limiter.Rate{N: 40, Per: 30 * day}})
	middle := policy(t, 2, limiter.Spec{Algorithm: limiter.SlidingWindow, Rate: limiter.Rate{N: 1000, Per: 30 * day}, Parts: 60})
	wide := policy(t, 3, bucketOf(1, day, 900))
	own := policy(t, 4, limiter.Spec{Algorithm: limiter.Quota, Rate: limiter.Rate{N: 1 << 40}, Calendar: limiter.Calendar{Period: "month"}})
	var admitted [goroutines]int64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			var answers [4]Answer
			for range each {
				asks := []Ask{
					{Policy: narrow, Key: key(base + uint64(g)), N: 1},
					{Policy: own, Key: key(base + uint64(g)), N: 1},
					{Policy: middle, Key: key(base + 1000 + uint64(g%2)), N: 1},
					{Policy: wide, Key: key(base + 2000), N: 1},
				}
				if grouped {
					for i := range asks {
						asks[i].Group = key(base + 2000)
					}
				}
				refused, err := s.Take(context.Background(), asks, answers[:])
				if err != nil {
					t.Error(err)
					return
				}
				if refused < 0 {
					admitted[g]++
				}
			}
		})
	}
	wg.Wait()
	sum, group := int64(0), limiter.Key{}
	if grouped {
		group = key(base + 2000)
	}
	for g := range goroutines {
		sum += admitted[g]
		for _, p := range []*Policy{narrow, own} {
			got := p.spec.Rate.N - take(t, s, Ask{Policy: p, Key: key(base + uint64(g)), Group: group}).Left
			if got != admitted[g] || admitted[g] > 40 {
				t.Errorf("policy %d of %d: %d units are spent, by %d requests", p.id, g, got, admitted[g])
			}
		}
	}
	if left := take(t, s, Ask{Policy: wide, Key: key(base + 2000), Group: group}).Left; sum != 900 && !s.view.Load().cluster() || left != 900-sum {
		t.Errorf("%d were admitted, and %d of 900 are left", sum, left)
	}
	both := int64(0)
	for i := range uint64(2) {
		both += 1000 - take(t, s, Ask{Policy: middle, Key: key(base + 1000 + i), Group: group}).Left
	}
	if both != sum {
		t.Errorf("the middle policy has spent %d, want %d", both, sum)
	}
}

func TestSlotOf(t *testing.T) {
	f := func(key string, want uint16) {
		t.Helper()
		if got := slotOf(key); got != want {
			t.Errorf("%q: slot %d, want %d", key, got, want)
		}
	}
	f("123456789", 12739) // the example of the cluster specification
	f("{123456789}x", 12739)
	f("a{123456789}{x}", 12739)
	f("foo{}{bar}", slotOf("foo{}{bar}"))
	f("", 0)
}

// TestNumbersChange: a bucket owes at a new rate as many units as at the old one; a window keeps what was spent.
func TestNumbersChange(t *testing.T) {
	r := newServer(t)
	var clock atomic.Int64
	clock.Store(start)
	s := opened(t, Config{Addresses: []string{r.addr()}}, clock.Load)
	f := func(name string, from, to limiter.Spec, spend, left int64) {
		t.Helper()
		id := runs.Add(1)
		if a := take(t, s, Ask{Policy: policy(t, id, from), Key: key(1), N: spend}); !a.OK {
			t.Fatalf("%s: %+v", name, a)
		}
		if a := take(t, s, Ask{Policy: policy(t, id, to), Key: key(1)}); a.Left != left {
			t.Errorf("%s: %d are left, want %d", name, a.Left, left)
		}
	}
	second := time.Second
	f("faster", bucketOf(10, second, 100), bucketOf(20, second, 100), 40, 59) // rounded up by a microsecond
	f("the same rate, more burst", bucketOf(10, second, 100), bucketOf(10, second, 200), 40, 160)
	f("less burst", bucketOf(10, second, 100), bucketOf(10, second, 50), 40, 10)
	f("far less", bucketOf(10, second, 100), bucketOf(10, second, 30), 40, 0)
	f("window", windowOf(limiter.FixedWindow, 10, second), windowOf(limiter.FixedWindow, 20, time.Minute), 7, 13)
	f("sliding", windowOf(limiter.SlidingWindow, 10, second), windowOf(limiter.SlidingWindow, 20, time.Minute), 7, 13)
}

func windowOf(a limiter.Algorithm, n int64, per time.Duration) limiter.Spec {
	return limiter.Spec{Algorithm: a, Rate: limiter.Rate{N: n, Per: per}, Parts: 10}
}

// TestClockSetBack: a server whose clock is set back by an hour gives nothing away, and locks nobody out for an hour.
func TestClockSetBack(t *testing.T) {
	r := newServer(t)
	var clock atomic.Int64
	s := opened(t, Config{Addresses: []string{r.addr()}}, clock.Load)
	for i, spec := range []limiter.Spec{bucketOf(10, 10*time.Second, 10), windowOf(limiter.FixedWindow, 10, 10*time.Second),
		windowOf(limiter.SlidingWindow, 10, 10*time.Second)} {
		clock.Store(start)
		a := Ask{Policy: policy(t, uint64(i), spec), Key: key(1), N: 8}
		take(t, s, a)
		clock.Add(-3600_000_000)
		if a.N = 3; take(t, s, a).OK {
			t.Errorf("%v: an hour back, what was spent is forgotten", spec.Algorithm)
		}
		if a.N = 2; !take(t, s, a).OK {
			t.Errorf("%v: an hour back, what was left is gone", spec.Algorithm)
		}
		if clock.Add(11_000_000); !take(t, s, a).OK {
			t.Errorf("%v: locked out after the clock was set back", spec.Algorithm)
		}
	}
}

func TestNewPolicyRefuses(t *testing.T) {
	f := func(s limiter.Spec) {
		t.Helper()
		if _, err := NewPolicy(1, s); err == nil {
			t.Errorf("%+v is taken", s)
		}
	}
	f(limiter.Spec{})
	f(bucketOf(1<<52+1, 7, 1))
	f(bucketOf(1<<61+1, time.Hour, 1))
	f(limiter.Spec{Algorithm: limiter.Adaptive, Rate: limiter.Rate{N: 1, Per: 1, Burst: 1}})
	f(windowOf(limiter.FixedWindow, 1<<60, time.Second))
	f(windowOf(limiter.FixedWindow, 1, 1500))
	f(windowOf(limiter.SlidingWindow, 1, 9*time.Microsecond))
	f(limiter.Spec{Algorithm: limiter.Concurrency, Rate: limiter.Rate{N: 1 << 60}})
}

// TestClocksApart: a gateway whose clock is months off is told so by the server, and counts in the period that the server has.
func TestClocksApart(t *testing.T) {
	r := newServer(t)
	s := opened(t, Config{Addresses: []string{r.addr()}}, nil)
	for _, period := range []string{"hour", "day", "week", "month"} {
		spec := limiter.Spec{Algorithm: limiter.Quota, Rate: limiter.Rate{N: 10}, Calendar: limiter.Calendar{Period: period}}
		a := Ask{Policy: policy(t, runs.Add(1), spec), Key: key(1), N: 1}
		for i, off := range []time.Duration{0, 100 * 24 * time.Hour, -100 * 24 * time.Hour} {
			s.view.Load().nodes[0].offset.Store(off.Microseconds())
			got := take(t, s, a)
			if want := int64(9 - i); got.Left != want {
				t.Errorf("%s, %v off: %d are left, want %d", period, off, got.Left, want)
			}
			_, end := spec.Calendar.Around(time.Now())
			if d := got.Reset - time.Until(end); d.Abs() > time.Minute {
				t.Errorf("%s, %v off: the period ends %v too late", period, off, d)
			}
		}
	}
}
