package shaping

import (
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"weir/internal/mono"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient can wait for ever, of the one flow and band that matter in many tests.
var patient = Ask{Class: Class{Band: Normal}, Due: mono.Never}

func (s *Seat) leave() { s.Leave(Ignore, 0, 0) }

func TestEnterWithoutQueue(t *testing.T) {
	g := NewGate(GateConfig{Limit: 2})
	a, r := g.Enter(patient, 0)
	if r != OK {
		t.Fatal(r)
	}
	if _, r = g.Enter(Ask{}, 5); r != OK {
		t.Fatalf("a due that has passed kept a free seat from being taken: %d", r)
	}
	empty, r := g.Enter(patient, 0)
	if r != QueueFull {
		t.Fatalf("refusal %v of a third seat", r)
	}
	empty.leave()
	a.leave()
	a.leave()
	got, want := g.Stats(), GateStats{Limit: 2, HardLimit: 2, InFlight: 1}
	want.Refused[QueueFull][Normal] = 1
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestNobodyWaitsWhenNoTimeIsLeft(t *testing.T) {
	f := func(c GateConfig, due, now mono.Time, want Refusal) {
		t.Helper()
		g := NewGate(c)
		g.Enter(patient, 0)
		if _, r := g.Enter(Ask{Due: due}, now); r != want {
			t.Errorf("%+v: due %d at %d: refusal %v", c, due, now, r)
		}
		if st := g.Stats(); st.Waiting != 0 || st.Of(want) != 1 {
			t.Errorf("%+v", st)
		}
	}
	f(GateConfig{Limit: 1, MaxLength: 1, MaxWait: time.Hour}, 7, 7, TooLate)
	f(GateConfig{Limit: 1, MaxLength: 1, MaxWait: time.Hour}, 6, 7, TooLate)
	f(GateConfig{Limit: 1, MaxLength: 1}, mono.Never, 7, QueueTimeout)
	f(GateConfig{Limit: 1, MaxWait: time.Hour}, mono.Never, 7, QueueFull)
}

func TestWaitEndsAtDueOrMaxWait(t *testing.T) {
	f := func(maxWait time.Duration, due mono.Time, want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			g := NewGate(GateConfig{Limit: 1, MaxLength: 1, MaxWait: maxWait})
			s, _ := g.Enter(patient, 0)
			start := time.Now()
			if _, r := g.Enter(Ask{Due: due}, 0); r != QueueTimeout {
				t.Errorf("refusal %v", r)
			}
			if got := time.Since(start); got != want {
				t.Errorf("waited %v, want %v", got, want)
			}
			s.leave()
			if _, r := g.Enter(patient, 0); r != OK {
				t.Errorf("refusal %v after everybody left", r)
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
			s, _ := g.Enter(patient, 0)
			go func() {
				time.Sleep(time.Second)
				s.leave()
			}()
			next, r := g.Enter(patient, 0)
			synctest.Wait()
			if n := g.Stats().InFlight; n != 0 && r != OK || n != 1 && r == OK {
				t.Fatalf("%d seats in use after refusal %v", n, r)
			}
			next.leave()
		}
	})
}

// A seat left between the look at the word and the lock is taken, not waited for.
func TestSeatFreedBeforeTheLock(t *testing.T) {
	g := NewGate(GateConfig{Limit: 1, MaxLength: 1, MaxWait: time.Second})
	if w, _, r := g.enqueue(&patient, 0); w != nil || r != OK {
		t.Errorf("waits beside a free seat: refusal %v", r)
	}
	if st := g.Stats(); st.InFlight != 1 || st.Waiting != 0 {
		t.Errorf("%+v", st)
	}
}

// A waiter whose time is up is not granted, though its timer has not run out yet.
func TestSeatIsNotGivenTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateConfig{Limit: 1, MaxLength: 2, MaxWait: time.Second})
		s, _ := g.Enter(patient, 0)
		first, second := Refusal(Refusals), Refusal(Refusals) // no answer yet
		go func() { _, first = g.Enter(Ask{Due: ms}, 0) }()
		synctest.Wait()
		go func() { _, second = g.Enter(patient, 0) }()
		synctest.Wait()
		s.Leave(Success, 0, ms) // before any time has passed in the bubble
		synctest.Wait()
		if first != QueueTimeout || second != OK {
			t.Errorf("refusals %v and %v", first, second)
		}
		if st := g.Stats(); st.InFlight != 1 || st.Waited != 1 || st.Waiting != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// leaver is gone after it has been asked so many times.
type leaver struct{ asked, stays int }

func (l *leaver) Gone() bool {
	l.asked++
	if l.stays < 0 {
		panic("lost")
	}
	return l.asked > l.stays
}

func TestClientThatLeavesIsTakenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateConfig{Limit: 1, MaxLength: 2, MaxWait: time.Second})
		s, _ := g.Enter(patient, 0)
		start := time.Now()
		ask := patient
		ask.Client = &leaver{stays: 2}
		if _, r := g.Enter(ask, 0); r != Gone {
			t.Errorf("refusal %v", r)
		}
		if d := time.Since(start); d != 3*pollEvery {
			t.Errorf("noticed after %v", d)
		}
		ask.Client = &leaver{stays: 1000}
		if _, r := g.Enter(ask, 0); r != QueueTimeout {
			t.Errorf("refusal %v of a client that stays", r)
		}
		s.leave()
		if st := g.Stats(); st.InFlight != 0 || st.Waiting != 0 || st.Of(Gone) != 1 {
			t.Errorf("%+v", st)
		}
		if _, ok := g.TryEnter(); !ok {
			t.Error("the seat is lost")
		}
	})
}

// A client that panics when asked costs no seat and no place, whether a seat came meanwhile or not.
func TestClientThatPanics(t *testing.T) {
	f := func(granted bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			g := NewGate(GateConfig{Limit: 1, MaxLength: 2, MaxWait: time.Second})
			s, _ := g.Enter(patient, 0)
			func() {
				defer func() {
					if recover() == nil {
						t.Error("no panic")
					}
				}()
				ask := patient
				ask.Client = clientFunc(func() bool {
					if granted {
						s.leave()
					}
					panic("lost")
				})
				g.Enter(ask, 0)
			}()
			s.leave()
			if st := g.Stats(); st.InFlight != 0 || st.Waiting != 0 {
				t.Errorf("granted %v: %+v", granted, st)
			}
			if _, ok := g.TryEnter(); !ok {
				t.Error("the gate is stuck")
			}
		})
	}
	f(false)
	f(true)
}

type clientFunc func() bool

func (f clientFunc) Gone() bool { return f() }

func TestNoLimitStillCounts(t *testing.T) {
	g := NewGate(GateConfig{})
	var seats [100]Seat
	for i := range seats {
		var r Refusal
		if seats[i], r = g.Enter(patient, 0); r != OK {
			t.Fatal(r)
		}
	}
	if st := g.Stats(); st.Limit != 0 || st.HardLimit != 0 || st.InFlight != 100 {
		t.Errorf("%+v", st)
	}
	g.Reshape(GateConfig{Limit: 99}, 0)
	if _, r := g.Enter(patient, 0); r != QueueFull {
		t.Errorf("refusal %v with 100 of 99 seats in use", r)
	}
	seats[0].leave()
	if _, r := g.Enter(patient, 0); r != QueueFull {
		t.Errorf("refusal %v with 99 of 99 seats in use", r)
	}
	seats[1].leave()
	if _, r := g.Enter(patient, 0); r != OK {
		t.Errorf("refusal %v with 98 of 99 seats in use", r)
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
	f(GateConfig{Limit: 1, Aging: -1})
}

func TestFastPathDoesNotAllocate(t *testing.T) {
	f := func(e Estimator) {
		t.Helper()
		g := NewGate(GateConfig{Limit: 1, Estimator: e})
		if n := testing.AllocsPerRun(1000, func() {
			s, _ := g.Enter(patient, 0)
			s.Leave(Success, time.Millisecond, 5)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
	f(nil)
	f(settled(3))
}

func BenchmarkEnterLeave(b *testing.B) {
	f := func(name string, e Estimator) {
		g := NewGate(GateConfig{Limit: 1000, Estimator: e})
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s, _ := g.Enter(patient, 0)
				s.Leave(Success, time.Millisecond, 5)
			}
		})
		b.Run(name+" parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					s, _ := g.Enter(patient, 0)
					s.Leave(Success, time.Millisecond, 5)
				}
			})
		})
	}
	f("fixed", nil)
	f("estimator", settled(1000))
}

// BenchmarkQueue is a seat given to one who waits, of a hundred flows, with a goroutine for every request.
func BenchmarkQueue(b *testing.B) {
	g := NewGate(GateConfig{Limit: 2, MaxLength: 1024, MaxWait: time.Hour, Aging: time.Second})
	b.ReportAllocs()
	b.SetParallelism(100)
	var flows atomic.Uint64
	b.RunParallel(func(pb *testing.PB) {
		ask := patient
		ask.Flow = flows.Add(1) % 100
		for pb.Next() {
			s, _ := g.Enter(ask, 5)
			runtime.Gosched()
			s.Leave(Success, time.Millisecond, 5)
		}
	})
}
