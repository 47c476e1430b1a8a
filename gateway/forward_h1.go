package gateway

import (
	"bytes"
	"errors"
	"io"
	"os"

	"weir/balancer"
	"weir/internal/http1"
	"weir/internal/mono"
)

// smallBody is the longest request body that is read whole before an endpoint is asked: it can be sent again, and a client
// that dawdles over it holds no seat at the upstream for it.
const smallBody = 16 << 10

// upstreamLimits bounds the heads and trailers of answers.
var upstreamLimits = http1.Limits{Bytes: 64 << 10, Fields: 256}

// maxInterim is how many 1xx responses may precede one answer.
const maxInterim = 16

// Prepare checks the body's length against the limit, and gets into memory what of a small body is to be had: all of one
// of known length; of a chunked one what has come, so that a malformed one is refused before an endpoint hears of it.
func (x *h1) Prepare(*Exchange) Verdict {
	if (x.stored || x.up != nil || x.body.Read() > 0) && !x.upgrade {
		return Verdict{} // a fallback: it was prepared before
	}
	if x.body.Done() {
		x.stored = true
		if x.upgrade {
			return x.openSlot()
		}
		return Verdict{}
	}
	if d := x.wantsChange(); d != nil {
		return x.changeRequest(d)
	}
	left := x.body.Left()
	x.body.Max = x.bodyLimit()
	switch {
	case x.body.Max > 0 && left > x.body.Max:
		return x.clientFault(http1.BodyTooLarge)
	case left < 0:
		return x.storeChunks()
	case left > smallBody:
		return Verdict{}
	}
	if x.stored = true; x.body.Here() {
		return Verdict{}
	}
	if !x.proceed() {
		return Verdict{Reason: ClientGone, Close: true}
	}
	c := x.conn
	c.readBy(mono.Now().Add(c.slack(left)))
	for !x.body.Here() {
		if err := c.rd.Fill(); err != nil {
			return x.clientFault(err)
		}
	}
	c.readBy(0)
	x.begun = mono.Now()
	return Verdict{}
}

// storeChunks decodes what has come of a chunked body.
func (x *h1) storeChunks() Verdict {
	for len(x.early) < smallBody {
		p, err := x.body.NextHere()
		x.early = append(x.early, p...)
		if x.messages.on {
			x.messages.in.pass(p)
		}
		switch err {
		case nil:
		case io.EOF:
			x.stored = true
			return Verdict{}
		case http1.ErrMore:
			return Verdict{}
		default:
			return x.clientFault(err)
		}
	}
	return Verdict{}
}

// proceed sends 100 Continue if the client waits for it, and reports whether that worked.
func (x *h1) proceed() bool {
	if !x.expect {
		return true
	}
	x.expect = false
	x.conn.writeSoon()
	_, err := x.conn.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	return err == nil
}

func (x *h1) bodyLimit() int64 {
	if r := x.Exchange.route; r != nil && r.body >= 0 {
		return r.body
	}
	return x.conn.conf.Body
}

// clientFault says what an error on the way from the client means.
func (x *h1) clientFault(err error) Verdict {
	var f http1.Fault
	switch {
	case errors.As(err, &f) && f == http1.BodyTooLarge:
		return Verdict{Reason: TooLarge, Detail: f.Error(), Close: true}
	case errors.As(err, &f):
		return Verdict{Reason: BadRequest, Detail: f.Error(), Close: true}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, errTooSlow):
		return Verdict{Reason: RequestTimeout, Detail: "the body arrived too slowly", Close: true}
	}
	return Verdict{Reason: ClientGone, Detail: faultDetail[FaultClient], Close: true}
}

// Replayable reports whether the body is whole in memory, or was not touched yet.
func (x *h1) Replayable() bool {
	if x.up != nil {
		select {
		case <-x.up.done:
			return x.up.whole(x)
		default:
			return false
		}
	}
	return x.stored || !x.touched
}

