package limiter

import (
	"math"
	"math/bits"

	"weir/internal/mono"
)

// What is owed is a line of spendings, each with a place that ends at its mark; time wears the line down from its front. One that
// leaves it moves up all that are behind it. given counts the units by which this happened, in steps, so that a mark tells where its
// place ends now: at mark − (given − given then)·I, or after that, for some may have left from behind it. Nor did it ever begin before
// the units were spent. doc.go, Refunds, derives give.

// step is the size of a step of given: 1<<step units. It is one unit, but more where the fraction leaves few bits, so that four bursts
// can be given back before the count runs over. A part of a step counts as one: then places seem to have moved up further than they
// did, and who is in flight gets less back, never more.
func (g *gcra) step() int {
	return min(max(0, bits.Len64(uint64(g.rate.Burst))+2-(64-g.bits)), 62) // units + 1<<step stays in 64 bits
}

// moved is the time by which steps may have moved up a place.
func (g *gcra) moved(steps uint64) span {
	step := g.step()
	if steps > uint64(g.most)>>step {
		return g.cost(g.most)
	}
	return g.cost(int64(steps << step))
}

// give takes n units off what b owes, or as many of them as have not refilled and nobody behind relies on.
func (g *gcra) give(_ *rings, b *bucket, n int64, of *mark, now mono.Time) (void bool) {
	at := max(now, b.last)
	if g.idle(b, at) {
		return false
	}
	b.last = at
	tat, end, shift, back := g.tat(b), span{of.at, of.frac}, span{}, g.cost(min(n, g.most))
	if given := b.y >> g.bits; given > of.given {
		shift = g.moved(given - of.given)
		end = g.sub(end, shift)
		if first := g.add(span{ns: int64(of.from)}, g.cost(min(n, max(0, of.left), g.most))); first.after(end) {
			end = first
		}
	}
	if !end.after(span{ns: int64(at)}) || end.after(tat) {
		return false
	}
	back = least(back, g.sub(end, span{ns: int64(at)}))
	of.left -= n
	waiting := g.wait > 0 && !g.smooth && g.add(tat, shift).after(g.add(span{ns: int64(at)}, g.full))
	if end == tat { // nobody is behind
		tat = g.sub(tat, back)
		g.setTAT(b, tat)
		if waiting && of.left != 0 { // what stays of it refills the sooner after it goes on
			void = g.count(b, back)
		}
		of.at, of.frac, of.given = tat.ns, tat.frac, b.y>>g.bits
		return void
	}
	switch {
	case g.smooth:
		return false
	case waiting:
		back = least(back, g.slack(tat, end, shift))
	}
	if back == (span{}) {
		return false
	}
	g.setTAT(b, g.sub(tat, back))
	return g.count(b, back)
}

// slack is how far those behind a place that ends at end may move up if some may wait: so far that each still refills after it has gone
// on. shift is how far they have moved at most.
func (g *gcra) slack(tat, end, shift span) span {
	used := g.add(g.sub(tat, end), shift)
	if used.after(g.full) {
		return span{}
	}
	return g.sub(g.full, used)
}

// count adds s, in steps, rounded up, to what was given back.
func (g *gcra) count(b *bucket, s span) (void bool) {
	units, over := g.divide(s)
	if over > 0 {
		units++
	}
	step := g.step()
	steps := (units + 1<<step - 1) >> step
	given := b.y >> g.bits
	if steps > math.MaxUint64>>g.bits-given {
		b.y = g.tat(b).frac
		return true
	}
	b.y += steps << g.bits
	return false
}

// inherit has b count at least what gone did: whoever has a mark of gone finds its place worn down.
func (g *gcra) inherit(b, gone *bucket) {
	b.y = max(b.y>>g.bits, gone.y>>g.bits)<<g.bits | g.tat(b).frac
}

func least(a, b span) span {
	if a.after(b) {
		return b
	}
	return a
}
