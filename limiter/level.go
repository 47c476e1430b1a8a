package limiter

import (
	"math"
	"time"

	"weir/internal/mono"
)

// refill is the rate at which the level rises by itself.
func (c *cell) refill() float64 {
	if c.of.kind == kindSliding {
		return c.win.refill
	}
	return c.of.refill
}

// charge books what somebody spent.
func (c *cell) charge(n float64) {
	if math.Abs(n) > max(5, c.of.size/2) {
		c.jumped = c.at
	}
	c.level -= n
	c.win.cur += n
	if n < 0 && c.lost > 0 { // what was never taken off does not come back
		x := min(c.lost, -n)
		c.lost -= x
		c.level -= x
	}
	c.level = min(c.level, c.of.size)
}

// setLevel corrects the level without anything having been spent.
func (c *cell) setLevel(level float64) {
	c.win.cur -= level - c.level
	c.level = level
}

// credit takes z off what I spent and have not told.
func (c *cell) credit(z float64) {
	c.used -= z
	c.mark -= z
	c.base -= z
	c.top -= z
	c.low -= z
}

// advance moves the level to now.
func (c *cell) advance(now mono.Time) {
	if c.of.kind == kindSeats {
		c.at, c.touched, c.mark = max(c.at, now), 0, c.used
		c.level = c.free(now)
		return
	}
	if w := &c.win; w.end != 0 && now >= w.end {
		if n, _, _ := c.of.window(now); n-w.number > int64(len(w.ring))+1 && c.of.kind == kindSliding {
			c.afresh(now)
		}
		for now >= w.end {
			c.rollover(w.end)
		}
	}
	c.step(now)
}

// step integrates to now, in two parts if requests came in between: what overflowed before the first of them must not refill
// what they took.
func (c *cell) step(now mono.Time) {
	if c.touched > c.at && c.touched <= now {
		c.stepTo(c.touched, c.mark)
	}
	c.stepTo(now, c.used)
	c.touched = 0
	c.mark = c.used
}

func (c *cell) stepTo(now mono.Time, used float64) {
	dt := sec(now.Sub(c.at))
	if dt <= 0 {
		return
	}
	c.at = now
	s := c.sumS + c.self.s + c.tax()
	c.level += (c.refill() - s) * dt
	c.win.cur += s * dt
	if w := &c.win; w.mine != 0 || w.again != 0 {
		c.credit(min(w.mine*dt, max(used-c.self.on(now), 0)) - w.again*dt)
	}
	if c.level > c.of.size {
		waste := c.level - c.of.size
		c.level, c.full = c.of.size, now
		if c.of.kind == kindBucket {
			// What overflows refills first what was not told, and a full bucket forfeits what was foretold and not used.
			drift := used - c.self.on(now)
			paid := max(min(drift, c.rate*waste), -c.rate*waste)
			c.credit(paid)
			c.spill(waste, paid, c.refill()-s, now)
		}
		c.lost = 0
	}
	if least := c.of.least(); c.level < least {
		c.lost += least - c.level
		c.level = least
	}
	c.presumed = min(c.presumed+c.presuming*dt, c.of.size-c.level)
}

// spill notes what overflows, at that pace until now, while the others count a gain of mine that I do not count yet: not so with them.
func (c *cell) spill(waste, paid, pace float64, now mono.Time) {
	if len(c.gains) == 0 || !c.gains[0].isLine {
		return
	}
	known := c.gains[0].from.Add(-c.of.fleet.view().delay - minGap)
	part := min(1, pace*max(0, sec(now.Sub(known)))/waste)
	c.spilled += part * waste
	c.repaid += part * paid
}

// unspill has the level, and what I have not told, be what they were if what I gain now had counted when the others knew of it.
func (c *cell) unspill() {
	if c.spilled > 0 {
		x := max(0, min(c.spilled, c.of.size-c.level))
		c.level += x
		c.credit(-c.repaid)
		// The rest overflows with the others too, and is paid for what I spent since.
		c.credit(max(0, min(c.used-c.self.on(c.at), c.repaid*(1-x/c.spilled))))
	}
	c.spilled, c.repaid = 0, 0
}

// tax is the part of its share that a minority does not use.
func (c *cell) tax() float64 {
	if keep := c.of.fleet.view().keep; keep < 1 {
		return (1 - keep) * (1 - c.frozen) * c.refill()
	}
	return 0
}

