package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"weak"

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
	held    map[string]*holding // by identity: those in force, and while a keeper is at work those that requests in flight use
	keeper  *keeper             // the last one; nil: there was none
	hung    bool                // it has been said; Run's own
}

// holding is a quota's limiter, and who can change what it has counted: exchanges hold variants.
type holding struct {
	limiter *limiter.Limiter
	by      []weak.Pointer[variant]
}

// hold notes that v is one more that has the limiter, or is about to.
func (h *holding) hold(v *variant) {
	one := weak.Make(v)
	h.by = append(slices.DeleteFunc(h.by, func(p weak.Pointer[variant]) bool { return p == one || p.Value() == nil }), one)
}

// free reports whether nobody has the limiter any more. It is known some time later, when memory was collected.
func (h *holding) free() bool {
	return !slices.ContainsFunc(h.by, func(p weak.Pointer[variant]) bool { return p.Value() != nil })
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
	err := errors.New("the disk does not answer")
	select {
	case <-k.opened:
		err = k.err
	case <-ctx.Done():
	}
	if err != nil {
		k.end()
	}
	return err
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
// when that is done, or with an error when it failed or ctx ends. undo is for when s comes to nothing after all. One that was
// in force, and that requests in flight still use, will be that in force again, and needs nothing.
func (g *Gateway) LoadQuotas(ctx context.Context, s *Snapshot) (undo func(), err error) {
	k := g.working()
	if k == nil {
		return func() {}, nil
	}
	l := &loading{variants: g.absent(s), done: make(chan struct{})}
	if len(l.variants) == 0 {
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

// absent returns the quotas of s whose limiters are new, and has those that are still there stay until s is in force or gone.
func (g *Gateway) absent(s *Snapshot) (variants []*variant) {
	q := &g.quotas
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, v := range s.plan.limiters {
		switch h := q.held[id]; {
		case v.spec.Algorithm != limiter.Quota:
		case h != nil:
			h.hold(v)
		default:
			variants = append(variants, v)
		}
	}
	return variants
}

func (g *Gateway) keeper() *keeper {
	g.quotas.mu.Lock()
	defer g.quotas.mu.Unlock()
	return g.quotas.keeper
}

// working returns the keeper, or nil if there is none, or one that failed or is to end: nothing is kept by that.
func (g *Gateway) working() *keeper {
	k := g.keeper()
	if k != nil {
		select {
		case <-k.ending:
			return nil
		default:
		}
	}
	return k
}

// holdQuotas comes before variants are in force: a quota that is back before all requests of its earlier life have ended gets
// its limiter from then, so that what they settle counts.
func (g *Gateway) holdQuotas(variants map[string]*variant) {
	q := &g.quotas
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, v := range variants {
		if v.spec.Algorithm != limiter.Quota {
			continue
		}
		h := q.held[id]
		if h == nil {
			h = &holding{limiter: v.limiter}
			if q.held == nil {
				q.held = map[string]*holding{}
			}
			q.held[id] = h
		}
		v.limiter = h.limiter
		h.hold(v)
	}
}

// keepQuotas comes with a new snapshot in force, and has its quotas written from now on. Of limiters that are gone it leaves in
// gone those that are of no more use: quotas stay until no request uses them, as what those settle is to be written too.
func (g *Gateway) keepQuotas(gone map[string]*limiter.Limiter) {
	k, q := g.working(), &g.quotas
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, l := range gone {
		switch {
		case l.Spec().Algorithm != limiter.Quota:
		case k != nil:
			delete(gone, id)
		default:
			delete(q.held, id)
		}
	}
	if k != nil {
		k.writes.Store(true)
	}
}

// takeQuotas collects what quotas have counted since the last call, and returns all that is to be written. Two at a time could
// note the older state last, hence the lock.
func (g *Gateway) takeQuotas() pending {
	q := &g.quotas
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, h := range q.held {
		free := h.free() // asked first: who still had it may have changed it until now
		h.limiter.Changed(func(k limiter.Key, window, used int64) { q.pending.set(id, k, tally{window, used}) })
		if free {
			h.limiter.Retire()
			delete(q.held, id)
		}
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
	if k == nil || !k.writes.Load() {
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
