package shaping

import (
	"math"
	"time"

	"weir/internal/mono"
)

// vegas keeps between alpha and beta requests queued in the upstream. From the mean latency R of a round trip and the base B, the
// smallest such mean of the last minute, it takes
//
//	queue = limit x (1 - B/R)
//
// raises the limit when that is below alpha and lowers it when it is above beta, by log10(limit). Until alpha is reached for the
// first time it doubles instead.
//
// Good for an upstream of steady latency: the least queueing of all. Where it fails: B is the smallest of many means, so with
// noisy latency it is too small, the queue looks too long, and the upstream stays unused (at exponential service times half of
// one with 20 workers, nine tenths of one with 100); an upstream that has become slower is starved until the base is forgotten, a
// minute at most; under steady overload the base forgets the idle latency too, and about beta more are let in every minute.
//
// Sources: Brakmo, O'Malley, Peterson, TCP Vegas, SIGCOMM 1994; alpha, beta and the step that grow with log10 of the limit are
// those of Netflix concurrency-limits.
type vegas struct {
	bounds
	exact   float64 // the limit before rounding
	slow    bool    // no longer doubles
	backoff int     // answers until the next Drop may count

	settle  int // answers to leave out yet
	answers int
	rtt     float64
	used    float64

	base     float64 // ns: the smallest mean of this half minute
	previous float64 // ns: of the last one
	since    mono.Time
}

const (
	vegasRound  = 32 // answers at least
	vegasForget = 30 * time.Second
	vegasCut    = 0.9
)

func newVegas(b bounds, initial int) *vegas {
	v := &vegas{bounds: b, exact: float64(initial), base: math.Inf(1), previous: math.Inf(1)}
	v.begin(0)
	return v
}

func (v *vegas) Limit() int { return int(v.exact) }

func (v *vegas) begin(inFlight int) {
	v.settle = min(inFlight, 2*v.max)
	v.answers, v.rtt, v.used = 0, 0, 0
}

// Observe does not allocate. A Drop takes a tenth away, once per round trip.
func (v *vegas) Observe(o Observation) int {
	if v.backoff > 0 && o.Sample != Ignore {
		v.backoff--
	}
	switch {
	case o.Sample == Drop && v.backoff == 0:
		v.backoff = min(max(o.InFlight, 1), 2*v.max)
		v.exact = v.within(v.exact * vegasCut)
		v.slow = true
	case o.Sample != Success:
	case v.settle > 0:
		v.settle--
	default:
		v.answers++
		v.rtt += max(1, float64(o.RTT))
		v.used += float64(o.InFlight)
		if v.answers >= max(vegasRound, v.Limit()) {
			v.end(o)
		}
	}
	return v.Limit()
}

// end evaluates a round trip.
func (v *vegas) end(o Observation) {
	rtt, used := v.rtt/float64(v.answers), v.used/float64(v.answers)
	if o.Now.Sub(v.since) >= vegasForget {
		v.previous, v.base, v.since = v.base, rtt, o.Now
	}
	v.base = min(v.base, rtt)
	queue := v.exact * (1 - min(v.base, v.previous)/rtt)
	step := max(1, math.Log10(v.exact))
	alpha, beta := 3*step, 6*step
	limit := v.Limit()
	switch {
	case queue > beta:
		v.exact = v.within(v.exact - step)
		v.slow = true
	case queue > alpha:
		v.slow = true
	case 2*used < v.exact: // the limit is not what binds
	case v.slow:
		v.exact = v.within(v.exact + step)
	default:
		v.exact = v.within(2 * v.exact)
	}
	if v.Limit() == limit {
		v.begin(0)
	} else {
		v.begin(o.InFlight)
	}
}

// Reshape is that of Reshaper.
func (v *vegas) Reshape(min, max int) error {
	b, err := newBounds(min, max)
	if err == nil {
		v.bounds = b
		v.exact = b.within(v.exact)
	}
	return err
}
