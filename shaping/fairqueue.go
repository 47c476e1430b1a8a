package shaping

import (
	"time"

	"weir/internal/mono"
)

// virtual is an instant of a lane's virtual time, in which a flow of weight w is served once every unit/w. It may wrap: all
// instants kept at a time are within a few units.
type virtual uint64

const unit virtual = 1 << 32

func (v virtual) after(u virtual) bool { return int64(v-u) > 0 }

// leastDebtors is how many flows in debt a place remembers at least.
const leastDebtors = 64

// inARow is how many seats in a row a place is given at most while anybody waits in a lower one.
const inARow = 31

// places are where one can wait, in the order of service: in each band those who asked for it, before those who have aged into it, of whom
// those who came from nearer are first. So they are: critical; high; high, from normal; high, from low; normal; normal, from low; low.
const places = 7

var firstOf = [Bands]int{Critical: 0, High: 1, Normal: 4, Low: 6}

// placeOf is where who asked for a band and counts as of another waits.
func placeOf(band, asked Band) int { return firstOf[band] + int(asked-band) }

func (w *waiter) place() int { return placeOf(w.band, w.asked) }

// fairQueue keeps those who wait in the order in which they are to be served: the highest place first, but for one in inARow+1, and within a
// place by start-time fair queueing; doc.go derives the bounds. It takes no lock and reads no clock. It holds whoever is pushed: the
// bound on its length is the gate's. Every operation is O(log flows).
type fairQueue struct {
	lanes   [places]lane
	length  int
	turns   uint64
	debtors int // how many flows in debt a lane remembers
	inARow  int
}

// lane is one place: v, and the flows that wait there or are in debt.
type lane struct {
	v       virtual // the start of whom was served last, or later
	flows   map[uint64]*flow
	order   laneHeap // those that wait, next to be served first
	longest laneHeap // the same, greatest backlog for its weight first
	debt    laneHeap // those that don't wait and have start after v, least debt first
	line    list     // who waits, in the order in which they came here
	length  int
	run     int // seats given here while anybody waited below, since one was given below; at most inARow
}

// flow is whoever shares a place with others.
type flow struct {
	id     uint64
	start  virtual // of its next request
	turn   uint64  // settles ties: who has had this start for longer
	weight uint64  // that of its latest request
	length int
	line   list // in the order in which they came here
	at     [2]int
}

func startsBefore(a, b *flow) bool {
	return b.start.after(a.start) || a.start == b.start && a.turn < b.turn
}

func isLonger(a, b *flow) bool {
	return uint64(a.length)*b.weight > uint64(b.length)*a.weight
}

// init makes q empty, for a gate in which at most length wait.
func (q *fairQueue) init(length int) {
	for p := range q.lanes {
		l := &q.lanes[p]
		l.flows = map[uint64]*flow{}
		l.order.before, l.debt.before, l.longest.before = startsBefore, startsBefore, isLonger
		l.longest.at = 1
		l.line.at = byLane
	}
	q.inARow = inARow
	q.resize(length)
}

// resize sets how many debts are remembered, for a gate in which at most length wait.
func (q *fairQueue) resize(length int) { q.debtors = max(length, leastDebtors) }

// next returns who is to be served next, or nil.
func (q *fairQueue) next() *waiter {
	below := q.length
	for p := range q.lanes {
		l := &q.lanes[p]
		below -= l.length
		if l.length > 0 && (l.run < q.inARow || below == 0) {
			return l.order.top().line.head
		}
	}
	return nil
}

// push puts w last in its flow in its place.
func (q *fairQueue) push(w *waiter) {
	l := &q.lanes[w.place()]
	f := l.flows[w.id]
	switch {
	case f == nil:
		f = &flow{id: w.id, start: l.v}
		l.flows[w.id] = f
	case f.length == 0:
		l.debt.remove(f)
	}
	f.weight = w.weight
	f.length++
	l.length++
	q.length++
	w.flow = f
	f.line.push(w)
	l.line.push(w)
	if f.length > 1 {
		l.longest.fix(f)
		return
	}
	f.turn = q.turn()
	l.order.push(f)
	l.longest.push(f)
}

func (q *fairQueue) turn() uint64 {
	q.turns++
	return q.turns
}

