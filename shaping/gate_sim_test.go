package shaping

import (
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"weir/internal/mono"
)

// bench is a gate in simulated time, without goroutines: who waits does so in a list, and events happen in their order.
type bench struct {
	g      *Gate
	now    mono.Time
	seated []*guest // who has a seat, in the order in which they got it
	queued []*guest
	events events
	spread float64 // of service times: 0.2 is ± 20 %; 0 is ± 50 %
	seed   uint64  // of arrivals and service times
	stamp  uint64  // answers given to those who waited, when last looked
}

// guest is a request at the bench.
type guest struct {
	ask     Ask
	seat    Seat
	w       *waiter
	arrived mono.Time
	seated  mono.Time
	answer  Refusal
	done    func(*guest) // called when it has its answer, if not nil
}

type event struct {
	at mono.Time
	do func()
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	x := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return x
}

func newBench(c GateConfig) *bench { return &bench{g: NewGate(c)} }

// at has do happen at an instant.
func (b *bench) at(t mono.Time, do func()) { heap.Push(&b.events, event{t, do}) }

// run has all happen that does until end.
func (b *bench) run(end mono.Time) {
	for len(b.events) > 0 && b.events[0].at <= end {
		e := heap.Pop(&b.events).(event)
		b.now = e.at
		e.do()
	}
	b.now = end
}

func (b *bench) ask(a Ask) *guest { return b.askThen(a, nil) }

func (b *bench) askThen(a Ask, done func(*guest)) *guest {
	q := &guest{ask: a, arrived: b.now, done: done}
	if b.g.tryEnter() {
		b.answer(q, OK)
		return q
	}
	var r Refusal
	var wait time.Duration
	if q.w, wait, r = b.g.enqueue(&a, b.now); q.w == nil {
		b.answer(q, r)
		return q
	}
	b.queued = append(b.queued, q)
	b.at(b.now.Add(wait), func() {
		if b.g.abandon(q.w, QueueTimeout) {
			q.w.answer <- QueueTimeout
			b.settle()
		}
	})
	b.settle()
	return q
}

// settle hands out the answers that are there.
func (b *bench) settle() {
	refused := &b.g.refused
	stamp := b.g.waited
	for band := range Bands {
		stamp += refused[QueueTimeout][band] + refused[Displaced][band]
	}
	if stamp == b.stamp {
		return
	}
	b.stamp = stamp
	var answered []*guest
	kept := b.queued[:0]
	for _, q := range b.queued {
		if len(q.w.answer) > 0 {
			answered = append(answered, q)
		} else {
			kept = append(kept, q)
		}
	}
	b.queued = kept
	for _, q := range answered {
		b.answer(q, <-q.w.answer)
	}
}

func (b *bench) answer(q *guest, r Refusal) {
	if q.answer = r; r == OK {
		q.seat, q.seated = Seat{b.g}, b.now
		b.seated = append(b.seated, q)
	}
	if q.done != nil {
		q.done(q)
	}
}

// leave has the i-th of those who are seated leave.
func (b *bench) leave(i int) *guest {
	q := b.seated[i]
	b.seated = append(b.seated[:i:i], b.seated[i+1:]...)
	q.seat.Leave(Success, b.now.Sub(q.seated), b.now)
	b.settle()
	return q
}

func (b *bench) leaves(q *guest) {
	for i, s := range b.seated {
		if s == q {
			b.leave(i)
			return
		}
	}
}

func (b *bench) want(t *testing.T, when string, seated, queued int) {
	t.Helper()
	st := b.g.Stats()
	if st.InFlight != seated || st.Waiting != queued || len(b.seated) != seated || len(b.queued) != queued {
		t.Errorf("%s: %d seated, %d queued, and %+v; want %d and %d", when, len(b.seated), len(b.queued), st, seated, queued)
	}
}

// tenant is a flow that keeps asking.
type tenant struct {
	class   Class
	asked   int // and answered
	served  int
	waits   []time.Duration // of those served
	clients int             // as many at once, each asking again as soon as it is answered; or
	rate    float64         // requests a second, whatever the answers
	even    bool            // at even intervals, not at random

	patience time.Duration // of each request; 0: it waits as long as it may
}

