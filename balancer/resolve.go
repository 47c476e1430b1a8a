package balancer

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"weir/internal/mono"
)

const (
	defaultTTL     = 5 * time.Second
	minTTL         = time.Second // also how soon a failed resolution is tried again
	maxTTL         = 5 * time.Minute
	resolveTimeout = 5 * time.Second
)

// resolve keeps a up to date until ctx ends.
func (p *Pool) resolve(ctx context.Context, a *answer) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		asking, cancel := context.WithTimeout(ctx, resolveTimeout)
		addrs, ttl, err := p.hooks.Resolve(asking, a.host)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if ttl <= 0 {
			ttl = defaultTTL
		}
		if !p.resolved(a, addrs, err, p.hooks.Now()) {
			ttl = minTTL
		}
		timer.Reset(min(max(ttl, minTTL), maxTTL))
	}
}

// resolved takes an answer. A failed or empty one keeps the last.
func (p *Pool) resolved(a *answer, addrs []netip.Addr, err error, now mono.Time) (ok bool) {
	ok = err == nil && len(addrs) > 0
	next := make([]netip.Addr, len(addrs))
	for i := range addrs {
		next[i] = addrs[i].Unmap()
	}
	slices.SortFunc(next, netip.Addr.Compare)
	next = slices.Compact(next)
	p.update.Lock()
	if p.answers[a.host] != a { // no longer configured
		p.update.Unlock()
		return ok
	}
	turned := a.failing == ok
	a.failing = !ok
	var m membership
	if ok && !slices.Equal(next, a.addrs) {
		slowly := !a.first
		a.addrs, a.first = next, false
		m = p.gather(&p.cfg, p.drained, slowly, now)
		p.mu.Lock()
		p.joinLocked(&m)
		p.rebuildLocked(now)
		p.mu.Unlock()
	}
	p.update.Unlock()
	p.settle(m.gone)
	switch {
	case turned && ok:
		p.tell(ResolveRecovered, a.host, "", "")
	case turned && err != nil:
		p.tell(ResolveFailed, a.host, "", err.Error())
	case turned:
		p.tell(ResolveFailed, a.host, "", "no addresses")
	}
	return ok
}
