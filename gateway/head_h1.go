package gateway

import (
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
