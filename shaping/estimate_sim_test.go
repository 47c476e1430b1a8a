package shaping

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"weir/internal/mono"
)

// simUpstream is what a simulation's requests are sent to. It answers after it has worked for the request, and network more. Fields
// that are functions of time vary during the run; nil is constant.
type simUpstream struct {
	workers  int
	capacity func(mono.Time) int // workers at that time, instead
	sharing  bool                // processor sharing instead of a queue
	service  func(*simRandom) time.Duration
	slowness func(mono.Time) float64 // service times are multiplied by it
	network  time.Duration
	pause    time.Duration // of all work, every period
	period   time.Duration
	failing  func(mono.Time) bool // every answer is a Drop
	full     int                  // more requests than that at once are refused with a Drop; 0 is no such bound
}

func constant(d time.Duration) func(*simRandom) time.Duration {
	return func(*simRandom) time.Duration { return d }
}

func exponential(mean time.Duration) func(*simRandom) time.Duration {
	return func(r *simRandom) time.Duration { return time.Duration(r.ExpFloat64() * float64(mean)) }
}

// lognormal has a coefficient of variation of 1.3 with sigma 1, and 7.3 with sigma 2.
func lognormal(mean time.Duration, sigma float64) func(*simRandom) time.Duration {
	return func(r *simRandom) time.Duration {
		return time.Duration(math.Exp(r.NormFloat64()*sigma-sigma*sigma/2) * float64(mean))
	}
}

// pareto has the shape 2.1: a finite variance, barely.
func pareto(mean time.Duration) func(*simRandom) time.Duration {
	const shape = 2.1
	return func(r *simRandom) time.Duration {
		return time.Duration(float64(mean) * (shape - 1) / shape * math.Pow(1-r.Float64(), -1/shape))
	}
}

type simRandom = rand.Rand

func newSimRandom(seed uint64) *simRandom { return rand.New(rand.NewPCG(seed, 7)) }

type simJob struct {
	gate    *simGate
	entered mono.Time // at the upstream
	work    float64   // ns; negative: done
	dropped bool
}

type simEvent struct {
	at  float64
	job *simJob // nil: an arrival
}

// simEvents is a binary heap: container/heap takes twice the time of everything else.
type simEvents []simEvent

func (h *simEvents) push(e simEvent) {
	*h = append(*h, e)
	q := *h
	for i := len(q) - 1; i > 0 && e.at < q[(i-1)/2].at; i = (i - 1) / 2 {
		q[i], q[(i-1)/2] = q[(i-1)/2], e
	}
}

func (h *simEvents) pop() simEvent {
	q := *h
	first, last := q[0], len(q)-1
	e := q[last]
	q, *h = q[:last], q[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child+1 < last && q[child+1].at < q[child].at {
			child++
		}
		if child >= last || e.at <= q[child].at {
			if last > 0 {
				q[i] = e
			}
			return first
		}
		q[i], i = q[child], child
	}
}

// simulation is a closed loop in virtual time: Poisson arrivals, a gate with a bounded queue, its estimator, and an upstream.
type simulation struct {
	up       simUpstream
	gates    []*simGate
	arrivals func(mono.Time) float64 // requests a second in all
	random   *simRandom
	now      mono.Time

	calendar simEvents // arrivals, answers, and ends of work of a worker of its own
	shared   simEvents // work in progress when sharing: at is the attained service at which it is done
	attained float64   // by each job being worked on, ns
	line     []*simJob // waits for a worker
	busy     int       // workers
	spare    []*simJob

	tick  time.Duration // length of a simWindow
	ticks []simWindow
}

// simGate is one gateway's gate.
type simGate struct {
	estimator Estimator
	queue     int // waiting
	bound     int // of the queue
	inFlight  int
}

// simWindow is what happened in one tick.
type simWindow struct {
	work      float64 // worker-seconds used
	capacity  float64 // worker-seconds there were
	inFlight  float64 // mean
	limit     float64 // mean, of all gates
	refused   int
	completed int
	dropped   int
	rtts      []time.Duration
}

