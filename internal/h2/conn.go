package h2

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"weir/internal/mono"
)

// Options say how connections are served. All but Acquire, Release and Gone must be there.
type Options struct {
	// Handle serves a stream in a goroutine of its own. The stream is over when it returns: an answer that is not whole is reset.
	Handle func(*Stream)
	// Gone is told, once at most, that a stream's client has left it while Handle has not returned. It must not block, nor call the stream or
	// the connection: it is called with the connection's lock held.
	Gone func(*Stream)
	// Acquire returns a stream that is the zero value or was given to Release, which gets it after Handle has returned. nil: the package's own.
	Acquire func() *Stream
	Release func(*Stream)

	Streams       int           // streams that may be open, or be reset while their handlers run, at once; further requests are refused
	HeadBytes     int           // of a head as HTTP/1 writes it; longer ones are cut off behind it, much longer ones end the connection
	HeadList      int           // what clients are told of that
	HeadTimeout   time.Duration // for a head that is not here yet, and for the preface
	IdleTimeout   time.Duration // without a stream
	Stall         time.Duration // at least, for a client that takes nothing of what is written
	Resets        int           // requests given up, at once; see floodgate
	ControlFrames int           // frames that ask for nothing, at once
}

// Bounds of what a client may have on its way in, unread: of a stream, and of all together.
const (
	streamWindow = 256 << 10
	connWindow   = 1 << 20
)

// Conn is the server's end of one connection.
type Conn struct {
	base
	o        *Options
	work     chan *Stream
	handlers sync.WaitGroup

	// Under the lock.
	settling int  // handlers whose exchanges are whole
	idle     int  // goroutines that wait for work
	quiet    bool // nothing is kept for the next request
	farewell
}

// Preface is what a client says first.
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// New returns a connection over nc, of which already was read.
func New(nc net.Conn, already []byte, o *Options) *Conn {
	c := &Conn{o: o, quiet: true, work: make(chan *Stream)}
	c.most, c.stall, c.queue, c.mostWindow = o.HeadBytes, o.Stall, mostQueued, connWindow
	c.begin(nc, already, c)
	c.gate = newFloodgate(o.Resets, o.ControlFrames, c.began)
	return c
}

// Serve serves the connection to its end, closes it, and waits for the handlers. The flood that has ended it is returned, with the frame that was
// too much.
func (c *Conn) Serve() (Flood, FrameType) {
	c.greet("", setting{settingStreams, uint32(c.o.Streams)}, setting{settingWindow, streamWindow}, setting{settingHeadSize, uint32(c.o.HeadList)}, setting{settingConnect, 1})
	err := c.preface()
	for err == nil {
		err = c.frame()
	}
	c.close(err)
	c.handlers.Wait()
	return c.gate.over, c.gate.by
}

func (c *Conn) preface() error {
	b, err := c.peek(len(Preface))
	if err != nil {
		return err
	}
	if string(b[:len(Preface)]) != Preface {
		return connError(ProtocolError)
	}
	c.in.r += len(Preface)
	return nil
}

// Until a connection has had no stream for quietAfter it keeps what the next one needs.
const quietAfter = 2 * time.Second

func (c *Conn) arm() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.calmLocked(); err != nil {
		return err
	}
	if c.doneLocked() {
		return errDone
	}
	now := mono.Now()
	due, why := c.dueLocked(now)
	if now >= due {
		return why
	}
	if tick := now.Add(min(quietAfter, c.o.IdleTimeout)); !c.quiet && tick < due {
		due = tick
	}
	c.readByLocked(due)
	return nil
}

// dueLocked is when reading ends, and what for.
func (c *Conn) dueLocked(now mono.Time) (due mono.Time, why error) {
	if due = c.headDueLocked(now, c.o.HeadTimeout); !c.greeted {
		due = c.began.Add(c.o.HeadTimeout)
	}
	if due != mono.Never {
		why = errLate
	}
	if c.running == 0 {
		if end := c.idleSince.Add(c.o.IdleTimeout); end < due {
			return end, errIdle
		}
		return due, why
	}
	return min(due, now.Add(c.o.IdleTimeout)), why // to look again: nobody moves the deadline when the last stream ends
}

func (c *Conn) rang() {
	c.mu.Lock()
	c.readBy = 0
	leave := 0
	if !c.quiet && c.running == 0 {
		c.quiet = true
		leave, c.idle = c.idle, 0
	}
	c.mu.Unlock()
	for range leave {
		c.work <- nil
	}
}

// close ends everything: streams, what is to be written, the socket.
func (c *Conn) close(err error) {
	c.mu.Lock()
	c.endFarewellLocked()
	last := c.lastLocked()
	c.mu.Unlock()
	tell := err == errIdle || err == errLate
	c.end(err, tell, last)
	c.mu.Lock()
	leave := c.idle
	c.idle = 0
	c.mu.Unlock()
	for range leave {
		c.work <- nil
	}
	if _, fault := errors.AsType[connError](err); tell || fault || err == errDone {
		c.linger()
	}
	c.nc.Close()
}

// How a connection ends that the client has not ended itself: what it was told must reach it, and would not if its unread bytes reset it.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

func (c *Conn) linger() {
	w, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || w.CloseWrite() != nil {
		return
	}
	c.nc.SetReadDeadline(time.Now().Add(lingerTime)) //nolint:errcheck // the read reports it
	io.CopyN(io.Discard, c.nc, lingerBytes)          //nolint:errcheck // it is only to be over
}

func (c *Conn) wholeLocked(*stream) { c.settling++ }

func (c *Conn) closedLocked(s *stream, gone bool) {
	s.dropLocked()
	if gone && !s.served.gone.Swap(true) && c.o.Gone != nil {
		c.o.Gone(s.served)
	}
}

func (c *Conn) resetLocked(*stream, Code) error { return errReset }
func (c *Conn) blamedLocked(Code) error         { return errReset }
func (c *Conn) overLocked(error) error          { return errConnOver }
func (c *Conn) goAwayLocked(uint32, Code) error { return nil }
