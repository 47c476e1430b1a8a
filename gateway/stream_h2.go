package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"sync"
	"time"

	"weir/internal/http1"
)

// stream is a client's stream of HTTP/2 as a connection of HTTP/1 that brings one request: reads give its head and its body as HTTP/1
// writes them, and writes take an answer in HTTP/1's words and send it on the stream. It has no goroutine and no buffer for bodies: a read
// or a write is one of the stream, and what flow control holds up there is held up here.
type stream struct {
	sess *session
	w    http.ResponseWriter
	r    *http.Request
	ctl  *http.ResponseController
	wire *wire // that reads and writes; its due instants are what counts

	head []byte // not read yet
	body chunker

	alarms

	buffers  *streamBuffers
	framing  unframer
	headSent bool
	tunnel   bool // an extended CONNECT that was answered 101: bytes are bytes from here on
}

// streamBuffers is what one stream leaves to another: none of it is used by a goroutine that may outlive the stream.
type streamBuffers struct {
	head   []byte
	answer http1.Head
}

var streamBuffersPool = sync.Pool{New: func() any { return &streamBuffers{head: make([]byte, 0, 1<<10)} }}

// release gives the buffers back. The stream must have ended.
func (s *stream) release() {
	b := s.buffers
	if cap(b.head) > http1.LargeBuffer {
		b.head = nil
	}
	s.buffers, s.head = nil, nil
	b.answer.Reset()
	b.answer.Buf = nil
	streamBuffersPool.Put(b)
}

var errBadAnswer = errors.New("BUG: an answer that HTTP/2 cannot say")

// newStream takes the request's head.
func newStream(s *session, w http.ResponseWriter, r *http.Request) *stream {
	st := &stream{sess: s, w: w, r: r, ctl: http.NewResponseController(w), buffers: streamBuffersPool.Get().(*streamBuffers)}
	st.reading.check, st.reading.cut, st.writing.cut = st.lateRead, st.cutRead, st.cutWrite
	st.buffers.head = st.appendHead(st.buffers.head[:0])
	st.head = st.buffers.head
	return st
}

// appendHead writes the request's head as HTTP/1 does. It is parsed then as one that came so, and refused for the same reasons.
func (s *stream) appendHead(b []byte) []byte {
	r := s.r
	method, target := r.Method, r.RequestURI
	if s.connects() {
		method, target = http.MethodGet, r.URL.RequestURI()
	}
	b = append(b, method...)
	b = append(b, ' ')
	b = append(b, target...)
	b = append(b, " HTTP/1.1\r\n"...)
	if r.Host != "" {
		b = append(b, "Host: "...)
		b = append(b, r.Host...)
		b = append(b, '\r', '\n')
	}
	if s.connects() {
		return append(s.appendUpgrade(b), '\r', '\n')
	}
	length, sized := r.Header["Content-Length"]
	if len(length) == 1 && len(r.Trailer) > 0 && r.ContentLength > 0 {
		delete(r.Header, "Content-Length") // HTTP/1 has trailers only behind chunks
		sized = false
	}
	b = appendHTTPFields(b, r.Header, "")
	if r.ContentLength != 0 || sized {
		s.body.src = r.Body
	}
	if s.body.src != nil && !sized {
		s.body.chunked = true
		s.body.trailers = func() http.Header { return r.Trailer }
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		b = appendNames(b, r.Trailer)
	}
	return append(b, '\r', '\n')
}

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
func (s *stream) lateRead() error { return s.wire.lateRead(os.ErrDeadlineExceeded) }

// cutRead ends the reading side. The stream brings nothing after it.
func (s *stream) cutRead() {
	s.ctl.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // a stream that has ended fails its reads anyway
}

// cutWrite resets the stream: what was begun cannot go on.
func (s *stream) cutWrite() {
	s.ctl.SetWriteDeadline(time.Unix(1, 0)) //nolint:errcheck // as above
}

