package limiter

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/mono"
)

// What a fleet goes by. doc.go, Shared limits, says why; the figures come from simulation.
const (
	minGap      = 2 * time.Millisecond  // least time between two frames of a node
	denyGap     = 10 * time.Millisecond // least time between two looks at a key that refusals ask for
	midGap      = 20 * time.Millisecond // how often foretold rates are checked
	deadHold    = 2 * time.Second       // a dead member's share stays reserved for so long
	stepBack    = 4500 * time.Millisecond
	tieHold     = 10 * time.Second // an exact half takes over after this
	abandon     = time.Minute      // without a quorum for so long, everything is taken over
	oneSecond   = time.Second
	slackShare  = 0.01 // of the size and a second's refill: what all nodes together may overdraw
	idleShare   = 0.01 // of the size, by which levels may differ for good
	floorShare  = 0.02 // of the rate, for nodes that show no demand
	minority    = 0.1  // of its share, for a side that hears less than half
	lookAhead   = 0.05 // s of demand for which a node keeps stock
	stockTime   = 0.5  // s in which the stock of a window may be spent
	debtTime    = 0.5  // s of refill that a bucket may owe beyond its size
	maxPatience = 8
)

// longAgo is earlier than any instant; what is over since then does not overflow.
const longAgo mono.Time = math.MinInt64 / 2

// FleetOptions of a Fleet.
type FleetOptions struct {
	Self        uint64        // this node; not 0
	Incarnation uint32        // higher after every restart
	Interval    time.Duration // between two regular frames
	Delay       time.Duration // one way, to the other nodes; SetDelay changes it
	Start       mono.Time     // of the first regular frame: spread over an interval, so that nodes do not speak all at once
}

// Fleet keeps limits together with the fleets of other nodes. It opens no socket and starts no goroutine: its owner calls Step, hands
// what it returns to every other node, and theirs to Receive. Safe for concurrent use.
type Fleet struct {
	self        uint64
	incarnation uint32
	interval    time.Duration
	wake        chan struct{}
	life        atomic.Uint32
	seen        atomic.Pointer[view]

	calls struct {
		sync.Mutex
		cells []*cell
	}

	mu       sync.Mutex // before that of a shard
	limiters map[uint64]*Limiter
	peers    []*peer // by number; a number is never used for another node
	numbers  map[uint64]int
	cells    []*cell
	total    int // members when last complete
	seq      uint32
	next     mono.Time // regular step
	last     mono.Time // frame
	mid      mono.Time // check of foretold rates
	gainAt   mono.Time
	minorAt  mono.Time // last time the members were no majority
	lostAt   mono.Time // no majority is heard since; 0: one is
	delay    time.Duration
	keep     float64
	regular  bool // the frame being received is
	stats    FleetStats
}

// view is what cells need to know of the fleet.
type view struct {
	n, fresh int // members, of these heard lately; this node included
	keep     float64
	delay    time.Duration
	others   []uint64 // by number; 0: not heard, or no member
}

// peer is another node.
type peer struct {
	id                    uint64
	heard, staleAt, dead  mono.Time // dead 0: alive
	member, stale, silent bool      // silent: back, but without a frame yet
	removed, alive        bool
	incarnation, seq      uint32
}

// NewFleet returns a fleet of this node alone.
func NewFleet(o FleetOptions) *Fleet {
	f := &Fleet{self: o.Self, incarnation: o.Incarnation, interval: o.Interval, delay: o.Delay, next: o.Start, keep: 1, total: 1,
		wake: make(chan struct{}, 1), limiters: map[uint64]*Limiter{}, numbers: map[uint64]int{}, minorAt: longAgo}
	f.recount(0)
	return f
}

func (f *Fleet) view() *view { return f.seen.Load() }

// Wake tells that Step should be called soon: some key's spending should be told.
func (f *Fleet) Wake() <-chan struct{} { return f.wake }

// SetDelay sets how long a frame takes to the other nodes.
func (f *Fleet) SetDelay(d time.Duration, now mono.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d != f.delay {
		f.delay = d
		f.recount(now)
	}
}

func (f *Fleet) newLife() uint16 { return uint16(f.life.Add(1)) }

