package gateway

import (
	"context"
	"time"

	"weir/internal/mono"
	"weir/limiter"
	"weir/strict"
)

// bill is what a request is charged: by limiters, and by the store of policies of scope: strict. These come last, as they wait for it.
// What the limiters spent is given back if the store refuses. It is made to be a field of a pooled exchange.
type bill struct {
	limiter.Charge
	remote *remote // nil: no step of this exchange was ever in the store
}

// remote is the part of a bill that is in the store.
type remote struct {
	store     *strict.Store
	steps     []remoteStep
	asks      []strict.Ask
	answers   []strict.Answer
	spare     limiter.Charge // what counts instead while the store does not answer
	decisions []limiter.Decision
	by        payer
	closed    bool // a policy refuses everything while the store does not answer
}

// remoteStep is a step of the chain that is in the store.
type remoteStep struct {
	at    int // in the chain
	use   use
	spare int   // in spare, or -1
	n     int64 // charged
}

// payer is who has charged the steps of a remote.
type payer uint8

const (
	nobody payer = iota
	inStore
	inSpare
)

// addStrict plans a step that the store decides. Among the limiter's steps one of no units keeps its place.
func (b *bill) addStrict(store *strict.Store, u *use, n int64) {
	if b.remote == nil {
		b.remote = new(remote)
	}
	r := b.remote
	r.store = store
	r.steps = append(r.steps, remoteStep{at: b.Len(), use: *u, spare: -1, n: n})
	r.asks = append(r.asks, strict.Ask{Policy: u.v.strict, Key: u.key, N: n, Soft: u.p.soft()})
	b.AddSoft(u.v.limiter, u.key, 0)
}

// shut reports whether a policy refused because the store does not answer: no wait helps.
func (b *bill) shut() bool { return b.strict() && b.remote.closed }

func (b *bill) strict() bool { return b.remote != nil && len(b.remote.steps) > 0 }

// Take is that of limiter.Charge, and then asks the store.
func (b *bill) Take(now mono.Time) (refusedBy int) {
	refusedBy = b.Charge.Take(now)
	if !b.strict() {
		return refusedBy
	}
	r := b.remote
	r.decisions = append(r.decisions[:0], b.Charge.Decisions()...)
	r.by, r.closed = nobody, false
	if refusedBy >= 0 {
		for i := range r.steps {
			r.decisions[r.steps[i].at] = limiter.Decision{OK: true, Left: notKnown}
		}
		return refusedBy
	}
	if refusedBy = r.take(now); refusedBy < 0 {
		return -1
	}
	b.Decline(refusedBy, now)
	for i, d := range b.Charge.Decisions() {
		if !r.isStep(i) {
			r.decisions[i] = d
		}
	}
	return refusedBy
}

// notKnown is the Left of a step that was not asked.
const notKnown = -1

func (r *remote) isStep(at int) bool {
	for i := range r.steps {
		if r.steps[i].at == at {
			return true
		}
	}
	return false
}

// take asks the store, or what counts instead. It returns which step of the chain refused, or -1.
func (r *remote) take(now mono.Time) int {
	for len(r.answers) < len(r.steps) {
		r.answers = append(r.answers, strict.Answer{})
	}
	refused, err := -1, strict.ErrAway
	if r.store != nil {
		refused, err = r.store.Take(context.Background(), r.asks, r.answers)
	}
	if err != nil {
		return r.outage(now)
	}
	for i := range r.steps {
		d := r.answers[i].Decision
		if r.answers[i].Asked {
			st := &r.steps[i].use
			st.v.limiter.Count(st.key, d.OK, now)
		} else {
			d = limiter.Decision{OK: true, Left: notKnown}
		}
		r.decisions[r.steps[i].at] = d
	}
	if refused >= 0 {
		return r.steps[refused].at
	}
	r.by = inStore
	return -1
}

