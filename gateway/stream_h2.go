package gateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"

	"weir/internal/h2"
	"weir/internal/http1"
)

// stream is a client's stream of HTTP/2 as a connection of HTTP/1 that brings one request: reads give its head and its body as HTTP/1
// writes them, and writes take an answer in HTTP/1's words and send it on the stream. It has no goroutine and no buffer for bodies: a read
// or a write is one of the stream, and what flow control holds up there is held up here.
//
// When it is over it serves another stream, of whatever connection. So of what others than its own goroutine may still look at behind its end,
// all is atomic, and the numbers of carrier's requests go on.
type stream struct {
	own     h2.Stream
	carrier h1conn
	sess    *session

	lines []byte // the head
	head  []byte // of it, not read yet
	body  chunker

	alarms

	answer   http1.Head
	fields   []h2.Field // of it, or its trailers
	framing  unframer
	headSent bool
	tunnel   bool // an extended CONNECT that was answered 101: bytes are bytes from here on
}

var errBadAnswer = errors.New("BUG: an answer that HTTP/2 cannot say")

var streams = sync.Pool{New: func() any {
	s := &stream{lines: make([]byte, 0, 1<<10)}
	s.own.Owner = s
	s.reading.check, s.reading.cut, s.writing.cut = s.lateRead, s.own.CloseRead, s.own.Reset
	s.body.trailers = s.appendTrailers
	c := &s.carrier
	c.Conn, c.final, c.stream = s, true, s
	c.rd = http1.NewReader(&c.wire)
	return s
}}

func acquireStream() *h2.Stream { return &streams.Get().(*stream).own }

func releaseStream(o *h2.Stream) {
	s := o.Owner.(*stream)
	if cap(s.lines) > http1.LargeBuffer {
		s.lines = nil
	}
	clear(s.fields)
	s.answer.Buf, s.framing.head.Buf, s.head = nil, nil, nil
	streams.Put(s)
}

// begin takes the request's head.
func (s *stream) begin(sess *session) {
	s.sess = sess
	s.reading.renew()
	s.writing.renew()
	s.headSent, s.tunnel = false, false
	s.carrier.renew(sess)
	s.lines = s.appendHead(s.lines[:0])
	s.head = s.lines
}

// renew makes c the connection of another stream.
func (c *h1conn) renew(s *session) {
	c.gw, c.nc, c.listener, c.conf, c.snap = s.gw, s.nc, s.listener, s.conf, nil
	c.number++
	c.readBy(0)
	c.writeBy(0)
	c.rarmed.Store(0)
	c.warmed, c.least = 0, 0
	c.aborted.Store(false)
	c.roused.Store(false)
	c.leaving.Store(false)
	c.up.Store(nil)
}

// appendHead writes the request's head as HTTP/1 does. It is parsed then as one that came so, and refused for the same reasons.
func (s *stream) appendHead(b []byte) []byte {
	o := &s.own
	switch connect := string(o.Method()) == http.MethodConnect; {
	case s.connects():
		b = append(append(b, "GET "...), o.Path()...)
	case connect:
		b = append(append(b, "CONNECT "...), o.Authority()...)
	default:
		b = append(append(append(b, o.Method()...), ' '), o.Path()...)
	}
	b = append(b, " HTTP/1.1\r\n"...)
	if len(o.Authority()) > 0 {
		b = append(append(append(b, "Host: "...), o.Authority()...), '\r', '\n')
	}
	b = append(b, o.Fields()...)
	s.body = chunker{trailers: s.body.trailers, last: s.body.last}
	if o.HasBody() {
		s.body.src = o
	}
	if s.connects() {
		return append(s.appendUpgrade(b), '\r', '\n')
	}
	s.body.chunked = o.HasBody() && (o.Length() < 0 || o.Length() > 0 && o.Announces()) // HTTP/1 has trailers only behind chunks
	switch {
	case s.body.chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case o.Length() >= 0:
		b = appendLength(b, o.Length())
	}
	return append(b, '\r', '\n')
}

// appendTrailers writes the request's trailers.
func (s *stream) appendTrailers(b []byte) []byte { return append(b, s.own.Trailers()...) }

