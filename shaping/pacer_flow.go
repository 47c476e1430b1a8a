package shaping

import (
	"time"

	"weir/internal/mono"
)

// A turn that waits longer than patience looks half-way whether things have changed, and after glance at the latest.
const (
	patience = 40 * time.Millisecond
	glance   = 250 * time.Millisecond
)

// Flow is the bytes of one key: what a client's connections share.
type Flow struct {
	pacers     *Pacers // whose mutex guards the rest
	key        Key
	held       int
	prev, next *Flow // unheld
	since      mono.Time

	tier        int
	moves       int   // how often the tier changed
	booked      int64 // where the last piece ends on the tier's ceiling
	shared      int64 // and on its share, if busy
	visit       int   // how often it became busy
	index       int   // among the tier's busy flows, or idle
	first, last *Turn // that wait, in order of arrival
}

// linger is how long the rest of a turn is good for, but not more than a quarter of the burst.
const linger = 20 * time.Millisecond

// Turn is a connection's place in its flow, for one piece after the other. The zero value is ready. It must not be copied or used by two
// goroutines at once, nor with flows of other Pacers until it is cancelled.
type Turn struct {
	flow  *Flow
	left  int       // bytes of it that may go without asking
	until mono.Time // so long

	// The rest is guarded by the mutex of the flow's Pacers.
	prev, next *Turn
	waits      bool
	n          int   // bytes
	moves      int   // the flow's when the ends were set
	end        int64 // where it ends on the tier's ceiling
	shareEnd   int64 // and on its share
	visit      int   // the flow's when it was booked there
	wake       mono.Time

	inTotal  bool  // booked on the total's clock, too
	totalEnd int64 // where it ends there
	totalDue mono.Time
}

// Reserve asks for n bytes to go next. If it returns 0 they may go at once. Otherwise the caller waits so long and asks t.Wait,
// until that returns 0, or gives up with t.Cancel:
//
//	for wait := f.Reserve(&t, n, now); wait > 0; wait = t.Wait(mono.Now()) { sleep(wait) }
//
// Turns of a flow come in the order in which they were asked for: while some wait, who comes later waits as long as they do.
// A turn is good for what goes in about 20 ms, divided by the flow's connections (see Chunk), or n if that is more; pieces that
// follow within 20 ms take from its rest, without a lock. So connections have equal parts of a flow whatever they write at a
// time. The bytes of a piece that is longer than half of the burst go all at once.
func (f *Flow) Reserve(t *Turn, n int, now mono.Time) time.Duration {
	n = max(n, 0)
	if t.flow == f && n <= t.left && now <= t.until {
		t.left -= n
		return 0
	}
	p := f.pacers
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.waits || t.flow != nil && t.flow.pacers != p {
		panic("BUG: shaping: a turn that waits, or of others, asks")
	}
	p.advanceLocked(now)
	p.returnLocked(t, t.left)
	turn := max(n, p.pieceLocked(f))
	f.booked = p.tiers[f.tier].ceiling.book(f.booked, turn)
	*t = Turn{flow: f, left: turn - n, n: turn, end: f.booked, moves: f.moves, shareEnd: p.shareLocked(f, turn), visit: f.visit}
	var before mono.Time
	if f.last != nil {
		before = f.last.wake
	}
	start := max(before, p.startLocked(t, before))
	if start <= now {
		p.goLocked(t)
		return 0
	}
	p.stats.Waits++
	p.stats.Waiting++
	f.push(t)
	t.waits, t.wake = true, start
	return start.Sub(now)
}

// Wait says how much longer t has to wait; at 0 its bytes may go. The answer may be less than the whole wait, so that a turn notices
// when those before it have gone away or the rate has changed.
func (t *Turn) Wait(now mono.Time) time.Duration {
	if t.flow == nil {
		return 0
	}
	p := t.flow.pacers
	p.mu.Lock()
	defer p.mu.Unlock()
	if !t.waits {
		return 0
	}
	p.advanceLocked(now)
	start := p.startLocked(t, 0)
	if start <= now {
		t.flow.remove(t)
		p.stats.Waiting--
		p.goLocked(t)
		return 0
	}
	t.wake = start
	return start.Sub(now)
}

