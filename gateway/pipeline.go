package gateway

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"time"

	"weir/balancer"
	"weir/internal/mono"
	"weir/shaping"
)

// serve carries one exchange from its parsed head to its end. x.snap, x.start and the client's address are set.
func (g *Gateway) serve(x *Exchange) {
	defer g.guard(x)
	if v := g.admit(x); v.Reason != Pass {
		g.answer(x, v)
	} else if x.route.targets == nil {
		g.answerFixed(x)
	} else if x.route.cache == nil || !g.fromCache(x) {
		for g.attempt(x) {
		}
	}
	g.settle(x)
}

// guard keeps a panic from costing more than its own request.
func (g *Gateway) guard(x *Exchange) {
	p := recover()
	if p == nil {
		return
	}
	defer g.settle(x) // even if what follows panics too
	g.hub.Panics().Inc()
	g.log.Error("panic while serving a request", "panic", fmt.Sprint(p), "route", x.routeName(), "stack", string(debug.Stack()))
	x.verdict = Verdict{Reason: Internal, Close: true}
	if x.answered == 0 {
		x.refuse(x.blankReply(), &x.verdict)
		x.car.Answer(x, &x.reply)
	} else {
		x.responseFailed = "panic"
		x.car.Abort()
	}
}

var errPanic = errors.New("panic")

// shield keeps a panic in a goroutine beside a request from ending the process; then does what must be done about it.
func (g *Gateway) shield(what string, then func()) {
	if p := recover(); p != nil {
		g.hub.Panics().Inc()
		g.log.Error("panic beside a request", "in", what, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		then()
	}
}

// admit decides whether the request may go to an upstream: route, dimensions, limits. A seat is taken with the first
// attempt, when it is known in which pool.
func (g *Gateway) admit(x *Exchange) Verdict {
	x.off = g.pressure.off.Load()
	if why := x.ambiguous(); why != "" {
		return Verdict{Reason: BadRequest, Detail: why}
	}
	n := x.snap.table.Match(x)
	if n < 0 {
		return Verdict{Reason: NoRoute, Detail: "no route matches this host, path and method"}
	}
	x.route = x.snap.routes[n]
	if x.route.wantsToken && !x.authentic() {
		return x.unauthenticated()
	}
	x.priority = x.route.priority
	if x.route.urgency != nil {
		x.priority = x.ownPriority()
	}
	return g.charge(x)
}

// attempt tries one endpoint and reports whether another attempt must follow. After false the exchange is answered.
func (g *Gateway) attempt(x *Exchange) (again bool) {
	if x.pool == nil {
		if v := g.enter(x, x.route.pick(rand.Uint64())); v.Reason != Pass {
			return g.fail(x, v)
		}
		if x.route.mirror != nil && x.off&noMirror == 0 {
			g.mirror(x)
		}
	}
	if x.tries > 0 {
		x.begun = mono.Now()
	} else {
		x.pool.balancer.Budget().Request(x.begun) // refused ones earn no retries
		var miss balancer.Miss
		if x.lease, miss = x.pool.balancer.Lease(x.hint, &x.tried, x.begun); miss != balancer.OK {
			return g.fail(x, missVerdict(miss))
		}
	}
	e := x.lease.Endpoint()
	x.tried.Add(e)
	x.tries++
	x.endpoint = e.Name()
	x.cell = e.Value.(*upstream).cell
	x.result = x.car.Attempt(x, e)
	r := &x.result
	x.sent = x.sent || r.Sent
	x.headAt = mono.Now()
	outcome := r.outcome()
	if x.impatient(r) {
		outcome = balancer.Ignore
	}
	if r.code != codeAwaited {
		x.lease.Report(outcome, x.headAt.Sub(x.begun), x.headAt)
	}
	if r.Status == http.StatusServiceUnavailable || r.code == codeUnavailable {
		x.rest()
	}
	x.cell.Observe(r.Status, x.headAt.Sub(x.begun))
	if wait, ok := g.retry(x, r); ok && g.again(x, wait) {
		x.conf.retries.Inc()
		return true
	}
	if r.Fault != NoFault {
		x.lease.Done(x.headAt)
		return g.fail(x, r.verdict())
	}
	return g.passOn(x)
}

// passOn sends the answer that the last attempt brought to the client.
func (g *Gateway) passOn(x *Exchange) (again bool) {
	if !x.route.hold {
		x.leaveSeat(x.headAt)
	}
	if x.route.asksPlain() {
		settles := x.settles
		if v := x.car.Recast(x); v.Reason != Pass {
			x.giveUpAnswer()
			again = g.fail(x, v)
			x.settles = settles && again // by what another pool says
			return again
		}
	}
	if x.snap.cache != nil {
		return g.deliver(x)
	}
	x.car.Deliver(x)
	return false
}

// again leases the endpoint of the next attempt, once the wait is over. Only when there is one is what this attempt brought given up: an
// answer, even an error, is better than none.
func (g *Gateway) again(x *Exchange, wait time.Duration) bool {
	if x.result.Fault != NoFault {
		x.lease.Done(x.headAt)
	}
	now := x.headAt
	if wait > 0 {
		if !x.standBy(wait) {
			return false
		}
		now = mono.Now()
	}
	next, miss := x.pool.balancer.Lease(x.hint, &x.tried, now)
	if miss != balancer.OK {
		if wait > 0 { // its seat was taken for this attempt, and what the one before says of load is told
			x.seat.Leave(shaping.Ignore, 0, now)
		}
		return false
	}
	if x.result.Fault == NoFault {
		x.car.Discard()
		x.lease.Done(x.headAt)
	}
	x.lease = next
	return true
}

// standBy waits before another attempt, without a seat, as a request that waits is nothing that the endpoints do: others have it meanwhile.
// The seats that policies count, which are the client's, it keeps; and what the last attempt brought, with its lease, if that is an answer. It is
// not ok if there is no seat afterwards, or no time.
func (x *Exchange) standBy(wait time.Duration) (ok bool) {
	x.leaveSeat(x.headAt)
	time.Sleep(wait)
	began := x.begun
	if mono.Now() < x.waitUntil() && x.sit().Reason == Pass {
		return true
	}
	x.begun = began
	return false
}

func missVerdict(m balancer.Miss) Verdict {
	switch m {
	case balancer.BreakerOpen:
		return Verdict{Reason: BreakerOpen, Detail: "every endpoint's circuit breaker is open"}
	case balancer.NoRoom:
		return Verdict{Reason: QueueFull, Detail: "all connections of the pool are in use"}
	}
	return Verdict{Reason: NoEndpoint, Detail: "no endpoint of the pool is healthy"}
}

// retry decides whether a failed attempt is repeated, and how long to wait before. Nothing is repeated that may have been
// acted on: a request that reached an endpoint only if its method is idempotent (RFC 9110, section 9.2.2), or if its answer is a
// status of gRPC that the pool says is safe, and its body is still here; and nothing beyond the attempts, the budget and the time
// that there are.
func (g *Gateway) retry(x *Exchange, r *Result) (wait time.Duration, ok bool) {
	c := x.conf
	if x.tries >= c.attempts || x.off&noRetries != 0 || !c.retryOn.wants(r) {
		return 0, false
	}
	if r.Sent && !idempotent(x.sentMethod()) && !c.retryOn.codes.has(r.code) || !x.car.Replayable() {
		return 0, false
	}
	if x.tries > 1 {
		full := c.backoff << min(x.tries-2, 6)
		wait = time.Duration(rand.Int64N(int64(full) + 1))
	}
	if r.code != noCode {
		push, ok := x.endpointsPushback()
		if ok && (push < 0 || push > longestPushback) {
			return 0, false
		}
		wait = max(wait, push)
	}
	if x.due != 0 && x.headAt.Add(wait) >= x.due {
		return 0, false
	}
	return wait, x.pool.balancer.Budget().Retry(x.headAt)
}

func (o *retryOn) wants(r *Result) bool {
	switch r.Fault {
	case NoFault:
		return o.status[r.Status] || o.codes.has(r.code)
	case FaultConnect, FaultHandshake:
		return o.connect
	case FaultReset, FaultProtocol:
		return o.reset
	case FaultTimeout:
		return o.timeout
	}
	return false
}

func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE":
		return true
	}
	return false
}

