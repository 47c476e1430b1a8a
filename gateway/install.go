package gateway

import (
	"maps"
	"slices"

	"weir/internal/mono"
	"weir/limiter"
)

func (l *live) pool(id string) *pool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pools[id]
}

func (l *live) limiter(id string) *limiter.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limiters[id]
}

func (l *live) pacing(id string) *pacing {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pacings[id]
}

// Install puts a snapshot in force: what is new starts, what stays takes its new numbers and keeps its state, one pointer
// changes, what is gone is retired. Everything that could fail was tried by Compile.
func (g *Gateway) Install(s *Snapshot) {
	g.install.Lock()
	defer g.install.Unlock()
	plan := s.plan
	s.plan = nil
	plan.store.open(g.live) // which may wait for it a little
	now := mono.Now()
	g.holdQuotas(plan.limiters)

	l := g.live
	old := l.take(s, plan)
	if plan.verifier != old.tokens {
		plan.verifier.start()
	}
	s.useStore(plan.store)
	g.budget.Set(int64(s.conf.Node.LimiterMemory) - s.fixed)

	for _, pc := range plan.pools {
		g.installPool(pc, old.pools[pc.identity] == nil, now)
	}
	for _, c := range s.pacings {
		if old.pacings[c.identity] == nil {
			continue
		}
		if err := c.reshape(now); err != nil {
			g.log.Error("BUG: a shaping rule passed validation and cannot be changed", "shaping", c.name, "error", err)
		}
	}
	for id, v := range plan.limiters {
		v.limiter.SetMaxBytes(bucketBytes(int64(s.conf.Node.LimiterMemory)))
		v.limiter.Join(now)
		if err := v.limiter.SetSpec(g.adapted(id, v.spec), now); err != nil {
			g.log.Error("BUG: a policy passed validation and cannot be changed", "policy", v.limiter.Name(), "error", err)
		}
	}
	g.pressure.install(s)
	g.live.useCache(s)
	g.snap.Store(s)
	g.endStrays(s)
	g.retain(s)
	g.callers.retain(s)
	for id, p := range old.pools {
		if l.pool(id) == nil {
			l.background.Go(p.retire)
		}
	}
	maps.DeleteFunc(old.limiters, func(id string, _ *limiter.Limiter) bool { return plan.limiters[id] != nil })
	g.keepQuotas(old.limiters)
	for _, gone := range old.limiters {
		gone.Retire()
	}
	if old.store != plan.store {
		l.background.Go(func() { old.store.retire(l.ended) })
	}
	if old.tokens != nil && old.tokens != plan.verifier {
		l.background.Go(old.tokens.retire)
	}
}

// lives are what was in force.
type lives struct {
	pools    map[string]*pool
	limiters map[string]*limiter.Limiter
	pacings  map[string]*pacing
	tokens   *verifier
	store    *keptStore
}

// take makes what s and its plan have the live ones, and returns those there were.
func (l *live) take(s *Snapshot, plan *plan) (old lives) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old = lives{l.pools, l.limiters, l.pacings, l.tokens, l.store}
	l.pools = make(map[string]*pool, len(plan.pools))
	for _, pc := range plan.pools {
		l.pools[pc.identity] = pc.pool
	}
	l.limiters = make(map[string]*limiter.Limiter, len(plan.limiters))
	for id, v := range plan.limiters {
		l.limiters[id] = v.limiter
	}
	l.pacings = make(map[string]*pacing, len(s.pacings))
	for _, c := range s.pacings {
		l.pacings[c.identity] = c.pacing
	}
	l.tokens, l.store = plan.verifier, plan.store
	return old
}

// installPool starts a pool that is new, or gives one that lives its new numbers.
func (g *Gateway) installPool(pc *poolConf, fresh bool, now mono.Time) {
	if err := pc.shapeGate(now); err != nil {
		g.log.Error("BUG: concurrency passed validation and cannot be used", "pool", pc.name, "error", err)
	}
	if fresh {
		pc.pool.start()
		return
	}
	pc.pool.dial.Store(pc.dial)
	err := pc.pool.setProbe(pc.conf)
	if err == nil {
		err = pc.balancer.Reconfigure(pc.balance, now)
	}
	if err != nil {
		g.log.Error("BUG: a pool passed validation and cannot be changed", "pool", pc.name, "error", err)
	}
}

// retain drops the metric cells of what is gone from the configuration.
func (g *Gateway) retain(s *Snapshot) {
	routes := []string{""}
	for _, e := range s.routes {
		routes = append(routes, e.name)
	}
	var pools, policies []string
	for _, p := range s.pools {
		pools = append(pools, p.name)
	}
	for _, p := range s.policies {
		policies = append(policies, p.name)
	}
	g.hub.RetainListeners(slices.Collect(maps.Keys(s.listeners)))
	g.hub.RetainRoutes(routes)
	g.hub.RetainPools(pools)
	g.hub.RetainPolicies(policies)
}
