package gateway

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/balancer"
	"weir/telemetry"
)

// ErrUnknown says that the configuration in force has no pool or endpoint of that name.
var ErrUnknown = errors.New("unknown")

// RouteView is a route in force, for people.
type RouteView struct {
	Name     string   `json:"name"`
	Hosts    []string `json:"hosts,omitempty"`
	Path     string   `json:"path,omitempty"`
	Methods  []string `json:"methods,omitempty"`
	When     string   `json:"when,omitempty"`
	Pools    []string `json:"pools,omitempty"`
	Answers  string   `json:"answers,omitempty"` // respond or redirect
	Policies []string `json:"policies,omitempty"`
	Timeout  string   `json:"timeout"`
}

// Routes returns the routes in force, in the order they are tried.
func (s *Snapshot) Routes() []RouteView {
	views := make([]RouteView, 0, len(s.routes))
	for _, e := range s.routes {
		v := RouteView{Name: e.name, Hosts: e.conf.Match.Hosts, Path: e.conf.Match.Path, Methods: e.conf.Match.Methods, When: e.conf.Match.When, Timeout: e.timeout.String()}
		for _, t := range e.targets {
			v.Pools = append(v.Pools, t.pool.name)
		}
		switch {
		case e.conf.Respond != nil:
			v.Answers = fmt.Sprintf("respond %d", e.conf.Respond.Status)
		case e.conf.Redirect != nil:
			v.Answers = fmt.Sprintf("redirect %d", e.conf.Redirect.Status)
		}
		for _, p := range s.policies {
			if len(p.conf.Routes) == 0 || slices.Contains(p.conf.Routes, e.name) {
				v.Policies = append(v.Policies, p.name)
			}
		}
		views = append(views, v)
	}
	return views
}

// PoolView is a pool in force, for people.
type PoolView struct {
	Name       string         `json:"name"`
	Balance    string         `json:"balance"`
	Healthy    int            `json:"healthy"`
	Panic      bool           `json:"panic"`
	Seats      int            `json:"seats"` // requests that may be in progress at once
	InUse      int            `json:"seats_in_use"`
	Waiting    int            `json:"waiting"`
	Tunnels    int            `json:"tunnels"` // WebSockets and the like
	MaxTunnels int            `json:"max_tunnels"`
	Queue      QueueView      `json:"queue"`
	Endpoints  []EndpointView `json:"endpoints"`
}

// EndpointView is an endpoint in force, for people.
type EndpointView struct {
	Name     string  `json:"name"`
	Address  string  `json:"address"`
	Zone     string  `json:"zone,omitempty"`
	Weight   int     `json:"weight"`
	State    string  `json:"state"`
	Since    string  `json:"since"`
	Breaker  string  `json:"breaker"`
	Resting  float64 `json:"resting_s,omitempty"` // left to rest, as it asked, for so long
	InFlight int64   `json:"in_flight"`           // requests
	Tunnels  int64   `json:"tunnels"`
	Idle     int     `json:"idle_connections"`
	EWMAms   float64 `json:"ewma_ms"`
	Requests uint64  `json:"requests"`
	Failures uint64  `json:"failures"`
}

// Pools returns the pools in force with their endpoints.
func (g *Gateway) Pools() []PoolView {
	views := []PoolView{}
	for _, p := range g.Snapshot().pools {
		s, gate := p.balancer.Stats(), p.gate.Stats()
		v := PoolView{Name: s.Name, Balance: s.Balance.String(), Healthy: s.Healthy, Panic: s.Panic, Seats: gate.Limit, InUse: gate.InFlight, Waiting: gate.Waiting,
			Tunnels: int(p.tunnels.Load()), MaxTunnels: p.maxTunnels, Queue: p.queueView(), Endpoints: []EndpointView{}}
		idle := p.idleConnections()
		for _, e := range s.Endpoints {
			v.Endpoints = append(v.Endpoints, EndpointView{Name: e.Name, Address: e.Address, Zone: e.Zone, Weight: e.Weight, State: e.State,
				Since: e.Since.Wall().UTC().Format(time.RFC3339), Breaker: e.BreakerState, InFlight: e.InFlight, Tunnels: e.Tunnels, Idle: idle[e.ID],
				EWMAms: float64(e.EWMA.Microseconds()) / 1000, Requests: e.Leases, Failures: e.Failures + e.Faults})
		}
		views = append(views, v)
	}
	return views
}

