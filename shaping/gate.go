package shaping

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/mono"
)

// GateConfig is the size of a Gate.
type GateConfig struct {
	Limit     int           // seats; 0 is no limit (they are counted all the same)
	MaxLength int           // who may wait for a seat at once; 0: nobody waits
	MaxWait   time.Duration // how long at most; 0: nobody waits
}

// Refusal says why there was no seat.
type Refusal uint8

const (
	OK           Refusal = iota // there was one
	QueueFull                   // MaxLength others were waiting already
	QueueTimeout                // none came free in time
)

// Gate limits how many requests are in progress. Safe for concurrent use.
type Gate struct {
	word atomic.Uint64 // see word

	mu       sync.Mutex
	config   GateConfig
	head     *waiter // who waits, in order of arrival
	tail     *waiter
	length   int
	full     uint64 // refusals
	timeouts uint64
	waited   uint64
}

// word packs what a decision needs: seats in use (bits 0-30), limit (bits 31-61), and bit 62, somebody waits. While bit 62
// is set only the holder of the mutex changes it.
type word uint64

const (
	waiting  word = 1 << 62
	maxSeats      = math.MaxInt32
)

func pack(limit, used int, w word) word {
	return word(limit)<<31 | word(used) | w&waiting
}

func (w word) used() int  { return int(w & maxSeats) }
func (w word) limit() int { return int(w >> 31 & maxSeats) }
func (w word) room() bool { return w.used() < w.limit() }

type waiter struct {
	granted    chan struct{} // 1 slot; sent to under the mutex, once
	prev, next *waiter
	queued     bool
}

// Seat is the right to be in progress. It is a value to keep in one place: only one copy may be left.
type Seat struct{ gate *Gate }

// GateStats is a gate's state now and its counters since NewGate.
type GateStats struct {
	Limit        int    // 0 is no limit
	InFlight     int    // seats in use
	Waiting      int    // in the queue
	Waited       uint64 // seats given after a wait
	QueueFull    uint64 // refusals
	QueueTimeout uint64 // refusals
}

// NewGate returns a gate with every seat free. A negative number in c, or more than 2^31-1 seats, panics.
func NewGate(c GateConfig) *Gate {
	g := &Gate{config: c}
	g.word.Store(uint64(pack(seats(c), 0, 0)))
	return g
}

// seats is the limit as the word has it.
func seats(c GateConfig) int {
	if c.Limit < 0 || c.Limit > maxSeats || c.MaxLength < 0 || c.MaxWait < 0 {
		panic("BUG: shaping: gate of impossible size")
	}
	if c.Limit == 0 {
		return maxSeats
	}
	return c.Limit
}

// Enter takes a seat. If none is free it waits until due, but at most MaxWait from now, and then refuses; a due that has
// passed does not keep a free seat from being taken. One compare-and-swap and no allocation if there is room and nobody
// waits. On a refusal the Seat is empty, and leaving it does nothing.
func (g *Gate) Enter(due, now mono.Time) (Seat, Refusal) {
	if g.tryEnter() {
		return Seat{g}, OK
	}
	return g.enterSlow(due, now)
}

// TryEnter takes a seat if one is free and nobody waits, and reports whether it did. It never blocks.
func (g *Gate) TryEnter() (Seat, bool) {
	if g.tryEnter() {
		return Seat{g}, true
	}
	return Seat{}, false
}

// tryEnter takes a seat if there is room and nobody waits.
func (g *Gate) tryEnter() bool {
	for {
		w := word(g.word.Load())
		if w&waiting != 0 || !w.room() {
			return false
		}
		if g.word.CompareAndSwap(uint64(w), uint64(w+1)) {
			return true
		}
	}
}