// Write sends a piece of the answer. It must hold whole parts of one: a head, chunks, trailers.
func (s *stream) Write(p []byte) (int, error) {
	if err := s.writing.begin(); err != nil {
		return 0, err
	}
	if err := s.writing.end(s.write(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *stream) write(p []byte) error {
	for !s.headSent {
		s.buffers.answer.Reset()
		n, fault := s.buffers.answer.ParseResponse(p, http1.Limits{Bytes: len(p) + 1, Fields: 1 << 15})
		if fault != http1.None || n == 0 {
			return fmt.Errorf("%w: %v", errBadAnswer, fault)
		}
		if p = p[n:]; s.buffers.answer.Status < 200 && !s.switches() {
			s.sendInterim()
			if len(p) == 0 {
				return nil
			}
			continue
		}
		s.sendHead()
	}
	if s.tunnel {
		if _, err := s.w.Write(p); err != nil {
			return err
		}
		return s.ctl.Flush()
	}
	if err := s.framing.feed(p, s.sendPiece, s.setTrailer); err != nil {
		return err
	}
	if s.framing.done {
		return nil // its last frame goes with the end of the stream
	}
	return s.ctl.Flush()
}

func (s *stream) sendPiece(p []byte) error {
	_, err := s.w.Write(p)
	return err
}

func (s *stream) setTrailer(name, value []byte) {
	h, key := s.w.Header(), http.TrailerPrefix+canonical(name)
	h[key] = append(h[key], string(value))
}

// sendInterim sends a 1xx answer. 100 Continue is the server's own: it goes with the first read of the body.
func (s *stream) sendInterim() {
	if s.buffers.answer.Status == http.StatusContinue {
		return
	}
	h := s.w.Header()
	s.fill(h)
	s.w.WriteHeader(s.buffers.answer.Status)
	clear(h)
}

func (s *stream) sendHead() {
	h := s.w.Header()
	s.fill(h)
	status := s.buffers.answer.Status
	if s.tunnel = s.switches(); s.connects() {
		delete(h, "Sec-Websocket-Accept")
		status = s.tunnelStatus()
	}
	if !s.tunnel {
		s.framing.begin(&s.buffers.answer, s.r.Method == http.MethodHead || http1.NoBody(status))
	}
	if _, typed := h["Content-Type"]; !typed {
		h["Content-Type"] = nil // else the server would guess one
	}
	s.headSent = true
	s.w.WriteHeader(status)
}

// fill takes the answer's fields over, but for those that are HTTP/1's own.
func (s *stream) fill(h http.Header) {
	a := &s.buffers.answer
	text, values := string(a.Buf), make([]string, len(a.Fields))
	for i := range a.Fields {
		if f := &a.Fields[i]; f.Hop && f.Known != http1.Trailer {
			continue
		}
		name, value := a.Text(text, i)
		name = textproto.CanonicalMIMEHeaderKey(name)
		if all := h[name]; all != nil {
			h[name] = append(all, value)
			continue
		}
		values[i] = value
		h[name] = values[i : i+1 : i+1]
	}
}

// finished reports whether a whole answer was written. A stream that ends otherwise must be reset, so that the client can tell.
func (s *stream) finished() bool {
	return s.headSent && (s.tunnel || s.framing.done)
}

// gone reports whether the client has ended the stream, or its connection.
func (s *stream) gone() bool { return s.r.Context().Err() != nil }

// onGone calls f when it does, unless stop was called before.
func (s *stream) onGone(f func()) (stop func() bool) { return context.AfterFunc(s.r.Context(), f) }

// Close ends reads and writes that are under way. The stream itself ends with its handler.
func (s *stream) Close() error {
	s.reading.stop()
	s.writing.stop()
	if s.tunnel {
		s.cutRead() // the other direction may wait in one
	}
	return nil
}

// kill resets the stream, whatever it is doing.
func (s *stream) kill() {
	s.cutRead()
	s.cutWrite()
}

// LocalAddr returns the address that the client connected to.
func (s *stream) LocalAddr() net.Addr { return s.sess.nc.LocalAddr() }

// RemoteAddr returns the client's.
func (s *stream) RemoteAddr() net.Addr { return s.sess.nc.RemoteAddr() }
