package shaping

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/mono"
)

// Class is whose request it is and how much it matters.
type Class struct {
	Band   Band
	Weight uint16 // of its flow, beside the others in its band; 0 counts as 1
	Flow   uint64 // a hash that tells flows apart
}

func (c Class) weight() uint64 { return uint64(max(1, c.Weight)) }

// Ask is a request for a seat.
type Ask struct {
	Class
	Due    mono.Time // when it is too late to begin; mono.Never: there is no such time
	Client Client    // asked about every 50 ms while the request waits; nil: it stays
}

// GateConfig is the size of a Gate.
type GateConfig struct {
	Limit     int           // seats; 0 is no limit (they are counted all the same)
	Estimator Estimator     // works out the limit in force, at least 1 and at most Limit; nil: it is Limit. A pointer, of this gate alone
	MaxLength int           // who may wait for a seat at once; 0: nobody waits
	MaxWait   time.Duration // how long at most; 0: nobody waits
	Aging     time.Duration // a band in which somebody has waited so long has a part of one seat in 16, whatever comes above it; 0: never
}

// Refusal says why there was no seat.
type Refusal uint8

const (
	OK           Refusal = iota // there was one
	QueueFull                   // MaxLength others were waiting, none of which had to give way
	QueueTimeout                // none came free in time
	TooLate                     // none would have come free in time: refused at once
	Displaced                   // it waited in a full queue, and gave way to a request that matters more or of a flow that asks for less
	Gone                        // its client was gone before a seat came free
	Refusals     = 6
)

var refusals = [Refusals]string{"ok", "queue_full", "queue_timeout", "too_late", "displaced", "gone"}

// String is the word for r in metrics and logs.
func (r Refusal) String() string { return refusals[r] }

// Gate limits how many requests are in progress, and says who is next. Safe for concurrent use.
type Gate struct {
	word  atomic.Uint64         // see word
	tuner atomic.Pointer[tuner] // nil: the limit is fixed

	reshape sync.Mutex // taken before a tuner's mutex, and that before mu
	waiters sync.Pool  // of *waiter

	mu      sync.Mutex
	config  GateConfig
	learnt  int       // the estimator's limit
	now     mono.Time // the latest there was
	queue   fairQueue
	waited  uint64
	refused [Refusals][Bands]uint64
	pace    pace
	delay   standing
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

// Seat is the right to be in progress. It is a value to keep in one place: only one copy may be left.
type Seat struct{ gate *Gate }

// NewGate returns a gate with every seat free. A negative number in c, or more than 2^31-1 seats, panics.
func NewGate(c GateConfig) *Gate {
	c.check()
	g := &Gate{waiters: sync.Pool{New: newWaiter}}
	g.queue.init(c.MaxLength)
	g.delay.init()
	g.Reshape(c, 0)
	return g
}

func (c *GateConfig) check() {
	if c.Limit < 0 || c.Limit > maxSeats || c.MaxLength < 0 || c.MaxWait < 0 || c.Aging < 0 {
		panic("BUG: shaping: gate of impossible size")
	}
}

// Enter takes a seat. If none is free, or others wait, it waits until a.Due, but at most MaxWait from now. A Due that has passed does
// not keep a free seat from being taken. One compare-and-swap and no allocation if there is room and nobody waits. On a refusal the
// Seat is empty, and leaving it does nothing.
func (g *Gate) Enter(a Ask, now mono.Time) (Seat, Refusal) {
	if g.tryEnter() {
		return Seat{g}, OK
	}
	w, wait, r := g.enqueue(&a, now)
	if w != nil {
		r = g.await(w, wait, a.Client)
	}
	if r != OK {
		return Seat{}, r
	}
	return Seat{g}, OK
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

// enqueue returns a waiter in the queue and how long it may wait, or no waiter: OK if a seat came free meanwhile and is
// taken, else why nobody may wait.
func (g *Gate) enqueue(a *Ask, now mono.Time) (*waiter, time.Duration, Refusal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now = g.clockLocked(now)
	for {
		w := word(g.word.Load())
		if w&waiting != 0 {
			break
		}
		if w.room() {
			if g.word.CompareAndSwap(uint64(w), uint64(w+1)) {
				return nil, 0, OK
			}
		} else if g.word.CompareAndSwap(uint64(w), uint64(w|waiting)) {
			break
		}
	}
	wait := min(a.Due.Sub(now), g.config.MaxWait)
	victim, r := g.placeLocked(a.Class, wait)
	if r == QueueTimeout && a.Due <= now {
		r = TooLate
	}
	if r != OK {
		g.refused[r][a.Band]++
		g.restLocked()
		return nil, 0, r
	}
	if g.queue.length == 0 {
		g.pace.begin(now)
		g.delay.note(0, now)
	}
	if victim != nil {
		g.refuseLocked(victim, Displaced)
	}
	q := g.waiters.Get().(*waiter)
	q.band, q.weight, q.id = a.Band, a.weight(), a.Flow
	q.arrived, q.deadline = now, now.Add(wait)
	g.queue.push(q)
	return q, wait, OK
}

// placeLocked decides whether a request of class c that can wait as long as wait may do so, and who has to give way to it, if anybody.
func (g *Gate) placeLocked(c Class, wait time.Duration) (victim *waiter, r Refusal) {
	if g.config.MaxLength == 0 {
		return nil, QueueFull
	}
	if wait <= 0 {
		return nil, QueueTimeout
	}
	if g.tooLateLocked(c, wait) {
		return nil, TooLate
	}
	if g.queue.length < g.config.MaxLength {
		return nil, OK
	}
	if victim = g.queue.victim(c); victim == nil {
		return nil, QueueFull
	}
	return victim, OK
}

// refuseLocked takes w out of the queue and tells it why.
func (g *Gate) refuseLocked(w *waiter, r Refusal) {
	g.removeLocked(w, r)
	w.answer <- r
}

func (g *Gate) removeLocked(w *waiter, r Refusal) {
	g.queue.remove(w)
	g.refused[r][w.band]++
}

// abandon takes w out of the queue because of r and reports false if it has had its answer already.
func (g *Gate) abandon(w *waiter, r Refusal) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.flow == nil {
		return false
	}
	g.removeLocked(w, r)
	g.restLocked()
	return true
}

// restLocked lets everybody change the word again if nobody waits. The word must have its waiting bit.
func (g *Gate) restLocked() {
	if g.queue.length == 0 {
		g.word.Store(g.word.Load() &^ uint64(waiting))
		g.delay.note(0, g.now)
	}
}

// Leave gives the seat back, to who is next, and tells the estimator that the request ended like k, rtt after it had its seat. Of
// successes that end at the same time it may miss some, of drops none. A second call does nothing. No allocation; no lock if nobody
// waits and there is no estimator.
func (s *Seat) Leave(k Sample, rtt time.Duration, now mono.Time) {
	g := s.gate
	if g == nil {
		return
	}
	s.gate = nil
	used := g.release(now)
	if t := g.tuner.Load(); t != nil {
		g.observe(t, Observation{RTT: rtt, InFlight: used, Sample: k, Now: now})
	}
}

// release gives a seat back and returns how many were in use.
func (g *Gate) release(now mono.Time) (used int) {
	for {
		w := word(g.word.Load())
		if w&waiting != 0 {
			return g.releaseSlow(now)
		}
		if g.word.CompareAndSwap(uint64(w), uint64(w-1)) {
			return w.used()
		}
	}
}

func (g *Gate) releaseSlow(now mono.Time) (used int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		w := word(g.word.Load()) // the queue may have emptied before the lock was got
		if g.word.CompareAndSwap(uint64(w), uint64(w-1)) {
			g.grantLocked(g.clockLocked(now))
			return w.used()
		}
	}
}

