package main

import (
	"strings"
	"testing"
	"time"

	"weir/tests/bench/stats"
)

// TestContenders runs every scene with few keys: measure refuses an answer that is not what the scene wants.
func TestContenders(t *testing.T) {
	for _, s := range scenes() {
		s.keys = min(s.keys, 300)
		tab, err := measure(s, contenders(), 2, time.Millisecond)
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
			continue
		}
		for _, f := range tab.rows {
			if n := stats.Of(f.allocs).Min; f.weir && n > 0.01 {
				t.Errorf("%s, %s: %v allocations a decision", s.name, f.name, n)
			}
		}
	}
}

func TestMeasureRefusesWrongAnswers(t *testing.T) {
	f := func(refuse bool, says outcome, weir, ok bool) {
		t.Helper()
		c := &contender{name: "liar", weir: weir, open: func(*scene) (func() decide, error) {
			return func() decide { return func(int, int64) outcome { return says } }, nil
		}}
		s := &scene{keys: 1, threads: 1, refuse: refuse}
		if _, err := measure(s, []*contender{c}, 1, time.Millisecond); (err == nil) != ok {
			t.Errorf("refuse %v, says %v: %v", refuse, says, err)
		}
	}
	f(false, admitted, true, true)
	f(false, refused, true, false)
	f(true, admitted, true, false)
	f(true, refused, true, true)
	f(true, failed, true, false)
	f(true, failed, false, true)
}

// TestFillAsksForEveryKey holds for the numbers of keys in use.
func TestFillAsksForEveryKey(t *testing.T) {
	for _, keys := range []int{1, 100, 10_000, 1_000_000} {
		s, seen := &scene{keys: keys}, make([]bool, keys)
		last := int64(0)
		s.fill(1, func(i int, at int64) { seen[i], last = true, at })
		if last != start-step {
			t.Errorf("%d keys: ends at %d", keys, last)
		}
		for i, ok := range seen {
			if !ok {
				t.Fatalf("%d keys: number %d is not asked for", keys, i)
			}
		}
	}
}

func TestHeld(t *testing.T) {
	row := func(name string, weir, chain bool, ns float64) *figures {
		return &figures{contender: &contender{name: name, weir: weir, chain: chain}, ns: []float64{ns}}
	}
	tab := &table{rows: []*figures{row("weir a", true, false, 90), row("weir b", true, false, 101), row("weir c", true, true, 500), row("d", false, false, 800)}}
	if got, want := held(tab, "≤ 100", 100, (*figures).median), "| ≤ 100 | 1 of 2, up to 90 | b 101 |\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := held(tab, "≤ 200", 200, (*figures).median); !strings.HasSuffix(got, "| all 2, up to 101 | – |\n") {
		t.Errorf("%q", got)
	}
}

func TestComparison(t *testing.T) {
	c := contenders()[0]
	one := &table{scene: &scene{name: "one"}, rows: []*figures{{contender: c, ns: []float64{40, 60, 50}, allocs: []float64{0, 2, 1}}}}
	many := &table{scene: &scene{name: "many", memory: true}, rows: []*figures{{contender: c, ns: []float64{7}, allocs: []float64{0}, bytes: 56.6}}}
	got := comparison([]*table{one, many})
	for _, want := range []string{"| limiter | one | many | allocations |", "| " + c.name + " | **50** (40–60) | **7** (7–7) | 1.00 | 57 |\n", "| – | – | 0 | – |\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
}
