package limiter

import (
	"math"
	"slices"
	"time"

	"weir/internal/mono"
)

// number returns the number of a node, which is not this one. One that has been gone for long gives its number to the next.
func (f *Fleet) number(id uint64, now mono.Time) int {
	if i, ok := f.numbers[id]; ok {
		return i
	}
	i := len(f.peers)
	for j, p := range f.peers {
		if p.removed && now.Sub(p.heard) > time.Minute {
			i = j
			delete(f.numbers, p.id)
			f.each(func(c *cell) {
				if j < len(c.peers) {
					c.peers[j] = peerLine{}
				}
			})
			break
		}
	}
	if i == len(f.peers) {
		f.peers = append(f.peers, nil)
	}
	f.peers[i] = &peer{id: id, heard: now}
	f.numbers[id] = i
	return i
}

// Members tells which nodes there are, this one included or not, and which of the others left by their own will since the last call.
func (f *Fleet) Members(alive, left []uint64, now mono.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.peers {
		p.alive = false
	}
	live := 1
	for _, id := range alive {
		if id == f.self || id == 0 {
			continue
		}
		p := f.peers[f.number(id, now)]
		if p.alive {
			continue
		}
		live++
		if !p.member || p.removed {
			p.heard, p.stale, p.silent = now, false, p.removed
		}
		p.alive, p.member, p.removed, p.dead = true, true, false, 0
	}
	for i, p := range f.peers {
		if !p.member || p.alive {
			continue
		}
		if slices.Contains(left, p.id) {
			f.remove(now, i, false)
			f.total--
		} else if p.dead == 0 {
			p.dead = now
		}
	}
	f.total = max(f.total, live, 1)
	f.recount(now)
	f.each(func(c *cell) { c.draw(now) })
}

// live counts the members that are not known to be dead, this node included.
func (f *Fleet) live() int {
	n := 1
	for _, p := range f.peers {
		if p.alive {
			n++
		}
	}
	return n
}

// recount shows cells the fleet as it is. The limiters' numbers for cold keys follow.
func (f *Fleet) recount(now mono.Time) {
	v := &view{n: 1, fresh: 1, keep: f.keep, delay: f.delay, others: make([]uint64, len(f.peers))}
	for i, p := range f.peers {
		if !p.member || p.removed {
			continue
		}
		v.n++
		if !p.stale {
			v.fresh++
			v.others[i] = p.id
		}
	}
	old := f.seen.Swap(v)
	if old != nil && old.n != v.n {
		for _, l := range f.limiters {
			l.reshare(now)
		}
	}
}

func (f *Fleet) silent(now mono.Time, p *peer) bool {
	return now.Sub(p.heard) > 4*f.interval+4*f.delay
}

// liveness marks peers that fell silent, and decides what becomes of the shares of the dead.
func (f *Fleet) liveness(now mono.Time) {
	held, oldest := 0, mono.Time(0)
	for i, p := range f.peers {
		if p.removed || !p.member {
			continue
		}
		if f.silent(now, p) && !p.stale {
			p.stale, p.staleAt = true, now
			f.recount(now)
			f.each(func(c *cell) { c.freeze(now, i, p.heard) })
		}
		if p.dead != 0 {
			held++
			if oldest == 0 || p.dead < oldest {
				oldest = p.dead
			}
		}
	}
	live := f.live()
	if 2*live <= f.total {
		f.minorAt = now
	}
	if held > 0 && f.takesOver(now, oldest, live) {
		for i, p := range f.peers {
			if p.dead != 0 && now.Sub(p.dead) > deadHold {
				f.remove(now, i, true)
			}
		}
		f.total = min(f.total, max(live, 1)) // the majority is the new whole
	}
	f.weigh(now)
}

// weigh has a side that hears less than half step back by its own clock, before the majority may take over: the two never overlap.
func (f *Fleet) weigh(now mono.Time) {
	keep := 1.0
	if 2*f.view().fresh < f.total {
		if f.lostAt == 0 {
			f.lostAt = now
		}
		if now.Sub(f.lostAt) > stepBack {
			keep = minority
		}
	} else {
		f.lostAt = 0
	}
	if keep != f.keep {
		f.each(func(c *cell) { c.advance(now) })
		f.keep = keep
		f.recount(now)
		f.each(func(c *cell) {
			c.stepBack()
			c.draw(now)
		})
	}
}

// takesOver reports whether this side may have the shares of the dead. It must have been a majority all along: when a split heals,
// the first to come back must not make the others look outvoted.
func (f *Fleet) takesOver(now, oldest mono.Time, live int) bool {
	gone := now.Sub(oldest)
	if gone <= deadHold || 2*live > f.total && now.Sub(f.minorAt) <= deadHold {
		return false
	}
	return 2*live > f.total || 2*live == f.total && gone > tieHold || gone > abandon
}

// freeze reserves the share of a peer that is not heard: it may be spending all of it.
func (c *cell) freeze(now mono.Time, i int, heard mono.Time) {
	if i >= len(c.peers) {
		return
	}
	q := &c.peers[i]
	if q.stale || !q.known {
		return
	}
	c.advance(now)
	// By the demands when it was last heard: what both sides of a cut still agreed on.
	sum := c.past.when(heard)
	for j := range c.peers {
		if c.peers[j].known {
			sum += c.peers[j].past.when(heard)
		}
	}
	n := float64(c.of.fleet.view().n)
	q.share = 1 / n
	if sum > 1e-6 {
		q.share = (1-floorShare)*q.d/sum + floorShare/n
	}
	q.share = min(q.share, 1-c.frozen)
	c.presume(q, now)
	q.stale = true
	c.frozen += q.share
	c.presuming += q.worst.s
	c.sumS += q.worst.s - q.s
	c.sumD -= q.d
	c.sumV -= c.of.fleet.stockWeight(q.d) - c.of.fleet.stockWeight(0)
	c.draw(now)
}

