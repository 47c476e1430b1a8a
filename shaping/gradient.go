package shaping

import (
	"math"
	"time"

	"weir/internal/mono"
)

// gradient finds the limit by comparing throughput at two levels of it, and keeps it honest with a baseline of latency.
//
// The limit alternates between low, the estimate itself (knee, the concurrency from where on requests queue in the upstream), and
// high, gain x knee + room. One round is measured at each, after waiting until what was admitted before has left. By Little's law
// throughput X is in flight N / latency R, so a pair of rounds gives
//
//	pull   = X high / X low = (N high / N low) x (R low / R high)    1: low is enough; N high / N low: high is not enough either
//	shrink = baseline / R low, at most 1, at least N low / N high    what the latency thinks of low
//	knee  <- N low x pull x shrink
//
// The knee grows as far as more in flight really gives more answers, and not beyond what latency justifies. The floor of shrink
// lets throughput veto latency: with an upstream that just became slower pull x shrink is 1, and the limit stays, instead of
// collapsing with baseline / R as in Netflix's Gradient and Envoy's controller. In Gradient 2 the baseline follows a bloated
// latency; here it may rise only as far as pull says that low does not queue (elasticity, 0 to 1), and in the long run (anchor)
// by riseRate at most. To find a baseline that is too high, the knee tries a little less now and then; it comes back at once if
// answers were lost. The live traffic never sees less than low; there is no minimum to measure at. The first comparison
// is between Initial and twice as many, upwards: what was given is not taken away to learn.
//
// Good for an upstream with a bounded capacity whose latency grows when it is exceeded, of any size and speed, noisy or not.
//
// Where it fails. Several gateways before one upstream: more in flight gains one of them a share from the others, which looks like
// capacity, and only the baseline holds against that. In steady overload two or three together settle at 3 to 15 times what they
// need, if all began in it; of five or more the limits grow, by 1 to 2 % a second with ten, up to Max: set it. An upstream already
// overloaded by others at the start gives a baseline that is too high until the first quiet moment. After a lasting rise of latency beyond a
// third, about a tenth of the throughput is lost until the baseline is there, at 2 % a second. With service times of a coefficient
// of variation around 1 and fewer than 20 workers, the limit can be off by half for a hundred round trips, above all at the start.
// If the seat is held long after the head of the answer, the low level is up to a fifth too small. Below some 10 in flight a trial
// costs its one seat for a round, once in 64 pairs of rounds.
//
// Sources: Vegas (Brakmo, O'Malley, Peterson, SIGCOMM 1994), BBR (Cardwell et al., ACM Queue 2016) for delivery rate x base latency,
// Netflix concurrency-limits, and Uber's Cinnamon for asking throughput before believing latency.
type gradient struct {
	bounds
	limit int
	knee  float64

	low     bool // level of the round
	settle  int  // answers to leave out yet: they were admitted before the limit changed
	round   round
	high    measure   // the last round at the high level, if low
	paired  mono.Time // when the last pair ended
	backoff int       // answers until the next Drop may count
	before  float64   // the knee before the first Drop since all was well; 0: there was none
	calm    int       // answers in a row, since, that were as fast as ever

	baseline   float64 // ns: latency without a queue
	anchor     float64 // ns: the baseline in the long run
	early      int     // answers, of the first few, that made the first baseline
	least      float64 // ns: the smallest low round so far
	elasticity float64 // of throughput by the limit, smoothed
	lasting    float64 // the same over a longer time

	fresh      bool // the limit has not bound yet, and is the one to begin with
	starting   bool // little is known: the anchor follows the baseline freely
	descending bool // from the start until throughput was lost: every pair is a trial
	searching  bool // doubles instead of growing by gain
	streak     int  // pairs in a row that went up (positive) or down
	patience   int  // factor of a round's length: more while the knee does not move
	begun      int  // pairs so far, while starting
	pairs      int  // since the last trial that failed
	trialEvery int
}

// The constants of gradient. Time is counted in answers and pairs of rounds as far as possible, so that they fit any latency. They
// were tuned in the simulation of estimate_sim_test.go.
const (
	// The levels and what they are compared by.
	gain      = 1.25 // high / low. More: a clearer difference, and more queueing in the upstream
	room      = 1    // seats more at the high level: keeps them apart when they are few
	tolerance = 1.15 // of latency above the baseline before it counts. Less is tighter, and loses throughput to noise
	spread    = 1.5  // high / low from where on it adds no certainty
	veto      = 0.85 // of throughput against latency. 1: a limit that is too small stays so as long as the baseline is

	// Rounds.
	shortRound  = 24                    // answers at least, to average over
	startRound  = 40                    // at the start: a first step the wrong way takes long to make good
	shortTime   = 10 * time.Millisecond // at least, to average over pauses of a scheduler
	longRound   = 64                    // times its answers, and it ends before shortTime
	maxPatience = 4                     // times its answers while the knee does not move
	fullShare   = 0.8                   // of its answers must have found no seat free for the limit to be what binds

	// The knee.
	stride      = 0.25 // share of the way to its aim that a pair goes
	longStride  = 0.5  // if the last pair went the same way
	loss        = 0.15 // of throughput at the low level: it is lost. With more in flight less, down to a third
	queueing    = 1.5  // times the baseline: a search ends
	roundUp     = 0.7  // of a seat is enough for the low level to have it
	multiplier  = 0.9  // of the knee is left after a Drop
	calmAnswers = 8    // without a Drop, and trouble is over

	// Trials.
	descent   = 0.25 // is taken away at the start, in every pair
	unsettled = 0.4  // elasticity that ends the descent
	trial     = 0.05 // is taken away later, but nearly one seat at least
	maxTrials = 64   // pairs between trials

	// The baseline.
	earlyAnswers = 16   // make the first one: they found the upstream idle, if any did
	startPairs   = 8    // at least until the start is over
	learnFast    = 0.5  // weight of a pair in the baseline at the start
	learn        = 0.3  // later, and in elasticity
	learnSlowly  = 0.05 // in lasting
	slack        = 1.25 // times its anchor at most
	plunge       = 1.5  // the anchor is at most this many times the baseline
	riseRate     = 0.06 // 1/s: the fastest change of the anchor
	sure         = 0.75 // lasting elasticity from where on the anchor rises. Among n equal gateways it seems to be 1 - 1/n
)

