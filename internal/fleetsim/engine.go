package fleetsim

import (
	"container/heap"
	"math/rand"
	"slices"
)

// member is a node with what the simulator knows of it.
type member struct {
	node        Node
	waker       Waker // nil: it has no wishes
	up          bool
	incarnation uint32
	offset      Time // of its clock
	drift       float64
	every       Time
	nextTick    Time
	ticks       int    // scheduled so far; all but the last are void
	alive       []bool // its view of the others
	view        int    // version of that
	held        [2]map[uint64]int
}

// Whose seats they are: those really in use, and those of the ideal.
const (
	actual = iota
	ideal
)

func (m *member) local(t Time) Time  { return t + m.offset + Time(float64(t)*m.drift) }
func (m *member) global(l Time) Time { return Time(float64(l-m.offset) / (1 + m.drift)) }

type engine struct {
	*Scenario
	factory Factory
	limit   Limit
	queue   queue
	events  int64 // scheduled so far
	now     Time
	nodes   []*member
	loads   []float64
	cut     [][]bool // [from][to]: messages are lost
	views   int      // versions of the membership so far
	rec     *recorder

	// One source of chance for each concern, so that what a node sends does not change what it is asked.
	arrivals, service, net, misc *rand.Rand
	zipf                         *rand.Zipf
}

// Run runs a scenario.
func Run(sc *Scenario, f Factory, seed int64) Metrics {
	source := func(x int64) *rand.Rand { return rand.New(rand.NewSource(seed ^ x)) }
	e := &engine{
		Scenario: sc, factory: f, limit: sc.Limit(), loads: make([]float64, sc.N),
		arrivals: source(0), service: source(0x5eed5), net: source(0x5eed), misc: source(0x777),
	}
	if sc.Keys > 1 {
		e.zipf = rand.NewZipf(e.arrivals, sc.Zipf, 1, uint64(sc.Keys-1))
	}
	e.rec = newRecorder(sc)
	e.startAll()
	for _, ev := range sc.Events {
		e.at(ev.At, func() { e.happen(ev) })
	}
	e.nextArrival()
	for len(e.queue) > 0 {
		ev := heap.Pop(&e.queue).(event)
		if ev.t > sc.Duration {
			break
		}
		e.now = ev.t
		ev.do()
	}
	return e.rec.metrics()
}

// at schedules what is to be done at t.
func (e *engine) at(t Time, do func()) {
	e.events++
	heap.Push(&e.queue, event{t, e.events, do})
}

func (e *engine) startAll() {
	var alive []int
	for i := range e.N {
		e.cut = append(e.cut, make([]bool, e.N))
		if !slices.Contains(e.Down, i) {
			alive = append(alive, i)
		}
	}
	for i := range e.N {
		// Ten days, so that no clock reads less than 0. A whole number of most windows.
		m := &member{offset: 864_000 * Second, alive: make([]bool, e.N)}
		if e.Skew > 0 {
			m.offset += Time((e.misc.Float64()*2 - 1) * float64(e.Skew))
		}
		m.drift = (e.misc.Float64()*2 - 1) * e.Drift * 1e-6
		e.nodes = append(e.nodes, m)
		if slices.Contains(alive, i) {
			e.start(i, alive, true)
		}
	}
}

func (e *engine) start(i int, alive []int, fresh bool) {
	m := e.nodes[i]
	m.up = true
	m.incarnation++
	m.view = e.views
	m.held = [2]map[uint64]int{{}, {}}
	m.node = e.factory(Env{
		ID: i, Incarnation: m.incarnation, Alive: append([]int(nil), alive...), Fresh: fresh,
		Limit: e.limit, Delta: e.Delta, Delay: e.Delay, Now: m.local(e.now),
		Rand: rand.New(rand.NewSource(e.misc.Int63())),
	})
	m.waker, _ = m.node.(Waker)
	m.every = e.Delta
	if t, ok := m.node.(Ticker); ok {
		m.every = t.TickEvery()
	}
	e.setMembers(m, append([]int(nil), alive...), nil)
	e.tickAt(i, e.now+Time(e.misc.Float64()*float64(m.every)))
}

