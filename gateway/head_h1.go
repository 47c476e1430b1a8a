package gateway

import (
	"strconv"

	"weir/internal/http1"
)

// h1 is the HTTP/1 carrier: one request of a connection, with the exchange it runs in. It is pooled whole.
type h1 struct {
	Exchange
	conn *h1conn

	req, resp http1.Head
	body      http1.Body // the client's
	answer    http1.Body // the upstream's
	host      string     // lower case, without port
	authority string     // Host as it came
	path      string     // normalised
	query     string     // as it came, without the question mark
	hasQuery  bool       // there is a question mark
	scratch   []byte     // host and path where they had to be rewritten

	persist bool     // the connection can go on after this
	linger  bool     // it cannot, and the client may still be sending
	expect  bool     // the client waits for 100 Continue
	upgrade bool     // the client asks for a tunnel: it has no body
	touched bool     // a part of the body was read and may not be in memory any more
	spoiled bool     // the attempt's connection cannot carry another exchange
	heard   received // view of resp
	stored  bool     // the whole body is in memory: behind the head, or, if it came chunked, in early
	swapped bool     // the body that was sent is in early, in place of the one that came
	early   []byte   // what was decoded of a chunked body before an endpoint was asked

	re   *recoding // nil: no body is changed
	u    *upconn   // the attempt's connection
	up   *upload   // a body that streams while the answer is waited for
	feed *feed     // the answer is an event stream; nil: it is not
	out  []byte    // what is being written
}

// release lets go of everything and leaves x ready for another connection.
func (x *h1) release() {
	c := x.conn
	c.rd.Unpin()
	if x.feed != nil { // a panic came before the endpoint's connection was given up
		x.endFeed()
	}
	x.Exchange.reset()
	x.conn = nil
	x.req.Reset()
	x.resp.Reset()
	x.host, x.authority, x.path, x.query = "", "", "", ""
	x.scratch = x.scratch[:0]
	x.persist, x.linger, x.expect, x.upgrade, x.hasQuery = false, false, false, false, false
	x.stored, x.touched, x.spoiled, x.swapped = false, false, false, false
	if x.re != nil {
		x.re.release()
		x.re = nil
	}
	x.body.Release()
	x.answer.Release()
	x.early = x.early[:0]
	x.u, x.up = nil, nil
	x.heard = received{}
	if cap(x.out) > 2*http1.LargeBuffer {
		x.out = make([]byte, 0, http1.SmallBuffer)
	}
	if cap(x.early) > http1.LargeBuffer {
		x.early = nil
	}
	x.out = x.out[:0]
}

// What route.Head and the pipeline ask for. All strings are views.

// Method returns the request's method.
func (x *h1) Method() string { return view(x.req.Method()) }

// Host returns the host in lower case without port.
func (x *h1) Host() string { return x.host }

// Path returns the normalised path.
func (x *h1) Path() string { return x.path }

// Authority returns Host as it came.
func (x *h1) Authority() string { return x.authority }

// RawQuery returns the query as it came.
func (x *h1) RawQuery() string { return x.query }

// RawQuerySuffix returns the query with its question mark, or nothing.
func (x *h1) RawQuerySuffix() string {
	if x.query == "" {
		return ""
	}
	return "?" + x.query
}

