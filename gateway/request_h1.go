package gateway

import (
	"strconv"

	"weir/internal/http1"
)

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