// startLocked is when t should look next whether it may go; not after p.at if it may. Until before it waits in any case.
func (p *Pacers) startLocked(t *Turn, before mono.Time) mono.Time {
	c := &p.tiers[t.flow.tier]
	wait, least := c.ceiling.until(t.end-c.Burst), shortest(c.Burst, c.Rate)
	if p.total != nil {
		wait = max(wait, c.share.until(t.shareEnd-int64(t.n)))
		least = min(least, shortest(p.config.Burst/4, p.config.Total))
	}
	if wait > 0 {
		if p.at.Add(wait) > before {
			wait = max(wait, least)
		}
	} else if p.total != nil {
		if !t.inTotal {
			var w time.Duration
			t.totalEnd, w = p.total.reserve(t.n, p.at)
			t.inTotal, t.totalDue = true, p.at.Add(w)
		}
		wait = t.totalDue.Sub(p.at)
	}
	if wait > patience {
		wait = min(wait/2, glance)
	}
	return p.at.Add(wait)
}

func (p *Pacers) goLocked(t *Turn) {
	t.waits = false
	t.until = p.at.Add(min(linger, p.quarterLocked(&p.tiers[t.flow.tier])))
	p.stats.Bytes += uint64(t.n)
}

// quarterLocked is what a quarter of the burst takes, the flow's or all flows', if that is less.
func (p *Pacers) quarterLocked(c *tierClock) time.Duration {
	q := time.Duration(float64(c.Burst) / float64(c.Rate) * 250e6)
	if p.total != nil {
		q = min(q, time.Duration(float64(p.config.Burst)/float64(p.config.Total)*250e6))
	}
	return q
}

// Cancel ends a turn: it gives back the last n bytes asked for, which will not go, and the rest of the turn. A turn that waits
// is given back whole and waits no more. Everybody behind it in the flow moves up. What has come due is worth less the later
// it is given back, as the rate that it took has passed. A connection that has come to its end cancels 0 bytes.
func (t *Turn) Cancel(n int, now mono.Time) {
	if t.flow == nil {
		return
	}
	p := t.flow.pacers
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advanceLocked(now)
	if t.waits {
		t.flow.remove(t)
		p.stats.Waiting--
		p.stats.Bytes += uint64(t.n) // to be taken off again
		n = t.n
	}
	p.returnLocked(t, min(max(n, 0)+t.left, t.n))
	*t = Turn{}
}

// returnLocked gives back n bytes of a turn that does not wait, and moves up who waits behind it.
func (p *Pacers) returnLocked(t *Turn, n int) {
	if n == 0 {
		return
	}
	p.stats.Bytes -= uint64(n)
	f := t.flow
	if t.moves != f.moves {
		return // it went on another clock
	}
	if t.inTotal && p.total != nil {
		p.total.cancel(t.totalEnd, n, p.at)
	}
	shared := p.unshareLocked(f, t.visit, n)
	back := p.tiers[f.tier].ceiling.refund(t.end, n)
	f.booked -= back
	for b := f.first; b != nil; b = b.next {
		if b.end-t.end > 0 {
			b.end -= back
			b.shareEnd -= shared
		}
	}
}

// Chunk is how many bytes to write at a time: what goes in about 20 ms at the rate that the flow has now, divided by its connections, but
// at low rates not less than 2 KiB and at high ones not less than 16; never more than half of its burst or 1 MiB.
func (f *Flow) Chunk(now mono.Time) int {
	p := f.pacers
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advanceLocked(now)
	return min(p.pieceLocked(f), maxPiece)
}

func (p *Pacers) pieceLocked(f *Flow) int {
	t := &p.tiers[f.tier]
	if p.total == nil {
		return piece(t.Rate, t.Burst, f.held)
	}
	rate := min(t.Rate, p.config.Total)
	if !p.idleLocked() {
		rate = t.share.rate // 0 if the tier has no busy flow: to begin with a small piece is safe
	}
	return piece(rate, min(t.Burst, p.config.Burst), f.held)
}

// shift moves what f has booked from the clocks of one tier to those of another.
func (f *Flow) shift(from, to *tierClock) {
	ceiling, share := to.ceiling.ceil()-from.ceiling.ceil(), to.share.ceil()-from.share.ceil()
	f.booked += ceiling
	f.shared += share
	f.moves++
	for t := f.first; t != nil; t = t.next {
		t.end += ceiling
		t.shareEnd += share
		t.moves = f.moves
	}
}

func (f *Flow) push(t *Turn) {
	t.prev = f.last
	if f.last != nil {
		f.last.next = t
	} else {
		f.first = t
	}
	f.last = t
}

func (f *Flow) remove(t *Turn) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		f.first = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		f.last = t.prev
	}
	t.prev, t.next = nil, nil
}
