package shaping

import (
	"container/heap"
	"math/rand/v2"
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
	stamp  uint64 // answers given to those who waited, when last looked
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
	asked   int
	served  int
	clients int     // as many at once, each asking again as soon as it is answered; or
	rate    float64 // requests a second at random, whatever the answers
}

// serve runs tenants against the bench for so long, each request taking about service.
func (b *bench) serve(tenants []*tenant, service, length time.Duration) {
	r := rand.New(rand.NewPCG(1, 2))
	end := b.now.Add(length)
	for _, n := range tenants {
		var ask func()
		done := func(q *guest) {
			again := b.now.Add(time.Duration(r.Int64N(int64(service))))
			if q.answer == OK {
				n.served++
				again = b.now.Add(service/2 + time.Duration(r.Int64N(int64(service))))
				b.at(again, func() { b.leaves(q) })
			}
			if n.rate == 0 {
				b.at(again, ask)
			}
		}
		ask = func() {
			n.asked++
			if n.rate > 0 {
				b.at(b.now.Add(time.Duration(r.ExpFloat64()/n.rate*1e9)), ask)
			}
			b.askThen(Ask{Class: n.class, Due: mono.Never}, done)
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
