package limiter

import (
	"math"
	"time"
)

// An Observation is what a controller of an adaptive limit sees of one interval.
type Observation struct {
	Every    time.Duration // length of the interval
	Pressure float64       // how loaded what the limit protects is, 0 to 1
	Asked    float64       // units asked for in the interval
	Admitted float64       // units of them that were admitted
}

// Adaptation is the state of the controller of an adaptive limit, and its answer: Factor, by which the configured limit is to be
// multiplied. The zero value is the state at the start. It is a value: Next is a pure function.
type Adaptation struct {
	Factor float64 // MinFactor to MaxFactor; 0 stands for 1
	Level  float64 // demand, smoothed, in units a second
	Trend  float64 // its growth, in units a second per second
}

// The bounds of an adaptive limit, as multiples of the configured one.
const (
	MinFactor = 0.25
	MaxFactor = 2
)

// The constants of Next. doc.go says why it is stable with them.
const (
	calmPressure  = 0.5             // up to here the limit may grow as demand wants it
	evenPressure  = 0.7             // here the configured limit is right; beyond it shrinks
	adaptTime     = 4 * time.Second // time constant of the limit
	maxAdaptation = 0.1             // share of the way to its aim that the limit goes in one interval at most; more: faster, unstable from 0.14
	levelShare    = 0.5             // of Holt's linear smoothing: how much the last interval counts
	trendShare    = 0.3             // as above, for the trend
)

// Next returns the state after an interval. The aim lies between MinFactor and MaxFactor: at low pressure as high as the forecast
// demand needs, at least 1; as pressure rises to evenPressure it comes down to 1, and from there to 1 down to MinFactor. The factor goes
// towards the aim exponentially, in its logarithm, with the time constant adaptTime. Nonsense (a NaN, no time, what is out of range) counts as nothing seen.
func (a Adaptation) Next(o Observation) Adaptation {
	if a.Factor == 0 {
		a.Factor = 1
	}
	seconds := o.Every.Seconds()
	asked, admitted := max(0, o.Asked)/seconds, o.Admitted/seconds
	level := max(0, levelShare*asked+(1-levelShare)*(a.Level+a.Trend*seconds))
	trend := trendShare*(level-a.Level)/seconds + (1-trendShare)*a.Trend
	forecast := max(0, level+trend*seconds)
	if o.Every <= 0 || math.IsNaN(o.Pressure+admitted) || math.IsInf(admitted, 0) || math.IsNaN(forecast) || math.IsInf(level+math.Abs(trend), 0) {
		return a
	}
	a.Level, a.Trend = level, trend

	wanted := 1.0 // what demand would need, at most MaxFactor
	if asked > admitted {
		wanted = MaxFactor
		if admitted > 0 {
			wanted = min(max(1, a.Factor*forecast/admitted), MaxFactor)
		}
	}
	aim := 0.0 // ln of the factor
	switch p := min(max(o.Pressure, 0), 1); {
	case p <= calmPressure:
		aim = math.Log(wanted)
	case p <= evenPressure:
		aim = math.Log(wanted) * (evenPressure - p) / (evenPressure - calmPressure)
	default:
		aim = math.Log(MinFactor) * (p - evenPressure) / (1 - evenPressure)
	}
	share := min(1-math.Exp(-float64(o.Every)/float64(adaptTime)), maxAdaptation)
	x := math.Log(a.Factor)
	a.Factor = min(max(math.Exp(x+share*(aim-x)), MinFactor), MaxFactor)
	return a
}

// Scaled returns r times f, for an adaptive limit: to 1/1024 of a unit, and at least one unit at once.
func (r Rate) Scaled(f float64) Rate {
	if f == 1 {
		return r
	}
	const fine = 1024
	s := Rate{N: times(r.N, f), Per: r.Per, Burst: times(r.Burst, f)}
	if n := math.Round(float64(r.N) * f * fine); n >= 1 && n < math.MaxInt64/2 && r.Per <= math.MaxInt64/fine {
		s.N, s.Per = int64(n), r.Per*fine
	}
	return s
}

// times is n·f rounded, within 1 and MaxInt64.
func times(n int64, f float64) int64 {
	if x := math.Floor(float64(n) * f); x < math.MaxInt64 {
		return max(1, int64(x))
	}
	return math.MaxInt64
}
