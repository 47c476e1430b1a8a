package balancer

import (
	"cmp"
	"math"
	"slices"
	"sort"
)

// lookup is a consistent-hashing structure over all members of a pool, well or not. Health is a filter on top, so when an
// endpoint falls ill only its keys move, and when it is back they are where they were. It is made anew only when
// membership or weights change.
type lookup struct {
	points []uint64 // ring: sorted places
	table  []uint32 // ring: the member at each point; maglev: the member of each slot
}

// ringPoints is how many places an endpoint of average weight has on the ring: shares are within about 1/√ringPoints of fair.
const ringPoints = 128

func newRing(members []*Endpoint) *lookup {
	total := int64(0)
	for _, e := range members {
		total += e.weight.Load()
	}
	type point struct {
		at uint64
		of uint32
	}
	var points []point
	for i, e := range members {
		n := int(math.Round(ringPoints * float64(e.weight.Load()) * float64(len(members)) / float64(total)))
		for k := range max(n, 1) {
			points = append(points, point{mix(e.hash ^ mix(uint64(k))), uint32(i)})
		}
	}
	slices.SortFunc(points, func(x, y point) int {
		return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(members[x.of].address, members[y.of].address))
	})
	l := &lookup{points: make([]uint64, len(points)), table: make([]uint32, len(points))}
	for i, pt := range points {
		l.points[i], l.table[i] = pt.at, pt.of
	}
	return l
}

// loadBoundNum / loadBoundDen is how far over its fair share an endpoint may be: consistent hashing with bounded loads (Mirrokni, Thorup and
// Zadimoghaddam, 2016) with c = 1.25.
const loadBoundNum, loadBoundDen = 5, 4

// ring walks clockwise from the hint's place to the first endpoint that can be taken and has, with this lease, no more than
// ⌈1.25 × its share⌉ of what is in flight in its tier.
func (a *ask) ring(t *tier) *Endpoint {
	busy := int64(1)
	for _, e := range t.ends {
		busy += e.busy()
	}
	sum := t.sums[len(t.sums)-1]
	l := a.v.lookup
	key := mix(a.hint)
	start := sort.Search(len(l.points), func(i int) bool { return l.points[i] >= key })
	for k := range min(len(l.points), 8*len(a.v.all)+64) {
		i := start + k
		if i >= len(l.points) {
			i -= len(l.points)
		}
		m := l.table[i]
		if a.v.rank[m] != t.rank {
			continue
		}
		e := a.v.all[m]
		if loadBoundDen*sum*e.busy() < loadBoundNum*busy*e.weight.Load() && a.only(e) != nil {
			return e
		}
	}
	return a.rendezvous(t)
}

// rendezvous takes the endpoint that hashes highest with the hint among all that can be taken (Thaler and Ravishankar): as
// consistent as a ring, but O(n), for the rare case that the first places are all taken.
func (a *ask) rendezvous(t *tier) *Endpoint {
	var best *Endpoint
	highest := uint64(0)
	for _, e := range t.ends {
		if h := mix(a.hint ^ e.hash); (best == nil || h > highest) && a.only(e) != nil {
			best, highest = e, h
		}
	}
	return best
}
