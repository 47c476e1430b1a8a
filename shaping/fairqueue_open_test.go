package shaping

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// again serves who is next, has the same request come again, and returns it.
func (q *fairQueue) again(now mono.Time, aging time.Duration) *waiter {
	w := q.take(now, aging)
	q.push(w)
	return w
}

// While all bands wait all the time one seat in 16 is open; of seven of these High has four, Normal two and Low one.
func TestOpenSeats(t *testing.T) {
	f := func(want [Bands]int, waiting ...Band) {
		t.Helper()
		q := newQueue(100)
		var got [Bands]int
		for _, b := range waiting {
			q.come(Class{Band: b}, 0)
		}
		for range openEvery * 7 * 15 {
			got[q.again(10, 10).band]++
		}
		if got != want {
			t.Errorf("%v wait: served %v, want %v", waiting, got, want)
		}
	}
	f([Bands]int{15 * 105, 60, 30, 15}, Critical, High, Normal, Low)
	f([Bands]int{Critical: 15 * 105, Low: 105}, Critical, Low)
	f([Bands]int{Critical: 15 * 105, High: 84, Low: 21}, Critical, High, Low)
	f([Bands]int{Normal: 15*105 + 70, Low: 35}, Normal, Low)
	f([Bands]int{Critical: 16 * 105}, Critical)
}

// With no ageing, or before anybody below Critical has aged, no seat is open.
func TestNoOpenSeats(t *testing.T) {
	f := func(now mono.Time, aging time.Duration) {
		t.Helper()
		q := newQueue(100)
		q.come(Class{Band: High}, 5)
		q.come(Class{Band: Critical}, 5)
		for range 100 {
			if w := q.again(now, aging); w.band != Critical {
				t.Fatalf("served band %d after %d, ageing is %d", w.band, now-5, aging)
			}
		}
	}
	f(1e9, 0)
	f(14, 10)
}

// An open seat waits until somebody has aged, and no more than one does. While only one band waits nothing is counted.
func TestOpenSeatIsKept(t *testing.T) {
	q := newQueue(1000)
	for range 200 {
		q.come(Class{Band: Critical}, 0)
	}
	f := func(now mono.Time, want int) {
		t.Helper()
		low := q.come(Class{Band: Low}, 100)
		for n := 0; ; n++ {
			if w := q.take(now, 10); w == low {
				if n != want {
					t.Errorf("served after %d, want %d", n, want)
				}
				return
			} else if w == nil || n == 40 { // it is too young: time passes
				now = 110
			}
		}
	}
	for range 20 {
		q.take(99, 10)
	}
	f(110, 15)
	f(109, 41)
	f(110, 15)
}

// To wait and to be served allocates nothing in a flow that is known, in an open seat or not.
func TestServiceDoesNotAllocate(t *testing.T) {
	if estimateRace {
		t.Skip("the race detector allocates")
	}
	q := newQueue(100)
	for i := range 40 {
		q.come(Class{Band(i % Bands), 0, uint64(i % 10)}, 0)
	}
	if n := testing.AllocsPerRun(1000, func() { q.again(10, 10) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A band that had no open seat for long has nothing to catch up with.
func TestNoOpenSeatIsOwed(t *testing.T) {
	q := newQueue(100)
	q.come(Class{Band: Critical}, 0)
	q.come(Class{Band: High}, 0)
	for range openEvery * 40 {
		q.again(10, 10)
	}
	q.come(Class{Band: Low}, 0)
	low := 0
	for range openEvery * 10 {
		if q.again(10, 10).band == Low {
			low++
		}
	}
	if low != 2 {
		t.Errorf("%d of 10 open seats, want 2", low)
	}
}

// Who has waited for Aging has its seat as soon as doc.go says, whatever comes in other bands and flows.
func TestAgedAreServed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const aging = 100
		band := Band(rapid.IntRange(1, 3).Draw(t, "band"))
		weights := rapid.SliceOfN(rapid.IntRange(1, 4), 1, 4).Draw(t, "weights") // of the flows in its band, of which its own is the last
		before := rapid.IntRange(0, 3).Draw(t, "before")                         // in its flow
		early := rapid.SliceOfN(rapid.IntRange(0, 3), 0, 200).Draw(t, "early")   // bands that wait while they are served: what came before
		every := rapid.SampledFrom([]mono.Time{0, 7, 100}).Draw(t, "every")
		others := rapid.SliceOfN(rapid.IntRange(0, 3), 20, 40).Draw(t, "others") // bands that come all the time
		q, now := newQueue(100), mono.Time(0)
		for _, b := range early {
			q.come(Class{Band(b), 0, 1000}, now)
			if q.length > 10 {
				q.take(now, aging)
			}
			now += 20
		}
		for q.lanes[band].length > 0 { // it is next of its band but for what comes now
			q.remove(q.lanes[band].line.head)
		}
		mine := len(weights) - 1
		class := func(f int) Class { return Class{band, uint16(weights[f]), uint64(f)} }
		for f := range weights {
			q.come(class(f), now)
		}
		w := q.lanes[band].line.tail
		for range before {
			w = q.come(class(mine), now)
		}
		turns := before + 1
		for f := range mine {
			turns += 1 + credit + turnsOf(before+1, weights[f], weights[mine])
		}
		bound := turns
		for b := High; b < Bands; b++ {
			if b != band {
				bound += 1 + turns*openCost[band]/openCost[b]
			}
		}
		now += aging
		for n := 1; ; n++ {
			got := q.take(now, aging)
			if got == w {
				return
			}
			if n >= openEvery*bound {
				t.Fatalf("still waits after %d seats", n)
			}
			if got.band == band && got.id < uint64(mine) {
				q.come(class(int(got.id)), now)
			}
			for _, b := range []Band{Critical, Band(others[n%len(others)])} { // more than there are seats
				if b != band {
					q.come(Class{b, 0, 2000}, now)
				}
			}
			now += every
		}
	})
}

// turnsOf is how many requests of a flow of weight w come while n come of one of weight own, rounded up.
func turnsOf(n, w, own int) int { return (n*w + own - 1) / own }

// In every band the order is that of a queue with this band alone, whatever else waits and however long: ageing changes the shares of bands
// and nothing within them.
func TestBandsDoNotMeddle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue(100)
		var alone [Bands]*fairQueue
		for b := range alone {
			alone[b] = newQueue(100)
		}
		twins := map[*waiter]*waiter{}
		now, aging := mono.Time(0), time.Duration(rapid.IntRange(0, 60).Draw(t, "aging"))
		for _, op := range rapid.SliceOfN(rapid.Uint16(), 300, 300).Draw(t, "ops") {
			now += mono.Time(op & 3)
			c := Class{Band(op >> 2 & 3), 1 + op>>4&3, uint64(op >> 4 & 7)}
			switch kind := op >> 7 & 7; {
			case kind < 4:
				twins[q.come(c, now)] = alone[c.Band].come(c, now)
			case kind < 7:
				w := q.take(now, aging)
				if w == nil {
					continue
				}
				if twin := alone[w.band].take(0, 0); twin != twins[w] {
					t.Fatalf("band %d: flow %d is served, alone it would be flow %d", w.band, w.id, twin.id)
				}
			default:
				if w := q.lanes[c.Band].line.tail; w != nil {
					q.remove(w)
					alone[c.Band].remove(twins[w])
				}
			}
		}
	})
}
