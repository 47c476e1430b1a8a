package limiter

import (
	"math"
	"math/bits"
	"time"

	"weir/internal/mono"
)

// span is a length of time or an instant of exactly ns + frac/num nanoseconds, where num is the gcra's and
// 0 ≤ frac < num.
type span struct {
	ns   int64
	frac uint64
}

func (a span) after(b span) bool { return a.ns > b.ns || a.ns == b.ns && a.frac > b.frac }

// ceil is the first whole nanosecond that is not before a.
func (a span) ceil() int64 {
	if a.frac > 0 {
		return a.ns + 1
	}
	return a.ns
}

// past is earlier than every instant a caller passes.
const past mono.Time = math.MinInt64

// gcra is a Rate made ready for exact arithmetic. With g = gcd(N, Per), a tick is 1/num ns and one unit costs per ticks. A
// bucket's x and y are its theoretical arrival time, the instant at which it is full again; the upper bits of y, which the fraction leaves
// free, count the units that were given back, as refund.go says.
type gcra struct {
	plain
	rate   Rate
	num    uint64 // N/g
	per    uint64 // Per/g, in ns
	bits   int    // of y for the fraction
	unit   span   // cost of one unit: per/num ns
	full   span   // cost of the burst: from empty to full
	most   int64  // units whose cost is maxRefill at most: what can be owed
	wait   int64  // ns by which a request may be told to wait
	smooth bool   // whoever comes while something is owed waits until it is not
}

