package shaping

import (
	"time"

	"weir/internal/mono"
)

// GateStats is a gate's state now and its counters since NewGate.
type GateStats struct {
	Limit     int                     // in force; 0 is none
	HardLimit int                     // the configuration's; 0 is none
	InFlight  int                     // seats in use
	Waiting   int                     // in the queue
	Depth     [Bands]int              // the same, by band
	MaxLength int                     // how many may wait
	Flows     int                     // that wait; once for each band in which they do
	Waited    uint64                  // seats given after a wait
	Refused   [Refusals][Bands]uint64 // by reason and band; none under OK
	Delay     time.Duration           // see Gate.Delay
}

// Of returns how many were refused because of r, in all bands.
func (s *GateStats) Of(r Refusal) uint64 {
	n := uint64(0)
	for _, m := range s.Refused[r] {
		n += m
	}
	return n
}

// Stats returns the gate's state and counters. Delay is as of the latest instant that the gate has been told.
func (g *Gate) Stats() GateStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := word(g.word.Load())
	s := GateStats{
		Limit:     w.limit(),
		HardLimit: g.config.Limit,
		InFlight:  w.used(),
		Waiting:   g.queue.length,
		Depth:     g.queue.depth(),
		MaxLength: g.config.MaxLength,
		Flows:     g.queue.flows(),
		Waited:    g.waited,
		Refused:   g.refused,
		Delay:     g.delayLocked(g.now),
	}
	if s.Limit == maxSeats {
		s.Limit = 0
	}
	return s
}

// Delay returns the standing delay of the queue, as CoDel (RFC 8289) has it: the least time that any of those who were given seats in
// the last 100 to 200 ms had waited, 0 if the queue was empty at any moment of them, and if nobody was given a seat how long who is next
// has waited. A burst that passes leaves it 0; a queue that stands does not. No lock if nobody waits.
func (g *Gate) Delay(now mono.Time) time.Duration {
	if word(g.word.Load())&waiting == 0 {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.delayLocked(now)
}

func (g *Gate) delayLocked(now mono.Time) time.Duration {
	now = g.clockLocked(now)
	next, _ := g.queue.next(now, g.config.Aging)
	if next == nil {
		return 0
	}
	if d, ok := g.delay.least(now); ok {
		return d
	}
	return now.Sub(next.arrived)
}

// Forecast is what would become of a request.
type Forecast struct {
	Refusal  Refusal       // QueueFull or TooLate if it would be refused at once
	AtOnce   bool          // it would have a seat without waiting
	Position int           // else: how many are served before it at least, if nobody leaves the queue and nobody else comes
	Wait     time.Duration // what that takes at the rate at which seats were given lately; negative: not known
}

// Peek says what would become of a request of class c that asked now and could wait as long as anybody. It has no
// effect.
func (g *Gate) Peek(c Class, now mono.Time) Forecast {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := word(g.word.Load())
	if w&waiting == 0 && w.room() {
		return Forecast{AtOnce: true}
	}
	f := Forecast{Wait: -1}
	g.clockLocked(now)
	_, f.Refusal = g.placeLocked(c, g.config.MaxWait)
	f.Position = g.queue.ahead(c, g.config.Aging, g.queue.length)
	if d, ok := g.pace.expect(f.Position+1, w.limit()); ok {
		f.Wait = d
	}
	return f
}
