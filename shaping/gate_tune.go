package shaping

import (
	"sync"

	"weir/internal/mono"
)

// tuner is an estimator and its mutex.
type tuner struct {
	mu        sync.Mutex
	estimator Estimator
	limit     int
}

// observe passes o on to t.
func (g *Gate) observe(t *tuner, o Observation) {
	if o.Sample == Drop {
		t.mu.Lock()
	} else if !t.mu.TryLock() {
		return
	}
	defer t.mu.Unlock()
	if limit := t.estimator.Observe(o); limit != t.limit {
		t.limit = limit
		g.follow(t, o.Now)
	}
}

// follow puts t's limit in force, if t is still the gate's. The caller holds t's mutex.
func (g *Gate) follow(t *tuner, now mono.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tuner.Load() == t {
		g.learnt = t.limit
		g.limitLocked(g.clockLocked(now))
	}
}

// Tune calls f with the gate's estimator while nobody else uses it, and puts the limit that it then has in force. It reports false,
// and does nothing, if there is none.
func (g *Gate) Tune(f func(Estimator), now mono.Time) bool {
	t := g.tuner.Load()
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f(t.estimator)
	t.limit = t.estimator.Limit()
	g.follow(t, now)
	return true
}
