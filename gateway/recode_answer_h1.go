package gateway

import (
	"errors"
	"fmt"
	"io"
	"os"

	jsonbody "weir/gateway/body"
	"weir/gateway/cache"
	"weir/internal/http1"
)

// Recast changes the JSON of the answer that the last attempt brought, before anything of it is sent. What cannot be changed is not shown to
// the client: it may hold what was to be removed.
func (x *h1) Recast(*Exchange) Verdict {
	d, re := x.Exchange.route.recode.answer, x.recoding()
	re.plain, re.whole = re.plain[:0], false // of the request, or of another pool's answer
	if x.answer.Done() || x.resp.Status == 101 {
		return Verdict{}
	}
	v := x.recast(d)
	if v.Reason == Pass {
		return v
	}
	if v.Reason != ClientGone {
		x.responseFailed = "upstream: " + v.Detail
	}
	x.settleWithheld(v.Reason != UpstreamTimeout)
	return v
}

// settleWithheld corrects costs by an answer that the client does not get: the endpoint has worked for it. The rest of it is read if its JSON
// says what it did cost, and it comes.
func (x *h1) settleWithheld(comes bool) {
	x.answered = x.resp.Status
	x.capture.add(x.re.plain)
	x.capture.add(x.re.beyond)
	x.re.beyond = nil
	if x.capture.on && comes && x.readOn() {
		x.settleCost()
	} else {
		x.settleCut()
	}
	x.answered = 0
	x.capture.reset()
}

func (x *h1) recast(d *document) Verdict {
	x.startSettling()
	if yes, v := d.concerns(&x.resp, x.answer.Left()); !yes || v.Reason != Pass {
		return v
	}
	re := x.re
	for {
		p, err := x.nextPiece()
		switch {
		case err == io.EOF:
			re.whole = true
			return re.change(d, &x.Exchange, re.plain)
		case err == errAborted:
			return Verdict{Reason: ClientGone, Close: true}
		case errors.Is(err, os.ErrDeadlineExceeded):
			return Verdict{Reason: UpstreamTimeout, Detail: "the endpoint did not finish its answer in time"}
		case err != nil:
			return Verdict{Reason: UpstreamError, Detail: "the endpoint did not finish its answer"}
		case int64(len(re.plain)+len(p)) > d.limit:
			re.beyond = p // for its cost
			return unchanged(overLong(d.limit))
		case !re.take(p, d.limit):
			re.beyond = p // as above
			return noRoomToChange
		}
	}
}

// concerns reports whether an answer with that head, and a body of that length (-1: not known), is one to be changed; v is not Pass if it cannot be.
func (d *document) concerns(h *http1.Head, length int64) (yes bool, v Verdict) {
	switch {
	case h.Status == 206:
		return true, unchanged("it is a part of one, which was not asked for")
	case !anyField(h, "content-type", isJSON):
		return false, Verdict{}
	case anyField(h, "content-encoding", encoded):
		return true, unchanged("it has a Content-Encoding, though identity was asked for")
	case length > d.limit:
		return true, unchanged(overLong(d.limit))
	}
	return true, Verdict{}
}

// change makes of the JSON of an answer what the client gets.
func (r *recoding) change(d *document, x *Exchange, plain []byte) Verdict {
	if len(plain) == 0 {
		return Verdict{}
	}
	if !r.count() {
		return noRoomToChange
	}
	made, err := d.apply(r.made[:0], plain, x, r)
	switch r.made = made; {
	case errors.Is(err, jsonbody.ErrTooLarge):
		return unchanged(overLong(d.limit))
	case errors.Is(err, jsonbody.ErrNoRoom):
		return noRoomToChange
	case err != nil:
		return unchanged(err.Error())
	}
	r.changed = true
	return Verdict{}
}

func unchanged(why string) Verdict {
	return Verdict{Reason: UpstreamError, Detail: "the JSON of the answer cannot be changed as the route says: " + why}
}

func overLong(limit int64) string { return fmt.Sprintf("it has more than %d bytes", limit) }

// anyField reports whether is holds for the value of any field of that lower-case name.
func anyField(h *http1.Head, name string, is func(string) bool) bool {
	for i := range h.Fields {
		if n := h.Name(i); len(n) == len(name) && http1.EqualFold(n, name) && is(view(h.Value(i))) {
			return true
		}
	}
	return false
}

// nextPiece waits for the next piece of the answer's body. errAborted: the client has left meanwhile.
func (x *h1) nextPiece() ([]byte, error) {
	c := x.conn
	x.awaitPiece()
	if !x.capture.on { // else its end must be read, whoever has left
		c.waitFor(x.u)
	}
	p, err := x.answer.Next()
	if phase(c.state.Load()&(1<<phaseBits-1)) != phaseActive && !c.waited() {
		x.spoiled = true // the answer may be here all the same
		return nil, errAborted
	}
	return p, err
}

// recastStored returns what becomes of a stored answer. Like one that has just come, it is not shown if its JSON cannot be changed.
func (x *h1) recastStored(a *cache.Answer) (*cache.Answer, Verdict) {
	re := x.recoding()
	re.stored, re.changed = *a, false
	field := func(name string) string { return joinedLines(a.Head, name) }
	if d := x.Exchange.route.recode.answer; d != nil && len(a.Body) > 0 && isJSON(field("content-type")) {
		v := unchanged(overLong(d.limit))
		switch {
		case a.Status == 206:
			v = unchanged("a part of it is stored")
		case encoded(field("content-encoding")):
			v = unchanged("it is stored with a Content-Encoding")
		case int64(len(a.Body)) <= d.limit:
			v = re.change(d, &x.Exchange, a.Body)
		}
		if v.Reason != Pass {
			x.responseFailed = "cache: " + v.Detail
			return nil, v
		}
	}
	if a = &re.stored; re.changed {
		a.Body, a.Length = re.made, int64(len(re.made))
	}
	e := x.edit(&shown{status: a.Status, length: a.Length, held: true, field: field})
	switch {
	case re.enc != nil && len(a.Body) <= wholeCoded:
		a.Body = re.encodeWhole(a.Body)
		a.Length = int64(len(a.Body))
	case re.enc != nil:
		a.Length, e.chunked = -1, true
	case e.changed && !re.changed: // HEAD, 304
		a.Length = -1
	}
	if e != (headEdit{}) {
		re.head = e.appendLines(re.head[:0], a.Head, &x.Exchange.route.response)
		a.Head = re.head
	}
	return a, Verdict{}
}

// joinedLines returns the values of a lower-case name in header lines, as one list.
func joinedLines(lines []byte, name string) string {
	first, n := lineValue(lines, name, 0)
	list := view(first)
	for i := 1; n == i; i++ {
		var v []byte
		if v, n = lineValue(lines, name, i); n > i {
			list += ", " + view(v)
		}
	}
	return list
}

// joinedFields is joinedLines for a head.
func joinedFields(h *http1.Head, name string) (list string) {
	for i := range h.Fields {
		if n := h.Name(i); len(n) != len(name) || !http1.EqualFold(n, name) {
			continue
		}
		if v := view(h.Value(i)); list == "" {
			list = v
		} else {
			list += ", " + v
		}
	}
	return list
}
