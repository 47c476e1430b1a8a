package gateway

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"weir/config"
	"weir/limiter"
)

// Reply is an answer of the gateway's own: status, header lines and body, ready to be framed by a carrier.
type Reply struct {
	Status int
	Head   []byte // header lines, each with its CRLF; no framing, no Connection
	Body   []byte // view of the exchange's or the configuration's memory
	Close  bool   // the connection cannot be used again
}

// blankReply returns the exchange's reply with nothing in it but room.
func (x *Exchange) blankReply() *Reply {
	x.reply = Reply{Head: x.reply.Head[:0]}
	return &x.reply
}

// refuse fills r from a verdict.
func (x *Exchange) refuse(r *Reply, v *Verdict) {
	info := &reasonTable[v.Reason]
	r.Status, r.Close = v.status(), v.Close
	h := r.Head
	grpc := x.speaksGRPC()
	plain := !grpc && acceptsOnlyText(x)
	if grpc {
		// its type comes with its status
	} else if plain {
		h = append(h, "Content-Type: text/plain; charset=utf-8\r\n"...)
	} else {
		h = append(h, "Content-Type: application/problem+json\r\n"...)
	}
	h = append(h, "Cache-Control: no-store\r\n"...)
	h = x.appendLimits(h)
	retry := retryAfter(v)
	if retry > 0 {
		h = append(h, "Retry-After: "...)
		h = strconv.AppendInt(h, retry, 10)
		h = append(h, "\r\n"...)
	}
	if v.Reason == Unauthenticated && r.Status == http.StatusUnauthorized {
		h = append(h, "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n"...)
	}
	if x.snap == nil || x.snap.headers.Reason {
		h = append(h, "Weir-Reason: "...)
		h = append(h, info.token...)
		if v.Policy != nil {
			h = append(h, "; policy="...)
			h = append(h, v.Policy.quoted...)
		}
		h = append(h, "\r\n"...)
	}
	switch r.Head = h; {
	case grpc:
		x.refuseGRPC(r, v)
	case plain:
		r.Body = x.plainBody(v)
	default:
		r.Body = x.problemBody(v)
	}
}

func acceptsOnlyText(x *Exchange) bool {
	a, ok := x.car.Field("accept")
	return ok && strings.HasPrefix(a, "text/plain")
}

func (x *Exchange) plainBody(v *Verdict) []byte {
	b := append(x.text[:0], reasonTable[v.Reason].title...)
	if v.Policy != nil {
		b = append(b, " (policy "...)
		b = append(b, v.Policy.name...)
		b = append(b, ')')
	}
	if v.Detail != "" {
		b = append(b, ": "...)
		b = append(b, v.Detail...)
	}
	x.text = append(b, '\n')
	return x.text
}

// problemBody is application/problem+json of RFC 9457; for limits with the type and member that the RateLimit draft defines.
func (x *Exchange) problemBody(v *Verdict) []byte {
	b := x.text[:0]
	if v.Reason == Limited {
		b = append(b, `{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"`...)
	} else {
		b = append(b, `{"type":"about:blank","title":"`...)
	}
	b = append(b, reasonTable[v.Reason].title...)
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(v.status()), 10)
	b = append(b, `,"reason":"`...)
	b = append(b, v.Reason.String()...)
	b = append(b, '"')
	if v.Policy != nil {
		b = append(b, `,"detail":"policy `...)
		b = append(b, v.Policy.name...)
		b = append(b, " allows "...)
		b = append(b, v.Variant.allows...)
		b = append(b, `","violated-policies":[`...)
		b = append(b, v.Policy.quoted...)
		b = x.appendViolated(b, v.Policy)
		b = append(b, ']')
		if r := v.Decision.Retry; r != limiter.Never && r != limiter.Unknown {
			b = append(b, `,"retry_after_ms":`...)
			b = strconv.AppendInt(b, ceilDiv(r, time.Millisecond), 10)
		}
	} else if v.Detail != "" {
		b = append(b, `,"detail":`...)
		b = strconv.AppendQuote(b, v.Detail)
	}
	if x.idLen > 0 {
		b = append(b, `,"request_id":"`...)
		b = append(b, x.requestID[:x.idLen]...)
		b = append(b, '"')
	}
	x.text = append(b, "}\n"...)
	return x.text
}

// appendViolated appends the other policies that would have refused as well.
func (x *Exchange) appendViolated(b []byte, but *policy) []byte {
	ds := x.charge.Decisions()
	for i := range ds {
		if p := x.uses[i].p; p != but && !p.soft() && !ds[i].OK {
			b = append(b, ',')
			b = append(b, p.quoted...)
		}
	}
	return b
}

// retryAfter is in whole seconds, rounded up, and a little later for some, so that refused clients do not come back
// together. 0: say nothing.
func retryAfter(v *Verdict) int64 {
	switch v.Reason {
	case Limited:
		switch v.Decision.Retry {
		case limiter.Never:
			return 0
		case limiter.Unknown: // when others are done
			return 1 + rand.Int64N(2)
		}
		s := ceilDiv(v.Decision.Retry, time.Second)
		return max(1, s+rand.Int64N(1+s/10+1))
	case Unauthenticated:
		if v.Status == 0 { // no wait makes a bad token good
			return 0
		}
		return 1 + rand.Int64N(3)
	case Shed:
		s := ceilDiv(v.Retry, time.Second)
		return max(1, s+rand.Int64N(s+2)) // a crowd that comes back at once would be shed at once
	case QueueFull, QueueTimeout, NoStore, BreakerOpen, NoEndpoint:
		return 1 + rand.Int64N(3)
	}
	return 0
}

