package limiter

import (
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"weir/internal/fleetsim"
)

// ceiling is how far a scenario may be off: the error in percent of what one limiter would admit, either way, and the excess in percent of
// the burst and a second of the rate.
type ceiling struct{ err, excess float64 }

// ceilings by scenario, for 3 nodes and for 10: about twice what is measured, and no less than 0.1 and 1. A cut off minority that keeps a tenth
// of its share costs what the bound does not cover; a crashed node's share is lost until the others may have it.
var ceilings = map[string][2]ceiling{
	"balanced":        {{.1, 1}, {.1, 1}},
	"skew90":          {{.1, 1}, {.1, 1}},
	"single":          {{.1, 1}, {.1, 1}},
	"shift1":          {{.1, 1}, {.1, 1}},
	"onoff":           {{.3, 2}, {1, 1.5}},
	"flash":           {{.1, 1.5}, {.2, 1}},
	"coldburst":       {{2.5, 1}, {1.2, 1}},
	"sub95":           {{.1, 1}, {.1, 1}},
	"sub99":           {{.2, 1}, {.2, 1}},
	"subskew95":       {{.1, 1}, {.1, 1}},
	"costs":           {{.3, 2}, {.5, 2}},
	"partition":       {{1.2, 8}, {.3, 4}},
	"partition-shift": {{30, 5}, {20, 1}},
	"minority":        {{1.2, 8}, {1.2, 7}},
	"split21":         {{1.2, 8}, {1.2, 8}},
	"oneway":          {{1.2, 8}, {1.2, 7}},
	"onelink":         {{.1, 1}, {.1, 1}},
	"crash":           {{9, 1}, {3, 1}},
	"rolling":         {{.1, 1}, {.1, 1}},
	"scaleout":        {{.1, 4}, {.1, 1}},
}

// fairness is Jain's index in scenarios after which levels have to meet again.
var fairness = map[string][2]float64{
	"balanced": {.99, .99}, "rolling": {.97, .97}, "scaleout": {.95, .97}, "partition": {.85, .97}, "minority": {.85, .8}, "crash": {.9, .9},
	"oneway": {.85, .8}, "onelink": {.98, .98},
}

// apart are those in which nodes are not in touch.
var apart = map[string]bool{"partition": true, "partition-shift": true, "minority": true, "split21": true, "oneway": true}

// simBound is the bound that doc.go derives.
func simBound(p fleetsim.Params) float64 {
	n, r, gap := float64(p.N), p.Rate, minGap.Seconds()
	slack := max(1, slackShare*(p.Burst+p.Rate)/n, float64(p.MaxCost))
	if p.Burst/n < 4 && p.Burst >= 40 {
		slack = max(2, slack)
	}
	delay := float64(p.Delay) / 1e9
	return n*(slack+.5) + 2*r*(2*delay+gap) + r*float64(p.Delta)/1e9/2
}

func simParams(n int) fleetsim.Params {
	p := fleetsim.Defaults(fleetsim.TokenBucket)
	p.N = n
	return p
}

func TestFleetScenarios(t *testing.T) {
	sizes := []int{3, 10}
	if raceEnabled || testing.Short() {
		sizes = sizes[:1]
	}
	for i, n := range sizes {
		for name, limits := range ceilings {
			t.Run(fmt.Sprintf("%d/%s", n, name), func(t *testing.T) {
				t.Parallel()
				sc := fleetsim.Make(name, simParams(n))
				m := fleetsim.Run(sc, simFactory(t, nil), 1)
				if c := limits[i]; math.Abs(m.Err) > c.err || m.Env > c.excess {
					t.Errorf("error %+.2f %%, excess %.1f %%; at most %v", m.Err, m.Env, c)
				}
				if fair, ok := fairness[name]; ok && m.Jain < fair[i] {
					t.Errorf("fairness %.3f, at least %v", m.Jain, fair[i])
				}
				if b := simBound(sc.Params); !apart[name] && m.Excess > b {
					t.Errorf("excess of %.1f units, the bound is %.1f", m.Excess, b)
				}
				if m.Over1s > 5 {
					t.Errorf("in a second %.1f %% over", m.Over1s)
				}
			})
		}
	}
}

