package balancer

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/mono"
)

// BreakerConfig says when a breaker opens and how it closes.
type BreakerConfig struct {
	FailureThreshold  int           // failures in a row that open it; 0 is off
	RecoveryThreshold int           // successes in a row, half open, that close it
	Timeout           time.Duration // open this long before it half opens; doubles each time it opens from half open
	MaxTimeout        time.Duration // the doubling ends here
	HalfOpen          int           // permits out at once while half open
}

func (c *BreakerConfig) check() error {
	if c.FailureThreshold == 0 {
		return nil
	}
	if c.FailureThreshold < 0 || c.FailureThreshold > countMask || c.RecoveryThreshold < 1 || c.HalfOpen < 1 || c.HalfOpen > countMask {
		return fmt.Errorf("breaker: thresholds %d and %d and half open %d must be at least 1",
			c.FailureThreshold, c.RecoveryThreshold, c.HalfOpen)
	}
	if c.Timeout <= 0 || c.MaxTimeout < c.Timeout {
		return fmt.Errorf("breaker: timeout %v must be positive and not over the max timeout %v", c.Timeout, c.MaxTimeout)
	}
	return nil
}

// wait returns how long the nth opening in a row lasts, n from 1.
func (c *BreakerConfig) wait(n int) time.Duration {
	w := c.Timeout
	for ; n > 1 && w < c.MaxTimeout; n-- {
		if w > c.MaxTimeout/2 {
			return c.MaxTimeout
		}
		w *= 2
	}
	return w
}

// BreakerState is what a breaker does with requests.
type BreakerState uint8

const (
	BreakerStateClosed   BreakerState = iota // lets all pass
	BreakerStateOpen                         // lets none pass, until its timeout
	BreakerStateHalfOpen                     // lets a few pass, to see
)

// String returns closed, open or half_open.
func (s BreakerState) String() string { return [...]string{"closed", "open", "half_open", "?"}[s&3] }

// A breaker's word: generation (32 bits), state (2), count (30): failures in a row when closed, permits out when half open.
const (
	countBits = 30
	countMask = 1<<countBits - 1
)

func packBreaker(gen uint32, s BreakerState, count int) uint64 {
	return uint64(gen)<<32 | uint64(s)<<countBits | uint64(count)
}

func unpackBreaker(w uint64) (gen uint32, s BreakerState, count int) {
	return uint32(w >> 32), BreakerState(w >> countBits & 3), int(w & countMask)
}

// Breaker stops requests to an endpoint that fails, for a while.
//
// Closed, it opens after FailureThreshold failures in a row. Open, it refuses until its timeout, then half opens at the next
// Permit. Half open, it has at most HalfOpen permits out; RecoveryThreshold successes in a row close it, one failure opens it
// again for twice as long, to MaxTimeout; closing resets that. Each transition begins a new generation, and what belongs to an
// older one changes nothing: a slow answer from before the fault can neither close nor open it.
//
// While it is warned (see Warn) a quarter of FailureThreshold opens it, but at least one failure of its own.
//
// Permit and a reported success read one word while the breaker is closed and nothing has failed; the rest takes a mutex.
// Safe for concurrent use. Make one with NewBreaker.
type Breaker struct {
	word        atomic.Uint64
	until       atomic.Int64 // mono.Time at which open ends; stored before the word says open
	transitions atomic.Uint64
	changed     func(to BreakerState, wait time.Duration) // not under mu; may be nil

	mu        sync.Mutex // guards writes to all of the above, and:
	cfg       BreakerConfig
	successes int           // in a row, half open
	openings  int           // since it was last closed
	wait      time.Duration // of the present or last opening; 0 after closing
	warned    mono.Time     // until then fewer failures open it
	early     bool          // the last opening was by fewer
}

// NewBreaker returns a closed breaker. changed, unless nil, is called after each transition, on the goroutine that caused it,
// with how long it stays open.
func NewBreaker(c BreakerConfig, changed func(to BreakerState, wait time.Duration)) *Breaker {
	return &Breaker{cfg: c, changed: changed}
}

// Permit asks to send one request. If ok, gen must go back once, in Report or Cancel.
func (b *Breaker) Permit(now mono.Time) (gen uint32, ok bool) {
	// Fast path: closed.
	gen, s, _ := unpackBreaker(b.word.Load())
	if s == BreakerStateClosed {
		return gen, true
	}
	// Slow path: open, or half open with permits to count.
	b.mu.Lock()
	gen, s, n := unpackBreaker(b.word.Load())
	moved := false
	switch s {
	case BreakerStateClosed:
		ok = true
	case BreakerStateOpen:
		if ok = now >= mono.Time(b.until.Load()); ok {
			moved = true
			gen = b.moveLocked(BreakerStateHalfOpen, 1)
		}
	case BreakerStateHalfOpen:
		if ok = n < b.cfg.HalfOpen; ok {
			b.word.Store(packBreaker(gen, s, n+1))
		}
	}
	b.mu.Unlock()
	if moved {
		b.announce(BreakerStateHalfOpen, 0)
	}
	return gen, ok
}