// applyGains has gains count whose time has come.
func (c *cell) applyGains(now mono.Time) {
	i := 0
	for ; i < len(c.gains) && c.gains[i].from <= now; i++ {
		g := &c.gains[i]
		if g.isLine {
			c.setSelf(now, g.line)
		}
		c.demand = g.demand
	}
	if i > 0 {
		c.gains = append(c.gains[:0], c.gains[i:]...)
	}
}

func (c *cell) setSelf(now mono.Time, l line) {
	c.advance(now)
	told := l.on(now) - c.self.on(now)
	c.charge(told)
	c.self = l
	c.unspill()
	if c.of.kind == kindSliding {
		c.win.settle(told)
	}
}

// pool is the part of the level that the nodes in touch share: what others may have of a window or of seats is charged already.
func (c *cell) pool() float64 {
	if c.of.kind != kindBucket {
		return 1
	}
	return (1 - c.frozen) * c.of.fleet.view().keep
}

// weight is the part of the rate due to a node that shows demand d.
func (c *cell) weight(d float64) float64 {
	v := c.of.fleet.view()
	free := (1 - c.frozen) * v.keep
	if sum := c.sumD + d; sum >= 1e-6 {
		return free * ((1-floorShare)*d/sum + floorShare/float64(v.fresh))
	}
	return free / float64(v.n)
}

// stockWeight is what a node of demand d needs at hand until shares are next looked at: square-root staffing.
func (f *Fleet) stockWeight(d float64) float64 {
	m := d * (lookAhead + 2*sec(f.view().delay))
	return m + 2*math.Sqrt(m) + 1
}

// dueAt is the rate at which a node may spend that has so much of the refill.
func (c *cell) dueAt(rate float64) float64 {
	switch {
	case c.of.kind == kindBucket:
		return rate * c.of.refill
	case c.level > 0:
		return rate*c.win.soon + c.stock*c.level/stockTime
	}
	return rate * c.win.soon
}

// draw works out anew what requests may spend.
func (c *cell) draw(now mono.Time) {
	c.advance(now)
	c.applyGains(now)
	v, own := c.of.fleet.view(), c.of.fleet.stockWeight(c.demand)
	c.rate = c.weight(c.demand)
	c.stock = c.pool() * own / (own + c.sumV + float64(v.fresh-1))
	drift := c.used - c.self.on(now)
	c.due = c.dueAt(c.rate)
	share := c.rate
	if c.level > 0 {
		share = c.stock
	}
	c.e = share*c.level - drift
	c.loosen(drift, own)
	slack := c.of.slack(v.n)
	ds := c.refill() - c.sumS - c.self.s - c.tax()
	full := max(c.stock*c.of.size+min(slack, (1-c.stock)*c.of.size), min(c.refusedCost+1, c.of.size))
	c.slope = c.self.s
	if c.level < c.of.size || ds < 0 || drift > 0 {
		c.slope += share * ds
	}
	c.base, c.drawn = c.used+c.e, now
	c.top = c.used + max(c.e, full)
	// Low water: half of my share is gone, and there is more to be had.
	c.low = math.Inf(1)
	if rest := (1 - c.stock) * c.level; rest > 1 && c.e > 0 {
		c.low = c.used + max(1, c.e/2)
	}
}

// loosen lets whole requests pass where shares are parts of one.
func (c *cell) loosen(drift, own float64) {
	v := c.of.fleet.view()
	c.whole, c.slack = 0, 0
	if c.of.exact() {
		if c.level >= 1 && c.level < 4*float64(v.n) {
			c.e = c.apportion(own) - drift
		}
		// Two nodes hardly spend the same unit if there are more than are asked for within one exchange, while one that waits at the
		// wrong node is sure to be missed.
		asked := (c.sumD + max(c.demand, c.fast)) * (sec(minGap) + 4*sec(v.delay))
		switch left := c.level - max(drift, 0); {
		case c.of.kind == kindFixed && left >= 1 && asked < 0.2, c.of.kind == kindSeats && c.scarce() && c.sumD > 0 && left >= 1+asked:
			c.slack, c.whole = 1, left
			c.e = max(c.e, 0) + c.slack
		}
		if c.of.kind == kindSeats {
			c.yield(drift)
		}
		return
	}
	if c.level >= 1 {
		// What the others' shares hold, less what they may be asked for before they hear of it.
		meanwhile := min(c.sumD*sec(2*v.delay+minGap)-max(1, c.cost), askedShare*c.of.size)
		c.whole = max(0, (1-c.stock)*c.level-max(0, meanwhile))
		c.slack = min(c.of.slack(v.n), c.whole)
	}
	c.slack = max(c.slack, (1-c.stock)/2) // so that rounding to whole requests favours nobody
	c.e += c.slack
}

