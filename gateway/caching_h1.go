package gateway

import (
	"bytes"
	"net/http"
	"strconv"

	"weir/gateway/cache"
	"weir/internal/http1"
)

// Bodiless reports whether the request has no body.
func (x *h1) Bodiless() bool { return x.body.Done() }

// diverting are fields by which frameworks and servers let a request stand for another: of another method, path or host. Nothing of what an
// endpoint answers to such a one may be kept as the answer to what was asked for.
var diverting = [...]string{"x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url", "x-original-host", "x-host"}

// Diverts reports whether the request has one of them.
func (x *h1) Diverts() bool {
	for i := range x.req.Fields {
		name := x.req.Name(i)
		if len(name) < len("x-host") || name[0]|0x20 != 'x' || name[1] != '-' {
			continue
		}
		for _, d := range diverting {
			if len(d) == len(name) && http1.EqualFold(name, d) && x.forwards(i) {
				return true
			}
		}
	}
	return false
}

// claims are fields by which proxies say more of what a client asked for. They stand in for no client: those that do are in no key.
var claims = [...]string{"x-forwarded-port", "x-forwarded-prefix", "x-forwarded-scheme", "x-forwarded-ssl"}

// AppendClaims appends what such fields, and those for host and scheme, say beyond host and a usual scheme.
func (x *h1) AppendClaims(dst, host []byte) []byte {
	schemes := 0
	for i := range x.req.Fields {
		v, said := x.req.Value(i), false
		switch x.req.Fields[i].Known {
		case http1.XForwardedHost:
			said = !bytes.Equal(v, host)
		case http1.XForwardedProto:
			schemes++
			said = schemes > 1 || string(v) != "http" && string(v) != "https"
		case http1.XForwardedOther:
			for _, c := range claims {
				said = said || len(c) == len(x.req.Name(i)) && http1.EqualFold(x.req.Name(i), c)
			}
		}
		if said && x.forwards(i) {
			dst = appendClaim(dst, x.req.Name(i), v)
		}
	}
	return dst
}

// appendClaim appends a field, its name in lower case.
func appendClaim[T []byte | string](dst []byte, name, value T) []byte {
	at := len(dst)
	dst = append(append(dst, name...), ':')
	for i := at; i < len(dst); i++ {
		if c := dst[i]; 'A' <= c && c <= 'Z' {
			dst[i] = c | 0x20
		}
	}
	return append(append(dst, value...), 0)
}

// BareQuery reports whether the target ends in a question mark.
func (x *h1) BareQuery() bool { return x.hasQuery && x.query == "" }

// Upgrades reports whether the client asks to leave HTTP.
func (x *h1) Upgrades() bool { return x.upgrade }

// Certified reports whether the client has shown a certificate.
func (x *h1) Certified() bool { return x.conn.nc.ClientCert != nil }

// Received returns the head of the answer that the last attempt brought.
func (x *h1) Received() cache.Response {
	x.heard = received{&x.resp, &x.Exchange.route.response}
	return &x.heard
}

// SentField returns value i of the fields of that lower-case name that an endpoint gets, but for what the route adds, and how many there are up
// to that one.
func (x *h1) SentField(name string, i int) (value string, n int) {
	for j := range x.req.Fields {
		if k := x.req.Name(j); len(k) != len(name) || !http1.EqualFold(k, name) || !x.forwards(j) {
			continue
		}
		if n++; n > i {
			return view(x.req.Value(j)), n
		}
	}
	own := false
	switch name {
	case "host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "traceparent", grpcTimeout, requestTimeout, tagHeader, degradedHeader:
		own = true
	case "accept-encoding":
		own = x.wantsJSON
	}
	if !own {
		return "", n
	}
	v, m := lineValue(x.appendOwn(x.appendHost(nil)), name, i-n)
	return view(v), n + m
}

// isCondition reports whether a request field is the cache's own while it asks whether what is stored is still good.
func isCondition(name []byte) bool {
	for _, c := range [...]string{"if-none-match", "if-modified-since", "if-range", "range"} {
		if len(name) == len(c) && http1.EqualFold(name, c) {
			return true
		}
	}
	return false
}

// Serve sends what is stored.
func (x *h1) Serve(_ *Exchange, a *cache.Answer) {
	x.stopUpload()
	x.dropUpstream()
	if x.conn.closing() || !x.body.Done() {
		x.persist = false
	}
	x.answered = a.Status
	x.startSettling()
	x.capture.add(a.Body)
	if len(a.Body) > http1.LargeBuffer {
		a.Lend()
		defer a.Return()
	}
	if x.Exchange.route.recode != nil {
		changed, v := x.recastStored(a)
		if v.Reason != Pass {
			x.gw.answer(&x.Exchange, v)
			return
		}
		a = changed
	}
	x.out = x.appendStoredHead(x.out[:0], a)
	if x.re != nil && x.re.enc != nil {
		x.sendEncoded(a.Body, new(http1.Head))
		return
	}
	x.sendHeld(a.Body, false)
}

// appendStoredHead appends the head of a stored answer as the client gets it.
func (x *h1) appendStoredHead(b []byte, a *cache.Answer) []byte {
	b = appendStatus(b, a.Status, http.StatusText(a.Status))
	if len(a.Head) == 0 {
		b = append(b, "Date: "...)
		b = append(appendDate(b), '\r', '\n')
	}
	b = append(b, a.Head...)
	b = a.AppendFields(b)
	b = x.appendLimits(b)
	b = x.Exchange.route.response.append(b, &x.Exchange)
	if a.Length >= 0 {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, a.Length, 10)
		b = append(b, '\r', '\n')
	}
	return append(x.appendConnection(b), '\r', '\n')
}