// Proto returns the protocol's name.
func (x *h1) Proto() string {
	switch {
	case x.conn.stream != nil:
		return "HTTP/2.0"
	case x.req.Minor == 0:
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

// Field returns the first header field of that lower-case name; of Cookie all, as one list. What the client has Connection
// remove is not there.
func (x *h1) Field(name string) (string, bool) {
	if k := http1.KnownName(name); k != http1.Other && k != http1.XForwardedOther {
		i := x.req.First(k)
		if i < 0 || x.withdrawn(i) {
			return "", false
		}
		return view(x.req.Value(i)), true
	}
	i := x.next(name, 0)
	if i < 0 {
		return "", false
	}
	v := view(x.req.Value(i))
	if name == "cookie" {
		for i = x.next(name, i+1); i >= 0; i = x.next(name, i+1) {
			v += "; " + view(x.req.Value(i))
		}
	}
	return v, true
}

// next returns the index of the next field of that lower-case name from i on, or -1.
func (x *h1) next(name string, i int) int {
	i = x.req.Next(name, i)
	for i >= 0 && x.withdrawn(i) {
		i = x.req.Next(name, i+1)
	}
	return i
}

// withdrawn reports whether Connection names field i, so that no endpoint gets it and nothing may be counted by it.
func (x *h1) withdrawn(i int) bool {
	f := &x.req.Fields[i]
	return f.Hop && !f.Known.HopByHop()
}

// ResponseField returns the first header field of that lower-case name of the answer, as it came.
func (x *h1) ResponseField(name string) (string, bool) {
	if c := x.cached; c != nil && c.serving {
		v, n := lineValue(c.answer.Head, name, 0)
		return view(v), n > 0
	}
	h := &x.resp
	if x.re != nil && len(x.re.was.Buf) > 0 {
		h = &x.re.was
	}
	v, ok := h.Lookup(name)
	return view(v), ok
}

// Header is Field.
func (x *h1) Header(name string) (string, bool) { return x.Field(name) }

// Query returns the first parameter of that name, decoded.
func (x *h1) Query(name string) (string, bool) { return queryParam(x.query, name) }

// ClientCN returns the common name of the client's certificate.
func (x *h1) ClientCN() string {
	if c := x.conn.nc.ClientCert; c != nil {
		return c.Subject.CommonName
	}
	return ""
}

// appendRequest appends the request's head as the endpoint gets it: everything anew, the client's framing and hop-by-hop
// fields left out, ours added after.
func (x *h1) appendRequest(b []byte) []byte {
	r := x.Exchange.route
	b = append(b, x.sentMethod()...)
	b = append(b, ' ')
	if x.path == "*" {
		b = append(b, '*')
	} else {
		b = r.rewrite.appendPath(b, x.path)
	}
	if r.rewrite.query != nil {
		b = r.rewrite.query.append(b, &x.Exchange)
	} else if x.hasQuery {
		b = append(b, '?')
		b = append(b, x.query...)
	}
	b = x.appendHost(append(b, " HTTP/1.1\r\n"...))
	conditional := x.cached != nil && x.cached.conditional
	for i := range x.req.Fields {
		if x.forwards(i) && !(conditional && isCondition(x.req.Name(i))) {
			b = x.req.AppendField(b, i)
		}
	}
	if conditional {
		b = x.cached.answer.Flight.AppendConditions(b)
	}
	b = x.appendOwn(b)
	b = r.request.append(b, &x.Exchange)
	b = x.appendFraming(b)
	return append(b, "\r\n"...)
}

// appendHost appends the Host that the endpoint gets.
func (x *h1) appendHost(b []byte) []byte {
	b = append(b, "Host: "...)
	switch r := x.Exchange.route; {
	case r.rewrite.host != "":
		b = append(b, r.rewrite.host...)
	case x.authority != "":
		b = append(b, x.authority...)
	default:
		b = append(b, x.endpoint...)
	}
	return append(b, "\r\n"...)
}

// appendOwn appends the fields that are the gateway's.
func (x *h1) appendOwn(b []byte) []byte {
	b = x.appendOurs(b)
	if x.patience.field != http1.Other {
		b = x.appendPatience(b)
	}
	if x.tagged {
		b = x.appendTags(b)
	}
	if x.off != 0 {
		b = append(appendFeatures(append(b, "Weir-Degraded: "...), x.off), "\r\n"...)
	}
	if x.wantsJSON && !x.Exchange.route.asksPlain() { // what an endpoint compresses cannot be read
		b = append(b, "Accept-Encoding: identity\r\n"...)
	}
	return b
}

// tagHeader tells an endpoint that a request is over the limits of policies that only tell.
const tagHeader = "weir-limited"

func (x *h1) appendTags(b []byte) []byte {
	b = append(b, "Weir-Limited: "...)
	ds, first := x.charge.Decisions(), true
	for i := range x.uses {
		if p := x.uses[i].p; p.tag && !ds[i].OK {
			if !first {
				b = append(b, ", "...)
			}
			b, first = append(b, p.quoted...), false
		}
	}
	return append(b, "\r\n"...)
}

// forwards reports whether field i of the request is sent on as it is.
func (x *h1) forwards(i int) bool {
	f := &x.req.Fields[i]
	if f.Hop {
		return f.Known == http1.Trailer && x.body.Chunked()
	}
	switch f.Known {
	case http1.Host, http1.ContentLength, http1.Expect, http1.XRequestID, http1.XForwardedFor, http1.Traceparent, http1.WeirLimited, http1.WeirDegraded:
		return false
	case http1.GRPCTimeout, http1.XRequestTimeout:
		if f.Known == x.patience.field {
			return false
		}
	case http1.XForwardedProto, http1.XForwardedHost, http1.XForwardedOther, http1.Forwarded:
		if !x.trusted {
			return false
		}
	}
	if (f.Underscore || x.snap.odd) && x.spoofs(x.req.Name(i)) || f.Again && x.repeats(i) {
		return false
	}
	if x.wantsJSON && http1.EqualFold(x.req.Name(i), "accept-encoding") {
		return false
	}
	return len(x.Exchange.route.request.drop) == 0 || !x.Exchange.route.request.drops(x.req.Name(i))
}

// repeats reports whether field i is a further one of a name that a dimension is read from. Only the first was counted, and
// an endpoint that reads the last would serve one client on the account of another.
func (x *h1) repeats(i int) bool {
	name := x.req.Name(i)
	for _, single := range x.snap.single {
		if http1.EqualFold(name, single) {
			return x.req.Next(single, 0) < i
		}
	}
	return false
}

// spoofs reports whether an upstream that reads _ and other signs as - would take name for a field that we vouch for, or read.
func (x *h1) spoofs(name []byte) bool {
	var b [64]byte // longer than any name that is known, but for those known by how they begin
	n := copy(b[:], name)
	odd := false
	for i, c := range b[:n] {
		if !plainSign(c) {
			b[i], odd = '-', true
		}
	}
	if odd {
		switch http1.KnownName(view(b[:n])) {
		case http1.Other, http1.Accept, http1.Date:
		default:
			return true
		}
	}
	found := false
	for _, s := range x.snap.spoofable {
		if len(s) == len(name) && http1.EqualFold(name, s) {
			return false // it is that field
		}
		found = found || mistakable(name, s)
	}
	return found
}

// ours are the fields that the gateway vouches for, in the order of entry.unwanted.
var ours = [...]string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "traceparent"}

// appendOurs appends what the gateway vouches for, but for what the route sets or removes itself.
func (x *h1) appendOurs(b []byte) []byte {
	unwanted := &x.Exchange.route.unwanted
	if !unwanted[0] {
		b = append(b, "X-Forwarded-For: "...)
		if x.trusted {
			for i := range x.req.Fields {
				if x.req.Fields[i].Known == http1.XForwardedFor && len(x.req.Value(i)) > 0 {
					b = append(b, x.req.Value(i)...)
					b = append(b, ", "...)
				}
			}
		}
		b = x.conn.nc.Remote.Addr().Unmap().AppendTo(b)
		b = append(b, "\r\n"...)
	}
	if !unwanted[1] && (!x.trusted || x.req.First(http1.XForwardedProto) < 0) {
		if x.secure {
			b = append(b, "X-Forwarded-Proto: https\r\n"...)
		} else {
			b = append(b, "X-Forwarded-Proto: http\r\n"...)
		}
	}
	if !unwanted[2] && x.authority != "" && (!x.trusted || x.req.First(http1.XForwardedHost) < 0) {
		b = append(b, "X-Forwarded-Host: "...)
		b = append(b, x.authority...)
		b = append(b, "\r\n"...)
	}
	if !unwanted[3] {
		b = append(b, "X-Request-Id: "...)
		b = append(b, x.requestID[:x.idLen]...)
		b = append(b, "\r\n"...)
	}
	if !unwanted[4] {
		b = append(b, "traceparent: "...)
		b = x.appendTrace(b)
		b = append(b, "\r\n"...)
	}
	return b
}

// appendFraming appends how the body is delimited, and what is asked of the connection.
func (x *h1) appendFraming(b []byte) []byte {
	switch {
	case x.body.Chunked():
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case x.req.Length >= 0:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, x.req.Length, 10)
		b = append(b, "\r\n"...)
	case x.Exchange.route.rewrite.method != "" && expectsBody(x.sentMethod()):
		b = append(b, "Content-Length: 0\r\n"...)
	}
	if x.upgrade {
		v, _ := x.req.Get(http1.Upgrade)
		b = append(b, "Connection: Upgrade\r\nUpgrade: "...)
		b = append(b, v...)
		b = append(b, "\r\n"...)
	}
	return b
}

// wantsTunnel reports whether a client whose Connection has the option upgrade asks to leave HTTP, for something that a tunnel can carry. HTTP/2 and TLS over an
// upgrade would carry requests past the pipeline. It is asked before anything of a body is read.
func (x *h1) wantsTunnel() bool {
	if x.req.Minor == 0 || !x.body.Done() {
		return false
	}
	v, ok := x.req.Get(http1.Upgrade)
	if !ok || !http1.Token(v) {
		return false
	}
	return !http1.EqualFold(v, "h2c") && !http1.EqualFold(v, "h2") && !(len(v) >= 3 && http1.EqualFold(v[:3], "tls")) && !(len(v) >= 4 && http1.EqualFold(v[:4], "http"))
}
