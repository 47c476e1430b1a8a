package balancer

import (
	"fmt"
	"time"

	"weir/internal/mono"
)

// maxEjectFactor bounds the growth of ejections in a row.
const maxEjectFactor = 10

// judge counts a report for passive health and ejects e if it is due. A good report costs a load, and a CAS if an error rate
// is configured.
func (e *Endpoint) judge(good bool, now mono.Time) {
	v := e.pool.view.Load()
	c := &v.passive
	if c.ErrorRate > 0 {
		bad := uint64(1)
		if good {
			bad = 0
		}
		e.reports.add(1, bad, now)
	}
	if good {
		if e.failing.Load() != 0 {
			e.failing.Store(0)
		}
		return
	}
	if !c.enabled() {
		return
	}
	n := e.failing.Add(1)
	if c.ConsecutiveFailures > 0 && n >= int64(c.ConsecutiveFailures) {
		e.pool.eject(e, fmt.Sprintf("%d failures in a row", n), now)
		return
	}
	if c.ErrorRate > 0 && v.healthy > 1 {
		all, bad := e.reports.sum(now)
		if all >= uint64(max(c.MinRequests, 1)) && float64(bad) >= c.ErrorRate*float64(all) {
			e.pool.eject(e, fmt.Sprintf("%d of %d requests failed", bad, all), now)
		}
	}
}

// eject takes e out for a while, if that leaves enough. An ejection is in a row with the one before if e was back for less
// time than that one lasted.
func (p *Pool) eject(e *Endpoint, why string, now mono.Time) {
	p.mu.Lock()
	defer p.unlock()
	e.failing.Store(0)
	if e.ejected || !p.canEjectLocked(e) {
		return
	}
	if e.inARow > 0 && now.Sub(e.ejectEnd) >= e.ejectFor {
		e.inARow = 0
	}
	c := &p.cfg.Passive
	e.ejectFor = c.Eject * time.Duration(min(int64(1)<<min(e.inARow, 8), maxEjectFactor))
	e.inARow++
	e.ejected, e.ejectEnd, e.since = true, now.Add(e.ejectFor), now
	e.resting = false // one or the other
	p.noteLocked(Ejected, e, fmt.Sprintf("%s; for %v", why, e.ejectFor))
	p.rebuildLocked(now)
	p.nudge() // Run must know when it ends
}

// canEjectLocked reports whether e may go: it is a member in use, MaxEject (at least one) is not reached, and another is left.
func (p *Pool) canEjectLocked(e *Endpoint) bool {
	in, ejected, left, member := 0, 0, 0, false
	for _, m := range p.members {
		if m.draining {
			continue
		}
		in++
		if m.ejected {
			ejected++
		}
		if m == e {
			member = true
		} else if !m.ejected && !m.unhealthy {
			left++
		}
	}
	return member && left > 0 && ejected < p.cfg.Passive.mostOut(in)
}

// mostOut returns how many of n may be out at once.
func (c *PassiveConfig) mostOut(n int) int { return max(1, int(c.MaxEject*float64(n)+1e-9)) }

// returnLocked ends e's ejection. What was reported before counts no more.
func (p *Pool) returnLocked(e *Endpoint, now mono.Time) {
	e.ejected, e.since = false, now
	if now < e.ejectEnd {
		e.ejectEnd = now
	}
	e.forgive(now)
	p.noteLocked(Returned, e, "")
}

// forgive makes e start afresh: its latency is unknown, its errors are forgotten, and it starts slowly.
func (e *Endpoint) forgive(now mono.Time) {
	e.failing.Store(0)
	e.reports.reset()
	e.latency.reset()
	e.startSlowly(now)
}
