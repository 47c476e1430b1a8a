package shaping

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"weir/internal/mono"
)

func newQueue(length int) *fairQueue {
	q := new(fairQueue)
	q.init(length)
	return q
}

// come has a request of class c wait since now.
func (q *fairQueue) come(c Class, now mono.Time) *waiter {
	w := &waiter{band: c.Band, weight: c.weight(), id: c.Flow, arrived: now}
	q.push(w)
	return w
}

// take serves who is next and returns it, or nil.
func (q *fairQueue) take(now mono.Time, aging time.Duration) *waiter {
	w, open := q.next(now, aging)
	if w != nil {
		q.serve(w, open)
	}
	return w
}

// order has everybody served with no seat open, and returns the flows in that order.
func (q *fairQueue) order() (ids []uint64) {
	for w := q.take(0, 0); w != nil; w = q.take(0, 0) {
		ids = append(ids, w.id)
	}
	return ids
}

func TestOrderOfService(t *testing.T) {
	f := func(want string, come ...Class) {
		t.Helper()
		q := newQueue(100)
		for _, c := range come {
			q.come(c, 0)
		}
		if got := fmt.Sprint(q.order()); got != want {
			t.Errorf("served %v, want %v", got, want)
		}
	}
	a, b, c := Class{Normal, 0, 1}, Class{Normal, 1, 2}, Class{Normal, 2, 3}
	f("[1]", a)
	f("[1 1 1]", a, a, a)
	f("[1 2 1 1]", a, a, a, b)
	f("[1 3 3 1 3 3 1]", a, a, a, c, c, c, c)
	f("[1 2 3 3 1 2 3]", a, a, b, b, c, c, c)
	f("[9 8 1 2 7]", Class{Low, 0, 7}, a, b, Class{High, 0, 8}, Class{Critical, 0, 9})
}

// A flow that comes back as soon as it has been served gets no more than one that waits all the time.
func TestComingBackIsNoWayToTheFront(t *testing.T) {
	q := newQueue(100)
	steady, back := Class{Normal, 3, 1}, Class{Normal, 1, 2}
	for range 400 {
		q.come(steady, 0)
	}
	served := map[uint64]int{}
	q.come(back, 0)
	for range 400 {
		w := q.take(0, 0)
		if served[w.id]++; w.id == back.Flow {
			q.come(back, 0)
		}
	}
	if n := served[back.Flow]; n < 99 || n > 101 {
		t.Errorf("%d of 400 served of who has a quarter", n)
	}
}

// It gains nothing by leaving the queue unserved either, and loses nothing.
func TestRemovalIsFree(t *testing.T) {
	q := newQueue(100)
	a, b := Class{Normal, 0, 1}, Class{Normal, 0, 2}
	served := map[uint64]int{}
	for range 200 {
		q.come(a, 0)
		q.come(b, 0)
	}
	for range 200 {
		for range 3 {
			q.remove(q.lanes[Normal].flows[b.Flow].line.tail)
			q.come(b, 0)
		}
		served[q.take(0, 0).id]++
	}
	if served[1] != 100 || served[2] != 100 {
		t.Errorf("served %v", served)
	}
}

// The memory of debts is bounded, and no debt is lost when it is full: a flood of flows that are there once leaves one that waits
// all the time a share as if leastDebtors of them did, when these have used up their credit.
func TestFloodOfFlows(t *testing.T) {
	q := newQueue(2)
	steady := Class{Normal, 0, 1 << 40}
	q.come(steady, 0)
	for range 2 * credit {
		q.again(0, 0)
	}
	served := 0
	const rounds = 100 * (leastDebtors + 1)
	for i := range rounds {
		if q.length < 2 {
			q.come(Class{Normal, 0, uint64(i)}, 0)
		}
		if w := q.take(0, 0); w.id == steady.Flow {
			served++
			q.come(steady, 0)
		}
		if n := len(q.lanes[Normal].flows); n > 2+leastDebtors {
			t.Fatalf("%d flows remembered", n)
		}
	}
	if served < (rounds-credit*(leastDebtors+1))/(leastDebtors+3) {
		t.Errorf("%d of %d served", served, rounds)
	}
}