func ceilDiv(d, unit time.Duration) int64 { return int64((d + unit - 1) / unit) }

// maxShown bounds how many policies RateLimit names.
const maxShown = 16

// appendLimits appends RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10) for the policies that
// applied and are enforced, the tightest first, and the older X-RateLimit fields if wanted.
func (x *Exchange) appendLimits(h []byte) []byte {
	if len(x.uses) == 0 || x.off&noLimitFields != 0 && x.verdict.Reason != Limited {
		return h
	}
	ds := x.charge.Decisions()
	tight := x.tightest(ds)
	if tight < 0 || len(ds) == 0 {
		return h
	}
	if x.snap.headers.RateLimit != "off" {
		h = append(h, "RateLimit-Policy: "...)
		h = append(h, x.uses[tight].v.head...)
		h = x.eachOther(h, tight, func(h []byte, i int) []byte { return append(h, x.uses[i].v.head...) })
		h = append(h, "\r\nRateLimit: "...)
		h = x.uses[tight].p.appendState(h, &ds[tight])
		h = x.eachOther(h, tight, func(h []byte, i int) []byte { return x.uses[i].p.appendState(h, &ds[i]) })
		h = append(h, "\r\n"...)
	}
	if x.snap.headers.Legacy {
		d := &ds[tight]
		h = append(h, "X-RateLimit-Limit: "...)
		h = strconv.AppendInt(h, x.uses[tight].v.numbers.Limit, 10)
		h = append(h, "\r\nX-RateLimit-Remaining: "...)
		h = strconv.AppendInt(h, d.Left, 10)
		h = append(h, "\r\nX-RateLimit-Reset: "...)
		h = strconv.AppendInt(h, max(0, resetSeconds(d)), 10)
		h = append(h, "\r\n"...)
	}
	return h
}

// eachOther appends what show shows of the enforced policies but one, each behind a comma.
func (x *Exchange) eachOther(h []byte, but int, show func([]byte, int) []byte) []byte {
	shown := 1
	for i := range x.uses {
		if i != but && !x.uses[i].p.soft() && shown < maxShown && x.charge.Decisions()[i].Left != notKnown {
			h = show(append(h, ", "...), i)
			shown++
		}
	}
	return h
}

// tightest returns the enforced policy that refused, or else that has least left as a share of what it allows; -1 if there is none.
func (x *Exchange) tightest(ds []limiter.Decision) int {
	tight := -1
	for i := range ds {
		if !x.uses[i].p.soft() && ds[i].Left != notKnown && (tight < 0 || tighter(&ds[i], &x.uses[i], &ds[tight], &x.uses[tight])) {
			tight = i
		}
	}
	return tight
}

// tighter compares what is left as a share of the bucket.
func tighter(a *limiter.Decision, u *use, b *limiter.Decision, w *use) bool {
	if a.OK != b.OK {
		return !a.OK
	}
	return float64(a.Left)*float64(w.v.numbers.Burst) < float64(b.Left)*float64(u.v.numbers.Burst)
}

func (p *policy) appendState(h []byte, d *limiter.Decision) []byte {
	h = append(h, p.quoted...)
	h = append(h, ";r="...)
	h = strconv.AppendInt(h, min(d.Left, maxInteger), 10)
	if t := resetSeconds(d); t >= 0 {
		h = append(h, ";t="...)
		h = strconv.AppendInt(h, t, 10)
	}
	return h
}

// resetSeconds is when more is to be had: for a refusal when it would pass, else when the bucket is full again; -1 if nobody knows.
func resetSeconds(d *limiter.Decision) int64 {
	switch {
	case !d.OK && d.Retry == limiter.Unknown, d.Reset == limiter.Unknown:
		return -1
	case !d.OK && d.Retry != limiter.Never:
		return ceilDiv(d.Retry, time.Second)
	}
	return ceilDiv(d.Reset, time.Second)
}

// fixedReply fills r from a configured answer.
func (x *Exchange) fixedReply(r *Reply, f *fixed, limits bool) {
	r.Status, r.Body = f.status, f.body
	h := r.Head
	for _, f := range f.headers {
		h = appendField(h, f)
	}
	if !f.typed && len(f.body) > 0 {
		h = append(h, "Content-Type: text/plain; charset=utf-8\r\n"...)
	}
	if limits {
		h = x.appendLimits(h)
	}
	r.Head = x.appendTransform(h)
}

// appendTransform appends the header fields that the route adds to responses.
func (x *Exchange) appendTransform(h []byte) []byte {
	if x.route == nil {
		return h
	}
	return x.route.response.append(h, x)
}

func appendField(h []byte, f config.HeaderValue) []byte {
	h = append(h, f.Name...)
	h = append(h, ": "...)
	h = append(h, f.Value...)
	return append(h, "\r\n"...)
}

// redirectReply fills r with a redirection to the given place.
func (x *Exchange) redirectReply(r *Reply, status int, to []byte) {
	r.Status = status
	h := append(r.Head, "Location: "...)
	h = append(h, to...)
	h = append(h, "\r\n"...)
	r.Head = x.appendTransform(x.appendLimits(h))
}
