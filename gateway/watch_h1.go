package gateway

import (
	"golang.org/x/sys/unix"

	"weir/internal/mono"
)

// What others than its own goroutine do to a connection: the sweep, and draining.

// waitFor says that nothing will be read from the client until the upstream has answered; waited ends that and reports
// false if the client has left meanwhile: the upstream's connection is spoiled then, and whoever has ended the wait is done with c, which
// may go on to another request.
func (c *h1conn) waitFor(u *upconn) {
	c.up.Store(u)
	c.state.Store(c.number<<phaseBits | uint64(phaseWaiting))
	if c.stream != nil && c.stream.gone() {
		c.endWait() // it left before, and nobody will be told again
	}
}

func (c *h1conn) waited() bool {
	if c.state.CompareAndSwap(c.number<<phaseBits|uint64(phaseWaiting), c.number<<phaseBits|uint64(phaseActive)) {
		return true
	}
	c.ending.Lock()
	defer c.ending.Unlock()
	return false
}

// waitedATick reports whether c waits for an upstream and did so at the last call. Only the sweep calls it.
func (c *h1conn) waitedATick() bool {
	s := c.state.Load()
	same := s == c.seen && phase(s&(1<<phaseBits-1)) == phaseWaiting
	c.seen = s
	return same
}

// idle reports whether c waits for a request.
func (c *h1conn) idle() bool { return phase(c.state.Load()&(1<<phaseBits-1)) == phaseIdle }

// endIfGone ends the exchange if the client has closed its side.
func (c *h1conn) endIfGone() {
	if c.gone() {
		c.endWaitOf(c.seen)
	}
}

// endWait ends the wait for an upstream, if c is in one: nobody is there any more for the answer.
func (c *h1conn) endWait() {
	if s := c.state.Load(); phase(s&(1<<phaseBits-1)) == phaseWaiting {
		c.endWaitOf(s)
	}
}

// endWaitOf ends the wait that state says c is in, if it still is.
func (c *h1conn) endWaitOf(state uint64) {
	c.ending.Lock()
	defer c.ending.Unlock()
	if c.state.CompareAndSwap(state, state|uint64(phaseEnded)) {
		c.up.Load().abort()
	}
}

// kill closes the connection at once, past TLS, whose goodbye would look like a clean end.
func (c *h1conn) kill() {
	if c.stream != nil {
		c.stream.kill()
		return
	}
	c.nc.Raw.Close() //nolint:errcheck // nothing to be done about it
}

// gone reports whether the client has closed its side.
func (c *h1conn) gone() (gone bool) {
	if c.stream != nil {
		return c.stream.gone()
	}
	raw, err := c.nc.Raw.SyscallConn()
	if err != nil {
		return false
	}
	if !c.nc.Secure {
		return newPeeker(raw).gone()
	}
	err = raw.Control(func(fd uintptr) { // a close_notify alert stands before the end of the stream
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(p, 0)
		gone = n > 0 && err == nil
	})
	return gone || err != nil
}

// Gone reports whether the client has closed its side. An HTTP/1.1 client that half-closes after its request counts as gone, as it
// does while it waits for an endpoint.
func (x *h1) Gone() bool { return x.conn.gone() }

// endSoon ends c if it waits for a request, and bounds the wait for the rest of a request's header.
func (c *h1conn) endSoon() {
	switch s := c.state.Load(); phase(s & (1<<phaseBits - 1)) {
	case phaseIdle:
		c.rouse()
	case phaseHead:
		c.hastenRead(mono.Now().Add(drainHead))
	}
}
