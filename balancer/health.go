package balancer

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"weir/internal/mono"
)

const (
	hurryFraction = 10 // probes of an endpoint whose state is in doubt come at this fraction of the interval
	hurryPeriod   = 5  // and for so many intervals after it went down
)

// runner owns the goroutines of a pool.
type runner struct {
	p         *Pool
	wg        sync.WaitGroup
	probers   map[uint64]context.CancelFunc // by Endpoint.id
	resolvers map[*answer]context.CancelFunc
}

func (r *runner) run(ctx context.Context) {
	defer r.wg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.p.wake:
		case <-timer.C:
		}
		r.reconcile(ctx)
		now := r.p.hooks.Now()
		v := r.p.view.Load()
		if now >= v.next {
			v = r.p.refresh(now)
		}
		if wait := v.next.Sub(now); v.next != mono.Never {
			timer.Reset(max(wait, time.Millisecond))
		}
	}
}

// reconcile starts and stops probers and resolvers as the present configuration wants them.
func (r *runner) reconcile(ctx context.Context) {
	p := r.p
	p.update.Lock()
	members, answers, active := p.members, make(map[*answer]bool, len(p.answers)), p.cfg.Active.Enabled
	for _, a := range p.answers {
		answers[a] = true
	}
	p.update.Unlock()
	wanted := make(map[uint64]bool, len(members))
	for _, e := range members {
		if !active {
			break
		}
		wanted[e.id] = true
		if r.probers[e.id] == nil {
			r.probers[e.id] = r.start(ctx, func(ctx context.Context) { p.probe(ctx, e) })
		}
	}
	for a := range answers {
		if r.resolvers[a] == nil {
			r.resolvers[a] = r.start(ctx, func(ctx context.Context) { p.resolve(ctx, a) })
		}
	}
	retire(r.probers, wanted)
	retire(r.resolvers, answers)
}

func (r *runner) start(ctx context.Context, f func(context.Context)) context.CancelFunc {
	ctx, cancel := context.WithCancel(ctx)
	r.wg.Go(func() { defer cancel(); f(ctx) })
	return cancel
}

func retire[K comparable](running map[K]context.CancelFunc, wanted map[K]bool) {
	for k, cancel := range running {
		if !wanted[k] {
			cancel()
			delete(running, k)
		}
	}
}

// hurry makes e's next probe come soon. It never blocks.
func (e *Endpoint) hurry() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

// probe probes e until ctx ends: at once, then at the interval, jittered to 70 to 90 % of it.
func (p *Pool) probe(ctx context.Context, e *Endpoint) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	last, begun := mono.Time(0), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-e.kick:
			gap := hurried(p.view.Load().active.Interval) - p.hooks.Now().Sub(last)
			if begun && gap > 0 {
				timer.Reset(gap)
				continue
			}
		}
		last, begun = p.hooks.Now(), true
		c := p.view.Load().active
		probing, cancel := context.WithTimeout(ctx, c.Timeout)
		err := p.hooks.Probe(probing, e)
		cancel()
		if ctx.Err() != nil {
			return
		}
		timer.Reset(p.probed(e, c.Key, err, p.hooks.Now()))
	}
}

func hurried(interval time.Duration) time.Duration {
	return max(interval/hurryFraction, time.Millisecond)
}

// probed takes the result of a probe that asked what key stands for, and returns when the next is due. One that was overtaken
// by a Reconfigure to another key, or to no probes, says nothing.
//
// With no history one probe decides. After that Fall bad ones in a row make an endpoint unhealthy and Rise good ones healthy,
// and while a count is under way probes hurry. A failed probe and then Rise good ones are a recovery, also where Fall was not
// reached: an ejection ends and an open breaker half opens.
func (p *Pool) probed(e *Endpoint, key string, err error, now mono.Time) time.Duration {
	p.mu.Lock()
	c := p.cfg.Active
	if !c.Enabled || c.Key != key {
		p.unlock()
		return hurried(c.Interval)
	}
	recovered := false
	if err == nil {
		e.good, e.bad = e.good+1, 0
		if e.good >= c.Rise || !e.known {
			recovered = e.dipped || e.unhealthy
			e.dipped = false
		}
	} else {
		e.good, e.bad = 0, e.bad+1
		e.dipped = true
		if !e.unhealthy && (e.bad >= c.Fall || !e.known) {
			e.unhealthy, e.downSince, e.since = true, now, now
			p.noteLocked(BecameUnhealthy, e, err.Error())
			p.rebuildLocked(now)
		}
	}
	e.known = true
	if recovered {
		p.recoverLocked(e, now)
	}
	inDoubt := !e.unhealthy && e.dipped || e.unhealthy && (e.good > 0 || now.Sub(e.downSince) < hurryPeriod*c.Interval)
	p.unlock()
	if recovered {
		e.breaker.HalfOpen()
	}
	if inDoubt {
		return hurried(c.Interval)
	}
	return max(time.Duration((0.7+0.2*rand.Float64())*float64(c.Interval)), time.Millisecond)
}

// recoverLocked takes e back into use.
func (p *Pool) recoverLocked(e *Endpoint, now mono.Time) {
	if e.unhealthy {
		e.unhealthy, e.since = false, now
		e.forgive(now)
		p.noteLocked(BecameHealthy, e, "")
	}
	if e.ejected {
		p.returnLocked(e, now)
	}
	p.rebuildLocked(now)
}

// rejudgeLocked carries e's health over to a new configuration. Without probes nothing is unhealthy by them; with others than
// before, the state stays until the next probe, which comes at once and decides alone.
func (p *Pool) rejudgeLocked(e *Endpoint, old *Config, now mono.Time) {
	c := &p.cfg.Active
	if !c.Enabled || c.Key != old.Active.Key {
		e.known, e.good, e.bad, e.dipped = false, 0, 0, false
	}
	if old.Active.Enabled && *c != old.Active {
		e.hurry()
	}
	if !c.Enabled && e.unhealthy {
		p.recoverLocked(e, now)
	}
	if !p.cfg.Passive.enabled() && e.ejected {
		p.returnLocked(e, now)
	}
}
