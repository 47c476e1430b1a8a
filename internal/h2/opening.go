package h2

import (
	"encoding/binary"
	"errors"

	"golang.org/x/net/http2/hpack"

	"weir/internal/mono"
)

// opening is a head that comes in frames.
type opening struct {
	stream   uint32 // 0: there is none
	head     *head
	own      head    // for what is no new request: trailers, and what is only decoded
	s        *Stream // of a new request; a server's
	end      bool    // END_STREAM
	selfish  bool    // its priority depends on itself
	encoded  int     // bytes so far
	trailers bool
}

func (c *base) takeHeaders(h header, p []byte) error {
	c.mu.Lock()
	c.gate.sent(h, mono.Now)
	c.mu.Unlock()
	c.stirred = true
	if h.stream%2 == 0 {
		return connError(ProtocolError)
	}
	p, ok := unpad(h, p)
	if !ok {
		return connError(ProtocolError)
	}
	o := &c.opening
	*o = opening{stream: h.stream, own: o.own, end: h.has(flagEndStream)}
	if h.has(flagPriority) {
		if len(p) < 5 {
			return connError(FrameSizeError)
		}
		o.selfish = binary.BigEndian.Uint32(p)&maxStreamID == h.stream
		p = p[5:]
	}
	if err := c.side.beginHead(); err != nil {
		return err
	}
	c.dec.SetEmitEnabled(true)
	return c.decode(h, p)
}

func (c *base) takeContinuation(h header, p []byte) error {
	c.mu.Lock()
	c.gate.sent(h, mono.Now)
	err := c.calmLocked()
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.decode(h, p)
}

// field takes a field of the head that comes.
func (c *base) field(f hpack.HeaderField) {
	if !c.opening.head.add(f.Name, f.Value) {
		c.dec.SetEmitEnabled(false) // the table goes on
	}
}

// decode takes a piece of a head.
func (c *base) decode(h header, p []byte) error {
	o := &c.opening
	if o.encoded += len(p); o.encoded > c.mostEncoded() {
		return connError(EnhanceYourCalm)
	}
	_, err := c.dec.Write(p)
	if err == nil && h.has(flagEndHeaders) {
		err = c.dec.Close()
	}
	switch {
	case errors.Is(err, hpack.ErrStringLength):
		return connError(EnhanceYourCalm)
	case err != nil:
		return connError(CompressionError)
	case !h.has(flagEndHeaders):
		return nil
	}
	id := o.stream
	o.stream = 0
	return c.side.endHead(id, o.head.end() && !o.selfish)
}

func (c *Conn) beginHead() error {
	o := &c.opening
	if o.trailers = o.stream <= c.last; o.trailers { // this goroutine alone raises it
		o.head = &o.own
	} else {
		o.s = c.o.acquire()
		o.s.begin(c, o.stream)
		o.head = &o.s.head
	}
	o.head.begin(c.most, o.trailers, false)
	return nil
}

func (c *Conn) endHead(id uint32, ok bool) error {
	if c.opening.trailers {
		return c.known(id, ok)
	}
	s := c.opening.s
	c.opening.s = nil
	return c.open(s, id, ok)
}

// known takes a head for a stream that was opened before: it must be trailers.
func (c *Conn) known(id uint32, ok bool) error {
	o := &c.opening
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[id]
	switch {
	case s == nil:
		switch c.past.of(id) {
		case endedHere:
			c.gate.behind(lateHead, mono.Now())
		case endedByBoth:
			return connError(StreamClosed)
		default:
			return connError(ProtocolError)
		}
	case s.remoteEnd:
		c.blameLocked(s, StreamClosed)
	case !o.end || !ok || o.own.long || s.left > 0:
		c.blameLocked(s, ProtocolError)
	default:
		s.trailers = append(s.trailers, o.own.text...)
		s.endRemoteLocked()
	}
	c.kickLocked()
	return c.calmLocked()
}

// open takes the head of a new request.
func (c *Conn) open(s *Stream, id uint32, ok bool) error {
	end := c.opening.end
	if end && s.length > 0 {
		ok = false
	}
	c.mu.Lock()
	c.last = id
	if c.told || c.err != nil || !ok || c.running-c.settling >= c.o.Streams || c.running >= 2*c.o.Streams {
		c.refuseLocked(id, ok)
		err := c.calmLocked()
		c.kickLocked()
		c.mu.Unlock()
		c.o.release(s)
		return err
	}
	s.body, s.remoteEnd, s.left, s.sendWindow = !end, end, s.Length(), c.peerWindow
	c.streams[id] = &s.stream
	c.running++
	c.quiet = false
	waiting := c.idle > 0
	if waiting {
		c.idle--
	}
	err := c.calmLocked()
	c.mu.Unlock()
	if waiting {
		c.work <- s
	} else {
		c.handlers.Add(1)
		go c.serve(s)
	}
	return err
}

// refuseLocked says that a stream is not served; nothing, if a GOAWAY has said so.
func (c *Conn) refuseLocked(id uint32, ok bool) {
	if c.told {
		return
	}
	code := RefusedStream
	if !ok {
		code = ProtocolError
	}
	c.gate.provoked(mono.Now())
	c.out = appendReset(c.roomLocked(), id, code)
	c.past.add(id, endedHere)
}
