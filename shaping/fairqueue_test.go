package shaping

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

func newQueue(length int) *fairQueue {
	q := new(fairQueue)
	q.init(length)
	return q
}

// come has a request of class c wait since now.
func (q *fairQueue) come(c Class, now mono.Time) *waiter {
	w := &waiter{band: c.Band, asked: c.Band, weight: c.weight(), id: c.Flow, arrived: now, since: now}
	q.push(w)
	return w
}

// order has everybody served, and returns the flows in that order.
func (q *fairQueue) order() (ids []uint64) {
	for w := q.next(); w != nil; w = q.next() {
		q.serve(w)
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
		w := q.next()
		q.serve(w)
		if served[w.id]++; w.id == back.Flow {
			q.come(back, 0)
		}
	}
	if n := served[back.Flow]; n < 99 || n > 101 {
		t.Errorf("%d of 400 served of who has a quarter", n)
	}
}

// Nor does one that was away for long have anything to catch up with.
func TestBeingAwayIsNoCredit(t *testing.T) {
	q := newQueue(100)
	a, b := Class{Normal, 0, 1}, Class{Normal, 0, 2}
	for range 60 {
		q.come(a, 0)
	}
	for range 50 {
		q.serve(q.next())
	}
	for range 3 {
		q.come(b, 0)
	}
	if got := fmt.Sprint(q.order()[:7]); got != "[2 1 2 1 2 1 1]" {
		t.Errorf("served %v", got)
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
			q.remove(q.lanes[placeOf(Normal, Normal)].flows[b.Flow].line.tail)
			q.come(b, 0)
		}
		w := q.next()
		q.serve(w)
		served[w.id]++
	}
	if served[1] != 100 || served[2] != 100 {
		t.Errorf("served %v", served)
	}
}

// The memory of debts is bounded, and no debt is lost when it is full: a flood of flows that are there once leaves one that waits
// all the time a share as if leastDebtors of them did.
func TestFloodOfFlows(t *testing.T) {
	q := newQueue(2)
	steady := Class{Normal, 0, 1 << 40}
	q.come(steady, 0)
	served := 0
	const rounds = 100 * (leastDebtors + 1)
	for i := range rounds {
		if q.length < 2 {
			q.come(Class{Normal, 0, uint64(i)}, 0)
		}
		w := q.next()
		q.serve(w)
		if w.id == steady.Flow {
			served++
			q.come(steady, 0)
		}
		if n := len(q.lanes[placeOf(Normal, Normal)].flows); n > 2+leastDebtors {
			t.Fatalf("%d flows remembered", n)
		}
	}
	if served < rounds/(leastDebtors+3) {
		t.Errorf("%d of %d served", served, rounds)
	}
}

// A place that is never empty has 31 of the 32 seats that it and those below are given, where anybody waits below.
func TestSeatsInARow(t *testing.T) {
	q := newQueue(100)
	var got [places]int
	q.come(Class{Band: Low}, -9)
	q.age(0, 5) // to Normal
	for b := range Band(Bands) {
		q.come(Class{Band: b}, 0)
	}
	const seats = 2 * 32 * 32 * 32
	for range seats {
		w := q.next()
		q.serve(w)
		got[w.place()]++
		q.push(w)
	}
	if want := [places]int{31 * 2048, 31 * 64, 0, 0, 31 * 2, 2}; got != want {
		t.Errorf("served %v, want %v", got, want)
	}
}

// While nobody waits below, nothing is counted, and who comes then waits no longer for it.
func TestSeatsInARowAlone(t *testing.T) {
	q := newQueue(1000)
	for range 200 {
		q.come(Class{Band: Critical}, 0)
	}
	for range 100 {
		q.serve(q.next())
	}
	low := q.come(Class{Band: Low}, 0)
	for n := 0; ; n++ {
		w := q.next()
		q.serve(w)
		if w == low {
			if n != inARow {
				t.Errorf("served after %d", n)
			}
			return
		}
	}
}

// Who waits in any band counts as of High after some ageings. Then it waits, for all that comes above it, as doc.go says.
func TestLowestBandIsServed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const aging = 100
		flows := rapid.IntRange(1, 10).Draw(t, "flows")
		band := Band(rapid.IntRange(1, 3).Draw(t, "band"))
		every := mono.Time(rapid.IntRange(1, 50).Draw(t, "every"))
		above := 1 + rapid.IntRange(0, int(min(band, Normal)-1)).Draw(t, "places above") // Critical, and of those that ask for High
		q := newQueue(100)
		for i := range flows * above {
			q.come(Class{Band(i % above), 0, uint64(i)}, 0)
		}
		mates := rapid.IntRange(0, 2).Draw(t, "mates") // come before it
		for i := range mates {
			q.come(Class{band, 0, 100 + uint64(i)}, 0)
		}
		low := q.come(Class{band, 0, 99}, 0)
		aged, bound := 0, 1+mates
		for range above {
			bound *= 32
		}
		for now := mono.Time(0); low.flow != nil; now += every {
			q.age(now, aging)
			if low.band == High {
				aged++
			}
			w := q.next()
			if q.serve(w); w.asked < Band(above) {
				q.come(Class{w.asked, 0, w.id}, now)
			}
			if aged > bound {
				t.Fatalf("band %d, %d flows above: still waits at %d", band, flows, now)
			}
		}
	})
}

func TestAgeing(t *testing.T) {
	q := newQueue(100)
	where := func(want ...int) {
		t.Helper()
		var got []int
		for p := range q.lanes {
			got = append(got, q.lanes[p].length)
		}
		if !slices.Equal(got, want) {
			t.Errorf("places %v, want %v", got, want)
		}
	}
	q.come(Class{Low, 0, 1}, 0)
	q.come(Class{Low, 0, 1}, 5)
	q.come(Class{Normal, 0, 1}, 5)
	q.age(1000, 0)
	where(0, 0, 0, 0, 1, 0, 2)
	q.age(9, 10)
	where(0, 0, 0, 0, 1, 0, 2)
	q.age(10, 10)
	where(0, 0, 0, 0, 1, 1, 1)
	q.age(15, 10)
	where(0, 0, 1, 0, 0, 2, 0)
	q.age(20, 10)
	where(0, 0, 1, 1, 0, 1, 0)
	q.come(Class{High, 0, 1}, 20)
	q.come(Class{Normal, 0, 1}, 20)
	q.come(Class{Critical, 0, 1}, 20)
	q.age(1000, 10)
	where(1, 1, 2, 2, 0, 0, 0)
	if n := q.length; n != 6 || q.flows() != 4 {
		t.Errorf("%d in %d flows", n, q.flows())
	}
	got := ""
	for w := q.next(); w != nil; w = q.next() {
		q.serve(w)
		got += fmt.Sprint(w.asked)
	}
	if got != "012233" {
		t.Errorf("served %v", got)
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
		if got := q.ahead(c, 100); got != want {
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
	f(31, two, over...)
	f(31, three, append(over, two)...) // three may come before two
	f(63, two, append(over, two)...)
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
				w := q.next()
				q.serve(w)
				q.push(w)
			}
		})
	}
}
