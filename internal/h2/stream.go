package h2

import (
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
)

// Stream is a request and its answer. One goroutine may read, one may write; CloseRead, Reset and IsGone are for any. It is over when the
// handler returns. The zero value is for Options.Acquire.
type Stream struct {
	// Owner is whoever acquired it. The package leaves it alone.
	Owner any

	head
	stream
	gone atomic.Bool
}

// stream is what both ends of one have in common: what has come and was not read, and how much may be sent. All of it is under the connection's lock.
type stream struct {
	c      *base
	id     uint32
	served *Stream // of a server
	call   *Call   // of a client

	in          []byte // of the body, not read yet, from r on
	r           int
	left        int64 // what Content-Length says of the body that has not come; -1: nothing
	recvWindow  int64
	owed        int64 // bytes that were read, and that the peer may not know of
	sendWindow  int64
	body        bool  // the request has one
	headed      bool  // the peer's head has come
	remoteEnd   bool  // the peer has sent all
	localEnd    bool  // all is said here
	whole       bool  // both
	readErr     error // CloseRead
	err         error // it is over
	needsWindow bool  // in turns: for data
	queued      bool  // in turns
	trailers    []byte
	readable    sync.Cond
	writable    sync.Cond
}

var (
	errReset    = errors.New("the client has reset the stream")
	errConnOver = errors.New("the connection has ended")
	errCut      = errors.New("the stream was cut")
	errEnded    = errors.New("BUG: more of an answer that was whole")
)

// mostKept is how much memory of bodies a stream keeps for the next one.
const mostKept = 16 << 10

var streams = sync.Pool{New: func() any { return new(Stream) }}

func (o *Options) acquire() *Stream {
	if o.Acquire != nil {
		return o.Acquire()
	}
	return streams.Get().(*Stream)
}

func (o *Options) release(s *Stream) {
	if o.Release != nil {
		o.Release(s)
		return
	}
	streams.Put(s)
}

// begin makes s the stream of that number.
func (s *Stream) begin(c *Conn, id uint32) {
	s.gone.Store(false)
	s.served = s
	s.stream.begin(&c.base)
	s.id, s.headed = id, true
}

// begin makes s a stream of c.
func (s *stream) begin(c *base) {
	if cap(s.in) > mostKept {
		s.in = nil
	}
	s.c = c
	s.in, s.r, s.trailers = s.in[:0], 0, s.trailers[:0]
	s.recvWindow, s.owed = streamWindow, 0
	s.body, s.headed, s.remoteEnd, s.localEnd, s.whole, s.needsWindow = false, false, false, false, false, false
	s.readErr, s.err = nil, nil
	s.readable.L, s.writable.L = &c.mu, &c.mu
}

// HasBody reports whether the request has a body, be it of no bytes.
func (s *Stream) HasBody() bool { return s.body }

// IsGone reports whether the client has left the stream: it has reset it, or had it reset, or the connection has ended.
func (s *Stream) IsGone() bool { return s.gone.Load() }

// Read waits for bytes of the body. The peer may send more as they are read. io.EOF is the end; it may come with the last bytes.
func (s *stream) Read(p []byte) (int, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case s.readErr != nil:
			return 0, s.readErr
		case s.r < len(s.in): // not if err is to end it at once: nothing is left then
			n := copy(p, s.in[s.r:])
			if s.r += n; s.r == len(s.in) {
				s.in, s.r = s.in[:0], 0
			}
			s.tookLocked(n)
			c.kickLocked()
			if s.remoteEnd && s.r == len(s.in) && s.err == nil {
				return n, io.EOF
			}
			return n, nil
		case s.remoteEnd && (s.err == nil || c.client):
			return 0, io.EOF
		case s.err != nil:
			return 0, s.err
		}
		s.readable.Wait()
	}
}

// Trailers returns the fields behind the body, as Fields does. Only after Read has returned io.EOF.
func (s *stream) Trailers() []byte { return s.trailers }

// CloseRead ends the read that waits, and all later ones: the stream brings nothing more.
func (s *Stream) CloseRead() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.readErr = errCut
	s.dropLocked()
	s.readable.Signal()
	s.c.kickLocked()
}

// Reset ends the stream at once, in both directions, and tells the client that the server is to blame.
func (s *Stream) Reset() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.err == nil {
		s.c.tellResetLocked(&s.stream, InternalError)
		s.c.closeLocked(&s.stream, errCut, false)
		s.c.kickLocked()
	}
}

// Field is a field of an answer. Its name may be in any case.
type Field struct{ Name, Value []byte }

// WriteHead adds an answer's head, or one of a 1xx answer before it. end: nothing follows. It is on its way after Flush at the latest.
func (s *Stream) WriteHead(status int, fields []Field, end bool) error {
	return s.writeFields(status, fields, end)
}

// WriteTrailers adds the fields that end an answer.
func (s *Stream) WriteTrailers(fields []Field) error { return s.writeFields(0, fields, true) }

func (s *Stream) writeFields(status int, fields []Field, end bool) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if _, err := s.turnLocked(0); err != nil {
		return err
	}
	s.addFieldsLocked(status, fields, end)
	return nil
}

