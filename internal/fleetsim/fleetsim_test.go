package fleetsim

import (
	"slices"
	"testing"
)

// short is a scenario of a low rate that lasts for d.
func short(name string, k Kind, d Time) *Scenario {
	p := Defaults(k)
	p.N, p.Rate, p.Burst = 5, 200, 20
	if name == "zipf" {
		p.Keys, p.Demand, p.Rate, p.Burst = 1000, 2000, 20, 20
	}
	s := Make(name, p)
	s.Duration = d
	return s
}

func TestDeterministic(t *testing.T) {
	f := func(sc *Scenario) {
		t.Helper()
		sc.Loss = 0.02
		a, b, c := Run(sc, probes{}.make, 7), Run(sc, probes{}.make, 7), Run(sc, probes{}.make, 8)
		if a != b {
			t.Errorf("%s: the same seed gave\n%v\n%v", sc.Name, a, b)
		}
		if a == c {
			t.Errorf("%s: another seed gave the same", sc.Name)
		}
	}
	for _, name := range Names() {
		f(short(name, TokenBucket, 13*Second))
	}
	f(short("crash", Concurrency, 20*Second))
	f(Random(Defaults(TokenBucket), 3))
}

// TestRandomKeepsItsBounds: the load never exceeds what the arrivals are thinned from.
func TestRandomKeepsItsBounds(t *testing.T) {
	f := func(s *Scenario) {
		t.Helper()
		for sec := 0.; sec < seconds(s.Duration); sec += 0.01 {
			all := 0.
			for i := range s.N {
				all += s.Load(sec, i)
			}
			if all > s.MaxLoad*(1+1e-9) {
				t.Errorf("%s, %d nodes, at %g s: load %g, at most %g", s.Name, s.N, sec, all, s.MaxLoad)
				return
			}
		}
	}
	for seed := range int64(20) {
		f(Random(Defaults(TokenBucket), seed))
	}
	for _, n := range []int{1, 2, 3, 7} {
		for _, name := range Names() {
			p := Defaults(TokenBucket)
			p.N, p.Demand = n, 100
			if n > 1 || name != "crash" && name != "onelink" && name != "scaleout" {
				f(Make(name, p))
			}
		}
	}
}

// TestEqualSplit holds the simulator against figures of an earlier one.
func TestEqualSplit(t *testing.T) {
	f := func(name string, want, by float64) {
		t.Helper()
		m := Run(Make(name, Defaults(TokenBucket)), newEqual, 1)
		if m.Env > 0.05 || !near(m.Err, want, by) {
			t.Errorf("%s: %v, want 0 / %g", name, m, want)
		}
	}
	f("balanced", -0.05, 0.05)
	f("skew90", -60, 0.3)
	f("single", -90, 0.1)
	f("flash", -0.4, 0.1)
	f("sub95", -3, 0.3)
	f("shift1", -59.4, 0.3)
	f("onoff", -3, 0.2)
	if m := Run(Make("partition", Defaults(TokenBucket)), newEqual, 1); !near(m.Over1s, 91.5, 1) || !near(m.Err, 21.8, 0.5) {
		t.Errorf("partition: %v, want 92 %% over in the worst second and an error of 22 %%", m)
	}
	if m := Run(Make("shift1", Defaults(TokenBucket)), newEqual, 1); m.ConvMs < 1000 || m.MsgsPS != 0 {
		t.Errorf("shift1: %v, want no convergence and no messages", m)
	}
}

// TestOneNodeIsTheOracle: with a true clock and no others an exact limiter is the ideal itself.
func TestOneNodeIsTheOracle(t *testing.T) {
	for _, k := range []Kind{TokenBucket, Concurrency} {
		for _, name := range []string{"balanced", "costs", "flash"} {
			s := short(name, k, 10*Second)
			s.N, s.Drift = 1, 0
			if m := Run(s, newEqual, 1); !near(m.Err, 0, 0.02) || m.Excess > 1e-3 || m.Admitted < 500 || m.Acc1s < 99.9 {
				t.Errorf("kind %d, %s: %v", k, name, m)
			}
		}
	}
}