// stop ends a node and all that goes on there.
func (e *engine) stop(i int) {
	m := e.nodes[i]
	m.up = false
	for whose, held := range m.held {
		for key, n := range held {
			e.rec.release(whose, key, n)
		}
	}
}

// nextArrival schedules the next request: Poisson, by thinning a process of rate MaxLoad.
func (e *engine) nextArrival() {
	for t := e.now; ; {
		t += Time(e.arrivals.ExpFloat64() / e.MaxLoad * 1e9)
		if t > e.Duration {
			return
		}
		sum := 0.0
		for i := range e.loads {
			e.loads[i] = e.Load(seconds(t), i)
			sum += e.loads[i]
		}
		u := e.arrivals.Float64() * e.MaxLoad
		if u >= sum {
			continue
		}
		node := 0
		for node < e.N-1 && u >= e.loads[node] {
			u -= e.loads[node]
			node++
		}
		key, n := uint64(1), 1
		if e.zipf != nil {
			key += e.zipf.Uint64()
		}
		if e.Sticky {
			node = int((key * 0x9E3779B97F4A7C15) >> 33 % uint64(e.N))
		}
		if e.MaxCost > 1 {
			n += e.arrivals.Intn(e.MaxCost)
		}
		e.at(t, func() { e.nextArrival(); e.request(node, key, n) })
		return
	}
}

func (e *engine) request(i int, key uint64, n int) {
	m := e.nodes[i]
	if !m.up {
		return
	}
	var hold Time // drawn for every request, so that the ideal holds it as long as the node does
	if e.limit.Kind == Concurrency {
		hold = Time(e.service.ExpFloat64() * float64(e.Service))
	}
	if e.rec.offer(e.now, i, key, n) {
		e.hold(i, ideal, key, n, hold)
	}
	if m.node.Allow(m.local(e.now), key, n) {
		e.rec.admit(e.now, i, key, n)
		e.hold(i, actual, key, n, hold)
	}
	e.poll(i)
}

// hold keeps seats for a while.
func (e *engine) hold(i, whose int, key uint64, n int, d Time) {
	if e.limit.Kind != Concurrency {
		return
	}
	m := e.nodes[i]
	life := m.incarnation
	m.held[whose][key] += n
	e.at(e.now+d, func() {
		if !m.up || m.incarnation != life {
			return // given back when the node stopped
		}
		m.held[whose][key] -= n
		e.rec.release(whose, key, n)
		if f, ok := m.node.(Finisher); ok && whose == actual {
			f.Done(m.local(e.now), key, n)
			e.poll(i)
		}
	})
}

func (e *engine) tickAt(i int, t Time) {
	m := e.nodes[i]
	m.ticks++
	m.nextTick = t
	due := m.ticks
	e.at(t, func() {
		if !m.up || m.ticks != due {
			return
		}
		e.send(i, m.node.Tick(m.local(e.now)))
		e.tickAt(i, e.now+Time(float64(m.every)*(0.9+0.2*e.misc.Float64())))
		e.poll(i)
	})
}

// poll asks a node when it wants to be woken.
func (e *engine) poll(i int) {
	m := e.nodes[i]
	if m.waker == nil {
		return
	}
	if w := m.waker.WakeAt(); w != 0 {
		if t := max(m.global(w), e.now+20*Microsecond); t < m.nextTick {
			e.tickAt(i, t)
		}
	}
}

// queue is a heap of events by time; of those of the same instant the first in is the first out.
type queue []event

type event struct {
	t, seq int64
	do     func()
}

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q queue) Less(i, j int) bool {
	return q[i].t < q[j].t || q[i].t == q[j].t && q[i].seq < q[j].seq
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	ev := (*q)[last]
	(*q)[last] = event{}
	*q = (*q)[:last]
	return ev
}
