package gateway

import (
	"os"
	"sync"
	"time"
)

// alarm is the deadline of one direction of a connection that is not a socket. A call that is under way at that instant is ended, one that
// begins later fails at once, and the instant may be moved meanwhile. What was ended once cannot go on.
type alarm struct {
	check func() error // says at that instant whether it really is one, and then what the call fails with; nil: it is
	cut   func()       // ends the call under way
	// Both are called without a lock, in a goroutine of their own.

	mu    sync.Mutex
	at    time.Time // zero: never
	timer *time.Timer
	rung  bool  // at has passed
	busy  bool  // a call is under way
	why   error // it was cut
}

// set moves the deadline; a zero t is none.
func (a *alarm) set(t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at, a.rung = t, false
	if t.IsZero() {
		return // a timer that is armed finds that out
	}
	wait := time.Until(t)
	switch {
	case wait <= 0:
		if a.rung = true; a.busy {
			time.AfterFunc(0, a.ring)
		}
	case a.timer == nil:
		a.timer = time.AfterFunc(wait, a.ring)
	default:
		a.timer.Reset(wait)
	}
}

func (a *alarm) ring() {
	a.mu.Lock()
	wait := time.Until(a.at)
	late := !a.at.IsZero() && wait <= 0
	if !a.at.IsZero() && wait > 0 && a.timer != nil {
		a.timer.Reset(wait)
	}
	if a.rung = late; !late || !a.busy || a.why != nil {
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	why := os.ErrDeadlineExceeded
	if a.check != nil {
		why = a.check()
	}
	if why == nil {
		return
	}
	a.mu.Lock()
	a.why = why
	a.mu.Unlock()
	a.cut()
}

// begin says that a call begins, unless it is too late for it.
func (a *alarm) begin() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.why != nil:
		return a.why
	case a.rung:
		return os.ErrDeadlineExceeded
	}
	a.busy = true
	return nil
}

// end says that it has ended with err, and returns what that was if the call was cut.
func (a *alarm) end(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy = false
	if err != nil && a.why != nil {
		return a.why
	}
	return err
}

// stop ends the alarm for good.
func (a *alarm) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = time.Time{}
	if a.timer != nil {
		a.timer.Stop()
	}
}
