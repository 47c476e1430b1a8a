package balancer

import (
	"math/bits"
	"math/rand/v2"

	"weir/internal/mono"
)

// zoneShare is how much of our zone must be healthy for it to be preferred.
const zoneShare = 0.7

// Ranks of an endpoint in a view.
const (
	preferred = iota // picked first
	other            // well, but in another zone
	unusable
)

// view is what leases are picked from: immutable, replaced whole when membership or health changes.
type view struct {
	balance Balance
	limit   int64 // leases in flight per endpoint; 0 none
	slow    int64 // slow start, ns
	passive PassiveConfig
	active  ActiveConfig
	next    mono.Time   // when an ejection or a rest ends and the view is due for renewal
	all     []*Endpoint // members, in the order of the configuration
	rank    []uint8     // of all
	tiers   [2]tier     // by rank
	lookup  *lookup     // of ring and maglev, over all; nil for others
	resting []*Endpoint // well, but in no tier
	healthy int
	panics  bool
}

// tier is a set of endpoints that are picked from as one.
type tier struct {
	ends    []*Endpoint
	sums    []int64 // weights, running totals
	highest int64   // weight
	rank    uint8
}

func newTier(rank uint8, ends []*Endpoint) tier {
	t := tier{ends: ends, rank: rank, sums: make([]int64, len(ends))}
	sum := int64(0)
	for i, e := range ends {
		w := e.weight.Load()
		sum += w
		t.sums[i] = sum
		t.highest = max(t.highest, w)
	}
	return t
}

// rebuildLocked makes and stores the view that follows from the members' conditions at now.
func (p *Pool) rebuildLocked(now mono.Time) *view {
	v := &view{balance: p.cfg.Balance, limit: int64(p.cfg.MaxConnections), slow: int64(p.cfg.SlowStart),
		passive: p.cfg.Passive, active: p.cfg.Active, next: mono.Never, all: p.members, lookup: p.lookup,
		rank: make([]uint8, len(p.members))}
	in, well, healthy := 0, 0, 0 // not draining; of these well by probes; of these not ejected
	for _, e := range p.members {
		if e.ejected {
			if now >= e.ejectEnd {
				p.returnLocked(e, now)
			} else {
				v.next = min(v.next, e.ejectEnd)
			}
		}
		if !e.draining {
			in++
			if !e.unhealthy {
				well++
				if !e.ejected {
					healthy++
				}
			}
		}
	}
	v.healthy = healthy
	v.panics = well > 0 && float64(healthy) < p.cfg.Panic*float64(in)
	usable := func(e *Endpoint) bool {
		switch {
		case e.draining:
			return false
		case v.panics:
			return true
		}
		return !e.unhealthy && !e.resting && (!e.ejected || healthy == 0)
	}
	v.next = min(v.next, p.restsLocked(v, now))
	v.fillTiers(p.cfg.Zone, usable)
	if old := p.view.Load(); v.panics && (old == nil || !old.panics) {
		p.noteLocked(PanicBegan, nil, "")
	} else if !v.panics && old != nil && old.panics {
		p.noteLocked(PanicEnded, nil, "")
	}
	p.view.Store(v)
	return v
}

// fillTiers ranks the members. Our zone is preferred if enough of it is usable, not counting
// what is draining, and there is no panic.
func (v *view) fillTiers(zone string, usable func(*Endpoint) bool) {
	ours, oursUsable := 0, 0
	for _, e := range v.all {
		if zone != "" && !e.draining && e.Zone() == zone {
			ours++
			if usable(e) {
				oursUsable++
			}
		}
	}
	prefer := !v.panics && oursUsable > 0 && float64(oursUsable) >= zoneShare*float64(ours)
	var ends [2][]*Endpoint
	for i, e := range v.all {
		switch {
		case !usable(e):
			v.rank[i] = unusable
			continue
		case prefer && e.Zone() != zone:
			v.rank[i] = other
		}
		ends[v.rank[i]] = append(ends[v.rank[i]], e)
	}
	for r := range ends {
		v.tiers[r] = newTier(uint8(r), ends[r])
	}
}

// ask is one search for an endpoint.
type ask struct {
	v     *view
	seq   *turns
	hint  uint64
	tried *Set // may be nil
	now   mono.Time
}

// pick returns an endpoint that could be taken at this moment, or nil: untried before tried, preferred before other.
func (a *ask) pick() *Endpoint {
	for {
		for r := range a.v.tiers {
			if t := &a.v.tiers[r]; len(t.ends) > 0 {
				if e := a.pickFrom(t); e != nil {
					return e
				}
			}
		}
		if a.tried == nil || a.tried.n == 0 {
			return nil
		}
		a.tried = nil
	}
}

func (a *ask) pickFrom(t *tier) *Endpoint {
	switch a.v.balance {
	case RoundRobin:
		return a.roundRobin(t)
	case Weighted:
		return a.weighted(t)
	case LeastRequests:
		return a.least(t)
	case P2C:
		return a.p2c(t)
	case Random:
		return a.random(t)
	case RingHash:
		return a.ring(t)
	default:
		return a.maglev(t)
	}
}

// only returns e if it could be taken at this moment, else nil.
func (a *ask) only(e *Endpoint) *Endpoint {
	if a.tried != nil && a.tried.Has(e) ||
		a.v.limit != 0 && e.inflight.Load() >= a.v.limit ||
		!e.breaker.Ready(a.now) {
		return nil
	}
	return e
}

// sweep takes one of t by weight among all that could be taken, or returns nil: what the policies fall back on when chance
// showed them none. Reservoir sampling; O(n).
func (a *ask) sweep(t *tier) *Endpoint {
	var chosen *Endpoint
	total := 0.0
	for _, e := range t.ends {
		if a.only(e) == nil {
			continue
		}
		w := float64(e.weight.Load()) * a.ramp(e)
		total += w
		if rand.Float64()*total < w {
			chosen = e
		}
	}
	return chosen
}

// miss says why nothing could be taken.
func (v *view) miss(now mono.Time) Miss {
	m := NoEndpoint
	for r := range v.tiers {
		for _, e := range v.tiers[r].ends {
			if e.breaker.Ready(now) {
				return NoRoom
			}
			m = BreakerOpen
		}
	}
	return m
}

// mix is the finalizer of splitmix64: each bit of the result depends on each of x.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashString is FNV-1a, mixed: the same in every process, so that gateways agree on rings.
func hashString(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

// scale returns r/2^64 × n for a random r: uniform below n.
func scale(r uint64, n uint64) uint64 {
	hi, _ := bits.Mul64(r, n)
	return hi
}
