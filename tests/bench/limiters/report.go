package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"weir/internal/mono"
	"weir/tests/bench/machine"
	"weir/tests/bench/stats"
)

// The budgets, in ns, units of the heap, and bytes.
const (
	aloneBudget  = 100
	hotBudget    = 250
	memoryBudget = 64
)

// render is the report as Markdown.
func render(opt *options, tables []*table) string {
	var b strings.Builder
	m := machine.This()
	fmt.Fprintf(&b, "# One decision: weir's limiter beside others\n\n%s, commit %s. %s, %s, %s. %s. Load average before the run: %s (a quiet machine "+
		"is below 0.5; on a busy one the figures scatter).\n\n", time.Now().UTC().Format(time.DateOnly), machine.Commit(opt.repo), m.CPU, m.Kernel, m.OS,
		ownBuild(), opt.loadBefore)
	fmt.Fprintf(&b, "## Nanoseconds of a decision\n\nMedian of %d rounds with the lowest and highest in brackets.\n\n%s\n", opt.rounds, comparison(tables))
	for _, note := range failures(tables) {
		fmt.Fprintf(&b, "%s\n\n", note)
	}
	fmt.Fprintf(&b, "## Budgets\n\n%s\n", budgets(tables))
	b.WriteString(about)
	fmt.Fprintf(&b, "Time is an argument, and not in the figures: who decides once must read the clock too, weir's `mono.Now` %.0f ns, `time.Now` %.0f ns here. "+
		"The gateway reads it once for all policies of a request.\n\n",
		cost(func(int, int64) outcome { return outcomeOf(mono.Now() > 0) }), cost(func(int, int64) outcome { return outcomeOf(!time.Now().IsZero()) }))
	fmt.Fprintf(&b, method, opt.slice, step)
	b.WriteString("\nRepeat with `make bench-limiter` (Linux, two cores or more).\n")
	return b.String()
}

func ownBuild() string {
	self, err := os.Executable()
	if err != nil {
		return err.Error()
	}
	return machine.Build(self, "golang.org/x/time", "github.com/throttled/throttled/v2")
}

// cost is what one call takes in the loop of the benchmark, in ns: the median of some runs.
func cost(d decide) float64 {
	w := &worker{decide: d, keys: 1, at: start, step: step}
	var ns []float64
	for range 9 {
		cpu := cpuTime()
		n, _ := w.until(10 * time.Millisecond)
		ns = append(ns, float64(cpuTime()-cpu)/float64(n))
	}
	return stats.Of(ns).Median
}

// comparison is one table over all scenes, one row a contender.
func comparison(tables []*table) string {
	var b strings.Builder
	head, rule := "| limiter |", "|---|"
	for _, t := range tables {
		head, rule = head+" "+t.scene.name+" |", rule+"---|"
	}
	fmt.Fprintf(&b, "%s allocations | bytes a key |\n%s---:|---:|\n", head, rule)
	for _, c := range contenders() {
		fmt.Fprintf(&b, "| %s |", c.name)
		bytes, allocs := "–", 0.0
		for _, t := range tables {
			f := t.row(c.name)
			if f == nil {
				b.WriteString(" – |")
				continue
			}
			ns := stats.Of(f.ns)
			fmt.Fprintf(&b, " **%.0f** (%.0f–%.0f) |", ns.Median, ns.Min, ns.Max)
			allocs = max(allocs, stats.Of(f.allocs).Median)
			if t.scene.memory {
				bytes = fmt.Sprintf("%.0f", f.bytes)
			}
		}
		fmt.Fprintf(&b, " %s | %s |\n", perDecision(allocs), bytes)
	}
	return b.String()
}

// perDecision writes allocations: less than one in a thousand decisions is the benchmark's own.
func perDecision(allocs float64) string {
	if allocs < 0.001 {
		return "0"
	}
	return fmt.Sprintf("%.2f", allocs)
}

// failures are sentences on decisions that ended in an error.
func failures(tables []*table) (notes []string) {
	for _, t := range tables {
		for _, f := range t.rows {
			if f.failed > 0 {
				notes = append(notes, fmt.Sprintf("%s, %s: %.3f %% of the decisions ended in an error.", f.name, t.scene.name, 100*f.failed))
			}
		}
	}
	return notes
}