// outage decides without the store, as each policy says.
func (r *remote) outage(now mono.Time) int {
	r.spare.Reset()
	for i := range r.steps {
		st := &r.steps[i]
		st.spare = -1
		switch st.use.p.conf.OnOutage {
		case "open":
			r.decisions[st.at] = limiter.Decision{OK: true, Left: st.use.v.numbers.Limit}
		case "closed":
			r.decisions[st.at] = limiter.Decision{Retry: outageRetry}
			if !st.use.p.soft() {
				r.closed = true
				return st.at
			}
		default:
			st.spare = r.spare.Len()
			if st.use.p.soft() {
				r.spare.AddSoft(st.use.v.limiter, st.use.key, st.n)
			} else {
				r.spare.Add(st.use.v.limiter, st.use.key, st.n)
			}
		}
	}
	refused, at := r.spare.Take(now), -1
	for i, d := range r.spare.Decisions() {
		for j := range r.steps {
			if st := &r.steps[j]; st.spare == i {
				r.decisions[st.at] = d
				if i == refused {
					at = st.at
				}
			}
		}
	}
	if refused < 0 {
		r.by = inSpare
	}
	return at
}

// outageRetry is when to ask again for what is refused because the store does not answer.
const outageRetry = time.Second

// Decisions are the answers of all steps, after Take.
func (b *bill) Decisions() []limiter.Decision {
	if b.strict() {
		return b.remote.decisions
	}
	return b.Charge.Decisions()
}

// Wait is how long the request must wait before it may go on.
func (b *bill) Wait() time.Duration {
	longest := b.Charge.Wait()
	if b.strict() && b.remote.by != nobody {
		for i := range b.remote.steps {
			if st := &b.remote.steps[i]; !st.use.p.soft() {
				longest = max(longest, b.remote.decisions[st.at].Wait)
			}
		}
	}
	return longest
}

// Correct makes the cost of step i what it turned out to be.
func (b *bill) Correct(i int, n int64, now mono.Time) {
	if b.strict() {
		r := b.remote
		for j := range r.steps {
			st := &r.steps[j]
			if st.at != i {
				continue
			}
			switch r.by {
			case inStore:
				if r.answers[j].OK {
					r.store.Correct(&r.asks[j], &r.answers[j].Mark, n-st.n)
					st.n = n
				}
			case inSpare:
				if st.spare >= 0 {
					r.spare.Correct(st.spare, n, now)
				}
			}
			return
		}
	}
	b.Charge.Correct(i, n, now)
}

// Settle keeps what was spent, and gives back the seats that were in use.
func (b *bill) Settle(now mono.Time) {
	b.Charge.Settle(now)
	if b.strict() {
		b.remote.end(false, now)
	}
}

// Refund gives back everything that was spent.
func (b *bill) Refund(now mono.Time) {
	b.Charge.Refund(now)
	if b.strict() {
		b.remote.end(true, now)
	}
}

// end gives back seats, and units too if refund says so. Only the first call does anything.
func (r *remote) end(refund bool, now mono.Time) {
	switch r.by {
	case inStore:
		for i := range r.steps {
			a := &r.answers[i]
			switch {
			case !a.OK:
			case r.steps[i].use.p.seats:
				r.store.Release(&r.asks[i], &a.Mark)
			case refund:
				r.store.Correct(&r.asks[i], &a.Mark, -r.steps[i].n)
			}
		}
	case inSpare:
		if refund {
			r.spare.Refund(now)
		} else {
			r.spare.Settle(now)
		}
	}
	r.by = nobody
}

// Reset makes b empty again; what it spent stays spent.
func (b *bill) Reset() {
	b.Charge.Reset()
	if r := b.remote; r != nil {
		clear(r.steps)
		clear(r.asks)
		clear(r.answers)
		r.spare.Reset()
		*r = remote{steps: r.steps[:0], asks: r.asks[:0], answers: r.answers, spare: r.spare, decisions: r.decisions[:0]}
	}
}

// peek is how n units of u would fare now, with no effect.
func (x *Exchange) peek(u *use, n int64) limiter.Decision {
	return x.snap.peek(u.v, u.key, n, x.start)
}

func (s *Snapshot) peek(v *variant, k limiter.Key, n int64, now mono.Time) limiter.Decision {
	if v.strict != nil && s.store != nil {
		answers := []strict.Answer{{}}
		if _, err := s.store.Peek(context.Background(), []strict.Ask{{Policy: v.strict, Key: k, N: n}}, answers); err == nil {
			return answers[0].Decision
		}
	}
	return v.limiter.Peek(k, n, now)
}