func newSimulation(up simUpstream, load float64, e ...Estimator) *simulation {
	s := &simulation{up: up, random: newSimRandom(1), tick: 100 * time.Millisecond}
	s.arrivals = func(mono.Time) float64 { return load }
	for _, e := range e {
		s.gates = append(s.gates, &simGate{estimator: e, bound: 1000})
	}
	return s
}

func (s *simulation) workers() int {
	if s.up.capacity != nil {
		return s.up.capacity(s.now)
	}
	return s.up.workers
}

func (s *simulation) workRate() float64 {
	return min(1, float64(s.workers())/float64(max(1, len(s.shared))))
}

// run goes on for d and returns the windows of that time.
func (s *simulation) run(d time.Duration) []simWindow {
	end, first := s.now.Add(d), len(s.ticks)
	s.ticks = append(s.ticks, simWindow{})
	if len(s.calendar) == 0 {
		s.calendar.push(simEvent{at: float64(s.now)})
	}
	for {
		at, shared := s.next()
		for s.now+mono.Time(s.tick) <= end && at >= float64(s.tickEnd()) {
			s.advance(s.tickEnd())
			if s.now >= end {
				return s.ticks[first:]
			}
			s.ticks = append(s.ticks, simWindow{})
		}
		if at >= float64(end) {
			s.advance(end)
			return s.ticks[first:]
		}
		s.advance(max(s.now, mono.Time(at)))
		if shared {
			s.answer(s.shared.pop().job)
		} else {
			s.happen(s.calendar.pop())
		}
	}
}

func (s *simulation) tickEnd() mono.Time {
	return (s.now/mono.Time(s.tick) + 1) * mono.Time(s.tick)
}

// next is the time of the next simEvent, and whether it is the end of a shared job's work.
func (s *simulation) next() (at float64, shared bool) {
	at = s.calendar[0].at
	if len(s.shared) > 0 {
		if t := float64(s.now) + (s.shared[0].at-s.attained)/s.workRate(); t < at {
			return t, true
		}
	}
	return at, false
}

func (s *simulation) advance(to mono.Time) {
	w, d := &s.ticks[len(s.ticks)-1], float64(to-s.now)
	c := s.workers()
	if s.up.sharing {
		s.attained += d * s.workRate()
		w.work += d * float64(min(c, len(s.shared)))
	} else {
		w.work += d * float64(min(c, s.busy))
	}
	w.capacity += d * float64(c)
	for _, g := range s.gates {
		w.inFlight += d * float64(g.inFlight) / float64(s.tick)
		w.limit += d * float64(g.estimator.Limit()) / float64(s.tick)
	}
	s.now = to
}

func (s *simulation) happen(e simEvent) {
	switch j := e.job; {
	case j == nil:
		rate := s.arrivals(s.now)
		if rate <= 0 { // look again later
			s.calendar.push(simEvent{at: e.at + 1e7})
			return
		}
		s.calendar.push(simEvent{at: e.at + s.random.ExpFloat64()*1e9/rate})
		s.arrive(s.gates[s.random.IntN(len(s.gates))])
	case j.work < 0: // the answer has come
		s.done(j)
	default:
		s.busy--
		s.answer(j)
		s.work()
	}
}

func (s *simulation) arrive(g *simGate) {
	switch {
	case g.queue == 0 && g.inFlight < g.estimator.Limit():
		s.send(g)
	case g.queue < g.bound:
		g.queue++
	default:
		s.ticks[len(s.ticks)-1].refused++
	}
}

