package shaping

import (
	"math/rand/v2"
	"testing"
	"time"

	"weir/internal/mono"
)

// processor is a gateway whose CPU is what is scarce: 2,000 requests a second, a refusal costs a fifth of a request. Work that came too fast stands in
// line, for half a second at most; then connections are not accepted.
type processor struct {
	passed  float64 // a second, from 5 s after the overload began, times the capacity
	used    float64 // share of the CPU, in that time
	reacted time.Duration
	cleared time.Duration
}

func (p *processor) run(t *testing.T, offered float64) {
	t.Helper()
	const capacity, refusal, from, to, end = 2000.0, 0.2, 2.0, 20.0, 26.0
	rng := rand.New(rand.NewPCG(3, 7))
	s, m := shedder(t, defaults), meter(t, LoadConfig{CPU: 0.9})
	free, work, passed := 0.0, 0.0, 0.0
	for now, ticked := 0.0, 0.0; now < end; {
		rate := 0.4 * capacity
		if now > from && now < to {
			rate = offered * capacity
		}
		now += rng.ExpFloat64() / rate
		for now-ticked > 0.1 {
			ticked += 0.1
			used := min(1, work/0.1)
			work -= used * 0.1
			l := m.Tick(mono.Time(ticked*1e9), &Readings{{Value: used}})
			s.Tick(mono.Time(ticked*1e9), &l)
			switch need := 1 - 1/max(1, offered); { // roughly
			case ticked > from && ticked < to && p.reacted == 0 && s.Share() >= need*0.8:
				p.reacted = time.Duration((ticked - from) * 1e9)
			case ticked > to && p.cleared == 0 && s.Share() < 0.01:
				p.cleared = time.Duration((ticked - to) * 1e9)
			}
			if ticked > from+5 && ticked < to {
				p.used += used * 0.1 / (to - from - 5)
				p.passed += passed / capacity / (to - from - 5)
			}
			passed = 0
		}
		if free = max(free, now); free-now > 0.5 {
			continue
		}
		cost := refusal / capacity
		if !s.Shed(High+Band(rng.IntN(3)), rng.Uint32()) {
			cost = 1 / capacity
			passed++
		}
		work += cost
		free += cost
	}
}

// TestBusyProcessor: the CPU stays between 0.8 and 1 times its limit of 90 %, and what refusals leave of it goes to requests.
func TestBusyProcessor(t *testing.T) {
	for _, offered := range []float64{0.7, 1, 1.5, 2} {
		var p processor
		p.run(t, offered)
		best := min(offered, (p.used-0.2*offered)/0.8) // with that much CPU
		t.Logf("×%v: %+v, could have passed %.3f", offered, p, best)
		if offered > 0.8 && (p.used < 0.72 || p.used > 0.9) || p.passed < 0.98*best {
			t.Errorf("×%v: %+v, could have passed %.3f", offered, p, best)
		}
		if p.reacted > time.Second || p.cleared > 2*time.Second {
			t.Errorf("×%v: slow: %+v", offered, p)
		}
	}
}

// TestRefusalsAreNotFree: a processor that refusals alone use up has no more than four of five shed, as more would take from upstreams that have room
// and give the processor little back.
func TestRefusalsAreNotFree(t *testing.T) {
	s, err := NewShedder(ShedConfig{Threshold: 0.8, Rate: 0.1, Multipliers: [Bands]float64{High: 0.1, Normal: 0.5, Low: 1}})
	if err != nil {
		t.Fatal(err)
	}
	full := Load{Known: true}
	full.Parts[CPU] = Part{On: true, Known: true, Value: 1, Load: 1.11, Raw: 1.11}
	for now := mono.Time(0); now < mono.Time(time.Minute); now = now.Add(shedEvery) {
		s.Tick(now, &full)
	}
	if got := s.Share(); got < 0.75 || got > 0.8+1e-9 {
		t.Errorf("CPU alone: %.3f is shed, want 0.8", got)
	}
	full.Parts[Memory] = Part{On: true, Known: true, Value: 1.5, Load: 1.6, Raw: 1.6}
	for now := mono.Time(time.Minute); now < mono.Time(2*time.Minute); now = now.Add(shedEvery) {
		s.Tick(now, &full)
	}
	if got := s.Share(); got < 0.95 {
		t.Errorf("with memory: %.3f is shed, want nearly all", got)
	}
}
