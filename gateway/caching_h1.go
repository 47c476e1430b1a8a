package gateway

import (
	"net/http"
	"strconv"

	"weir/gateway/cache"
	"weir/internal/http1"
)

// Bodiless reports whether the request has no body.
func (x *h1) Bodiless() bool { return x.body.Done() }

// Upgrades reports whether the client asks to leave HTTP.
func (x *h1) Upgrades() bool { return x.req.UpgradeOpt && x.wantsTunnel() }

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
