package limiter

import (
	"math"
	"slices"
	"unsafe"

	"weir/internal/mono"
)

// cells are the hot keys of a shard. A cell has a number from 0.
type cells struct {
	all  []*cell
	idle []int32
}

func (l *cells) get(i int) *cell { return l.all[i] }

func (l *cells) add(c *cell) int {
	if last := len(l.idle) - 1; last >= 0 {
		i := l.idle[last]
		l.idle = l.idle[:last]
		l.all[i] = c
		return int(i)
	}
	l.all = append(l.all, c)
	return len(l.all) - 1
}

func (l *cells) remove(i int) {
	l.all[i] = nil
	l.idle = append(l.idle, int32(i))
}

// cellBytes is what a cell and its place take with so many peers.
func (m *shares) cellBytes() int64 {
	n := int64(unsafe.Sizeof(cell{})) + int64(m.n-1)*int64(unsafe.Sizeof(peerLine{})) + 24
	if m.kind == kindSliding {
		n += int64(m.spec.Parts+1) * int64(unsafe.Sizeof(part{}))
	}
	return n
}

// takeShared is take of a limit that a fleet shares. The shard is locked.
func (s *shard) takeShared(m *shares, k Key, h uint64, n int64, now mono.Time, d *Decision, sp *spending) {
	e := s.findLocked(k, h)
	b := &s.unknown
	if e != nil {
		b = &e.bucket
	}
	if b.last == hot {
		s.takeHot(s.rings.cells.get(int(b.x)), e, n, now, d, sp)
		return
	}
	*d = m.cold.decide(&s.rings, b, n, now)
	if !d.OK && m.n > 1 {
		if e == nil {
			e = s.enterLocked(k, h, now)
		}
		if e != nil {
			b = &e.bucket
			if c := s.heatLocked(m, e, now); c != nil {
				s.takeHot(c, e, n, now, d, sp)
				return
			}
		}
	}
	maybe := d.Left < m.enough // it may be time to make the key hot
	d.Left += m.others
	if !d.OK {
		if e != nil {
			e.count(&e.refused)
		}
		return
	}
	if e == nil {
		e = s.enterLocked(k, h, now)
	}
	shared := e == nil
	if shared {
		s.overflow++
	} else {
		b = &e.bucket
		e.count(&e.allowed)
		s.touchLocked(e)
	}
	mark := m.cold.spend(&s.rings, b, n, now)
	if maybe && e != nil && !m.cool(&s.rings, b, now) {
		s.heatLocked(m, e, now)
	}
	if sp != nil {
		mark.from = max(mark.from, now)
		*sp = spending{mark, s.gen, shared}
	}
}

// takeHot is take of a key that has a cell.
func (s *shard) takeHot(c *cell, e *entry, n int64, now mono.Time, d *Decision, sp *spending) {
	if c.win.end != 0 && now >= c.win.end {
		c.draw(now) // what it may spend ends with the window
	}
	c.decide(n, now, d)
	c.note(d.OK, n, now)
	if !d.OK {
		e.count(&e.refused)
		return
	}
	e.count(&e.allowed)
	if s.tracked {
		s.touchLocked(e)
	}
	mark := c.spend(n, now)
	if c.used >= c.low {
		c.call()
	}
	if sp != nil {
		*sp = spending{mark, s.gen, false}
	}
}

// heatLocked gives e a cell, or returns nil if there is no room for one: its share then is all that e gets.
func (s *shard) heatLocked(m *shares, e *entry, now mono.Time) *cell {
	bytes := m.cellBytes()
	if !s.roomFor(bytes) {
		return nil
	}
	c := &cell{bytes: bytes, key: e.key, shard: s, of: m, limiter: s.owner, life: m.fleet.newLife(), patience: 1}
	c.level, c.at, c.born, c.counted, c.full = m.size, now, now, now, now
	c.self.t, c.told.t = now, now
	c.sent, c.looked, c.upset = now.Add(-oneSecond), longAgo, longAgo
	c.startWindow(now)
	c.used = m.owed(&s.rings, &e.bucket, now)
	c.mark = c.used
	if cold, ok := m.cold.(*sliding); ok {
		c.recall(cold, &s.rings, &e.bucket, now)
	}
	c.changed = s.tracked && e.last != 0
	m.cold.drop(&s.rings, &e.bucket)
	e.bucket = bucket{last: hot, x: int64(s.rings.cells.add(c))}
	c.draw(now)
	c.call()
	return c
}

// startWindow has c count in the window that now is in.
func (c *cell) startWindow(now mono.Time) {
	if c.of.kind != kindSliding && c.of.kind != kindFixed {
		return
	}
	w := &c.win
	w.number, w.start, w.end = c.of.window(now)
	if c.of.kind == kindSliding {
		w.ring = make([]part, c.of.spec.Parts+1)
		w.cur, w.refill, w.soon, w.mine, w.again = 0, 0, 0, 0, 0
		if spent := c.of.size - c.level; spent > 0 { // all of it counts as spent now
			w.cur = spent
		}
	}
}

// coolLocked makes a key cold again of which there is nothing to tell. Its cell must be listed nowhere any more.
func (s *shard) coolLocked(c *cell) {
	m := c.of
	if e := s.findLocked(c.key, mix(c.key)); e != nil && m.cell(&s.rings, &e.bucket) == c {
		s.rings.cells.remove(int(e.x))
		e.bucket = m.fresh()
		if s.tracked {
			e.last, e.x, e.y = 0, c.win.number, uint64(math.Ceil(c.ownInWindow()))
			if c.changed {
				e.last = 1
			}
		}
	}
	c.gone = true
	c.account(0)
}

// account has the shard count so many bytes for c.
func (c *cell) account(bytes int64) {
	s := c.shard
	s.bytes += bytes - c.bytes
	s.budget.give(c.bytes - bytes)
	c.bytes = bytes
}

// ownInWindow is what this node spent in the window in progress of a fixed one.
func (c *cell) ownInWindow() float64 { return max(0, c.used) + c.win.before }

// hotLocked returns the cell of k, which a peer told of; k gets one if there is room.
func (s *shard) hotLocked(m *shares, k Key, now mono.Time) *cell {
	h := mix(k)
	e := s.findLocked(k, h)
	if e == nil {
		if e = s.enterLocked(k, h, now); e == nil {
			return nil
		}
	}
	if c := m.cell(&s.rings, &e.bucket); c != nil {
		return c
	}
	return s.heatLocked(m, e, now)
}

// peer returns what the peer of that number said of c.
func (c *cell) peer(i int) *peerLine {
	if i >= len(c.peers) {
		c.peers = slices.Grow(c.peers, i+1-len(c.peers))[:i+1]
	}
	return &c.peers[i]
}

// coldAnswer is what a cold bucket's decision says of the whole limit.
func (m *shares) coldAnswer(d Decision) Decision {
	d.Left += m.others
	return d
}

// heat makes those cold keys hot that which says so of, by what they owe.
func (s *shard) heat(now mono.Time, which func(owed float64, m *shares) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.meter.(*shares)
	for slot := range s.used {
		if e := s.at(slot); e.last != hot && which(m.owed(&s.rings, &e.bucket, now), m) {
			s.heatLocked(m, e, now)
		}
	}
}
