package gateway

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"weir/balancer"
	"weir/config"
	"weir/gateway/cache"
	"weir/internal/mono"
	"weir/jwt"
	"weir/limiter"
	"weir/shaping"
	"weir/telemetry"
)

// live is what outlives a reload, under its full identity. Only Install and Close change it; requests reach what is in it
// through their snapshot.
type live struct {
	gw      *Gateway
	resolve func(ctx context.Context, host string) ([]string, error)

	background sync.WaitGroup
	shadows    map[*upconn]struct{} // copies of requests under way
	closing    bool
	ended      chan struct{} // closed when the gateway ends

	mu       sync.Mutex
	pools    map[string]*pool            // by identity
	limiters map[string]*limiter.Limiter // by identity
	pacings  map[string]*pacing          // by identity
	tokens   *verifier                   // in force; nil: none
	store    *keptStore                  // in force; nil: none
	cache    *cache.Cache                // in force; nil: none
}

// pool is a set of endpoints with all its state.
type pool struct {
	name     string
	identity string
	balancer *balancer.Pool
	gate     *shaping.Gate
	tuner    shaping.Estimator // of gate, for tuning; nil: it is fixed. Install's
	tuning   shaping.EstimatorConfig
	control  control
	backlog  shaping.Backlog              // the pressure's
	shed     [shaping.Bands]atomic.Uint64 // requests
	retries  *telemetry.Counter
	queue    *telemetry.Queue
	latency  usual        // of adaptive limits
	tunnels  atomic.Int64 // open, or asked for
	dial     atomic.Pointer[dialConf]
	probe    atomic.Pointer[probeConf]
	demo     *demo
	gw       *Gateway

	mu        sync.Mutex
	upstreams map[*upstream]struct{}
	stop      context.CancelFunc
	done      chan struct{}
}

func newLive(g *Gateway, resolve func(context.Context, string) ([]string, error)) *live {
	if resolve == nil {
		resolve = net.DefaultResolver.LookupHost
	}
	return &live{gw: g, resolve: resolve, pools: map[string]*pool{}, limiters: map[string]*limiter.Limiter{}, pacings: map[string]*pacing{}, shadows: map[*upconn]struct{}{}, ended: make(chan struct{})}
}

// hooks connect a balancer to the world.
func (l *live) hooks(p *pool) balancer.Hooks {
	return balancer.Hooks{
		Probe: p.probeEndpoint,
		Resolve: func(ctx context.Context, host string) ([]netip.Addr, time.Duration, error) {
			names, err := l.resolve(ctx, host)
			if err != nil {
				return nil, 0, err
			}
			addrs := make([]netip.Addr, 0, len(names))
			for _, n := range names {
				if a, err := netip.ParseAddr(n); err == nil {
					addrs = append(addrs, a.Unmap())
				}
			}
			return addrs, 0, nil
		},
		Attach: func(e *balancer.Endpoint) any { return p.attach(e) },
		Detach: func(e *balancer.Endpoint) { p.detach(e.Value.(*upstream)) },
		Event: func(e balancer.Event) {
			l.gw.log.Info("endpoint changed", "pool", p.name, "event", e.Kind.String(), "endpoint", e.Name, "address", e.Address, "detail", e.Detail)
		},
		Now: mono.Now,
	}
}

func (p *pool) attach(e *balancer.Endpoint) *upstream {
	u := newUpstream(p, e)
	p.mu.Lock()
	p.upstreams[u] = struct{}{}
	p.mu.Unlock()
	return u
}

func (p *pool) detach(u *upstream) {
	p.mu.Lock()
	delete(p.upstreams, u)
	left := make([]string, 0, len(p.upstreams))
	for u := range p.upstreams {
		left = append(left, u.endpoint.Address())
	}
	p.mu.Unlock()
	p.gw.hub.RetainEndpoints(p.name, left)
	u.close()
}

// start begins probing and resolving.
func (p *pool) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.stop, p.done = cancel, make(chan struct{})
	go func() {
		defer close(p.done)
		p.balancer.Run(ctx)
	}()
}

// retire ends a pool that no snapshot uses any more. Requests in flight keep their connections.
func (p *pool) retire() {
	p.stop()
	<-p.done
	p.mu.Lock()
	us := make([]*upstream, 0, len(p.upstreams))
	for u := range p.upstreams {
		us = append(us, u)
	}
	p.mu.Unlock()
	for _, u := range us {
		u.close()
	}
	if p.demo != nil {
		p.demo.close()
	}
}

// expire closes upstream connections that were idle for too long.
func (l *live) expire(now mono.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pools {
		p.mu.Lock()
		for u := range p.upstreams {
			u.expire(now)
		}
		p.mu.Unlock()
	}
}

func (l *live) close() {
	l.mu.Lock()
	pools, tokens, store := l.pools, l.tokens, l.store
	l.pools, l.tokens, l.store = map[string]*pool{}, nil, nil
	if !l.closing {
		close(l.ended)
	}
	l.closing = true
	for u := range l.shadows {
		u.abort()
	}
	l.mu.Unlock()
	for _, p := range pools {
		p.retire()
	}
	tokens.retire()
	store.retire(l.ended)
	l.background.Wait()
}

// verifier checks tokens, with the goroutine that refreshes its keys.
type verifier struct {
	*jwt.Verifier
	identity string
	stop     context.CancelFunc // nil: not started
	done     chan struct{}
}

// verifier returns what checks tokens as c says: the one in force if it does, else a new one that is not started.
func (l *live) verifier(c *config.JWT) (*verifier, error) {
	id := identity(c.JWKSFile, c.JWKSURL, c.Refresh, string(c.Secret), c.Issuer, c.Audience)
	l.mu.Lock()
	v := l.tokens
	l.mu.Unlock()
	if v != nil && v.identity == id {
		return v, nil
	}
	made, err := jwt.New(jwt.Options{Secret: string(c.Secret), JWKSFile: c.JWKSFile, JWKSURL: c.JWKSURL, Refresh: c.Refresh,
		Issuer: c.Issuer, Audience: c.Audience, Log: l.gw.log})
	if err != nil {
		return nil, err
	}
	return &verifier{Verifier: made, identity: id}, nil
}

// start begins to refresh keys.
func (v *verifier) start() {
	if v == nil || v.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	v.stop, v.done = cancel, make(chan struct{})
	go func() {
		defer close(v.done)
		v.Run(ctx)
	}()
}

// retire ends that. Requests in flight may go on using it.
func (v *verifier) retire() {
	if v != nil && v.stop != nil {
		v.stop()
		<-v.done
	}
}

// identity names state by all that gives it its meaning.
func identity(parts ...any) string {
	h := sha256.New()
	for _, p := range parts {
		s := fmt.Sprintf("%v", p)
		fmt.Fprintf(h, "%d:%s,", len(s), s)
	}
	return string(h.Sum(nil))
}
