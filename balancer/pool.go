package balancer

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"weir/internal/mono"
)

// Pool is a set of endpoints that answer the same requests. All methods are safe for concurrent use.
type Pool struct {
	name   string
	hooks  Hooks
	budget Budget
	view   atomic.Pointer[view]
	seq    turns
	wake   chan struct{} // tells Run that there may be something to start or stop

	update  sync.Mutex // one change of membership at a time; taken before mu. It guards:
	sites   []site
	answers map[string]*answer // by host

	mu      sync.Mutex // guards these and the conditions of endpoints:
	notes   []Event
	cfg     Config          // written with update held too, as are:
	members []*Endpoint     // in the order of cfg; replaced, never changed in place
	drained map[string]bool // configured names
	lookup  *lookup
	index   map[string]*Endpoint // members by address
}

// answer is what a host name stands for.
type answer struct {
	host    string
	addrs   []netip.Addr // sorted
	first   bool         // the pool began with this host and has not resolved it yet: no slow start
	failing bool
}

// New makes a pool. Literal addresses can be leased at once; host names are resolved by Run. It starts nothing: a pool without
// Run works, but for probes and host names.
func New(name string, c Config, h Hooks, now mono.Time) (*Pool, error) {
	if h.Now == nil {
		h.Now = mono.Now
	}
	p := &Pool{name: name, hooks: h, wake: make(chan struct{}, 1), answers: map[string]*answer{}, drained: map[string]bool{}}
	if err := p.configure(c, true, now); err != nil {
		return nil, err
	}
	return p, nil
}

// Reconfigure puts c in force without disturbing what is the same: an endpoint of the same ip:port keeps its health, breaker,
// latency, leases and Value. Zones and weights change in place. After an error nothing has changed.
func (p *Pool) Reconfigure(c Config, now mono.Time) error { return p.configure(c, false, now) }

func (p *Pool) configure(c Config, first bool, now mono.Time) error {
	sites, err := c.check(&p.hooks)
	if err != nil {
		return fmt.Errorf("pool %s: %w", p.name, err)
	}
	c.Endpoints = slices.Clone(c.Endpoints)
	p.update.Lock()
	answers := make(map[string]*answer)
	drained := make(map[string]bool, len(sites))
	for _, s := range sites {
		drained[s.Address] = p.drained[s.Address]
		if s.host == "" || answers[s.host] != nil {
			continue
		}
		if answers[s.host] = p.answers[s.host]; answers[s.host] == nil {
			answers[s.host] = &answer{host: s.host, first: first}
		}
	}
	p.sites, p.answers = sites, answers
	m := p.gather(&c, drained, !first, now)
	p.mu.Lock()
	old := p.cfg
	p.cfg, p.drained = c, drained
	p.budget.cfg.Store(&c.Budget)
	p.joinLocked(&m)
	var closed []*Endpoint
	for _, e := range m.members {
		p.rejudgeLocked(e, &old, now)
		if e.breaker.configure(c.Breaker) {
			closed = append(closed, e)
		}
	}
	p.rebuildLocked(now)
	p.mu.Unlock()
	p.update.Unlock()
	for _, e := range closed {
		e.breakerChanged(BreakerStateClosed, 0)
	}
	p.settle(m.gone)
	return nil
}

// membership is who is in a pool, and who no longer is.
type membership struct {
	members, gone []*Endpoint
	lookup        *lookup
	index         map[string]*Endpoint
}

// joinLocked makes m the membership in force.
func (p *Pool) joinLocked(m *membership) {
	p.members, p.lookup, p.index = m.members, m.lookup, m.index
}

// gather makes the membership that follows from sites and answers under c. The caller holds update, not mu.
func (p *Pool) gather(c *Config, drained map[string]bool, slowly bool, now mono.Time) (m membership) {
	have := make(map[string]*Endpoint, len(p.members))
	for _, e := range p.members {
		have[e.address] = e
	}
	changed := c.Balance != p.cfg.Balance || p.lookup == nil
	m.index = make(map[string]*Endpoint, len(p.members))
	add := func(s *site, a netip.Addr) {
		address := netip.AddrPortFrom(a, s.port).String()
		e, known := have[address]
		switch {
		case known && e == nil: // two names for one address: the first counts
			return
		case known:
			changed = e.describe(s) || changed
		default:
			e = p.newEndpoint(address, s, c, now)
			e.draining = drained[s.Address]
			if slowly {
				e.startSlowly(now)
			}
			if p.hooks.Attach != nil {
				e.Value = p.hooks.Attach(e)
			}
		}
		have[address] = nil
		m.members = append(m.members, e)
		m.index[address] = e
	}
	for i := range p.sites {
		s := &p.sites[i]
		if s.host == "" {
			add(s, s.addr)
			continue
		}
		for _, a := range p.answers[s.host].addrs {
			add(s, a)
		}
	}
	for _, e := range p.members {
		if have[e.address] != nil {
			m.gone = append(m.gone, e)
		}
	}
	m.lookup = p.lookup
	if changed || !slices.Equal(m.members, p.members) {
		m.lookup = newLookup(c.Balance, m.members)
	}
	return m
}

