package shaping

import (
	"fmt"
	"math"
	"testing"
	"time"

	"weir/internal/mono"
)

const ms10 = 10 * time.Millisecond

// Load above capacity, from barely to ten times: after 60 service times (or 60 round trips with the first limit) nearly all of the
// capacity is used, little stands in the upstream, and latency is near that of an idle one. With service times that vary, in the
// mean over seeds.
func TestGradientUsesTheCapacity(t *testing.T) {
	for i, workers := range []int{1, 2, 5, 20, 100, 500} {
		for k, service := range []time.Duration{time.Millisecond, 30 * time.Millisecond, time.Second} {
			load := []float64{2, 1.2, 10}[(i+k)%3]
			f := func(name string, of func(*simRandom) time.Duration, seeds int) {
				t.Run(fmt.Sprintf("%d workers %v %s %vC", workers, service, name, load), func(t *testing.T) {
					capacity := float64(workers) / service.Seconds()
					useTheCapacity(t, seeds, simRun{
						up:    simUpstream{workers: workers, service: of},
						load:  load * capacity,
						warm:  60 * service * time.Duration(max(1, 20/workers)),
						lasts: max(100*service, time.Duration(2000/capacity*1e9)),
					})
				})
			}
			f("constant", constant(service), 1)
			f("exponential", exponential(service), 4)
			f("lognormal", lognormal(service, 1), 4)
		}
	}
}

func useTheCapacity(t *testing.T, seeds int, r simRun) {
	w, n := totalOf(r.seeds(t, seeds)), float64(r.up.workers)
	least, most := 0.95, 1.5*n+3
	if seeds > 1 {
		most = 2*n + 12
		if n < 100 {
			least = 0.90
		}
	}
	if g := w.goodput(); g < least {
		t.Errorf("goodput %.3f", g)
	}
	if w.inFlight > most {
		t.Errorf("%.1f in flight, at most %.0f wanted", w.inFlight, most)
	}
	if seeds > 1 && n < 5 {
		return // one request too many is a service time more
	}
	var alone simWindow
	random := newSimRandom(1)
	for range 10000 {
		alone.rtts = append(alone.rtts, r.up.service(random))
	}
	alone = totalOf([]simWindow{alone})
	// A queue of as many as there are workers costs a service time.
	if p99, most := w.quantile(0.99), alone.quantile(0.99)+time.Duration((2.5+25/n)*float64(alone.quantile(0.63))); p99 > most {
		t.Errorf("p99 %v, at most %v wanted, %v alone", p99, most, alone.quantile(0.99))
	}
}

// Low levels and trials cost little in any window of 20 round trips. With few workers one seat is much: there a trial shows; and
// where service times vary, the estimate does too.
func TestGradientHasNoDips(t *testing.T) {
	f := func(workers int, service func(*simRandom) time.Duration, worst, below95 float64) {
		t.Helper()
		ws := simRun{
			up: simUpstream{workers: workers, service: service}, load: 200 * float64(workers), tick: 20 * ms10,
			warm: 6 * time.Second, lasts: time.Duration(max(3, 600/workers)) * time.Second,
		}.seeds(t, 2)
		least, below := 1.0, 0
		for _, w := range ws {
			least = min(least, w.goodput())
			if w.goodput() < 0.95 {
				below++
			}
		}
		if g := totalOf(ws).goodput(); least < worst || float64(below) > below95*float64(len(ws)) || g < 0.98 {
			t.Errorf("%d workers: goodput %.3f, in the worst window %.3f; %d of %d windows below 95 %%", workers, g, least, below, len(ws))
		}
	}
	f(500, constant(ms10), 0.95, 0)
	f(200, constant(ms10), 0.95, 0)
	f(50, constant(ms10), 0.95, 0)
	f(20, constant(ms10), 0.95, 0)
	f(10, constant(ms10), 0.85, 0.05)
	f(5, constant(ms10), 0.75, 0.05)
	f(500, exponential(ms10), 0.93, 0.05)
	f(200, exponential(ms10), 0.93, 0.05)
	f(50, exponential(ms10), 0.85, 0.10)
	f(20, exponential(ms10), 0.75, 0.15)
}

