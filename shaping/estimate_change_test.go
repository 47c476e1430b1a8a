package shaping

import (
	"testing"
	"time"

	"weir/internal/mono"
)

func between(now mono.Time, from, to time.Duration) bool {
	return now >= mono.Time(from) && now < mono.Time(to)
}

// goodputs are those of each second.
func goodputs(ws []simWindow) (g []float64) {
	for i := 0; i+10 <= len(ws); i += 10 {
		g = append(g, totalOf(ws[i:i+10]).goodput())
	}
	return g
}

// Ten times the latency for 5 s: the limit need not change, and nearly does not; 2 s after, all is as before.
func TestGradientSurvivesASlowUpstream(t *testing.T) {
	for _, service := range []func(*simRandom) time.Duration{constant(ms10), exponential(ms10)} {
		up := simUpstream{workers: 50, service: service, slowness: func(now mono.Time) float64 {
			if between(now, 10*time.Second, 15*time.Second) {
				return 10
			}
			return 1
		}}
		g := goodputs(simRun{up: up, load: 7500, lasts: 30 * time.Second}.windows(t))
		for i, g := range g {
			if i >= 5 && i < 15 && g < 0.75 || i >= 17 && g < 0.95 {
				t.Errorf("goodput %.3f in second %d", g, i)
			}
		}
	}
}

// All answers are drops for 5 s: from a second after on all is as before.
func TestGradientComesBackAfterDrops(t *testing.T) {
	for _, service := range []func(*simRandom) time.Duration{constant(6 * ms10), exponential(6 * ms10)} {
		up := simUpstream{workers: 20, service: service, failing: func(now mono.Time) bool { return between(now, 20*time.Second, 25*time.Second) }}
		ws := simRun{up: up, load: 1000, config: EstimatorConfig{Min: 1}, lasts: 35 * time.Second}.windows(t)
		if g := totalOf(ws[260:280]).goodput(); g < 0.92 {
			t.Errorf("goodput %.3f from the second to the third second after the trouble", g)
		}
	}
}

// Half the workers go and come back: 3 s later the limit has followed.
func TestGradientFollowsTheCapacity(t *testing.T) {
	for _, service := range []func(*simRandom) time.Duration{constant(ms10), exponential(ms10)} {
		up := simUpstream{service: service, capacity: func(now mono.Time) int {
			if between(now, 10*time.Second, 20*time.Second) {
				return 25
			}
			return 50
		}}
		ws := simRun{up: up, load: 7500, lasts: 30 * time.Second}.windows(t)
		for _, part := range []struct{ from, to, workers int }{{5, 10, 50}, {13, 20, 25}, {23, 30, 50}} {
			w := totalOf(ws[part.from*10 : part.to*10])
			if n := float64(part.workers); w.goodput() < 0.95 || w.inFlight > 2*n+10 {
				t.Errorf("seconds %d to %d: goodput %.3f, %.1f in flight for %d workers", part.from, part.to, w.goodput(), w.inFlight, part.workers)
			}
		}
	}
}

// Everything stands still for 100 ms in each second, as for a garbage collector.
func TestGradientIgnoresPauses(t *testing.T) {
	up := simUpstream{workers: 50, service: exponential(ms10), pause: 100 * time.Millisecond, period: time.Second}
	w := totalOf(simRun{up: up, load: 7500, warm: 3 * time.Second, lasts: 15 * time.Second}.seeds(t, 2))
	if w.goodput() < 0.95 || w.inFlight > 130 {
		t.Errorf("goodput %.3f, %.1f in flight", w.goodput(), w.inFlight)
	}
}

// Upstreams that share their processors, have a long way, or a heavy tail.
func TestGradientInOtherUpstreams(t *testing.T) {
	f := func(name string, up simUpstream, goodput, inFlight float64) {
		t.Helper()
		up.workers = 20
		w := totalOf(simRun{up: up, load: 4000, warm: 5 * time.Second, lasts: 15 * time.Second}.seeds(t, 4))
		if w.goodput() < goodput || w.inFlight > inFlight {
			t.Errorf("%s: goodput %.3f, %.1f in flight", name, w.goodput(), w.inFlight)
		}
	}
	f("sharing, constant", simUpstream{sharing: true, service: constant(ms10)}, 0.95, 43)
	f("sharing, exponential", simUpstream{sharing: true, service: exponential(ms10)}, 0.95, 80)
	f("sharing, lognormal", simUpstream{sharing: true, service: lognormal(ms10, 1)}, 0.95, 200)
	f("10 ms away", simUpstream{network: ms10, service: exponential(ms10)}, 0.95, 80) // 40 fill it
	f("50 ms away", simUpstream{network: 5 * ms10, service: exponential(ms10)}, 0.95, 200)
	f("pareto", simUpstream{service: pareto(ms10)}, 0.95, 43)
	f("lognormal, variation 7", simUpstream{service: lognormal(ms10, 2)}, 0.85, 60)
}

