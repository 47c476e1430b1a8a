package shaping

import (
	"time"

	"weir/internal/mono"
)

// Client is whose request waits.
type Client interface {
	// Gone reports whether nobody is there any more to take the answer. It is called without a lock, by the goroutine that waits.
	Gone() bool
}

// pollEvery is how often a client is asked whether it is gone while its request waits.
const pollEvery = 50 * time.Millisecond

// waiter is a request that waits. All but answer and the timers is the gate mutex's.
type waiter struct {
	band     Band
	weight   uint64
	id       uint64 // of its flow
	flow     *flow  // nil: it waits no more
	arrived  mono.Time
	deadline mono.Time // it is granted before this instant or never
	links    [2]link

	answer chan Refusal // 1 slot; sent to under the mutex, once for every wait
	timer  *time.Timer  // runs out at the deadline
	poll   *time.Timer
}

// newWaiter returns one that can be used again after its answer has been received.
func newWaiter() any {
	w := &waiter{answer: make(chan Refusal, 1), timer: time.NewTimer(time.Hour), poll: time.NewTimer(time.Hour)}
	w.timer.Stop()
	w.poll.Stop()
	return w
}

// await returns w's answer and forgets w. Whatever comes first is it: a seat, a refusal by another request that took its place, its
// deadline, that its client is gone. Should c panic, w is taken out of the queue, or the seat it has got given back.
func (g *Gate) await(w *waiter, wait time.Duration, c Client) Refusal {
	answered := false
	defer func() {
		if !answered && !g.abandon(w, Gone) && <-w.answer == OK {
			g.release(w.arrived)
		}
	}()
	w.timer.Reset(wait)
	var poll <-chan time.Time
	if c != nil {
		w.poll.Reset(pollEvery)
		poll = w.poll.C
	}
	answer := OK
	for !answered {
		select {
		case answer = <-w.answer:
			answered = true
		case <-w.timer.C:
			answer, answered = g.giveUp(w, QueueTimeout), true
		case <-poll:
			if c.Gone() {
				answer, answered = g.giveUp(w, Gone), true
			} else {
				w.poll.Reset(pollEvery)
			}
		}
	}
	w.timer.Stop()
	w.poll.Stop()
	g.waiters.Put(w)
	return answer
}

// giveUp takes w out of the queue and returns r, or the answer that was given it meanwhile.
func (g *Gate) giveUp(w *waiter, r Refusal) Refusal {
	if g.abandon(w, r) {
		return r
	}
	return <-w.answer
}

// A waiter is in two lists at once, each in the order of arrival.
const (
	byFlow = iota // of its flow
	byLane        // of its band
)

type link struct{ prev, next *waiter }

// list is doubly linked, through the links named by at. All is O(1).
type list struct {
	head, tail *waiter
	at         int
}

func (l *list) push(w *waiter) {
	w.links[l.at] = link{prev: l.tail}
	if l.tail == nil {
		l.head = w
	} else {
		l.tail.links[l.at].next = w
	}
	l.tail = w
}

func (l *list) remove(w *waiter) {
	n := w.links[l.at]
	if n.prev == nil {
		l.head = n.next
	} else {
		n.prev.links[l.at].next = n.next
	}
	if n.next == nil {
		l.tail = n.prev
	} else {
		n.next.links[l.at].prev = n.prev
	}
	w.links[l.at] = link{}
}
