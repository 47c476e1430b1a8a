package limiter

import (
	"time"

	"weir/internal/mono"
)

// A cell is a key of a shared limit whose spending the nodes tell each other: what doc.go, Shared limits, describes. Its fields
// are guarded by the mutex of its shard. Quantities are in units, rates in units a second.
type cell struct {
	key     Key
	shard   *shard
	of      *shares // the numbers in force
	limiter *Limiter
	life    uint16 // tells this cell from earlier ones of the same key on this node

	// The request path.
	used           float64 // U: charged here since the cell was made
	attempts       float64 // units asked for since the last look
	asked          float64 // requests since then
	cost           float64 // mean units a request
	refusedCost    float64 // the most units of one that was refused lately
	first, touched mono.Time
	base, slope    float64 // what used may reach: base + slope·(now − drawn), at most top
	top            float64
	drawn          mono.Time
	next           mono.Time // smooth: when the next request may go on
	low            float64   // used, at which the others should hear of it
	slack, whole   float64   // a request of at most whole passes while used is slack below the line at least

	// The level: what is left for all, as far as the lines tell.
	level   float64
	at      mono.Time // up to which level is worked out
	mark    float64   // used at the last step of the level
	lost    float64   // charged below the least level: comes back before anything does
	self    line      // mine, as the others know it
	demand  float64   // mine, as the others know it
	told    line      // mine, as last sent
	toldD   float64
	wroteS  uint16 // as written: told.s, toldD
	wroteD  uint16
	sent    mono.Time
	looked  mono.Time
	gains   []gain
	spilled float64    // of what overflowed, what does not overflow at the others: they know of the first gain already
	repaid  float64    // of that, what was taken off what I have not told
	peers   []peerLine // by the fleet's numbers
	sumS    float64    // of the peers: slopes, demands, weights beyond 1 each
	sumD    float64
	sumV    float64
	rate    float64 // share of the rate, of the stock
	stock   float64
	frozen  float64 // shares of peers that are not heard
	aside   float64 // taken off the level, of a minority
	yields  bool    // seats: what I give back is not for me to use again
	outcast bool    // seats: of a minority, or of one that is not all back yet
	e       float64 // what I may spend now
	due     float64 // the rate I may spend at
	born    mono.Time
	healed  mono.Time
	upset   mono.Time // last time that a peer fell silent, came back or went
	full    mono.Time // last time that the level was at the top
	jumped  mono.Time // last time that the level changed by much at once
	// By how much the level is lower than by what nodes said they charged, and the rate at which that grows: as much may come back when
	// others say so.
	presumed, presuming float64
	patience            int // ticks between two frames that tell nothing new
	past                history

	// Demand.
	fast, slow  float64
	counted     mono.Time
	lastAttempt mono.Time

	win window

	bytes   int64 // that the shard counts for it
	listed  bool  // by the fleet, at place
	place   int
	round   int64 // when to look at it, by the agenda
	tick    int64
	dirty   bool // it asked to be looked at
	owe     bool // others may believe that what is spent is not
	gone    bool // the key is cold again
	changed bool // since Changed last told
}

// line is a count that goes on steadily.
type line struct {
	c, s float64
	t    mono.Time
}

func (l *line) on(now mono.Time) float64 { return l.c + l.s*sec(now.Sub(l.t)) }

// gain is what I told that is in my favour: it counts when the others have it.
type gain struct {
	line   line
	demand float64
	isLine bool
	from   mono.Time
}

// peerLine is what a peer said of a key.
type peerLine struct {
	line
	own                  float64 // the count that it told itself
	d                    float64
	incarnation, seq     uint32
	life                 uint16
	known, stale, rebase bool
	hearsay              bool    // another node told it
	share                float64 // while stale: reserved for it
	worst                line    // while stale: what it may be spending
	since                mono.Time
	window               uint8 // that the count is of
	past                 history
	apart                float64 // how much higher its level is than mine, in the mean of a second
	compared             mono.Time
}

