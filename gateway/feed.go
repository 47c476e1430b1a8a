package gateway

import (
	"errors"
	"os"
	"sync"

	"weir/internal/http1"
	"weir/internal/mono"
	"weir/telemetry"
)

// feed is an answer that is an event stream (text/event-stream) of no known length. It may end where we say: a client that reads events
// drops one that is not complete, and comes again.
type feed struct {
	place
	u   *upconn
	sum *telemetry.Lasting

	text, before bool // whether the line under way has any, and the one before it
	cr           bool // the last byte was a CR

	mu      sync.Mutex
	leaveAt mono.Time // mono.Never: when the endpoint ends it
	because ending
	over    bool
}

// startFeed notices that the answer is an event stream. It ends with the hold on the endpoint's connection.
func (x *h1) startFeed() {
	if x.answer.Left() >= 0 {
		return
	}
	v, ok := x.resp.Lookup("content-type")
	const typ = "text/event-stream"
	if !ok || len(v) < len(typ) || !http1.EqualFold(v[:len(typ)], typ) || len(v) > len(typ) && v[len(typ)] != ';' && v[len(typ)] != ' ' {
		return
	}
	r := x.Exchange.route
	f := &feed{place: place{x.conn.listener, r.name}, u: x.u, sum: &r.cell.EventStreams, leaveAt: mono.Never}
	if r.lifetime > 0 {
		f.leaveAt, f.because = x.headAt.Add(r.lifetime), endedLifetime
	}
	x.feed = f
	f.sum.Begin()
	x.gw.enrollFeed(f)
}

// endFeed is its end, one way or the other. It comes before the endpoint's connection is anybody else's.
func (x *h1) endFeed() {
	f := x.feed
	f.mu.Lock()
	f.over = true // nobody touches the endpoint's connection any more
	f.mu.Unlock()
	x.gw.leaveFeed(f)
	f.sum.End()
	x.feed = nil
}

// leaveBy has it end at that instant, if it does not before.
func (f *feed) leaveBy(at mono.Time, why ending) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over || f.leaveAt <= at {
		return
	}
	f.leaveAt, f.because = at, why
	if due := f.u.rdue.Load(); due == 0 || due > int64(at) {
		f.u.hastenRead(at)
	}
}

// readBy says until when the endpoint may take for the next piece; 0 is for ever.
func (f *feed) readBy(due mono.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leaveAt < due || due == 0 && f.leaveAt != mono.Never {
		due = f.leaveAt
	}
	f.u.readBy(due)
}

// passed counts a piece: bytes, and the empty lines that end events.
func (f *feed) passed(p []byte) (events int64) {
	for _, c := range p {
		switch {
		case c != '\n' && c != '\r':
			f.text = true
		case c == '\n' && f.cr: // of a CRLF
		default:
			if !f.text && f.before {
				events++
			}
			f.text, f.before = false, f.text
		}
		f.cr = c == '\r'
	}
	f.sum.Out.Bytes.Add(uint64(len(p)))
	f.sum.Out.Messages.Add(uint64(events))
	return events
}

// awaitPiece says until when the next piece of the answer must be there.
func (x *h1) awaitPiece() {
	if x.feed == nil {
		x.u.readBy(x.pieceDue())
		return
	}
	x.feed.readBy(x.pieceDue())
}

// feedOver reports whether a read of the answer failed because its time is over, and that is no fault.
func (x *h1) feedOver(err error) bool {
	f := x.feed
	if f == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if mono.Now() < f.leaveAt {
		return false
	}
	x.ended = f.because
	return true
}

// finishFeed ends the answer for the client as the endpoint's own end would have, but for the connection.
func (x *h1) finishFeed(chunked bool) {
	x.persist = false
	if chunked {
		x.out = append(x.out, "0\r\n\r\n"...)
	}
	x.settleLimits()
	if x.flush() {
		x.stopUpload()
		x.dropUpstream()
	}
}

// pieceDue is when the next piece of the answer's body must be there; 0 is never.
func (x *h1) pieceDue() mono.Time {
	due, idle, r := mono.Time(0), x.conf.idle, x.Exchange.route
	if r.idle >= 0 {
		idle = r.idle
	}
	if idle > 0 {
		due = mono.Now().Add(idle)
	}
	if r.lifetime > 0 && x.answer.Left() < 0 && x.feed == nil {
		if end := x.headAt.Add(r.lifetime); due == 0 || end < due {
			due = end
		}
	}
	if x.conf.total > 0 {
		end := x.begun.Add(x.conf.total + x.download.waited) // our own waits are not the endpoint's
		if due == 0 || end < due {
			due = end
		}
	}
	return due
}
