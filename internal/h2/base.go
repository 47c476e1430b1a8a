package h2

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"

	"weir/internal/mono"
)

// base is what both ends of a connection have in common.
type base struct {
	nc     net.Conn
	in     input
	dec    *hpack.Decoder
	side   side
	client bool
	most   int           // bytes of a head
	stall  time.Duration // at least, for a peer that takes nothing of what is written
	queue  int           // bytes that may wait to be written
	began  mono.Time

	greeted   bool      // the first settings have come
	stirred   bool      // a head or data has come since somebody looked
	opening   opening   // the head that is coming; of the reading goroutine
	headSince mono.Time // since when its rest is waited for; 0: it is not
	flushFn   func()

	mu         sync.Mutex
	streams    map[uint32]*stream // neither ended nor reset
	running    int                // of a server: handlers; of a client: streams
	last       uint32             // the highest stream that was opened
	past       past
	idleSince  mono.Time // since when it has had no stream
	told       bool      // a GOAWAY has said what is served: nothing is said of other streams
	recvWindow int64     // what the peer may send
	mostWindow int64     // of it at most
	owed       int64     // of it that was taken, and not given back
	sendWindow int64
	peerWindow int64 // of new streams
	allows     peerSettings
	readBy     mono.Time // the socket's deadline; 0: it has none
	enc        encoder
	gate       floodgate
	output
	err error // the connection is over
}

// peerSettings are what the peer of a client says about what it takes.
type peerSettings struct {
	streams  uint32
	headList uint32 // as RFC 9113, section 6.5.2, counts
	connect  bool   // extended CONNECT
}

// side is what the end of a connection does its own way. …Locked is called with the connection's lock held; the others, in the goroutine that
// reads.
type side interface {
	arm() error                       // sets the socket's deadline before a read, or returns why there is no more to be read
	rang()                            // that has passed
	beginHead() error                 // opening has begun: says whose head it is
	endHead(id uint32, ok bool) error // it has come whole; ok: it is well-formed
	wholeLocked(s *stream)            // both sides of s have said all
	closedLocked(s *stream, gone bool)
	resetLocked(s *stream, code Code) error // what a stream's users are told that the peer has reset
	blamedLocked(code Code) error           // what they are told that was reset here for its peer's fault
	overLocked(err error) error             // what they are told when the connection has ended
	heardLocked(ping []byte) bool           // takes a ping's answer, and reports whether it was waited for
	goAwayLocked(last uint32, code Code) error
}

func (c *base) begin(nc net.Conn, already []byte, s side) {
	c.nc, c.side = nc, s
	c.began = mono.Now()
	c.idleSince, c.streams = c.began, map[uint32]*stream{}
	c.recvWindow, c.sendWindow, c.peerWindow = c.mostWindow, initialWindow, initialWindow
	c.allows = peerSettings{streams: 1<<32 - 1, headList: 1<<32 - 1}
	c.flushFn, c.send, c.flushed.L = c.flush, c.sendRest, &c.mu
	c.in.begin(nc, already)
	c.dec = hpack.NewDecoder(4096, c.field)
	c.dec.SetMaxStringLength(c.mostEncoded())
	c.enc.reset()
}

// mostEncoded is how long a head may be in HPACK, and each string of it without.
func (c *base) mostEncoded() int { return 2*c.most + 16<<10 }

var (
	errIdle  = errors.New("idle for too long")
	errLate  = errors.New("a head did not come in time")
	errDone  = errors.New("done")
	errStall = errors.New("the peer takes nothing")
)

// setting is one of SETTINGS.
type setting struct {
	id    uint16
	value uint32
}

// greet sends settings, behind what stands before them.
func (c *base) greet(before string, settings ...setting) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := append(c.roomLocked(), before...)
	b = appendHeader(b, len(settings)*settingLength, frameSettings, 0, 0)
	for _, s := range settings {
		b = appendSetting(b, s.id, s.value)
	}
	c.out = appendWindowUpdate(b, 0, c.mostWindow-initialWindow)
	c.kickLocked()
}

