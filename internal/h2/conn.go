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

// Conn is one connection.
type Conn struct {
	nc    net.Conn
	o     *Options
	in    input
	dec   *hpack.Decoder
	began mono.Time

	greeted   bool      // the first settings have come
	opening   opening   // the head that is coming; of the reading goroutine
	headSince mono.Time // since when its rest is waited for; 0: it is not
	work      chan *Stream
	flushFn   func()
	handlers  sync.WaitGroup

	mu         sync.Mutex
	streams    map[uint32]*Stream // neither ended nor reset
	running    int                // handlers
	settling   int                // of them, whose exchanges are whole
	idle       int                // goroutines that wait for work
	last       uint32             // the highest stream that was opened
	past       past
	idleSince  mono.Time
	quiet      bool  // nothing is kept for the next request
	recvWindow int64 // what the client may send
	owed       int64 // of it that was taken, and not given back
	sendWindow int64
	peerWindow int64     // of new streams
	readBy     mono.Time // the socket's deadline; 0: it has none
	enc        encoder
	gate       floodgate
	output
	farewell
	err error // the connection is over
}

// Preface is what a client says first.
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// New returns a connection over nc, of which already was read.
func New(nc net.Conn, already []byte, o *Options) *Conn {
	now := mono.Now()
	c := &Conn{
		nc: nc, o: o, began: now, idleSince: now, quiet: true, streams: map[uint32]*Stream{}, work: make(chan *Stream),
		recvWindow: connWindow, sendWindow: initialWindow, peerWindow: initialWindow, gate: newFloodgate(o.Resets, o.ControlFrames, now),
	}
	c.flushFn, c.send, c.flushed.L = c.flush, c.sendRest, &c.mu
	c.in.begin(nc, already)
	c.dec = hpack.NewDecoder(4096, c.field)
	c.dec.SetMaxStringLength(mostEncoded(o))
	c.enc.reset()
	return c
}

// mostEncoded is how long a head may be in HPACK, and each string of it without.
func mostEncoded(o *Options) int { return 2*o.HeadBytes + 16<<10 }

var (
	errIdle  = errors.New("idle for too long")
	errLate  = errors.New("a head did not come in time")
	errDone  = errors.New("done")
	errStall = errors.New("the client takes nothing")
)

// Serve serves the connection to its end, closes it, and waits for the handlers. The flood that has ended it is returned, with the frame that was
// too much.
func (c *Conn) Serve() (Flood, FrameType) {
	c.greet()
	err := c.preface()
	for err == nil {
		err = c.frame()
	}
	c.end(err)
	c.handlers.Wait()
	return c.gate.over, c.gate.by
}

// greet sends the settings.
func (c *Conn) greet() {
	c.mu.Lock()
	defer c.mu.Unlock()
	settings := [...]struct {
		id    uint16
		value uint32
	}{
		{settingStreams, uint32(c.o.Streams)}, {settingWindow, streamWindow}, {settingHeadSize, uint32(c.o.HeadList)}, {settingConnect, 1},
	}
	b := appendHeader(c.roomLocked(), len(settings)*settingLength, frameSettings, 0, 0)
	for _, s := range settings {
		b = appendSetting(b, s.id, s.value)
	}
	c.out = appendWindowUpdate(b, 0, connWindow-initialWindow)
	c.kickLocked()
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

// peek waits for n bytes, and returns them and what is behind them. They are valid until the next call.
func (c *Conn) peek(n int) ([]byte, error) {
	for c.in.buffered() < n {
		if err := c.arm(); err != nil {
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
		c.rang()
	}
	return c.in.bytes(), nil
}

// Until a connection has had no stream for quietAfter it keeps what the next one needs.
const quietAfter = 2 * time.Second

// arm sets the socket's deadline before a read, or returns why there is no more to be read. A deadline that is too early is left: it finds that
// out, and costs less than to move it.
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
	if c.readBy == 0 || c.readBy > due {
		c.deadlineLocked(due)
	}
	return nil
}

// dueLocked is when reading ends, and what for.
func (c *Conn) dueLocked(now mono.Time) (due mono.Time, why error) {
	due, why = mono.Never, nil
	if c.headSince == 0 && c.waitsForHead() {
		c.headSince = now
	}
	switch {
	case !c.greeted:
		due, why = c.began.Add(c.o.HeadTimeout), errLate
	case c.headSince != 0:
		due, why = c.headSince.Add(c.o.HeadTimeout), errLate
	}
	if c.running == 0 {
		if end := c.idleSince.Add(c.o.IdleTimeout); end < due {
			return end, errIdle
		}
		return due, why
	}
	return min(due, now.Add(c.o.IdleTimeout)), why // to look again: nobody moves the deadline when the last stream ends
}

// waitsForHead reports whether the rest of a head is waited for.
func (c *Conn) waitsForHead() bool {
	if c.opening.stream != 0 {
		return true
	}
	b := c.in.bytes()
	return len(b) >= frameHeader && FrameType(b[3]) == frameHeaders
}

// deadlineLocked sets the socket's. An error is left to the read to report.
func (c *Conn) deadlineLocked(at mono.Time) {
	c.readBy = at
	var t time.Time
	if at != mono.Never {
		t = at.Wall()
	}
	c.nc.SetReadDeadline(t) //nolint:errcheck // see above
}

// rang takes note of a deadline that has passed.
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

// wakeReaderLocked has a read that waits look at what there is.
func (c *Conn) wakeReaderLocked() { c.deadlineLocked(1) }

// end ends everything: streams, what is to be written, the socket.
func (c *Conn) end(err error) {
	c.in.release()
	code, fault := errors.AsType[connError](err)
	tell := fault || err == errIdle || err == errLate
	c.mu.Lock()
	c.endFarewellLocked()
	if tell && c.err == nil {
		c.out = appendGoAway(c.roomLocked(), c.lastLocked(), Code(code))
	}
	c.dieLocked(err)
	c.nc.SetWriteDeadline(time.Now().Add(lastWrite)) //nolint:errcheck // the write reports it
	c.kickLocked()
	for c.flushing {
		c.flushed.Wait()
	}
	leave := c.idle
	c.idle = 0
	c.mu.Unlock()
	for range leave {
		c.work <- nil
	}
	if tell || err == errDone {
		c.linger()
	}
	c.nc.Close()
}

// How a connection ends that the client has not ended itself: what it was told must reach it, and would not if its unread bytes reset it.
const (
	lastWrite   = time.Second
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

// dieLocked ends all streams: the connection is over.
func (c *Conn) dieLocked(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	for _, s := range c.streams {
		c.closeLocked(s, errConnOver, true)
	}
}

// fail ends the connection from another goroutine than the reading one.
func (c *Conn) failLocked(err error) {
	c.dieLocked(err)
	c.wakeReaderLocked()
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
	endedByBoth         // the client has ended or reset it
	endedHere           // frames of the client's may be under way
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
