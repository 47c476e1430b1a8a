package gateway

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"weir/internal/http1"
	"weir/internal/mono"
)

// upload sends a request body that is too long to keep, beside the goroutine that waits for the answer: an endpoint may
// answer before it has read everything. It owns the client's reader until done is closed.
type upload struct {
	done    chan struct{}
	verdict Verdict // what the client did wrong; read after done
	failed  error   // what the endpoint did wrong, or a panic; read after done
	buf     []byte

	lost    bool          // some of it is not in x.early
	allRead atomic.Bool   // from the client; what is left to write is little
	timing  atomic.Uint32 // who sets the deadline of the answer
}

// While no answer has come, the end of the upload sets when it must: then, and only then, the request was sent. Once an
// answer has begun its deadlines are Deliver's.
const (
	timingOpen uint32 = iota
	timingUpload
	timingAnswer
)

// lastWords is how long an endpoint that takes no more of a request has to say why.
const lastWords = 2 * time.Second

func (x *h1) startUpload(u *upconn) {
	x.touched = true
	x.up = &upload{done: make(chan struct{}), buf: http1.AcquireBuffer(http1.LargeBuffer)}
	go x.up.run(x, u)
}

func (p *upload) run(x *h1, u *upconn) {
	defer close(p.done)
	defer http1.ReleaseBuffer(p.buf)
	defer x.gw.shield("upload", func() { p.failed = errPanic; u.abort() })
	p.verdict, p.failed = p.copy(x, u)
	due := mono.Now()
	switch {
	case p.verdict.Reason != Pass:
		u.abort()
		return
	case p.failed != nil:
		due = due.Add(lastWords)
	default:
		x.conn.readBy(0)
		route := mono.Time(0)
		if t := x.Exchange.route.timeout; t > 0 {
			route = due.Add(t)
		}
		if x.hasty && (route == 0 || x.due < route) {
			route = x.due
		}
		if due = x.answerDue(due, route); due == 0 {
			return
		}
	}
	if p.timing.CompareAndSwap(timingOpen, timingUpload) {
		u.hastenRead(due)
	}
}

// answered says that an answer has begun. After it the upload does not touch the answer's deadline.
func (p *upload) answered() {
	if p.timing.Swap(timingAnswer) == timingUpload {
		<-p.done // it may be setting one just now
	}
}

