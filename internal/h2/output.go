package h2

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"time"

	"weir/internal/mono"
	"weir/internal/socket"
)

// output is what is to be written, in whole frames, and who waits to add to it. All of it is under the connection's lock.
type output struct {
	out      []byte
	flushing bool      // somebody writes, and will write what is added
	flushed  sync.Cond // flushing has become false
	turns    []*stream // that wait for room, or for the connection's window
	writeBy  mono.Time // the socket's deadline

	send func(fd uintptr) bool // writes rest, as far as the socket takes it
	rest []byte                // of who flushes
}

// Bounds of what may wait for a peer that does not read: of streams' frames, and with the connection's own.
const (
	mostOut    = largeBuffer
	mostQueued = mostOut + 64<<10
	leastPiece = 1 << 10 // of a body: smaller ones wait for room, unless there is no more of it
)

// growLocked makes room for n bytes more.
func (c *base) growLocked(n int) {
	need := len(c.out) + n
	if need <= cap(c.out) || cap(c.out) >= largeBuffer {
		return
	}
	var b []byte
	if need <= smallBuffer {
		b = small.Get().(*[smallBuffer]byte)[:0]
	} else {
		b = large.Get().(*[largeBuffer]byte)[:0]
	}
	b = append(b, c.out...)
	freeOut(c.out)
	c.out = b
}

// roomLocked returns the output with room for what the connection itself has to say.
func (c *base) roomLocked() []byte {
	c.growLocked(128)
	return c.out
}

func freeOut(b []byte) {
	switch cap(b) {
	case smallBuffer:
		small.Put((*[smallBuffer]byte)(b[:smallBuffer]))
	case largeBuffer:
		large.Put((*[largeBuffer]byte)(b[:largeBuffer]))
	}
}

// kickLocked has what was added written.
func (c *base) kickLocked() {
	if !c.flushing && len(c.out) > 0 {
		c.flushing = true
		go c.flushFn()
	}
}

// flushHereLocked writes what there is in the goroutine that has it, which costs less than another one, as far as that does not wait.
func (c *base) flushHereLocked() {
	b := c.out
	c.out = nil
	c.passLocked()
	c.mu.Unlock()
	c.rest = b
	c.in.raw.Write(c.send) //nolint:errcheck // flush meets it too
	n := len(b) - len(c.rest)
	c.rest = nil
	c.mu.Lock()
	if n < len(b) {
		more := c.out
		c.out = append(b[:copy(b, b[n:])], more...)
		freeOut(more)
	} else {
		freeOut(b)
	}
	if len(c.out) > 0 {
		go c.flushFn()
		return
	}
	c.flushing = false
	c.flushed.Broadcast()
}

// sendRest is tried once. It cannot block, so the scheduler is not told.
func (c *base) sendRest(fd uintptr) bool {
	for len(c.rest) > 0 {
		n, err := socket.Send(fd, c.rest)
		if err != 0 {
			break
		}
		c.rest = c.rest[n:]
	}
	return true
}

// flush writes what there is until there is no more.
func (c *base) flush() {
	runtime.Gosched() // others that are ready add what they have
	c.mu.Lock()
	for len(c.out) > 0 {
		b := c.out
		c.out = nil
		c.passLocked()
		c.stallLocked()
		c.mu.Unlock()
		err := c.write(b)
		freeOut(b)
		c.mu.Lock()
		if err != nil {
			c.failLocked(err)
			freeOut(c.out)
			c.out = nil
		}
	}
	c.flushing = false
	c.flushed.Broadcast()
	c.mu.Unlock()
}

// stallLocked bounds the write that comes. It costs a call on the socket once in a while.
func (c *base) stallLocked() {
	if now := mono.Now(); c.err == nil && c.writeBy < now.Add(c.stall) {
		c.writeBy = now.Add(c.stall + c.stall/2)
		c.nc.SetWriteDeadline(time.Now().Add(c.stall + c.stall/2)) //nolint:errcheck // the write reports it
	}
}

// write writes all of b. A peer in clear text that takes some of it in time may go on.
func (c *base) write(b []byte) error {
	for {
		n, err := c.nc.Write(b)
		if err == nil {
			return nil
		}
		if b = b[n:]; !errors.Is(err, os.ErrDeadlineExceeded) || c.in.raw == nil {
			return err
		}
		c.mu.Lock()
		over := c.err != nil
		c.writeBy = 0
		c.stallLocked()
		c.mu.Unlock()
		if n == 0 || over {
			return errStall
		}
	}
}

// turnLocked waits until s may add a frame with want bytes of data, or as many of them as it returns; a frame without any needs no window.
func (s *stream) turnLocked(want int) (n int, err error) {
	c := s.c
	for given := false; ; given = !s.queued {
		if err := s.writeErrLocked(); err != nil {
			c.unqueueLocked(s)
			c.passLocked()
			return 0, err
		}
		switch s.needsWindow = want > 0; {
		case want > 0 && s.sendWindow <= 0:
			c.passLocked()
		case (given || want == 0 || len(c.turns) == 0) && c.fitsLocked(want):
			return s.mayLocked(want), nil
		case !s.queued:
			s.queued = true
			c.turns = append(c.turns, s)
		}
		c.kickLocked()
		s.writable.Wait()
	}
}

// mayLocked is how many of want bytes the next frame may hold.
func (s *stream) mayLocked(want int) int {
	room := mostOut - len(s.c.out) - frameHeader
	return max(0, min(want, maxFrame, room, int(s.sendWindow), int(s.c.sendWindow)))
}

func (s *stream) writeErrLocked() error {
	if s.err == nil && s.localEnd {
		return errEnded
	}
	return s.err
}

// fitsLocked reports whether a frame of a body of which want bytes are left may be added.
func (c *base) fitsLocked(want int) bool {
	return len(c.out)+frameHeader+min(want, leastPiece) <= mostOut && (want == 0 || c.sendWindow > 0)
}

// passLocked gives the next of those that wait a turn, if it has use for one.
func (c *base) passLocked() {
	for i, s := range c.turns {
		want := 0
		if s.needsWindow {
			want = leastPiece
		}
		if c.fitsLocked(want) {
			c.turns = append(c.turns[:i], c.turns[i+1:]...)
			s.queued = false
			s.writable.Signal()
			return
		}
	}
}

func (c *base) unqueueLocked(s *stream) {
	for i, t := range c.turns {
		if t == s {
			c.turns = append(c.turns[:i], c.turns[i+1:]...)
			break
		}
	}
	s.queued = false
}
