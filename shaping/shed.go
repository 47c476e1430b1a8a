package shaping

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/mono"
)

// Shedder refuses requests at random, the more of a band the less it matters, so that the load stays between Threshold and 1: near Threshold when little
// is shed, near 1 when almost all is. Shed may be called by anybody at any time, and so may all else.
//
// # How it works
//
// What is controlled is the share of requests that passes, pass = e^-depth, over the bands that may be shed as they come. Every 100 ms each signal says how
// many times too many requests pass, x, and the worst x counts:
//
//	depth += min(0.6, 3·Rate) · ln x
//
// Multiplying pass by a constant does the same to the load whatever pass is, so one gain holds at 1.1 times and at ten times the capacity. An integral of the
// distance in the probability itself (PIE, RFC 8033) needs a table of gains for that.
//
// For CPU, memory, requests in flight and peers, x is the load over its aim: less work, less load. The aim rises from Threshold to 1 with the share that is
// shed. So a load that does not follow at all, such as memory that is not given back, ends at a share of (load-Threshold)/(1-Threshold).
//
// A queue is another matter: its length is the integral of what is wrong, and an integral of an integral swings. With a slope r in seconds a second, 1+r times
// what can be served is let in; to bring the delay d to its aim a in half a second, 1-(d-a)/0.5 should be. So ln x = ln(1+r) + (d-a)/0.5, and nothing is
// raised below the aim. A queue that stays beyond its limit though more and more is shed closes by growing steps, for a full queue does not say how much more
// would come. What has nothing to do does not say how much more would fit: x is a half, for a queue from the second time on, and
// a quarter after 0.8 s.
//
// From pass follow the bands' odds, min(0.99, q·multiplier), with the one q for which pass of all requests pass. So one in a hundred of each band gets to the
// queue at least, where those that matter more go first, and pass is no less than that. Who comes is known from what was shed of a band
// over the odds of it, so that a request that passes costs no counter.
//
// In simulation (shed_sim_test.go) a server for 1,000 requests a second that is offered 1.1 to 10 times as many does 98 % of what it can and more, with a
// wait of 40 to 60 ms for a limit of 50; it settles in 0.5 to 2.5 s, and shedding ends within 2 s of the overload. At four times the capacity the plain rule, which
// adds Rate·(load-Threshold)/(1-Threshold) to the probability, lets the wait stand at 0.1 to 1 s.
//
// Shedding does not make refusals free. CPU alone has no more than four of five shed: where refusals use it up, a fifth still passes, and what the upstreams
// have no room for the queue refuses.
type Shedder struct {
	odds  [Bands]atomic.Uint32 // of being shed, in 2^-32
	share atomic.Uint64        // Share, as bits
	_     [64]byte             // what all read is not on a cache line with what all write
	shed  [Bands]atomic.Uint64

	mu      sync.Mutex // of all that follows; never taken by Shed
	config  ShedConfig
	started bool
	at      mono.Time
	depth   float64 // -ln of the share that passes
	delay   float64 // of the queue at the last tick, in seconds
	boost   float64 // by what the steps have grown while the queue stays beyond its limit
	idle    float64 // ticks in a row in which there was nothing to do
	mix     [Bands]bandMix
}

// bandMix is what was shed of a band and at what odds, as moving sums over the last ticks: their ratio is how many came a tick.
type bandMix struct {
	counted    uint64 // of Shedder.shed
	shed, odds float64
}

const (
	refusalCost = 0.25 // of what a request costs that is proxied: half of the smallest (docs/bench/h1.md), little of one with a body or TLS to its endpoint
	shedEvery   = 100 * time.Millisecond
	maxOdds     = 0.99      // of being shed: no band is shed whole, and what passes shows what passing does
	gainOfRate  = 3         // in which all of this settles in simulation,
	maxGain     = 0.6       // and beyond which it swings
	settleIn    = 0.5       // seconds in which a queue is to come to its aim
	mixTicks    = 10        // moving sums of bandMix
	mixDoubt    = 3         // requests of a band that should have been shed for its own figures to outweigh the others'
	draining    = 0.05      // seconds a second by which a queue must fall to count as on its way
	leastExcess = -math.Ln2 // ln x of what has nothing to do,
	idleTicks   = 8         // and twice that if for longer: no swing takes so long
)

// cpuDepth is how far CPU alone has requests shed: to where refusing those that are shed, each at refusalCost of a request that passes, costs as much as all
// that pass. Beyond that shedding saves less than it takes from upstreams that have room.
var cpuDepth = math.Log(1 + 1/refusalCost)

// maxDepth is that at which all bands are shed by maxOdds.
var maxDepth = -math.Log1p(-maxOdds)

// NewShedder returns a shedder that sheds nothing yet.
func NewShedder(c ShedConfig) (*Shedder, error) {
	s := &Shedder{boost: 1}
	return s, s.Reshape(c)
}

// Reshape changes the configuration in place; how much is shed in all stays, but for a Rate of 0. It changes nothing on an error.
func (s *Shedder) Reshape(c ShedConfig) error {
	if err := c.Validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = c
	if c.Rate == 0 {
		s.depth = 0
	}
	s.publishLocked()
	return nil
}

// Shed reports whether to refuse a request of this band, and counts it if so; roll is a random number. One atomic load, one atomic add on a refusal, no
// allocation. Critical is never shed.
func (s *Shedder) Shed(b Band, roll uint32) bool {
	if roll >= s.odds[b].Load() {
		return false
	}
	s.shed[b].Add(1)
	return true
}

