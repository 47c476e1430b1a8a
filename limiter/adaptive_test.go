package limiter

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestFactorIsInItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a Adaptation
		number := rapid.OneOf(rapid.Float64(), rapid.Float64Range(-1, 3), rapid.SampledFrom([]float64{0, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, 5e-324}))
		for range rapid.IntRange(1, 50).Draw(t, "intervals") {
			a = a.Next(Observation{
				Every:    time.Duration(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-1, 10), rapid.Int64Range(1e8, 1e10)).Draw(t, "every")),
				Pressure: number.Draw(t, "pressure"), Asked: number.Draw(t, "asked"), Admitted: number.Draw(t, "admitted"),
			})
			if !(a.Factor >= MinFactor && a.Factor <= MaxFactor) || !(a.Level >= 0) || math.IsInf(a.Level, 0) || math.IsNaN(a.Trend) || math.IsInf(a.Trend, 0) {
				t.Fatalf("%+v", a)
			}
		}
	})
}

// At a pressure and demand that stay, the factor goes to its aim.
func TestFactorConverges(t *testing.T) {
	f := func(pressure, asked, want float64) {
		t.Helper()
		for _, start := range []float64{MinFactor, 0, MaxFactor} {
			a := Adaptation{Factor: start}
			for range 300 {
				factor := a.Factor
				if factor == 0 {
					factor = 1
				}
				a = a.Next(Observation{Every: time.Second, Pressure: pressure, Asked: asked, Admitted: min(asked, 100*factor)})
			}
			if math.Abs(a.Factor-want) > 0.05*want {
				t.Errorf("pressure %v, %v of 100 asked, from %v: %v, want %v", pressure, asked, start, a.Factor, want)
			}
		}
	}
	f(0, 0, 1)
	f(0, 50, 1)
	f(0, 100, 1)
	f(0.5, 170, 1.7)
	f(0.2, 1000, MaxFactor)
	f(0.6, 1000, math.Sqrt2)
	f(evenPressure, 1000, 1)
	f(evenPressure, 50, 1)
	f(0.85, 1000, 0.5)
	f(1, 1000, MinFactor)
	f(1, 0, MinFactor)
}

// closed runs the loop for steps intervals: the pressure is in proportion to what the limit lets through of the load, and is seen
// lag intervals late.
func closed(every time.Duration, lag, steps int, noise float64, load func(step int) float64) (factors []float64) {
	var a Adaptation
	random := rand.New(rand.NewPCG(1, 2))
	var seen []float64
	factor := 1.0
	for i := range steps {
		asked, capacity := load(i)*100*every.Seconds(), factor*100*every.Seconds()
		seen = append(seen, load(i)*factor*0.9+noise*(2*random.Float64()-1))
		pressure := min(max(seen[max(0, len(seen)-1-lag)], 0), 1)
		a = a.Next(Observation{Every: every, Pressure: pressure, Asked: asked, Admitted: min(asked, capacity)})
		factor = a.Factor
		factors = append(factors, factor)
	}
	return factors
}

// spread is how far the values are from their mean at most, as a share of it.
func spread(values []float64) float64 {
	mean, far := 0.0, 0.0
	for _, v := range values {
		mean += v / float64(len(values))
	}
	for _, v := range values {
		far = max(far, math.Abs(v-mean)/mean)
	}
	return far
}

func TestClosedLoopSettles(t *testing.T) {
	worst, where := 0.0, ""
	for _, every := range []time.Duration{100, 300, 500, 1000, 2000, 5000} {
		every *= time.Millisecond
		for lag := range 3 {
			for _, noise := range []float64{0, 0.02, 0.05} {
				for load := 0.2; load <= 5.01; load += 0.1 {
					steps := max(200, int(120*time.Second/every))
					name := fmt.Sprintf("every %v, lag %d, noise %v, load %.1f", every, lag, noise, load)
					check := func(what string, factors []float64) {
						end := factors[len(factors)*8/10:]
						if d := spread(end); d > worst {
							worst, where = d, name+what
						}
						if d := spread(end); d > 0.1 {
							t.Errorf("%s%s: ±%.0f %% in the end", name, what, 100*d)
						}
					}
					check("", closed(every, lag, steps, noise, func(int) float64 { return load }))
					check(" after a step up", closed(every, lag, 2*steps, noise, func(i int) float64 {
						if i < steps {
							return 0.3
						}
						return load
					}))
					check(" after a step down", closed(every, lag, 2*steps, noise, func(i int) float64 {
						if i < steps {
							return 5
						}
						return load
					}))
				}
			}
		}
	}
	t.Logf("worst: ±%.1f %% (%s)", 100*worst, where)
}

// On a ramp the forecast is ahead of the demand of the interval by about one interval's growth, and not behind it.
func TestForecastLeadsARamp(t *testing.T) {
	var a Adaptation
	for i := range 60 {
		a = a.Next(Observation{Every: time.Second, Asked: 100 + 10*float64(i), Admitted: 1e9})
	}
	if forecast := a.Level + a.Trend; math.Abs(forecast-700) > 2 || math.Abs(a.Trend-10) > 0.5 {
		t.Errorf("forecast %v of 700, trend %v of 10", forecast, a.Trend)
	}
	for range 60 {
		a = a.Next(Observation{Every: 500 * time.Millisecond, Asked: 50, Admitted: 50})
	}
	if math.Abs(a.Level-100) > 1 || math.Abs(a.Trend) > 1 {
		t.Errorf("%+v at a demand of 100 a second", a)
	}
}

func TestScaled(t *testing.T) {
	const s = time.Second
	f := func(r Rate, factor float64, want Rate) {
		t.Helper()
		if got := r.Scaled(factor); got != want || got.Validate() != nil {
			t.Errorf("%+v × %v = %+v, want %+v", r, factor, got, want)
		}
	}
	f(Rate{10, s, 10}, 1, Rate{10, s, 10})
	f(Rate{10, s, 10}, 0.25, Rate{2560, 1024 * s, 2})
	f(Rate{1, s, 1}, 0.25, Rate{256, 1024 * s, 1})
	f(Rate{1, s, 3}, 1.5, Rate{1536, 1024 * s, 4})
	f(Rate{1, 2400 * time.Hour, 1}, 2, Rate{2048, 1024 * 2400 * time.Hour, 2})
	f(Rate{3, 24000 * time.Hour, 1}, 2, Rate{6, 24000 * time.Hour, 2})
	f(Rate{1 << 62, s, 1 << 62}, 2, Rate{math.MaxInt64, s, math.MaxInt64})
	f(Rate{1 << 62, s, 1}, 0.5, Rate{1 << 61, s, 1})
}