func (s *simulation) send(g *simGate) {
	g.inFlight++
	j := &simJob{}
	if n := len(s.spare); n > 0 {
		j, s.spare = s.spare[n-1], s.spare[:n-1]
	}
	slowness := 1.0
	if s.up.slowness != nil {
		slowness = s.up.slowness(s.now)
	}
	*j = simJob{gate: g, entered: s.now, work: slowness * float64(s.up.service(s.random))}
	switch {
	case s.up.full > 0 && len(s.line)+s.busy+len(s.shared) >= s.up.full:
		j.dropped = true
		s.answer(j)
	case s.up.sharing:
		s.shared.push(simEvent{s.attained + j.work, j})
	default:
		s.line = append(s.line, j)
		s.work()
	}
}

// work gives idle workers something to do.
func (s *simulation) work() {
	for len(s.line) > 0 && s.busy < s.workers() {
		j := s.line[0]
		s.line = s.line[1:]
		s.busy++
		s.calendar.push(simEvent{s.finish(j.work), j})
	}
}

// finish is when work begun now is done.
func (s *simulation) finish(work float64) float64 {
	if s.up.pause == 0 {
		return float64(s.now) + work
	}
	period, pause := float64(s.up.period), float64(s.up.pause)
	into := math.Mod(float64(s.now), period) // pauses stand at the beginning of a period
	start := float64(s.now) - into
	done := max(0, into-pause) + work
	return start + math.Floor(done/(period-pause))*period + pause + math.Mod(done, period-pause)
}

func (s *simulation) answer(j *simJob) {
	j.work = -1
	if s.up.network == 0 {
		s.done(j)
		return
	}
	s.calendar.push(simEvent{float64(s.now) + float64(s.up.network), j})
}

func (s *simulation) done(j *simJob) {
	g, w := j.gate, &s.ticks[len(s.ticks)-1]
	o := Observation{RTT: s.now.Sub(j.entered), InFlight: g.inFlight, Now: s.now}
	if j.dropped || s.up.failing != nil && s.up.failing(s.now) {
		o.Sample = Drop
		w.dropped++
	} else {
		w.completed++
		w.rtts = append(w.rtts, o.RTT)
	}
	s.spare = append(s.spare, j)
	g.inFlight--
	g.estimator.Observe(o)
	for g.queue > 0 && g.inFlight < g.estimator.Limit() {
		g.queue--
		s.send(g)
	}
}

// totalOf adds up windows; rtts are sorted.
func totalOf(ws []simWindow) simWindow {
	var t simWindow
	for _, w := range ws {
		t.work += w.work
		t.capacity += w.capacity
		t.inFlight += w.inFlight / float64(len(ws))
		t.limit += w.limit / float64(len(ws))
		t.refused += w.refused
		t.completed += w.completed
		t.dropped += w.dropped
		t.rtts = append(t.rtts, w.rtts...)
	}
	slices.Sort(t.rtts)
	return t
}

func (w simWindow) goodput() float64 { return w.work / w.capacity }

func (w simWindow) quantile(q float64) time.Duration {
	if len(w.rtts) == 0 {
		return 0
	}
	return w.rtts[min(len(w.rtts)-1, int(q*float64(len(w.rtts))))]
}

// simRun is a simulation of one gateway: what happens in lasts, after warm.
type simRun struct {
	up          simUpstream
	load        float64 // requests a second
	config      EstimatorConfig
	warm, lasts time.Duration
	tick        time.Duration // 0: 100 ms
	seed        uint64
}

func (r simRun) windows(t *testing.T) []simWindow {
	t.Helper()
	if estimateRace {
		t.Skip("one goroutine, and slow")
	}
	if r.config == (EstimatorConfig{}) {
		r.config.Min = 1
	}
	s := newSimulation(r.up, r.load, mustEstimator(t, r.config))
	s.random = newSimRandom(r.seed)
	if r.tick > 0 {
		s.tick = r.tick
	}
	s.run(r.warm)
	return s.run(r.lasts)
}

// seeds are the windows of n runs that differ in what is random.
func (r simRun) seeds(t *testing.T, n int) (ws []simWindow) {
	t.Helper()
	for i := range n {
		one := r
		one.seed += uint64(i)
		ws = append(ws, one.windows(t)...)
	}
	return ws
}
