package limiter

import (
	"encoding/binary"
	"math"
	"sync/atomic"
	"time"

	"weir/internal/mono"
)

// A state is all that a node knows of hot keys, for one that joins, little endian:
//
//	version 1 · node 8 · then keys: limit 8 · key 16 · level 8 · charged in the window 8 · refill 8 · window 8 · age 8 · lines 2,
//	sub-windows 2, and per line: node 8 · incarnation 4 · life 2 · count 8 · slope 4 · demand 4; per sub-window, from the oldest: charged 4
//
// Numbers are floating point.
const (
	stateVersion = 1
	stateHead    = 9
	stateKey     = 68
	stateLine    = 30
)

// State returns what a node that joins must know, at most so many bytes of it.
func (f *Fleet) State(most int, now mono.Time) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.view().n == 1 {
		for _, l := range f.limiters {
			l.warm(now)
		}
	}
	b := binary.LittleEndian.AppendUint64([]byte{stateVersion}, f.self)
	f.each(func(c *cell) {
		if len(b)+stateKey+(1+len(c.peers))*stateLine+4*len(c.win.ring) <= most {
			c.advance(now)
			if c.of.kind == kindSliding && c.used-c.told.on(now) > 0.5 {
				f.tell(c, now, &f.unsent) // so that what comes back is counted by all alike
			}
			b = f.appendState(b, c, now)
		}
	})
	return b
}

func (f *Fleet) appendState(b []byte, c *cell, now mono.Time) []byte {
	le := binary.LittleEndian
	f64 := func(v float64) { b = le.AppendUint64(b, math.Float64bits(v)) }
	f32 := func(v float64) { b = le.AppendUint32(b, math.Float32bits(float32(v))) }
	b = le.AppendUint64(le.AppendUint64(le.AppendUint64(b, c.of.id), c.key.Hi), c.key.Lo)
	untold := max(0, c.used-c.self.on(now)) // as if it were told
	f64(c.level - untold)
	f64(c.win.cur + untold)
	f64(c.win.refill)
	b = le.AppendUint64(b, uint64(c.win.number))
	b = le.AppendUint64(b, uint64(now.Sub(c.born)))
	at, n := len(b), 0
	b = le.AppendUint32(b, 0)
	line := func(id uint64, incarnation uint32, life uint16, spent, s, d float64) {
		b = le.AppendUint16(le.AppendUint32(le.AppendUint64(b, id), incarnation), life)
		f64(spent)
		f32(s)
		f32(d)
		n++
	}
	line(f.self, f.incarnation, c.life, c.self.on(now)+untold, c.self.s, c.demand)
	for i := range c.peers {
		if q := &c.peers[i]; q.known {
			line(f.peers[i].id, q.incarnation, q.life, q.spent(now), q.s, q.d)
		}
	}
	le.PutUint16(b[at:], uint16(n))
	le.PutUint16(b[at+2:], uint16(len(c.win.ring)))
	for k := range c.win.ring {
		f32(c.win.part(c.win.number + int64(k)).total)
	}
	return b
}

