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

// step is what a request of weight w is charged.
func step(w uint64) virtual { return unit / virtual(w) }

// credit is how many requests a flow that has been away may have served as if it had waited.
const credit = 32

// leastDebtors is how many flows that owe a lane remembers at least.
const leastDebtors = 64

// openEvery is how many of the seats given while more than one band waits have an open one among them.
const openEvery = 16

// openCost is what an open seat costs a band: of those that are open High, Normal and Low have shares like 4, 2 and 1. Critical has none.
var openCost = [Bands]int{High: 1, Normal: 2, Low: 4}

// fairQueue keeps those who wait in the order in which they are to be served: the highest band first, but for open seats, and within a band by
// start-time fair queueing; doc.go derives the bounds. It takes no lock and reads no clock. It holds whoever is pushed: the bound on its
// length is the gate's. Every operation is O(log flows).
type fairQueue struct {
	lanes   [Bands]lane
	length  int
	turns   uint64
	debtors int // how many flows that owe a lane remembers
	closed  int // seats given while more than one band waited, since the last open one; at most openEvery-1
	opened  int // the openStart of the lane that had the last open seat, or of a later one
}

// lane is a band: v, and the flows that wait there or owe something. What happens in other lanes does not change the order in it.
type lane struct {
	v         virtual // the latest start of all that were served
	floor     virtual // flows that are not known start here, or later if they have more than their credit; v-credit*unit at least
	flows     map[uint64]*flow
	order     laneHeap // those that wait, next to be served first
	longest   laneHeap // the same, greatest backlog for its weight first
	debt      laneHeap // those that don't wait and have start after floor, least start first
	line      list     // who waits, the oldest first
	length    int
	openStart int // of its next open seat, among those of other lanes
}

// flow is whoever shares a lane with others.
type flow struct {
	id     uint64
	start  virtual // of its next request
	turn   uint64  // settles ties: who has had this start for longer
	weight uint64  // that of its latest request
	length int
	line   list // in the order in which they came
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
	for b := range q.lanes {
		l := &q.lanes[b]
		l.flows = map[uint64]*flow{}
		l.order.before, l.debt.before, l.longest.before = startsBefore, startsBefore, isLonger
		l.longest.at = 1
		l.line.at = byLane
	}
	q.resize(length)
}

// resize sets how many debts are remembered, for a gate in which at most length wait.
func (q *fairQueue) resize(length int) { q.debtors = max(length, leastDebtors) }

// next returns who is to be served next, and whether in an open seat; nil if nobody waits. With aging 0 no seat is open.
func (q *fairQueue) next(now mono.Time, aging time.Duration) (w *waiter, open bool) {
	l := q.highest()
	if l == nil {
		return nil, false
	}
	if q.closed == openEvery-1 && aging > 0 && q.length > l.length {
		if o := q.openLane(now.Add(-aging)); o != nil {
			l, open = o, true
		}
	}
	return l.order.top().line.head, open
}

// highest returns the lane of the highest band that waits, or nil.
func (q *fairQueue) highest() *lane {
	for b := range q.lanes {
		if l := &q.lanes[b]; l.length > 0 {
			return l
		}
	}
	return nil
}

// openLane returns which lane has the next open seat, of those in which somebody has waited since aged or longer; nil if there is none.
func (q *fairQueue) openLane(aged mono.Time) (first *lane) {
	for b := High; b < Bands; b++ {
		l := &q.lanes[b]
		if l.length == 0 || l.line.head.arrived > aged {
			continue
		}
		if first == nil || l.openStart < first.openStart {
			first = l
		}
	}
	return first
}