// TestOpen: who admits all is seen to.
func TestOpen(t *testing.T) {
	p := Defaults(TokenBucket)
	m := Run(Make("balanced", p), newOpen, 1)
	if !near(m.Excess, 40_000, 1000) || !near(m.Over1s, 190, 20) || !near(m.Err, 199, 3) || m.Acc1s > 0 || m.Admitted != m.Offered {
		t.Errorf("bucket: %v", m)
	}
	if m := Run(Make("sub95", p), newOpen, 1); m.Excess > 30 || !near(m.Err, 0, 0.1) {
		t.Errorf("below the limit: %v", m)
	}
	if m := Run(Make("balanced", Defaults(FixedWindow)), newOpen, 1); !near(m.Env, 200, 20) || !near(m.Err, 200, 5) {
		t.Errorf("fixed window: %v", m)
	}
	if m := Run(Make("balanced", Defaults(SlidingWindow)), newOpen, 1); !near(m.Env, 200, 20) || !near(m.Err, 200, 5) {
		t.Errorf("sliding window: %v", m)
	}
}

// TestConcurrency: there are 100 seats and demand for 300.
func TestConcurrency(t *testing.T) {
	p := Defaults(Concurrency)
	if m := Run(Make("balanced", p), newOpen, 1); !near(m.Env, 200, 60) || !near(m.Excess, 200, 60) || !near(m.Err, 200, 15) {
		t.Errorf("open: %v, want about 300 seats in use", m)
	}
	if m := Run(Make("skew90", p), newEqual, 1); m.Excess != 0 || !near(m.Err, -60, 5) {
		t.Errorf("equal split: %v", m)
	}
	// A crash frees the seats of the node; those in use elsewhere stay.
	if m := Run(Make("crash", p), newEqual, 1); m.Excess > 12 || !near(m.Err, -6, 4) {
		t.Errorf("crash: %v, want no more than what the others took over", m)
	}
	p.N, p.Rate, p.Service = 1, 0.1, 1000*Second
	s := Make("balanced", p)
	s.Load = func(float64, int) float64 { return 100 }
	s.MaxLoad, s.Duration = 100, 10*Second
	s.Events = []Event{{At: 5 * Second, What: Crash, Nodes: []int{0}}, {At: 5 * Second, What: Join, Nodes: []int{0}}}
	if m := Run(s, newEqual, 1); !near(m.Admitted, 200, 5) || !near(m.Ideal, 200, 5) || m.Excess != 0 {
		t.Errorf("one node that crashes: %v admitted %g of %g, want each seat taken twice", m, m.Admitted, m.Ideal)
	}
}

// TestSeatsOfADeadNode: its requests do not end at its next life.
func TestSeatsOfADeadNode(t *testing.T) {
	s := Make("crash", Defaults(Concurrency))
	s.Service = 3 * Second
	s.Load = func(sec float64, i int) float64 { return 100 * float64(i%2) * float64(max(0, 8-int(sec))) }
	s.MaxLoad = 8 * 100 * 5
	s.Events[1].At = s.Events[0].At
	made := map[uint32]*equal{}
	Run(s, func(e Env) Node {
		q := newEqual(e).(*equal)
		if e.ID == 1 {
			made[e.Incarnation] = q
		}
		return q
	}, 1)
	if len(made) != 2 || len(made[1].keys) != 1 || len(made[2].keys) != 0 {
		t.Errorf("nodes that served keys: %v", made)
	}
}

func TestManyKeys(t *testing.T) {
	s := short("zipf", TokenBucket, 5*Second)
	s.Sticky = true
	m := Run(s, newEqual, 1)
	s.Sticky = false
	if spread := Run(s, newEqual, 1); m.KeyErr < 2*spread.KeyErr || m.KeyErrMax < 80 || spread.KeyErrMax > 80 {
		t.Errorf("sticky keys: %v\nspread: %v\nwant an equal split to starve the sticky ones", m, spread)
	}
}

// hasty is a probe that wants to be woken at 0.5 s, and with its first request after 0.1 s changes that to 0.3 s.
type hasty struct{ *probe }

func (h hasty) Allow(now Time, key uint64, n int) bool {
	if at := now - h.env.Now; at > 100*Millisecond && h.wake > h.env.Now+300*Millisecond {
		h.wake = h.env.Now + 300*Millisecond
	}
	return h.probe.Allow(now, key, n)
}

func TestWake(t *testing.T) {
	s := Make("balanced", Defaults(TokenBucket))
	s.N, s.Duration, s.Drift, s.Delta = 2, Second, 0, 1000*Second // no ticks but those that are asked for
	f := probes{}
	Run(s, func(e Env) Node {
		f.make(e)
		if e.ID != 0 {
			return f[e.ID]
		}
		f[0].wake = e.Now + 500*Millisecond
		return hasty{f[0]}
	}, 1)
	if !slices.Equal(f[0].ticks, []Time{300 * Millisecond}) || len(f[1].ticks) != 0 {
		t.Errorf("ticks at %v and %v", f[0].ticks, f[1].ticks)
	}
}
