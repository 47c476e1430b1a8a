package fleetsim

import (
	"reflect"
	"testing"
)

// watch runs a scenario of n nodes with probes.
func watch(t *testing.T, name string, n int) (probes, *Scenario) {
	t.Helper()
	p := Defaults(TokenBucket)
	p.N = n
	p.Rate, p.Drift = 10, 0
	f, s := probes{}, Make(name, p)
	Run(s, f.make, 1)
	return f, s
}

// expect checks who hears whom in a span of seconds.
func (f probes) expect(t *testing.T, after, before float64, want func(from, to int) bool) {
	t.Helper()
	for from := range f {
		for to := range f {
			if from != to && f[to].hears(from, after, before) != want(from, to) {
				t.Errorf("from %g s to %g s: that %d hears %d is %v", after, before, to, from, !want(from, to))
			}
		}
	}
}

func all(int, int) bool { return true }

func TestPartition(t *testing.T) {
	f, _ := watch(t, "partition", 5)
	same := func(a, b int) bool { return (a < 2) == (b < 2) }
	f.expect(t, 0, 10, all)
	f.expect(t, 10.01, 20, same)
	f.expect(t, 21, 30, all)
	for i, want := range [][]int{{0, 1}, {0, 1}, {2, 3, 4}, {2, 3, 4}, {2, 3, 4}} {
		for sec, want := range map[float64][]int{13: {0, 1, 2, 3, 4}, 15: want, 20.2: want, 21: {0, 1, 2, 3, 4}} {
			if got := f[i].sees(sec); !reflect.DeepEqual(got, want) {
				t.Errorf("node %d at %g s: sees %v, want %v", i, sec, got, want)
			}
		}
	}
}

func TestSplit21(t *testing.T) {
	f, s := watch(t, "split21", 10)
	if s.N != 3 || len(f) != 3 {
		t.Fatalf("%d nodes", s.N)
	}
	f.expect(t, 10.01, 20, func(a, b int) bool { return a < 2 && b < 2 })
	f.expect(t, 21, 30, all)
	if got := f[2].sees(15); !reflect.DeepEqual(got, []int{2}) {
		t.Errorf("the one sees %v", got)
	}
}

// TestOneWay: node 2 of 3 cannot be heard, but hears until the others take it for dead.
func TestOneWay(t *testing.T) {
	f, _ := watch(t, "oneway", 3)
	f.expect(t, 0, 10, all)
	f.expect(t, 10.01, 13, func(from, _ int) bool { return from != 2 })
	f.expect(t, 15, 20, func(from, to int) bool { return from != 2 && to != 2 }) // nobody sends it anything
	f.expect(t, 21, 30, all)
	if a, b := f[0].sees(15), f[2].sees(15); !reflect.DeepEqual(a, []int{0, 1}) || !reflect.DeepEqual(b, []int{2}) {
		t.Errorf("at 15 s the others see %v and it sees %v", a, b)
	}
}

// TestOneLink: node 1 does not hear node 0, but knows from others that it is there.
func TestOneLink(t *testing.T) {
	f, _ := watch(t, "onelink", 4)
	f.expect(t, 10.01, 20, func(from, to int) bool { return from != 0 || to != 1 })
	f.expect(t, 21, 30, all)
	for sec := range 30 {
		if got := f[1].sees(float64(sec)); len(got) != 4 {
			t.Errorf("at %d s it sees %v", sec, got)
		}
	}
}

func TestCrashAndRestart(t *testing.T) {
	f, _ := watch(t, "crash", 4)
	if p := f[1]; p.env.Incarnation != 2 || p.env.Fresh || p.took != 2 || len(p.env.Alive) != 4 {
		t.Errorf("the second life: %+v, took %d snapshots", p.env, p.took)
	}
	f2 := f[0]
	if f2.hears(1, 8.01, 18) || !f2.hears(1, 18.5, 30) {
		t.Error("node 0 hears the dead, or not the living")
	}
	for sec, want := range map[float64]int{10: 4, 14: 3, 17: 3, 19: 4} {
		if got := f2.sees(sec); len(got) != want {
			t.Errorf("at %g s node 0 sees %v", sec, got)
		}
	}
}

// TestOldNews: what was on its way to a node when that died is not news for its next life.
func TestOldNews(t *testing.T) {
	p := Defaults(TokenBucket)
	p.N, p.Rate, p.Duration = 3, 10, 8*Second
	s, f := Make("balanced", p), probes{}
	s.Events = []Event{
		{At: 1 * Second, What: Crash, Nodes: []int{1}}, {At: 2 * Second, What: Crash, Nodes: []int{2}},
		{At: 2500 * Millisecond, What: Join, Nodes: []int{1}}, {At: 3 * Second, What: Join, Nodes: []int{2}},
	}
	Run(s, f.make, 1)
	if v := f[2].views; len(v) != 1 || len(v[0].alive) != 3 {
		t.Errorf("node 2 sees %v", v)
	}
}

func TestRolling(t *testing.T) {
	left := map[int]bool{}
	p := Defaults(TokenBucket)
	p.N, p.Rate = 3, 10
	goodbyes := 0
	var made []*probe
	f := probes{}
	Run(Make("rolling", p), func(e Env) Node {
		n := f.make(e)
		made = append(made, n.(*probe))
		return n
	}, 1)
	for _, p := range made {
		if p.said {
			goodbyes++
		}
		for _, v := range p.views {
			for _, l := range v.left {
				left[l] = true
			}
		}
	}
	if len(made) != 6 || goodbyes != 3 || len(left) != 3 {
		t.Errorf("%d lives, %d goodbyes, left %v", len(made), goodbyes, left)
	}
}

func TestScaleOut(t *testing.T) {
	f, _ := watch(t, "scaleout", 6)
	for i, p := range f {
		if late := i >= 3; p.env.Fresh == late || (p.took == 2) != late {
			t.Errorf("node %d: fresh %v, %d snapshots", i, p.env.Fresh, p.took)
		}
		if got := p.sees(20); len(got) != 6 {
			t.Errorf("node %d sees %v at last", i, got)
		}
	}
}

// TestNetwork: delay, loss and the count of bytes.
func TestNetwork(t *testing.T) {
	p := Defaults(TokenBucket)
	p.N, p.Rate, p.Loss, p.Duration, p.Drift = 2, 10, 0.25, 100*Second, 0
	f := probes{}
	m := Run(Make("balanced", p), f.make, 1)
	sent, got := len(f[0].ticks), len(f[1].heard[0])
	if share := float64(got) / float64(sent); !near(share, 0.75, 0.05) || !near(float64(sent), 1000, 20) {
		t.Errorf("%d of %d messages arrived", got, sent)
	}
	if !near(m.MsgsPS, 10, 0.2) || !near(m.BytesPS, 31*m.MsgsPS, 1e-6) {
		t.Errorf("%v", m)
	}
	if !near(float64(f[0].env.Now-f[1].env.Now), 0, 10e9) || f[0].env.Now == f[1].env.Now {
		t.Errorf("clocks %d and %d", f[0].env.Now, f[1].env.Now)
	}
}
