package shaping

import (
	"cmp"
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
	bands   [Bands]plainLane
	seats   []plainSeat
	turn    int
}

type plainLane struct {
	v      virtual
	floor  virtual // nobody starts earlier
	starts map[uint64]virtual
	turns  map[uint64]int
}

// plainSeat is one that was given.
type plainSeat struct {
	band          Band
	several, open bool // more than one band waited; it was open
}

// at returns who waits in a band, of a flow if it is not anyFlow.
func (p *plainQueue) at(b Band, id uint64) (ws []*waiter) {
	for _, w := range p.waiting {
		if w.band == b && (w.id == id || id == anyFlow) {
			ws = append(ws, w)
		}
	}
	return ws
}

const anyFlow = math.MaxUint64

func (p *plainQueue) push(w *waiter) {
	l := &p.bands[w.band]
	if len(p.at(w.band, w.id)) == 0 {
		start, ok := l.starts[w.id]
		if !ok {
			start = l.floor
		}
		if least := l.v - credit*(unit/virtual(w.weight)); least.after(start) {
			start = least
		}
		l.starts[w.id] = start
		p.turn++
		l.turns[w.id] = p.turn
	}
	p.waiting = append(p.waiting, w)
}

// openDue reports whether 15 seats since the last open one were given while more than one band waited.
func (p *plainQueue) openDue() bool {
	n := 0
	for _, s := range slices.Backward(p.seats) {
		if s.open {
			break
		}
		if s.several {
			n++
		}
	}
	return n >= 15
}

// openStart is where the next open seat of b begins: each moves what comes after it.
func (p *plainQueue) openStart(b Band) int {
	start, v := [Bands]int{}, 0
	for _, s := range p.seats {
		if s.open {
			v = max(v, start[s.band])
			start[s.band] = v + 1<<(s.band-High)
		}
	}
	return start[b]
}

func (p *plainQueue) several() bool {
	return slices.ContainsFunc(p.waiting, func(w *waiter) bool { return w.band != p.waiting[0].band })
}

func (p *plainQueue) next(now mono.Time, aging time.Duration) (w *waiter, open bool) {
	if len(p.waiting) == 0 {
		return nil, false
	}
	var aged []Band
	highest := Band(Bands)
	for _, w := range p.waiting {
		highest = min(highest, w.band)
		if w.band > Critical && aging > 0 && now.Sub(w.arrived) >= aging {
			aged = append(aged, w.band)
		}
	}
	if p.several() && p.openDue() && len(aged) > 0 {
		return p.first(slices.MinFunc(aged, func(a, b Band) int {
			return cmp.Or(p.openStart(a)-p.openStart(b), int(a)-int(b))
		})), true
	}
	return p.first(highest), false
}

// first is who is served first in a band.
func (p *plainQueue) first(b Band) *waiter {
	l := &p.bands[b]
	return slices.MinFunc(p.at(b, anyFlow), func(a, b *waiter) int {
		return cmp.Or(int(int64(l.starts[a.id]-l.starts[b.id])), l.turns[a.id]-l.turns[b.id])
	})
}

func (p *plainQueue) remove(w *waiter) {
	p.waiting = slices.DeleteFunc(p.waiting, func(x *waiter) bool { return x == w })
}

func (p *plainQueue) serve(w *waiter, open bool) {
	l := &p.bands[w.band]
	p.seats = append(p.seats, plainSeat{w.band, p.several(), open})
	if l.starts[w.id].after(l.v) {
		l.v = l.starts[w.id]
	}
	l.starts[w.id] += unit / virtual(w.weight)
	p.turn++
	l.turns[w.id] = p.turn
	p.remove(w)
}

// longest is the most that any flow has for its weight in the lowest band from b on in which anybody waits, and that band.
func (p *plainQueue) longest(b Band) (most float64, in Band) {
	for in = Bands - 1; ; in-- {
		for _, w := range p.at(in, anyFlow) {
			most = max(most, float64(len(p.at(in, w.id)))/float64(w.weight))
		}
		if most > 0 || in == b {
			return most, in
		}
	}
}

func TestFairQueueIsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		aging := time.Duration(rapid.SampledFrom([]int{0, 5, 40}).Draw(t, "ageing"))
		q, p := newQueue(100), &plainQueue{}
		v := virtual(rapid.SampledFrom([]int{0, -1, math.MaxInt, -3 << 32, 1 << 40}).Draw(t, "v")) // it is about to wrap, or not
		floor := v - unit*virtual(rapid.IntRange(0, credit).Draw(t, "credit"))
		for b := range p.bands {
			p.bands[b] = plainLane{v: v, floor: floor, starts: map[uint64]virtual{}, turns: map[uint64]int{}}
			q.lanes[b].v, q.lanes[b].floor = v, floor
		}
		copies := map[*waiter]*waiter{}
		for now := mono.Time(1); now < 400; now++ {
			switch op := rapid.IntRange(0, 9).Draw(t, "op"); {
			case op < 5:
				id := rapid.Uint64Range(0, 5).Draw(t, "flow")
				c := Class{Band(rapid.IntRange(0, 3).Draw(t, "band")), uint16(id + 1), id}
				w := q.come(c, now)
				twin := *w
				twin.links = [2]link{}
				copies[w] = &twin
				p.push(&twin)
			case op < 8:
				w, open := q.next(now, aging)
				want, wantOpen := p.next(now, aging)
				if copies[w] != want || open != wantOpen {
					t.Fatalf("next is %+v, open %v, want %+v, %v", w, open, want, wantOpen)
				}
				if w != nil {
					q.serve(w, open)
					p.serve(want, open)
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
				n, band := p.longest(c.Band)
				w := q.victim(c)
				if (w == nil) != (band == c.Band && n <= 1) || w != nil && w.band != band {
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

// Ahead is the least number of requests before a newcomer's, if those in its band have aged: too few by one of
// every other flow in it at most, by what comes from above before these, and by those of other bands that open seats help.
func TestAheadIsWhatComesFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue(100)
		if rapid.Bool().Draw(t, "credit") {
			for b := range q.lanes {
				q.lanes[b].floor -= credit * unit
			}
		}
		aging := time.Duration(rapid.IntRange(0, 1).Draw(t, "ageing"))
		class := func() Class {
			id := rapid.Uint64Range(0, 5).Draw(t, "flow")
			return Class{Band(rapid.IntRange(0, 2).Draw(t, "band")), uint16(1 + id%3), id}
		}
		for range rapid.IntRange(0, 80).Draw(t, "before") {
			q.come(class(), 0)
			if rapid.IntRange(0, 3).Draw(t, "serve") == 0 {
				q.take(1, aging)
			}
		}
		c := class()
		want := q.ahead(c, aging, math.MaxInt)
		if n := q.ahead(c, aging, 2); n > want {
			t.Fatalf("%d ahead if few flows are looked at, %d if all are", n, want)
		}
		others, rivals := 0, 0
		for id := range q.lanes[c.Band].flows {
			if id != c.Flow {
				others++
			}
		}
		most := want + others
		if aging > 0 {
			for b := High; b < Bands; b++ {
				if b != c.Band {
					rivals += q.lanes[b].length
				}
			}
			most = want + others*openEvery + rivals
		}
		w, got := q.come(c, 0), 0
		for q.take(1, aging) != w {
			got++
		}
		if got < want || got > most {
			t.Fatalf("%d came first, said %d, at most %d", got, want, most)
		}
	})
}