// Held is the length of a body that is whole in memory.
func (x *h1) Held() int64 {
	switch {
	case !x.stored:
		return 0
	case x.body.Chunked(), x.swapped:
		return int64(len(x.early))
	}
	return max(0, x.body.Left())
}

// Copy appends the request with its body, if that is whole in memory.
func (x *h1) Copy(dst []byte) ([]byte, bool) {
	if !x.stored || x.upgrade {
		return nil, false
	}
	return x.appendStored(x.appendRequest(dst)), true
}

// appendStored appends a body that is whole in memory, framed as it came.
func (x *h1) appendStored(b []byte) []byte {
	if !x.body.Chunked() {
		if x.swapped {
			return append(b, x.early...)
		}
		return append(b, x.conn.rd.Bytes()[:x.body.Left()]...)
	}
	b = appendChunk(b, x.early)
	return appendLastChunk(b, &x.body.Trailers)
}

// Attempt sends the request to e and waits for the head of its answer. A pooled connection that turns out to be closed is
// no attempt: the request goes over a new one, if nothing can have been acted on.
func (x *h1) Attempt(_ *Exchange, e *balancer.Endpoint) Result {
	up := e.Value.(*upstream)
	for fresh := false; ; fresh = true {
		u, err := up.get(x.begun, fresh, !idempotent(x.sentMethod()))
		if err != nil {
			r := Result{Fault: FaultConnect, Error: err.Error()}
			if errors.Is(err, errHandshake) {
				r.Fault = FaultHandshake
			}
			return r
		}
		x.u = u
		r := x.exchange(u)
		if r.Fault != NoFault && x.upgrade && u.refusedTunnel() {
			x.dropUpstream()
			return x.plainTunnel(up)
		}
		stale := u.used > 0 && idempotent(x.sentMethod()) && u.reads <= 1 || !r.Sent
		if r.Fault == FaultReset && stale && !fresh && x.Replayable() {
			x.dropUpstream()
			continue
		}
		if r.Fault != NoFault {
			x.dropUpstream()
		}
		return r
	}
}

// exchange sends the request over u and reads the head of the answer.
func (x *h1) exchange(u *upconn) Result {
	u.reads, x.spoiled = 0, false
	x.out = x.appendRequest(x.out[:0])
	if x.stored {
		x.out = x.appendStored(x.out)
	}
	u.writeBy(x.begun.Add(x.conf.stall()))
	if _, err := u.Write(x.out); err != nil {
		return Result{Fault: FaultReset, Sent: true, Error: err.Error()}
	}
	if !x.stored {
		if !x.proceed() {
			return Result{Fault: FaultClient, Sent: true}
		}
		if x.hasty {
			u.readBy(x.answerDue(x.begun, x.due))
		}
		x.startUpload(u)
	} else {
		u.readBy(x.answerDue(x.begun, x.due))
	}
	r := x.readAnswer(u)
	switch {
	case r.Fault == NoFault && x.up != nil:
		if x.tries < x.conf.attempts && x.conf.retryOn.codes.has(r.code) {
			x.up.awaitRest()
		}
		x.up.answered()
	case r.Fault != NoFault:
		if x.up != nil && !r.Sent {
			x.up.awaitRest()
		}
		if v := x.stopUpload(); v.Reason != Pass {
			r.Fault, r.Client = FaultClient, v
		}
	}
	return r
}

// answerDue is when the answer's head must be there, for a request that was sent whole at that instant; 0 is never.
func (x *h1) answerDue(sent, due mono.Time) mono.Time {
	if due == 0 {
		due = mono.Never
	}
	if x.conf.header > 0 {
		due = min(due, sent.Add(x.conf.header))
	}
	if x.conf.total > 0 {
		due = min(due, sent.Add(x.conf.total))
	}
	if due == mono.Never {
		return 0
	}
	return due
}

