package limiter

import (
	"encoding/binary"
	"math"
	"slices"

	"weir/internal/mono"
)

// window is the part of time that a windowed cell counts in.
type window struct {
	start, end mono.Time // end 0: not windowed
	number     int64
	cur        float64 // charged in it, by all
	before     float64 // fixed: what this node spent in it in an earlier life, as others told
	refill     float64 // sliding: what comes back in it, a second
	soon       float64 // sliding: what comes back in the mean until shares are next looked at, a second
	mine       float64 // sliding: of what I had not told, what comes back in it, a second
	again      float64 // sliding: what is charged to me again in it, a second
	ring       []part  // sliding: the windows before, by number
}

// part is a sub-window that still counts. What was spent in it counts for a window after its end and comes back evenly during the
// sub-window that follows: no sooner than a window after it was spent, and no later than a window and two sub-windows.
type part struct {
	total float64 // charged by all, as told
	own   float64 // gained in it of what I have not told
	back  float64 // spent in it, told and given back: charged to me again when what was told comes back
}

func (w *window) part(number int64) *part {
	n := int64(len(w.ring))
	return &w.ring[(number%n+n)%n]
}

// keepOwn has the parts hold no more of mine than so much: what they held beyond is told now. What would come back first goes first.
func (w *window) keepOwn(most float64) {
	sum := 0.0
	for i := range w.ring {
		sum += w.ring[i].own
	}
	for k := w.number - int64(len(w.ring)); sum > most+grain && k < w.number; k++ {
		p := w.part(k)
		x := min(p.own, sum-most)
		p.own -= x
		sum -= x
	}
}

// settle has what was charged just now count from when it was spent, as far as that was before.
func (w *window) settle(told float64) {
	for i := range w.ring {
		p := &w.ring[i]
		x := min(p.own, max(0, told))
		p.total += x
		w.cur -= x
		told -= x
		p.own = 0
	}
}

// close puts away the sub-window that ends, in which I have not told drift in all.
func (w *window) close(drift float64) {
	w.keepOwn(max(0, drift))
	sum := 0.0
	for i := range w.ring {
		sum += w.ring[i].own
	}
	p := w.part(w.number)
	p.total, p.own = w.cur, max(0, drift-sum)
	w.cur = 0
	// Less than nothing corrects what was foretold, just before.
	for k := w.number; p.total < 0 && k > w.number-int64(len(w.ring)); k-- {
		if q := w.part(k); q.total > 0 {
			x := min(q.total, -p.total)
			q.total -= x
			p.total += x
		}
	}
}

// open has what counted longest come back evenly.
func (w *window) open(ahead float64) {
	p, length := w.part(w.number), sec(w.end.Sub(w.start))
	w.refill, w.mine, w.again = p.total/length, p.own/length, p.back/length
	n := min(int64(ahead/length)+1, int64(len(w.ring)))
	sum := 0.0
	for k := range n {
		sum += w.part(w.number + k).total
	}
	w.soon = max(0, sum) / (float64(n) * length)
	*p = part{}
}

// afresh starts a sliding window of which nothing counts any more.
func (c *cell) afresh(now mono.Time) {
	c.step(c.win.end)
	clear(c.win.ring)
	c.level, c.win.cur, c.win.refill, c.win.soon, c.win.mine, c.win.again = c.of.size, 0, 0, 0, 0, 0
	c.at = max(c.at, now)
	c.credit(max(0, c.used-c.self.on(c.at)))
	c.win.number, c.win.start, c.win.end = c.of.window(now)
}

// rollover ends the window in progress, at its end or, after a peer's clock, before.
func (c *cell) rollover(at mono.Time) {
	w := &c.win
	c.step(at)
	if c.of.kind == kindSliding {
		w.close(c.used - c.self.on(at))
		w.number, w.start, w.end = c.of.following(w.number)
		w.open(sec(c.of.fleet.interval))
		return
	}
	w.number, w.start, w.end = c.of.following(w.number)
	c.anew(at)
}

