package limiter

import "weir/internal/mono"

// MaxChain is how many steps a Charge holds: how many policies can apply to one request. It is 16 rather than 8 because
// policies told apart by a condition (one per plan) all count when a route is compiled, though few apply to one request.
const MaxChain = 16

// Charge is what one request spends, at several limiters, all or nothing. It is a plain value of fixed size with no
// pointer to itself, made to be a field of a pooled exchange: plan with Add, Take once, then Refund or Settle, Reset before
// the next. No allocation. The zero value is an empty charge. Not safe for concurrent use; the limiters behind it are.
type Charge struct {
	n         uint8
	state     chargeState
	steps     [MaxChain]step
	decisions [MaxChain]Decision
}

type step struct {
	limiter *Limiter
	key     Key
	n       int64
	shadow  bool // never refuses
	spent   bool
	shared  bool // the bucket of unknown keys paid
}

type chargeState uint8

const (
	planned chargeState = iota
	refused
	charged
	refunded
	settled
)

// Add plans to spend n ≥ 0 units of k at l, with no effect yet. More than MaxChain steps panic.
func (c *Charge) Add(l *Limiter, k Key, n int64) { c.plan(step{limiter: l, key: k, n: n}) }

// AddShadow plans a step that is decided, counted and reported like any other, and charged if it fits, but never refuses.
func (c *Charge) AddShadow(l *Limiter, k Key, n int64) {
	c.plan(step{limiter: l, key: k, n: n, shadow: true})
}

func (c *Charge) plan(s step) {
	checkUnits(s.n)
	if c.state != planned {
		panic("BUG: limiter: Add to a charge that was taken")
	}
	if c.n == MaxChain {
		panic("BUG: limiter: more than MaxChain policies in one charge")
	}
	c.steps[c.n] = s
	c.n++
}

// Take spends every planned step in order. It returns -1, or the index of the step that refused, and then the others are
// as they were. No lock spans the chain: between a step's spending and a later one's refusal others see the units as
// spent, so they may be refused where a lock would have let them pass, but nothing is ever admitted too much. A second
// call panics.
func (c *Charge) Take(now mono.Time) (refusedBy int) {
	if c.state != planned {
		panic("BUG: limiter: second Take of a charge")
	}
	for i := range c.steps[:c.n] {
		p := &c.steps[i]
		s, h := p.limiter.shard(p.key)
		d, shared := s.take(p.key, h, p.n, now)
		c.decisions[i] = d
		if !d.OK && !p.shadow {
			s.count(false)
			c.back(i, now)
			c.state = refused
			return i
		}
		p.spent, p.shared = d.OK, shared
	}
	for i := range c.steps[:c.n] {
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
		c.steps[j].back(now)
	}
	for j := range c.steps[:c.n] {
		if p := &c.steps[j]; j != i {
			d := p.limiter.Peek(p.key, p.n, now)
			rest := p.limiter.Peek(p.key, 0, now)
			d.Left, d.Reset = rest.Left, rest.Reset
			c.decisions[j] = d
		}
	}
}

func (p *step) back(now mono.Time) {
	if p.spent {
		s, h := p.limiter.shard(p.key)
		s.refund(p.key, h, p.n, p.shared, now)
	}
}

// Len is the number of planned steps.
func (c *Charge) Len() int { return int(c.n) }

// Decisions are the answers of the steps, after Take. If the chain was refused, those of the other steps say how they
// stand with nothing spent. The slice is part of c and valid until Reset.
func (c *Charge) Decisions() []Decision {
	if c.state == planned {
		return nil
	}
	return c.decisions[:c.n]
}

// Step returns what step i planned, 0 ≤ i < Len.
func (c *Charge) Step(i int) (l *Limiter, k Key, n int64) {
	p := &c.steps[:c.n][i]
	return p.limiter, p.key, p.n
}

// Refund gives back everything a successful Take spent, once: after another Refund, after Settle, and if Take refused or
// was not called it does nothing.
func (c *Charge) Refund(now mono.Time) {
	if c.state != charged {
		return
	}
	c.state = refunded
	for i := range c.steps[:c.n] {
		p := &c.steps[i]
		if p.spent {
			p.back(now)
			s, _ := p.limiter.shard(p.key)
			s.refunded.Add(1)
		}
	}
}

// Settle keeps what was spent: a later Refund does nothing.
func (c *Charge) Settle() {
	if c.state == charged {
		c.state = settled
	}
}

// Reset makes c empty again; what it spent stays spent. It costs as much as there were steps.
func (c *Charge) Reset() {
	clear(c.steps[:c.n])
	c.n, c.state = 0, planned
}
