package limiter

import (
	"time"

	"weir/internal/mono"
)

// Charge is what one request spends, at several limiters, all or nothing. It is made to be a field of a pooled exchange: plan with
// Add, Take, then Refund or Settle, Reset before the next. It keeps its memory: no allocation in the long run. The zero value is an
// empty charge. Not safe for concurrent use; the limiters behind it are.
//
// No lock spans the chain: steps are spent in order, and given back if a later one refuses. Between the two, others see the units as
// spent. So that this harms nobody, plan those first that the fewest share, a user before its tenant before everybody: whoever is
// refused by a limit of its own then never touches what it shares with others. Where requests may wait, others may in that moment have
// been told to wait behind the units; then not all of them come back.
type Charge struct {
	state     chargeState
	refusedBy int // the step, if refused
	steps     []step
	decisions []Decision
}

type step struct {
	limiter *Limiter
	key     Key
	n       int64
	soft    bool // never refuses
	spent   bool
	seats   bool
	own     int64 // units of n under the spending; the rest was charged later
	more    int64 // as above, under later
	later   spending
	spending
}

type chargeState uint8

const (
	planned chargeState = iota
	refused
	charged
	refunded
	settled
)

// Add plans to spend n ≥ 0 units of k at l, with no effect yet.
func (c *Charge) Add(l *Limiter, k Key, n int64) { c.plan(step{limiter: l, key: k, n: n}) }

// AddSoft plans a step that is decided, counted and reported like any other, and charged if it fits, but never refuses.
func (c *Charge) AddSoft(l *Limiter, k Key, n int64) {
	c.plan(step{limiter: l, key: k, n: n, soft: true})
}

func (c *Charge) plan(s step) {
	checkUnits(s.n)
	if c.state != planned {
		panic("BUG: limiter: Add to a charge that was taken")
	}
	c.steps = append(c.steps, s)
}

// Take spends every planned step in order. It returns -1, or the index of the step that refused, and then the others are
// as they were: nothing is ever admitted too much. A second call panics, but for one after Again.
func (c *Charge) Take(now mono.Time) (refusedBy int) {
	if c.state != planned {
		panic("BUG: limiter: second Take of a charge")
	}
	c.decisions = c.decisions[:0]
	for i := range c.steps {
		p := &c.steps[i]
		s, h := p.limiter.shard(p.key)
		c.decisions = append(c.decisions, Decision{})
		d := &c.decisions[i]
		s.take(p.key, h, p.n, now, d, &p.spending)
		if !d.OK && !p.soft {
			s.count(false)
			c.back(i, now)
			c.state, c.refusedBy = refused, i
			return i
		}
		p.spent, p.seats = d.OK && p.n > 0, s.seats
		p.own, p.more = p.n, 0
	}
	for i := range c.steps {
		if p := &c.steps[i]; p.n > 0 {
			s, _ := p.limiter.shard(p.key)
			s.count(p.spent)
		}
	}
	c.state = charged
	return -1
}

// back gives back what the steps before i spent, and asks all but i how they stand then: OK says whether they would take
// theirs, Left and Reset what they have with nothing spent.
func (c *Charge) back(i int, now mono.Time) {
	for j := range c.steps[:i] {
		c.steps[j].back(true, now)
	}
	for j := range c.steps {
		if j >= len(c.decisions) {
			c.decisions = append(c.decisions, Decision{})
		}
		if p := &c.steps[j]; j != i {
			s, h := p.limiter.shard(p.key)
			d := s.stands(p.key, h, p.n, now)
			if s.seats && d.OK && j > i {
				p.limiter.waiters.wake(p.key) // who was woken for seats and does not come to take them passes that on
			}
			c.decisions[j] = d
		}
	}
}

func (p *step) back(undo bool, now mono.Time) {
	if !p.spent {
		return
	}
	p.spent = false
	s := p.give(p.n, undo, now)
	switch {
	case p.seats && p.shared:
		p.limiter.waiters.wakeSharing(func(k Key) bool { other, _ := p.limiter.shard(k); return other == s })
	case p.seats:
		p.limiter.waiters.wake(p.key)
	}
}

// give gives n units of p back, those that were charged last first.
func (p *step) give(n int64, undo bool, now mono.Time) *shard {
	s, h := p.limiter.shard(p.key)
	if m := min(n, p.more); m > 0 {
		s.give(p.key, h, m, &p.later, false, now)
		p.more -= m
		n -= m
	}
	if n = min(n, p.own); n > 0 {
		s.give(p.key, h, n, &p.spending, undo, now)
		p.own -= n
	}
	return s
}