// Tick takes the load at now into account. It is meant for every 100 ms; after a pause it counts as three ticks at most.
func (s *Shedder) Tick(now mono.Time, l *Load) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ticks := 1.0
	if s.started {
		ticks = min(3, float64(now.Sub(s.at))/float64(shedEvery))
	}
	if ticks <= 0 {
		return
	}
	s.started, s.at = true, now
	s.watchLocked(ticks)
	gain := min(maxGain, gainOfRate*s.config.Rate)
	s.depth = max(0, min(maxDepth, s.depth+gain*ticks*s.excessLocked(l, ticks)))
	s.publishLocked()
}

// excessLocked is ln x of the worst signal.
func (s *Shedder) excessLocked(l *Load, ticks float64) float64 {
	worst, known := math.Inf(-1), false
	aim := s.config.Threshold + (1-s.config.Threshold)*-math.Expm1(-s.depth)
	for i, p := range &l.Parts {
		if !p.On || !p.Known {
			continue
		}
		known = true
		if Signal(i) == QueueDelay {
			worst = max(worst, s.queueLocked(p, aim, ticks))
			continue
		}
		x := min(math.Ln2, max(leastExcess, math.Log(p.Raw/aim))) // the last reading, for the control smooths by itself
		if Signal(i) == CPU {
			x = min(x, cpuDepth-s.depth)
		}
		worst = max(worst, x)
	}
	if !known {
		return -0.3 // blind. Rather too much passes than nothing
	}
	if worst > leastExcess {
		s.idle = 0
		return worst
	}
	if s.idle += ticks; s.idle > idleTicks {
		return 2 * worst
	}
	return worst
}

// queueLocked is ln x of the queue.
func (s *Shedder) queueLocked(p Part, aim, ticks float64) float64 {
	last := s.delay
	slope := (p.Value - last) / (ticks * shedEvery.Seconds())
	s.delay = p.Value
	if p.Load > 1 && slope > -draining {
		s.boost = min(100, s.boost*1.3)
	} else {
		s.boost = 1
	}
	if p.Value == 0 && last == 0 {
		return leastExcess
	} else if p.Value == 0 {
		return leastExcess / 4 // once may be luck
	}
	off := p.Value * (1 - aim/p.Load) / settleIn
	x := math.Log1p(max(-0.5, slope)) + max(-0.5, min(1.5, off*s.boost))
	if off < 0 {
		return min(0, x)
	}
	return x
}

// watchLocked takes into account what was shed since the last tick.
func (s *Shedder) watchLocked(ticks float64) {
	keep := math.Exp(-ticks / mixTicks)
	for b := range s.mix {
		m, n := &s.mix[b], s.shed[b].Load()
		m.shed = m.shed*keep + float64(n-m.counted)
		m.odds = m.odds*keep + ticks*float64(s.odds[b].Load())/math.MaxUint32
		m.counted = n
	}
}

// weightsLocked is how many come of each band that may be shed, up to a factor. Of a band of which little could be shed as many are assumed as of the others.
func (s *Shedder) weightsLocked() (w [Bands]float64) {
	var shed, odds float64
	for _, m := range s.mix {
		shed += m.shed
		odds += m.odds
	}
	usual := 1.0
	if shed > 0 && odds > 0 {
		usual = shed / odds
	}
	for b, m := range s.mix {
		if s.config.Multipliers[b] > 0 {
			w[b] = (m.shed + mixDoubt) / (m.odds + mixDoubt/usual) // the mean of a gamma distribution after the event
		}
	}
	return w
}

// publishLocked sets the odds: it looks for the q at which the share that passes is the one wanted.
func (s *Shedder) publishLocked() {
	pass, w := math.Exp(-s.depth), s.weightsLocked()
	low, high, all := 0.0, 0.0, 0.0
	for b, m := range s.config.Multipliers {
		if m > 0 {
			high, all = max(high, maxOdds/m), all+w[b]
		}
	}
	if pass == 1 {
		high = 0
	}
	for range 50 {
		q, passed := (low+high)/2, 0.0
		for b, m := range s.config.Multipliers {
			passed += w[b] * (1 - min(maxOdds, q*m))
		}
		if passed > pass*all {
			low = q
		} else {
			high = q
		}
	}
	for b, m := range s.config.Multipliers {
		s.odds[b].Store(uint32(min(maxOdds, high*m) * math.MaxUint32))
	}
	s.share.Store(math.Float64bits(1 - pass))
}

// Share is the share that is to be shed of the requests that may be, from 0 to 1.
func (s *Shedder) Share() float64 { return math.Float64frombits(s.share.Load()) }

// maxRetry bounds RetryAfter.
const maxRetry = 30 * time.Second

// RetryAfter is when who is shed had better come back, in whole seconds. A crowd of n that comes back every t seconds offers n/t requests a second: with t = 1 s
// over the share that passes it offers as much less as is let in. Add jitter, or they come back together.
func (s *Shedder) RetryAfter() time.Duration {
	t := math.Ceil(1/max(1e-6, 1-s.Share()) - 1e-9)
	return min(maxRetry, time.Duration(t)*time.Second)
}

// ShedStats is what a shedder does now and has done since NewShedder.
type ShedStats struct {
	Share float64        // see Shedder.Share
	Odds  [Bands]float64 // of being shed, by band
	Shed  [Bands]uint64  // requests
}

// Stats returns figures that belong together but for a tick that comes in between.
func (s *Shedder) Stats() (st ShedStats) {
	st.Share = s.Share()
	for b := range st.Odds {
		st.Odds[b] = float64(s.odds[b].Load()) / math.MaxUint32
		st.Shed[b] = s.shed[b].Load()
	}
	return st
}
