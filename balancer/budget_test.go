package balancer

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// TestWindowIsALog compares the window with a list of everything that was ever added.
func TestWindowIsALog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		type entry struct{ second, a, b uint64 }
		var log []entry
		now := mono.Time(rapid.Int64Range(0, 3_000_000e9).Draw(t, "start"))
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 2500).Draw(t, "ms")) * time.Millisecond)
			a, b := rapid.Uint64Range(0, 1).Draw(t, "a"), rapid.Uint64Range(0, 1).Draw(t, "b")
			w.add(a, b, now)
			log = append(log, entry{uint64(now) / 1e9, a, b})
			var wantA, wantB uint64
			for _, e := range log {
				if uint64(now)/1e9-e.second < windowSeconds {
					wantA, wantB = wantA+e.a, wantB+e.b
				}
			}
			if gotA, gotB := w.sum(now); gotA != wantA || gotB != wantB {
				t.Fatalf("sum %d, %d, want %d, %d", gotA, gotB, wantA, wantB)
			}
		}
		if a, b := w.sum(now.Add(11 * time.Second)); a != 0 || b != 0 {
			t.Fatalf("%d, %d after 11 s", a, b)
		}
	})
}

func TestWindowDropsWhatComesTooLate(t *testing.T) {
	var w window
	w.add(1, 0, second(20))
	w.add(1, 1, second(10)) // the same cell, ten seconds ago
	w.add(1, 1, second(15)) // late, but within the window
	if a, b := w.sum(second(20)); a != 2 || b != 1 {
		t.Errorf("sum %d, %d, want 2, 1", a, b)
	}
}

// TestBudgetBound: in any ten seconds of the clock, retries ≤ ratio × requests + 10 × minimum, and what the bound allows is given.
func TestBudgetBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := BudgetConfig{Ratio: rapid.Float64Range(0, 1).Draw(t, "ratio"), MinPerSecond: float64(rapid.IntRange(0, 3).Draw(t, "min"))}
		var b Budget
		b.cfg.Store(&c)
		requests, retries := map[uint64]int{}, map[uint64]int{}
		now := second(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "ms")) * time.Millisecond)
			s := uint64(now) / 1e9
			if rapid.Bool().Draw(t, "request") {
				b.Request(now)
				requests[s]++
				continue
			}
			q, r := 0, 0
			for i := range uint64(windowSeconds) {
				q, r = q+requests[s-i], r+retries[s-i]
			}
			want := float64(r+1) <= c.Ratio*float64(q)+windowSeconds*c.MinPerSecond
			if got := b.Retry(now); got != want {
				t.Fatalf("Retry = %v after %d requests and %d retries", got, q, r)
			} else if got {
				retries[s]++
			}
		}
	})
}
