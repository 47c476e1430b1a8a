package shaping

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// clump has as many requests of class c come and counts those served before any other.
func (q *fairQueue) clump(c Class) (n int) {
	for range 3 * credit {
		q.come(c, 0)
	}
	for q.take(0, 0).id == c.Flow {
		n++
	}
	return n
}

// leave has all of a flow's requests leave unserved.
func (q *fairQueue) leave(c Class) {
	for f := q.lanes[c.Band].flows[c.Flow]; f != nil && f.length > 0; {
		q.remove(f.line.tail)
	}
}

// Beside a flow that waits all the time one that was away has its credit served at once, and the request it may have without; what it has used comes
// back as that flow is served, one for one if they weigh alike.
func TestCredit(t *testing.T) {
	f := func(weight uint16, first int, steps ...int) { // seats for who waits all the time before, then in turn a clump and seats
		t.Helper()
		q := newQueue(100)
		steady, guest := Class{Normal, 1, 1}, Class{Normal, weight, 2}
		for range 500 {
			q.come(steady, 0)
		}
		for range first {
			q.take(0, 0)
		}
		for i, n := range steps {
			if i%2 == 1 {
				for range n {
					q.take(0, 0)
				}
				continue
			}
			if got := q.clump(guest); got != n {
				t.Errorf("weight %d, %d seats before, %v: %d in clump %d", weight, first, steps, got, i)
			}
			q.leave(guest)
		}
	}
	f(1, 0, 0)
	f(1, 5, 5)
	f(2, 5, 10)
	f(1, credit+1, credit+1)
	f(1, 300, credit+1)
	f(1, 300, credit+1, 0, 1, 4, 5, credit, credit+1, 100, credit+1)
	f(2, 300, credit+2, 0, 2, 4, 10, credit/2, credit+2)
	f(4, 300, credit+4, 0, 4, 1, 8)
}

// Nobody has credit who waits all the time, however late others began.
func TestWhoWaitsHasNoCredit(t *testing.T) {
	q := newQueue(100)
	for range 300 {
		q.come(Class{Normal, 1, 1}, 0)
	}
	for range 200 {
		q.take(0, 0)
	}
	late := Class{Normal, 1, 2}
	q.clump(late)
	ids := q.order()
	if n := len(slices.Compact(slices.Clone(ids[:2*credit]))); n != 2*credit {
		t.Errorf("they do not take turns: %v", ids)
	}
}

// A flow that comes and goes as it likes gets no more for its weight than one that waits all the time, over every interval, but for one request of
// each and its credit, however few flows are remembered. Others come with names of their own.
func TestComingAndGoingIsNoGain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue(100)
		q.debtors = rapid.SampledFrom([]int{0, 1, 3, 64}).Draw(t, "debtors")
		weight := rapid.Uint16Range(1, 3).Draw(t, "weight")
		steady := []Class{{Normal, 1, 1}, {Normal, rapid.Uint16Range(1, 3).Draw(t, "steady"), 2}}
		for _, c := range steady {
			q.come(c, 0)
		}
		cheat := Class{Normal, weight, 3}
		served := map[uint64]float64{}
		least := make([]float64, len(steady)) // of what the cheat has more
		seat := func() {
			w, open := q.next(0, 0)
			if w.id <= 2 {
				q.come(steady[w.id-1], 0) // it must not be empty for a moment
			}
			q.serve(w, open)
			served[w.id] += 1 / float64(w.weight)
			for i, c := range steady {
				bound := 1/float64(c.weight()) + (1+credit)/float64(weight)
				more := served[cheat.Flow] - served[c.Flow]
				if least[i] = min(least[i], more); more-least[i] > bound+1e-6 {
					t.Fatalf("%f more than flow %d, the bound is %f", more-least[i], c.Flow, bound)
				}
			}
		}
		for _, op := range rapid.SliceOfN(rapid.Uint16(), 60, 60).Draw(t, "ops") {
			n := int(op>>2) % (2 * credit)
			switch op & 3 {
			case 0:
				for range n {
					q.come(cheat, 0)
				}
			case 1:
				q.leave(cheat)
			case 2:
				q.come(Class{Normal, 1, 100 + uint64(op>>2)}, 0)
			}
			for range n {
				seat()
			}
		}
	})
}

// Those who are forgotten, for there are too many, get nothing back: who is not known starts no earlier than any of them would.
func TestForgottenDebt(t *testing.T) {
	f := func(debtors, want int) {
		t.Helper()
		q := newQueue(100)
		q.debtors = debtors
		for range 300 {
			q.come(Class{Normal, 1, 1}, 0)
		}
		for range 100 {
			q.take(0, 0)
		}
		cheat := Class{Normal, 1, 2}
		q.clump(cheat)
		q.leave(cheat)
		for id := range uint64(5) { // each with a debt that is less
			q.come(Class{Normal, 1, 10 + id}, 0)
			q.take(0, 0)
		}
		if n := q.clump(cheat); n != want {
			t.Errorf("%d remembered: %d more at once, want %d", debtors, n, want)
		}
	}
	f(64, 1)
	f(1, 1)
	f(0, 0)
}

// A gate that becomes smaller forgets.
func TestResizeForgets(t *testing.T) {
	q := newQueue(2000)
	for id := range uint64(400) {
		for range 1 + id%7 {
			q.come(Class{Normal, 1, id}, 0)
		}
	}
	q.order()
	if n := len(q.lanes[Normal].flows); n < 5*leastDebtors {
		t.Fatalf("only %d remembered", n)
	}
	q.resize(0)
	q.come(Class{Normal, 1, 1000}, 0)
	q.order()
	if n := len(q.lanes[Normal].flows); n > leastDebtors {
		t.Errorf("%d remembered", n)
	}
}

// All goes on as it does when virtual time wraps, and the floor goes with it however long nobody is forgotten.
func TestVirtualTimeWraps(t *testing.T) {
	f := func(v virtual) {
		t.Helper()
		q := newQueue(100)
		l := &q.lanes[Normal]
		l.v, l.floor = v, v-credit*unit
		for range 500 {
			q.come(Class{Normal, 1, 1}, 0)
		}
		for i := range 100 {
			q.take(0, 0)
			if d := int64(l.v - l.floor); d < 0 || d > credit<<32 {
				t.Fatalf("v %d, after %d seats %d and the floor %d", v, i, l.v, l.floor)
			}
		}
		if n := q.clump(Class{Normal, 1, 2}); n != credit+1 {
			t.Errorf("v %d: a clump of %d", v, n)
		}
	}
	for _, v := range []int{0, 1 << 32, credit << 32, math.MinInt, -1 << 32, math.MaxInt - 20<<32, -50 << 32} {
		f(virtual(v))
	}
}

// Who has come back is counted from where its credit lets it begin, and no earlier.
func TestAheadOfWhoComesBack(t *testing.T) {
	q := newQueue(100)
	heavy, steady := Class{Normal, 2, 1}, Class{Normal, 1, 2}
	q.come(heavy, 0)
	q.take(0, 0)
	for range 50 {
		q.come(steady, 0)
	}
	const v = credit/2 + 3
	for range v + 1 {
		q.take(0, 0)
	}
	for range 10 {
		q.come(Class{Normal, 1, 3}, 0) // starts at 0, 1, 2 …
	}
	if n := q.ahead(heavy, 0, 100); n != 3 {
		t.Errorf("%d ahead of who starts at 3", n)
	}
}
