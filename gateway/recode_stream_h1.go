package gateway

import (
	"io"

	"weir/gateway/compress"
	"weir/internal/http1"
)

// shown is an answer whose body is about to be sent.
type shown struct {
	status int
	length int64 // of the body, or what a head alone says of it; -1: not known
	held   bool  // the body is in memory, and nothing follows it
	field  func(name string) string
}

// edit says what changes in the head of an answer, and starts an encoder if its body is to be encoded.
func (x *h1) edit(s *shown) (e headEdit) {
	r := x.Exchange.route.recode
	alone := x.Method() == "HEAD" || s.status == 304
	typ := s.field("content-type")
	unknown := s.status == 304 && typ == ""
	e.changed = x.re.changed || r.answer != nil && alone && (unknown || isJSON(typ))
	c := r.compress
	if c == nil || ofGRPC(typ) {
		return e
	}
	part := s.status == 206
	resp := compress.Response{Status: s.status, Type: typ, Encoding: s.field("content-encoding"), CacheControl: s.field("cache-control"), Length: s.length}
	if part || s.status == 304 { // what is said of the whole
		resp.Status = 200
	}
	if part || alone && e.changed {
		resp.Length = -1
	}
	if !unknown && !c.rules.Suitable(&resp) {
		return e
	}
	e.vary = true
	coding := compress.Negotiate(joinedFields(&x.req, "accept-encoding"), c.codings)
	switch {
	case part, coding == compress.Identity, compress.NoTransform(joinedFields(&x.req, "cache-control")):
	case x.req.Minor == 0 && (!s.held || s.length > wholeCoded): // HTTP/1.0 has no chunks
	case s.status == 304:
		e.changed = true
	case alone, x.re.encode(c, coding):
		e.coding, e.changed = coding, true
	}
	return e
}

// deliverRecoded is Deliver's end on a route that changes bodies.
func (x *h1) deliverRecoded(chunked bool) {
	re := x.recoding()
	plain, held := re.plain, re.whole
	if !held && x.answer.Here() && !x.answer.Chunked() {
		p, err := x.answer.Next()
		if err != nil && err != io.EOF {
			x.cutAnswer(err)
			return
		}
		plain, held = p, true
	}
	body, length, trailers := plain, x.resp.Length, &x.answer.Trailers
	switch {
	case re.changed:
		body, length = re.made, int64(len(re.made))
	case re.whole: // empty, however its end was marked
		length = 0
	}
	e := x.edit(&shown{status: x.resp.Status, length: length, held: held && len(trailers.Fields) == 0,
		field: func(name string) string { return joinedFields(&x.resp, name) }})
	switch {
	case re.enc != nil && held && len(body) <= wholeCoded && len(trailers.Fields) == 0:
		body = re.encodeWhole(body)
		length = int64(len(body))
	case re.enc != nil, re.whole && len(trailers.Fields) > 0 && x.req.Minor == 1:
		length, chunked = -1, true
	case e.changed && !re.changed: // HEAD, 304
		length = -1
	}
	if e != (headEdit{}) {
		x.editHead(&e)
	}
	x.resp.Length = length
	x.out = x.appendResponse(x.out[:0], chunked)
	switch {
	case !held && re.enc != nil:
		x.deliverEncoded()
		return
	case !held:
		x.deliverStream(chunked)
		return
	}
	x.capture.add(plain)
	x.fill(plain)
	if x.watched {
		x.watch(plain)
		x.watchEnd(trailers)
	}
	x.keep()
	if re.enc != nil && x.sendEncoded(body, trailers) || re.enc == nil && x.sendHeld(body, chunked) {
		x.finishUpstream()
	}
}

