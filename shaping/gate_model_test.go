package shaping

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// request is one that asks for a seat, as gateModel sees it. In each band there is one flow.
type request struct {
	id       int
	band     Band
	deadline time.Duration // while it waits
	seat     Seat
	answer   Refusal
	answered bool
}

// gateModel is the gate with no concurrency: what must have happened when everything has come to rest.
type gateModel struct {
	c       GateConfig
	used    int
	queue   []*request // the order of service
	answers map[int]Refusal
}

func (m *gateModel) limit() int {
	if m.c.Limit == 0 {
		return maxSeats
	}
	return m.c.Limit
}

func (m *gateModel) enter(r *request, due, now time.Duration) {
	wait := min(due-now, m.c.MaxWait)
	switch {
	case len(m.queue) == 0 && m.used < m.limit():
		m.used++
		m.answers[r.id] = OK
		return
	case m.c.MaxLength == 0:
		m.answers[r.id] = QueueFull
		return
	case due <= now:
		m.answers[r.id] = TooLate
		return
	case wait <= 0:
		m.answers[r.id] = QueueTimeout
		return
	}
	if n := len(m.queue); n >= m.c.MaxLength {
		last := m.queue[n-1]
		if last.band <= r.band {
			m.answers[r.id] = QueueFull
			return
		}
		m.answers[last.id] = Displaced
		m.queue = m.queue[:n-1]
	}
	r.deadline = now + wait
	i := len(m.queue)
	for i > 0 && m.queue[i-1].band > r.band {
		i--
	}
	m.queue = append(m.queue[:i:i], append([]*request{r}, m.queue[i:]...)...)
}

func (m *gateModel) grant() {
	for len(m.queue) > 0 && m.used < m.limit() {
		m.answers[m.queue[0].id] = OK
		m.queue = m.queue[1:]
		m.used++
	}
}

func (m *gateModel) expire(now time.Duration) {
	var left []*request
	for _, r := range m.queue {
		if r.deadline <= now {
			m.answers[r.id] = QueueTimeout
		} else {
			left = append(left, r)
		}
	}
	m.queue = left
}

func TestGateIsItsModel(t *testing.T) {
	size := rapid.Custom(func(t *rapid.T) GateConfig {
		return GateConfig{
			Limit:     rapid.IntRange(0, 4).Draw(t, "limit"),
			MaxLength: rapid.IntRange(0, 4).Draw(t, "length"),
			MaxWait:   time.Duration(rapid.IntRange(0, 9).Draw(t, "wait")),
		}
	})
	type op struct {
		kind, n int
		c       GateConfig
	}
	ops := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) op {
		return op{rapid.IntRange(0, 9).Draw(t, "kind"), rapid.IntRange(0, 9).Draw(t, "n"), size.Draw(t, "size")}
	}), 1, 60)
	rapid.Check(t, func(rt *rapid.T) {
		c, todo := size.Draw(rt, "first"), ops.Draw(rt, "ops")
		var fault string
		synctest.Test(t, func(*testing.T) {
			start := time.Now()
			g, m := NewGate(c), &gateModel{c: c, answers: map[int]Refusal{}}
			var all []*request
			for i, o := range todo {
				now := time.Since(start)
				switch {
				case o.kind < 5:
					r, due := &request{id: len(all), band: Band(o.n % 3)}, now+time.Duration(o.n)
					all = append(all, r)
					m.enter(r, due, now)
					go func() {
						r.seat, r.answer = g.Enter(Ask{Class: Class{Band: r.band}, Due: mono.Time(due)}, mono.Time(now))
						r.answered = true
					}()
				case o.kind < 8:
					leaveOne(all, o.n, m, now)
				case o.kind < 9:
					m.c = o.c
					g.Reshape(o.c, mono.Time(now))
					m.grant()
				default:
					time.Sleep(time.Duration(o.n))
					m.expire(time.Since(start))
				}
				synctest.Wait()
				if fault = compareGate(g, m, all); fault != "" {
					fault = fmt.Sprintf("after op %d %+v: %s", i, o, fault)
					break
				}
			}
			time.Sleep(time.Hour) // nobody is left waiting when the bubble ends
		})
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

// leaveOne gives back the n-th seat held, round and round, twice.
func leaveOne(all []*request, n int, m *gateModel, now time.Duration) {
	var held []*request
	for _, r := range all {
		if r.seat.gate != nil {
			held = append(held, r)
		}
	}
	if len(held) == 0 {
		return
	}
	s := &held[n%len(held)].seat
	s.Leave(Success, 0, mono.Time(now))
	s.Leave(Success, 0, mono.Time(now))
	m.used--
	m.grant()
}

func compareGate(g *Gate, m *gateModel, all []*request) string {
	var refused [Refusals][Bands]uint64
	for _, r := range all {
		want, answered := m.answers[r.id]
		if r.answered != answered || r.answer != want {
			return fmt.Sprintf("request %d: answered %v with %v, want %v with %v", r.id, r.answered, r.answer, answered, want)
		}
		if want != OK {
			refused[want][r.band]++
		}
	}
	var byBand [Bands]int
	for _, r := range m.queue {
		byBand[r.band]++
	}
	st := g.Stats()
	if st.InFlight != m.used || st.Waiting != len(m.queue) || st.HardLimit != m.c.Limit || st.Limit != m.c.Limit {
		return fmt.Sprintf("%+v, want %d in flight and %d waiting", st, m.used, len(m.queue))
	}
	if st.Refused != refused || st.Depth != byBand {
		return fmt.Sprintf("%+v, want %v refused and %v waiting", st, refused, byBand)
	}
	if waits := word(g.word.Load())&waiting != 0; waits != (len(m.queue) > 0) {
		return fmt.Sprintf("%d wait, and the word says %v", len(m.queue), waits)
	}
	return ""
}

// Many goroutines of all bands and flows enter and leave while the gate changes its size and the estimator its mind. Nobody may
// hang: in the bubble an hour passes if all do, and then the wait ends with a refusal. Seats in use never exceed the largest limit
// there was.
func TestStress(t *testing.T) {
	const workers, rounds, largest = 16, 1500, 5
	synctest.Test(t, func(t *testing.T) {
		conf := func(i int) GateConfig {
			return GateConfig{Limit: 1 + i%largest, Estimator: fickle{}, MaxLength: workers, MaxWait: time.Hour, Aging: time.Microsecond}
		}
		g := NewGate(conf(largest - 1))
		var inside, most, entered atomic.Int64
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() {
				for n := range rounds {
					ask := Ask{Class: Class{Band(n % Bands), uint16(i), uint64(i)}, Due: mono.Never}
					s, r := g.Enter(ask, mono.Time(n))
					if r != OK {
						t.Errorf("refusal %v", r)
						return
					}
					in := inside.Add(1)
					for old := most.Load(); in > old && !most.CompareAndSwap(old, in); old = most.Load() {
					}
					entered.Add(1)
					runtime.Gosched()
					inside.Add(-1)
					s.Leave(Sample(n%3), time.Duration(n), mono.Time(n))
				}
			})
		}
		for i := range rounds {
			runtime.Gosched()
			g.Reshape(conf(i), mono.Time(i))
			g.Peek(Class{}, mono.Time(i))
			g.Delay(mono.Time(i))
		}
		wg.Wait()
		st := g.Stats()
		if most.Load() > largest || st.Waited == 0 {
			t.Errorf("%d seats in use, %d waited", most.Load(), st.Waited)
		}
		if st.InFlight != 0 || st.Waiting != 0 || entered.Load() != workers*rounds {
			t.Errorf("%+v after %d of %d", st, entered.Load(), workers*rounds)
		}
	})
}