func TestVictim(t *testing.T) {
	f := func(c Class, want string, waiting ...Class) {
		t.Helper()
		q := newQueue(100)
		for i, w := range waiting {
			q.come(w, mono.Time(i))
		}
		got := "nobody"
		if w := q.victim(c); w != nil {
			got = fmt.Sprint(int(w.arrived))
		}
		if got != want {
			t.Errorf("%s gives way, want %s", got, want)
		}
	}
	one, two := Class{Normal, 1, 1}, Class{Normal, 1, 2}
	low, high := Class{Low, 1, 3}, Class{High, 1, 4}
	f(one, "nobody")
	f(one, "1", low, low, one)
	f(high, "2", low, one, low)
	f(high, "1", one, one)
	f(low, "nobody", one, one, high)
	f(one, "nobody", high, one, one)
	f(two, "2", one, high, one)                // two against one
	f(two, "nobody", one, two, one)            // two against two
	f(two, "3", one, two, one, one)            // three against two
	f(Class{Normal, 3, 2}, "2", one, two, one) // two against 2/3
	f(two, "nobody", Class{Normal, 4, 1}, Class{Normal, 4, 1}, Class{Normal, 4, 1})
	f(high, "2", low, Class{Low, 1, 9}, low, Class{Low, 1, 8})
	critical := Class{Critical, 1, 5}
	f(critical, "0", high, critical)
	f(critical, "1", critical, low, one, high)
	f(critical, "nobody", critical)
}

func TestAhead(t *testing.T) {
	f := func(want int, c Class, waiting ...Class) {
		t.Helper()
		q := newQueue(100)
		for _, w := range waiting {
			q.come(w, 0)
		}
		if got := q.ahead(c, 1, 100); got != want {
			t.Errorf("%d ahead, want %d", got, want)
		}
	}
	two, three, other := Class{Normal, 2, 2}, Class{Normal, 3, 3}, Class{High, 1, 4}
	f(0, two)
	f(0, two, three, three, three)           // all start after it, or with it
	f(3, two, two, three, three, three)      // it starts at 1/2: at 0 and 1/3 of the other
	f(2, two, two, three)                    //
	f(5, two, two, two, three, three, three) // at 1: all
	f(2, two, other, other, three)
	f(0, other, two, two, three)
	over := slices.Repeat([]Class{other}, 100)
	f(15, two, over...)
	f(15, three, append(over, two)...) // three may come before two
	f(31, two, append(over, two)...)
	q := newQueue(100)
	for range 100 {
		q.come(other, 0)
	}
	q.come(three, 0)
	for range 10 {
		q.take(0, 1)
	}
	if n := q.ahead(two, 1, 100); n != 5 {
		t.Errorf("%d ahead after ten seats, want 5", n)
	}
	if n := q.ahead(two, 0, 100); n != 90 {
		t.Errorf("%d ahead if no seat is open, want 90", n)
	}
}

// A queue that has been full and is empty again keeps nothing but the debts it may remember.
func TestNothingIsKept(t *testing.T) {
	q := newQueue(10)
	for i := range 5000 {
		q.come(Class{Band(i % Bands), uint16(i % 7), uint64(i)}, 0)
	}
	q.order()
	for b := range q.lanes {
		l := &q.lanes[b]
		if n := len(l.flows); n != l.debt.len() || n > leastDebtors || l.order.len()+l.longest.len() > 0 || l.line.head != nil {
			t.Errorf("band %d: %d flows kept, %d of them in debt", b, n, l.debt.len())
		}
	}
}

func BenchmarkFairQueue(b *testing.B) {
	for _, flows := range []uint64{1, 10, 1000} {
		b.Run(fmt.Sprint(flows), func(b *testing.B) {
			q := newQueue(1024)
			ws := make([]*waiter, 1024)
			for i := range ws {
				ws[i] = q.come(Class{Normal, 1, uint64(i) % flows}, 0)
			}
			b.ReportAllocs()
			for b.Loop() {
				w := q.take(5, time.Second)
				q.push(w)
			}
		})
	}
}
