package shaping

import (
	"errors"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

const tenth = mono.Time(100 * time.Millisecond)

func meter(t *testing.T, c LoadConfig) *Meter {
	t.Helper()
	m, err := NewMeter(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestWorstSignalCounts: each signal over its own limit, and the greatest of these is the load.
func TestWorstSignalCounts(t *testing.T) {
	c := LoadConfig{CPU: 0.9, Memory: 0.5, QueueDelay: 50 * time.Millisecond, InFlight: 200, Global: true}
	f := func(cpu, memory, delay, inflight, peers, level, own float64, worst Signal) {
		t.Helper()
		l := meter(t, c).Tick(tenth, &Readings{{Value: cpu}, {Value: memory}, {Value: delay}, {Value: inflight}, {Value: peers}})
		if math.Abs(l.Level-level) > 1e-9 || math.Abs(l.Own-own) > 1e-9 || l.Worst != worst || !l.Known {
			t.Errorf("level %v, own %v, worst %v; want %v, %v, %v", l.Level, l.Own, l.Worst, level, own, worst)
		}
	}
	f(0.45, 0.1, 0.01, 20, 0.1, 0.5, 0.5, CPU)
	f(0.45, 0.4, 0.01, 20, 0.1, 0.8, 0.8, Memory)
	f(0.45, 0.4, 0.075, 20, 0.1, 1.5, 1.5, QueueDelay)
	f(0.45, 0.4, 0.01, 180, 0.1, 0.9, 0.9, InFlight)
	f(0.45, 0.1, 0.01, 20, 0.7, 0.7, 0.5, Peers)
	f(0.9, 0.1, 9, 900, 0.7, 2, 2, QueueDelay) // 180 and 4.5, but no load is beyond 2
	f(0, 0, 0, 0, 0, 0, 0, CPU)
}

// TestOnlyCPUIsSmoothed: 63 % of a step after a second.
func TestOnlyCPUIsSmoothed(t *testing.T) {
	m := meter(t, LoadConfig{CPU: 1, Memory: 1})
	m.Tick(tenth, &Readings{})
	var l Load
	for i := range mono.Time(10) {
		l = m.Tick((2+i)*tenth, &Readings{{Value: 1}, {Value: 1}})
		if l.Parts[Memory].Value != 1 || l.Parts[CPU].Raw != 1 {
			t.Fatalf("%+v", l)
		}
	}
	if got := l.Parts[CPU].Value; math.Abs(got-0.632) > 0.001 {
		t.Errorf("%v after a second", got)
	}
}

// TestUnknownSignal: the last reading counts for a while, then none, and it is told.
func TestUnknownSignal(t *testing.T) {
	m, bad := meter(t, LoadConfig{CPU: 1, Memory: 1}), errors.New("no such file")
	l := m.Tick(tenth, &Readings{Unread(bad), {Value: 0.2}})
	if l.Parts[CPU].Known || l.Parts[CPU].Err != bad || !l.Known || l.Level != 0.2 {
		t.Errorf("never read: %+v", l)
	}
	m.Tick(2*tenth, &Readings{{Value: 0.9}, {Value: 0.2}})
	l = m.Tick(52*tenth, &Readings{Unread(bad), {Value: 0.2}})
	if !l.Parts[CPU].Known || l.Parts[CPU].Err != bad || l.Level != 0.9 {
		t.Errorf("5 s later: %+v", l)
	}
	l = m.Tick(53*tenth, &Readings{Unread(bad), {Value: 0.2}})
	if l.Parts[CPU].Known || l.Level != 0.2 {
		t.Errorf("after that: %+v", l)
	}
	l = m.Tick(200*tenth, &Readings{Unread(bad), {Value: math.NaN()}})
	if l.Known || l.Level != 0 || l.Parts[Memory].Err == nil {
		t.Errorf("nothing known: %+v", l)
	}
	l = m.Tick(201*tenth, &Readings{{Value: 0.5}, {Value: math.Inf(1)}})
	if l.Level != 0.5 {
		t.Errorf("known again: %+v", l)
	}
}

func TestSignalsOff(t *testing.T) {
	m := meter(t, LoadConfig{InFlight: InFlightAuto})
	l := m.Tick(tenth, &Readings{{Value: 1}, {Value: 1}, {Value: 1}, {Value: 0.3}, {Value: 1}})
	if l.Level != 0.3 || l.Parts[CPU].On || l.Parts[Peers].On {
		t.Errorf("%+v", l)
	}
	if err := m.Reshape(LoadConfig{CPU: 1, InFlight: 600}); err != nil {
		t.Fatal(err)
	}
	l = m.Tick(2*tenth, &Readings{{Value: 0.25}, {}, {}, Unread(errFirst), {}})
	if l.Level != 0.25 || l.Parts[InFlight].Known {
		t.Errorf("a share was taken for a number: %+v", l)
	}
}

func TestLoadConfigFaults(t *testing.T) {
	f := func(c LoadConfig, want string) {
		t.Helper()
		_, err := NewMeter(c)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", c, err, want)
		}
	}
	f(LoadConfig{}, "all signals are off")
	f(LoadConfig{Global: true}, "all signals are off")
	f(LoadConfig{CPU: 1.1}, "cpu is 1.1")
	f(LoadConfig{CPU: math.NaN()}, "cpu is NaN")
	f(LoadConfig{CPU: 1, Memory: -0.1}, "memory is -0.1")
	f(LoadConfig{QueueDelay: -1}, "queue_delay is -1ns")
	f(LoadConfig{InFlight: -2}, "inflight is -2")
	m := meter(t, LoadConfig{CPU: 0.5})
	if m.Reshape(LoadConfig{CPU: 2}) == nil || m.config.CPU != 0.5 {
		t.Error("a faulty configuration was taken")
	}
}

// TestLoadIsAlwaysSane: whatever is read, the load is from 0 to MaxLevel and no signal above it is left out.
func TestLoadIsAlwaysSane(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, err := NewMeter(LoadConfig{CPU: 0.5, Memory: 1, QueueDelay: time.Second, InFlight: InFlightAuto, Global: true})
		if err != nil {
			t.Fatal(err)
		}
		now := mono.Time(0)
		for range rapid.IntRange(1, 30).Draw(t, "ticks") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 3e9).Draw(t, "elapsed")))
			var r Readings
			for s := range r {
				if r[s].Value = rapid.Float64().Draw(t, "value"); rapid.Bool().Draw(t, "bad") {
					r[s].Err = errFirst
				}
			}
			l := m.Tick(now, &r)
			if !(l.Own >= 0 && l.Own <= l.Level && l.Level <= MaxLevel && l.Pressure() <= 1) {
				t.Fatalf("%+v", l)
			}
			for _, p := range l.Parts {
				if p.Known && min(p.Load, MaxLevel) > l.Level || !p.Known && p.Value != 0 {
					t.Fatalf("%+v", l)
				}
			}
		}
	})
}