// settle does what a change of membership leaves to do when no lock is held.
func (p *Pool) settle(gone []*Endpoint) {
	p.mu.Lock()
	p.unlock()
	if p.hooks.Detach != nil {
		for _, e := range gone {
			p.hooks.Detach(e)
		}
	}
	p.nudge()
}

func newLookup(b Balance, members []*Endpoint) *lookup {
	switch b {
	case RingHash:
		return newRing(members)
	case Maglev:
		return newMaglev(members)
	}
	return nil
}

// nudge tells Run to look again.
func (p *Pool) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Lease picks an endpoint that is well, is not in tried and has room, and takes a permit of its breaker. hint is the key's hash
// for RingHash and Maglev; others don't read it. tried may be nil; if all that are well are in it, one of them is returned
// again. Unless Miss is OK the lease is empty.
//
// It reads one pointer, takes no lock while breakers are closed, and does not allocate.
func (p *Pool) Lease(hint uint64, tried *Set, now mono.Time) (Lease, Miss) {
	v := p.view.Load()
	if now >= v.next {
		v = p.refresh(now)
	}
	for range 3 { // all rounds but the last were lost to somebody who took the last room or permit
		a := ask{v: v, seq: &p.seq, hint: hint, tried: tried, now: now}
		e := a.pick()
		if e == nil {
			return v.last(now)
		}
		if gen, ok := e.take(v.limit, now); ok {
			return Lease{e: e, gen: gen}, OK
		}
	}
	for r := range v.tiers { // Slow path: whatever can be had.
		for _, e := range v.tiers[r].ends {
			if gen, ok := e.take(v.limit, now); ok {
				return Lease{e: e, gen: gen}, OK
			}
		}
	}
	return v.last(now)
}

// refresh renews the view because an ejection or a rest has ended. Whoever comes while that is done uses the old one.
func (p *Pool) refresh(now mono.Time) *view {
	if !p.mu.TryLock() {
		return p.view.Load()
	}
	v := p.view.Load()
	if now >= v.next {
		v = p.rebuildLocked(now)
	}
	p.unlock()
	return v
}

// Budget returns the pool's retry budget. It stays the same through Reconfigure.
func (p *Pool) Budget() *Budget { return &p.budget }

// Drain gives an endpoint no new leases. address is a configured name, and then all it stands for now and later, or an
// ip:port. It lasts until Ready or until the name leaves the configuration. An unknown address is an error.
func (p *Pool) Drain(address string) error { return p.setDraining(address, true) }

// Ready ends a Drain. The endpoint starts slowly.
func (p *Pool) Ready(address string) error { return p.setDraining(address, false) }

func (p *Pool) setDraining(address string, draining bool) error {
	now := p.hooks.Now()
	p.update.Lock()
	p.mu.Lock()
	_, found := p.drained[address]
	if found {
		p.drained[address] = draining
	}
	for _, e := range p.members {
		if e.Name() == address || e.address == address {
			found = true
			p.drainLocked(e, draining, now)
		}
	}
	known := p.knownLocked()
	p.rebuildLocked(now)
	p.mu.Unlock()
	p.update.Unlock()
	p.settle(nil)
	if !found {
		return fmt.Errorf("pool %s has no endpoint %q; it has %s", p.name, address, known)
	}
	return nil
}

func (p *Pool) drainLocked(e *Endpoint, draining bool, now mono.Time) {
	switch {
	case e.draining == draining:
		return
	case draining:
		p.noteLocked(DrainBegan, e, fmt.Sprintf("%d requests and %d tunnels are in progress", e.inflight.Load(), e.tunnels.Load()))
	default:
		e.startSlowly(now)
		p.noteLocked(DrainEnded, e, "")
	}
	e.draining, e.since = draining, now
}

func (p *Pool) knownLocked() string {
	var known []string
	for name := range p.drained {
		known = append(known, name)
	}
	for _, e := range p.members {
		known = append(known, e.address)
	}
	slices.Sort(known)
	known = slices.Compact(known)
	if len(known) == 0 {
		return "none"
	}
	return strings.Join(known, ", ")
}

// Run probes endpoints and resolves host names until ctx ends, and follows each Reconfigure. It owns every goroutine of the
// pool and returns when all have ended. Call it once.
func (p *Pool) Run(ctx context.Context) {
	r := runner{p: p, probers: map[uint64]context.CancelFunc{}, resolvers: map[*answer]context.CancelFunc{}}
	r.run(ctx)
}
