package shaping

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"weir/internal/mono"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEnterWithoutQueue(t *testing.T) {
	g := NewGate(GateConfig{Limit: 2})
	a, r := g.Enter(mono.Never, 0)
	if r != OK {
		t.Fatal(r)
	}
	if _, r = g.Enter(0, 5); r != OK {
		t.Fatalf("a due that has passed kept a free seat from being taken: %d", r)
	}
	empty, r := g.Enter(mono.Never, 0)
	if r != QueueFull {
		t.Fatalf("refusal %d of a third seat", r)
	}
	empty.Leave()
	a.Leave()
	a.Leave()
	if got, want := g.Stats(), (GateStats{Limit: 2, InFlight: 1, QueueFull: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestNobodyWaitsWhenNoTimeIsLeft(t *testing.T) {
	f := func(c GateConfig, due, now mono.Time) {
		t.Helper()
		g := NewGate(c)
		g.Enter(mono.Never, 0)
		if _, r := g.Enter(due, now); r != QueueTimeout {
			t.Errorf("%+v: due %d at %d: refusal %d", c, due, now, r)
		}
		if st := g.Stats(); st.Waiting != 0 || st.QueueTimeout != 1 {
			t.Errorf("%+v", st)
		}
	}
	f(GateConfig{Limit: 1, MaxLength: 1, MaxWait: time.Hour}, 7, 7)
	f(GateConfig{Limit: 1, MaxLength: 1, MaxWait: time.Hour}, 6, 7)
	f(GateConfig{Limit: 1, MaxLength: 1}, mono.Never, 7)
}

func TestWaitEndsAtDueOrMaxWait(t *testing.T) {
	f := func(maxWait time.Duration, due mono.Time, want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			g := NewGate(GateConfig{Limit: 1, MaxLength: 1, MaxWait: maxWait})
			s, _ := g.Enter(mono.Never, 0)
			start := time.Now()
			if _, r := g.Enter(due, 0); r != QueueTimeout {
				t.Errorf("refusal %d", r)
			}
			if got := time.Since(start); got != want {
				t.Errorf("waited %v, want %v", got, want)
			}
			s.Leave()
			if _, r := g.Enter(mono.Never, 0); r != OK {
				t.Errorf("refusal %d after everybody left", r)
			}
		})
	}
	f(time.Second, mono.Never, time.Second)
	f(time.Second, mono.Time(time.Minute), time.Second)
	f(time.Minute, mono.Time(time.Second), time.Second)
}

// A seat that falls free at the very instant a wait ends is either taken or left alone, never lost.
func TestSeatFreedAsTheWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateConfig{Limit: 1, MaxLength: 1, MaxWait: time.Second})
		for range 200 {
			s, _ := g.Enter(mono.Never, 0)
			go func() {
				time.Sleep(time.Second)
				s.Leave()
			}()
			next, r := g.Enter(mono.Never, 0)
			synctest.Wait()
			if n := g.Stats().InFlight; n != 0 && r != OK || n != 1 && r == OK {
				t.Fatalf("%d seats in use after refusal %d", n, r)
			}
			next.Leave()
		}
	})
}

func TestNoLimitStillCounts(t *testing.T) {
	g := NewGate(GateConfig{})
	var seats [100]Seat
	for i := range seats {
		var r Refusal
		if seats[i], r = g.Enter(mono.Never, 0); r != OK {
			t.Fatal(r)
		}
	}
	g.Reshape(GateConfig{Limit: 99})
	if _, r := g.Enter(mono.Never, 0); r != QueueFull {
		t.Errorf("refusal %d with 100 of 99 seats in use", r)
	}
	seats[0].Leave()
	if _, r := g.Enter(mono.Never, 0); r != QueueFull {
		t.Errorf("refusal %d with 99 of 99 seats in use", r)
	}
	seats[1].Leave()
	if _, r := g.Enter(mono.Never, 0); r != OK {
		t.Errorf("refusal %d with 98 of 99 seats in use", r)
	}
}

func TestImpossibleSizePanics(t *testing.T) {
	f := func(c GateConfig) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%+v: no panic", c)
			}
		}()
		NewGate(c)
	}
	f(GateConfig{Limit: -1})
	f(GateConfig{Limit: maxSeats + 1})
	f(GateConfig{Limit: 1, MaxLength: -1})
	f(GateConfig{Limit: 1, MaxWait: -1})
}

// request is one that asks for a seat, as the model sees it.
type request struct {
	id       int
	deadline time.Duration // while it waits
	seat     Seat
	answer   Refusal
	answered bool
}

