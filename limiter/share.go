package limiter

import (
	"math"
	"time"

	"weir/internal/mono"
)

// kind is how the level of a cell comes back.
type kind uint8

const (
	kindBucket  kind = iota // steadily, up to the size
	kindSliding             // what was spent a window ago
	kindFixed               // all at once at the end of the window
	kindSeats               // when it is given back
)

// shares is the meter of a limit that the nodes of a fleet share. A key whose spending could not exhaust this node's share is cold: its
// bucket is that of a plain meter of 1/n of the numbers, and nobody hears of it. Any other is hot: its bucket stands for a cell.
type shares struct {
	spec   Spec
	kind   kind
	size   float64 // units
	refill float64 // a second
	unit   float64 // seconds in which one unit refills
	n      int     // nodes
	cold   meter
	part   int64 // units of a cold key's full bucket
	others int64 // units of the whole limit that part has not
	enough int64 // what is left of part while a key is sure to stay cold
	flow   bool  // requests go on one by one
	whole  meter // of the whole limit, for its windows
	fleet  *Fleet
	id     uint64
}

// hot is the last of a bucket whose x is the number of its cell.
const hot mono.Time = math.MaxInt64

func newShares(s Spec, epoch int64, f *Fleet, id uint64) *shares {
	m := &shares{spec: s, size: float64(s.Rate.N), n: f.view().n, whole: newMeter(s, epoch), fleet: f, id: id}
	m.part = s.Rate.N / int64(m.n)
	switch s.Algorithm {
	case SlidingWindow:
		m.kind = kindSliding
		m.part = min(s.Rate.N, m.part+1)
		w := *m.whole.(*sliding)
		w.limit = m.part
		m.cold = &w
	case FixedWindow, Quota:
		m.kind = kindFixed
		w := *m.whole.(*windows)
		w.limit = m.part
		m.cold = &w
	case Concurrency:
		m.kind = kindSeats
		m.cold = seats{limit: m.part}
	default:
		m.size, m.refill = float64(s.Rate.Burst), float64(s.Rate.N)/sec(s.Rate.Per)
		m.unit = 1 / m.refill
		slack := int64(m.slack(m.n))
		m.part = min(s.Rate.Burst, max(1, s.Rate.Burst/int64(m.n)+slack))
		m.cold = coldBucket(s, m.part, m.n)
	}
	m.others = s.units() - m.part
	m.enough = m.part - m.part/2
	if m.kind == kindSliding {
		m.enough = m.part - m.part/8
	}
	m.flow = s.Algorithm == LeakyBucket && s.MaxWait > 0
	return m
}

// coldBucket is a bucket of 1/n of the rate that holds part units, or one that never refills if that took too long.
func coldBucket(s Spec, part int64, n int) meter {
	r := Rate{N: s.Rate.N, Per: s.Rate.Per, Burst: part}
	if per := r.Per * time.Duration(n); per/time.Duration(n) == r.Per {
		if slow := (Rate{N: r.N, Per: per, Burst: part}); slow.Validate() == nil {
			r = slow
		}
	}
	g := newGCRA(r)
	g.wait, g.smooth = int64(s.MaxWait), s.Algorithm == LeakyBucket && s.MaxWait > 0
	return g
}

// exact reports whether shares are whole units: of what does not come back by itself soon, none may be spent twice.
func (m *shares) exact() bool { return m.kind == kindFixed || m.kind == kindSeats }

// smooth reports whether requests go on one by one.
func (m *shares) smooth() bool { return m.flow }

// slack is the units by which each of n nodes may overdraw its share.
func (m *shares) slack(n int) float64 {
	if m.exact() {
		return 0
	}
	size := m.size
	if m.kind == kindBucket {
		size += m.refill
	}
	least := 1.0 // a whole request
	if m.size/float64(n) < 4 && m.size >= 40 {
		least = 2 // shares of a few units: requests that come in clumps need more
	}
	return max(least, slackShare*size/float64(n))
}

// least is the lowest level that is kept.
func (m *shares) least() float64 {
	if m.kind == kindBucket {
		return -m.size - m.refill*(debtTime+sec(m.spec.MaxWait))
	}
	return -m.size
}

// nominal is the mean rate of the limit.
func (m *shares) nominal() float64 {
	switch {
	case m.kind == kindBucket:
		return m.refill
	case m.kind == kindSeats:
		return m.size / stockTime
	}
	return m.size / sec(m.length())
}

// length is how long a window takes.
func (m *shares) length() time.Duration {
	switch w := m.whole.(type) {
	case *sliding:
		return time.Duration(w.per)
	case *windows:
		p := w.periods.at(0)
		return p.end.Sub(p.start)
	}
	return 0
}

