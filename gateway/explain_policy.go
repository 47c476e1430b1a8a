package gateway

import (
	"slices"
	"time"

	"weir/limiter"
)

// ExplainedPolicy is a policy of the route and what it has left for this request.
type ExplainedPolicy struct {
	Policy       string `json:"policy"`
	Level        int    `json:"level"` // 0: no parent
	Applies      bool   `json:"applies"`
	Why          string `json:"why,omitempty"`      // why it does not apply
	Override     string `json:"override,omitempty"` // the condition of the one that holds
	Algorithm    string `json:"algorithm"`
	Mode         string `json:"mode"`
	Action       string `json:"action"`
	Limit        int64  `json:"limit"`
	Window       string `json:"window,omitempty"`
	Burst        int64  `json:"burst"`
	Cost         int64  `json:"cost"`
	Allowed      bool   `json:"allowed"`
	Remaining    int64  `json:"remaining"`
	WaitMS       int64  `json:"wait_ms,omitempty"`        // it would wait so long first
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"` // -1: when others are done; -2: never
	ResetMS      int64  `json:"reset_after_ms"`           // -1: when others are done
}

// policies explains those that apply, and why others do not.
func (e *Explanation) policies(x *Exchange) {
	x.plan()
	for _, p := range x.snap.policies {
		if i := slices.IndexFunc(x.uses, func(u use) bool { return u.p == p }); i >= 0 {
			e.policy(x, &x.uses[i])
			continue
		}
		if len(p.conf.Routes) == 0 || slices.Contains(p.conf.Routes, x.route.name) {
			ep := explained(p, p.variant(x))
			ep.Why = p.missing(x)
			e.Policies = append(e.Policies, ep)
		}
	}
	if x.token.fault != "" {
		v := x.unauthenticated()
		e.refuse(v.Reason, v.Detail)
		if e.Verdict == v.Reason.String() {
			e.Status = v.status()
		}
	}
	x.priority = x.ownPriority()
	for i := range x.uses {
		x.priority = max(x.priority, x.uses[i].p.priority)
		u := &x.uses[i]
		if d := x.peek(u, u.n); !d.OK && !u.p.soft() && !u.patient(d) {
			e.refuse(Limited, "policy "+u.p.name+" allows "+u.v.allows)
		}
	}
	e.Priority = x.priority.String()
}

// patient reports whether a request that is refused would wait rather than be told so.
func (u *use) patient(d limiter.Decision) bool {
	return u.p.waits > 0 && d.Retry <= u.p.waits && d.Retry != limiter.Never
}

func explained(p *policy, v *variant) ExplainedPolicy {
	c := p.conf
	return ExplainedPolicy{Policy: p.name, Level: p.depth, Algorithm: c.Algorithm, Mode: c.Mode, Action: c.Action,
		Limit: v.numbers.Limit, Window: p.windowText(), Burst: v.numbers.Burst}
}

// policy explains one that applies.
func (e *Explanation) policy(x *Exchange, u *use) {
	ep := explained(u.p, u.v)
	d := x.peek(u, u.n)
	ep.Applies, ep.Cost, ep.Allowed, ep.Remaining, ep.ResetMS = true, u.n, d.OK, x.peek(u, 0).Left, Millis(d.Reset)
	if o := slices.Index(u.p.variants, u.v) / u.p.across; o > 0 {
		ep.Override = u.p.conf.Overrides[o-1].When
	}
	ep.WaitMS = Millis(d.Wait)
	ep.RetryAfterMS = Millis(d.Retry)
	e.Policies = append(e.Policies, ep)
}

// Millis is d in ms, rounded up; -1 for what comes when others are done, -2 for what never comes.
func Millis(d time.Duration) int64 {
	switch d {
	case limiter.Unknown:
		return -1
	case limiter.Never:
		return -2
	}
	return ceilDiv(d, time.Millisecond)
}

// missing says why p does not apply to x.
func (p *policy) missing(x *Exchange) string {
	for _, d := range p.dims {
		if _, ok := x.Dimension(d); !ok {
			return "the request has no " + x.snap.dims[d].name
		}
	}
	return "its condition does not hold"
}
