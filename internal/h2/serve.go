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
			c.tellResetLocked(&s.stream, InternalError)
		case !s.whole:
			c.tellResetLocked(&s.stream, NoError)
		}
		c.closeLocked(&s.stream, errCut, false)
	}
	if whole {
		c.gate.served(body)
	} else if gone {
		c.gate.left(mono.Now())
	}
	if s.whole {
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
