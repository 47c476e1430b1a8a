package shaping

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

func mustEstimator(t testing.TB, c EstimatorConfig) Estimator {
	t.Helper()
	e, err := NewEstimator(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var everyAlgorithm = []Algorithm{Gradient, Vegas, AIMD, Fixed}

func TestParseAlgorithm(t *testing.T) {
	for _, a := range everyAlgorithm {
		if got, err := ParseAlgorithm(a.String()); err != nil || got != a {
			t.Errorf("%v: %v, %v", a, got, err)
		}
	}
	for _, s := range []string{"", "Gradient", "gradient2", "Algorithm(4)"} {
		if _, err := ParseAlgorithm(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
	if got := Algorithm(4).String(); got != "Algorithm(4)" {
		t.Error(got)
	}
}

func TestEstimatorConfig(t *testing.T) {
	f := func(c EstimatorConfig, initial int) { // 0: refused
		t.Helper()
		e, err := NewEstimator(c)
		switch {
		case initial == 0 && err == nil:
			t.Errorf("%+v was taken", c)
		case initial != 0 && err != nil:
			t.Errorf("%+v: %v", c, err)
		case initial != 0 && e.Limit() != initial:
			t.Errorf("%+v: limit %d at first, want %d", c, e.Limit(), initial)
		}
	}
	for _, a := range everyAlgorithm {
		f(EstimatorConfig{Algorithm: a}, DefaultInitial)
		f(EstimatorConfig{Algorithm: a, Max: 3}, 3)
		f(EstimatorConfig{Algorithm: a, Min: 50}, 50)
		f(EstimatorConfig{Algorithm: a, Min: 5000}, 5000)
		f(EstimatorConfig{Algorithm: a, Min: 1, Max: 1, Initial: 1}, 1)
		f(EstimatorConfig{Algorithm: a, Min: 1, Max: maxSeats, Initial: 7}, 7)
		f(EstimatorConfig{Algorithm: a, Min: 8, Initial: 8}, 8)
		f(EstimatorConfig{Algorithm: a, Min: -1}, 0)
		f(EstimatorConfig{Algorithm: a, Min: 9, Max: 8}, 0)
		f(EstimatorConfig{Algorithm: a, Max: -8}, 0)
		f(EstimatorConfig{Algorithm: a, Max: maxSeats + 1}, 0)
		f(EstimatorConfig{Algorithm: a, Min: 8, Initial: 7}, 0)
		f(EstimatorConfig{Algorithm: a, Max: 8, Initial: 9}, 0)
		f(EstimatorConfig{Algorithm: a, Initial: -1}, 0)
	}
	f(EstimatorConfig{Algorithm: 4}, 0)
}

func TestFixedStays(t *testing.T) {
	e := mustEstimator(t, EstimatorConfig{Algorithm: Fixed, Initial: 30})
	for i := range 1000 {
		e.Observe(Observation{RTT: time.Duration(i), InFlight: i, Sample: Sample(i % 3), Now: mono.Time(i)})
	}
	reshape(t, e, 1, 10, 10)
	reshape(t, e, 40, 50, 40)
	reshape(t, e, 1, 100, 30)
}

func reshape(t *testing.T, e Estimator, min, max, want int) {
	t.Helper()
	if err := e.(Reshaper).Reshape(min, max); err != nil {
		t.Fatal(err)
	}
	if got := e.Limit(); got != want {
		t.Errorf("limit %d within %d to %d, want %d", got, min, max, want)
	}
}

func TestReshapeRefusesNonsense(t *testing.T) {
	for _, a := range everyAlgorithm {
		e := mustEstimator(t, EstimatorConfig{Algorithm: a})
		for _, b := range [][2]int{{0, 10}, {-1, 10}, {10, 9}, {1, maxSeats + 1}} {
			if e.(Reshaper).Reshape(b[0], b[1]) == nil {
				t.Errorf("%v took bounds %v", a, b)
			}
		}
		if e.Limit() != DefaultInitial {
			t.Errorf("%v: limit %d after refused bounds", a, e.Limit())
		}
	}
}

// Whatever is observed, in whatever order of time, the limit is within its bounds, Observe and Limit agree, and what is estimated
// is a number.
func TestLimitStaysWithinItsBounds(t *testing.T) {
	rtt := rapid.OneOf(rapid.SampledFrom([]int64{0, -1, 1, math.MaxInt64, math.MinInt64}), rapid.Int64Range(0, 1e10))
	now := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 1e10), rapid.SampledFrom([]int64{math.MaxInt64, math.MinInt64}))
	inFlight := rapid.OneOf(rapid.IntRange(0, 100), rapid.SampledFrom([]int{-5, math.MaxInt32, math.MaxInt64}))
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.IntRange(1, 40).Draw(t, "min")
		high := low + rapid.SampledFrom([]int{0, 1, 10, 1000, maxSeats - 40}).Draw(t, "max")
		e, err := NewEstimator(EstimatorConfig{Algorithm: rapid.SampledFrom(everyAlgorithm).Draw(t, "algorithm"), Min: low, Max: high})
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 12).Draw(t, "phases") {
			if rapid.IntRange(0, 3).Draw(t, "reshape") == 0 {
				low = rapid.IntRange(1, 40).Draw(t, "min")
				high = low + rapid.IntRange(0, 100).Draw(t, "more")
				if err := e.(Reshaper).Reshape(low, high); err != nil {
					t.Fatal(err)
				}
			}
			o := Observation{
				RTT:      time.Duration(rtt.Draw(t, "rtt")),
				InFlight: inFlight.Draw(t, "in flight"),
				Sample:   rapid.SampledFrom([]Sample{Success, Success, Success, Ignore, Drop}).Draw(t, "sample"),
				Now:      mono.Time(now.Draw(t, "now")),
			}
			binds := rapid.Bool().Draw(t, "binds")
			for range rapid.SampledFrom([]int{1, 30, 3000}).Draw(t, "times") {
				if binds {
					o.InFlight = e.Limit()
				}
				got := e.Observe(o)
				if got != e.Limit() || got < low || got > high {
					t.Fatalf("limit %d, then %d, of %d to %d", got, e.Limit(), low, high)
				}
			}
			if g, ok := e.(*gradient); ok && math.IsNaN(g.knee+g.baseline+g.anchor+g.elasticity) {
				t.Fatalf("%+v", g)
			}
		}
	})
}

