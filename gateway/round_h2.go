package gateway

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"

	"weir/internal/h2"
	"weir/internal/http1"
)

// round is a stream to an endpoint as a connection of HTTP/1 for one request: what is written is taken apart and sent on the stream, and
// reads give the answer as HTTP/1 writes it. It is the counterpart of stream, and as that has no goroutine and no buffer for bodies; and when it is
// over it is another one, of whatever endpoint, unless somebody else may still look at it.
type round struct {
	own  h2.Call
	up   upconn
	link *link

	sent    bool  // the head was written, or could not be
	failed  error // why it could not be
	request http1.Head
	asked   h2.Request
	toHead  bool
	tunnel  *asked // the request asks for a tunnel; nil: it does not
	framing unframer
	piece   []byte     // of the body; not sent yet, as it may be the last
	fields  []h2.Field // trailers

	here chan struct{} // closed when rest is sent; nil: there is none
	rest []byte        // of a body that came with its head, and that there was no window for

	lines  []byte // of the answer
	head   []byte // of lines; not read yet
	answer chunker
	begun  bool // the answer's head was made
	more   bool // and something behind it is here

	alarms
}

// That a head was not sent for, and errTooLong: the endpoint says how much it takes (RFC 9113, section 6.5.2).
var (
	errNotActedOn = h2.ErrNotActedOn
	errTooLong    = h2.ErrTooLong
)

var rounds = sync.Pool{New: func() any {
	r := new(round)
	r.reading.check = func() error { return r.up.lateRead(os.ErrDeadlineExceeded) }
	r.reading.cut, r.writing.cut = r.own.Cancel, r.own.Cancel
	r.answer.src, r.answer.trailers = &r.own, r.appendTrailers
	r.up.round, r.up.Conn, r.up.final = r, r, true
	r.up.rd = http1.NewReader(&r.up.wire)
	return r
}}

// acquireRound returns a connection that is a stream of l, which was reserved.
func acquireRound(u *upstream, l *link) *upconn {
	r := rounds.Get().(*round)
	r.own.Begin(l.conn)
	r.link, r.sent, r.failed, r.toHead, r.tunnel, r.here, r.begun, r.more = l, false, nil, false, nil, nil, false, false
	r.head, r.rest, r.fields = nil, r.rest[:0], r.fields[:0]
	r.answer.chunked, r.answer.ended, r.answer.rest = false, false, nil
	r.reading.renew()
	r.writing.renew()
	c := &r.up
	c.up, c.identity = u, l.identity
	c.readBy(0)
	c.writeBy(0)
	c.rarmed.Store(0)
	c.warmed, c.reads = 0, 0
	return c
}

// release makes r free for another stream. Nobody else may know it.
func (r *round) release() {
	r.Close() //nolint:errcheck // it has none
	clear(r.asked.Fields)
	clear(r.fields)
	r.asked, r.request.Buf, r.framing.head.Buf, r.piece = h2.Request{Fields: r.asked.Fields[:0]}, nil, nil, nil
	if cap(r.lines) > http1.LargeBuffer {
		r.lines = nil
	}
	r.link, r.up.up = nil, nil
	rounds.Put(r)
}