// In touch, the bound holds whatever the size, the burst and the network.
func TestFleetBound(t *testing.T) {
	worst := 0.0
	check := func(name string, n int, change func(*fleetsim.Params)) {
		p := simParams(n)
		p.Duration = 8 * fleetsim.Second
		change(&p)
		m := fleetsim.Run(fleetsim.Make(name, p), simFactory(t, nil), 3)
		b := simBound(p)
		worst = max(worst, m.Excess/b)
		if m.Excess > b {
			t.Errorf("%s, %d nodes, burst %v, loss %v, delay %v: excess of %.1f units, the bound is %.1f", name, n, p.Burst, p.Loss, p.Delay, m.Excess, b)
		}
	}
	for _, name := range []string{"balanced", "skew90", "shift1", "onoff", "flash", "coldburst"} {
		check(name, 3, func(p *fleetsim.Params) { p.Loss = 0.05 })
		check(name, 3, func(p *fleetsim.Params) { p.Delay = 50 * fleetsim.Millisecond })
		check(name, 5, func(p *fleetsim.Params) { p.Burst = 1000 })
		if raceEnabled {
			continue
		}
		check(name, 10, func(p *fleetsim.Params) { p.Loss, p.Delay = 0.05, 2*fleetsim.Millisecond })
	}
	if raceEnabled {
		return
	}
	for _, name := range []string{"balanced", "shift1", "flash"} {
		check(name, 30, func(*fleetsim.Params) {})
	}
	t.Logf("at most %.0f %% of the bound", 100*worst)
}

// Ten thousand keys, of which few are near their limits.
func TestFleetManyKeys(t *testing.T) {
	if raceEnabled {
		t.Skip("one goroutine")
	}
	for _, sticky := range []bool{false, true} {
		m := fleetsim.Run(fleetsim.Make("zipf", zipfParams(10, sticky, 5)), simFactory(t, nil), 1)
		if math.Abs(m.Err) > 0.5 || m.Env > 5 || m.KeyErrMax > 8 {
			t.Errorf("sticky %v: error %+.2f %%, worst key %.1f %%, excess %.1f %%", sticky, m.Err, m.KeyErrMax, m.Env)
		}
		if ceiling := map[bool]float64{false: 400e3, true: 60e3}[sticky]; m.BytesPS > ceiling {
			t.Errorf("sticky %v: %.0f bytes per second and node", sticky, m.BytesPS)
		}
	}
}

func zipfParams(n int, sticky bool, seconds int64) fleetsim.Params {
	p := simParams(n)
	p.Keys, p.Demand, p.Rate, p.Burst, p.Sticky = 10_000, 20_000, 50, 50, sticky
	p.Duration = seconds * fleetsim.Second
	return p
}

var fleetTable = flag.String("fleet-table", "", "write the figures of every scenario to this `file`, as Markdown")

func TestFleetTable(t *testing.T) {
	if *fleetTable == "" {
		t.Skip("make fleet-table writes the table")
	}
	var b strings.Builder
	b.WriteString(tableHead)
	for _, n := range []int{3, 10, 30} {
		fmt.Fprintf(&b, "\n## %d nodes\n\n| scenario | excess %% | error %% | worst second over %% | fairness | 1 s accuracy %% | ms to follow | kB/s per node |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n", n)
		for _, name := range fleetsim.Names() {
			p, seeds := simParams(n), 3
			if name == "zipf" {
				p, seeds = zipfParams(n, false, 10), 1
			}
			row(&b, name, fleetsim.RunSeeds(fleetsim.Make(name, p), simFactory(t, nil), seeds))
			if name == "zipf" {
				row(&b, "zipf, sticky", fleetsim.RunSeeds(fleetsim.Make(name, zipfParams(n, true, 10)), simFactory(t, nil), 1))
			}
		}
	}
	if err := os.WriteFile(*fleetTable, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func row(b *strings.Builder, name string, m fleetsim.Metrics) {
	fmt.Fprintf(b, "| %s | %.1f | %+.2f | %.1f | %.3f | %.2f | %.0f | %.1f |\n", name, m.Env, m.Err, m.Over1s, m.Jain, m.Acc1s, m.ConvMs, m.BytesPS/1000)
}

const tableHead = `# One limit, many nodes: figures from simulation

Written by ` + "`make fleet-table`" + `: the limiter itself in the simulator of internal/fleetsim, seeds 1 to 3 (zipf: 1), R = 1,000 per second, B = 100, frames
every 100 ms, 0.5 ms of network one way. Of excess the worst of the seeds is shown, of the rest the mean. zipf: 10,000 keys of 50 per
second, 20,000 requests per second.

- excess: the most that was admitted beyond B and R·T in an interval of any length T, of B and a second of R
- error: what was admitted against one limiter that sees every request
- worst second over: of R, beyond B + R
- fairness: Jain's index of what nodes admit of what they are offered, second by second
- ms to follow: until a node that becomes the busy one has 80 % of its due; 0: no such scenario
`