// push puts w, who has not arrived before anybody that waits, last in its flow in the lane of its band.
func (q *fairQueue) push(w *waiter) {
	l := &q.lanes[w.band]
	f := l.flows[w.id]
	switch {
	case f == nil:
		f = &flow{id: w.id, start: l.begin(nil, w.weight)}
		l.flows[w.id] = f
	case f.length == 0:
		l.debt.remove(f)
		f.start = l.begin(f, w.weight)
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

// begin returns the start of f, or if nil of a flow that is not known, should it begin to wait now with a request of weight w.
func (l *lane) begin(f *flow, w uint64) virtual {
	start := l.floor
	if f != nil {
		start = f.start
	}
	if least := l.v - credit*step(w); least.after(start) {
		return least
	}
	return start
}

func (q *fairQueue) turn() uint64 {
	q.turns++
	return q.turns
}

// serve takes w out of the queue, which like open is what next has returned, and charges its flow.
func (q *fairQueue) serve(w *waiter, open bool) {
	l, f := &q.lanes[w.band], w.flow
	if open {
		q.closed = 0
		q.opened = max(q.opened, l.openStart)
		l.openStart = q.opened + openCost[w.band]
	} else if q.length > l.length {
		q.closed = min(q.closed+1, openEvery-1)
	}
	if f.start.after(l.v) {
		l.v = f.start
		l.forgive()
	}
	f.start += step(w.weight)
	f.turn = q.turn()
	l.order.fix(f)
	q.remove(w)
}

// remove takes w out of the queue, from wherever it stands, at no charge.
func (q *fairQueue) remove(w *waiter) {
	l, f := &q.lanes[w.band], w.flow
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
	if !f.start.after(l.floor) {
		delete(l.flows, f.id)
		return
	}
	l.debt.push(f)
	for l.debt.len() > q.debtors { // who owes least is forgotten, and nobody who is not known starts earlier
		l.floor = l.debt.top().start
		l.forgive()
	}
}

// forgive forgets the flows that begin no later than those that are not known.
func (l *lane) forgive() {
	if least := l.v - credit*unit; least.after(l.floor) {
		l.floor = least
	}
	for l.debt.len() > 0 && !l.debt.top().start.after(l.floor) {
		f := l.debt.top()
		l.debt.remove(f)
		delete(l.flows, f.id)
	}
}

// victim returns who gives way to a newcomer of class c in a full queue, or nil: the newest of the longest flow in the lowest band below
// c's, else in c's own if that flow is longer than c's would be. Lengths are for their weight.
func (q *fairQueue) victim(c Class) *waiter {
	for b := Band(Bands - 1); b > c.Band; b-- {
		if l := &q.lanes[b]; l.length > 0 {
			return l.longest.top().line.tail
		}
	}
	l := &q.lanes[c.Band]
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

// ahead returns how many are served at least before a newcomer of class c, if nobody leaves the queue and nobody else comes, and were all
// open seats given in c's band (with aging 0 there are none). It looks at no more than most flows in that band, and counts too few if there are
// more.
func (q *fairQueue) ahead(c Class, aging time.Duration, most int) int {
	above, own := 0, q.lanes[c.Band].ahead(c, most)
	for b := range c.Band {
		above += q.lanes[b].length
	}
	if aging > 0 {
		above = min(above, (own+1)*(openEvery-1)-q.closed)
	}
	return above + own
}

// ahead is the same within the lane.
func (l *lane) ahead(c Class, most int) (n int) {
	mine := l.flows[c.Flow]
	var start virtual
	if mine != nil && mine.length > 0 {
		n += mine.length
		start = mine.start + virtual(mine.length)*step(c.weight())
	} else {
		start = l.begin(mine, c.weight())
	}
	for i, f := range l.order.flows {
		if i == most {
			break
		}
		if f != mine && start.after(f.start) {
			each := step(f.weight)
			n += int(min(virtual(f.length), (start-f.start+each-1)/each))
		}
	}
	return n
}

// upTo returns how many wait in bands no lower than b.
func (q *fairQueue) upTo(b Band) int {
	n := 0
	for i := range b + 1 {
		n += q.lanes[i].length
	}
	return n
}

// depth returns how many wait in each band.
func (q *fairQueue) depth() (n [Bands]int) {
	for b := range q.lanes {
		n[b] = q.lanes[b].length
	}
	return n
}

// flows returns how many flows wait; one that waits in two bands counts twice.
func (q *fairQueue) flows() int {
	n := 0
	for b := range q.lanes {
		n += q.lanes[b].order.len()
	}
	return n
}
