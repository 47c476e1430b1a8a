package balancer

import (
	"time"

	"weir/internal/mono"
)

// PoolStats is a pool at one moment.
type PoolStats struct {
	Name           string
	Balance        Balance
	Healthy        int  // neither unhealthy nor ejected nor draining
	Panic          bool // too few are healthy: all are used
	RetriesRefused uint64
	Endpoints      []EndpointStats // in the order of the configuration
}

// EndpointStats is an endpoint at one moment. Counters count from when it joined the pool.
type EndpointStats struct {
	ID                  uint64
	Name, Address, Zone string
	Weight              int
	Healthy             bool   // State is "healthy" or "resting"
	State               string // healthy, unhealthy, ejected, draining, resting
	Since               mono.Time
	RestEnd             mono.Time // of State "resting"; 0 for others
	BreakerState        string    // closed, open, half_open
	BreakerTransitions  uint64
	PeersEnd            mono.Time // until then few failures open the breaker, since that of a peer is open; 0 if none was heard of
	InFlight            int64
	Tunnels             int64         // not in InFlight
	EWMA                time.Duration // as of the last report; 0 is unknown
	Leases              uint64
	Failures            uint64 // reports of Failure
	Faults              uint64 // reports of Fault
}

// Stats returns what the pool is like. It allocates and takes the pool's lock for a moment: for scrapes and people.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.view.Load()
	s := PoolStats{Name: p.name, Balance: v.balance, Healthy: v.healthy, Panic: v.panics,
		RetriesRefused: p.budget.refused.Load(), Endpoints: make([]EndpointStats, len(p.members))}
	for i, e := range p.members {
		s.Endpoints[i] = e.statsLocked()
	}
	return s
}

func (e *Endpoint) statsLocked() EndpointStats {
	state, restEnd := "healthy", mono.Time(0)
	switch {
	case e.draining:
		state = "draining"
	case e.unhealthy:
		state = "unhealthy"
	case e.ejected:
		state = "ejected"
	case e.resting:
		state, restEnd = "resting", e.restEnd
	}
	return EndpointStats{ID: e.id, Name: e.Name(), Address: e.address, Zone: e.Zone(), Weight: int(e.weight.Load()),
		Healthy: state == "healthy" || state == "resting", State: state, Since: e.since, RestEnd: restEnd,
		BreakerState: e.breaker.State().String(), BreakerTransitions: e.breaker.Transitions(), PeersEnd: e.heardUntilLocked(),
		InFlight: e.inflight.Load(), Tunnels: e.tunnels.Load(), EWMA: e.latency.last(),
		Leases: e.leases.Load(), Failures: e.failures.Load(), Faults: e.faults.Load()}
}
