package shaping

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// plainQueue is fairQueue as it is defined, without heaps, lists or forgetting.
type plainQueue struct {
	waiting []*waiter
	starts  [places]map[uint64]virtual
	v       [places]virtual
	turns   map[[2]uint64]int
	turn    int
	seats   []plainSeat
	inARow  int
}

// plainSeat is one that was given, at a place and while others waited below or not.
type plainSeat struct {
	place int
	below bool
}

// plainPlaces is the order of service, by the band that one counts in and that it asked for.
var plainPlaces = [][2]Band{{Critical, Critical}, {High, High}, {High, Normal}, {High, Low}, {Normal, Normal}, {Normal, Low}, {Low, Low}}

func plainPlace(w *waiter) int { return slices.Index(plainPlaces, [2]Band{w.band, w.asked}) }

// at returns who waits in a place, of a flow if it is not anyFlow.
func (p *plainQueue) at(place int, id uint64) (ws []*waiter) {
	for _, w := range p.waiting {
		if plainPlace(w) == place && (w.id == id || id == anyFlow) {
			ws = append(ws, w)
		}
	}
	return ws
}

const anyFlow = math.MaxUint64

func (p *plainQueue) belowWait(place int) bool {
	return slices.ContainsFunc(p.waiting, func(w *waiter) bool { return plainPlace(w) > place })
}

// mayPass reports whether it is the turn of those below: of the seats since one was given below, so many were given here while others waited below.
func (p *plainQueue) mayPass(place int) bool {
	run := 0
	for _, s := range p.seats {
		if s.place > place {
			run = 0
		} else if s.place == place && s.below {
			run++
		}
	}
	return run >= p.inARow && p.belowWait(place)
}

func (p *plainQueue) push(w *waiter) {
	place := plainPlace(w)
	if len(p.at(place, w.id)) == 0 {
		if s, ok := p.starts[place][w.id]; !ok || p.v[place].after(s) {
			p.starts[place][w.id] = p.v[place]
		}
		p.turn++
		p.turns[[2]uint64{uint64(place), w.id}] = p.turn
	}
	p.waiting = append(p.waiting, w)
}

func (p *plainQueue) next() *waiter {
	for place := range places {
		var best *waiter
		for _, w := range p.at(place, anyFlow) {
			if best == nil {
				best = w
				continue
			}
			a, b := p.starts[place][w.id], p.starts[place][best.id]
			ta, tb := p.turns[[2]uint64{uint64(place), w.id}], p.turns[[2]uint64{uint64(place), best.id}]
			if b.after(a) || a == b && ta < tb {
				best = w
			}
		}
		if best != nil && !p.mayPass(place) {
			return best
		}
	}
	return nil
}

func (p *plainQueue) remove(w *waiter) {
	p.waiting = slices.DeleteFunc(p.waiting, func(x *waiter) bool { return x == w })
}

func (p *plainQueue) serve(w *waiter) {
	place := plainPlace(w)
	p.seats = append(p.seats, plainSeat{place, p.belowWait(place)})
	p.v[place] = p.starts[place][w.id]
	p.starts[place][w.id] += unit / virtual(w.weight)
	p.turn++
	p.turns[[2]uint64{uint64(place), w.id}] = p.turn
	p.remove(w)
}

func (p *plainQueue) age(now mono.Time, aging time.Duration) {
	for _, place := range slices.Backward(plainPlaces) {
		for _, w := range slices.Clone(p.waiting) {
			if [2]Band{w.band, w.asked} == place && w.band > High && w.since.Add(aging) <= now {
				p.remove(w)
				w.band, w.since = w.band-1, w.since.Add(aging)
				p.push(w)
			}
		}
	}
}

// longest is the most that any flow has for its weight in the lowest place from c's on in which anybody waits, and that place.
func (p *plainQueue) longest(c Class) (most float64, place int) {
	own := slices.Index(plainPlaces, [2]Band{c.Band, c.Band})
	for place = places - 1; place >= own; place-- {
		for _, w := range p.at(place, anyFlow) {
			most = max(most, float64(len(p.at(place, w.id)))/float64(w.weight))
		}
		if most > 0 {
			return most, place
		}
	}
	return 0, own
}

func TestFairQueueIsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const aging = 40
		q := newQueue(100)
		q.inARow = rapid.SampledFrom([]int{1, 3, 31}).Draw(t, "in a row")
		p := &plainQueue{turns: map[[2]uint64]int{}, inARow: q.inARow}
		for b := range p.starts {
			p.starts[b] = map[uint64]virtual{}
		}
		copies := map[*waiter]*waiter{}
		for now := mono.Time(1); now < 150; now++ {
			switch op := rapid.IntRange(0, 9).Draw(t, "op"); {
			case op < 5:
				id := rapid.Uint64Range(0, 5).Draw(t, "flow")
				c := Class{Band(rapid.IntRange(0, 3).Draw(t, "band")), uint16(id + 1), id}
				q.age(now, aging)
				p.age(now, aging)
				w := q.come(c, now)
				twin := *w
				twin.links = [2]link{}
				copies[w] = &twin
				p.push(&twin)
			case op < 8:
				w, want := q.next(), p.next()
				if copies[w] != want {
					t.Fatalf("next is %+v, want %+v", w, want)
				}
				if w != nil {
					q.serve(w)
					p.serve(want)
				}
			case op < 9:
				if w := anyOf(t, p.waiting); w != nil {
					p.remove(w)
					for real, twin := range copies {
						if twin == w {
							q.remove(real)
						}
					}
				}
			default:
				c := Class{Band: Band(rapid.IntRange(0, 3).Draw(t, "band")), Weight: 1, Flow: 99}
				n, place := p.longest(c)
				w := q.victim(c)
				own := plainPlaces[place] == [2]Band{c.Band, c.Band}
				if (w == nil) != (own && n <= 1) || w != nil && w.place() != place {
					t.Fatalf("victim %+v, the longest has %v", w, n)
				}
				if w != nil && float64(w.flow.length)/float64(w.flow.weight) != n {
					t.Fatalf("victim of a flow of %d/%d, the longest has %v", w.flow.length, w.flow.weight, n)
				}
			}
			if q.length != len(p.waiting) {
				t.Fatalf("%d wait, want %d", q.length, len(p.waiting))
			}
		}
	})
}

func anyOf(t *rapid.T, ws []*waiter) *waiter {
	if len(ws) == 0 {
		return nil
	}
	return ws[rapid.IntRange(0, len(ws)-1).Draw(t, "which")]
}

// Ahead is the least number of requests before a newcomer's: right if nobody else is in its place or below, else too few by one
// of every other flow there at most, and what those cost.
func TestAheadIsWhatComesFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue(100)
		q.inARow = rapid.SampledFrom([]int{1, 2, 5, 31}).Draw(t, "in a row")
		class := func() Class {
			id := rapid.Uint64Range(0, 5).Draw(t, "flow")
			return Class{Band(rapid.IntRange(0, 2).Draw(t, "band")), uint16(1 + id%3), id}
		}
		for range rapid.IntRange(0, 40).Draw(t, "before") {
			q.come(class(), 0)
			if w := q.next(); rapid.Bool().Draw(t, "serve") {
				q.serve(w)
			}
		}
		c := class()
		want := q.ahead(c, math.MaxInt)
		if n := q.ahead(c, 2); n > want {
			t.Fatalf("%d ahead if few flows are looked at, %d if all are", n, want)
		}
		others := 0
		for id := range q.lanes[placeOf(c.Band, c.Band)].flows {
			if id != c.Flow {
				others++
			}
		}
		most := want + 1 + others
		most += most/q.inARow + 1 // to those below
		for range c.Band {
			most *= 1 + q.inARow
		}
		if c.Band == Normal && others == 0 { // nobody waits below
			most = want + 1
		}
		w, got := q.come(c, 0), 0
		for q.next() != w {
			q.serve(q.next())
			got++
		}
		if got < want || got >= most {
			t.Fatalf("%d came first, said %d, below %d", got, want, most)
		}
	})
}