// apportion splits the whole units of a low level by largest remainder: the same computation on every node, so that the parts add up.
func (c *cell) apportion(own float64) float64 {
	f := c.of.fleet
	v := f.view()
	pool := math.Floor(c.level * c.pool())
	sum := own + c.sumV + float64(v.fresh-1)
	mine := pool * own / sum
	left, frac := pool-math.Floor(mine), mine-math.Floor(mine)
	before := 0.0
	for j, id := range v.others {
		if id == 0 { // it is not heard
			continue
		}
		o := 1.0
		if j < len(c.peers) {
			o = f.stockWeight(c.peers[j].d)
		}
		q := pool * o / sum
		left -= math.Floor(q)
		fq := q - math.Floor(q)
		if fq > frac+grain || fq > frac-grain && tie(c.key, id) > tie(c.key, f.self) {
			before++
		}
	}
	if before < left {
		return math.Floor(mine) + 1
	}
	return math.Floor(mine)
}

func tie(k Key, node uint64) uint64 {
	h := (k.Lo ^ node*0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9
	return h ^ h>>29
}

const fastTime, slowTime = 0.03, 0.3 // s over which demand is averaged

// fade is what is left of both averages after so many seconds.
func fade(dt float64) (fast, slow float64) {
	if dt > 100*slowTime {
		return 0, 0
	}
	slow = math.Exp(-dt / slowTime)
	x := slow * slow
	x *= x
	return x * x * slow * slow, slow // slow^10
}

// look brings the demand up to date.
func (c *cell) look(now mono.Time) float64 {
	if c.attempts > 0 && c.first > c.counted.Add(2*time.Millisecond) {
		// Quiet until the first request of this batch.
		gap := sec(c.first.Sub(c.counted))
		fast, slow := fade(gap)
		c.fast *= fast
		c.slow *= slow
		if m := max(c.cost, 1); c.slow*gap > 6*m {
			c.slow = 6 * m / gap
		}
		c.counted = c.first
	}
	dt := sec(now.Sub(c.counted))
	if dt < 0.002 {
		return c.slow
	}
	r := c.attempts / dt
	if c.attempts > 0 {
		c.lastAttempt = now
		c.cost += 0.1 * (c.attempts/c.asked - c.cost)
	}
	c.attempts, c.asked = 0, 0
	m := max(c.cost, 1)
	c.counted = now
	fast, slow := fade(dt)
	c.fast += (1 - fast) * (r - c.fast)
	c.slow += (1 - slow) * (r - c.slow)
	if c.jumps(c.fast) {
		c.slow = c.fast
	}
	if silence := sec(now.Sub(c.lastAttempt)); c.slow*silence > 6*m {
		c.slow = 6 * m / silence // silence is evidence too
	}
	if c.slow < 1e-3 {
		c.slow = 0
	}
	return c.slow
}

// free is how many seats are not in use, as far as told. While the word of a peer is awaited that is back, none is.
func (c *cell) free(now mono.Time) float64 {
	left := c.of.size - c.self.c - c.aside
	for i := range c.peers {
		q := &c.peers[i]
		left -= q.spent(now)
		if q.rebase && now.Sub(q.since) < oneSecond {
			left = min(left, 0)
		}
	}
	return max(left, c.of.least())
}

// scarce reports that there are too few seats for every node to have some in reserve.
func (c *cell) scarce() bool { return c.level < 2*float64(c.of.n) }

// surplus is how many free seats a node may keep to itself while they are scarce: those that it will need at once.
func (c *cell) surplus() float64 {
	if c.yields {
		return 1
	}
	return max(2, 0.01*c.demand)
}

// yield has a node that has by far more than its share of the seats leave to all what it gives back, and one that hears less than half
// keep only a part of its own.
func (c *cell) yield(drift float64) {
	v := c.of.fleet.view()
	fair := c.rate * c.of.size
	c.yields = c.scarce() && c.used > fair+math.Sqrt(fair)
	if c.yields {
		c.e += min(drift, 0)
	}
	// Others may have taken what was ours, until all of them are heard again.
	if c.outcast = v.keep < 1 || c.outcast && v.fresh < v.n; c.outcast {
		c.e = min(c.e, minority*c.of.size/float64(v.n)-c.used)
	}
}