// serve takes w, which must be next, out of the queue and charges its flow.
func (q *fairQueue) serve(w *waiter) {
	l, f := q.count(w), w.flow
	if f.start.after(l.v) {
		l.v = f.start
	}
	f.start += unit / virtual(w.weight)
	f.turn = q.turn()
	l.order.fix(f)
	q.remove(w)
	l.forgive()
}

// count notes that w is given a seat and returns its lane.
func (q *fairQueue) count(w *waiter) *lane {
	p, below := w.place(), q.length
	for i := range p {
		q.lanes[i].run = 0
		below -= q.lanes[i].length
	}
	l := &q.lanes[p]
	if below > l.length && l.run < q.inARow {
		l.run++
	}
	return l
}

// remove takes w out of the queue, from wherever it stands, at no charge.
func (q *fairQueue) remove(w *waiter) {
	l, f := &q.lanes[w.place()], w.flow
	f.line.remove(w)
	l.line.remove(w)
	w.flow = nil
	f.length--
	l.length--
	q.length--
	if f.length > 0 {
		l.longest.fix(f)
		return
	}
	l.order.remove(f)
	l.longest.remove(f)
	if !f.start.after(l.v) {
		delete(l.flows, f.id)
		return
	}
	l.debt.push(f)
	if l.debt.len() > q.debtors { // nobody's debt is lost: v moves up to where the least of them ends
		l.v = l.debt.top().start
		l.forgive()
	}
}

// forgive forgets the flows whose debt v has reached.
func (l *lane) forgive() {
	for l.debt.len() > 0 && !l.debt.top().start.after(l.v) {
		f := l.debt.top()
		l.debt.remove(f)
		delete(l.flows, f.id)
	}
}

// age moves all who have counted as of their band for as long as aging up by one, and so on up to High; 0 is never.
func (q *fairQueue) age(now mono.Time, aging time.Duration) {
	if aging <= 0 {
		return
	}
	for p := places - 1; p >= firstOf[Normal]; p-- {
		for w := q.lanes[p].line.head; w != nil && w.since.Add(aging) <= now; w = q.lanes[p].line.head {
			q.remove(w)
			w.band, w.since = w.band-1, w.since.Add(aging)
			q.push(w)
		}
	}
}

// victim returns who gives way to a newcomer of class c in a full queue, or nil: the newest of the longest flow in the lowest place below
// c's, else in c's own if that flow is longer than c's would be. Lengths are for their weight.
func (q *fairQueue) victim(c Class) *waiter {
	place := placeOf(c.Band, c.Band)
	for p := places - 1; p > place; p-- {
		if l := &q.lanes[p]; l.length > 0 {
			return l.longest.top().line.tail
		}
	}
	l := &q.lanes[place]
	if l.length == 0 {
		return nil
	}
	mine := flow{length: 1, weight: c.weight()}
	if f := l.flows[c.Flow]; f != nil {
		mine.length += f.length
	}
	if f := l.longest.top(); isLonger(f, &mine) {
		return f.line.tail
	}
	return nil
}

// ahead returns how many are served at least before a newcomer of class c, if nobody leaves the queue and nobody else comes. It looks at
// no more than most flows in c's place, and counts too few if there are more.
func (q *fairQueue) ahead(c Class, most int) int {
	p := placeOf(c.Band, c.Band)
	seats := 1 + q.lanes[p].ahead(c, most) // to be given at p and below, until c's is
	for p--; p >= 0; p-- {
		l := &q.lanes[p]
		seats += min(l.length, seats*q.inARow-l.run)
	}
	return seats - 1
}

// ahead is the same within the place.
func (l *lane) ahead(c Class, most int) (n int) {
	start, mine := l.v, l.flows[c.Flow]
	if mine != nil {
		n += mine.length
		start = mine.start + virtual(mine.length)*(unit/virtual(c.weight()))
	}
	for i, f := range l.order.flows {
		if i == most {
			break
		}
		if f != mine && start.after(f.start) {
			step := unit / virtual(f.weight)
			n += int(min(virtual(f.length), (start-f.start+step-1)/step))
		}
	}
	return n
}

// upTo returns how many wait in places no lower than that of who asks for band b.
func (q *fairQueue) upTo(b Band) int {
	n := 0
	for p := range placeOf(b, b) + 1 {
		n += q.lanes[p].length
	}
	return n
}

// flows returns how many flows wait; one that waits in two places counts twice.
func (q *fairQueue) flows() int {
	n := 0
	for p := range q.lanes {
		n += q.lanes[p].order.len()
	}
	return n
}