// Ready reports whether a Permit at now would be given, if nobody else takes it first. It changes nothing.
func (b *Breaker) Ready(now mono.Time) bool {
	_, s, n := unpackBreaker(b.word.Load())
	switch s {
	case BreakerStateClosed:
		return true
	case BreakerStateOpen:
		return now >= mono.Time(b.until.Load())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return n < b.cfg.HalfOpen
}

// Report tells how a permitted request went. A gen older than the present one changes nothing.
func (b *Breaker) Report(gen uint32, success bool, now mono.Time) {
	// Fast path: closed, nothing failed, nothing fails.
	g, s, n := unpackBreaker(b.word.Load())
	if g != gen || success && s == BreakerStateClosed && n == 0 {
		return
	}
	b.mu.Lock()
	g, s, n = unpackBreaker(b.word.Load())
	if g != gen || s == BreakerStateOpen || b.cfg.FailureThreshold == 0 {
		b.mu.Unlock()
		return
	}
	to := s
	switch {
	case s == BreakerStateClosed && success:
		b.word.Store(packBreaker(g, s, 0))
	case s == BreakerStateClosed && n+1 < b.thresholdLocked(now):
		b.word.Store(packBreaker(g, s, n+1))
	case !success:
		to = BreakerStateOpen
		b.early = s == BreakerStateClosed && n+1 < b.cfg.FailureThreshold
		b.openLocked(now)
	default:
		b.successes++
		b.word.Store(packBreaker(g, s, max(n-1, 0)))
		if b.successes >= b.cfg.RecoveryThreshold {
			to = BreakerStateClosed
			b.closeLocked()
		}
	}
	wait := b.wait
	b.mu.Unlock()
	if to != s {
		b.announce(to, wait)
	}
}

// Cancel gives a permit back without a verdict.
func (b *Breaker) Cancel(gen uint32) {
	g, s, _ := unpackBreaker(b.word.Load())
	if g != gen || s != BreakerStateHalfOpen {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if g, s, n := unpackBreaker(b.word.Load()); g == gen && s == BreakerStateHalfOpen {
		b.word.Store(packBreaker(g, s, max(n-1, 0)))
	}
}

// HalfOpen ends the waiting of an open breaker, because something else saw the endpoint recover.
func (b *Breaker) HalfOpen() {
	b.mu.Lock()
	_, s, _ := unpackBreaker(b.word.Load())
	if s == BreakerStateOpen {
		b.moveLocked(BreakerStateHalfOpen, 0)
	}
	b.mu.Unlock()
	if s == BreakerStateOpen {
		b.announce(BreakerStateHalfOpen, 0)
	}
}

// warnedPart is the part of FailureThreshold that opens a warned breaker.
const warnedPart = 4

// Warn says that others see the endpoint fail: before until, a quarter of FailureThreshold opens the breaker, if it is closed.
// It opens nothing by itself. The last call counts, so 0 takes a warning back.
func (b *Breaker) Warn(until mono.Time) {
	b.mu.Lock()
	b.warned = until
	b.mu.Unlock()
}

func (b *Breaker) thresholdLocked(now mono.Time) int {
	if now < b.warned {
		return max(1, b.cfg.FailureThreshold/warnedPart)
	}
	return b.cfg.FailureThreshold
}

// openedEarly reports whether the last opening is owed to a warning.
func (b *Breaker) openedEarly() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.early
}

// Reconfigure puts new numbers in force; state, counts and permits stay. A breaker that is open stays so for as long as c would have
// told it when it opened. If c turns it off, it closes.
func (b *Breaker) Reconfigure(c BreakerConfig) {
	if b.configure(c) {
		b.announce(BreakerStateClosed, 0)
	}
}

// configure is Reconfigure, but leaves it to the caller to announce that it closed.
func (b *Breaker) configure(c BreakerConfig) (closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cfg = c
	_, s, _ := unpackBreaker(b.word.Load())
	switch {
	case s == BreakerStateClosed:
	case c.FailureThreshold == 0:
		b.closeLocked()
		return true
	case s == BreakerStateOpen:
		wait := c.wait(b.openings)
		b.until.Add(int64(wait - b.wait))
		b.wait = wait
	}
	return false
}

// State returns the present state. An open breaker past its timeout is open until the next Permit.
func (b *Breaker) State() BreakerState {
	_, s, _ := unpackBreaker(b.word.Load())
	return s
}

// Transitions returns how often the state has changed.
func (b *Breaker) Transitions() uint64 { return b.transitions.Load() }

func (b *Breaker) openLocked(now mono.Time) {
	b.openings++
	b.wait = b.cfg.wait(b.openings)
	b.until.Store(int64(now.Add(b.wait)))
	b.moveLocked(BreakerStateOpen, 0)
}

func (b *Breaker) closeLocked() {
	b.openings, b.wait = 0, 0
	b.moveLocked(BreakerStateClosed, 0)
}

func (b *Breaker) moveLocked(to BreakerState, count int) (gen uint32) {
	gen, _, _ = unpackBreaker(b.word.Load())
	gen++
	b.successes = 0
	b.word.Store(packBreaker(gen, to, count))
	b.transitions.Add(1)
	return gen
}

func (b *Breaker) announce(to BreakerState, wait time.Duration) {
	if b.changed != nil {
		b.changed(to, wait)
	}
}