// Write takes a request: its head with the first write, and whole chunks of its body with any.
func (r *round) Write(p []byte) (int, error) {
	if err := r.writing.begin(); err != nil {
		return 0, err
	}
	err := r.write(p)
	r.own.Flush()
	if err = r.writing.end(err); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (r *round) write(p []byte) error {
	if !r.sent {
		return r.begin(p)
	}
	if r.failed != nil {
		return r.failed
	}
	if r.here != nil {
		<-r.here
	}
	if r.tunnel != nil {
		return r.own.WriteData(p, false)
	}
	if r.framing.done {
		return errFraming
	}
	if err := r.framing.feed(p, r.sendPiece, r.setTrailer); err != nil {
		return err
	}
	return r.sendEnd(r.own.WriteData, r.own.WriteTrailers)
}

// sendPiece sends a piece of the body, but for the one that may be the last.
func (r *round) sendPiece(p []byte) error {
	if before := r.piece; len(before) > 0 {
		r.piece = p
		return r.own.WriteData(before, false)
	}
	r.piece = p
	return nil
}

// sendEnd sends what is left of a write, by send as far as that is data.
func (r *round) sendEnd(send func(p []byte, end bool) error, trailers func([]h2.Field) error) error {
	p, end := r.piece, r.framing.done && len(r.fields) == 0
	r.piece = nil
	if len(p) > 0 || end {
		if err := send(p, end); err != nil {
			return err
		}
	}
	if r.framing.done && !end && len(r.rest) == 0 {
		return trailers(r.fields)
	}
	return nil
}

func (r *round) setTrailer(name, value []byte) {
	r.fields = append(r.fields, h2.Field{Name: name, Value: value})
}

// begin sends the request that p holds, with its body if that is there too. It does not wait: an answer may come before there is room for all, and
// the read tells of whatever goes wrong.
func (r *round) begin(p []byte) error {
	h := &r.request
	h.Reset()
	n, fault := h.ParseRequest(p, http1.Limits{Bytes: len(p) + 1, Fields: 1 << 15})
	if fault != http1.None || n == 0 {
		return errFraming
	}
	r.sent = true
	r.translate(h)
	r.framing.begin(h, r.tunnel != nil)
	r.asked.End = r.framing.done && r.tunnel == nil
	if r.failed = r.own.Ask(&r.asked); r.failed != nil || r.framing.done || len(p) == n {
		return nil
	}
	if err := r.framing.feed(p[n:], r.addPiece, r.setTrailer); err != nil {
		return err
	}
	if err := r.sendEnd(r.add, r.addTrailers); err == errNoRoom || err == nil && len(r.rest) > 0 {
		r.here = make(chan struct{})
		for i := range r.fields { // of what was written, which is the writer's again
			f := &r.fields[i]
			f.Name, f.Value = bytes.Clone(f.Name), bytes.Clone(f.Value)
		}
		go r.sendRest()
	}
	return nil
}

// addPiece is sendPiece without waiting.
func (r *round) addPiece(p []byte) error {
	before := r.piece
	r.piece = p
	if len(before) == 0 {
		return nil
	}
	return r.add(before, false)
}

// add sends a piece as far as there is a window for it, and keeps the rest.
func (r *round) add(p []byte, end bool) error {
	if len(r.rest) == 0 {
		n, err := r.own.AddData(p, end)
		if err != nil {
			return nil // the read tells
		}
		p = p[n:]
	}
	r.rest = append(r.rest, p...)
	return nil
}

var errNoRoom = errors.New("there is no room for trailers now")

func (r *round) addTrailers(fields []h2.Field) error {
	if ok, err := r.own.AddTrailers(fields); ok || err != nil {
		return err
	}
	return errNoRoom
}

// sendRest sends what there was no window or room for. Close waits for it.
func (r *round) sendRest() {
	defer close(r.here)
	end := r.framing.done
	if r.own.WriteData(r.rest, end && len(r.fields) == 0) == nil && end && len(r.fields) > 0 {
		r.own.WriteTrailers(r.fields) //nolint:errcheck // the read tells
	}
	r.own.Flush()
	r.rest = r.rest[:0]
}

// translate makes a request of a head as the gateway writes them.
func (r *round) translate(h *http1.Head) {
	a := &r.asked
	host, _ := h.Get(http1.Host)
	if len(host) == 0 {
		host = noHost
	}
	*a = h2.Request{Method: h.Method(), Scheme: r.link.scheme, Authority: host, Path: h.Target(), Fields: a.Fields[:0]}
	r.toHead = string(a.Method) == http.MethodHead
	r.askTunnel(h)
	grpc := false
	for i := range h.Fields {
		f, name, value := &h.Fields[i], h.Name(i), h.Value(i)
		switch {
		case f.Known == http1.Host, f.Hop && f.Known != http1.Trailer:
			continue
		case r.tunnel != nil && (f.Known == http1.ContentLength || http1.EqualFold(name, "sec-websocket-key")):
			continue
		case http1.EqualFold(name, "content-type"):
			grpc = isGRPC(view(value))
		}
		a.Fields = append(a.Fields, h2.Field{Name: name, Value: value})
	}
	if grpc {
		a.Fields = append(a.Fields, teTrailers) // servers ask for it
	}
}

var (
	noHost     = []byte("endpoint") // of a request of HTTP/1.0 that names none
	teTrailers = h2.Field{Name: []byte("te"), Value: []byte("trailers")}
)

// Close ends the stream, if it has not ended by itself.
func (r *round) Close() error {
	r.own.Close()
	r.reading.stop()
	r.writing.stop()
	if r.here != nil {
		<-r.here
	}
	return nil
}

// LocalAddr returns no address: many streams share one.
func (r *round) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr is LocalAddr.
func (r *round) RemoteAddr() net.Addr { return &net.TCPAddr{} }
