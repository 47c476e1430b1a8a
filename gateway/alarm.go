package gateway

import (
	"os"
	"sync"
	"time"
)

// alarm is the deadline of one direction of a connection that is not a socket. It does what a socket's does: a call that is under way at
// that instant is ended, one that begins later fails at once, and the instant may be moved meanwhile. The zero value needs fire.
type alarm struct {
	fire func() // ends the call under way; called in a goroutine of its own, when the alarm may have been moved already

	mu    sync.Mutex
	at    time.Time // zero: never
	timer *time.Timer
	rung  bool // at has passed
	busy  bool // a call is under way
}

// set moves the deadline; a zero t is none.
func (a *alarm) set(t time.Time) {
	a.mu.Lock()
	a.at, a.rung = t, false
	if t.IsZero() {
		a.mu.Unlock()
		return // a timer that is armed finds that out
	}
	wait := time.Until(t)
	if wait <= 0 {
		if a.rung = true; a.busy {
			time.AfterFunc(0, a.fire)
		}
		a.mu.Unlock()
		return
	}
	if a.timer == nil {
		a.timer = time.AfterFunc(wait, a.ring)
	} else {
		a.timer.Reset(wait)
	}
	a.mu.Unlock()
}

func (a *alarm) ring() {
	a.mu.Lock()
	if a.at.IsZero() || a.rung {
		a.mu.Unlock()
		return
	}
	if wait := time.Until(a.at); wait > 0 {
		a.timer.Reset(wait)
		a.mu.Unlock()
		return
	}
	a.rung = true
	fire := a.busy
	a.mu.Unlock()
	if fire {
		a.fire()
	}
}

// begin says that a call begins, unless it is too late for it.
func (a *alarm) begin() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rung {
		return os.ErrDeadlineExceeded
	}
	a.busy = true
	return nil
}

// end says that it has ended, and reports whether that was too late.
func (a *alarm) end() (late bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy = false
	return a.rung
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