// model is the gate with no concurrency: what must have happened when everything has come to rest.
type model struct {
	c       GateConfig
	used    int
	queue   []*request
	answers map[int]Refusal
}

func (m *model) limit() int {
	if m.c.Limit == 0 {
		return maxSeats
	}
	return m.c.Limit
}

func (m *model) enter(r *request, due, now time.Duration) {
	wait := min(due-now, m.c.MaxWait)
	switch {
	case len(m.queue) == 0 && m.used < m.limit():
		m.used++
		m.answers[r.id] = OK
	case len(m.queue) >= m.c.MaxLength:
		m.answers[r.id] = QueueFull
	case wait <= 0:
		m.answers[r.id] = QueueTimeout
	default:
		r.deadline = now + wait
		m.queue = append(m.queue, r)
	}
}

func (m *model) grant() {
	for len(m.queue) > 0 && m.used < m.limit() {
		m.answers[m.queue[0].id] = OK
		m.queue = m.queue[1:]
		m.used++
	}
}

func (m *model) expire(now time.Duration) {
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
			g, m := NewGate(c), &model{c: c, answers: map[int]Refusal{}}
			var all []*request
			for i, o := range todo {
				now := time.Since(start)
				switch {
				case o.kind < 5:
					r, due := &request{id: len(all)}, now+time.Duration(o.n)
					all = append(all, r)
					m.enter(r, due, now)
					go func() {
						r.seat, r.answer = g.Enter(mono.Time(due), mono.Time(now))
						r.answered = true
					}()
				case o.kind < 8:
					leave(all, o.n, m)
				case o.kind < 9:
					m.c = o.c
					g.Reshape(o.c)
					m.grant()
				default:
					time.Sleep(time.Duration(o.n))
					m.expire(time.Since(start))
				}
				synctest.Wait()
				if fault = compare(g, m, all); fault != "" {
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

// leave gives back the n-th seat held, round and round, twice.
func leave(all []*request, n int, m *model) {
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
	s.Leave()
	s.Leave()
	m.used--
	m.grant()
}

func compare(g *Gate, m *model, all []*request) string {
	for _, r := range all {
		want, answered := m.answers[r.id]
		if r.answered != answered || r.answer != want {
			return fmt.Sprintf("request %d: answered %v with %d, want %v with %d", r.id, r.answered, r.answer, answered, want)
		}
	}
	if st := g.Stats(); st.InFlight != m.used || st.Waiting != len(m.queue) || st.Limit != m.c.Limit {
		return fmt.Sprintf("%+v, want %d in flight and %d waiting", st, m.used, len(m.queue))
	}
	return ""
}

// Many goroutines enter and leave while the gate changes its size. Nobody may hang, and seats in use never exceed the
// largest limit there was.
func TestStress(t *testing.T) {
	const workers, rounds, largest = 16, 2000, 5
	g := NewGate(GateConfig{Limit: largest, MaxLength: workers, MaxWait: time.Hour})
	var inside, most, entered atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				s, r := g.Enter(mono.Never, 0)
				if r != OK {
					t.Errorf("refusal %d", r)
					return
				}
				n := inside.Add(1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				entered.Add(1)
				runtime.Gosched()
				inside.Add(-1)
				s.Leave()
			}
		})
	}
	for i := range rounds {
		runtime.Gosched()
		g.Reshape(GateConfig{Limit: 1 + i%largest, MaxLength: workers, MaxWait: time.Hour})
	}
	wg.Wait()
	if most.Load() > largest {
		t.Errorf("%d seats in use", most.Load())
	}
	if g.Stats().Waited == 0 {
		t.Error("nobody ever waited")
	}
	if st := g.Stats(); st.InFlight != 0 || st.Waiting != 0 || entered.Load() != workers*rounds {
		t.Errorf("%+v after %d of %d", st, entered.Load(), workers*rounds)
	}
}

func TestFastPathDoesNotAllocate(t *testing.T) {
	g := NewGate(GateConfig{Limit: 1})
	if n := testing.AllocsPerRun(1000, func() {
		s, _ := g.Enter(mono.Never, 0)
		s.Leave()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEnterLeave(b *testing.B) {
	g := NewGate(GateConfig{Limit: 1000})
	b.Run("one thread", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s, _ := g.Enter(mono.Never, 0)
			s.Leave()
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				s, _ := g.Enter(mono.Never, 0)
				s.Leave()
			}
		})
	})
}