// charge charges n units more.
func (p *step) charge(n int64, now mono.Time) {
	s, h := p.limiter.shard(p.key)
	sp := s.debit(p.key, h, n, p.shared && p.spent, now)
	switch {
	case !p.spent:
		p.spending, p.own, p.more = sp, n, 0
	case p.more > 0 && sp.shared == p.later.shared && sp.gen == p.later.gen:
		p.more += n // under the older mark, which gives back less
	default:
		p.later, p.more = sp, n
	}
}

// Decline makes a charge that was taken one that step i refused: somebody else decides about that one. What the others spent is given
// back.
func (c *Charge) Decline(i int, now mono.Time) {
	if c.state != charged {
		panic("BUG: limiter: Decline of a charge that was not taken")
	}
	for j := range c.steps {
		p := &c.steps[j]
		s, _ := p.limiter.shard(p.key)
		if p.spent {
			s.refunded.Add(1)
		}
		p.back(true, now)
		if j == i {
			s.count(false)
		}
	}
	c.back(i, now)
	c.state, c.refusedBy = refused, i
}

// Again plans the same steps anew after a refusal, so that Take may be called once more. That refusal is then not counted: the last
// one is the answer.
func (c *Charge) Again() {
	if c.state == refused {
		c.state = planned
		p := &c.steps[c.refusedBy]
		s, h := p.limiter.shard(p.key)
		s.uncount(p.key, h)
	}
}

// Len is the number of planned steps.
func (c *Charge) Len() int { return len(c.steps) }

// Decisions are the answers of the steps, after Take. If the chain was refused, those of the other steps say how they
// stand with nothing spent. The slice is part of c and valid until Reset.
func (c *Charge) Decisions() []Decision {
	if c.state == planned {
		return nil
	}
	return c.decisions
}

// Wait is how long the request must wait, from the Take on, before it may go on: the longest of its steps but the soft ones. A
// limiter whose own wait was shorter knows nothing of the rest: its bound is over the instants at which it let the request go on.
func (c *Charge) Wait() (longest time.Duration) {
	if c.state == charged {
		for i := range c.decisions {
			if !c.steps[i].soft {
				longest = max(longest, c.decisions[i].Wait)
			}
		}
	}
	return longest
}

// Step returns what step i planned, 0 ≤ i < Len.
func (c *Charge) Step(i int) (l *Limiter, k Key, n int64) {
	p := &c.steps[i]
	return p.limiter, p.key, p.n
}

// Correct makes the cost of step i what it turned out to be, n ≥ 0 units: too much is given back, as far as it has not come back by
// itself and nobody who waits relies on it (doc.go, Refunds); what is missing is charged, whatever is left. It does nothing before a successful Take and after Refund or Settle, for a soft step that did not fit, and for seats.
func (c *Charge) Correct(i int, n int64, now mono.Time) {
	checkUnits(n)
	p := &c.steps[i]
	if c.state != charged || p.seats || !p.spent && (p.soft && p.n > 0) {
		return
	}
	switch {
	case n < p.n:
		p.give(p.n-n, false, now)
	case n > p.n:
		p.charge(n-p.n, now)
	}
	p.n, p.spent = n, n > 0
}

// Refund gives back everything a successful Take spent, as Correct to 0 would, once: after another Refund, after Settle, and if Take refused or
// was not called it does nothing. The decisions say how the steps stand then.
func (c *Charge) Refund(now mono.Time) {
	if c.state != charged {
		return
	}
	c.state = refunded
	for i := range c.steps {
		if p := &c.steps[i]; p.spent {
			p.back(false, now)
			s, _ := p.limiter.shard(p.key)
			s.refunded.Add(1)
		}
	}
	for i := range c.steps {
		p, d := &c.steps[i], &c.decisions[i]
		s, h := p.limiter.shard(p.key)
		is := s.stands(p.key, h, p.n, now)
		d.Left, d.Reset = is.Left, is.Reset
	}
}

// Settle keeps what was spent, and gives back the seats that were in use: a later Refund does nothing.
func (c *Charge) Settle(now mono.Time) {
	if c.state != charged {
		return
	}
	c.state = settled
	for i := range c.steps {
		if p := &c.steps[i]; p.seats {
			p.back(false, now)
		}
	}
}

// Reset makes c empty again; what it spent stays spent. It costs as much as there were steps.
func (c *Charge) Reset() {
	clear(c.steps)
	c.steps, c.decisions, c.state = c.steps[:0], c.decisions[:0], planned
}
