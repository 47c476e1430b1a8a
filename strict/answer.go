package strict

import (
	"strconv"
	"time"

	"weir/limiter"
)

// Ask is one step of a chain.
type Ask struct {
	Policy *Policy
	Key    limiter.Key
	N      int64 // units, ≥ 0; 0 asks how the bucket stands
	Soft   bool  // shadow: decided, and spent if it fits, but never refuses

	// Group is what the bucket lies beside in a cluster: keys of one group are in one slot, so that a chain over them is one round trip.
	// It must follow from Policy and Key: a bucket asked for under two groups is two buckets. A chain of a user within a tenant is of one
	// group if both name the tenant's key; then all of the tenant's users are on one node. The zero value is Key itself.
	Group limiter.Key
}

// Answer is what a step was told.
type Answer struct {
	limiter.Decision
	Asked bool // false: the server of this step was not asked, or did not answer, after an earlier step refused; all else is zero
	Mark  Mark // of what was spent
}

// Mark tells a spending from others of its bucket, to give it back. It is of use to the store that made it.
type Mark struct {
	tat   span  // a bucket's, after the spending
	given span  // of a bucket: what had been given back before
	born  int64 // of a bucket: since when marks have their meaning
	at    int64 // when; the start of a window, the number of a sub-window
	n     int64 // units spent
	seat  uint64
}

// seatID is unique among what this process holds; the store's own part is in front.
func seatID(n uint64) string { return processID + strconv.FormatUint(n, 36) }

// decide is the answer to n units of a bucket that the script found as raw.
func (p *Policy) decide(raw *[stride]int64, n, now int64) limiter.Decision {
	switch p.kind {
	case 't':
		return p.decideBucket(span{raw[0], uint64(raw[1])}, n, now)
	case 'w':
		return decideWindow(p.spec.Rate.N, raw[2], n, time.Duration(raw[1]-now)*time.Microsecond)
	case 's':
		return p.decideSliding(raw, n, now)
	}
	return decideSeats(p.spec.Rate.N, raw[0], n)
}

// stands is the answer but for Left and Reset, which are those with nothing spent.
func (p *Policy) stands(raw *[stride]int64, n, now int64) limiter.Decision {
	d, rest := p.decide(raw, n, now), p.decide(raw, 0, now)
	d.Left, d.Reset = rest.Left, rest.Reset
	return d
}

// mark is that of n units spent of a bucket that the script found as raw.
func (p *Policy) mark(raw *[stride]int64, n, now int64, seat uint64) Mark {
	switch p.kind {
	case 't':
		tat := span{raw[0], uint64(raw[1])}
		next := p.add(tat, p.cost(n))
		if end := (span{us: now + longest}); !end.after(next) {
			if next = end; tat.after(next) {
				next = tat
			}
		}
		return Mark{tat: next, given: span{raw[2], uint64(raw[3])}, born: raw[4], at: now, n: n}
	case 'c':
		return Mark{seat: seat, n: n}
	}
	return Mark{at: raw[0], n: n}
}

// left is how many units there are: none if more is owed than the burst, or if the next request would wait too long.
func (p *Policy) left(empty, tat span) int64 {
	if tat.after(empty) || p.smooth && p.sub(tat, span{us: p.wait}).after(p.sub(empty, p.full)) {
		return 0
	}
	return p.units(p.sub(empty, tat))
}

func (p *Policy) decideBucket(tat span, n, now int64) limiter.Decision {
	at := span{us: now}
	empty := p.add(at, p.full)
	switch {
	case n == 0:
		return limiter.Decision{OK: true, Left: p.left(empty, tat), Reset: tat.until(now)}
	case n > p.spec.Rate.Burst:
		return limiter.Decision{Left: p.left(empty, tat), Retry: limiter.Never, Reset: tat.until(now)}
	}
	next := p.add(tat, p.cost(n))
	if !next.after(empty) && !p.smooth {
		return limiter.Decision{OK: true, Left: p.units(p.sub(empty, next)), Reset: next.until(now)}
	}
	start := p.sub(next, p.full) // when the bucket holds what is asked for
	due := start                 // when it could be let in, to wait no longer than it may
	due.us -= p.wait
	if p.smooth {
		due = tat
		due.us -= p.wait
		if start.after(due) {
			due = start
		}
		start = tat
	}
	if !due.after(at) {
		return limiter.Decision{OK: true, Left: p.left(empty, next), Wait: max(0, start.until(now)), Reset: next.until(now)}
	}
	return limiter.Decision{Left: p.left(empty, tat), Retry: due.until(now), Reset: tat.until(now)}
}

func decideWindow(limit, used, n int64, rest time.Duration) limiter.Decision {
	d := limiter.Decision{OK: n <= limit-used || n == 0, Left: max(0, limit-used)}
	if used > 0 {
		d.Reset = rest
	}
	switch {
	case d.OK && n > 0:
		d.Left -= n
		d.Reset = rest
	case n > limit:
		d.Retry = limiter.Never
	case !d.OK:
		d.Retry = rest
	}
	return d
}

func (p *Policy) decideSliding(raw *[stride]int64, n, now int64) limiter.Decision {
	k, used, latest, room, limit := raw[0], raw[1], raw[2], raw[3], p.spec.Rate.N
	d := limiter.Decision{OK: n <= limit-used || n == 0, Left: max(0, limit-used)}
	if used > 0 && (!d.OK || n == 0) {
		d.Reset = p.back(latest, now)
	}
	switch {
	case d.OK && n > 0:
		d.Left -= n
		d.Reset = p.back(k, now)
	case n > limit:
		d.Retry = limiter.Never
	case !d.OK:
		d.Retry = p.back(room, now)
	}
	return d
}

func decideSeats(limit, used, n int64) limiter.Decision {
	d := limiter.Decision{OK: n <= limit-used || n == 0, Left: max(0, limit-used)}
	switch {
	case d.OK:
		d.Left -= n
	case n > limit:
		d.Retry = limiter.Never
	default:
		d.Retry = limiter.Unknown
	}
	if used > 0 || d.OK && n > 0 {
		d.Reset = limiter.Unknown
	}
	return d
}
