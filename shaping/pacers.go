package shaping

import (
	"container/heap"
	"errors"
	"fmt"
	"sync"
	"time"

	"weir/internal/mono"
)

// Key names a flow: a keyed hash of the values by which flows are told apart.
type Key struct{ Hi, Lo uint64 }

// keep is how long a flow that nobody holds is known, so that one that comes again and again need not be made anew.
const keep = mono.Time(10 * time.Second)

// maxTiers bounds the work when a flow becomes busy or idle, which goes over all tiers.
const maxTiers = 64

// Tier is what each flow of a kind gets. All numbers are bytes a second, but Burst.
type Tier struct {
	Rate      int64 // ceiling; 0: none but the total
	Burst     int64 // bytes that may go at once after a pause; 0: what goes in 100 ms, but at least 8 KiB
	Guarantee int64 // what it gets of the total in any case. Nothing without a total
	Weight    int64 // share of what is left of the total, relative to other flows; 0 counts as 1
}

// PacersConfig is the shape of one direction of one shaping rule.
type PacersConfig struct {
	Tiers []Tier // at least one
	Total int64  // bytes a second that all flows have together; 0: each has its ceiling and that is all
	Burst int64  // bytes of all flows that may go at once after a pause; 0: what goes in 100 ms, but at least 8 KiB
	Flows int    // how many are told apart at once, at least 1
}

// Validate reports what makes c no shape.
func (c PacersConfig) Validate() error {
	if len(c.Tiers) < 1 || len(c.Tiers) > maxTiers {
		return fmt.Errorf("%d tiers: 1 to %d are possible", len(c.Tiers), maxTiers)
	}
	if c.Flows < 1 {
		return fmt.Errorf("room for %d flows: at least 1 is needed", c.Flows)
	}
	if c.Total != 0 || c.Burst != 0 {
		if err := (PacerConfig{c.Total, c.Burst}).Validate(); err != nil {
			return fmt.Errorf("total: %w", err)
		}
	}
	for i, t := range c.Tiers {
		if err := t.validate(c.Total); err != nil {
			return fmt.Errorf("tier %d: %w", i, err)
		}
	}
	return nil
}

func (t Tier) validate(total int64) error {
	switch {
	case t.Rate == 0 && total == 0:
		return errors.New("neither a rate nor a total")
	case t.Guarantee < 0 || t.Weight < 0 || t.Weight > 1e6:
		return fmt.Errorf("guarantee %d, weight %d: below 0, or a weight above 1,000,000", t.Guarantee, t.Weight)
	case t.Guarantee > 0 && total == 0:
		return errors.New("a guarantee needs a total to be a part of")
	case t.Guarantee > total || t.Rate > 0 && t.Guarantee > t.Rate:
		return fmt.Errorf("a guarantee of %d is more than the rate or the total", t.Guarantee)
	case t.Rate == 0:
		return PacerConfig{total, t.Burst}.Validate()
	}
	return PacerConfig{t.Rate, t.Burst}.Validate()
}

// PacersStats is the state now and the counters since NewPacers.
type PacersStats struct {
	Flows    int    // that are known: in use, or in debt, or not yet forgotten
	Waiting  int    // pieces that wait for their time
	Bytes    uint64 // that were let go and not given back
	Waits    uint64 // pieces that had to wait
	Overflow uint64 // holds that found the table full
}

// Pacers are the flows of one direction of one shaping rule. A flow is made when a key is held first, and forgotten when nobody
// has held it for 10 s, or the table is full, and it owes nothing, so that coming back makes no difference.
//
// There are at most Flows of them. A key that finds all in use or in debt is held by the overflow, one more flow of tier 0, whose bytes all
// such keys share: a flood of keys gets one flow's rate and no memory, and cannot push out a flow that owes.
//
// Safe for concurrent use. Everything is under one mutex, O(1) but for pieces of flows that share a total, which cost O(log flows)
// and a look at every tier; nothing allocates for a known key, or grows with the bytes. No timer and no goroutine.
type Pacers struct {
	mu       sync.Mutex
	config   PacersConfig
	at       mono.Time
	ahead    mono.Time // at, and the time by which shares run ahead
	served   mono.Time // what they have run of it
	tiers    []tierClock
	total    *Pacer // nil: none
	flows    map[Key]*Flow
	overflow Flow
	unheld   flowList
	stats    PacersStats
}

// NewPacers returns no flows yet.
func NewPacers(c PacersConfig) (*Pacers, error) {
	p := &Pacers{flows: map[Key]*Flow{}}
	p.overflow = Flow{pacers: p, index: idle}
	if err := p.Reshape(c, 0); err != nil {
		return nil, err
	}
	return p, nil
}

