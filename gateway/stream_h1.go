package gateway

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"weir/internal/http1"
	"weir/internal/mono"
)

// clientStall is how long a client may take none of a response when no minimum rate is set.
const clientStall = 60 * time.Second

// Deliver sends the answer that the last attempt brought to the client, to its last byte.
func (x *h1) Deliver(*Exchange) {
	x.conn.writeBy(x.headAt.Add(x.conn.writeGrace()))
	if x.resp.Status == 101 {
		x.tunnel()
		return
	}
	c := x.conn
	if x.up == nil {
		x.takeStored()
	} else if x.uploaded() {
		x.stopUpload()
	} else {
		x.persist = false // answered before the request was read: its rest would be taken for the next one
	}
	chunked := x.chunksAnswer()
	if !chunked && x.answer.Left() < 0 {
		x.persist = false
	}
	if c.closing() {
		x.persist = false
	}
	x.answered = x.resp.Status
	x.startSettling()
	x.out = x.out[:0] // it holds the request
	if x.Exchange.route.recode != nil {
		x.deliverRecoded(chunked)
		return
	}
	x.out = x.appendResponse(x.out, chunked)
	if x.answer.Here() && !x.answer.Chunked() && x.download.flow == nil {
		x.deliverWhole()
	} else {
		x.deliverStream(chunked)
	}
}

// uploaded reports whether the request has been sent whole. An upload that has its last piece in hand gets a moment.
func (x *h1) uploaded() bool {
	wait := time.Duration(0)
	if x.up.allRead.Load() {
		wait = lastPiece
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-x.up.done:
		return true
	case <-t.C:
		return false
	}
}

// lastPiece is how long an endpoint that has answered already may take for the last piece of the request.
const lastPiece = 100 * time.Millisecond

// chunksAnswer reports whether the client gets the answer chunked: it does when its length is not known.
func (x *h1) chunksAnswer() bool { return x.answer.Left() < 0 && x.req.Minor == 1 }

// deliverWhole sends an answer that is already here, with one write.
func (x *h1) deliverWhole() {
	n := x.answer.Left()
	if n > 0 {
		p, err := x.answer.Next()
		if err != nil {
			x.cutAnswer(err)
			return
		}
		x.out = append(x.out, p...)
		x.capture.add(p)
		x.fill(p)
		if x.watched {
			x.watch(p)
		}
	}
	x.bytesOut = n
	x.keep()
	x.settleLimits()
	x.finishUpstream()
	if _, err := x.conn.Write(x.out); err != nil {
		x.bytesOut = 0
		x.clientLost(err)
	}
}

// deliverStream sends an answer piece by piece, each as it comes.
func (x *h1) deliverStream(chunked bool) {
	x.startFeed()
	c, u := x.conn, x.u
	for {
		if !x.answer.Pending() {
			if len(x.out) > 0 && !x.flush() {
				return
			}
			x.awaitPiece()
			if !x.capture.on { // else its end must be read, whoever has left
				c.waitFor(u)
			}
		}
		p, err := x.answer.Next()
		if phase(c.state.Load()&(1<<phaseBits-1)) != phaseActive && !c.waited() {
			x.clientLost(errAborted)
			return
		}
		if err == io.EOF {
			break
		}
		if err != nil && x.feedOver(err) {
			x.finishFeed(chunked)
			return
		}
		if err != nil {
			x.cutAnswer(err)
			return
		}
		x.bytesOut += int64(len(p))
		if x.feed != nil {
			x.messagesOut += x.feed.passed(p)
		}
		x.capture.add(p)
		x.fill(p)
		if x.watched {
			x.watch(p)
		}
		if !x.deliverPaced(p, chunked) {
			return
		}
	}
	if chunked {
		x.out = appendLastChunk(x.out, &x.answer.Trailers)
	}
	x.keep()
	if x.watched {
		x.watchEnd(&x.answer.Trailers)
	}
	x.settleLimits()
	if x.flush() {
		x.finishUpstream()
	}
}

// flush writes what has gathered. A client that takes less than the minimum rate is cut.
func (x *h1) flush() bool {
	c := x.conn
	c.writeSoon()
	_, err := c.Write(x.out)
	x.out = x.out[:0]
	if err != nil {
		x.clientLost(err)
		return false
	}
	return true
}

// readOnTime is how long the rest of an answer may take that nobody waits for but the limits.
const readOnTime = 5 * time.Second

// readOn reads the rest of an answer whose client has left, because its JSON says what it did cost: leaving early is no way to pay less.
// It reports whether the end of it came.
func (x *h1) readOn() bool {
	x.u.readBy(mono.Now().Add(readOnTime))
	for !x.capture.tooMuch {
		p, err := x.answer.Next()
		if err != nil {
			return err == io.EOF
		}
		x.capture.add(p)
	}
	return false
}

// clientLost ends an answer that the client does not take.
func (x *h1) clientLost(err error) {
	x.persist, x.linger = false, false
	x.verdict = Verdict{Reason: ClientGone}
	x.responseFailed = "client: " + err.Error()
	if x.capture.on && x.u != nil && x.readOn() {
		x.settleCost()
	} else {
		x.settleCut()
	}
	x.stopUpload()
	x.dropUpstream()
}