// Merge takes in the State of another node. A malformed one is an error and changes nothing but what came before the fault.
func (f *Fleet) Merge(state []byte, now mono.Time) error {
	if len(state) < stateHead || state[0] != stateVersion {
		return errFrame
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.known(binary.LittleEndian.Uint64(state[1:]), now); !ok {
		return errFrame
	}
	le := binary.LittleEndian
	for b := state[stateHead:]; len(b) > 0; {
		if len(b) < stateKey {
			return errFrame
		}
		n := int(le.Uint16(b[64:]))
		end := stateKey + n*stateLine + 4*int(le.Uint16(b[66:]))
		if len(b) < end {
			return errFrame
		}
		if l := f.limiters[le.Uint64(b)]; l != nil {
			l.learn(f, b[:end], now)
		}
		b = b[end:]
	}
	return nil
}

// learn takes in what a state says of one key.
func (l *Limiter) learn(f *Fleet, b []byte, now mono.Time) {
	le := binary.LittleEndian
	f64 := func(at int) float64 { return math.Float64frombits(le.Uint64(b[at:])) }
	k := Key{Hi: le.Uint64(b[8:]), Lo: le.Uint64(b[16:])}
	s, _ := l.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.meter.(*shares)
	if !ok {
		return
	}
	c := s.hotLocked(m, k, now)
	if c == nil {
		f.stats.NoRoom++
		return
	}
	c.advance(now)
	level, refill := f64(24), f64(40)
	if !finite(level) || !finite(refill) || !finite(f64(32)) {
		return
	}
	if window := int64(le.Uint64(b[48:])); window != c.win.number && m.kind == kindFixed || !(level < c.level) && m.kind != kindSliding {
		return // of another window, or nothing that is not known
	}
	age, mine := time.Duration(le.Uint64(b[56:])), now.Sub(c.born)
	if m.kind != kindBucket && age <= mine+mine/10+oneSecond/10 && c.heard() {
		return // counts say it all
	}
	if m.kind != kindSeats { // whose counts say it all
		c.setLevel(min(c.level, max(level, m.least())))
	}
	if age > mine && age < 1<<61 {
		c.born = now.Add(-age)
	}
	lines := int(le.Uint16(b[64:]))
	if parts := b[stateKey+lines*stateLine:]; m.kind == kindSliding {
		c.learnParts(parts, refill, now)
	}
	for b = b[stateKey:]; lines > 0; b, lines = b[stateLine:], lines-1 {
		c.learnLine(f, b, now)
	}
	c.draw(now)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// reminded is how long after its start a node is told what it spent in its earlier life.
const reminded = 10 * time.Second

// learnLine takes in what a node said of a third, which has said nothing itself yet.
func (c *cell) learnLine(f *Fleet, b []byte, now mono.Time) {
	le := binary.LittleEndian
	count := math.Float64frombits(le.Uint64(b[14:]))
	if le.Uint64(b) == f.self && le.Uint32(b[8:]) != f.incarnation && c.of.kind == kindFixed && count >= 0 && count < 1<<53 {
		if c.told.c > 0 || now.Sub(f.began) > reminded {
			return // it is late for that: nobody may forgive what is spent in this life
		}
		// What is restored from disk is in it already, as far as another node has heard of it.
		if known := count - c.win.before; known > 0 {
			c.used -= min(known, max(0, c.used-c.self.on(now)))
			c.win.before = count
		}
		return
	}
	i, ok := f.numbers[le.Uint64(b)]
	if !ok {
		return
	}
	q := c.peer(i)
	if q.known {
		return
	}
	s, d := float64(math.Float32frombits(le.Uint32(b[22:]))), float64(math.Float32frombits(le.Uint32(b[26:])))
	if !f.peers[i].alive {
		if s, d = 0, 0; c.of.kind == kindSeats {
			return
		}
	}
	if !(count >= 0 && count < 1<<53 && s >= 0 && s <= c.of.steepest() && d >= 0 && d < 1<<40) {
		return
	}
	*q = peerLine{line: line{count, s, now}, d: d, incarnation: le.Uint32(b[8:]), life: le.Uint16(b[12:]), known: true, hearsay: true, window: c.of.epoch(c)}
	q.past.push(now, d, f.silence()/3)
	c.sumS += s
	c.sumD += d
	c.sumV += f.stockWeight(d) - f.stockWeight(0)
}

// Leave returns the last frames of a node that goes: it needs no share any more.
func (f *Fleet) Leave(now mono.Time) [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := writer{}
	for _, l := range f.limiters {
		l.part(now)
	}
	f.each(func(c *cell) {
		c.advance(now)
		c.slow, c.fast, c.attempts, c.counted = 0, 0, 0, now
		f.tell(c, now, &w)
	})
	return f.frames(now, false, &w)
}

// restart lets the key start anew here. What the others were told stays.
func (c *cell) restart(now mono.Time) bool {
	c.advance(now)
	if c.left(now) >= c.of.size {
		return false
	}
	c.setLevel(c.of.size)
	c.credit(max(0, c.used-c.self.on(now)))
	c.lost, c.win.before = 0, 0
	c.draw(now)
	return true
}

// FleetStats are a fleet's counters and its size now.
type FleetStats struct {
	Nodes, Heard int     // members that count, and of these heard lately; this node included
	Share        float64 // of its share that this node uses: less than 1 while it hears less than half
	Cells        int     // keys that are told of
	Frames       uint64  // sent, to every node
	Records      uint64  // sent
	Strangers    uint64  // frames of nodes that are no members
	NoRoom       uint64  // records of keys that there was no room for
}

// Stats returns the counters.
func (f *Fleet) Stats() FleetStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, v := f.stats, f.view()
	s.Nodes, s.Heard, s.Share, s.Cells = v.n, v.fresh, v.keep, len(f.cells)
	return s
}

// measure notes by how much the limit is exceeded, as far as this node knows.
func (c *cell) measure(now mono.Time) {
	raise(&c.limiter.peak, c.sumD+c.demand)
	if c.of.kind == kindSeats || c.frozen > 0 {
		return
	}
	if over := -(c.level - max(0, c.used-c.self.on(now))) - c.sumS*sec(c.of.fleet.interval); over > 0 {
		raise(&c.limiter.over, over)
	}
}

// raise makes v, in 1/256 units, the highest so far.
func raise(most *atomic.Int64, v float64) {
	n := int64(min(v, 1<<50) * 256)
	for {
		if old := most.Load(); n <= old || most.CompareAndSwap(old, n) {
			return
		}
	}
}

// Excess says how far a shared limit may be exceeded, in units: by derivation (doc.go, Shared limits) at worst, with all nodes in touch and
// the busiest key asked for as much as it was at most so far; and the most that this node has seen.
func (l *Limiter) Excess() (bound, seen float64) {
	if l.fleet == nil {
		return 0, 0
	}
	s := &l.shards[0]
	s.mu.Lock()
	m := s.meter.(*shares)
	s.mu.Unlock()
	return m.bound(float64(l.peak.Load()) / 256), float64(l.over.Load()) / 256
}

// bound is the most by which the limit can be exceeded while all nodes are in touch and no key is asked for more than peak units a second.
func (m *shares) bound(peak float64) float64 {
	v := m.fleet.view()
	if v.n == 1 {
		return 0
	}
	n := float64(v.n)
	flight := min(2*max(m.nominal(), peak)*sec(2*v.delay+minGap), m.size)
	if m.exact() {
		return n + flight
	}
	return n*(m.slack(v.n)+0.5) + flight + m.nominal()*sec(m.fleet.interval)/2 + m.tolerance()
}
