package gateway

import (
	"fmt"
	"strings"

	"weir/internal/http1"
	"weir/internal/mono"
)

// ExplainedCall is what a pool does with a call of gRPC.
type ExplainedCall struct {
	Deadline string `json:"deadline"` // for the head of the answer
	Retries  string `json:"retries"`
	Failures string `json:"failures"` // what breakers and passive health take for one
}

// call says what is particular to a call of gRPC: how it is refused, or would be, and what its pools do with it.
func (e *Explanation) call(x *Exchange) {
	if !x.calls() {
		return
	}
	e.Refusal = "grpc-status 8 over a limit, 14 for want of room or an endpoint; with grpc-retry-pushback-ms"
	if e.Verdict != "pass" {
		e.Refusal = e.refusal(x)
	}
	for i := range e.Pools {
		e.Pools[i].Call = x.explainCall(x.route.targets[i].pool)
	}
}

// refusal is what a call that is refused gets.
func (e *Explanation) refusal(x *Exchange) string {
	v := e.verdict(x)
	status := fmt.Sprintf("grpc-status %d", v.code().number())
	switch wait, spread, ok := retryWait(&v); {
	case !ok:
		return status + ", no pushback"
	case wait < 0 || x.impatientFor(wait):
		return status + ", pushback -1"
	default:
		return fmt.Sprintf("%s, pushback %d to %d", status, Millis(wait), Millis(wait+spread))
	}
}

// verdict is the one that was explained. Of several limits it is the one that takes longest.
func (e *Explanation) verdict(x *Exchange) Verdict {
	if e.Verdict == Unauthenticated.String() {
		return x.unauthenticated()
	}
	v := Verdict{}
	for v.Reason.String() != e.Verdict {
		v.Reason++
	}
	for i := range x.uses {
		u := &x.uses[i]
		if d := x.peek(u, u.n); !d.OK && !u.p.soft() && !u.patient(d) && (v.Decision.OK || d.Retry > v.Decision.Retry) {
			v.Decision = d
		}
	}
	return v
}

// explainCall says what a pool does with the call.
func (x *Exchange) explainCall(p *poolConf) *ExplainedCall {
	if p.conf.Protocol == "http1" {
		const no = "none: gRPC needs protocol h2, h2c or auto"
		return &ExplainedCall{x.deadline(p), no, no}
	}
	c := &ExplainedCall{Deadline: x.deadline(p), Retries: x.explainRetries(p), Failures: "grpc-status 4, 14"}
	if x.hasty {
		c.Failures = "grpc-status 14; 4 is of the client's own deadline"
	}
	return c
}

// deadline is what bounds the wait for the head of an answer: the least of what is configured and what the client asks for.
func (x *Exchange) deadline(p *poolConf) string {
	least, by := mono.Never.Sub(0), ""
	if x.due != 0 {
		least, by = x.due.Sub(x.start), "timeout of the route"
	}
	if x.hasty && x.patience.field == http1.GRPCTimeout {
		by = grpcTimeout
	} else if x.hasty {
		by = requestTimeout
	}
	if d := p.header; d > 0 && d < least {
		least, by = d, "timeout.response_header of the pool"
	}
	if d := p.total; d > 0 && d < least {
		least, by = d, "timeout.total of the pool"
	}
	if by == "" {
		return "none"
	}
	return fmt.Sprintf("%v, %s", least, by)
}

// explainRetries says after what the pool tries the call again.
func (x *Exchange) explainRetries(p *poolConf) string {
	var on []string
	for _, s := range p.conf.Retry.On {
		if _, ok := retryCodes[s]; ok || s == "connect" || s == "reset" {
			on = append(on, s)
		}
	}
	if p.attempts < 2 || x.off&noRetries != 0 || len(on) == 0 {
		return "none"
	}
	return fmt.Sprintf("%s: %d attempts in all", strings.Join(on, ", "), p.attempts)
}
