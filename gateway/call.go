package gateway

import (
	"errors"
	"os"
	"time"

	"weir/balancer"
	"weir/internal/http1"
	"weir/internal/mono"
)

// A call of gRPC is a request of HTTP whose answer says in its last words, the trailers, whether it worked. An endpoint that fails at once
// says so in the head, with no body behind it (trailers alone). Else the lease hears of the attempt with the first piece of the body, or with
// the status, whichever is first: a stream that runs for hours must not keep a permit of a breaker that is half open.

// headCode is what the head of an answer says of a call: its status, that one will come, or that it is none.
func (x *h1) headCode() code {
	typ, ok := x.resp.Lookup("content-type")
	if !ok || !isGRPC(view(typ)) || x.resp.Status != 200 {
		return noCode
	}
	if x.answer.Left() != 0 {
		return codeAwaited
	}
	v, ok := x.resp.Lookup("grpc-status")
	if !ok {
		return noCode
	}
	return parseCode(view(v))
}

// watch looks at a piece of the answer that has come.
func (x *Exchange) watch(p []byte) {
	if x.result.code == codeAwaited {
		x.lease.Report(balancer.Success, x.headAt.Sub(x.begun), x.headAt)
	}
	if x.messages.on {
		x.messages.out.pass(p)
		x.settleAsItGoes(mono.Now())
	}
}

// watchEnd looks at the end of the answer. A call without a status says nothing.
func (x *Exchange) watchEnd(trailers *http1.Head) {
	if x.result.code != codeAwaited {
		return
	}
	x.result.code = noCode
	if v, ok := trailers.Lookup("grpc-status"); ok {
		x.result.code = parseCode(view(v))
	}
	x.code = x.result.code
	outcome, now := x.result.outcome(), mono.Now()
	if x.impatient(&x.result) {
		outcome = balancer.Ignore
	}
	x.lease.Report(outcome, x.headAt.Sub(x.begun), now)
	if outcome == balancer.Failure {
		x.lease.Broke(now)
	}
}

// watchCut judges a call whose endpoint broke off. A quiet one that was given up says nothing, nor does one whose client waits no longer.
func (x *Exchange) watchCut(err error) {
	now := mono.Now()
	if x.result.code != codeAwaited || errors.Is(err, os.ErrDeadlineExceeded) || x.hasty && now >= x.due {
		return
	}
	x.lease.Report(balancer.Fault, x.headAt.Sub(x.begun), now)
	x.lease.Broke(now)
}

// longestPushback is the longest that a retry waits for because the endpoint asks for it. A client can wait for longer, and holds nothing.
const longestPushback = time.Second

// endpointsPushback is how long to wait before a call is tried again, as its endpoint says (gRFC A6); never if it must not be, or if what it
// says cannot be read. Not ok: it says nothing.
func (x *Exchange) endpointsPushback() (d time.Duration, ok bool) {
	v, ok := x.car.ResponseField("grpc-retry-pushback-ms")
	if !ok {
		return 0, false
	}
	return parsePushback(v), true
}