// Read reads of the request: its head at first, alone, so that nothing of the body is asked for before somebody wants it.
func (s *stream) Read(p []byte) (int, error) {
	if len(s.head) > 0 {
		n := copy(p, s.head)
		s.head = s.head[n:]
		return n, nil
	}
	if err := s.reading.begin(); err != nil {
		return 0, err
	}
	n, err := s.body.Read(p)
	if err == io.EOF {
		s.reading.end(nil) //nolint:errcheck // it has none
		return n, err
	}
	return n, s.reading.end(err)
}

// lateRead says what a read meets whose time seems to be up.
func (s *stream) lateRead() error { return s.carrier.lateRead(os.ErrDeadlineExceeded) }

// Write sends a piece of the answer. It must hold whole parts of one: a head, chunks, trailers.
func (s *stream) Write(p []byte) (int, error) {
	if err := s.writing.begin(); err != nil {
		return 0, err
	}
	err := s.write(p)
	s.own.Flush()
	if err = s.writing.end(err); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *stream) write(p []byte) error {
	for !s.headSent {
		s.answer.Reset()
		n, fault := s.answer.ParseResponse(p, http1.Limits{Bytes: len(p) + 1, Fields: 1 << 15})
		if fault != http1.None || n == 0 || s.answer.Status == http.StatusSwitchingProtocols && !s.connects() {
			return fmt.Errorf("%w: %v", errBadAnswer, fault)
		}
		p = p[n:]
		if err := s.sendHead(); err != nil {
			return err
		}
		if len(p) == 0 {
			return nil
		}
	}
	if s.tunnel {
		return s.own.WriteData(p, false)
	}
	was := s.framing.done
	s.fields = s.fields[:0]
	if err := s.framing.feed(p, s.sendPiece, s.setTrailer); err != nil {
		return err
	}
	switch {
	case was || !s.framing.done || !s.framing.chunked: // the last piece of a known length says so itself
		return nil
	case len(s.fields) > 0:
		return s.own.WriteTrailers(s.fields)
	}
	return s.own.WriteData(nil, true)
}

func (s *stream) sendPiece(p []byte) error { return s.own.WriteData(p, s.framing.done) }

func (s *stream) setTrailer(name, value []byte) {
	s.fields = append(s.fields, h2.Field{Name: name, Value: value})
}

// sendHead sends the answer's head, or an interim one, without the fields that are HTTP/1's own.
func (s *stream) sendHead() error {
	a := &s.answer
	status := a.Status
	s.tunnel = s.switches()
	s.fields = s.fields[:0]
	for i := range a.Fields {
		if f := &a.Fields[i]; f.Hop && f.Known != http1.Trailer || s.connects() && http1.EqualFold(a.Name(i), "sec-websocket-accept") {
			continue
		}
		s.fields = append(s.fields, h2.Field{Name: a.Name(i), Value: a.Value(i)})
	}
	if status < 200 && !s.tunnel {
		return s.own.WriteHead(status, s.fields, false)
	}
	s.headSent = true
	if s.connects() {
		status = s.tunnelStatus()
	}
	if s.tunnel {
		return s.own.WriteHead(status, s.fields, false)
	}
	s.framing.begin(a, string(s.own.Method()) == http.MethodHead || http1.NoBody(status))
	return s.own.WriteHead(status, s.fields, s.framing.done)
}

// finish ends a tunnel in good order, and all waits.
func (s *stream) finish() {
	if s.tunnel {
		s.own.WriteData(nil, true) //nolint:errcheck // it was cut
	}
	s.Close() //nolint:errcheck // it has none
}

// gone reports whether the client has ended the stream, or its connection.
func (s *stream) gone() bool { return s.own.IsGone() }

// Close ends reads and writes that are under way. The stream itself ends with its handler.
func (s *stream) Close() error {
	s.reading.stop()
	s.writing.stop()
	if s.tunnel {
		s.own.CloseRead() // the other direction may wait in one
	}
	return nil
}

// kill resets the stream, whatever it is doing.
func (s *stream) kill() { s.own.Reset() }

// LocalAddr returns the address that the client connected to.
func (s *stream) LocalAddr() net.Addr { return s.sess.nc.LocalAddr() }

// RemoteAddr returns the client's.
func (s *stream) RemoteAddr() net.Addr { return s.sess.nc.RemoteAddr() }