func (q *peerLine) spent(now mono.Time) float64 {
	if q.stale {
		return q.worst.on(now)
	}
	return q.on(now)
}

// history is the demand told lately, summed up over time. Both sides of a cut split a limit by the mean of some time before it, which hardly
// depends on just when that was.
type history struct {
	t   [8]mono.Time // increasing
	sum [8]float64   // up to t
	d   float64      // since the last
	n   int
}

// push notes that d is told from now on. Two entries further there are at least step between: they go back 7 steps.
func (h *history) push(now mono.Time, d float64, step time.Duration) {
	sum := 0.0
	switch {
	case h.n == 0:
	case now <= h.t[h.n-1]:
		h.d = d
		return
	default:
		sum = h.until(now)
	}
	if h.n > 1 && now.Sub(h.t[h.n-2]) < step {
		h.n--
	} else if h.n == len(h.t) {
		copy(h.t[:], h.t[1:])
		copy(h.sum[:], h.sum[1:])
		h.n--
	}
	h.t[h.n], h.sum[h.n], h.d = now, sum, d
	h.n++
}

// until is the sum up to t.
func (h *history) until(t mono.Time) float64 {
	i, rate := h.n-1, h.d
	for ; i > 0 && h.t[i] > t; i-- {
		rate = (h.sum[i] - h.sum[i-1]) / sec(h.t[i].Sub(h.t[i-1]))
	}
	return h.sum[i] + rate*sec(t.Sub(h.t[i]))
}

// mean is the mean demand of a span before t, or of as much of it as is known.
func (h *history) mean(t mono.Time, span time.Duration) float64 {
	if h.n == 0 {
		return 0
	}
	from := min(max(t.Add(-span), h.t[0]), t.Add(-time.Millisecond))
	return (h.until(t) - h.until(from)) / sec(t.Sub(from))
}

func sec(d time.Duration) float64 { return float64(d) * 1e-9 } // a division would be a tenth of a decision

// grain is less than any part of a unit that is told.
const grain = 1e-9

// limit is what used may reach at now.
func (c *cell) limit(now mono.Time) float64 {
	return min(c.top, c.base+c.slope*sec(now.Sub(c.drawn))) + grain
}

// decide sets d to the answer for n units and changes nothing.
func (c *cell) decide(n int64, now mono.Time, d *Decision) {
	m, f, lim, left := c.of, float64(n), c.limit(now), c.left(now)
	*d = Decision{OK: n == 0 || c.used+f <= lim || f <= c.whole && c.used <= lim-c.slack}
	if m.spec.MaxWait > 0 && n > 0 && f <= m.size && (!d.OK || m.smooth()) {
		wait := c.ahead(f, lim, now)
		if d.OK = wait <= m.spec.MaxWait; d.OK {
			d.Wait = wait
		} else {
			d.Retry = wait - m.spec.MaxWait
			left = max(0, left)
		}
	}
	switch {
	case d.OK:
		left -= f
	case f > m.size:
		d.Retry = Never
	case d.Retry == 0:
		d.Retry = c.retry(f, lim, left, now)
	}
	d.Left = max(0, int64(left+grain))
	d.Reset = c.reset(left, now)
}

// ahead is how long a request must wait that is let in ahead of time: until the line reaches it, and where requests go one by one, until
// what came before has leaked out.
func (c *cell) ahead(f, lim float64, now mono.Time) (wait time.Duration) {
	if c.used+f > lim && !(f <= c.whole && c.used <= lim-c.slack) {
		wait = roundUp((c.used + f - lim) / max(c.slope, c.pace()))
	}
	if c.of.smooth() {
		wait = max(wait, c.next.Sub(now))
	}
	return wait
}

// pace is the rate at which requests go on here that wait.
func (c *cell) pace() float64 { return max(c.due, c.of.refill*floorShare/float64(c.of.n)) }

