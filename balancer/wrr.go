package balancer

import (
	"math/rand/v2"
	"sync/atomic"
)

// turns is the counter behind round robin, apart from what leases only read.
type turns struct {
	_ [64]byte
	n atomic.Uint64
	_ [56]byte
}

func (t *turns) next() uint64 { return t.n.Add(1) - 1 }

// roundRobin takes each in turn. One that can't be taken costs a turn, so its share goes to all and not to its neighbour.
func (a *ask) roundRobin(t *tier) *Endpoint {
	n := uint64(len(t.ends))
	for range n {
		if e := a.only(t.ends[a.seq.next()%n]); e != nil && a.ramped(e) {
			return e
		}
	}
	return a.sweep(t)
}

// weighted is smooth weighted round robin without a lock: the static stride scheduler of gRPC's weighted_round_robin. The
// counter walks the endpoints generation after generation; one of weight w is taken in those generations g where
// ⌊(w·g + offset) / highest⌋ steps up. Of `highest` generations in a row, that is w: exact per cycle; of any k, it is within
// one of k·w/highest: smooth. Expected steps per lease: n·highest/Σw.
func (a *ask) weighted(t *tier) *Endpoint {
	n, highest := uint64(len(t.ends)), uint64(t.highest)
	for skipped := 0; skipped < 4; {
		turn := a.seq.next()
		i, g := turn%n, turn/n
		e := t.ends[i]
		w := uint64(t.weight(int(i)))
		offset := highest / 2 * i
		if (w*g+offset)%highest < highest-w {
			continue
		}
		if a.only(e) != nil && a.ramped(e) {
			return e
		}
		skipped++
	}
	return a.sweep(t)
}

func (t *tier) weight(i int) int64 {
	if i == 0 {
		return t.sums[0]
	}
	return t.sums[i] - t.sums[i-1]
}

// random takes one by weight. O(log n).
func (a *ask) random(t *tier) *Endpoint {
	for range 3 {
		r := int64(scale(rand.Uint64(), uint64(t.sums[len(t.sums)-1])))
		lo, hi := 0, len(t.sums)-1
		for lo < hi {
			if mid := (lo + hi) / 2; t.sums[mid] > r {
				hi = mid
			} else {
				lo = mid + 1
			}
		}
		if e := a.only(t.ends[lo]); e != nil && a.ramped(e) {
			return e
		}
	}
	return a.sweep(t)
}
