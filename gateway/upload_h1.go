package gateway

import (
	"io"

	"weir/internal/http1"
	"weir/internal/mono"
)

// upload sends a request body that is too long to keep, beside the goroutine that waits for the answer: an endpoint may
// answer before it has read everything. It owns the client's reader until done is closed.
type upload struct {
	done    chan struct{}
	verdict Verdict // what the client did wrong; read after done
	failed  error   // what the endpoint did wrong
	buf     []byte
}

func (x *h1) startUpload(u *upconn) {
	x.up = &upload{done: make(chan struct{}), buf: http1.AcquireBuffer(http1.LargeBuffer)}
	go x.up.run(x, u, mono.Now())
}

func (p *upload) run(x *h1, u *upconn, begun mono.Time) {
	defer close(p.done)
	defer func() { http1.ReleaseBuffer(p.buf) }()
	c, limit := x.conn, x.bodyLimit()
	for {
		if !x.body.Pending() {
			c.readBy(begun.Add(c.slack(x.body.Read())))
			if c.conf.MinRate <= 0 {
				c.readBy(mono.Now().Add(c.conf.IdleTimeout))
			}
		}
		piece, err := x.body.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			p.verdict = x.clientFault(err)
			u.abort()
			return
		}
		if limit > 0 && x.body.Read() > limit {
			p.verdict = Verdict{Reason: TooLarge, Detail: "the body is larger than the limit", Close: true}
			u.abort()
			return
		}
		if p.failed = p.send(u, piece, x.body.Chunked()); p.failed != nil {
			return // the answer, if one comes, says more
		}
	}
	if x.body.Chunked() {
		tail := append(p.buf[:0], "0\r\n"...)
		tail = appendTrailers(tail, &x.body.Trailers)
		tail = append(tail, "\r\n"...)
		if _, p.failed = u.Write(tail); p.failed != nil {
			return
		}
	}
	c.readBy(0)
	now, due := mono.Now(), mono.Time(0)
	if t := x.Exchange.route.timeout; t > 0 {
		due = now.Add(t)
	}
	if due = x.answerDue(now, due); due != 0 {
		u.hastenRead(due)
	}
}

// send writes a piece of the body. The endpoint has as long for it as for an answer.
func (p *upload) send(u *upconn, piece []byte, chunked bool) error {
	u.writeBy(mono.Now().Add(uploadStall))
	if !chunked {
		_, err := u.Write(piece)
		return err
	}
	b := http1.AppendChunkSize(p.buf[:0], len(piece))
	b = append(b, piece...)
	b = append(b, '\r', '\n')
	if cap(b) == cap(p.buf) {
		p.buf = b[:cap(b)]
	}
	_, err := u.Write(b)
	return err
}

// stopUpload ends the upload if it still runs, and returns what the client did wrong, if it did.
func (x *h1) stopUpload() Verdict {
	p := x.up
	select {
	case <-p.done:
	default:
		x.conn.abort()
		if x.u != nil {
			x.u.Close() //nolint:errcheck // a write to it may be waiting
		}
		<-p.done
	}
	x.up = nil
	x.bytesIn = x.body.Read()
	if !x.body.Done() {
		x.persist, x.linger = false, true
	}
	if p.verdict.Reason != Pass && x.conn.aborted.Load() && p.verdict.Reason == ClientGone {
		return Verdict{} // we ended it ourselves
	}
	return p.verdict
}

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
