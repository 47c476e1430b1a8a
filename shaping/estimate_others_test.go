package shaping

import (
	"testing"
	"time"

	"weir/internal/mono"
)

func runOther(t *testing.T, a Algorithm, up simUpstream, load float64, warm, d time.Duration) simWindow {
	t.Helper()
	if estimateRace {
		t.Skip("one goroutine, and slow")
	}
	s := newSimulation(up, load, mustEstimator(t, EstimatorConfig{Algorithm: a, Min: 1}))
	s.run(warm)
	return totalOf(s.run(d))
}

// With a steady latency vegas keeps 3 to 6 (times log10 of the limit) queued in the upstream, few or many its workers.
func TestVegasKeepsAShortQueue(t *testing.T) {
	for _, workers := range []int{2, 10, 50, 300} {
		w := runOther(t, Vegas, simUpstream{workers: workers, service: constant(ms10)}, 150*float64(workers), 5*time.Second, 10*time.Second)
		if n := float64(workers); w.goodput() < 0.98 || w.inFlight > n+18 {
			t.Errorf("%d workers: goodput %.3f, %.1f in flight", workers, w.goodput(), w.inFlight)
		}
	}
}

// What its comment warns of.
func TestVegasStarvesNoisyAndSlowedUpstreams(t *testing.T) {
	w := runOther(t, Vegas, simUpstream{workers: 100, service: exponential(ms10)}, 15000, 5*time.Second, 20*time.Second)
	if w.goodput() > 0.9 {
		t.Errorf("goodput %.3f of an upstream with exponential service times: change the comment", w.goodput())
	}
	slow := func(now mono.Time) float64 {
		if now > mono.Time(20*time.Second) {
			return 3
		}
		return 1
	}
	up := simUpstream{workers: 50, service: constant(ms10), slowness: slow}
	if w = runOther(t, Vegas, up, 7500, 30*time.Second, 5*time.Second); w.goodput() > 0.6 {
		t.Errorf("goodput %.3f after the upstream became slower: change the comment", w.goodput())
	}
	if w = runOther(t, Vegas, up, 7500, 90*time.Second, 10*time.Second); w.goodput() < 0.95 {
		t.Errorf("goodput %.3f a minute later", w.goodput())
	}
}

// A table of answers: as many as the limit raise it by one, a drop takes a tenth, rounded up, and what uses less than half says
// nothing.
func TestAIMDTable(t *testing.T) {
	e := mustEstimator(t, EstimatorConfig{Algorithm: AIMD, Min: 4, Max: 12, Initial: 10})
	f := func(times int, s Sample, inFlight, want int) {
		t.Helper()
		for range times {
			e.Observe(Observation{RTT: time.Second, Sample: s, InFlight: inFlight})
		}
		if got := e.Limit(); got != want {
			t.Errorf("limit %d, want %d", got, want)
		}
	}
	f(9, Success, 10, 10)
	f(1, Success, 10, 11)
	f(100, Success, 5, 11) // of 11
	f(10, Success, 6, 11)
	f(1, Success, 6, 12)
	f(100, Success, 12, 12) // that is Max
	f(1, Drop, 12, 10)
	f(11, Drop, 12, 10) // the same round trip
	f(1, Drop, 10, 9)
	f(5, Ignore, 10, 9)
	f(9, Success, 9, 10) // won, and the round trip is not over
	f(1, Drop, 1, 9)
	f(1, Drop, 1, 8)
	f(1, Drop, 1, 7)
	f(1, Drop, 1, 6)
	f(1, Drop, 1, 5)
	f(9, Drop, 1, 4) // that is Min
}

func TestAIMDIsDeafToLatency(t *testing.T) {
	w := runOther(t, AIMD, simUpstream{workers: 5, service: constant(ms10)}, 5000, 60*time.Second, 5*time.Second)
	if w.goodput() < 0.99 || w.inFlight < 100 {
		t.Errorf("goodput %.3f, %.1f in flight", w.goodput(), w.inFlight)
	}
}