// peek waits for n bytes, and returns them and what is behind them. They are valid until the next call.
func (c *base) peek(n int) ([]byte, error) {
	for c.in.buffered() < n {
		if err := c.side.arm(); err != nil {
			return nil, err
		}
		got, err := c.in.read(n)
		if got > 0 {
			continue
		}
		if err == nil {
			err = io.EOF
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
		c.side.rang()
	}
	return c.in.bytes(), nil
}

// headDueLocked is when the rest of the head that is coming must be here, if one is.
func (c *base) headDueLocked(now mono.Time, within time.Duration) mono.Time {
	if c.headSince == 0 && c.waitsForHead() {
		c.headSince = now
	}
	if c.headSince == 0 {
		return mono.Never
	}
	return c.headSince.Add(within)
}

// waitsForHead reports whether the rest of a head is waited for.
func (c *base) waitsForHead() bool {
	if c.opening.stream != 0 {
		return true
	}
	b := c.in.bytes()
	return len(b) >= frameHeader && FrameType(b[3]) == frameHeaders
}

// readByLocked has the read that comes end then at the latest. A deadline that is too early is left: it finds that out, and costs less than to
// move it.
func (c *base) readByLocked(due mono.Time) {
	if c.readBy == 0 || c.readBy > due {
		c.deadlineLocked(due)
	}
}

// deadlineLocked sets the socket's. An error is left to the read to report.
func (c *base) deadlineLocked(at mono.Time) {
	c.readBy = at
	var t time.Time
	if at != mono.Never {
		t = at.Wall()
	}
	c.nc.SetReadDeadline(t) //nolint:errcheck // see above
}

// wakeReaderLocked has a read that waits look at what there is.
func (c *base) wakeReaderLocked() { c.deadlineLocked(1) }

// lastWrite is how long the last words of a connection may take.
const lastWrite = time.Second

// end ends all streams, and waits for what is to be written. tell: the peer is to hear of it.
func (c *base) end(err error, tell bool, last uint32) {
	c.in.release()
	code, fault := errors.AsType[connError](err)
	c.mu.Lock()
	if (tell || fault) && c.err == nil {
		c.out = appendGoAway(c.roomLocked(), last, Code(code))
	}
	c.dieLocked(err)
	c.nc.SetWriteDeadline(time.Now().Add(lastWrite)) //nolint:errcheck // the write reports it
	c.kickLocked()
	for c.flushing {
		c.flushed.Wait()
	}
	c.mu.Unlock()
}

// dieLocked ends all streams: the connection is over.
func (c *base) dieLocked(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	why := c.side.overLocked(err)
	for _, s := range c.streams {
		c.closeLocked(s, why, true)
	}
}

// failLocked ends the connection from another goroutine than the reading one.
func (c *base) failLocked(err error) {
	c.dieLocked(err)
	c.wakeReaderLocked()
}

// closeLocked ends a stream. Whoever waits in it is told why; gone: by its peer's doing.
func (c *base) closeLocked(s *stream, why error, gone bool) {
	delete(c.streams, s.id)
	s.err = why
	c.side.closedLocked(s, gone)
	s.readable.Signal()
	s.writable.Signal()
}

// past remembers how the last streams have ended.
type past struct {
	list [32]struct {
		id  uint32
		how ending
	}
	next int
}

// ending says who may not know yet that a stream is over.
type ending uint8

const (
	endedUnknown ending = iota
	endedByBoth         // the peer has ended or reset it
	endedHere           // frames of the peer's may be under way
)

func (p *past) add(id uint32, how ending) {
	p.list[p.next].id, p.list[p.next].how = id, how
	p.next = (p.next + 1) % len(p.list)
}

func (p *past) of(id uint32) ending {
	for i := range p.list {
		if p.list[i].id == id {
			return p.list[i].how
		}
	}
	return endedUnknown
}
