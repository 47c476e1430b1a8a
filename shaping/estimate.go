package shaping

import (
	"fmt"
	"time"

	"weir/internal/mono"
)

// Sample says how a request ended, as far as its latency tells of the upstream's load.
type Sample uint8

const (
	Success Sample = iota // answered: its latency counts
	Ignore                // says nothing: it never reached the upstream, or its client left
	Drop                  // the upstream gave way under load: a timeout, a reset, its own 503
)

// Observation is one request that has given back its seat.
type Observation struct {
	RTT      time.Duration // from the upstream's seat to the head of its answer, without any wait in our queue
	InFlight int           // seats in use when it was given back, its own included
	Sample   Sample
	Now      mono.Time
}

// Estimator works out how many requests an upstream takes at once. It is pure: it reads no clock and starts nothing. Not safe for
// concurrent use.
type Estimator interface {
	// Observe takes an observation into account and returns the limit that then holds.
	Observe(o Observation) (limit int)
	// Limit is the limit in force.
	Limit() int
}

// Reshaper is implemented by every Estimator of NewEstimator.
type Reshaper interface {
	// Reshape changes the bounds of the limit in place and keeps what was learnt. It refuses what EstimatorConfig.Validate refuses.
	Reshape(min, max int) error
}

// Algorithm is the way of an Estimator. The zero value is Gradient.
type Algorithm uint8

const (
	Gradient Algorithm = iota // compares throughput and latency at two levels: the default
	Vegas                     // keeps a few requests queued in the upstream, by the smallest latency seen
	AIMD                      // grows until something is dropped; deaf to latency
	Fixed                     // always Initial
)

var algorithms = [...]string{Gradient: "gradient", Vegas: "vegas", AIMD: "aimd", Fixed: "fixed"}

func (a Algorithm) String() string {
	if int(a) < len(algorithms) {
		return algorithms[a]
	}
	return fmt.Sprintf("Algorithm(%d)", uint8(a))
}

// ParseAlgorithm is the inverse of String.
func ParseAlgorithm(s string) (Algorithm, error) {
	for a, name := range algorithms {
		if s == name {
			return Algorithm(a), nil
		}
	}
	return 0, fmt.Errorf("unknown concurrency algorithm %q: gradient, vegas, aimd or fixed", s)
}

// EstimatorConfig says how to estimate. A field that is 0 has its default.
type EstimatorConfig struct {
	Algorithm Algorithm
	Min       int // limit at least: DefaultMin. Higher: no starving after a wrong estimate, but more queueing in a small upstream
	Max       int // limit at most: DefaultMax. Lower: less harm by a wrong estimate, but less of a large upstream
	Initial   int // limit before anything is known: DefaultInitial, or the bound nearest to it
}

// Defaults of EstimatorConfig.
const (
	DefaultMin     = 8
	DefaultMax     = 4096
	DefaultInitial = 20
)

// withDefaults fills in what is 0.
func (c EstimatorConfig) withDefaults() EstimatorConfig {
	if c.Min == 0 {
		c.Min = DefaultMin
		if c.Max > 0 {
			c.Min = min(DefaultMin, c.Max)
		}
	}
	if c.Max == 0 {
		c.Max = max(DefaultMax, c.Min)
	}
	if c.Initial == 0 {
		c.Initial = min(max(DefaultInitial, c.Min), c.Max)
	}
	return c
}

// Validate says what is wrong with c, after its defaults: bounds that contradict each other, below 1 or beyond what a Gate can
// hold, Initial outside of them, an unknown Algorithm.
func (c EstimatorConfig) Validate() error {
	c = c.withDefaults()
	if int(c.Algorithm) >= len(algorithms) {
		return fmt.Errorf("unknown concurrency algorithm %d", c.Algorithm)
	}
	if _, err := newBounds(c.Min, c.Max); err != nil {
		return err
	}
	if c.Initial < c.Min || c.Initial > c.Max {
		return fmt.Errorf("initial concurrency limit %d is outside of %d to %d", c.Initial, c.Min, c.Max)
	}
	return nil
}

// NewEstimator returns an estimator that knows nothing yet. Its errors are those of Validate.
func NewEstimator(c EstimatorConfig) (Estimator, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	b := bounds{c.Min, c.Max}
	switch c.Algorithm {
	case Vegas:
		return newVegas(b, c.Initial), nil
	case AIMD:
		return newAIMD(b, c.Initial), nil
	case Fixed:
		return &fixed{b, c.Initial}, nil
	}
	return newGradient(b, c.Initial), nil
}

// bounds of a limit.
type bounds struct{ min, max int }

func newBounds(min, max int) (bounds, error) {
	switch {
	case min < 1:
		return bounds{}, fmt.Errorf("minimum concurrency limit %d is below 1", min)
	case max < min:
		return bounds{}, fmt.Errorf("maximum concurrency limit %d is below the minimum, %d", max, min)
	case max > maxSeats:
		return bounds{}, fmt.Errorf("maximum concurrency limit %d is above %d", max, maxSeats)
	}
	return bounds{min, max}, nil
}

func (b bounds) within(x float64) float64 {
	return min(max(x, float64(b.min)), float64(b.max))
}

// fixed is the estimator that does not estimate.
type fixed struct {
	bounds
	wanted int
}

func (f *fixed) Observe(Observation) int { return f.Limit() }
func (f *fixed) Limit() int              { return int(f.within(float64(f.wanted))) }

func (f *fixed) Reshape(min, max int) error {
	b, err := newBounds(min, max)
	if err == nil {
		f.bounds = b
	}
	return err
}