// round adds up the answers of the current round.
type round struct {
	answers int
	full    int // of them, when no seat was free
	rtt     float64
	used    float64
	start   mono.Time
}

// measure is the mean of a round.
type measure struct {
	rtt  float64 // ns
	used float64 // seats
}

func newGradient(b bounds, initial int) *gradient {
	g := &gradient{bounds: b, starting: true, descending: true, searching: true, patience: 1, trialEvery: 8}
	g.knee = g.within(float64(initial))
	g.begin(initial)
	g.limit, g.fresh = initial, true
	return g
}

func (g *gradient) Limit() int { return g.limit }

// Reshape keeps what was learnt as far as it lies within the bounds.
func (g *gradient) Reshape(min, max int) error {
	b, err := newBounds(min, max)
	if err != nil {
		return err
	}
	g.bounds = b
	g.knee = b.within(g.knee)
	g.limit = g.level()
	return nil
}

// level is the limit for the round.
func (g *gradient) level() int {
	switch {
	case g.low:
		return int(g.within(math.Floor(g.knee + roundUp)))
	case g.searching:
		return int(g.within(math.Ceil(2*g.knee + room)))
	}
	return int(g.within(math.Ceil(gain*g.knee + room)))
}

// begin starts a round with inFlight still there from the last one. Those leave first, and then as many answers are left out as
// are in flight now: the upstream does not answer in the order of arrival.
func (g *gradient) begin(inFlight int) {
	if !g.fresh {
		g.limit = g.level()
	}
	g.settle = min(inFlight, 2*g.max) + g.limit
	g.round = round{}
}

// Observe takes about 20 ns on average and does not allocate.
func (g *gradient) Observe(o Observation) int {
	if o.Sample == Ignore {
		return g.limit
	}
	if g.backoff > 0 {
		g.backoff--
	}
	if o.Sample == Drop {
		g.drop(o.InFlight)
		return g.limit
	}
	if g.before > 0 && g.recover(float64(o.RTT)) {
		g.low = false
		g.begin(o.InFlight)
		return g.limit
	}
	if g.early < earlyAnswers {
		g.early++
		g.baseline += (max(1, float64(o.RTT)) - g.baseline) / float64(g.early)
		g.anchor = g.baseline
	}
	if g.settle > 0 {
		g.settle--
		return g.limit
	}
	r := &g.round
	if r.answers == 0 {
		r.start = o.Now
	}
	r.answers++
	r.rtt += max(1, float64(o.RTT))
	r.used += float64(max(1, o.InFlight))
	if o.InFlight >= g.limit {
		r.full++
	}
	enough := max(shortRound, g.limit) * g.patience
	if g.starting {
		enough = max(startRound, g.limit)
	}
	if r.answers >= enough && (g.searching || o.Now.Sub(r.start) >= shortTime || r.answers >= longRound*enough) {
		g.end(o)
	}
	return g.limit
}

// drop takes a tenth away, once per round trip: until as much as is now in flight has ended. So does a lone fault in light load;
// what is then too little grows back as soon as it binds.
func (g *gradient) drop(inFlight int) {
	g.calm = 0
	if g.backoff > 0 {
		return
	}
	if g.before == 0 {
		g.before = g.knee
	}
	g.backoff = min(max(inFlight, 1), 2*g.max)
	if g.searching && !g.low {
		g.knee = (float64(g.limit) - room) / gain // the same limit without the search
	}
	g.searching, g.fresh = false, false
	g.knee = g.within(g.knee * multiplier)
	g.limit = g.level()
}

// end evaluates a round and begins the next. The limit stays high until it binds: then the low level is due.
func (g *gradient) end(o Observation) {
	n := float64(g.round.answers)
	m := measure{g.round.rtt / n, g.round.used / n}
	binds := float64(g.round.full) >= fullShare*n
	if g.fresh && binds {
		g.fresh = false
		g.begin(o.InFlight)
		return
	}
	switch {
	case binds && g.low:
		g.compare(g.high, m, o.Now)
	case binds:
		g.high = m
	case m.used < g.knee/2:
		g.rebase(m.rtt, 1, 1, o.Now) // so few do not queue
	default:
		g.rebase(m.rtt, 0, 0, o.Now)
	}
	g.low = binds && !g.low
	g.begin(o.InFlight)
}
