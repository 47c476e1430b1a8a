package shaping

import (
	"math"
	"runtime"
	"sync"
	"testing"
	"time"
)

// steps is an estimator that says one limit after the other, whatever it sees.
type steps struct {
	limits []int
	seen   []Observation
}

func (s *steps) Observe(o Observation) int {
	s.seen = append(s.seen, o)
	if len(s.limits) > 1 {
		s.limits = s.limits[1:]
	}
	return s.limits[0]
}

func (s *steps) Limit() int { return s.limits[0] }

func TestLimitFollowsTheEstimator(t *testing.T) {
	e := &steps{limits: []int{2, 3, 1, 0, math.MaxInt}}
	g := NewGate(GateConfig{Limit: 5, Estimator: e})
	f := func(want int) {
		t.Helper()
		if st := g.Stats(); st.Limit != want || st.HardLimit != 5 {
			t.Errorf("%+v, want limit %d", st, want)
		}
	}
	f(2)
	for _, want := range []int{3, 1, 1, 5} {
		s, ok := g.TryEnter()
		if !ok {
			t.Fatal("no seat")
		}
		s.Leave(Drop, 7, 9)
		f(want)
	}
	if want := (Observation{RTT: 7, InFlight: 1, Sample: Drop, Now: 9}); len(e.seen) != 4 || e.seen[0] != want {
		t.Errorf("saw %+v", e.seen)
	}
	g.Reshape(GateConfig{Limit: 4, Estimator: e}, 0)
	f2 := func(limit, hard int) {
		t.Helper()
		if st := g.Stats(); st.Limit != limit || st.HardLimit != hard {
			t.Errorf("%+v, want %d of %d", st, limit, hard)
		}
	}
	f2(4, 4)
	if !g.Tune(func(Estimator) { e.limits[0] = 2 }, 0) {
		t.Error("not tuned")
	}
	f2(2, 4)
	old := g.tuner.Load()
	g.Reshape(GateConfig{Limit: 7, Estimator: &steps{limits: []int{6}}}, 0)
	f2(6, 7)
	g.Reshape(GateConfig{Limit: 7}, 0)
	f2(7, 7)
	g.Reshape(GateConfig{Limit: 7, Estimator: e, MaxLength: 500}, 0)
	if old.limit = 1; g.queue.debtors != 500 {
		t.Errorf("%d debts remembered", g.queue.debtors)
	}
	g.follow(old, 0) // an observation that was under way
	f2(2, 7)
	g.Reshape(GateConfig{Limit: 7}, 0)
	if g.Tune(func(Estimator) {}, 0) {
		t.Error("tuned nothing")
	}
}

// While an observation is taken a success is let go, and a drop waits for its turn.
func TestDropsAreNeverLost(t *testing.T) {
	e := &steps{limits: []int{5}}
	g := NewGate(GateConfig{Estimator: e})
	var drops sync.WaitGroup
	g.Tune(func(Estimator) { // holds the estimator
		for _, k := range []Sample{Success, Drop, Ignore, Drop, Drop, Success} {
			s, _ := g.TryEnter()
			if k == Drop {
				drops.Go(func() { s.Leave(k, 1, 1) })
			} else {
				s.Leave(k, 1, 1) // would hang if it waited
			}
		}
		for g.Stats().InFlight > 0 {
			runtime.Gosched()
		}
	}, 0)
	drops.Wait()
	if len(e.seen) != 3 {
		t.Errorf("saw %+v", e.seen)
	}
	for _, o := range e.seen {
		if o.Sample != Drop {
			t.Errorf("saw %+v", o)
		}
	}
}

// A raised estimate lets in who waits; a lowered one nobody until enough have left.
func TestEstimateMovesTheQueue(t *testing.T) {
	b := newBench(GateConfig{Limit: 10, Estimator: &steps{limits: []int{2, 5, 2}}, MaxLength: 10, MaxWait: time.Hour})
	for range 9 {
		b.ask(patient)
	}
	b.want(t, "limit 2", 2, 7)
	b.leave(0) // gives its seat on, then the limit is 5
	b.want(t, "limit 5", 5, 3)
	b.leave(0)
	b.want(t, "limit 2 again", 5, 2)
	for seated := range 3 {
		b.leave(0)
		b.want(t, "on the way down", 4-seated, 2)
	}
	b.leave(0)
	b.want(t, "down", 2, 1)
}

// settled is an estimator that has made up its mind.
type settled int

func (c settled) Observe(Observation) int { return int(c) }
func (c settled) Limit() int              { return int(c) }