// serve runs tenants against the bench for so long, each request taking about service.
func (b *bench) serve(tenants []*tenant, service, length time.Duration) {
	r := rand.New(rand.NewPCG(b.seed+1, 2))
	end := b.now.Add(length)
	spread := cmp.Or(b.spread, 0.5)
	for _, n := range tenants {
		var ask func()
		done := func(q *guest) {
			n.asked++
			again := b.now.Add(time.Duration(r.Int64N(int64(service))))
			if q.answer == OK {
				n.served++
				n.waits = append(n.waits, b.now.Sub(q.arrived))
				again = b.now.Add(time.Duration(float64(service) * (1 - spread + 2*spread*r.Float64())))
				b.at(again, func() { b.leaves(q) })
			}
			if n.rate == 0 {
				b.at(again, ask)
			}
		}
		ask = func() {
			if n.rate > 0 {
				gap := 1.0
				if !n.even {
					gap = r.ExpFloat64()
				}
				b.at(b.now.Add(time.Duration(gap/n.rate*1e9)), ask)
			}
			due := mono.Never
			if n.patience > 0 {
				due = b.now.Add(n.patience)
			}
			b.askThen(Ask{Class: n.class, Due: due}, done)
		}
		for range max(1, n.clients) {
			b.at(b.now.Add(time.Duration(r.Int64N(int64(service)))), ask)
		}
	}
	b.run(end)
}

func jain(x []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, v := range x {
		sum += v
		squares += v * v
	}
	return sum * sum / (float64(len(x)) * squares)
}

func TestTenantsShareAlikeHoweverManyTheyAre(t *testing.T) {
	b := newBench(GateConfig{Limit: 8, MaxLength: 256, MaxWait: time.Second})
	var tenants []*tenant
	for i := range 10 {
		tenants = append(tenants, &tenant{class: Class{Normal, 0, uint64(i)}, clients: 3 * (i + 1)})
	}
	b.serve(tenants, 10*time.Millisecond, 10*time.Second)
	var got []float64
	total := 0.0
	for _, n := range tenants {
		got = append(got, float64(n.served))
		total += float64(n.served)
	}
	if j := jain(got); j < 0.98 || total < 0.97*8*100*10 {
		t.Errorf("Jain %.4f of %v, %v in all", j, got, total)
	}
}

func TestTenantsShareByWeight(t *testing.T) {
	b := newBench(GateConfig{Limit: 8, MaxLength: 256, MaxWait: time.Second})
	tenants := []*tenant{
		{class: Class{Normal, 4, 1}, clients: 60},
		{class: Class{Normal, 2, 2}, clients: 60},
		{class: Class{Normal, 1, 3}, clients: 60},
	}
	b.serve(tenants, 10*time.Millisecond, 10*time.Second)
	total := tenants[0].served + tenants[1].served + tenants[2].served
	for _, n := range tenants {
		want := float64(total) * float64(n.class.Weight) / 7
		if d := float64(n.served)/want - 1; d > 0.02 || d < -0.02 {
			t.Errorf("weight %d: %d served, %+.1f %% of its share", n.class.Weight, n.served, 100*d)
		}
	}
}

// One tenant asks for a hundred times its share, nine for theirs and no more.
func TestFloodLeavesTheOthersAlone(t *testing.T) {
	f := func(length int) {
		t.Helper()
		b := newBench(GateConfig{Limit: 10, MaxLength: length, MaxWait: 500 * time.Millisecond})
		tenants := []*tenant{{class: Class{Normal, 0, 0}, rate: 10_000}}
		for i := range 9 {
			tenants = append(tenants, &tenant{class: Class{Normal, 0, uint64(i + 1)}, rate: 97})
		}
		b.serve(tenants, 10*time.Millisecond, 5*time.Second)
		asked, served := 0, 0
		for _, n := range tenants[1:] {
			asked += n.asked
			served += n.served
			if float64(n.served) < 0.95*float64(n.asked) {
				t.Errorf("queue of %d: %d of %d served", length, n.served, n.asked)
			}
		}
		t.Logf("queue of %d: the nine keep %.2f %%, the flood %d of %d", length, 100*float64(served)/float64(asked), tenants[0].served, tenants[0].asked)
		if total := served + tenants[0].served; total < 4850 {
			t.Errorf("queue of %d: %d served in all, of 5000 there was room for", length, total)
		}
	}
	f(1024)
	f(256)
}

