package gateway

import (
	"context"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"weir/tls"
)

// TestDrainWaitsForWhatItCuts: requests that are cut are accounted for when Drain returns, and one that does not end keeps it only so long,
// once.
func TestDrainWaitsForWhatItCuts(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	f := func(name string, takes, least, most time.Duration, isTunnel bool, want int) {
		t.Helper()
		g := newGateway(t, quotaRoute)
		mine, _ := socketPair(t)
		c := &h1conn{gw: g, nc: &tls.Conn{Raw: mine}}
		c.state.Store(uint64(phaseActive))
		g.enroll(c)
		if isTunnel {
			g.enrollTunnel(&tunnel{over: true})
		}
		var settled atomic.Bool
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			mine.Read(make([]byte, 1)) //nolint:errcheck // it ends when Drain closes it
			time.Sleep(takes)
			settled.Store(true)
			g.leave(c)
		}()
		begin := time.Now()
		left := g.Drain(over)
		if took := time.Since(begin); left != want || took < least || took > most || takes < cutGrace && !settled.Load() {
			t.Errorf("%s: %d left after %v, settled: %v", name, left, took, settled.Load())
		}
		begin = time.Now()
		if g.Drain(over); time.Since(begin) > cutGrace/2 {
			t.Errorf("%s: once more: %v", name, time.Since(begin))
		}
		<-ended
	}
	f("a request", 50*time.Millisecond, 0, cutGrace, false, 1)
	f("a tunnel", 50*time.Millisecond, 0, cutGrace, true, 0)
	f("what does not end", 2*cutGrace, cutGrace, 2*cutGrace, false, 1)
}

// TestDrainEndsWaits: who waits for an endpoint when the time is over waits no longer.
func TestDrainEndsWaits(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	g := newGateway(t, quotaRoute)
	mine, _ := socketPair(t)
	up, _ := socketPair(t)
	c, u := &h1conn{gw: g, nc: &tls.Conn{Raw: mine}}, new(upconn)
	u.Conn = up
	g.enroll(c)
	c.waitFor(u)
	ended := make(chan error, 1)
	go func() {
		_, err := u.Read(make([]byte, 1))
		if c.waited() {
			err = nil
		}
		g.leave(c)
		ended <- err
	}()
	begin := time.Now()
	if g.Drain(over); time.Since(begin) >= cutGrace {
		t.Errorf("it took %v", time.Since(begin))
	}
	up.Close()
	if err := <-ended; err != errAborted {
		t.Errorf("the wait ended with %v", err)
	}
}

// slowToEnd is a connection that takes its time to be told that reads are over.
type slowToEnd struct {
	net.Conn
	asked, let chan struct{}
}

func (s *slowToEnd) SetReadDeadline(time.Time) error {
	close(s.asked)
	<-s.let
	return nil
}

// TestEndedWaitIsOver: a wait that was ended from outside is not over before that is: the connection, or the endpoint's, may be another
// request's soon, which would be ended instead.
func TestEndedWaitIsOver(t *testing.T) {
	up := &slowToEnd{asked: make(chan struct{}), let: make(chan struct{})}
	c, u := new(h1conn), new(upconn)
	u.Conn = up
	c.waitFor(u)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.endWait()
	}()
	<-up.asked
	waited := make(chan bool)
	go func() { waited <- c.waited() }()
	for range 1000 {
		runtime.Gosched()
		select {
		case <-waited:
			t.Fatal("the request went on while its wait was being ended")
		default:
		}
	}
	close(up.let)
	if <-waited {
		t.Error("nobody ended the wait")
	}
	<-done
}
