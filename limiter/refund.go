package limiter

import (
	"math"

	"weir/internal/mono"
)

// What is owed is a line of spendings, each with a place that ends at its mark; time wears the line down from its front. One that
// leaves it moves up all that are behind it. given counts the units by which this happened, so that a mark tells where its place ends
// now: at mark − (given − given then)·I, or after that, for some may have left from behind it. Nor did it ever begin before the units
// were spent. doc.go, Refunds, derives give.

// give takes n units off what b owes, or as many of them as have not refilled and nobody behind relies on.
func (g *gcra) give(_ *rings, b *bucket, n int64, of *mark, now mono.Time) (void bool) {
	at := max(now, b.last)
	if g.idle(b, at) {
		return false
	}
	b.last = at
	tat, end, shift, back := g.tat(b), span{of.at, of.frac}, span{}, g.cost(min(n, g.most))
	if given := b.y >> g.bits; given > of.given {
		shift = g.cost(int64(min(given-of.given, uint64(g.most))))
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

// count adds s, in units, rounded up, to what was given back.
func (g *gcra) count(b *bucket, s span) (void bool) {
	units, over := g.divide(s)
	if over > 0 {
		units++
	}
	given := b.y >> g.bits
	if units > math.MaxUint64>>g.bits-given {
		b.y = g.tat(b).frac
		return true
	}
	b.y += units << g.bits
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