// cutAnswer ends an answer that the endpoint did not finish. The client must see that: where the framing would not show
// it, the connection is reset.
func (x *h1) cutAnswer(err error) {
	x.persist, x.linger = false, false
	x.verdict = Verdict{Reason: UpstreamError}
	x.responseFailed = "upstream: " + err.Error()
	x.watchCut(err)
	x.settleCut()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		x.verdict.Reason = UpstreamTimeout
	}
	if len(x.out) > 0 {
		x.conn.Write(x.out) //nolint:errcheck // it is being cut anyway
		x.out = x.out[:0]
	}
	if !x.chunksAnswer() && x.answer.Left() < 0 {
		x.conn.nc.Raw.SetLinger(0) //nolint:errcheck // a plain close is what is left then
		x.conn.kill()
	}
	x.stopUpload()
	x.dropUpstream()
}

// appendResponse appends the head of the answer as the client gets it.
func (x *h1) appendResponse(b []byte, chunked bool) []byte {
	b = appendStatus(b, x.resp.Status, x.resp.Reason())
	r := x.Exchange.route
	for i := range x.resp.Fields {
		f := &x.resp.Fields[i]
		switch {
		case f.Hop && !(f.Known == http1.Trailer && chunked), f.Known == http1.ContentLength,
			len(r.response.drop) > 0 && r.response.drops(x.resp.Name(i)):
			continue
		}
		b = x.resp.AppendField(b, i)
	}
	if x.resp.First(http1.Date) < 0 { // RFC 9110, section 6.6.1
		b = append(b, "Date: "...)
		b = append(appendDate(b), '\r', '\n')
	}
	if c := x.cached; c != nil {
		b = c.answer.AppendForwarded(b, x.resp.Status, c.fate)
	}
	b = x.appendLimits(b)
	b = r.response.append(b, &x.Exchange)
	switch {
	case chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case x.resp.Length >= 0 && x.resp.Status != 204:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, x.resp.Length, 10)
		b = append(b, '\r', '\n')
	}
	return append(x.appendConnection(b), '\r', '\n')
}

// appendInterim appends a 1xx response without what belongs to the upstream's connection.
func (x *h1) appendInterim(b []byte) []byte {
	b = appendStatus(b, x.resp.Status, x.resp.Reason())
	for i := range x.resp.Fields {
		if f := &x.resp.Fields[i]; f.Hop || f.Known == http1.ContentLength {
			continue
		}
		b = x.resp.AppendField(b, i)
	}
	return append(b, '\r', '\n')
}

func (x *h1) appendConnection(b []byte) []byte {
	switch {
	case !x.persist:
		return append(b, "Connection: close\r\n"...)
	case x.req.Minor == 0:
		return append(b, "Connection: keep-alive\r\n"...)
	}
	return b
}

func appendStatus[T []byte | string](b []byte, status int, reason T) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, reason...)
	return append(b, '\r', '\n')
}

// Answer sends a reply of the gateway's own. What is unread of the request is dropped if that is little and the client
// will send it, else the connection ends.
func (x *h1) Answer(_ *Exchange, r *Reply) {
	x.stopUpload()
	x.dropUpstream()
	if x.conn.stream != nil && x.verdict.Reason == Pass && x.body.Left() <= drainBytes {
		x.drainBody() // no refusal: a client that sends what it must not is told so instead
	}
	drain := x.planUnread(r)
	b := appendStatus(x.out[:0], r.Status, http.StatusText(r.Status))
	b = append(b, "Date: "...)
	b = appendDate(b)
	b = append(b, "\r\n"...)
	b = append(b, r.Head...)
	if !http1.NoBody(r.Status) {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, int64(len(r.Body)), 10)
		b = append(b, "\r\n"...)
	}
	b = append(x.appendConnection(b), "\r\n"...)
	if !http1.NoBody(r.Status) && x.Method() != "HEAD" {
		b = append(b, r.Body...)
		x.bytesOut = int64(len(r.Body))
	}
	x.out = b
	x.answered = r.Status
	if x.messages.on {
		x.resp.Reset()
		x.settleUnanswered()
	}
	if x.verdict.Reason == ClientGone {
		x.persist, x.linger = false, false
		return
	}
	if x.verdict.Reason == Pass {
		x.leaveSeats()
	}
	c := x.conn
	c.writeSoon()
	if _, err := c.Write(b); err != nil {
		x.persist, x.linger = false, false
		return
	}
	if drain && !x.drainBody() {
		x.persist, x.linger = false, true
	}
}

// planUnread decides, before the reply is written, what becomes of an unread body, and reports whether it is to be read
// and dropped after.
func (x *h1) planUnread(r *Reply) (drain bool) {
	if r.Close {
		x.persist, x.linger = false, true
	}
	if x.conn.closing() {
		x.persist = false
	}
	if x.body.Done() || !x.persist {
		x.linger = x.linger || !x.persist
		return false
	}
	if x.body.Left() <= drainBytes && !x.expect { // a chunked one is at least tried
		return true
	}
	x.persist, x.linger = false, true
	return false
}

// drainBody reads and drops what is left of the body, if that is little.
func (x *h1) drainBody() bool {
	c := x.conn
	c.readBy(mono.Now().Add(lingerTime))
	for !x.body.Done() {
		if _, err := x.body.Next(); err != nil && err != io.EOF || x.body.Read() > drainBytes {
			return false
		}
	}
	x.bytesIn = x.body.Read()
	c.readBy(0)
	return true
}

type dateText struct {
	second int64
	text   [29]byte
}

var date atomic.Pointer[dateText]

// appendDate appends the time as in a Date field. It is put into words once a second.
func appendDate(b []byte) []byte {
	t := time.Now()
	d := date.Load()
	if d == nil || d.second != t.Unix() {
		d = &dateText{second: t.Unix()}
		t.UTC().AppendFormat(d.text[:0], http.TimeFormat)
		date.Store(d)
	}
	return append(b, d.text[:]...)
}