// newGCRA prepares r, which must be valid.
func newGCRA(r Rate) *gcra {
	d := gcd(uint64(r.N), uint64(r.Per))
	g := &gcra{rate: r, num: uint64(r.N) / d, per: uint64(r.Per) / d}
	g.bits = bits.Len64(g.num - 1)
	g.full = g.cost(r.Burst)
	g.unit = g.cost(1)
	g.most = math.MaxInt64
	if hi, lo := bits.Mul64(maxRefill, g.num); hi < g.per {
		if n, _ := bits.Div64(hi, lo, g.per); n < math.MaxInt64 {
			g.most = int64(n)
		}
	}
	return g
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func (g *gcra) fresh() bucket { return bucket{last: past, x: int64(past)} }

func (g *gcra) tat(b *bucket) span { return span{b.x, b.y & (1<<g.bits - 1)} }

// setTAT leaves the count of what was given back as it is.
func (g *gcra) setTAT(b *bucket, t span) { b.x, b.y = t.ns, b.y>>g.bits<<g.bits|t.frac }

// idle reports whether b is full at now.
func (g *gcra) idle(b *bucket, now mono.Time) bool { return g.tat(b).ceil() <= int64(now) }

func (g *gcra) forward(_ *rings, b *bucket, now mono.Time) { b.last = max(b.last, now) }

// cost is the time n units take to refill, 0 ≤ n ≤ most.
func (g *gcra) cost(n int64) span {
	hi, lo := bits.Mul64(uint64(n), g.per)
	ns, frac := bits.Div64(hi, lo, g.num) // at most maxRefill: Validate
	return span{int64(ns), frac}
}

// units is how many whole units refill in s, 0 ≤ s ≤ full.
func (g *gcra) units(s span) int64 {
	n, _ := g.divide(s)
	return int64(n)
}

// divide splits s into whole units and the ticks over, 0 ≤ s ≤ full.
func (g *gcra) divide(s span) (units, ticks uint64) {
	hi, lo := bits.Mul64(uint64(s.ns), g.num)
	lo, carry := bits.Add64(lo, s.frac, 0)
	return bits.Div64(hi+carry, lo, g.per)
}

func (g *gcra) add(a, b span) span {
	s := span{a.ns + b.ns, a.frac + b.frac}
	if s.frac >= g.num {
		s.frac -= g.num
		s.ns++
	}
	return s
}

func (g *gcra) sub(a, b span) span {
	s := span{a.ns - b.ns, a.frac - b.frac}
	if a.frac < b.frac {
		s.frac += g.num
		s.ns--
	}
	return s
}

// at returns the instant that counts for now, and the arrival time of b, which is then not before it.
func (g *gcra) at(b *bucket, now mono.Time) (at mono.Time, tat span) {
	at, tat = max(now, b.last), g.tat(b)
	if tat.ns < int64(at) {
		tat = span{ns: int64(at)}
	}
	return at, tat
}

// left is how many units there are at an instant: none if more is owed than the burst, or if the next request would wait too long.
func (g *gcra) left(empty, tat span) int64 {
	if tat.after(empty) {
		return 0
	}
	if g.smooth && g.sub(tat, span{ns: g.wait}).after(g.sub(empty, g.full)) {
		return 0
	}
	return g.units(g.sub(empty, tat))
}

func (g *gcra) decide(_ *rings, b *bucket, n int64, now mono.Time) Decision {
	at, tat := g.at(b, now)
	empty := g.add(span{ns: int64(at)}, g.full) // the tat of a bucket with nothing left
	if n == 0 {
		return Decision{OK: true, Left: g.left(empty, tat), Reset: reset(tat, at, now)}
	}
	if n > g.rate.Burst {
		return Decision{Left: g.left(empty, tat), Retry: Never, Reset: reset(tat, at, now)}
	}
	cost := g.unit
	if n != 1 {
		cost = g.cost(n)
	}
	next := g.add(tat, cost)
	if !next.after(empty) && !g.smooth {
		return Decision{OK: true, Left: g.units(g.sub(empty, next)), Reset: reset(next, at, now)}
	}
	return g.ahead(tat, next, empty, at, now)
}

// ahead answers a request that finds too little, or one of a bucket that lets go evenly: it may wait, or is refused.
func (g *gcra) ahead(tat, next, empty span, at, now mono.Time) Decision {
	start := g.sub(next, g.full) // when the bucket holds what is asked for
	due := start                 // when it could be let in, to wait no longer than it may
	due.ns -= g.wait
	if g.smooth {
		due = tat
		due.ns -= g.wait
		if start.after(due) {
			due = start
		}
		start = tat
	}
	if !due.after(span{ns: int64(at)}) {
		return Decision{OK: true, Left: g.left(empty, next), Wait: max(0, until(start, now)), Reset: reset(next, at, now)}
	}
	return Decision{Left: g.left(empty, tat), Retry: until(due, now), Reset: reset(tat, at, now)}
}

// until is the time from now to the first nanosecond that is not before t, which is not before now.
func until(t span, now mono.Time) time.Duration { return mono.Time(t.ceil()).Sub(now) }

// reset is the time from now until a bucket of this tat is full again; none if it is at the instant that counts.
func reset(tat span, at, now mono.Time) time.Duration {
	if tat.ceil() <= int64(at) {
		return 0
	}
	return until(tat, now)
}

// spend makes b owe n units more, but at most what takes maxRefill to come back.
func (g *gcra) spend(_ *rings, b *bucket, n int64, now mono.Time) mark {
	at, tat := g.at(b, now)
	cost := g.unit
	if n != 1 {
		cost = g.cost(min(n, g.most))
	}
	next := g.add(tat, cost)
	if end := int64(at) + maxRefill; next.ns >= end {
		next = span{ns: end}
		if tat.after(next) {
			next = tat
		}
	}
	b.last = at
	g.setTAT(b, next)
	return mark{next.ns, next.frac, b.y >> g.bits, at, n}
}

// convert carries b over from the rate of old: it owes as many units as before. Of its burst at most the new one, but all that was
// let in ahead of time or charged afterwards. A fraction of a unit is rounded up to the next tick, so that no number of changes
// gives anything away. Earlier marks mean nothing to g.
func (g *gcra) convert(_ *rings, from meter, b *bucket, now mono.Time) {
	old := from.(*gcra)
	at := max(now, b.last)
	if old.idle(b, at) {
		*b = bucket{last: at, x: int64(at)}
		return
	}
	owed, beyond := old.sub(old.tat(b), span{ns: int64(at)}), span{}
	if owed.after(old.full) {
		owed, beyond = old.full, old.sub(owed, old.full)
	}
	if owed = g.carry(old, owed); owed.after(g.full) {
		owed = g.full
	}
	tat := g.add(span{ns: int64(at)}, g.add(owed, g.carry(old, beyond)))
	if end := int64(at) + maxRefill; tat.ns >= end {
		tat = span{ns: end}
	}
	*b = bucket{last: at, x: tat.ns, y: tat.frac}
}

// carry is the time in which as many units refill as refill in s at the rate of old, rounded up to a tick, at most maxRefill.
func (g *gcra) carry(old *gcra, s span) span {
	longest := span{ns: maxRefill}
	hi, lo := bits.Mul64(uint64(s.ns), old.num)
	lo, carry := bits.Add64(lo, s.frac, 0)
	if hi += carry; hi >= old.per {
		return longest
	}
	units, over := bits.Div64(hi, lo, old.per)
	hi, lo = bits.Mul64(over, g.per)
	ticks, rest := bits.Div64(hi, lo, old.per) // over < old.per, so ticks < g.per
	if rest > 0 {
		ticks++
	}
	hi, lo = bits.Mul64(units, g.per)
	lo, carry = bits.Add64(lo, ticks, 0)
	if hi += carry; hi >= g.num {
		return longest
	}
	ns, frac := bits.Div64(hi, lo, g.num)
	if ns >= maxRefill {
		return longest
	}
	return span{int64(ns), frac}
}
