package gateway

import (
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"weir/internal/mono"
	"weir/limiter"
)

// refusalCodes are what refusals are to a gRPC client. Only what may be tried again as it is, is unavailable.
var refusalCodes = [reasons]code{
	Limited: codeResourceExhausted, TooLarge: codeResourceExhausted,
	QueueFull: codeUnavailable, QueueTimeout: codeUnavailable, Shed: codeUnavailable, NoStore: codeUnavailable,
	BreakerOpen: codeUnavailable, NoEndpoint: codeUnavailable, UpstreamError: codeUnavailable,
	UpstreamTimeout: codeDeadlineExceeded, RequestTimeout: codeDeadlineExceeded,
	NoRoute: codeUnimplemented, BadRequest: codeInternal, Internal: codeInternal,
	ClientGone: codeCancelled, Unauthenticated: codeUnauthenticated,
}

// code is what the refusal is to a gRPC client.
func (v *Verdict) code() code {
	if v.Reason == Unauthenticated && v.Status != 0 { // there are no keys yet to tell
		return codeUnavailable
	}
	return refusalCodes[v.Reason]
}

// isGRPC reports whether a content type is gRPC's.
func isGRPC(contentType string) bool {
	const grpc = "application/grpc"
	return len(contentType) >= len(grpc) && contentType[:len(grpc)] == grpc &&
		(len(contentType) == len(grpc) || contentType[len(grpc)] == '+' || contentType[len(grpc)] == ';')
}

// calls reports whether the request is a call of gRPC.
func (x *Exchange) calls() bool {
	v, _ := x.car.Field("content-type")
	return isGRPC(v)
}

// speaksGRPC reports whether the client reads grpc-status rather than the status of HTTP.
func (x *Exchange) speaksGRPC() bool { return x.car.Proto() == "HTTP/2.0" && x.calls() }

// refuseGRPC makes r, whose header fields are those of any refusal but for the type of a body, an answer of trailers alone.
func (x *Exchange) refuseGRPC(r *Reply, v *Verdict) {
	x.code = v.code()
	h := append(r.Head, "Content-Type: application/grpc\r\nGrpc-Status: "...)
	h = strconv.AppendInt(h, int64(x.code.number()), 10)
	if ms, ok := x.pushback(v); ok {
		h = append(h, "\r\nGrpc-Retry-Pushback-Ms: "...)
		h = strconv.AppendInt(h, ms, 10)
	}
	h = append(h, "\r\nGrpc-Message: "...)
	h = appendGRPCMessage(h, reasonTable[v.Reason].title)
	switch {
	case v.Policy != nil:
		h = appendGRPCMessage(append(h, ": policy "...), v.Policy.name)
		h = appendGRPCMessage(append(h, " allows "...), v.Variant.allows)
	case v.Detail != "":
		h = appendGRPCMessage(append(h, ": "...), v.Detail)
	}
	r.Head = append(h, "\r\n"...)
	r.Status, r.Body = 200, nil
}

// never is the pushback that tells a client not to try again.
const never = -1

// maxPushback is the longest that clients understand: 24 days.
const maxPushback = math.MaxInt32 * time.Millisecond

// pushback is what a refusal tells a gRPC client of trying again (gRFC A6): in how many milliseconds, or never. The client waits for so long
// within the call; if that is longer than it has, it is told never, and learns the reason now. Not ok: it is the client's to decide.
func (x *Exchange) pushback(v *Verdict) (ms int64, ok bool) {
	wait, spread, ok := retryWait(v)
	if !ok {
		return 0, false
	}
	if spread > 0 {
		wait += rand.N(spread)
	}
	if wait < 0 || wait > maxPushback || x.impatientFor(wait) {
		return never, true
	}
	return ceilDiv(wait, time.Millisecond), true
}

// impatientFor reports whether the client waits for less than that from now.
func (x *Exchange) impatientFor(wait time.Duration) bool {
	d, has := x.readPatience()
	return has && mono.Now().Add(wait) >= x.start.Add(d)
}

// retryWait is how long a call that was refused must wait to succeed, and by how much some wait longer, so that refused clients do not come
// back together; negative if no wait helps. Not ok: nobody knows whether the call was acted on, or when it may succeed.
func retryWait(v *Verdict) (wait, spread time.Duration, ok bool) {
	switch v.Reason {
	case Limited:
		switch d := v.Decision.Retry; {
		case d == limiter.Unknown: // when others are done
			return time.Second, 2 * time.Second, true
		case d > maxPushback:
			return never, 0, true
		default:
			return d, d/10 + 50*time.Millisecond, true
		}
	case Shed:
		return v.Retry, v.Retry + time.Second, true
	case QueueFull, QueueTimeout, NoStore, BreakerOpen, NoEndpoint:
		return time.Second, 2 * time.Second, true
	case Unauthenticated:
		if v.Status != 0 {
			return time.Second, 2 * time.Second, true
		}
		return never, 0, true
	case NoRoute, BadRequest, TooLarge, Internal:
		return never, 0, true
	}
	return 0, 0, false
}

// appendGRPCMessage percent-encodes s as gRPC over HTTP/2 asks for.
func appendGRPCMessage[T string | []byte](b []byte, s T) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}
