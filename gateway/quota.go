package gateway

import (
	"context"
	"encoding/binary"
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
	expireEvery = time.Hour
)

// quotas keeps what quota policies have counted on disk.
type quotas struct {
	mu      sync.Mutex
	store   *store.Store // nil: nothing is kept
	pending map[quotaKey]store.Record
	failing bool
	expired mono.Time
}

type quotaKey struct {
	policy string // identity of the variant
	key    limiter.Key
}

// KeepQuotas says where quotas are kept, before the first Install that needs it. The caller closes s after Run has ended.
func (g *Gateway) KeepQuotas(s *store.Store) {
	g.quotas.mu.Lock()
	g.quotas.store = s
	g.quotas.mu.Unlock()
}

// keepQuotas writes what changed to disk until ctx ends, and once more then.
func (g *Gateway) keepQuotas(ctx context.Context) {
	t := time.NewTimer(keepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			g.saveQuotas()
			return
		case <-t.C:
			began := mono.Now()
			g.saveQuotas()
			g.expireQuotas(began)
			t.Reset(min(max(keepEvery, keepShare*mono.Now().Sub(began)), keepLatest))
		}
	}
}

// quotaVariants are the variants of quota policies in force.
func (s *Snapshot) quotaVariants() (all []*variant) {
	for _, p := range s.policies {
		if p.conf.Algorithm == "quota" {
			all = append(all, p.variants...)
		}
	}
	return all
}

// saveQuotas writes what changed since the last call. What could not be written is tried again with the next.
func (g *Gateway) saveQuotas() {
	q := &g.quotas
	q.mu.Lock()
	defer q.mu.Unlock()
	s := g.snap.Load()
	if q.store == nil || s == nil {
		return
	}
	if q.pending == nil {
		q.pending = map[quotaKey]store.Record{}
	}
	for _, v := range s.quotaVariants() {
		v.limiter.Changed(func(k limiter.Key, window, used int64) {
			q.pending[quotaKey{v.identity, k}] = store.Record{Key: keyBytes(k), Window: window, Used: used}
		})
	}
	if len(q.pending) == 0 {
		return
	}
	batch := make([]store.Change, 0, len(q.pending))
	for k, r := range q.pending {
		batch = append(batch, store.Change{Policy: k.policy, Record: r})
	}
	err := q.store.Save(batch)
	switch {
	case err == nil && q.failing:
		g.log.Info("quotas are kept on disk again")
	case err != nil && !q.failing:
		g.log.Error("quotas cannot be kept on disk, a restart would forget what is spent from now on; it is tried again", "error", err)
	}
	if q.failing = err != nil; err == nil {
		clear(q.pending)
	}
}

// restoreQuotas gives limiters that are new what was kept of them.
func (g *Gateway) restoreQuotas(plan *plan, old map[string]*limiter.Limiter, now mono.Time) {
	if len(old) > 0 {
		g.saveQuotas() // of those that go
	}
	g.quotas.mu.Lock()
	defer g.quotas.mu.Unlock()
	if g.quotas.store == nil {
		return
	}
	for id, v := range plan.limiters {
		if v.spec.Algorithm != limiter.Quota || old[id] != nil {
			continue
		}
		lost, skipped := 0, g.quotas.store.Skipped()
		err := g.quotas.store.Load(id, func(r store.Record) {
			if !v.limiter.Restore(keyOf(r.Key), r.Window, r.Used, now) {
				lost++
			}
		})
		skipped = g.quotas.store.Skipped() - skipped
		if err != nil || lost > 0 || skipped > 0 {
			g.log.Error("a quota starts without some of what was spent", "policy", v.limiter.Name(), "without_room", lost, "damaged", skipped, "error", err)
		}
	}
}

// expireQuotas removes periods that are over, and policies that are gone for long, from disk.
func (g *Gateway) expireQuotas(now mono.Time) {
	q := &g.quotas
	q.mu.Lock()
	defer q.mu.Unlock()
	s := g.snap.Load()
	if q.store == nil || s == nil || q.expired != 0 && now.Sub(q.expired) < expireEvery {
		return
	}
	q.expired = now
	var ids []string
	for _, v := range s.quotaVariants() {
		ids = append(ids, v.identity)
		start, _ := v.spec.Calendar.Around(now.Wall())
		if _, err := q.store.Expire(v.identity, start.Unix()); err != nil {
			g.log.Warn("quotas of the past cannot be removed from disk", "policy", v.limiter.Name(), "error", err)
		}
	}
	if err := q.store.Retain(ids); err != nil {
		g.log.Warn("quotas of policies that are gone cannot be removed from disk", "error", err)
	}
}

func keyBytes(k limiter.Key) (b [16]byte) {
	binary.BigEndian.PutUint64(b[:8], k.Hi)
	binary.BigEndian.PutUint64(b[8:], k.Lo)
	return b
}

func keyOf(b [16]byte) limiter.Key {
	return limiter.Key{Hi: binary.BigEndian.Uint64(b[:8]), Lo: binary.BigEndian.Uint64(b[8:])}
}
