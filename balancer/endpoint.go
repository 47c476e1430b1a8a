package balancer

import (
	"sync/atomic"
	"time"

	"weir/internal/mono"
)

// Endpoint is one address of a pool. It is made and kept by the pool; all methods are safe for concurrent use.
type Endpoint struct {
	Value any // what Hooks.Attach returned; the pool does not touch it

	pool    *Pool
	id      uint64
	address string
	hash    uint64 // of address: its place on rings and in tables
	attrs   atomic.Pointer[attrs]
	weight  atomic.Int64
	breaker *Breaker
	kick    chan struct{} // wakes its prober early

	_        [64]byte // what follows is written on every lease
	inflight atomic.Int64
	tunnels  atomic.Int64 // leases that are of tunnels: not in inflight
	leases   atomic.Uint64
	latency  ewma
	ramping  atomic.Int64 // mono.Time at which slow start began, +1; 0 is full weight
	failing  atomic.Int64 // failures in a row, for passive health
	failures atomic.Uint64
	faults   atomic.Uint64
	reports  window       // a: all, b: bad ones; only if an error rate is configured
	deaf     atomic.Int64 // mono.Time before which nobody listens to wishes for a rest

	condition // guarded by pool.mu
}

// attrs are what a Reconfigure may change.
type attrs struct{ name, zone string }

// condition is what an endpoint's usability follows from.
type condition struct {
	unhealthy bool // by probes
	draining  bool // by the operator
	ejected   bool // until ejectEnd
	ejectEnd  mono.Time
	ejectFor  time.Duration // the last ejection
	inARow    int           // ejections
	resting   bool          // at its own wish, until restEnd
	restEnd   mono.Time
	heard     []hearing // peers whose breaker is open, at most maxHeard
	known     bool      // a probe has finished under the present key
	dipped    bool      // a probe has failed since the last Rise good ones
	good, bad int       // probes in a row
	downSince mono.Time // of unhealthy
	since     mono.Time // of the present state
}

// Address returns ip:port, ready to dial.
func (e *Endpoint) Address() string { return e.address }

// Name returns host:port as configured.
func (e *Endpoint) Name() string { return e.attrs.Load().name }

// Zone returns the zone as configured.
func (e *Endpoint) Zone() string { return e.attrs.Load().zone }

// ID returns a number that no other endpoint of this process has.
func (e *Endpoint) ID() uint64 { return e.id }

// InFlight returns how many leases are out, but for those of tunnels.
func (e *Endpoint) InFlight() int64 { return e.inflight.Load() }

// busy is what balancing by load goes by: a tunnel counts like a request, as with nginx's least_conn and Envoy's LEAST_REQUEST. It does not
// count for MaxConnections.
func (e *Endpoint) busy() int64 { return e.inflight.Load() + e.tunnels.Load() }

var lastID atomic.Uint64

func (p *Pool) newEndpoint(address string, s *site, c *Config, now mono.Time) *Endpoint {
	e := &Endpoint{pool: p, id: lastID.Add(1), address: address, hash: hashString(address), kick: make(chan struct{}, 1)}
	e.since = now
	e.breaker = NewBreaker(c.Breaker, e.breakerChanged)
	e.describe(s)
	return e
}

// describe sets what comes from the configuration and reports whether that changed how often e is picked.
func (e *Endpoint) describe(s *site) (changed bool) {
	next := attrs{name: s.Address, zone: s.Zone}
	old := e.attrs.Load()
	if old == nil || *old != next {
		e.attrs.Store(&next)
	}
	return e.weight.Swap(int64(s.Weight)) != int64(s.Weight) || old == nil || old.zone != next.zone
}

func (e *Endpoint) breakerChanged(to BreakerState, wait time.Duration) {
	switch to {
	case BreakerStateOpen:
		detail := "for " + wait.String()
		if e.breaker.openedEarly() {
			detail += ", early since a peer's is open"
		}
		e.pool.tell(BreakerOpened, e.Name(), e.address, detail)
	case BreakerStateHalfOpen:
		e.pool.tell(BreakerHalfOpened, e.Name(), e.address, "")
	default:
		e.latency.reset()
		e.pool.tell(BreakerClosed, e.Name(), e.address, "")
	}
}

// take counts a lease in, if there is room and the breaker permits.
func (e *Endpoint) take(limit int64, now mono.Time) (gen uint32, ok bool) {
	if limit == 0 {
		e.inflight.Add(1)
	} else {
		for {
			n := e.inflight.Load()
			if n >= limit {
				return 0, false
			}
			if e.inflight.CompareAndSwap(n, n+1) {
				break
			}
		}
	}
	if gen, ok = e.breaker.Permit(now); !ok {
		e.inflight.Add(-1)
		return 0, false
	}
	e.leases.Add(1)
	return gen, true
}

// Set is the endpoints that one exchange has tried. The zero value is empty. It holds eight; more forget the oldest. It is a
// value: copy it freely, share it with nobody.
type Set struct {
	ids [8]uint64
	n   uint8
}

// Reset empties the set.
func (s *Set) Reset() { *s = Set{} }

// Add puts e in. A nil e is ignored.
func (s *Set) Add(e *Endpoint) {
	if e == nil || s.Has(e) {
		return
	}
	s.ids[s.n%uint8(len(s.ids))] = e.id
	if s.n++; s.n == 2*uint8(len(s.ids)) {
		s.n = uint8(len(s.ids))
	}
}

// Has reports whether e is in.
func (s *Set) Has(e *Endpoint) bool {
	for _, id := range s.ids[:min(int(s.n), len(s.ids))] {
		if id == e.id {
			return true
		}
	}
	return false
}
