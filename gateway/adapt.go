package gateway

import (
	"math"
	"sync"
	"time"

	"weir/internal/mono"
	"weir/limiter"
)

// adaptEvery is how often adaptive limits are moved.
const adaptEvery = 500 * time.Millisecond

// adapting are the controllers of adaptive limits, by the identity of the variant.
type adapting struct {
	mu     sync.Mutex
	last   mono.Time
	states map[string]*adaptation
}

type adaptation struct {
	limiter.Adaptation
	applied          float64 // factor in force
	allowed, refused uint64  // of the limiter, at the last step
}

// adapted returns spec as the controller wants it.
func (g *Gateway) adapted(id string, spec limiter.Spec) limiter.Spec {
	if spec.Algorithm != limiter.Adaptive {
		return spec
	}
	g.adapting.mu.Lock()
	defer g.adapting.mu.Unlock()
	if a := g.adapting.states[id]; a != nil && a.applied != 0 {
		spec.Rate = spec.Rate.Scaled(a.applied)
	}
	return spec
}

// factor returns by what an adaptive limit is multiplied.
func (g *Gateway) factor(id string) float64 {
	g.adapting.mu.Lock()
	defer g.adapting.mu.Unlock()
	if a := g.adapting.states[id]; a != nil && a.applied != 0 {
		return a.applied
	}
	return 1
}

// adapt moves adaptive limits by what they met since the last call, if that is long enough ago.
func (g *Gateway) adapt(now mono.Time) {
	if !g.install.TryLock() { // another configuration is being put in force: it would get the numbers of the old one
		return
	}
	defer g.install.Unlock()
	s := g.snap.Load()
	if s == nil {
		return
	}
	a := &g.adapting
	a.mu.Lock()
	defer a.mu.Unlock()
	every := now.Sub(a.last)
	if every < adaptEvery {
		return
	}
	a.last = now
	states := map[string]*adaptation{}
	for _, p := range s.policies {
		if p.conf.Algorithm != "adaptive" {
			continue
		}
		pressure := p.pressure()
		pressure = max(pressure, min(1, g.pressure.node.own()))
		for _, v := range p.each {
			st := a.states[v.identity]
			if st == nil {
				st = new(adaptation)
			}
			states[v.identity] = st
			st.step(v, pressure, every)
			if math.Abs(st.Factor-st.applied) > 0.01*st.applied || st.Factor == limiter.MinFactor || st.Factor == limiter.MaxFactor {
				spec := v.spec
				spec.Rate = spec.Rate.Scaled(st.Factor)
				if err := v.limiter.SetSpec(spec, now); err == nil { // a rate too extreme to be scaled stays as it is
					st.applied = st.Factor
				}
			}
		}
	}
	a.states = states
}

func (a *adaptation) step(v *variant, pressure float64, every time.Duration) {
	stats := v.limiter.Stats()
	allowed, refused := float64(stats.Allowed-a.allowed), float64(stats.Refused-a.refused)
	switch {
	case a.Factor == 0:
		a.Factor, a.applied = 1, 1
	case stats.Allowed < a.allowed || stats.Refused < a.refused: // the limiter is another one
	default:
		a.Adaptation = a.Next(limiter.Observation{Every: every, Pressure: pressure, Asked: allowed + refused, Admitted: allowed})
	}
	a.allowed, a.refused = stats.Allowed, stats.Refused
}

// pressure is that of the pool under most pressure of those that the policy's requests go to.
func (p *policy) pressure() (worst float64) {
	for _, pool := range p.pools {
		worst = max(worst, pool.pressure())
	}
	return worst
}

// The latency at which a pool counts as under full pressure, as a multiple of its usual one, and what is too short to tell.
const (
	fullLatency = 4
	leastTold   = 5 * time.Millisecond
)

// pressure is how loaded the pool is, from 0 to 1: the worst of its seats in use (1 if anybody waits for one), of its endpoints that
// cannot be used, and of how much longer than usual its endpoints take to answer.
func (p *pool) pressure() float64 {
	gate := p.gate.Stats()
	if gate.Waiting > 0 {
		return 1
	}
	worst := float64(gate.InFlight) / float64(max(gate.Limit, 1))
	s := p.balancer.Stats()
	usable, ewma, told := 0, time.Duration(0), 0
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if e.Healthy && e.BreakerState != "open" {
			usable++
		}
		if e.Leases > 0 {
			ewma += e.EWMA
			told++
		}
	}
	if n := len(s.Endpoints); n > 0 {
		worst = max(worst, float64(n-usable)/float64(n))
	}
	if told > 0 {
		worst = max(worst, p.latency.slower(ewma/time.Duration(told)))
	}
	return min(worst, 1)
}

// usual is the latency a pool has when it is not loaded: the least seen, that is forgotten slowly. It belongs to one goroutine.
type usual struct{ least time.Duration }

// slower returns how far latency d is on the way from the usual one to fullLatency times that.
func (u *usual) slower(d time.Duration) float64 {
	d = max(d, leastTold)
	if u.least == 0 || d < u.least {
		u.least = d
	} else {
		u.least += u.least / 1000 // a pool that has become slower for good is as usual again after some ten minutes
	}
	return min(max(0, float64(d)/float64(u.least)-1)/(fullLatency-1), 1)
}
