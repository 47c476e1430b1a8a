package shaping

import (
	"fmt"
	"math"
	"math/bits"
	"sync"
	"time"

	"weir/internal/mono"
)

// MaxPace is the highest rate of a Pacer, 64 GiB a second. A pacer that counts so fast may stand idle for four years.
const MaxPace = 1 << 36

// forever is longer than every wait.
const forever time.Duration = math.MaxInt64

const (
	nap       = 5 * time.Millisecond // no wait is shorter, so that small pieces share one
	minPiece  = 2 << 10              // bytes; less is not worth a packet and a wait
	evenPiece = 16 << 10             // bytes; what a connection writes at a time where many share a high rate
	maxPiece  = 1 << 20              // bytes; nobody should have more in memory
)

// PacerConfig says how fast bytes flow.
type PacerConfig struct {
	Rate  int64 // bytes a second, at least 1
	Burst int64 // bytes that may go at once after a pause; 0: what goes in 100 ms, but at least 8 KiB
}

func (c PacerConfig) withDefaults() PacerConfig {
	if c.Burst == 0 {
		c.Burst = max(c.Rate/10, 8<<10)
	}
	return c
}

// Validate reports what makes c no pace.
func (c PacerConfig) Validate() error {
	switch {
	case c.Rate < 1 || c.Rate > MaxPace:
		return fmt.Errorf("rate of %d bytes a second: 1 to %d are possible", c.Rate, int64(MaxPace))
	case c.Burst < 0 || c.Burst > MaxPace:
		return fmt.Errorf("burst of %d bytes: 0 to %d are possible", c.Burst, int64(MaxPace))
	}
	return nil
}

// byteClock is a virtual clock that shows bytes: how many a rate has let pass. It is exact. Whole bytes and billionths of one
// are kept apart, a nanosecond at rate r is r billionths, and nothing is ever rounded; so a rate may change at any time. What is owed
// to it is a number of bytes and stays one.
type byteClock struct {
	at   mono.Time // when it was read last
	pos  int64     // bytes. Compare by difference only: it may wrap
	nano int64     // and billionths of a byte, less than a billion
	rate int64     // bytes a second; 0: it stands
}

// advance sets c to now. An earlier now changes nothing.
func (c *byteClock) advance(now mono.Time) {
	if now <= c.at {
		return
	}
	hi, lo := bits.Mul64(uint64(min(now.Sub(c.at), 1<<56)), uint64(c.rate))
	lo, carry := bits.Add64(lo, uint64(c.nano), 0)
	n, rest := bits.Div64(hi+carry, lo, 1e9)
	c.at, c.pos, c.nano = now, c.pos+int64(n), int64(rest)
}

// ceil is the first whole byte that c has not passed.
func (c *byteClock) ceil() int64 {
	if c.nano > 0 {
		return c.pos + 1
	}
	return c.pos
}

// until is the time from c.at to the first nanosecond at which c has reached pos; 0 if it has.
func (c *byteClock) until(pos int64) time.Duration {
	left := pos - c.pos
	if left <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(left), 1e9)
	lo, borrow := bits.Sub64(lo, uint64(c.nano), 0)
	hi -= borrow
	if hi >= uint64(c.rate) {
		return forever
	}
	ns, rest := bits.Div64(hi, lo, uint64(c.rate))
	if rest > 0 {
		ns++
	}
	return time.Duration(min(ns, math.MaxInt64))
}

// book returns where n bytes end that are asked for next after booked: a rate that was not used is lost.
func (c *byteClock) book(booked int64, n int) int64 {
	if start := c.ceil(); booked-start < 0 {
		booked = start
	}
	return booked + int64(n)
}

// refund is how many of n bytes that end at pos can be given back. What the clock has passed has been lost since.
func (c *byteClock) refund(pos int64, n int) int64 { return min(int64(n), max(0, pos-c.ceil())) }