// window is the one that now is in; of a sliding window, the sub-window.
func (m *shares) window(now mono.Time) (number int64, start, end mono.Time) {
	switch w := m.whole.(type) {
	case *sliding:
		n := w.part(now)
		return n, w.begin(n), w.begin(n + 1)
	case *windows:
		p := w.periods.at(now)
		return p.id, p.start, p.end
	}
	return 0, 0, 0
}

// following is the window after that of number.
func (m *shares) following(number int64) (next int64, start, end mono.Time) {
	if w, ok := m.whole.(*windows); ok {
		p := w.periods.at(w.periods.of(number).end)
		return p.id, p.start, p.end
	}
	w := m.whole.(*sliding)
	return number + 1, w.begin(number + 1), w.begin(number + 2)
}

// epoch tells windows of nodes whose clocks differ from each other.
func (m *shares) epoch(c *cell) uint8 {
	if f, ok := m.whole.(*windows); ok {
		if _, ok := f.periods.(*calendarPeriods); ok {
			return uint8(c.win.number / 3600)
		}
	}
	return uint8(c.win.number)
}

func (m *shares) cell(r *rings, b *bucket) *cell {
	if b.last != hot {
		return nil
	}
	return r.cells.get(int(b.x))
}

func (m *shares) decide(r *rings, b *bucket, n int64, now mono.Time) Decision {
	if c := m.cell(r, b); c != nil {
		if c.win.end != 0 && now >= c.win.end {
			c.draw(now) // what it may spend ends with the window
		}
		var d Decision
		c.decide(n, now, &d)
		return d
	}
	d := m.coldAnswer(m.cold.decide(r, b, n, now))
	if !d.OK && m.n > 1 && n <= d.Left { // it would become hot, and the others' shares be used
		d.OK, d.Retry = true, 0
		d.Left -= n
	}
	return d
}

// units is the most that can be left.
func (s *Spec) units() int64 {
	switch s.Algorithm {
	case SlidingWindow, FixedWindow, Quota, Concurrency:
		return s.Rate.N
	}
	return s.Rate.Burst
}

func (m *shares) spend(r *rings, b *bucket, n int64, now mono.Time) mark {
	if c := m.cell(r, b); c != nil {
		return c.spend(n, now)
	}
	k := m.cold.spend(r, b, n, now)
	k.from = max(k.from, now)
	return k
}

func (m *shares) give(r *rings, b *bucket, n int64, of *mark, now mono.Time) (void bool) {
	c := m.cell(r, b)
	if c == nil {
		return m.cold.give(r, b, n, of, now)
	}
	switch {
	case m.kind == kindFixed && of.at != c.win.number:
	case m.kind == kindSliding && of.at < c.win.number-int64(m.spec.Parts):
	default:
		c.give(n, of, now)
	}
	return false
}

func (m *shares) idle(b *bucket, now mono.Time) bool {
	return b.last != hot && m.cold.idle(b, now)
}

func (m *shares) forward(r *rings, b *bucket, now mono.Time) {
	if b.last != hot {
		m.cold.forward(r, b, now)
	}
}

func (m *shares) convert(r *rings, from meter, b *bucket, now mono.Time) {
	old := from.(*shares)
	c := m.cell(r, b)
	if c == nil {
		m.cold.convert(r, old.cold, b, now)
		return
	}
	c.advance(now)
	c.of = m
	c.account(m.cellBytes())
	if old.spec != m.spec {
		c.level = min(m.size, max(c.level+m.size-old.size, m.least()))
		if renumbered(old.whole, m.whole) {
			c.startWindow(now)
			for i := range c.peers {
				c.peers[i].window = m.epoch(c)
			}
		}
	}
	c.draw(now)
}

func (m *shares) inherit(b, gone *bucket) {
	if b.last != hot && gone.last != hot {
		m.cold.inherit(b, gone)
	}
}

func (m *shares) fresh() bucket { return m.cold.fresh() }

func (m *shares) clone(b *bucket) bucket { return m.cold.clone(b) }

func (m *shares) drop(r *rings, b *bucket) {
	if b.last != hot {
		m.cold.drop(r, b)
	}
}

// owed is what a cold bucket lacks, in units.
func (m *shares) owed(r *rings, b *bucket, now mono.Time) float64 {
	switch cold := m.cold.(type) {
	case *gcra:
		at, tat := cold.at(b, now)
		s := cold.sub(tat, span{ns: int64(at)})
		return sec(time.Duration(s.ns)) * float64(cold.rate.N) / sec(cold.rate.Per)
	case *windows:
		_, used := cold.at(b, now)
		return float64(used)
	case *sliding:
		_, used := cold.at(r, b, now)
		return float64(used)
	}
	return float64(b.x)
}

// cool reports whether b, which is cold, is still far from exhausting this node's share.
func (m *shares) cool(r *rings, b *bucket, now mono.Time) bool {
	part := float64(m.part) / 2
	if m.kind == kindSliding {
		part /= 4 // what is told late comes back late
	}
	return m.n == 1 || m.owed(r, b, now) <= part
}