// editHead edits the head of the answer. What limits are settled by is still the one that came.
func (x *h1) editHead(e *headEdit) {
	re, buf := x.re, x.resp.Buf
	line := 2
	for buf[line-1] != '\n' {
		line++
	}
	re.head = append(re.head[:0], buf[:line]...)
	re.head = append(e.appendLines(re.head, buf[line:], &x.Exchange.route.response), '\r', '\n')
	re.ours = e.ours()
	x.resp, re.was = re.was, x.resp
	x.resp.Reset()
	if n, fault := x.resp.ParseResponse(re.head, http1.Limits{Bytes: len(re.head) + 1, Fields: 1 << 15}); n == 0 {
		panic("BUG: an edited head is malformed: " + fault.Error())
	}
}

// sendHeld sends a body that is in memory, behind the head that is in x.out. It reports false if the client is lost.
func (x *h1) sendHeld(body []byte, chunked bool) bool {
	for len(body) > http1.LargeBuffer || x.download.flow != nil && len(body) > 0 {
		p := body[:min(len(body), http1.LargeBuffer)]
		body = body[len(p):]
		if x.bytesOut += int64(len(p)); len(body) == 0 {
			x.settleLimits()
		}
		if !x.deliverPaced(p, chunked) {
			return false
		}
	}
	if chunked {
		x.out = appendChunk(x.out, body)
		dropOld(&x.answer.Trailers)
		x.out = appendLastChunk(x.out, &x.answer.Trailers)
	} else {
		x.out = append(x.out, body...)
	}
	x.bytesOut += int64(len(body))
	x.settleLimits()
	if len(x.out) > 0 && !x.flush() {
		x.bytesOut = max(0, x.bytesOut-int64(len(body)))
		return false
	}
	return true
}

// sendEncoded sends a body that is in memory, encoded, behind the head that is in x.out. It reports false if the client is lost.
func (x *h1) sendEncoded(body []byte, trailers *http1.Head) bool {
	for len(body) > 0 {
		p := body[:min(len(body), http1.LargeBuffer)]
		body = body[len(p):]
		if !x.encodePiece(p) {
			return false
		}
	}
	return x.endEncoded(trailers)
}

// deliverEncoded sends an answer encoded, piece by piece: whatever has come when no more is there goes on at once.
func (x *h1) deliverEncoded() {
	x.startFeed()
	for {
		p, err := x.answer.NextHere()
		if err == http1.ErrMore {
			x.re.enc.Flush() //nolint:errcheck // to memory
			if !x.sendCoded() || len(x.out) > 0 && !x.flush() {
				return
			}
			p, err = x.nextPiece()
		}
		switch {
		case err == io.EOF:
			x.keep()
			if x.watched {
				x.watchEnd(&x.answer.Trailers)
			}
			if x.endEncoded(&x.answer.Trailers) {
				x.finishUpstream()
			}
			return
		case x.feedOver(err):
			x.persist = false
			if x.endEncoded(new(http1.Head)) {
				x.stopUpload()
				x.dropUpstream()
			}
			return
		case err == errAborted:
			x.clientLost(err)
			return
		case err != nil:
			x.cutAnswer(err)
			return
		}
		if x.feed != nil {
			x.messagesOut += x.feed.passed(p)
		}
		x.capture.add(p)
		x.fill(p)
		if x.watched {
			x.watch(p)
		}
		if !x.encodePiece(p) {
			return
		}
	}
}

func (x *h1) encodePiece(p []byte) bool {
	x.re.came += int64(len(p))
	x.re.enc.Write(p) //nolint:errcheck // to memory
	return x.sendCoded()
}

// sendCoded sends what the encoder has written.
func (x *h1) sendCoded() bool {
	p := x.re.coded
	x.re.coded = p[:0]
	x.bytesOut += int64(len(p))
	return x.deliverPaced(p, true)
}

func (x *h1) endEncoded(trailers *http1.Head) bool {
	x.re.enc.Close() //nolint:errcheck // to memory
	x.re.endEncoding()
	if !x.sendCoded() {
		return false
	}
	dropOld(trailers)
	x.out = appendLastChunk(x.out, trailers)
	x.settleLimits()
	return x.flush()
}
