package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"weir/internal/mono"
	"weir/limiter"
	"weir/store"
)

const (
	keepEvery   = 100 * time.Millisecond // how much spending a crash may forget
	keepShare   = 10                     // or so many times what writing it takes: a large table is written less often
	keepLatest  = 5 * time.Second        // but not more
	hungAfter   = 5 * time.Second        // a disk that takes longer for one thing is not waited for
	expireEvery = time.Hour
	maxSkew     = time.Minute // between the process's clock and the wall's, for either to be believed when records are removed
)

// QuotaStore is where quotas are kept; a *store.Store is one. A call takes as long as the disk does, perhaps for ever. The
// gateway makes one at a time, all from one goroutine.
type QuotaStore interface {
	Load(policy string, each func(store.Record)) error
	Save(batch []store.Change) error
	Expire(policy string, before int64) (int, error)
	Retain(policies []string) error
	Skipped() int64
	Close() error
}

// quotas is what is between the quotas in force and the disk. Nobody waits for the disk with mu held.
type quotas struct {
	mu      sync.Mutex
	pending pending
	keeper  *keeper // nil: nothing is kept
	hung    bool    // it has been said; Run's own
}

// KeepQuotas opens a store, for the quotas of the next Install and what follows. It returns open's error, or one that says
// that it took until ctx ended; if it opens after all, it is closed again. ReleaseQuotas ends what KeepQuotas has begun.
func (g *Gateway) KeepQuotas(ctx context.Context, open func() (QuotaStore, error)) error {
	k := &keeper{gw: g, opened: make(chan struct{}), loads: make(chan *loading), ending: make(chan struct{}), done: make(chan struct{})}
	q := &g.quotas
	q.mu.Lock()
	if old := q.keeper; old != nil {
		select {
		case <-old.done:
		default:
			q.mu.Unlock()
			return fmt.Errorf("the disk has not answered for %s: an earlier attempt still waits for it", old.waits(mono.Now()).Round(time.Second))
		}
	}
	q.keeper = k
	q.mu.Unlock()
	k.kept.Store(int64(mono.Now()))
	k.busy.Store(int64(mono.Now()))
	go k.run(open)
	select {
	case <-k.opened:
		return k.err
	case <-ctx.Done():
		k.end()
		return errors.New("the disk does not answer")
	}
}

// ReleaseQuotas writes what is not on disk yet and closes the store. It returns when that is done or ctx ends; the error says
// what a restart forgets.
func (g *Gateway) ReleaseQuotas(ctx context.Context) error {
	k := g.keeper()
	if k == nil {
		return nil
	}
	k.end()
	select {
	case <-k.done:
		return k.lost
	default:
	}
	select {
	case <-k.done:
		return k.lost
	case <-ctx.Done():
	}
	if !k.writes.Load() {
		return nil
	}
	return fmt.Errorf("quotas: the disk has not answered for %s: what was spent since %s is forgotten", k.waits(mono.Now()).Round(time.Millisecond), k.keptUntil())
}

// LoadQuotas gives the limiters that s has and that are not in force what was kept of them: on disk, or for it. It returns
// when that is done, or with an error when it failed or ctx ends. undo is for when s comes to nothing after all.
func (g *Gateway) LoadQuotas(ctx context.Context, s *Snapshot) (undo func(), err error) {
	l := &loading{done: make(chan struct{})}
	for id, v := range s.plan.limiters {
		if v.spec.Algorithm == limiter.Quota && g.live.limiter(id) == nil {
			l.variants = append(l.variants, v)
		}
	}
	k := g.keeper()
	if k == nil || len(l.variants) == 0 {
		return func() {}, nil
	}
	before := g.budget.Most()
	if memory := int64(s.conf.Node.LimiterMemory) - s.fixed; g.snap.Load() == nil {
		g.budget.Set(memory)
	} else {
		g.budget.Set(max(before, memory))
	}
	undo = func() {
		l.dropped.Store(true)
		for _, v := range l.variants {
			v.limiter.Retire()
		}
		g.budget.Set(before)
	}
	if err := k.hand(ctx, l); err != nil {
		undo()
		return func() {}, fmt.Errorf("what was spent cannot be read: %w", err)
	}
	return undo, nil
}

func (g *Gateway) keeper() *keeper {
	g.quotas.mu.Lock()
	defer g.quotas.mu.Unlock()
	return g.quotas.keeper
}

// keepQuotas comes with a new snapshot in force: it notes what limiters that are gone have counted, and has the rest written
// from now on.
func (g *Gateway) keepQuotas(gone map[string]*limiter.Limiter) {
	k := g.keeper()
	if k == nil {
		return
	}
	q := &g.quotas
	q.mu.Lock()
	for id, l := range gone {
		if l.Spec().Algorithm == limiter.Quota {
			q.collectLocked(id, l)
		}
	}
	q.mu.Unlock()
	k.writes.Store(true)
}

// collectLocked notes what has changed in a limiter. Two at a time could note the older state last, hence the lock.
func (q *quotas) collectLocked(id string, l *limiter.Limiter) {
	l.Changed(func(k limiter.Key, window, used int64) { q.pending.set(id, k, tally{window, used}) })
}

// takeQuotas collects what has changed in the quotas in force, and returns all that is to be written.
func (g *Gateway) takeQuotas() pending {
	q := &g.quotas
	q.mu.Lock()
	defer q.mu.Unlock()
	// Read under the lock: what keepQuotas has seen going must not be looked at again, as it may be back under the same identity.
	for _, v := range g.snap.Load().quotaVariants() {
		q.collectLocked(v.identity, v.limiter)
	}
	return q.pending.take()
}

// quotaVariants are the variants of quota policies in force.
func (s *Snapshot) quotaVariants() (all []*variant) {
	for _, p := range s.policies {
		if p.conf.Algorithm == "quota" {
			all = append(all, p.each...)
		}
	}
	return all
}

// watchQuotas says it when the disk hangs, and when it answers again: the keeper itself waits for it.
func (g *Gateway) watchQuotas(now mono.Time) {
	k := g.keeper()
	if k == nil {
		return
	}
	hung := k.waits(now) > hungAfter
	switch {
	case hung && !g.quotas.hung:
		g.log.Error("quotas cannot be kept on disk, it does not answer; a restart would forget what is spent from now on", "since", k.keptUntil())
	case !hung && g.quotas.hung:
		g.log.Info("the disk that quotas are kept on answers again")
	}
	g.quotas.hung = hung
}