// budgets is a table of what weir promises and what was found.
func budgets(tables []*table) string {
	var b strings.Builder
	b.WriteString("| budget | weir's limiters within it | over it |\n|---|---|---|\n")
	for _, t := range tables {
		switch s := t.scene; {
		case s.memory:
			b.WriteString(held(t, fmt.Sprintf("≤ %d bytes a key, %s", memoryBudget, s.name), memoryBudget, func(f *figures) float64 { return f.bytes }))
		case s.keys > 1 || s.refuse:
		case s.threads == 1:
			b.WriteString(held(t, fmt.Sprintf("≤ %d ns, %s", aloneBudget, s.name), aloneBudget, (*figures).median))
		default:
			b.WriteString(held(t, fmt.Sprintf("≤ %d ns, %s", hotBudget, s.name), hotBudget, (*figures).median))
		}
	}
	var all table
	for _, t := range tables {
		all.rows = append(all.rows, t.rows...)
	}
	b.WriteString(held(&all, "0 allocations, each limiter in each scene", 0, func(f *figures) float64 {
		if a := stats.Of(f.allocs).Median; a >= 0.001 {
			return a
		}
		return 0
	}))
	return b.String()
}

func (f *figures) median() float64 { return stats.Of(f.ns).Median }

// held is one row of budgets: which of weir's single decisions keep to it.
func held(t *table, what string, most float64, value func(f *figures) float64) string {
	all, worst, over := 0, 0.0, []string(nil)
	for _, f := range t.rows {
		if !f.weir || f.chain {
			continue
		}
		all++
		v := value(f)
		if v > most {
			over = append(over, fmt.Sprintf("%s %.4g", strings.TrimPrefix(f.name, "weir "), v))
			continue
		}
		worst = max(worst, v)
	}
	within, rest := fmt.Sprintf("all %d", all), "–"
	if over != nil {
		within, rest = fmt.Sprintf("%d of %d", all-len(over), all), strings.Join(over, "; ")
	}
	return fmt.Sprintf("| %s | %s, up to %.0f | %s |\n", what, within, worst, rest)
}

const about = `The Charge is three decisions and their end, and has no budget of its own; concurrency is within its budget with the giving back.

## What each does

- **weir** (Limiter.Take): finds the key's bucket in a table with a hard bound in bytes, decides in exact arithmetic, counts what was allowed and refused (of the key and
  in all), and answers what is left, when to try again, and when all is back. "Key hashed from text" adds what the gateway does before: frame the value, and SipHash
  it with a secret; the other rows are given the key. Many policies of a request may share one hash. The sliding window of 60 parts stays in one of them for long, as a
  busy key does; "each time another part" is its dearest case, with a ring of 60 parts for each key and a bound of 1 GiB. The leaky bucket tells the request how long to wait.
  Adaptive is the decision; its controller works beside. Quotas are tracked, for the file. The Charge is refused by its last level, so that it gives back the other two.
- **golang.org/x/time/rate** (AllowN): one bucket in floating-point numbers under its mutex; answers yes or no, nothing else. It knows no keys. The map or sync.Map around it is what people
  write; as it stands it grows without bound, and whoever cleans it up pays for that elsewhere.
- **throttled** (GCRARateLimiterCtx over memstore): GCRA in whole nanoseconds, by compare-and-swap, up to 10 attempts and then an error; answers limit, rest, reset and retry.
  Its store in a map has no bound; with LRU (room for twice the keys here, or it would forget) it has one in keys, and forgets what the key that goes had spent.

Who is given text keeps a copy of it: 12 bytes (16 with the allocator) of the bytes a key.

## How it is measured

`

const method = `All limiters exist side by side and are loaded in turn, %v each in a round, so that each round meets the machine in one state. Nobody is refused, or everybody is: anything else fails the
run. A bucket owes something all the time, refills at about the rate at which it is asked (every %d ns times the number of keys), and its rate has no common divisor with a second. Keys are
asked for in another order than that in which they came; their text and hashes are read one after the other, so that only the limiter's memory is met at random. At 1,000,000 keys
every key is cold: all the other limiters have been through the caches since it was asked for last. The row "nothing" is in all figures.

With one thread the figure is CPU time of the process per decision, the collector's share with it; with two it is the time in which each of the two gets one decision (so both together make two), for there
they wait for each other; the two are pinned to two processors, and the row "nothing" tells whether they had them. Bytes a key are the growth of the heap after a collection, over 1,000,000 keys that each have spent. Nothing is built with -pgo.
`
