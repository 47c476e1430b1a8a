package gateway

import (
	"slices"
	"time"

	"weir/internal/mono"
	"weir/limiter"
)

// charge takes the request's cost from every policy that applies, or from none; where policies say so it waits until it may go on.
func (g *Gateway) charge(x *Exchange) Verdict {
	x.plan()
	if len(x.uses) == 0 {
		return Verdict{}
	}
	for i := range x.uses {
		u := &x.uses[i]
		x.priority = max(x.priority, u.p.priority)
		if s := u.p.settle; s != nil {
			x.settles, x.wantsJSON = true, x.wantsJSON || s.Needs().JSON
			x.messages.wanted = x.messages.wanted || s.Needs().Messages
		}
		x.seated = x.seated || u.p.seats
		x.add(u, u.n)
	}
	x.messages.on = x.messages.wanted && x.calls()
	refused := x.charge.Take(x.start)
	if refused >= 0 && x.uses[refused].p.waits > 0 {
		by := x.uses[refused].p
		refused = g.insist(x, refused)
		by.cell.Waited(x.waited)
	}
	if x.gone {
		return Verdict{Reason: ClientGone, Close: true}
	}
	x.count(x.charge.Decisions(), refused)
	g.callers.sample(x)
	if refused >= 0 {
		u := &x.uses[refused]
		if x.charge.shut() {
			return Verdict{Reason: NoStore, Detail: "policy " + u.p.name + " is decided in a store that does not answer"}
		}
		return Verdict{Reason: Limited, Policy: u.p, Variant: u.v, Decision: x.charge.Decisions()[refused]}
	}
	if wait := x.charge.Wait(); wait > 0 {
		by := slices.IndexFunc(x.charge.Decisions(), func(d limiter.Decision) bool { return d.Wait == wait })
		x.uses[by].p.cell.Waited(wait)
		if !x.pause(wait) {
			x.charge.Refund(mono.Now())
			return Verdict{Reason: ClientGone, Close: true}
		}
	}
	return Verdict{}
}

// add plans what u spends.
func (x *Exchange) add(u *use, n int64) {
	switch {
	case u.v.strict != nil:
		x.charge.addStrict(x.snap.store, u, n)
	case u.p.soft():
		x.charge.AddSoft(u.v.limiter, u.key, n)
	default:
		x.charge.Add(u.v.limiter, u.key, n)
	}
}

// count counts what each policy decided. A refused request counts where it was refused; the others were not charged.
func (x *Exchange) count(ds []limiter.Decision, refused int) {
	for i := range x.uses {
		p := x.uses[i].p
		switch {
		case i == refused || p.soft() && !ds[i].OK && (refused < 0 || p.shadow):
			p.cell.Refused()
		case refused < 0 || p.shadow:
			p.cell.Allowed()
		}
		x.tagged = x.tagged || refused < 0 && p.tag && !ds[i].OK
	}
}

// insist waits and asks again, as long as every policy that refuses allows it. It returns -1, or who refused in the end.
func (g *Gateway) insist(x *Exchange, refused int) int {
	began := mono.Now()
	for {
		u := &x.uses[refused]
		d := &x.charge.Decisions()[refused]
		left := u.p.waits - mono.Now().Sub(began)
		if x.charge.shut() || u.p.waits == 0 || left <= 0 || d.Retry > left || d.Retry == limiter.Never {
			return refused
		}
		if d.Retry == limiter.Unknown && u.v.strict != nil {
			if !x.pause(min(left, askAgain)) { // nobody tells when a seat elsewhere is free
				return refused
			}
		} else if d.Retry == limiter.Unknown {
			back, leave := u.v.limiter.Await(u.key)
			x.charge.Again()
			if refused = x.charge.Take(mono.Now()); refused < 0 || &x.uses[refused] != u {
				leave()
				if refused < 0 {
					return -1
				}
				continue
			}
			ok := x.pauseUntil(back, left)
			leave()
			if !ok {
				return refused
			}
		} else if !x.pause(d.Retry) {
			return refused
		}
		x.charge.Again()
		if refused = x.charge.Take(mono.Now()); refused < 0 {
			if x.car.Gone() { // whoever waits behind gets what it was given
				x.gone = true
				x.charge.Refund(mono.Now())
			}
			return -1
		}
	}
}

// askAgain is how soon a request that waits for seats asks the store again.
const askAgain = 25 * time.Millisecond

// goneEvery is how often somebody who waits looks whether the client still does.
const goneEvery = 100 * time.Millisecond

// pause waits for d. It reports false, earlier, if the client leaves.
func (x *Exchange) pause(d time.Duration) bool { return x.pauseUntil(nil, d) }

// pauseUntil waits for a signal, for d at most. It reports false if the client left meanwhile; x.gone says so too.
func (x *Exchange) pauseUntil(signal <-chan struct{}, d time.Duration) bool {
	begin := mono.Now()
	end := begin.Add(d)
	defer func() { x.waited += mono.Now().Sub(begin) }()
	t := time.NewTimer(min(d, goneEvery))
	defer t.Stop()
	for {
		select {
		case <-signal:
			return true
		case <-t.C:
		}
		if x.car.Gone() {
			x.gone = true
			return false
		}
		left := end.Sub(mono.Now())
		if left <= 0 {
			return true
		}
		t.Reset(min(left, goneEvery))
	}
}
