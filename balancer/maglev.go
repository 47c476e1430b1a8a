package balancer

import (
	"cmp"
	"slices"
)

// maglevSize is the number of slots, a prime: at 100 endpoints of one weight, shares differ by about 1 %.
const maglevSize = 65537

// newMaglev fills the table of Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (2016), §3.4:
// the members take turns, each taking the next free slot of its own permutation. One of weight w takes w of `highest` turns.
func newMaglev(members []*Endpoint) *lookup {
	l := &lookup{table: make([]uint32, maglevSize)}
	if len(members) == 0 {
		return l
	}
	const free = ^uint32(0)
	for i := range l.table {
		l.table[i] = free
	}
	type walker struct{ at, step, weight, credit uint64 }
	walkers := make([]walker, len(members))
	highest := uint64(0)
	for i, e := range members {
		w := uint64(e.weight.Load())
		highest = max(highest, w)
		walkers[i] = walker{at: e.hash % maglevSize, step: mix(e.hash)%(maglevSize-1) + 1, weight: w}
	}
	order := make([]uint32, len(members)) // of turns: by address, so that the order of the configuration is without effect
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(x, y uint32) int { return cmp.Compare(members[x].address, members[y].address) })
	for filled := 0; ; {
		for _, i := range order {
			w := &walkers[i]
			if w.credit += w.weight; w.credit < highest {
				continue
			}
			w.credit -= highest
			for l.table[w.at] != free {
				w.at = (w.at + w.step) % maglevSize
			}
			l.table[w.at] = i
			if filled++; filled == maglevSize {
				return l
			}
		}
	}
}

// maglevProbes is how many further slots are looked at when the owner of the hint's slot can't be taken. Neighbours in the
// table are unrelated, so the keys of one that is ill spread over all.
const maglevProbes = 16

// maglev takes the owner of the hint's slot, or of the next one whose owner can be taken. O(1).
func (a *ask) maglev(t *tier) *Endpoint {
	l := a.v.lookup
	slot := scale(mix(a.hint), maglevSize)
	for k := range uint64(maglevProbes) {
		m := l.table[(slot+k)%maglevSize]
		if a.v.rank[m] != t.rank {
			continue
		}
		if e := a.only(a.v.all[m]); e != nil {
			return e
		}
	}
	return a.rendezvous(t)
}
