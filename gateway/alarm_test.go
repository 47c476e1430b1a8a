package gateway

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/mono"
)

// call is one that takes so long, unless the alarm cuts it.
func call(a *alarm, cut <-chan struct{}, takes time.Duration) error {
	if err := a.begin(); err != nil {
		return err
	}
	select {
	case <-cut:
		return a.end(errors.New("cut"))
	case <-time.After(takes):
		return a.end(nil)
	}
}

func TestAlarm(t *testing.T) {
	errMine := errors.New("mine")
	f := func(name string, check func() error, want error, do func(a *alarm)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			cut := make(chan struct{}, 1)
			a := &alarm{check: check, cut: func() { cut <- struct{}{} }}
			do(a)
			if err := call(a, cut, time.Second); !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
			a.stop()
		})
	}
	in := func(a *alarm, d time.Duration) { a.set(time.Now().Add(d)) }
	f("none", nil, nil, func(*alarm) {})
	f("in time", nil, nil, func(a *alarm) { in(a, 2*time.Second) })
	f("too late", nil, os.ErrDeadlineExceeded, func(a *alarm) { in(a, time.Second/2) })
	f("too late to begin", nil, os.ErrDeadlineExceeded, func(a *alarm) { in(a, -1) })
	f("taken back", nil, nil, func(a *alarm) { in(a, -1); a.set(time.Time{}) })
	f("moved on meanwhile", nil, nil, func(a *alarm) {
		in(a, time.Second/2)
		time.AfterFunc(time.Second/4, func() { in(a, 2*time.Second) })
	})
	f("moved near meanwhile", nil, os.ErrDeadlineExceeded, func(a *alarm) {
		in(a, time.Hour)
		time.AfterFunc(time.Second/4, func() { in(a, time.Second/4) })
	})
	f("aborted meanwhile", func() error { return errMine }, errMine, func(a *alarm) {
		time.AfterFunc(time.Second/4, func() { a.set(time.Unix(1, 0)) })
	})
	f("none after all", func() error { return nil }, nil, func(a *alarm) { in(a, time.Second/2) })
	f("passed while nothing was under way, and moved", nil, nil, func(a *alarm) {
		in(a, time.Second)
		time.Sleep(2 * time.Second)
		in(a, 2*time.Second)
	})
	f("cut for good", nil, os.ErrDeadlineExceeded, func(a *alarm) {
		in(a, time.Second/2)
		if err := call(a, make(chan struct{}), time.Second); err != nil {
			t.Error(err) // it had come through
		}
		a.set(time.Time{})
	})
}

// TestAlarmStops: nothing is cut after stop.
func TestAlarmStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &alarm{cut: func() { t.Error("cut") }}
		a.set(time.Now().Add(time.Second))
		if err := a.begin(); err != nil {
			t.Fatal(err)
		}
		a.stop()
		time.Sleep(time.Minute)
	})
}

// TestAlarmRenewed: what rang for one connection does not cut the next one that has the alarm.
func TestAlarmRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cuts, checks atomic.Int32
		a := &alarm{cut: func() { cuts.Add(1) }}
		a.check = func() error {
			if checks.Add(1) == 1 {
				a.stop()
				a.renew()
				a.begin() //nolint:errcheck // it is not late
			}
			return os.ErrDeadlineExceeded
		}
		a.set(time.Now().Add(time.Second))
		a.begin() //nolint:errcheck // it is not late
		time.Sleep(2 * time.Second)
		if cuts.Load() > 0 {
			t.Error("it was cut")
		}
		a.set(time.Now().Add(time.Second))
		time.Sleep(2 * time.Second)
		if n := cuts.Load(); n != 1 {
			t.Errorf("%d cuts of its own", n)
		}
		a.stop()
	})
}

// TestCutForGood: a read that was ended for its deadline does not begin again because that is moved a moment later.
func TestCutForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cutConn{cut: make(chan struct{}, 1)}
		w := &wire{Conn: c, final: true}
		c.reading.cut = func() { c.cut <- struct{}{} }
		c.reading.check = func() error {
			err := w.lateRead(os.ErrDeadlineExceeded)
			w.readBy(mono.Now().Add(time.Hour))
			return err
		}
		w.readBy(mono.Now().Add(time.Second))
		if _, err := w.Read(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		if c.reads > 1 {
			t.Errorf("%d reads", c.reads)
		}
	})
}

// cutConn is a connection whose reads wait until they are cut.
type cutConn struct {
	net.Conn
	reading alarm
	cut     chan struct{}
	reads   int
}

func (c *cutConn) Read([]byte) (int, error) {
	if c.reads++; c.reads > 10 {
		return 0, errors.New("it spins")
	}
	if err := c.reading.begin(); err != nil {
		return 0, err
	}
	<-c.cut
	return 0, c.reading.end(errors.New("cut"))
}

func (c *cutConn) SetReadDeadline(t time.Time) error {
	c.reading.set(t)
	return nil
}