// fickle is an estimator with an opinion about nothing.
type fickle struct{}

func (fickle) Observe(o Observation) int { return 1 + int(o.RTT)%7 }
func (fickle) Limit() int                { return 3 }

// The same with requests that give up, are displaced or lose their clients at any moment: every one has one answer, and in the end
// every seat is back.
func TestStressOfGivingUp(t *testing.T) {
	const workers, rounds = 32, 400
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		now := func() mono.Time { return mono.Time(time.Since(start)) }
		g := NewGate(GateConfig{Limit: 3, MaxLength: 8, MaxWait: 300 * time.Millisecond, Aging: 50 * time.Millisecond})
		var answers [Refusals]atomic.Uint64
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(1, uint64(i)))
				for range rounds {
					ask := Ask{Class: Class{Band(r.IntN(Bands)), 1, uint64(i % 7)}, Due: now().Add(time.Duration(r.IntN(400)) * time.Millisecond)}
					if r.IntN(2) == 0 {
						ask.Client = &leaver{stays: r.IntN(4)}
					}
					s, refusal := g.Enter(ask, now())
					answers[refusal].Add(1)
					time.Sleep(time.Duration(r.IntN(20)) * 5 * time.Millisecond) // many at the same instant
					s.Leave(Success, 0, now())
				}
			})
		}
		wg.Wait()
		st := g.Stats()
		for r := OK + 1; r < Refusals; r++ {
			n := answers[r].Load()
			if n != st.Of(r) || n == 0 {
				t.Errorf("refusal %v: %d heard, %d counted", r, n, st.Of(r))
			}
		}
		if st.InFlight != 0 || st.Waiting != 0 || st.Depth != [Bands]int{} || answers[OK].Load() < st.Waited || st.Waited == 0 {
			t.Errorf("%+v, %d had seats", st, answers[OK].Load())
		}
	})
}

// Seats in use only shrink while there are more than the limit, whatever it was changed to meanwhile.
func TestReshapeLetsNobodyInAboveTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBench(GateConfig{Limit: 4, MaxLength: 20, MaxWait: time.Hour})
		limit := 4
		for range 60 {
			before := len(b.seated)
			switch rapid.IntRange(0, 4).Draw(t, "op") {
			case 0:
				limit = rapid.IntRange(1, 8).Draw(t, "limit")
				b.g.Reshape(GateConfig{Limit: limit, MaxLength: 20, MaxWait: time.Hour}, b.now)
				b.settle()
			case 1:
				if before > 0 {
					b.leave(rapid.IntRange(0, before-1).Draw(t, "who"))
				}
			default:
				b.ask(Ask{Class: Class{Band(rapid.IntRange(0, 3).Draw(t, "band")), 0, rapid.Uint64Range(0, 3).Draw(t, "flow")}, Due: mono.Never})
			}
			seated, queued := len(b.seated), len(b.queued)
			if seated > limit && seated > before || seated < limit && queued > 0 {
				t.Fatalf("%d seated of %d, it was %d; %d wait", seated, limit, before, queued)
			}
			if st := b.g.Stats(); st.InFlight != seated || st.Waiting != queued {
				t.Fatalf("%+v, want %d and %d", st, seated, queued)
			}
		}
	})
}
