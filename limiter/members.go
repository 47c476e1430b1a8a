package limiter

import (
	"slices"
	"time"

	"weir/internal/mono"
)

// known returns the number of the node that something came from, and false if it can be none: a node that joins may be heard before it is
// heard of.
func (f *Fleet) known(id uint64, now mono.Time) (i int, ok bool) {
	if _, there := f.numbers[id]; id == f.self || id == 0 || !there && len(f.peers) >= maxPeers {
		f.stats.Strangers++
		return 0, false
	}
	return f.number(id, now), true
}

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
		p.alive, p.member, p.removed, p.failed, p.dead = true, true, false, false, 0
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

// silence is how long a peer may say nothing and still count.
func (f *Fleet) silence() time.Duration { return 4 * (f.interval + f.delay) }

func (f *Fleet) silent(now mono.Time, p *peer) bool { return now.Sub(p.heard) > f.silence() }

// cutOff reserves the shares of a peer with which there is no exchange since it was last heard, or last heard this node.
func (f *Fleet) cutOff(now mono.Time, i int, since mono.Time) {
	p := f.peers[i]
	p.stale, p.staleAt = true, now
	f.recount(now)
	f.each(func(c *cell) {
		c.freeze(now, i, since)
		f.agenda.note(c)
	})
}

// liveness marks peers that fell silent, and decides what becomes of the shares of the dead.
func (f *Fleet) liveness(now mono.Time) {
	held, oldest := 0, mono.Time(0)
	for i, p := range f.peers {
		if p.removed || !p.member {
			continue
		}
		if f.silent(now, p) && !p.stale {
			f.cutOff(now, i, p.heard)
		}
		if p.dead != 0 {
			held++
			if oldest == 0 || p.dead < oldest {
				oldest = p.dead
			}
		}
	}
	f.unheard(now)
	live := min(f.live(), f.view().fresh) // who is not heard helps nobody to a majority, dead or not yet
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

// unheard takes it that a node which most of the others do not hear is cut off, though it hears them. A node that just a few do not hear
// goes on as before: those few have set its share aside, and it sees what they spend.
func (f *Fleet) unheard(now mono.Time) {
	deaf, heard := 0, 0
	for _, p := range f.peers {
		if p.member && !p.removed && !f.silent(now, p) {
			heard++
			if p.deaf != 0 {
				deaf++
			}
		}
	}
	if 2*deaf <= heard || now.Sub(f.started) < 2*f.silence() {
		return
	}
	for i, p := range f.peers {
		if p.member && !p.removed && p.deaf != 0 && !p.stale {
			f.cutOff(now, i, p.deaf.Add(-f.silence()))
		}
	}
}

// weigh has a side that hears less than half step back by its own clock, before the majority may take over: the two never overlap. It steps
// forward when it hears everybody, or more than half for as long as the dead keep their shares: until then some may not know it is back.
func (f *Fleet) weigh(now mono.Time) {
	v, keep := f.view(), 1.0
	if few := 2*v.fresh < f.total; few != f.few {
		f.few, f.turned = few, now
	}
	switch since := now.Sub(f.turned); {
	case f.few && (f.keep < 1 || since > stepBack), !f.few && f.keep < 1 && v.fresh < v.n && since <= deadHold:
		keep = minority
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
	// By the demands before it was last heard: what both sides of a cut still agreed on.
	span := c.of.fleet.silence()
	own, sum := q.past.mean(heard, span), c.past.mean(heard, span)
	for j := range c.peers {
		if c.peers[j].known {
			sum += c.peers[j].past.mean(heard, span)
		}
	}
	n := float64(c.of.fleet.view().n)
	q.share = 1 / n
	if sum > 1e-6 {
		q.share = (1-floorShare)*own/sum + floorShare/n
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
		back := q.worst.on(now) - q.on(now) // no more than the level still lacks of it
		if c.of.kind == kindBucket {
			back = min(back, c.presumed)
		}
		c.charge(-back)
		c.presumed = max(0, c.presumed-max(0, back))
	}
	c.unfreeze(q)
	c.sumS += q.s - q.worst.s
	c.sumD += q.d
	c.sumV += c.of.fleet.stockWeight(q.d) - c.of.fleet.stockWeight(0)
	c.draw(now)
}

func (c *cell) unfreeze(q *peerLine) {
	q.stale, q.apart = false, 0
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
	p.removed, p.stale, p.dead, p.member, p.alive, p.heard, p.failed = true, false, 0, false, false, now, failed
	f.recount(now)
	f.each(func(c *cell) {
		if i < len(c.peers) && c.peers[i].known {
			c.forget(now, &c.peers[i], failed)
		}
		c.patience, c.upset = 1, now
		c.sent = now.Add(-oneSecond)
		c.draw(now)
		f.agenda.note(c)
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
	q.d, q.past, q.apart = 0, history{}, 0
}

// meet takes in that a peer is heard. It reports whether what it says counts.
func (f *Fleet) meet(now mono.Time, i int, mutual bool) bool {
	p := f.peers[i]
	p.heard, p.silent = now, false
	switch {
	case mutual:
		p.deaf = 0
	case p.deaf == 0:
		p.deaf = now
	}
	counts := p.member && !p.removed
	if !mutual && (p.stale || p.failed || p.dead != 0) {
		return false // it counts us out: both sides change over together
	}
	if !counts || p.dead != 0 {
		p.removed, p.failed, p.dead, p.member, p.alive = false, false, 0, true, true
		f.total = max(f.total, f.live())
		f.recount(now)
	}
	if p.stale {
		p.stale = false
		f.recount(now)
		long := now.Sub(p.staleAt) > oneSecond
		f.each(func(c *cell) {
			c.heal(now, i, long)
			f.agenda.note(c)
		})
		f.weigh(now)
	}
	return true
}

// heal takes a peer back that was not heard. After a long time neither side knows what the other did, the frozen shares kept the sum: a
// bucket starts again from empty.
func (c *cell) heal(now mono.Time, i int, long bool) {
	if i < len(c.peers) && c.peers[i].stale {
		over := c.outlived(&c.peers[i], now) || long && c.of.kind == kindSeats
		c.peers[i].since = now
		long = long && c.of.kind == kindBucket && c.peers[i].share > 0
		c.thaw(now, i, !long && !over)
		c.peers[i].rebase = c.peers[i].rebase || over
		if long {
			if now.Sub(c.healed) > oneSecond || c.healed == 0 {
				c.correct(0)
				c.healed = now
			} else {
				c.correct(min(c.level, 0))
			}
			c.peers[i].rebase = true
		}
	}
	c.patience, c.upset = 1, now
	c.sent = now.Add(-oneSecond)
	c.draw(now)
}