// nine is a run of nine tenants that come at a load of their share, at even intervals or at random, beside a flood of a hundred shares or without it.
type nine struct {
	load  float64
	even  bool
	flood bool
	aging time.Duration
	seed  uint64
}

// wait returns how long those served wait, in order, and how many are not.
func (n nine) wait() (waits []time.Duration, lost int) {
	b := newBench(GateConfig{Limit: 20, MaxLength: 1024, MaxWait: 500 * time.Millisecond, Aging: n.aging})
	b.spread, b.seed = 0.2, n.seed
	const share = 20 / 0.06 / 10
	var tenants []*tenant
	if n.flood {
		tenants = append(tenants, &tenant{class: Class{Normal, 0, 0}, rate: 100 * share})
	}
	for i := range 9 {
		tenants = append(tenants, &tenant{class: Class{Normal, 0, uint64(i + 1)}, rate: n.load * share, even: n.even})
	}
	b.serve(tenants, 60*time.Millisecond, 20*time.Second)
	for _, n := range tenants[len(tenants)-9:] {
		waits = append(waits, n.waits...)
		lost += n.asked - n.served
	}
	slices.Sort(waits)
	return waits, lost
}

// percent is the p-th percentile of what is in order.
func percent(p int, x []time.Duration) time.Duration { return x[len(x)*p/100] }

// TestFloodAges: one tenant asks for a hundred times its share, nine for 0.9 of theirs. Its backlog ages, and that does the nine no harm: they lose
// nothing, and wait as if there were no ageing. Those that come at even intervals wait for one request of each at most, of 3 ms.
func TestFloodAges(t *testing.T) {
	f := func(even bool, p50, p99 time.Duration) {
		t.Helper()
		n := nine{load: 0.9, even: even, flood: true}
		without, _ := n.wait()
		n.aging = 125 * time.Millisecond
		waits, lost := n.wait()
		at := fmt.Sprintf("even %v: the nine wait %v, p99 %v; %d lose", even, percent(50, waits), percent(99, waits), lost)
		t.Log(at)
		if percent(50, waits) > p50 || percent(99, waits) > p99 || lost > 0 || len(waits) < 9*500 {
			t.Error(at)
		}
		if !slices.Equal(waits, without) {
			t.Errorf("even %v: ageing changes how long the nine wait", even)
		}
	}
	f(true, 20*time.Millisecond, 30*time.Millisecond)
	f(false, 20*time.Millisecond, 100*time.Millisecond)
}

// TestClumpsBesideAFlood: those that come at random, now and then several at once, at 0.9 of their share, have the answers they have without the flood
// in twice the time at most, of 60 ms or so and the wait. With no credit they wait for 130 ms (p99); with any, however great, for 75 at least.
func TestClumpsBesideAFlood(t *testing.T) {
	if estimateRace {
		t.Skip("it is long, and alone")
	}
	var all [2][]time.Duration
	lost := 0
	for seed := range uint64(6) {
		for i := range all {
			waits, n := nine{load: 0.9, flood: i == 1, seed: seed}.wait()
			all[i] = append(all[i], waits...)
			lost += n
		}
	}
	var p99 [2]time.Duration
	for i := range all {
		slices.Sort(all[i])
		p99[i] = percent(99, all[i])
	}
	const service = 60 * time.Millisecond
	at := fmt.Sprintf("p99 of the wait %v, with a flood %v; %d of %d lost", p99[0], p99[1], lost, len(all[1]))
	t.Log(at)
	if p99[1] > 100*time.Millisecond || p99[1]+service > 2*(p99[0]+service) || lost > 0 {
		t.Error(at)
	}
}
