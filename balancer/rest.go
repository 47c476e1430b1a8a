package balancer

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"weir/internal/mono"
)

const (
	// maxRest is the longest rest: an endpoint that asks for an hour is asked again after this.
	maxRest = 10 * time.Second
	// restGap is how long a wish for a rest, granted or not, makes the pool deaf to others of the endpoint: it bounds the cost of a
	// pool whose every answer is such a wish.
	restGap = 100 * time.Millisecond
)

// Rest tells that the endpoint asked to be left alone for d, as with Retry-After. It is not picked for so long, 10 s at most, and
// then has all its weight at once. Asking again during a rest makes it longer, no shorter.
//
// The wish is granted within the bound of ejections: at most PassiveConfig.MaxEject of the pool, but always one, is ejected or
// resting, and never the last that is well. A rest ends early if the endpoint is ejected or the ejection of another takes its
// room, when panic begins, or when no other endpoint is well; if the breakers of all others are open, one that rests is leased.
//
// Rest moves neither breaker nor passive health: that is Report's. Call it before or after that; d ≤ 0 is no wish. It takes
// the pool's lock at most ten times a second for an endpoint, and allocates only if it grants.
func (l *Lease) Rest(d time.Duration, now mono.Time) {
	if l.e == nil || d <= 0 || now < mono.Time(l.e.deaf.Load()) {
		return
	}
	l.e.pool.rest(l.e, min(d, maxRest), now)
}

func (p *Pool) rest(e *Endpoint, d time.Duration, now mono.Time) {
	p.mu.Lock()
	defer p.unlock()
	e.deaf.Store(int64(now.Add(restGap)))
	if e.draining || e.unhealthy || e.ejected || p.index[e.address] != e || p.view.Load().panics {
		return
	}
	if e.resting {
		e.restEnd = max(e.restEnd, now.Add(d)) // the view is renewed at the old end, and sees the new one
		return
	}
	// e is awake itself: another must be, and there must be room.
	if resting, awake, room := p.rollLocked(); awake < 2 || len(resting) >= room {
		return
	}
	e.resting, e.restEnd, e.since = true, now.Add(d), now
	p.noteLocked(RestBegan, e, "for "+d.String())
	p.rebuildLocked(now)
	p.nudge() // Run must know when it ends
}

// rollLocked returns who rests, how many are well and neither rest nor are ejected, and how many may rest.
func (p *Pool) rollLocked() (resting []*Endpoint, awake, room int) {
	in, ejected := 0, 0
	for _, e := range p.members {
		if e.draining {
			continue
		}
		in++
		switch {
		case e.ejected:
			ejected++
		case e.resting:
			resting = append(resting, e)
		case !e.unhealthy:
			awake++
		}
	}
	return resting, awake, max(0, p.cfg.Passive.mostOut(in)-ejected)
}

// restsLocked ends the rests that are over or have no room any more, of these the ones that would have ended first. It lists
// the others in v and returns when the next ends.
func (p *Pool) restsLocked(v *view, now mono.Time) mono.Time {
	resting, awake, room := p.rollLocked()
	if v.panics || awake == 0 {
		room = 0
	}
	slices.SortFunc(resting, func(x, y *Endpoint) int { return cmp.Compare(x.restEnd, y.restEnd) })
	for len(resting) > 0 && (now >= resting[0].restEnd || len(resting) > room) {
		resting[0].resting, resting[0].since = false, now
		resting = resting[1:]
	}
	if len(resting) == 0 {
		return mono.Never
	}
	for _, e := range resting {
		if !e.unhealthy {
			v.resting = append(v.resting, e)
		}
	}
	return resting[0].restEnd
}

// last is what a lease gets when no tier has anything to take: one that rests if the breakers of all others are open, else a miss.
func (v *view) last(now mono.Time) (Lease, Miss) {
	m := v.miss(now)
	if m != BreakerOpen || len(v.resting) == 0 {
		return Lease{}, m
	}
	start := rand.IntN(len(v.resting))
	for i := range v.resting {
		e := v.resting[(start+i)%len(v.resting)]
		if gen, ok := e.take(v.limit, now); ok {
			return Lease{e: e, gen: gen}, OK
		}
	}
	return Lease{}, m
}