// readAnswer reads the head of the answer, past interim responses, which go on to the client but for 100 Continue.
func (x *h1) readAnswer(u *upconn) Result {
	for range maxInterim {
		x.conn.waitFor(u)
		err := u.firstBytes()
		if err == nil {
			err = u.rd.ReadResponse(&x.resp, upstreamLimits)
		}
		if !x.conn.waited() {
			return Result{Fault: FaultClient, Sent: true, Error: "the client went away"}
		}
		if err != nil {
			return x.answerFault(u, err)
		}
		switch s := x.resp.Status; {
		case s == 101:
			if !x.switched() {
				return Result{Fault: FaultProtocol, Sent: true, Error: "the endpoint switched to a protocol that was not asked for"}
			}
			return Result{Status: s, Sent: true}
		case s >= 200:
			head := x.Method() == "HEAD"
			x.answer.Response(&x.resp, &u.rd, upstreamLimits, head)
			x.spoiled = x.spoiled || head && x.sentMethod() != "HEAD" // a body comes that nobody reads
			r := Result{Status: s, Sent: true}
			if u.round != nil {
				r.code = x.headCode()
			}
			return r
		case s != 100 && x.req.Minor == 1:
			x.out = x.appendInterim(x.out[:0])
			x.conn.writeSoon()
			if _, err := x.conn.Write(x.out); err != nil {
				return Result{Fault: FaultClient, Sent: true, Error: err.Error()}
			}
		}
		u.rd.Unpin()
	}
	return Result{Fault: FaultProtocol, Sent: true, Error: "the endpoint sent too many interim responses"}
}

// switched reports whether a 101 is to the protocol that the client asked for.
func (x *h1) switched() bool {
	asked, _ := x.req.Get(http1.Upgrade)
	got, ok := x.resp.Get(http1.Upgrade)
	return x.upgrade && ok && bytes.EqualFold(asked, got)
}

func (x *h1) answerFault(u *upconn, err error) Result {
	r := Result{Fault: FaultReset, Sent: true, Error: err.Error()}
	var f http1.Fault
	switch {
	case errors.As(err, &f):
		r.Fault = FaultProtocol
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.Fault = FaultTimeout
	case errors.Is(err, errNotActedOn):
		r.Sent = false
	case errors.Is(err, errTooLong):
		r.Fault, r.Sent, r.Client = FaultClient, false, Verdict{Reason: TooLarge, Status: 431, Detail: err.Error()}
	case errors.Is(err, errAborted):
		r.Fault = FaultClient
	case errors.Is(err, io.EOF):
		r.Error = faultDetail[FaultReset]
	}
	return r
}

// Discard drops an answer that will not be delivered.
func (x *h1) Discard() {
	x.stopUpload()
	if x.answer.Here() && !x.answer.Chunked() && x.reusable() {
		x.u.rd.Discard(int(x.answer.Left()))
		x.keepUpstream()
		return
	}
	x.dropUpstream()
}

// Abort ends what the attempt holds, and the client's connection with it.
func (x *h1) Abort() {
	x.persist, x.linger = false, false
	x.stopUpload()
	x.dropUpstream()
}

// reusable reports whether the attempt's connection can carry another exchange once its answer was read.
func (x *h1) reusable() bool {
	return !x.resp.Close && (x.resp.Minor == 1 || x.resp.KeepAlive) && !x.answer.UntilClose() && !x.spoiled
}

// finishUpstream gives up the attempt's connection after its answer was read to the end. An upload that still runs is of no
// more use.
func (x *h1) finishUpstream() {
	x.stopUpload()
	if x.reusable() {
		x.keepUpstream()
	} else {
		x.dropUpstream()
	}
}

// keepUpstream returns the connection to its pool, unless bytes came that nobody asked for.
func (x *h1) keepUpstream() {
	if x.feed != nil {
		x.endFeed()
	}
	u := x.u
	x.u = nil
	if u.rd.Buffered() > 0 {
		u.up.drop(u)
		return
	}
	u.up.put(u, mono.Now())
}

func (x *h1) dropUpstream() {
	if x.feed != nil {
		x.endFeed()
	}
	if x.u != nil {
		x.u.up.drop(x.u)
		x.u = nil
	}
}
