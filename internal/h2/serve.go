package h2

import "weir/internal/mono"

// serve serves streams, one after the other.
func (c *Conn) serve(s *Stream) {
	defer c.handlers.Done()
	for s != nil {
		c.o.Handle(s)
		if !c.finish(s) {
			return
		}
		s = <-c.work
	}
}

// mostIdle is how many goroutines of a connection wait for the next request.
const mostIdle = 32

// finish ends a stream whose handler has returned, and reports whether the goroutine may serve another.
func (c *Conn) finish(s *Stream) (waits bool) {
	c.mu.Lock()
	whole, gone, body := s.localEnd, s.gone.Load(), s.body
	if s.err == nil {
		switch {
		case !whole:
			c.resetLocked(s, InternalError)
		case !s.settling:
			c.resetLocked(s, NoError)
		}
		c.closeLocked(s, errCut, false)
	}
	if whole {
		c.gate.served(body)
	} else if gone {
		c.gate.left(mono.Now())
	}
	if s.settling {
		c.settling--
	}
	if c.running--; c.running == 0 {
		c.idleSince = mono.Now()
	}
	if c.doneLocked() || c.gate.over != NoFlood && c.err == nil {
		c.wakeReaderLocked()
	}
	if waits = c.err == nil && c.idle < mostIdle; waits {
		c.idle++
	}
	c.kickLocked()
	c.mu.Unlock()
	c.o.release(s)
	return waits
}

// closeLocked ends a stream. Whoever waits in it is told why; gone: by its client's doing.
func (c *Conn) closeLocked(s *Stream, why error, gone bool) {
	delete(c.streams, s.id)
	s.err = why
	s.dropLocked()
	s.readable.Signal()
	s.writable.Signal()
	if gone && !s.gone.Swap(true) && c.o.Gone != nil {
		c.o.Gone(s)
	}
}
