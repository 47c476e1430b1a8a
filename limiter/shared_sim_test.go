package limiter

import (
	"testing"
	"time"

	"weir/internal/fleetsim"
)

// sharedScenarios are what limits other than buckets are judged by.
var sharedScenarios = []string{"balanced", "skew90", "shift1", "onoff", "flash", "sub95", "sub99", "partition", "split21", "crash", "rolling", "scaleout"}

func init() {
	if raceEnabled { // which is slow
		sharedScenarios = []string{"balanced", "onoff", "split21", "rolling"}
	}
}

// figure is how far a run may be off: excess in units, error from and to in percent.
type figure struct{ excess, low, high float64 }

// judge runs every scenario with 3 and 10 nodes. A scenario that is not among the figures has those of "".
func judge(t *testing.T, build func() fleetsim.Params, figures func(n int) map[string]figure) {
	t.Helper()
	sizes := []int{3, 10}
	if raceEnabled {
		sizes = sizes[:1]
	}
	for _, n := range sizes {
		want := figures(n)
		for _, sc := range sharedScenarios {
			p := build()
			p.N = n
			m := fleetsim.RunSeeds(fleetsim.Make(sc, p), simFactory(t, nil), 1)
			f, ok := want[sc]
			if !ok {
				f = want[""]
			}
			if m.Excess > f.excess || m.Err < f.low || m.Err > f.high {
				t.Errorf("%s, %d nodes: excess %.1f, at most %.1f; error %+.2f %%, %g to %g", sc, n, m.Excess, f.excess, m.Err, f.low, f.high)
			}
			t.Logf("%-10s N=%d excess %.1f (%.2f %%), error %+.2f %%, %.0f B/s", sc, n, m.Excess, m.Env, m.Err, m.BytesPS)
		}
	}
}

// TestSharedQuotaSim: with clocks that agree, a quota is never exceeded by more than its bound, and all of it is there. What is spent
// between the cut of a network and its notice is spent twice; what a node may have spent that died is lost to its window.
func TestSharedQuotaSim(t *testing.T) {
	judge(t, func() fleetsim.Params {
		p := fleetsim.Defaults(fleetsim.FixedWindow)
		p.Window, p.Duration, p.Skew, p.Drift = 10*fleetsim.Second, 40*fleetsim.Second, 0, 0
		return p
	}, func(n int) map[string]figure {
		ok := float64(n) + 6
		return map[string]figure{
			"":          {ok, -0.05, 0.05},
			"partition": {700, -0.1, 2.5},
			"split21":   {700, -0.1, 2.5},
			"crash":     {ok, -12, 0.05},
		}
	})
}

// TestSharedQuotaClocks: nodes whose clocks differ by up to 10 ms follow the fastest. What it admits early counts as of the window before.
func TestSharedQuotaClocks(t *testing.T) {
	p := fleetsim.Defaults(fleetsim.FixedWindow)
	p.Window, p.Duration = 10*fleetsim.Second, 40*fleetsim.Second
	for _, sc := range []string{"balanced", "onoff", "scaleout", "rolling"} {
		for _, n := range []int{3, 10} {
			if p.N = n; raceEnabled && n > 3 {
				break
			}
			s := fleetsim.Make(sc, p)
			m := fleetsim.Run(s, simFactory(t, nil), 1)
			early := s.MaxLoad * sec(2*time.Duration(p.Skew))
			if allowed := float64(n) + 6 + early; m.Excess > allowed || m.Err < -0.05 || m.Err > 0.2 {
				t.Errorf("%s, %d nodes: excess %.1f of %.1f, error %+.2f %%", sc, n, m.Excess, allowed, m.Err)
			}
		}
	}
}

// TestSharedQuotaSmall: a quota of which a node's share is few units, asked for slowly.
func TestSharedQuotaSmall(t *testing.T) {
	judge(t, func() fleetsim.Params {
		p := fleetsim.Defaults(fleetsim.FixedWindow)
		p.Rate, p.Window, p.Duration = 5, 20*fleetsim.Second, 60*fleetsim.Second
		return p
	}, func(int) map[string]figure {
		return map[string]figure{"": {3, -1.5, 1}}
	})
}

// TestSharedSeatsSim: never more in use than the limit and the bound; admitted as demand wants it, where an equal split loses up to 60 %
// (a node with 90 % of the demand); what a dead node had comes back.
func TestSharedSeatsSim(t *testing.T) {
	judge(t, func() fleetsim.Params { return fleetsim.Defaults(fleetsim.Concurrency) }, func(n int) map[string]figure {
		bound := float64(n) + 3
		return map[string]figure{
			"":         {bound, -7, 3},
			"scaleout": {bound + 6, -7, 3}, // who was alone does not tell newcomers before it knows them
			"skew90":   {bound, -2, 2},
			"crash":    {bound, -11, 1},
			"rolling":  {bound, -8, 1},
		}
	})
}
