package shaping

import (
	"time"

	"weir/internal/mono"
)

const (
	interval  = 100 * time.Millisecond // CoDel's, of RFC 8289
	leastPace = 8                      // grants to know a rate by, or twice the limit if that is more
	margin    = 2                      // a request is too late if it were at this many times the rate
	scan      = 128                    // flows looked at to tell
)

// pace is how fast seats were given to those who waited: over the last spell that ended, with somebody waiting all the time, of at least
// 100 ms and two grants a seat. So a spell sees every seat about twice, however they come free together.
type pace struct {
	since  mono.Time // the spell's begin
	grants int
	per    time.Duration // a grant, in the spell before; 0: not known
	limit  int           // at its end
}

// begin forgets all there was: nobody waited until now.
func (p *pace) begin(now mono.Time) { *p = pace{since: now} }

func (p *pace) grant(limit int, now mono.Time) {
	p.grants++
	spell := now.Sub(p.since)
	if spell < interval || p.grants < max(leastPace, 2*limit) {
		return
	}
	*p = pace{since: now, per: max(1, spell/time.Duration(p.grants)), limit: limit}
}

// expect returns how long n grants take at limit seats, or false if that is not known.
func (p *pace) expect(n, limit int) (time.Duration, bool) {
	if p.per == 0 {
		return 0, false
	}
	d := float64(p.per) * float64(n) * float64(p.limit) / float64(max(limit, p.limit))
	return time.Duration(min(d, float64(mono.Never/2))), true
}

// standing is the least time that anybody who was given a seat had waited, over the last 100 to 200 ms.
type standing struct {
	since     mono.Time // cur's begin
	cur, last time.Duration
}

const nobody = time.Duration(mono.Never)

func (s *standing) init() { s.cur, s.last = nobody, nobody }

func (s *standing) roll(now mono.Time) {
	switch d := now.Sub(s.since); {
	case d < interval:
	case d < 2*interval:
		s.since, s.cur, s.last = s.since.Add(interval), nobody, s.cur
	default:
		s.since, s.cur, s.last = now, nobody, nobody
	}
}

func (s *standing) note(wait time.Duration, now mono.Time) {
	s.roll(now)
	s.cur = min(s.cur, wait)
}

// least returns false if nobody was given a seat.
func (s *standing) least(now mono.Time) (time.Duration, bool) {
	s.roll(now)
	d := min(s.cur, s.last)
	return d, d != nobody
}

// tooLateLocked reports whether a request of class c cannot have a seat within wait: if those who are served before it take longer
// at twice the rate at which seats were given lately, though all open seats were given in c's band. It says no if the rate is not known.
func (g *Gate) tooLateLocked(c Class, wait time.Duration) bool {
	if g.pace.per == 0 {
		return false
	}
	limit := word(g.word.Load()).limit()
	if d, _ := g.pace.expect(g.queue.upTo(c.Band), limit); d/margin < wait {
		return false // not even if all of them come first
	}
	d, _ := g.pace.expect(g.queue.ahead(c, g.config.Aging, scan), limit)
	return d/margin >= wait
}