// spend charges n units. To a cold bucket, the mark means nothing.
func (c *cell) spend(n int64, now mono.Time) mark {
	f := float64(n)
	if !c.of.smooth() {
		c.used += f
		if c.of.kind == kindBucket {
			return mark{at: int64(past), from: now}
		}
		return mark{at: c.win.number, from: now}
	}
	goes := now.Add(max(0, c.ahead(f, c.limit(now), now)))
	c.used += f
	c.next = goes.Add(roundUp(f / c.pace()))
	return mark{at: int64(c.next), frac: uint64(c.next.Sub(goes)), from: now, left: n}
}

// left is what all nodes together could spend, as far as this one knows.
func (c *cell) left(now mono.Time) float64 {
	level := c.level
	if dt := sec(now.Sub(c.at)); dt > 0 {
		level = min(c.of.size, level+(c.refill()-c.sumS-c.self.s)*dt)
	}
	return level - max(0, c.used-c.self.on(now))
}

// retry is how long until f units pass if nobody else spends.
func (c *cell) retry(f, lim, left float64, now mono.Time) time.Duration {
	switch {
	case c.of.kind == kindSeats:
		return Unknown
	case c.slope > 0 && c.used+f <= c.top:
		return roundUp((c.used + f - lim) / c.slope)
	case c.of.kind == kindBucket:
		return roundUp(max(1e-3, (f-left)*c.of.unit))
	}
	return max(time.Millisecond, c.win.end.Sub(now))
}

func (c *cell) reset(left float64, now mono.Time) time.Duration {
	switch {
	case left >= c.of.size:
		return 0
	case c.of.kind == kindSeats:
		return Unknown
	case c.of.kind == kindBucket:
		return roundUp((c.of.size - left) * c.of.unit)
	case c.of.kind == kindSliding:
		return c.of.spec.Rate.Per
	}
	return max(0, c.win.end.Sub(now))
}

func roundUp(s float64) time.Duration {
	if s > 1e9 {
		return Never
	}
	ns := s * 1e9
	d := time.Duration(ns)
	if float64(d) < ns {
		d++
	}
	return d
}

// note counts an attempt of n units, and tells the fleet if it should hear of it.
func (c *cell) note(ok bool, n int64, now mono.Time) {
	if c.attempts == 0 {
		c.first = now
	}
	if c.touched == 0 {
		c.touched = now
	}
	c.attempts += float64(n)
	c.asked++
	switch {
	case ok && c.used >= c.low:
		c.call()
	case !ok:
		c.refusedCost = max(c.refusedCost, float64(n))
		if now.Sub(c.looked) > denyGap {
			c.call()
		}
	case !c.listed:
		c.call()
	}
}

// call has the fleet look at c as soon as it may.
func (c *cell) call() {
	if !c.dirty {
		c.dirty = true
		c.of.fleet.call(c)
	}
}

// give takes back n units that were spent under of: not what has refilled since, and no more than is missing.
func (c *cell) give(n int64, of *mark, now mono.Time) {
	f := float64(n)
	if c.of.kind == kindBucket {
		f = min(f-c.of.refill*max(0, sec(now.Sub(of.from))), c.of.size-c.left(now))
	}
	if f <= 0 {
		return
	}
	if c.of.smooth() && int64(c.next) == of.at { // nobody is behind
		c.next = c.next.Add(-time.Duration(float64(of.frac) * f / max(1, float64(of.left))))
	}
	if c.of.kind == kindSliding { // what was told is not taken back, and so comes back in its time
		c.win.part(of.at).back += max(0, c.told.c-(c.used-f)) - max(0, c.told.c-c.used)
	}
	c.used -= f
	if c.yields {
		c.base -= f
		c.top -= f
		c.low -= f
	}
	if c.of.kind == kindSeats && c.scarce() && c.told.c-c.used >= c.surplus() {
		c.call()
	}
}
