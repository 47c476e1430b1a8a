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
	slackShare  = 0.01          // of the size and a second's refill: what all nodes together may overdraw
	idleShare   = 0.01          // of the size, by which levels may differ for good
	askedShare  = 0.125         // of the size: what others may be asked for before they hear something, at most
	floorShare  = 0.02          // of the rate, for nodes that show no demand
	minority    = 0.1           // of its share, for a side that hears less than half
	lastWord    = oneSecond / 2 // after the last request, what was not told is told
	lookAhead   = 0.05          // s of demand for which a node keeps stock
	lateShare   = 40            // of a sliding window, how late a spending is told at most, one by this
	stockTime   = 0.5           // s in which the stock of a window may be spent
	debtTime    = 0.5           // s of refill that a bucket may owe beyond its size
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
	gainAt   mono.Time
	gaining  []*cell // those with gains
	agenda   agenda
	minorAt  mono.Time // last time the members were no majority
	few      bool      // less than half are heard
	turned   mono.Time // when that changed
	started  mono.Time // first step
	began    mono.Time
	delay    time.Duration
	keep     float64
	unsent   writer // told out of turn
	looks    uint64 // at cells, by Step
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
	failed                bool      // removed, and not by its own will
	deaf                  mono.Time // since then it says that it does not hear this node; 0: it does
	incarnation, seq      uint32
}

// NewFleet returns a fleet of this node alone.
func NewFleet(o FleetOptions) *Fleet {
	f := &Fleet{self: o.Self, incarnation: o.Incarnation, interval: o.Interval, delay: o.Delay, next: o.Start, began: o.Start, keep: 1, total: 1,
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
		if !c.listed && !c.gone && f.limiters[c.of.id] == c.limiter {
			c.listed, c.place = true, len(f.cells)
			f.cells = append(f.cells, c)
		}
		if c.listed {
			f.agenda.called = append(f.agenda.called, c)
		}
		c.dirty = c.dirty && c.listed // of a limiter that has not joined, or is retired
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
	f.cells = slices.DeleteFunc(f.cells, func(c *cell) bool {
		c.shard.mu.Lock()
		defer c.shard.mu.Unlock()
		c.listed = c.limiter != l
		return !c.listed
	})
	for i, c := range f.cells {
		c.place = i
	}
}

// Step does what is due at now, and returns the frames to send to every other node and when to call it next at the latest. The frames
// are the caller's.
func (f *Fleet) Step(now mono.Time) (frames [][]byte, next mono.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.admit()
	if f.started == 0 {
		f.started = now
	}
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
	w := f.unsent
	f.unsent = writer{}
	f.agenda.due(now, regular, func(c *cell, why reason) {
		if f.stepCell(c, now, regular, why, &w) {
			f.unlist(c)
		}
	})
	next = f.nextStep(mono.Time(f.agenda.tick+1) * mono.Time(midGap))
	if len(w.records) == 0 && !regular {
		return nil, next
	}
	f.last = now
	return f.frames(now, regular, &w), next
}

// unlist forgets a cell that is gone.
func (f *Fleet) unlist(c *cell) {
	last := len(f.cells) - 1
	f.cells[c.place] = f.cells[last]
	f.cells[c.place].place = c.place
	f.cells[last] = nil
	f.cells = f.cells[:last]
	c.listed = false
}

func (f *Fleet) nextStep(t mono.Time) mono.Time {
	if f.gainAt != 0 {
		t = min(t, f.gainAt)
	}
	return min(t, f.next)
}

// stepCell looks at one cell, and reports whether it is cold again.
func (f *Fleet) stepCell(c *cell, now mono.Time, regular bool, why reason, w *writer) (cooled bool) {
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	if !f.agenda.is(c, why) {
		return false
	}
	f.looks++
	if why == forTick && c.steady(now) {
		f.agenda.planTick(c, now)
		return false
	}
	c.dirty = false
	if c.wants(now, regular) {
		f.tell(c, now, w)
	}
	if regular {
		c.measure(now)
		if c.quiet(now) {
			c.shard.coolLocked(c)
			return true
		}
	}
	f.agenda.plan(c, f.next, now)
	return false
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
	waiting := f.gaining[:0]
	for _, c := range f.gaining {
		c.shard.mu.Lock()
		if !c.gone && len(c.gains) > 0 {
			c.draw(now)
		}
		if !c.gone && len(c.gains) > 0 {
			waiting = append(waiting, c)
			if f.gainAt == 0 || c.gains[0].from < f.gainAt {
				f.gainAt = c.gains[0].from
			}
		}
		c.shard.mu.Unlock()
	}
	clear(f.gaining[len(waiting):])
	f.gaining = waiting
}