// An upstream that answers 503 to more than 30 at once.
func TestDropsBoundTheLimit(t *testing.T) {
	if estimateRace {
		t.Skip("one goroutine, and slow")
	}
	for _, a := range []Algorithm{Gradient, Vegas, AIMD} {
		up := simUpstream{workers: 20, service: constant(ms10), full: 30}
		s := newSimulation(up, 4000, mustEstimator(t, EstimatorConfig{Algorithm: a, Min: 1, Initial: 100}))
		s.run(5 * time.Second)
		w := totalOf(s.run(20 * time.Second))
		if w.goodput() < 0.95 || w.limit > 32 || float64(w.dropped) > 0.03*float64(w.completed) {
			t.Errorf("%v: goodput %.3f, limit %.1f, %d dropped, %d answered", a, w.goodput(), w.limit, w.dropped, w.completed)
		}
	}
}

// The bounds hold it: an upstream for 100 with a limit of 50 at most, one for 3 with 8 at least.
func TestGradientAtItsBounds(t *testing.T) {
	if estimateRace {
		t.Skip("one goroutine, and slow")
	}
	f := func(c EstimatorConfig, workers int, goodput float64) {
		t.Helper()
		s := newSimulation(simUpstream{workers: workers, service: exponential(ms10)}, 20000, mustEstimator(t, c))
		s.run(5 * time.Second)
		w := totalOf(s.run(10 * time.Second))
		if w.goodput() < goodput || w.limit < float64(c.Min) || w.limit > float64(max(c.Max, 16)) {
			t.Errorf("%+v: goodput %.3f, limit %.1f", c, w.goodput(), w.limit)
		}
	}
	f(EstimatorConfig{Min: 1, Max: 50}, 100, 0.48)
	f(EstimatorConfig{Min: 8}, 3, 0.99)
}

// A minute without requests, then a burst: the limit is what it was, and holds.
func TestGradientAfterIdling(t *testing.T) {
	if estimateRace {
		t.Skip("one goroutine, and slow")
	}
	s := newSimulation(simUpstream{workers: 50, service: exponential(ms10)}, 0, mustEstimator(t, EstimatorConfig{Min: 1}))
	s.arrivals = func(now mono.Time) float64 {
		if between(now, 10*time.Second, 70*time.Second) {
			return 0
		}
		return 10000
	}
	s.run(10 * time.Second)
	before := s.gates[0].estimator.Limit()
	s.run(60 * time.Second)
	if after := s.gates[0].estimator.Limit(); after < 40 || after < before*3/4 || after > before*3/2 {
		t.Errorf("limit %d after a minute without requests, %d before", after, before)
	}
	for i, g := range goodputs(s.run(5 * time.Second)) {
		if g < 0.95 {
			t.Errorf("goodput %.3f in second %d of the burst", g, i)
		}
	}
}

// One latency of an hour among thousands of a millisecond.
func TestGradientSurvivesAnOutlier(t *testing.T) {
	e := mustEstimator(t, EstimatorConfig{Min: 1})
	now, least, most := mono.Time(0), 1000, 0
	for i := range 200000 {
		now += 20 * 1000 // 50 workers of 1 ms
		n := e.Limit()
		o := Observation{RTT: time.Duration(max(n, 50)) * 20 * time.Microsecond, InFlight: n, Now: now}
		if i%50000 == 49999 {
			o.RTT = time.Hour
		}
		e.Observe(o)
		if i > 40000 {
			least, most = min(least, e.Limit()), max(most, e.Limit())
		}
	}
	if least < 40 || most > 90 {
		t.Errorf("limit from %d to %d for 50 workers", least, most)
	}
}

// Gateways that know nothing of each other before one upstream that is overloaded from the start. Nothing ideal is claimed: they
// take several times what they need, but two or three do not push each other up.
func TestGradientsShareAnUpstream(t *testing.T) {
	if estimateRace {
		t.Skip("one goroutine, and slow")
	}
	f := func(gateways int) {
		t.Helper()
		var es []Estimator
		for range gateways {
			es = append(es, mustEstimator(t, EstimatorConfig{Min: 1}))
		}
		n := float64(10 * gateways)
		s := newSimulation(simUpstream{workers: 10 * gateways, service: exponential(ms10)}, 150*n, es...)
		s.run(20 * time.Second)
		first := totalOf(s.run(30 * time.Second))
		s.run(time.Minute)
		last := totalOf(s.run(30 * time.Second))
		if last.goodput() < 0.95 || first.inFlight > 20*n || last.inFlight > 1.3*first.inFlight {
			t.Errorf("%d gateways: goodput %.3f, in flight for %.0f workers %.0f, a minute later %.0f",
				gateways, last.goodput(), n, first.inFlight, last.inFlight)
		}
	}
	f(2)
	f(3)
}