// limitLocked puts into the word what the configuration and the estimator say, and lets in who finds room then.
func (g *Gate) limitLocked(now mono.Time) {
	limit := g.config.Limit
	if limit == 0 {
		limit = maxSeats
	}
	if g.config.Estimator != nil {
		limit = min(limit, max(1, g.learnt))
	}
	for {
		w := word(g.word.Load())
		if g.word.CompareAndSwap(uint64(w), uint64(pack(limit, w.used(), w))) {
			break
		}
	}
	g.grantLocked(now)
}

// Reshape changes the gate's size. Seats in use stay counted: if there are more than the new limit, nobody enters until
// enough have left. Who waits keeps its place and its time, even in a queue now too long, and is let in if room grew. The same
// Estimator goes on with what it has learnt; another takes its place, with the limit that it starts with; nil makes the limit fixed. It
// panics as NewGate does.
func (g *Gate) Reshape(c GateConfig, now mono.Time) {
	c.check()
	g.reshape.Lock()
	defer g.reshape.Unlock()
	t := g.tuner.Load()
	if c.Estimator == nil {
		t = nil
	} else if t == nil || t.estimator != c.Estimator {
		t = &tuner{estimator: c.Estimator}
	}
	if t != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.limit = c.Estimator.Limit()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.config = c
	g.tuner.Store(t)
	if t != nil {
		g.learnt = t.limit
	}
	g.queue.resize(c.MaxLength)
	g.limitLocked(g.clockLocked(now))
}

// grantLocked gives free seats to those who wait, in their order. While anybody waits the word is the mutex holder's.
func (g *Gate) grantLocked(now mono.Time) {
	if g.queue.length == 0 {
		return
	}
	w := word(g.word.Load())
	for w.room() {
		q, open := g.queue.next(now, g.config.Aging)
		if q == nil {
			break
		}
		if q.deadline <= now {
			g.refuseLocked(q, QueueTimeout)
			continue
		}
		g.queue.serve(q, open)
		g.waited++
		g.pace.grant(w.limit(), now)
		g.delay.note(now.Sub(q.arrived), now)
		q.answer <- OK
		w++
	}
	g.word.Store(uint64(w))
	g.restLocked()
}

// clockLocked returns now, or the latest instant there was if it is later.
func (g *Gate) clockLocked(now mono.Time) mono.Time {
	g.now = max(g.now, now)
	return g.now
}