// anew starts a fixed window at an instant that the level is worked out up to: all counts are from zero again.
func (c *cell) anew(at mono.Time) {
	c.level, c.win.cur, c.win.before, c.lost = c.of.size, 0, 0, 0
	c.credit(c.used)
	c.told = line{0, c.told.s, at}
	c.self = c.told
	for i := range c.gains {
		c.gains[i].isLine = false
	}
	for i := range c.peers {
		q := &c.peers[i]
		q.line, q.own, q.window = line{0, q.s, at}, 0, c.of.epoch(c)
	}
	c.setAside(at)
}

// setAside takes off a level that is new what peers may have of it that are not heard, and what a minority must not use. at is now.
func (c *cell) setAside(at mono.Time) {
	c.aside = 0
	taken := 0.0
	for i := range c.peers {
		if q := &c.peers[i]; q.stale {
			x := q.share * c.level
			q.worst, q.since = line{x, 0, at}, at
			taken += x
		}
	}
	c.charge(taken)
	c.stepBack()
}

// stepBack sets aside the part of the level that a minority must not use, or gives it back. The level is up to date.
func (c *cell) stepBack() {
	if c.of.kind == kindBucket {
		return // it is taxed
	}
	aside := (1 - c.of.fleet.view().keep) * max(0, c.level+c.aside)
	if c.of.kind == kindSliding {
		aside = max(aside, c.aside) // what was is back by itself
	}
	c.charge(aside - c.aside)
	c.aside = aside
}

// outlived reports whether what q was presumed to spend since it fell silent has come back in part.
func (c *cell) outlived(q *peerLine, now mono.Time) bool {
	return c.of.kind == kindSliding && now.Sub(q.since) > c.of.length()
}

// presume is what a peer that falls silent may spend at worst: its share of the rate and, of a level that does not fill up by itself, of
// what is left.
func (c *cell) presume(q *peerLine, now mono.Time) {
	rate, stock := c.of.refill, 0.0
	if c.of.kind != kindBucket {
		rate, stock = 0, q.share*max(0, c.level)/max(grain, 1-c.frozen) // of what there was before others fell silent
	}
	if c.of.kind == kindSliding {
		rate = c.of.nominal()
	}
	q.worst, q.since = line{q.on(now) + stock, q.share * rate, now}, now
	c.charge(stock)
}

// released is how much of what was set aside for a peer that is removed it cannot have spent: it goes on as it did until it steps back, and
// has a part of the rest then.
func (c *cell) released(q *peerLine, now mono.Time) float64 {
	if c.of.kind != kindFixed {
		return 0
	}
	aside := max(0, q.worst.on(now)-q.on(q.since))
	spent := min(aside, q.d*sec(min(now.Sub(q.since), stepBack)))
	return (1 - minority) * (aside - spent)
}

// recall has what a cold key has spent come back when it does.
func (c *cell) recall(s *sliding, m *rings, b *bucket, now mono.Time) {
	w := &c.win
	k, _ := s.at(m, b, now)
	for j := max(k-s.parts, w.number-s.parts); j < w.number; j++ {
		w.part(j).own += float64(s.count(m, b, j))
	}
}

// heard reports whether a peer has told of c itself.
func (c *cell) heard() bool {
	return slices.ContainsFunc(c.peers, func(q peerLine) bool { return q.known && !q.hearsay })
}

// learnParts takes over from another node's state when what counts comes back: parts are its sub-windows, from the oldest. Without them,
// all of it counts as spent now.
func (c *cell) learnParts(parts []byte, refill float64, now mono.Time) {
	w := &c.win
	clear(w.ring)
	w.refill, w.soon, w.mine, w.again = 0, 0, 0, 0
	sum := 0.0
	if len(parts) == 4*len(w.ring) && refill >= 0 && refill <= c.of.steepest() {
		for k := range w.ring {
			v := float64(math.Float32frombits(binary.LittleEndian.Uint32(parts[4*k:])))
			if !(math.Abs(v) < 1<<40) {
				v = 0
			}
			w.part(w.number + int64(k)).total = v
			sum += v
		}
		w.refill = refill
		w.soon = max(0, sum) / sec(c.of.length())
	}
	w.cur = c.of.size - c.level - sum - w.refill*sec(w.end.Sub(now)) // so that all that counts comes back
}