func TestBacklog(t *testing.T) {
	var b Backlog
	f := func(at mono.Time, standing time.Duration, waiting int, waited uint64, want float64) {
		t.Helper()
		if got := b.Tick(at, QueueState{standing, waiting, waited}).Value; math.Abs(got-want) > 1e-9 {
			t.Errorf("at %d: got %v, want %v", at/tenth, got, want)
		}
	}
	f(1*tenth, 0, 50, 1000, 0)                       // a burst
	f(2*tenth, 30*time.Millisecond, 50, 1100, 0.05)  // 1,000/s are given a seat
	f(3*tenth, 30*time.Millisecond, 90, 1180, 0.1)   // 900/s on average
	f(4*tenth, 40*time.Millisecond, 0, 1180, 0)      // gone
	f(5*tenth, 40*time.Millisecond, 10, 1180, 0.04)  // nobody was served
	f(6*tenth, 40*time.Millisecond, 10, 7, 0.04)     // another gate
	f(6*tenth, 40*time.Millisecond, 10, 107, 0.04)   // no time has passed
	f(7*tenth, 40*time.Millisecond, 100, 1107, 0.01) // 10,000/s
}

// TestGoMemory: what no longer lives is garbage, and the rest of what is mapped is needed.
func TestGoMemory(t *testing.T) {
	f := func(limit int64, total, released, objects, unused, free, live uint64, want goMemory) {
		t.Helper()
		if got := goMemoryOf(limit, [...]uint64{total, released, objects, unused, free, live}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	f(1000, 900, 100, 500, 50, 30, 200, goMemory{limit: 1000, needed: 420, garbage: 380})
	f(1000, 900, 0, 500, 50, 30, 580, goMemory{limit: 1000, needed: 900})
	f(1000, 900, 0, 500, 50, 30, 700, goMemory{limit: 1000, needed: 900}) // read while a collection ended
	f(1000, 100, 200, 500, 0, 0, 100, goMemory{limit: 1000, garbage: 400})
	f(0, 900, 0, 500, 0, 0, 400, goMemory{limit: 1, needed: 800, garbage: 100})
	f(1000, 0, 0, 0, 0, 0, 0, goMemory{limit: 1000})
}

// TestReadGoMemory: the runtime knows all the figures, and without a limit nothing is said.
func TestReadGoMemory(t *testing.T) {
	known := map[string]metrics.ValueKind{}
	for _, d := range metrics.All() {
		known[d.Name] = d.Kind
	}
	for _, name := range goMemoryNames {
		if known[name] != metrics.KindUint64 {
			t.Errorf("%s is of kind %v", name, known[name])
		}
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	if g := readGoMemory(); g != (goMemory{}) {
		t.Errorf("without a limit: %+v", g)
	}
	debug.SetMemoryLimit(8 << 30)
	if g := readGoMemory(); g.limit != 8<<30 || g.needed == 0 {
		t.Errorf("%+v", g)
	}
}