func TestIgnoreHasNoEffect(t *testing.T) {
	for _, a := range everyAlgorithm {
		feed := func(ignored int) (limits []int) {
			e := mustEstimator(t, EstimatorConfig{Algorithm: a, Min: 1})
			for i := range 5000 {
				o := Observation{RTT: time.Duration(1+i%7) * time.Millisecond, InFlight: e.Limit(), Now: mono.Time(i) * 1e6}
				if i == 3000 {
					o.Sample = Drop
				}
				limits = append(limits, e.Observe(o))
				o.Sample, o.RTT = Ignore, time.Hour
				for range ignored {
					e.Observe(o)
				}
			}
			return limits
		}
		without, with := feed(0), feed(3)
		for i := range without {
			if without[i] != with[i] {
				t.Errorf("%v: limit %d instead of %d after %d answers", a, with[i], without[i], i)
				break
			}
		}
	}
}

// One Drop or many in one round trip: a tenth less. In the next round trip, again.
func TestDropCountsOncePerRoundTrip(t *testing.T) {
	for _, a := range []Algorithm{Gradient, Vegas, AIMD} {
		e := mustEstimator(t, EstimatorConfig{Algorithm: a, Min: 1, Initial: 100})
		drop := Observation{RTT: time.Second, Sample: Drop, InFlight: 100}
		first := e.Observe(drop)
		if first < 85 || first > 95 {
			t.Errorf("%v: limit %d of 100 after a drop", a, first)
		}
		for i := range 99 {
			if got := e.Observe(drop); got != first {
				t.Fatalf("%v: limit %d of %d at drop %d of a round trip", a, got, first, i+2)
			}
		}
		if got := e.Observe(drop); got >= first {
			t.Errorf("%v: limit %d of %d after the next round trip's first drop", a, got, first)
		}
	}
}

// What leaves half of the limit unused says nothing about it, whatever its latency.
func TestGradientStaysWhereItDoesNotBind(t *testing.T) {
	e := mustEstimator(t, EstimatorConfig{Min: 1, Initial: 40})
	for i := range 20000 {
		o := Observation{RTT: time.Duration(1+i/500%9) * time.Millisecond, InFlight: 20, Now: mono.Time(i) * 1e6}
		if got := e.Observe(o); got != 40 {
			t.Fatalf("limit %d after %d answers", got, i)
		}
	}
}

func TestObserveDoesNotAllocate(t *testing.T) {
	if estimateRace {
		t.Skip("the race detector allocates")
	}
	for _, a := range everyAlgorithm {
		e := mustEstimator(t, EstimatorConfig{Algorithm: a})
		o := Observation{RTT: time.Millisecond}
		if n := testing.AllocsPerRun(10000, func() {
			o.Now += 1e4
			o.InFlight = e.Limit()
			e.Observe(o)
		}); n != 0 {
			t.Errorf("%v: %v allocations", a, n)
		}
	}
}

// BenchmarkObserve is an upstream with 100 workers of 1 ms, kept full.
func BenchmarkObserve(b *testing.B) {
	for _, a := range everyAlgorithm {
		b.Run(a.String(), func(b *testing.B) {
			e := mustEstimator(b, EstimatorConfig{Algorithm: a})
			o := Observation{}
			b.ReportAllocs()
			for b.Loop() {
				o.Now += 1e4
				o.InFlight = e.Limit()
				o.RTT = time.Millisecond * time.Duration(max(100, o.InFlight)) / 100
				e.Observe(o)
			}
		})
	}
}
