package gateway

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// errCutLate is os.ErrDeadlineExceeded of a call that was ended: that the deadline is moved now is of no more use.
var errCutLate = fmt.Errorf("ended: %w", os.ErrDeadlineExceeded)

// alarm is the deadline of one direction of a connection that is not a socket. A call that is under way at that instant is ended, one that
// begins later fails at once, and the instant may be moved meanwhile. What was ended once cannot go on.
type alarm struct {
	check func() error // says at that instant whether it really is one, and then what the call fails with; nil: it is
	cut   func()       // ends the call under way; called with mu held, and never after stop

	mu    sync.Mutex
	at    time.Time // zero: never
	timer *time.Timer
	busy  bool  // a call is under way
	why   error // it was cut

	stopped bool
	life    int // of those that it has had
}

// set moves the deadline; a zero t is none. It costs a timer only if a call is under way, or when one begins.
func (a *alarm) set(t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = t
	if a.busy {
		a.armLocked()
	}
}

// armLocked has ring called at the deadline. A timer that is armed for an earlier one finds that out.
func (a *alarm) armLocked() {
	switch {
	case a.at.IsZero():
	case a.timer == nil:
		a.timer = time.AfterFunc(time.Until(a.at), a.ring)
	default:
		a.timer.Reset(time.Until(a.at))
	}
}

func (a *alarm) ring() {
	a.mu.Lock()
	if a.at.IsZero() || !a.busy || a.why != nil {
		a.mu.Unlock()
		return
	}
	if time.Now().Before(a.at) {
		a.armLocked()
		a.mu.Unlock()
		return
	}
	life := a.life
	a.mu.Unlock()
	why := errCutLate
	if a.check != nil {
		why = a.check()
	}
	switch why {
	case nil:
		return
	case os.ErrDeadlineExceeded:
		why = errCutLate
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stopped && a.life == life {
		a.why = why
		a.cut()
	}
}

// begin says that a call begins, unless it is too late for it.
func (a *alarm) begin() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.why != nil:
		return a.why
	case !a.at.IsZero() && !time.Now().Before(a.at):
		return os.ErrDeadlineExceeded
	}
	a.busy = true
	a.armLocked()
	return nil
}

// end says that it has ended with err, and returns what that was if the call was cut.
func (a *alarm) end(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy = false; a.timer != nil {
		a.timer.Stop()
	}
	if err != nil && a.why != nil {
		return a.why
	}
	return err
}

// stop ends the alarm for good.
func (a *alarm) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at, a.stopped = time.Time{}, true
	if a.timer != nil {
		a.timer.Stop()
	}
}

// renew makes the alarm one of another connection.
func (a *alarm) renew() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at, a.busy, a.why, a.stopped = time.Time{}, false, nil, false
	a.life++
}

// alarms are the deadlines of both directions, as a net.Conn has them: after a call that was too late the stream is reset.
type alarms struct{ reading, writing alarm }

// SetDeadline sets both deadlines.
func (a *alarms) SetDeadline(t time.Time) error {
	a.reading.set(t)
	a.writing.set(t)
	return nil
}

// SetReadDeadline says until when a read may wait.
func (a *alarms) SetReadDeadline(t time.Time) error {
	a.reading.set(t)
	return nil
}

// SetWriteDeadline says until when a write may wait.
func (a *alarms) SetWriteDeadline(t time.Time) error {
	a.writing.set(t)
	return nil
}
