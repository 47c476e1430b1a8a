package shaping

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"weir/internal/mono"
)

// loop is all there is between a client and an upstream of so many workers, wired as a gateway does it: who comes is shed or asks the gate for a seat,
// and every 100 ms the gate's queue makes the load that the shedder goes by.
type loop struct {
	*bench
	rng     *rand.Rand
	shed    *Shedder
	meter   *Meter
	backlog Backlog
	shedAt  mono.Time // the last

	workers int
	service time.Duration // mean
	busy    int
	line    []*guest // have a seat, and wait for a worker

	counts bool // whether what comes is tallied
	tally  loopTally
}

type loopTally struct {
	offered, served [Bands]int
	done            int           // at the upstream
	wait            time.Duration // the longest that was given a seat or refused
}

const (
	loopWorkers = 10
	loopService = 20 * time.Millisecond
	loopRate    = float64(loopWorkers) / 0.02 // what the upstream can do a second
)

func newLoop(t *testing.T, c GateConfig) *loop {
	t.Helper()
	return &loop{bench: newBench(c), rng: rand.New(rand.NewPCG(1, 3)), shed: shedder(t, defaults),
		meter: meter(t, LoadConfig{QueueDelay: 50 * time.Millisecond, InFlight: InFlightAuto}), workers: loopWorkers, service: loopService}
}

// tick is what a gateway does every 100 ms.
func (l *loop) tick() {
	s := l.g.Stats()
	var r Readings
	r[QueueDelay] = l.backlog.Tick(l.now, QueueState{Standing: l.g.Delay(l.now), Waiting: s.Waiting, Waited: s.Waited})
	r[InFlight].Value = float64(s.InFlight+s.Waiting) / float64(s.Limit+s.MaxLength)
	load := l.meter.Tick(l.now, &r)
	l.shed.Tick(l.now, &load)
	l.at(l.now.Add(100*time.Millisecond), l.tick)
}

func (l *loop) arrive() {
	c := Class{pick(offeredMix, l.rng.Float64()), 0, l.rng.Uint64N(10)}
	counts := l.counts
	if counts {
		l.tally.offered[c.Band]++
	}
	if l.shed.Shed(c.Band, l.rng.Uint32()) {
		l.shedAt = l.now
		return
	}
	l.askThen(Ask{Class: c, Due: mono.Never}, func(q *guest) {
		l.tally.wait = max(l.tally.wait, l.now.Sub(q.arrived))
		if q.answer != OK {
			return
		}
		if counts {
			l.tally.served[c.Band]++
		}
		l.line = append(l.line, q)
		l.work()
	})
}

// work gives idle workers something to do.
func (l *loop) work() {
	for l.busy < l.workers && len(l.line) > 0 {
		q := l.line[0]
		l.line = l.line[1:]
		l.busy++
		l.at(l.now.Add(time.Duration(l.rng.ExpFloat64()*float64(l.service))), func() {
			l.busy--
			if l.counts {
				l.tally.done++
			}
			l.leaves(q)
			l.work()
		})
	}
}

// offer has requests come at random until end.
func (l *loop) offer(rate float64, end mono.Time) {
	var next func()
	next = func() {
		if l.now < end {
			l.arrive()
			l.at(l.now.Add(time.Duration(l.rng.ExpFloat64()/rate*1e9)), next)
		}
	}
	l.at(l.now, next)
	l.run(end)
}

// TestLoop: from half to ten times of what can be done is offered for 15 s, between times at half. The upstream is kept busy, who waits does not wait for too
// long, what matters is served, and when it is over so is shedding.
func TestLoop(t *testing.T) {
	for _, algorithm := range []Algorithm{Fixed, Gradient} {
		for _, offered := range []float64{0.5, 1.5, 3, 10} {
			const from, to = mono.Time(5 * time.Second), mono.Time(20 * time.Second)
			c := GateConfig{Limit: 4096, MaxLength: 1024, MaxWait: 500 * time.Millisecond, Aging: 125 * time.Millisecond}
			c.Estimator = mustEstimator(t, EstimatorConfig{Algorithm: algorithm})
			l := newLoop(t, c)
			l.tick()
			l.offer(loopRate/2, from)
			early := l.shedAt
			l.counts = true
			l.offer(offered*loopRate, to)
			l.counts = false
			limit := l.g.Stats().Limit
			l.offer(loopRate/2, to+mono.Time(5*time.Second))

			goodput := float64(l.tally.done) / (loopRate * 15)
			cleared := max(0, l.shedAt.Sub(to))
			var rates [Bands]float64
			for b := range rates {
				rates[b] = float64(l.tally.served[b]) / float64(l.tally.offered[b])
			}
			at := fmt.Sprintf("%v ×%v: served %.4f, goodput %.3f, longest wait %v, shed for %v more, limit %d", algorithm, offered, rates, goodput, l.tally.wait, cleared, limit)
			t.Log(at)
			if goodput < 0.95*min(1, offered) || l.tally.wait > c.MaxWait || cleared > 2*time.Second || early > 0 {
				t.Error(at)
			}
			if offered > 1 && l.shedAt == 0 {
				t.Error("sheds nothing:", at)
			}
			if offered < 1 && (l.shedAt > 0 || rates != [Bands]float64{1, 1, 1, 1}) {
				t.Error("refuses what can be done:", at)
			}
			// All that is critical, or 15/16 of what is done.
			if rates[Critical] < min(0.999, 0.99*goodput*(openEvery-1)/openEvery/(offered*offeredMix[Critical])) || rates[Low] == 0 || math.IsNaN(rates[Low]) {
				t.Error("starves:", at)
			}
			for b := High; b < Bands; b++ {
				if rates[b] > rates[b-1] {
					t.Error("wrong order:", at)
				}
			}
		}
	}
}
