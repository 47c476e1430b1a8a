package balancer

import (
	"math/rand/v2"

	"weir/internal/mono"
)

// rampFloor is where slow start begins.
const rampFloor = 0.1

// ramp returns the share of its weight that e has at this moment: 1, or in slow start from 0.1 up, linear in time.
func (a *ask) ramp(e *Endpoint) float64 {
	if a.v.slow == 0 {
		return 1
	}
	began := e.ramping.Load()
	if began == 0 {
		return 1
	}
	done := float64(int64(a.now)-(began-1)) / float64(a.v.slow)
	if done >= 1 {
		e.ramping.CompareAndSwap(began, 0)
		return 1
	}
	return max(rampFloor, rampFloor+(1-rampFloor)*done)
}

// ramped says yes with the probability that is e's ramp: how policies without a notion of cost honour slow start.
func (a *ask) ramped(e *Endpoint) bool {
	if a.v.slow == 0 || e.ramping.Load() == 0 {
		return true
	}
	return rand.Float64() < a.ramp(e)
}

// startSlowly begins e's ramp. It costs nothing if slow start is off.
func (e *Endpoint) startSlowly(now mono.Time) { e.ramping.Store(int64(now) + 1) }
