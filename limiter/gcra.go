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

// bucket is the state of one key. tat is the theoretical arrival time: the instant at which the bucket is full again.
type bucket struct {
	last mono.Time // latest instant at which it changed; an earlier now counts as this one
	tat  span
}

// fullSince is a bucket that has been full since t: what a key never seen has.
func fullSince(t mono.Time) bucket { return bucket{last: t, tat: span{ns: int64(t)}} }

// past is earlier than every instant a caller passes.
const past mono.Time = math.MinInt64

// fullAt tells whether b is full at now, and so the same as the bucket of a key never seen.
func (b bucket) fullAt(now mono.Time) bool { return b.tat.ceil() <= int64(now) }

// gcra is a Rate made ready for exact arithmetic. Immutable. With g = gcd(N, Per), a tick is 1/num ns and one unit costs
// per ticks.
type gcra struct {
	rate Rate
	num  uint64 // N/g
	per  uint64 // Per/g, in ns
	unit span   // cost of one unit: per/num ns
	full span   // cost of the burst: from empty to full
}

// newGCRA prepares r, which must be valid.
func newGCRA(r Rate) *gcra {
	d := gcd(uint64(r.N), uint64(r.Per))
	g := &gcra{rate: r, num: uint64(r.N) / d, per: uint64(r.Per) / d}
	g.full = g.cost(r.Burst)
	g.unit = g.cost(1)
	return g
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// cost is the time n units take to refill, 0 ≤ n ≤ Burst.
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

// decide answers for n ≥ 0 units at now, and returns the bucket as it is if they are spent: b itself on a refusal.
func (g *gcra) decide(b bucket, n int64, now mono.Time) (Decision, bucket) {
	at := max(now, b.last)
	tat := b.tat
	if tat.ns < int64(at) {
		tat = span{ns: int64(at)}
	}
	empty := g.add(span{ns: int64(at)}, g.full) // the tat of a bucket with nothing left
	if n > g.rate.Burst {
		return Decision{Left: g.units(g.sub(empty, tat)), Retry: Never, Reset: reset(tat, at, now)}, b
	}
	cost := g.unit
	if n != 1 {
		cost = g.cost(n)
	}
	next := g.add(tat, cost)
	if next.after(empty) {
		return Decision{
			Left:  g.units(g.sub(empty, tat)),
			Retry: until(g.sub(next, g.full), now),
			Reset: reset(tat, at, now),
		}, b
	}
	return Decision{OK: true, Left: g.units(g.sub(empty, next)), Reset: reset(next, at, now)}, bucket{at, next}
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

// refund gives n ≥ 0 units back to b at now. A bucket is never more than full.
func (g *gcra) refund(b bucket, n int64, now mono.Time) bucket {
	at := max(now, b.last)
	if b.fullAt(at) {
		return b
	}
	tat := g.sub(b.tat, g.cost(min(n, g.rate.Burst)))
	if tat.ns < int64(at) {
		tat = span{ns: int64(at)}
	}
	return bucket{at, tat}
}

// convert carries b over from the rate of old: it owes as many units as before, but at most the new burst. A fraction
// of a unit is rounded up to the next tick, so that no number of changes gives anything away.
func (g *gcra) convert(old *gcra, b bucket, now mono.Time) bucket {
	at := max(now, b.last)
	if b.fullAt(at) {
		return fullSince(at)
	}
	units, over := old.divide(old.sub(b.tat, span{ns: int64(at)}))
	if units >= uint64(g.rate.Burst) {
		return bucket{at, g.add(span{ns: int64(at)}, g.full)}
	}
	hi, lo := bits.Mul64(over, g.per)
	ticks, rest := bits.Div64(hi, lo, old.per) // over < old.per, so ticks < g.per
	if rest > 0 {
		ticks++
	}
	hi, lo = bits.Mul64(units, g.per)
	lo, carry := bits.Add64(lo, ticks, 0)
	ns, frac := bits.Div64(hi+carry, lo, g.num)
	return bucket{at, g.add(span{ns: int64(at)}, span{int64(ns), frac})}
}