func (g *Gate) enterSlow(due, now mono.Time) (Seat, Refusal) {
	w, wait, refusal := g.enqueue(due, now)
	if w == nil {
		if refusal == OK {
			return Seat{g}, OK
		}
		return Seat{}, refusal
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-w.granted:
		return Seat{g}, OK
	case <-timer.C:
	}
	if !g.abandon(w) {
		return Seat{g}, OK // granted at the last moment
	}
	return Seat{}, QueueTimeout
}

// enqueue returns a waiter in the queue and how long it may wait, or no waiter: OK if a seat came free meanwhile and is
// taken, else why nobody may wait.
func (g *Gate) enqueue(due, now mono.Time) (*waiter, time.Duration, Refusal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wait := min(due.Sub(now), g.config.MaxWait)
	for {
		w := word(g.word.Load())
		if w&waiting == 0 && w.room() {
			if g.word.CompareAndSwap(uint64(w), uint64(w+1)) {
				return nil, 0, OK
			}
			continue
		}
		if g.length >= g.config.MaxLength {
			g.full++
			return nil, 0, QueueFull
		}
		if wait <= 0 {
			g.timeouts++
			return nil, 0, QueueTimeout
		}
		if g.word.CompareAndSwap(uint64(w), uint64(w|waiting)) {
			q := &waiter{granted: make(chan struct{}, 1)}
			g.pushLocked(q)
			return q, wait, OK
		}
	}
}

// abandon takes w out of the queue and reports false if it has been granted a seat already.
func (g *Gate) abandon(w *waiter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !w.queued {
		return false
	}
	g.removeLocked(w)
	g.timeouts++
	if g.length == 0 {
		g.word.Store(g.word.Load() &^ uint64(waiting))
	}
	return true
}

// Leave gives the seat back, to whoever has waited longest. A second call does nothing.
func (s *Seat) Leave() {
	g := s.gate
	if g == nil {
		return
	}
	s.gate = nil
	for {
		w := word(g.word.Load())
		if w&waiting != 0 {
			g.leaveSlow()
			return
		}
		if g.word.CompareAndSwap(uint64(w), uint64(w-1)) {
			return
		}
	}
}

func (g *Gate) leaveSlow() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		w := word(g.word.Load()) // the queue may have emptied before the lock was got
		if g.word.CompareAndSwap(uint64(w), uint64(w-1)) {
			break
		}
	}
	g.grantLocked()
}

// Reshape changes the gate's size. Seats in use stay counted: if there are more than the new limit, nobody enters until
// enough have left. Who waits keeps its place and its time, even in a queue now too long, and is let in if room grew. It
// panics as NewGate does.
func (g *Gate) Reshape(c GateConfig) {
	limit := seats(c)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.config = c
	for {
		w := word(g.word.Load())
		if g.word.CompareAndSwap(uint64(w), uint64(pack(limit, w.used(), w))) {
			break
		}
	}
	g.grantLocked()
}

// grantLocked gives free seats to those who wait, in order. While anybody waits the word is the mutex holder's.
func (g *Gate) grantLocked() {
	if g.length == 0 {
		return
	}
	w := word(g.word.Load())
	for g.length > 0 && w.room() {
		q := g.head
		g.removeLocked(q)
		q.granted <- struct{}{}
		g.waited++
		w++
	}
	if g.length == 0 {
		w &^= waiting
	}
	g.word.Store(uint64(w))
}

func (g *Gate) pushLocked(w *waiter) {
	w.queued, w.prev = true, g.tail
	if g.tail == nil {
		g.head = w
	} else {
		g.tail.next = w
	}
	g.tail = w
	g.length++
}

func (g *Gate) removeLocked(w *waiter) {
	if w.prev == nil {
		g.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		g.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.queued, w.prev, w.next = false, nil, nil
	g.length--
}

// Stats returns the gate's state and counters.
func (g *Gate) Stats() GateStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return GateStats{
		Limit:        g.config.Limit,
		InFlight:     word(g.word.Load()).used(),
		Waiting:      g.length,
		Waited:       g.waited,
		QueueFull:    g.full,
		QueueTimeout: g.timeouts,
	}
}