// Below capacity nobody is refused, and the limit neither shrinks to what is in flight nor grows for nothing.
func TestGradientLeavesLightLoadAlone(t *testing.T) {
	for _, workers := range []int{5, 20, 100} {
		for _, load := range []float64{0.1, 0.3, 0.5, 0.8} {
			n := float64(workers)
			ws := simRun{
				up: simUpstream{workers: workers, service: exponential(ms10)}, load: load * n * 100,
				warm: 2 * time.Second, lasts: 10 * time.Second, tick: time.Second,
			}.seeds(t, 2)
			for i, w := range ws {
				if w.refused > 0 || w.limit < min(20, load*n) || w.limit > max(21, 4*n) {
					t.Errorf("%d workers at %v of their capacity: limit %.1f in window %d, %d refused", workers, load, w.limit, i, w.refused)
					break
				}
			}
		}
	}
}

// Ten minutes of overload: the limit stays where it is.
func TestGradientDoesNotDrift(t *testing.T) {
	f := func(workers int, service func(*simRandom) time.Duration, within float64) {
		t.Helper()
		ws := simRun{
			up: simUpstream{workers: workers, service: service}, load: 30 * float64(workers), warm: 2 * time.Minute, lasts: 10 * time.Minute,
		}.windows(t)
		minute, mean := len(ws)/10, totalOf(ws).limit
		for i := range 10 {
			if m := totalOf(ws[i*minute : (i+1)*minute]); math.Abs(m.limit/mean-1) > within || m.goodput() < 0.93 {
				t.Errorf("%d workers, minute %d: limit %.1f, in the mean %.1f; goodput %.3f", workers, i, m.limit, mean, m.goodput())
			}
		}
	}
	f(5, constant(5*ms10), 0.1)
	f(20, constant(5*ms10), 0.1)
	f(5, exponential(5*ms10), 0.25)
	f(20, exponential(5*ms10), 0.25)
}

// While the upstream becomes slower by 1 % a second, to seven times its service time, its concurrency stays the same. The limit
// stays near it, and most of what is left of the capacity is used.
func TestGradientFollowsSlowWorsening(t *testing.T) {
	f := func(service func(*simRandom) time.Duration, worst, mean float64) {
		t.Helper()
		ws := simRun{
			up: simUpstream{workers: 20, service: service, slowness: func(now mono.Time) float64 {
				return math.Pow(1.01, float64(now)/1e9)
			}},
			load: 3000, warm: 5 * time.Second, lasts: 195 * time.Second, tick: 15 * time.Second,
		}.seeds(t, 3)
		for i, w := range ws {
			if w.goodput() < worst || w.limit < 12 || w.limit > 40 {
				t.Errorf("window %d: goodput %.3f, limit %.1f", i, w.goodput(), w.limit)
			}
		}
		if g := totalOf(ws).goodput(); g < mean {
			t.Errorf("goodput %.3f", g)
		}
	}
	f(constant(ms10), 0.8, 0.9)
	f(exponential(ms10), 0.6, 0.87)
}

// TestGradientBeginsUpwards: what it was given to begin with is not taken away when the limit binds for the first time, whatever the first bursts of a
// load that the upstream can take.
func TestGradientBeginsUpwards(t *testing.T) {
	g := mustEstimator(t, EstimatorConfig{Initial: 20})
	least, now := 20, mono.Time(0)
	for range 400 {
		now = now.Add(3 * time.Millisecond)
		least = min(least, g.Observe(Observation{RTT: 60 * time.Millisecond, InFlight: g.Limit(), Now: now}))
	}
	if least < 20 {
		t.Errorf("it went down to %d", least)
	}
}