// Pacer lets bytes flow at a rate, in the order in which they ask. Over any interval T no more than Burst + Rate·T begin to go
// if nobody goes before or after his time and no piece is longer than ¾ of Burst; with longer ones it is the longest + Burst/4 +
// Rate·T. That is exact but for a burst of less than 4 ns. Who goes late by so much time may add what flows in it.
//
// It is a virtual clock (Zhang, SIGCOMM 1990; GCRA of ITU-T I.371), the same that spaces the requests of a leaky bucket in
// package limiter, with bytes in place of time on its face: the clock runs at Rate, every piece books the next n bytes on it,
// and goes when the clock is within Burst of its end. Rounding adds less than a byte for every pause, to the safe side.
//
// Waits are worth a timer: none is shorter than 5 ms (or a quarter of the burst, where that is less) unless others wait
// already, and pieces that follow go in what was gained. The rate does not suffer from it, nor from a timer or a write that is
// late: the clock runs on, and only past what is booked is a rate lost. So over a time T the measured rate is Rate + Burst/T at
// most, and at least Rate if whoever writes is ready again within ¾ of Burst/Rate. Safe for concurrent use; O(1) under a short
// mutex, no allocation.
type Pacer struct {
	mu     sync.Mutex
	clock  byteClock
	burst  int64
	booked int64     // where the last piece ends
	given  int64     // bytes given back in all
	last   mono.Time // when the last piece goes
}

// NewPacer returns a pacer that owes nothing.
func NewPacer(c PacerConfig) (*Pacer, error) {
	p := &Pacer{}
	if err := p.Reshape(c, 0); err != nil {
		return nil, err
	}
	return p, nil
}

// Reserve spends n bytes and says how long to wait, counted from now, before they go. An earlier now than that of another call counts as
// that one; so does a wait.
func (p *Pacer) Reserve(n int, now mono.Time) time.Duration {
	_, wait := p.reserve(n, now)
	return wait
}

// reserve also says where the bytes end, for cancel.
func (p *Pacer) reserve(n int, now mono.Time) (pos int64, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock.advance(now)
	p.booked = p.clock.book(p.booked, max(n, 0))
	start := p.clock.at
	if w := p.clock.until(p.booked - p.burst); w > 0 && start.Add(w) > p.last {
		start = start.Add(max(w, shortest(p.burst, p.clock.rate)))
	}
	p.last = max(p.last, start)
	return p.booked + p.given, max(0, p.last.Sub(now))
}

// shortest is the shortest wait worth while: it has to leave most of the burst for timers that are late.
func shortest(burst, rate int64) time.Duration {
	if burst/4 > rate/200 {
		return nap
	}
	return time.Duration(max(0, burst*250e6/rate-1)) // and 1 ns for what until rounds up
}

// Cancel gives back n bytes, of those that Reserve made wait and whose wait is not over. Who asks later goes that much earlier; who
// waits already keeps his time. A Turn of a Flow does better.
func (p *Pacer) Cancel(n int, now mono.Time) {
	p.mu.Lock()
	pos := p.booked + p.given
	p.mu.Unlock()
	p.cancel(pos, n, now)
}

// cancel gives back n bytes of those that end at pos. What was given back in between counts as if it had stood before them all.
func (p *Pacer) cancel(pos int64, n int, now mono.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock.advance(now)
	back := p.clock.refund(pos-p.given, n)
	p.booked -= back
	p.given += back
	p.last = min(p.last, p.clock.at.Add(p.clock.until(p.booked-p.burst)))
}

// Chunk is how many bytes to write at a time when so many connections write at once: what goes in about 20 ms in all, so that
// everybody's turn comes soon, but at low rates not less than 2 KiB and at high ones not less than 16; never more than half of Burst or 1 MiB.
func (p *Pacer) Chunk(connections int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return min(piece(p.clock.rate, p.burst, connections), maxPiece)
}

// piece is what goes in about 20 ms, shared by so many connections.
func piece(rate, burst int64, connections int) int {
	least := min(max(rate/32, minPiece), evenPiece)
	n := max(least, rate/50/int64(max(connections, 1)))
	return int(max(1, min(n, burst/2)))
}

// Reshape changes the numbers from now on. What is owed stays owed, in bytes.
func (p *Pacer) Reshape(c PacerConfig, now mono.Time) error {
	if err := c.Validate(); err != nil {
		return err
	}
	c = c.withDefaults()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock.advance(now)
	p.clock.rate, p.burst = c.Rate, c.Burst
	p.last = min(p.last, p.clock.at.Add(p.clock.until(p.booked-p.burst)))
	return nil
}