// Hold returns the flow of a key, which stays until a Release for every Hold. The flow belongs to the tier of the last Hold; a tier that
// is not there counts as 0.
func (p *Pacers) Hold(k Key, tier int, now mono.Time) *Flow {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advanceLocked(now)
	if tier < 0 || tier >= len(p.tiers) {
		tier = 0
	}
	f := p.flows[k]
	if f == nil {
		p.forgetLocked()
		if len(p.flows) >= p.config.Flows {
			p.stats.Overflow++
			p.overflow.held++
			return &p.overflow
		}
		f = &Flow{pacers: p, key: k, tier: tier, index: idle, booked: p.tiers[tier].ceiling.pos}
		p.flows[k] = f
	} else if f.held == 0 {
		p.unheld.remove(f)
	}
	if f.tier != tier {
		p.moveLocked(f, tier)
	}
	f.held++
	return f
}

// Release ends a Hold. Whoever holds cancels his turns first.
func (f *Flow) Release(now mono.Time) {
	p := f.pacers
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.held == 0 {
		panic("BUG: shaping: flow released twice")
	}
	f.held--
	if f.held > 0 || f == &p.overflow {
		return
	}
	p.advanceLocked(now)
	p.unheld.push(f)
	f.since = p.at
	p.forgetLocked()
}

// forgetLocked drops flows that nobody holds and that owe nothing. It looks at a few, and at others the next time.
func (p *Pacers) forgetLocked() {
	for range 4 {
		f := p.unheld.first
		if f == nil || len(p.flows) < p.config.Flows && p.at-f.since < keep {
			return
		}
		p.unheld.remove(f)
		if p.owesLocked(f) {
			p.unheld.push(f)
			f.since = p.at
			continue
		}
		delete(p.flows, f.key)
	}
}

// owesLocked reports whether f is in debt, or busy, at the last advance.
func (p *Pacers) owesLocked(f *Flow) bool {
	return f.index != idle || f.booked-p.tiers[f.tier].ceiling.pos > 0
}

// Reshape changes the numbers from now on. Flows, what they owe and who waits stay. A flow of a tier that is there no longer
// goes to tier 0.
func (p *Pacers) Reshape(c PacersConfig, now mono.Time) error {
	if err := c.Validate(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advanceLocked(now)
	old, had := p.tiers, p.total != nil
	p.config, p.tiers = c, make([]tierClock, len(c.Tiers))
	for i, t := range c.Tiers {
		n := &p.tiers[i]
		if i < len(old) {
			n.ceiling, n.share = old[i].ceiling, old[i].share
		}
		n.ceiling.at, n.share.at = p.at, p.ahead
		n.set(t, c)
	}
	p.served = p.ahead
	p.reshapeTotalLocked(now)
	other := had != (p.total != nil)
	p.rejoinLocked(&p.overflow, old, other)
	for _, f := range p.flows {
		p.rejoinLocked(f, old, other)
	}
	p.fillLocked()
	return nil
}

func (p *Pacers) reshapeTotalLocked(now mono.Time) {
	c := PacerConfig{p.config.Total, p.config.Burst}
	switch {
	case c.Rate == 0:
		p.total = nil
		return
	case p.total == nil:
		p.total = &Pacer{}
	}
	p.config.Burst = c.withDefaults().Burst
	if err := p.total.Reshape(c, now); err != nil {
		panic("BUG: shaping: total: " + err.Error()) // validated
	}
}

// rejoinLocked makes f, which was of the old tiers, one of the new. other: there is a total and there was none, or the other way round;
// then all are out of debt to it, and flows with a turn that waits become busy.
func (p *Pacers) rejoinLocked(f *Flow, old []tierClock, other bool) {
	busy := f.index != idle && p.total != nil
	f.index = idle
	if f.tier >= len(p.tiers) {
		f.shift(&old[f.tier], &p.tiers[0])
		f.tier = 0
	}
	if other {
		f.shift(&p.tiers[f.tier], &p.tiers[f.tier])
		for t := f.first; t != nil; t = t.next {
			t.inTotal = false
			t.shareEnd = p.shareLocked(f, t.n)
			t.visit = f.visit
		}
	} else if busy {
		heap.Push(&p.tiers[f.tier].busy, f)
	}
}

// Stats reports what there is and was.
func (p *Pacers) Stats() PacersStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Flows = len(p.flows)
	return s
}

// flowList is a list of flows, the longest unheld first.
type flowList struct{ first, last *Flow }

func (l *flowList) push(f *Flow) {
	f.prev, f.next = l.last, nil
	if l.last != nil {
		l.last.next = f
	} else {
		l.first = f
	}
	l.last = f
}

func (l *flowList) remove(f *Flow) {
	if f.prev != nil {
		f.prev.next = f.next
	} else {
		l.first = f.next
	}
	if f.next != nil {
		f.next.prev = f.prev
	} else {
		l.last = f.prev
	}
	f.prev, f.next = nil, nil
}