func (p *pool) idleConnections() map[uint64]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := make(map[uint64]int, len(p.upstreams))
	for u := range p.upstreams {
		n[u.endpoint.ID()] = u.idleCount()
	}
	return n
}

// PoolStats is what metrics show of the pools.
func (g *Gateway) PoolStats() []balancer.PoolStats {
	var all []balancer.PoolStats
	for _, p := range g.Snapshot().pools {
		all = append(all, p.balancer.Stats())
	}
	return all
}

// LimiterStats is what metrics show of the policies' memory.
func (g *Gateway) LimiterStats() []telemetry.LimiterStats {
	var all []telemetry.LimiterStats
	for _, p := range g.Snapshot().policies {
		st := telemetry.LimiterStats{Name: p.name}
		if p.conf.Algorithm == "adaptive" {
			st.Factor = g.factor(p.variants[0].identity)
		}
		for _, v := range p.each {
			one := v.limiter.Stats()
			st.Keys, st.Bytes = st.Keys+one.Keys, st.Bytes+one.Bytes
			st.Evictions, st.Overflow = st.Evictions+one.Evictions, st.Overflow+one.Overflow
			if v.strict == nil && v.limiter.Shared() {
				bound, seen := v.limiter.Excess()
				st.Shared, st.MayExceed, st.Seen = true, max(st.MayExceed, bound), max(st.Seen, seen)
			}
			st.Allowed, st.Refused, st.Refunded = st.Allowed+one.Allowed, st.Refused+one.Refused, st.Refunded+one.Refunded
		}
		all = append(all, st)
	}
	return all
}

// LimiterMemory is what the buckets of all policies take, and may take, in bytes.
func (g *Gateway) LimiterMemory() (used, most int64) {
	fixed := g.Snapshot().fixed
	return g.budget.Used() + fixed, g.budget.Most() + fixed
}

// TokenStats is what metrics show of the check of tokens; false if no dimension comes from one.
func (g *Gateway) TokenStats() (telemetry.TokenStats, bool) {
	v := g.Snapshot().tokens
	if v == nil {
		return telemetry.TokenStats{}, false
	}
	s := v.Stats()
	return telemetry.TokenStats{Keys: s.Keys, Good: s.Hits, Bad: s.BadHits, Checked: s.Misses, RefreshFailures: s.RefreshFailures}, true
}

// Unready says why requests cannot be served, or nothing.
func (g *Gateway) Unready() string {
	switch {
	case g.Snapshot() == nil:
		return "no configuration yet"
	case g.draining.Load():
		return "draining"
	}
	return ""
}

// DrainEndpoint takes an endpoint out of its pool, gently, or back into it. Errors wrap ErrUnknown.
func (g *Gateway) DrainEndpoint(poolName, endpoint string, drain bool) error {
	var names []string
	for _, p := range g.Snapshot().pools {
		if p.name != poolName {
			names = append(names, p.name)
			continue
		}
		change := p.balancer.Ready
		if drain {
			change = p.balancer.Drain
		}
		if err := change(endpoint); err != nil {
			return fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		return nil
	}
	slices.Sort(names)
	return fmt.Errorf("%w pool %q: there are %s", ErrUnknown, poolName, strings.Join(names, ", "))
}

// Excess says by how many units a policy that gateways share may be exceeded at worst while all are in touch, and the most that this gateway
// knows of; false if it is not shared.
func (g *Gateway) Excess(policy string) (bound, seen float64, shared bool) {
	for _, p := range g.Snapshot().policies {
		if p.name != policy {
			continue
		}
		for _, v := range p.each {
			if v.strict == nil && v.limiter.Shared() {
				b, s := v.limiter.Excess()
				bound, seen, shared = max(bound, b), max(seen, s), true
			}
		}
	}
	return bound, seen, shared
}