// addFieldsLocked adds a head, or without a status trailers.
func (s *stream) addFieldsLocked(status int, fields []Field, end bool) {
	c := s.c
	flags := uint8(flagEndHeaders)
	if end {
		flags |= flagEndStream
	}
	c.growLocked(1 << 10)
	at := len(c.out)
	c.out = c.enc.begin(appendHeader(c.out, 0, frameHeaders, flags, s.id))
	if status > 0 {
		c.out = c.enc.status(c.out, status)
	}
	for i := range fields {
		c.out = c.enc.field(c.out, fields[i].Name, fields[i].Value)
	}
	c.out = endHead(c.out, at)
	s.localEnd = end
	s.wholeLocked()
	c.passLocked()
}

// endHead writes the length of the head whose frame begins there, or makes several frames of it.
func endHead(b []byte, at int) []byte {
	n := len(b) - at - frameHeader
	if n <= maxFrame {
		b[at], b[at+1], b[at+2] = byte(n>>16), byte(n>>8), byte(n)
		return b
	}
	h := parseHeader(b[at:])
	rest := append([]byte(nil), b[at+frameHeader:]...)
	b = b[:at]
	for kind, flags := frameHeaders, h.flags&^flagEndHeaders; len(rest) > 0; kind, flags = frameContinuation, 0 {
		n := min(len(rest), maxFrame)
		if n == len(rest) {
			flags |= flagEndHeaders
		}
		b = append(appendHeader(b, n, kind, flags, h.stream), rest[:n]...)
		rest = rest[n:]
	}
	return b
}

// WriteData adds a piece of a body, as far as it must in several frames, and waits for windows and room. end: it is the last.
func (s *stream) WriteData(p []byte, end bool) error {
	if len(p) == 0 && !end {
		return nil
	}
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		n, err := s.turnLocked(len(p))
		if err != nil {
			return err
		}
		last := n == len(p)
		s.addLocked(p[:n], end && last)
		if p = p[n:]; last {
			return nil
		}
	}
}

// addLocked adds a frame of data.
func (s *stream) addLocked(p []byte, end bool) {
	c, flags := s.c, uint8(0)
	if end {
		flags = flagEndStream
	}
	c.growLocked(frameHeader + len(p))
	c.out = append(appendHeader(c.out, len(p), frameData, flags, s.id), p...)
	s.sendWindow -= int64(len(p))
	c.sendWindow -= int64(len(p))
	c.gate.said(len(p))
	if end {
		s.localEnd = true
		s.wholeLocked()
	}
	c.passLocked()
}

// Flush sends what was added. It does not wait.
func (s *stream) Flush() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in.raw == nil || c.flushing || len(c.out) == 0 {
		c.kickLocked()
		return
	}
	c.flushing = true
	if c.running > 1 {
		c.mu.Unlock()
		runtime.Gosched() // others that are ready add what they have
		c.mu.Lock()
	}
	c.flushHereLocked()
}

// endRemoteLocked takes note that the peer has sent all.
func (s *stream) endRemoteLocked() {
	s.remoteEnd = true
	s.wholeLocked()
	s.readable.Signal()
}

// wholeLocked takes note of an exchange that is whole: the stream is closed, and its client may open another instead, though its handler has
// not returned.
func (s *stream) wholeLocked() {
	if s.localEnd && s.remoteEnd && !s.whole {
		s.whole = true
		s.c.past.add(s.id, endedByBoth)
		delete(s.c.streams, s.id)
		s.c.side.wholeLocked(s)
	}
}

// tookLocked lets the peer send n bytes more.
func (s *stream) tookLocked(n int) {
	s.c.readLocked(n)
	if s.remoteEnd || s.err != nil {
		return
	}
	if s.owed += int64(n); s.owed >= streamWindow/2 {
		s.c.out = appendWindowUpdate(s.c.roomLocked(), s.id, s.owed)
		s.recvWindow += s.owed
		s.owed = 0
	}
}

// dropLocked forgets what has come and was not read.
func (s *stream) dropLocked() {
	s.c.readLocked(len(s.in) - s.r)
	s.in, s.r = s.in[:0], 0
}

// readLocked takes note of n bytes that are in memory no more. Towards a server the connection's window is none of what waits here, or streams
// that nobody reads would stop the others.
func (c *base) readLocked(n int) {
	if !c.client {
		c.oweLocked(n)
	}
}

// oweLocked gives n bytes of the connection's window back, if not at once.
func (c *base) oweLocked(n int) {
	if c.owed += int64(n); c.owed >= c.mostWindow/4 && c.err == nil {
		c.out = appendWindowUpdate(c.roomLocked(), 0, c.owed)
		c.recvWindow += c.owed
		c.owed = 0
	}
}

// putLocked takes a piece of the body.
func (s *stream) putLocked(p []byte) {
	if len(s.in)+len(p) > cap(s.in) && s.r >= len(s.in)/2 {
		s.in = s.in[:copy(s.in, s.in[s.r:])]
		s.r = 0
	}
	s.in = append(s.in, p...)
	s.readable.Signal()
}