// call has Step look at c. c's shard is locked.
func (f *Fleet) call(c *cell) {
	f.calls.Lock()
	f.calls.cells = append(f.calls.cells, c)
	f.calls.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// admit lists the cells that called.
func (f *Fleet) admit() {
	f.calls.Lock()
	list := f.calls.cells
	f.calls.cells = nil
	f.calls.Unlock()
	for _, c := range list {
		c.shard.mu.Lock()
		if !c.listed && !c.gone {
			c.listed = true
			f.cells = append(f.cells, c)
		}
		c.shard.mu.Unlock()
	}
}

// each calls do for every cell, its shard locked.
func (f *Fleet) each(do func(c *cell)) {
	f.admit()
	for _, c := range f.cells {
		c.shard.mu.Lock()
		if !c.gone {
			do(c)
		}
		c.shard.mu.Unlock()
	}
}

func (f *Fleet) register(l *Limiter) (fresh bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fresh = f.limiters[l.share] != l
	f.limiters[l.share] = l
	return fresh
}

// retire forgets a limiter that is of no more use.
func (f *Fleet) retire(l *Limiter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.limiters[l.share] == l {
		delete(f.limiters, l.share)
	}
	f.admit()
	f.cells = slices.DeleteFunc(f.cells, func(c *cell) bool { return c.limiter == l })
}

// Step does what is due at now, and returns the frames to send to every other node and when to call it next at the latest. The frames
// are the caller's.
func (f *Fleet) Step(now mono.Time) (frames [][]byte, next mono.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.admit()
	regular := now >= f.next.Add(-f.interval/50)
	if regular {
		f.next = now.Add(f.interval)
		f.liveness(now)
	}
	if f.gainAt != 0 && now >= f.gainAt {
		f.applyGains(now)
	}
	if !regular && now < f.last.Add(minGap-100*time.Microsecond) {
		return nil, f.nextStep(f.last.Add(minGap))
	}
	mid := now >= f.mid
	if mid {
		f.mid = now.Add(midGap)
	}
	w := writer{}
	kept := f.cells[:0]
	for _, c := range f.cells {
		if f.stepCell(c, now, regular, mid, &w) {
			kept = append(kept, c)
		}
	}
	clear(f.cells[len(kept):])
	f.cells = kept
	if len(w.records) == 0 && !regular {
		return nil, f.nextStep(f.mid)
	}
	f.last = now
	return f.frames(now, regular, &w), f.nextStep(f.mid)
}

func (f *Fleet) nextStep(t mono.Time) mono.Time {
	if f.gainAt != 0 {
		t = min(t, f.gainAt)
	}
	return min(t, f.next)
}

// stepCell looks at one cell, and reports whether it stays listed.
func (f *Fleet) stepCell(c *cell, now mono.Time, regular, mid bool, w *writer) bool {
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	if c.gone {
		return false
	}
	// Between the regular steps only what asked for it; foretold rates are checked a little more often, for they may be unused.
	if !regular && !c.dirty && !c.owe && !(mid && c.told.s > 0) {
		return true
	}
	c.dirty = false
	if c.wants(now, regular) {
		f.tell(c, now, w)
	}
	if regular {
		c.measure(now)
		if c.quiet(now) {
			c.shard.coolLocked(c)
			return false
		}
	}
	return true
}

// quiet reports whether nothing is left to tell or to remember: the key is as good as one never seen.
func (c *cell) quiet(now mono.Time) bool {
	if c.slow != 0 || c.fast >= 1e-3 || c.attempts != 0 || c.toldD != 0 || c.told.s != 0 || len(c.gains) != 0 || c.frozen != 0 ||
		c.sumS > grain || c.sumD > grain || now.Sub(c.born) < oneSecond {
		return false
	}
	drift := c.used - c.self.on(now)
	if math.Abs(drift) >= 0.01 && (c.of.kind != kindBucket || drift > 0) {
		return false
	}
	if c.of.kind == kindSeats && c.used != 0 {
		return false
	}
	return c.level > c.of.size-0.01
}

func (f *Fleet) applyGains(now mono.Time) {
	f.gainAt = 0
	for _, c := range f.cells {
		c.shard.mu.Lock()
		if len(c.gains) > 0 {
			c.draw(now)
			if len(c.gains) > 0 && (f.gainAt == 0 || c.gains[0].from < f.gainAt) {
				f.gainAt = c.gains[0].from
			}
		}
		c.shard.mu.Unlock()
	}
}

// wants reports whether the others should hear of c now.
func (c *cell) wants(now mono.Time, regular bool) bool {
	d := c.look(now)
	c.draw(now)
	c.looked = now
	if d == 0 && c.toldD == 0 && math.Abs(c.used-c.told.c) < 1.0/256 && c.told.s == 0 {
		return false
	}
	drift := c.used - c.told.on(now)
	if c.owe {
		c.owe = false
		if drift > 0.5 && c.e < 0 {
			return true // the others may believe that this is not spent
		}
	}
	share := c.stock*max(c.level, 0) + c.of.slack(c.of.fleet.view().n)
	if c.level > 0 && drift > max(0.5, share/2) && (1-c.stock)*c.level > 0.5 && c.level-drift > -share {
		return true // half of my share is gone, and there is more elsewhere
	}
	if drift < -max(2+c.refusedCost, c.stock*max(c.level, c.of.size/5)/2) && c.level < 0.9*c.of.size {
		return true // I hold what I foretold and do not use
	}
	if c.told.s > 1.25*c.due && c.level < c.of.size/2 && drift < -1 {
		return true // my share shrank
	}
	m := max(c.cost, 1)
	sigma := 3 * math.Sqrt(max(d*m, m*m)/(2*0.3))
	near := !c.far(d) && (c.level < 0.8*c.of.size || d > c.due || c.told.s > 0 && d < c.told.s/2)
	if near && math.Abs(d-c.toldD) > max(c.toldD/4, sigma) {
		return true
	}
	if !regular {
		return false
	}
	if c.toldD > 0.02*c.of.nominal()/float64(c.of.n) && d < c.toldD/5 {
		return true // the demand is over
	}
	active := (c.level < 0.9*c.of.size || c.told.s > 0 || c.of.kind == kindSeats && c.used != c.told.c) && !c.far(d)
	interval := c.of.fleet.interval
	return active && now.Sub(c.sent) >= time.Duration(c.patience)*interval-interval/4
}

// far says that a long window cannot be exhausted soon: nothing is worth telling but that a share is half gone.
func (c *cell) far(d float64) bool {
	return c.win.end != 0 && c.level > 30*(c.sumD+d) && c.level > 0
}

// tell writes a record of c, and changes what the others are taken to know.
func (f *Fleet) tell(c *cell, now mono.Time, w *writer) {
	d := unpack(packLog(c.slow))
	c.rate = c.weight(d)
	due := c.dueAt(c.rate)
	s := min(d, due)
	if c.of.kind == kindSeats || c.level >= c.of.size*0.999 && d < due/2 || c.far(d) {
		s = 0 // far from the limit: what overflows refills
	}
	s = unpack(packLog(s))
	count := math.Floor(c.used*256) / 256
	if c.of.kind != kindSeats {
		count = max(count, c.told.c) // what was told is not taken back: it stays mine to spend
	}
	if drift := count - c.told.on(now); math.Abs(drift) > 1.5 || math.Abs(s-c.told.s) > c.told.s/10 || math.Abs(d-c.toldD) > c.toldD/4 {
		c.patience = 1
	} else if c.patience < c.mostPatience() {
		c.patience *= 2
	}
	l := line{count, s, now}
	c.past.push(now, d)
	c.told, c.toldD, c.sent = l, d, now
	c.refusedCost = math.Floor(c.refusedCost * 0.9)
	f.adopt(c, l, d, now)
	c.draw(now)
	w.add(c, now)
}

// adopt has what was told count: at once where it is to my loss, else when the others have it.
func (f *Fleet) adopt(c *cell, l line, d float64, now mono.Time) {
	hold := 2 * f.delay
	gains := l.c > c.self.on(now) || l.s > c.self.s
	if hold == 0 || len(c.gains) > 6 {
		c.gains = c.gains[:0]
		c.setSelf(now, l)
		c.demand = d
		return
	}
	if !gains {
		c.setSelf(now, l)
		c.gains = c.gains[:0]
	}
	c.demand = min(c.demand, d)
	g := gain{l, d, gains, now.Add(hold)}
	c.gains = append(c.gains, g)
	if f.gainAt == 0 || g.from < f.gainAt {
		f.gainAt = g.from
	}
}

func (c *cell) mostPatience() int {
	if c.win.end != 0 {
		return int(maxPatience * min(10, max(1, sec(c.of.length())/10)))
	}
	return maxPatience
}
