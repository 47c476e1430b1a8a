package gateway

import (
	"errors"
	"io"
	"strconv"

	jsonbody "weir/gateway/body"
	"weir/internal/http1"
	"weir/internal/mono"
)

// changeRequest reads a JSON body whole, before an endpoint is asked, and puts what becomes of it in its place: all attempts send that, and a
// mirror gets it. What cannot be changed goes no further.
func (x *h1) changeRequest(d *document) Verdict {
	for i := x.next("content-encoding", 0); i >= 0; i = x.next("content-encoding", i+1) {
		if encoded(view(x.req.Value(i))) {
			return Verdict{Reason: BadRequest, Status: 415, Detail: "JSON is taken without a Content-Encoding here: send it as it is", Close: true}
		}
	}
	bound := x.bodyLimit()
	if bound == 0 || bound > d.limit {
		bound = d.limit
	}
	x.body.Max = bound
	if x.body.Left() > bound {
		return tooLargeToChange(bound)
	}
	if !x.proceed() {
		return Verdict{Reason: ClientGone, Close: true}
	}
	x.touched = true
	re := x.recoding()
	if v := x.readDocument(re, bound); v.Reason != Pass {
		return v
	}
	if len(re.plain) == 0 {
		x.stored = true
		return Verdict{}
	}
	if !re.Hold(cap(x.early)) {
		return noRoomToChange
	}
	made, err := d.apply(x.early[:0], re.plain, &x.Exchange, re)
	switch x.early = made; {
	case errors.Is(err, jsonbody.ErrTooLarge):
		return tooLargeToChange(d.limit)
	case errors.Is(err, jsonbody.ErrNoRoom):
		return noRoomToChange
	case err != nil:
		return Verdict{Reason: BadRequest, Detail: "the body cannot be read: " + err.Error()}
	case !re.Hold(len(made)): // it is copied behind its head to be sent
		return noRoomToChange
	}
	x.stored, x.swapped = true, true
	dropOld(&x.req)
	dropOld(&x.body.Trailers)
	if !x.body.Chunked() {
		x.req.Length = int64(len(made))
	}
	return Verdict{}
}

// readDocument reads the body to its end. A client may not dawdle over it.
func (x *h1) readDocument(re *recoding, bound int64) Verdict {
	c := x.conn
	watch := rateWatch{rate: c.conf.MinRate, idle: c.conf.IdleTimeout}
	for waited := false; ; {
		piece, err := x.body.NextHere()
		if err == http1.ErrMore {
			waited = true
			watch.begin(&c.wire)
			piece, err = x.body.Next()
			if slow := watch.end(x.body.Read()); slow != nil && err == nil {
				err = slow
			}
		}
		if err == io.EOF {
			c.readBy(0)
			if waited {
				x.begun = mono.Now()
			}
			return Verdict{}
		}
		if f := http1.None; errors.As(err, &f) && f == http1.BodyTooLarge {
			return tooLargeToChange(bound)
		}
		if err != nil {
			return x.clientFault(err)
		}
		if !re.take(piece, bound) {
			return noRoomToChange
		}
	}
}

func tooLargeToChange(bound int64) Verdict {
	return Verdict{Reason: TooLarge, Detail: "JSON may have " + strconv.FormatInt(bound, 10) + " bytes here, as sent and as it is passed on", Close: true}
}

var noRoomToChange = Verdict{Reason: QueueFull, Detail: "too many JSON bodies are being changed", Close: true}

// wantsChange returns how the body of the request is changed; nil if it is not.
func (x *h1) wantsChange() *document {
	r := x.Exchange.route.recode
	if r == nil || r.request == nil {
		return nil
	}
	for i := x.next("content-type", 0); i >= 0; i = x.next("content-type", i+1) {
		if isJSON(view(x.req.Value(i))) {
			return r.request
		}
	}
	return nil
}