// fail answers a request that no endpoint answered: by the route's fallback, if it has one for this reason, else with the
// reason. It reports whether an attempt at another pool must follow.
func (g *Gateway) fail(x *Exchange, v Verdict) (again bool) {
	if x.cached != nil && g.rescue(x, v) {
		return false
	}
	f := x.route.fallback
	if f == nil || x.fellBack || !f.on[v.Reason] {
		g.answer(x, v)
		return false
	}
	x.fellBack = true
	x.verdict = v
	if f.respond != nil {
		x.consoled = true
		x.fixedReply(x.blankReply(), f.respond, true)
		x.car.Answer(x, &x.reply)
		return false
	}
	if x.sent && !idempotent(x.sentMethod()) || !x.car.Replayable() {
		g.answer(x, v)
		return false
	}
	if x.cached != nil {
		x.cached.leave() // what another pool says is not what this one would
	}
	x.leaveSeat(mono.Now())
	x.tried.Reset()
	x.tries, x.headAt, x.result = 0, 0, Result{}
	if v := g.enter(x, f.pool); v.Reason != Pass {
		g.answer(x, v)
		return false
	}
	return true
}

// answer refuses the request.
func (g *Gateway) answer(x *Exchange, v Verdict) {
	x.verdict = v
	if v.Reason == Limited && x.route.fallback != nil && x.route.fallback.on[Limited] && x.route.fallback.respond != nil {
		x.fellBack, x.consoled = true, true
		x.fixedReply(x.blankReply(), x.route.fallback.respond, true)
		x.car.Answer(x, &x.reply)
		return
	}
	if x.owesNothing() { // the client's next request must find its units back
		x.charge.Refund(mono.Now())
	}
	x.refuse(x.blankReply(), &x.verdict)
	x.car.Answer(x, &x.reply)
}

// owesNothing reports whether the request was refused for room or for want of an endpoint, and nothing was sent.
func (x *Exchange) owesNothing() bool {
	return !x.sent && x.verdict.Reason != Pass && !x.consoled && x.verdict.Reason != Limited
}

// answerFixed answers with what the route says itself.
func (g *Gateway) answerFixed(x *Exchange) {
	r := x.blankReply()
	if x.route.respond != nil {
		x.fixedReply(r, x.route.respond, true)
	} else {
		x.redirectReply(r, x.route.status, x.route.redirect.append(nil, x))
	}
	x.car.Answer(x, r)
}

// settle gives back what x holds, in reverse order, and accounts for it. Only the first call does anything.
func (g *Gateway) settle(x *Exchange) {
	if x.settled {
		return
	}
	x.settled = true
	end := mono.Now()
	x.lease.Done(end)
	x.leaveSeat(end)
	x.closeCache() // who goes on in its place finds the seat free
	x.download.end(end)
	x.upload.end(end)
	x.closeSlot()
	if x.owesNothing() {
		x.charge.Refund(end)
	} else {
		x.charge.Settle(end)
	}
	g.account(x, end)
}

func (x *Exchange) routeName() string {
	if x.route == nil {
		return ""
	}
	return x.route.name
}