// thaw goes back to the peer's own word, and corrects what it was presumed to spend, if its word is not too old.
func (c *cell) thaw(now mono.Time, i int, correct bool) {
	if i >= len(c.peers) || !c.peers[i].stale {
		return
	}
	q := &c.peers[i]
	c.advance(now)
	if correct {
		c.charge(q.on(now) - q.worst.on(now))
	}
	c.unfreeze(q)
	c.sumS += q.s - q.worst.s
	c.sumD += q.d
	c.sumV += c.of.fleet.stockWeight(q.d) - c.of.fleet.stockWeight(0)
	c.draw(now)
}

func (c *cell) unfreeze(q *peerLine) {
	q.stale = false
	c.presuming -= q.worst.s
	if c.frozen -= q.share; c.frozen < grain {
		c.frozen, c.presuming = 0, 0
	}
}

// remove forgets a member: what it may have spent stays charged, its share goes to the rest.
func (f *Fleet) remove(now mono.Time, i int, failed bool) {
	p := f.peers[i]
	if p.removed {
		return
	}
	p.removed, p.stale, p.dead, p.member, p.alive, p.heard = true, false, 0, false, false, now
	f.recount(now)
	f.each(func(c *cell) {
		if i < len(c.peers) && c.peers[i].known {
			c.forget(now, &c.peers[i], failed)
		}
		c.patience = 1
		c.sent = now.Add(-oneSecond)
		c.draw(now)
	})
}

func (c *cell) forget(now mono.Time, q *peerLine, failed bool) {
	c.advance(now)
	spent := q.spent(now)
	if q.stale {
		free := c.released(q, now)
		c.charge(-free)
		spent -= free
		c.sumS -= q.worst.s
		c.unfreeze(q)
	} else {
		c.sumS -= q.s
		c.sumD -= q.d
		c.sumV -= c.of.fleet.stockWeight(q.d) - c.of.fleet.stockWeight(0)
	}
	if c.of.kind == kindSeats { // its requests are gone with it
		c.charge(-spent)
		spent = 0
	}
	q.line = line{spent, 0, now}
	q.rebase = failed && c.of.kind == kindBucket // should it come back
	q.d, q.past = 0, history{}
}

// meet takes in that a peer is heard. It reports whether what it says counts.
func (f *Fleet) meet(now mono.Time, i int, mutual bool) bool {
	p := f.peers[i]
	p.heard, p.silent = now, false
	if p.removed || !p.member || p.dead != 0 {
		p.removed, p.dead, p.member, p.alive = false, 0, true, true
		f.total = max(f.total, f.live())
		f.recount(now)
	}
	if p.stale && !mutual {
		return false // it still counts us out: both sides change over together
	}
	if p.stale {
		p.stale = false
		f.recount(now)
		long := now.Sub(p.staleAt) > oneSecond
		f.each(func(c *cell) { c.heal(now, i, long) })
		f.weigh(now)
	}
	return true
}

// heal takes a peer back that was not heard. After a long time neither side knows what the other did, the frozen shares kept the sum: a
// bucket starts again from empty.
func (c *cell) heal(now mono.Time, i int, long bool) {
	if i < len(c.peers) && c.peers[i].stale {
		over := c.outlived(&c.peers[i], now)
		long = long && c.of.kind == kindBucket && c.peers[i].share > 0
		c.thaw(now, i, !long && !over)
		c.peers[i].rebase = over
		if long {
			c.presumed = min(c.presumed+max(0, c.level), c.of.size)
			if now.Sub(c.healed) > oneSecond || c.healed == 0 {
				c.setLevel(0)
				c.healed = now
			} else {
				c.setLevel(min(c.level, 0))
			}
			c.peers[i].rebase = true
		}
	}
	c.patience = 1
	c.sent = now.Add(-oneSecond)
	c.draw(now)
}

// agree draws the level towards those of the peers where they differ for long, as after joins and healed splits: down to the highest of
// theirs; up to the lowest, and by no more than was charged by presumption, so that no peer's word makes anything that was not there.
func (c *cell) agree() {
	lowest, highest := math.Inf(1), math.Inf(-1)
	for i := range c.peers {
		if q := &c.peers[i]; q.known && !q.stale && q.d > 0 {
			lowest, highest = min(lowest, q.apart), max(highest, q.apart)
		}
	}
	idle := max(3, idleShare*c.of.size)
	by := 0.0
	switch {
	case highest < -idle && !math.IsInf(highest, -1):
		by = (highest + idle) / 4
	case lowest > idle && !math.IsInf(lowest, 1):
		by = min((lowest-idle)/4, c.presumed)
		c.presumed -= by
	}
	if by == 0 {
		return
	}
	c.setLevel(min(c.level+by, c.of.size))
	for i := range c.peers {
		c.peers[i].apart -= by
	}
}

// calm reports that the level has not jumped lately, so that it may be compared with others'.
func (c *cell) calm(now mono.Time) bool { return now.Sub(c.jumped) > 2*c.of.fleet.interval }