// copy passes the body on, to its end. What a chunked one begins with is kept. When a stream of HTTP/2 takes no more, the rest is still read
// as long as it may be kept: the endpoint may not have begun with the request.
func (p *upload) copy(x *h1, u *upconn) (wrong Verdict, failed error) {
	p.lost = !x.body.Chunked()
	if len(x.early) > 0 {
		if failed = p.sendPaced(x, u, x.early, true); failed != nil && u.round == nil {
			return Verdict{}, failed
		}
	}
	c := x.conn
	watch := rateWatch{rate: c.conf.MinRate, idle: c.conf.IdleTimeout}
	for {
		piece, err := x.body.NextHere()
		if err == http1.ErrMore {
			watch.begin(&c.wire)
			piece, err = x.body.Next()
			if slow := watch.end(x.body.Read()); slow != nil && err == nil {
				err = slow
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return x.clientFault(err), nil
		}
		if x.messages.on {
			x.messages.in.pass(piece)
		}
		if p.lost = p.lost || len(x.early)+len(piece) > smallBody; !p.lost {
			x.early = append(x.early, piece...)
		}
		p.allRead.Store(x.body.Done())
		if failed == nil {
			failed = p.sendPaced(x, u, piece, x.body.Chunked())
		}
		if failed != nil && (u.round == nil || p.lost) {
			return Verdict{}, failed
		}
	}
	p.allRead.Store(true)
	if failed == nil && x.body.Chunked() {
		_, failed = u.Write(appendLastChunk(p.buf[:0], &x.body.Trailers))
	}
	return Verdict{}, failed
}

// send writes a piece of the body. The endpoint must take it within the pool's idle time.
func (p *upload) send(x *h1, u *upconn, piece []byte, chunked bool) error {
	u.writeBy(mono.Now().Add(x.conf.stall()))
	if !chunked {
		_, err := u.Write(piece)
		return err
	}
	_, err := u.Write(appendChunk(p.buf[:0], piece))
	return err
}

// appendChunk appends p as one chunk; an empty p as none.
func appendChunk(b, p []byte) []byte {
	if len(p) == 0 {
		return b
	}
	b = http1.AppendChunkSize(b, len(p))
	b = append(b, p...)
	return append(b, '\r', '\n')
}

// appendLastChunk appends the end of a chunked body.
func appendLastChunk(b []byte, trailers *http1.Head) []byte {
	b = append(b, "0\r\n"...)
	b = appendTrailers(b, trailers)
	return append(b, '\r', '\n')
}

// takeStored takes a body that was sent from the read buffer out of it.
func (x *h1) takeStored() {
	for !x.body.Done() {
		p, err := x.body.Next()
		if err != nil {
			return
		}
		if x.messages.on {
			x.messages.in.pass(p)
		}
	}
	x.bytesIn = x.body.Read()
}

var errTooSlow = errors.New("slower than the minimum rate")

// rateWatch holds a client to a minimum rate. Only the time counts in which its bytes are waited for: not that in which an
// endpoint takes none.
type rateWatch struct {
	rate   int64 // bytes per second; 0: some byte within idle is enough
	idle   time.Duration
	bytes  int64 // at the start of the window
	waited time.Duration
	began  mono.Time // of the wait under way
}

// begin sets the read deadline of w before a wait for more bytes.
func (r *rateWatch) begin(w *wire) {
	r.began = mono.Now()
	if r.rate <= 0 {
		w.readBy(r.began.Add(r.idle))
		return
	}
	w.readBy(r.began.Add(2*rateGrace - r.waited))
}

// end ends the wait, n bytes having come in all, and reports whether the client was too slow over the last window.
func (r *rateWatch) end(n int64) error {
	r.waited += mono.Now().Sub(r.began)
	if r.rate <= 0 || r.waited < rateGrace {
		return nil
	}
	if n-r.bytes < int64(r.waited.Seconds()*float64(r.rate)) {
		return errTooSlow
	}
	r.bytes, r.waited = n, 0
	return nil
}

// stopUpload ends the upload if it still runs, and returns what the client did wrong, if it did. A connection whose
// request was not sent to its end is spoiled.
func (x *h1) stopUpload() Verdict {
	p := x.up
	if p == nil {
		return Verdict{}
	}
	cut := false
	select {
	case <-p.done:
	default:
		cut = true
		x.conn.abort()
		if x.u != nil {
			x.u.Close() //nolint:errcheck // a write to it may be waiting
		}
		<-p.done
		x.conn.resume()
	}
	x.up = nil
	x.stored = p.whole(x)
	x.bytesIn = x.body.Read()
	x.spoiled = x.spoiled || cut || p.failed != nil || !x.body.Done()
	if !x.body.Done() {
		x.persist, x.linger = false, true
	}
	if cut && p.verdict.Reason == ClientGone {
		return Verdict{} // it was us
	}
	return p.verdict
}

// awaitRest waits a moment for the rest of a body that may be needed once more.
func (p *upload) awaitRest() {
	t := time.NewTimer(lastPiece)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
	}
}

// whole reports, once done is closed, whether all of a body that came chunked is in memory after all.
func (p *upload) whole(x *h1) bool { return !p.lost && x.body.Done() && p.verdict.Reason == Pass }

// appendTrailers appends the trailer fields that may be sent on: none that frames, routes or vouches for a message
// (RFC 9110, section 6.5.1).
func appendTrailers(b []byte, t *http1.Head) []byte {
	for i := range t.Fields {
		f := &t.Fields[i]
		if f.Hop || f.Known != http1.Other || f.Underscore || sensitiveTrailer(t.Name(i)) {
			continue
		}
		b = append(b, t.Name(i)...)
		b = append(b, ": "...)
		b = append(b, t.Value(i)...)
		b = append(b, "\r\n"...)
	}
	return b
}

var sensitiveTrailers = [...]string{"authorization", "cookie", "set-cookie", "content-type", "content-encoding", "content-range",
	"cache-control", "max-forwards", "range", "age", "expires", "location", "retry-after", "vary", "www-authenticate", "if-match", "if-none-match",
	"if-modified-since", "if-unmodified-since", "if-range"}

func sensitiveTrailer(name []byte) bool {
	for _, s := range sensitiveTrailers {
		if http1.EqualFold(name, s) {
			return true
		}
	}
	return false
}
