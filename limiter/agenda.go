package limiter

import (
	"time"

	"weir/internal/mono"
)

// An agenda is when Step looks at which cells: at those that called and at those whose time has come. A key about which nothing changes
// costs a look every few regular steps, and a glance where its foretold spending may fail to come. The cells' marks (dirty, round, tick)
// are guarded by their shards, the rest by the fleet's mutex.
type agenda struct {
	called []*cell // dirty ones
	round  int64   // regular steps so far
	rounds [128][]*cell
	tick   int64 // ticks of midGap that are over
	ticks  [128][]*cell
}

const (
	farthest = 127 // rounds and ticks ahead
	longRest = 32  // rounds for which a cell is left alone that has nothing to tell
)

// reason is why Step looks at a cell.
type reason uint8

const (
	forCall reason = iota
	forTick
	forRound
)

// due calls look for the cells to look at now: those that called, those whose foretold spending is to be checked (glance), and at a regular
// step those whose round it is. look plans them anew.
func (a *agenda) due(now mono.Time, regular bool, look func(c *cell, why reason)) {
	if regular {
		a.round++
	}
	list := a.called
	a.called = nil
	for _, c := range list {
		look(c, forCall)
	}
	until := int64(now) / int64(midGap)
	for a.tick = max(a.tick, until-farthest); a.tick < until; {
		a.tick++
		slot := &a.ticks[a.tick%int64(len(a.ticks))]
		for _, c := range *slot {
			look(c, forTick)
		}
		clear(*slot)
		*slot = (*slot)[:0]
	}
	if regular {
		slot := &a.rounds[a.round%int64(len(a.rounds))]
		for _, c := range *slot {
			look(c, forRound)
		}
		clear(*slot)
		*slot = (*slot)[:0]
	}
}

// is reports whether c is still to be looked at. c's shard is locked.
func (a *agenda) is(c *cell, why reason) bool {
	switch {
	case c.gone || !c.listed:
		return false
	case why == forTick:
		return !c.dirty && c.tick == a.tick
	case why == forRound:
		return !c.dirty && c.round == a.round
	}
	return c.dirty
}

// note has Step look at c when it is called next. c's shard is locked, and so is the fleet.
func (a *agenda) note(c *cell) {
	if !c.dirty && c.listed {
		c.dirty = true
		a.called = append(a.called, c)
	}
}

// plan puts c, which was just looked at, down for when something will be due if nobody calls: next is the next regular step.
func (a *agenda) plan(c *cell, next, now mono.Time) {
	if r := a.round + 1 + c.restsFor(next); c.round <= a.round || c.round > r {
		c.round = r
		slot := &a.rounds[r%int64(len(a.rounds))]
		*slot = append(*slot, c)
	}
	a.planTick(c, now)
}

// planTick puts c down for when its foretold spending is to be checked.
func (a *agenda) planTick(c *cell, now mono.Time) {
	if c.told.s == 0 {
		return
	}
	// Foretold spending that does not come: when it would be worth telling if there were none from now on.
	in := (c.used - c.told.on(now) + c.unusedAt()) / c.told.s
	t := int64(now.Add(time.Duration(max(0, min(in, 10))*1e9))) / int64(midGap)
	t = min(max(t, a.tick)+1, a.tick+farthest)
	if c.tick <= a.tick || c.tick > t {
		c.tick = t
		slot := &a.ticks[t%int64(len(a.ticks))]
		*slot = append(*slot, c)
	}
}

// restsFor is how many regular steps after next c may be left alone.
func (c *cell) restsFor(next mono.Time) int64 {
	interval := c.of.fleet.interval
	switch {
	case c.of.kind == kindSliding || c.of.kind == kindSeats:
		return 0
	case c.nothing(c.slow):
		wait := c.win.end.Sub(next)
		if c.of.kind == kindBucket {
			wait = time.Duration(max(0, c.of.size-c.level) / max(c.of.refill-c.sumS, c.of.refill/16) * 1e9)
		}
		rest := min(max(3, int64(wait/interval)+1), longRest)
		return rest - int64(c.key.Lo>>40)%(rest/4+1) // not all at once
	case c.active(c.slow):
		wait := c.sent.Add(time.Duration(c.patience)*interval - interval/4).Sub(next)
		rest := min(max(0, int64((wait+interval-1)/interval)), farthest-1)
		if c.used-c.told.c > 0.5 { // which is to be told soon when nobody asks any more
			rest = min(rest, int64(lastWord/interval)+4)
		}
		return rest
	}
	return 3
}

// unusedAt is how much of what was foretold may be unused before the others hear of it.
func (c *cell) unusedAt() float64 {
	if c.shrank() {
		return 1
	}
	return max(2+c.refusedCost, c.stock*max(c.level, c.of.size/5)/2)
}

// shrank reports that I foretold more than I may spend.
func (c *cell) shrank() bool { return c.told.s > 1.25*c.due && c.level < c.of.size/2 }

// active reports that the others should hear of c from time to time.
func (c *cell) active(d float64) bool {
	return (c.level < 0.9*c.of.size || c.told.s > 0 || c.of.kind == kindSeats && c.used != c.told.c) && !c.far(d)
}
