package limiter

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"weir/internal/fleetsim"
	"weir/internal/mono"
)

// TestHistoryMean: the mean demand before an instant, whatever was told after it.
func TestHistoryMean(t *testing.T) {
	const ms, step, span = time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond
	type told struct {
		at time.Duration
		d  float64
	}
	f := func(list []told, at time.Duration, want float64) {
		t.Helper()
		h := history{}
		for _, x := range list {
			h.push(trioAt(x.at), x.d, step)
		}
		if got := h.mean(trioAt(at), span); !(math.Abs(got-want) < 0.02) {
			t.Errorf("of %d: the mean before %v is %v, want %v", len(list), at, got, want)
		}
	}
	f(nil, 0, 0)
	f([]told{{0, 7}}, 0, 7)
	f([]told{{0, 7}}, time.Second, 7)
	f([]told{{0, 7}}, -ms, 7)                   // nothing else is known
	f([]told{{0, 7}, {0, 5}}, 100*ms, 5)        // at once: the last
	f([]told{{0, 7}, {-ms, 5}}, 100*ms, 5)      // in no order
	f([]told{{0, 6}, {200 * ms, 3}}, 400*ms, 4) // a third of the time 6
	f([]told{{0, 6}, {200 * ms, 3}}, 300*ms, 5) // two thirds
	f([]told{{0, 6}, {400 * ms, 9}}, 400*ms, 6) // what comes after does not count
	f([]told{{0, 6}, {400 * ms, 9}, {900 * ms, 1}}, 700*ms, 9)
	var often []told
	for i := range 300 {
		often = append(often, told{time.Duration(i) * 2 * ms, float64(2 + i%2*4)})
	}
	f(often, 400*ms, 4) // 2 and 6 in turn, a hundred times as many as entries
}

// TestFleetForward: a node that had stepped back takes its whole share only when it hears all of the others, or most of them for long.
func TestFleetForward(t *testing.T) {
	c := newCrew(t, 3, Spec{Rate: Rate{N: 1000, Per: time.Second, Burst: 100}}, Options{})
	now := mono.Time(0)
	run := func(d time.Duration, heard ...int) { // which of the others hear the first, and are heard by it
		for end := now.Add(d); now < end; now = now.Add(50 * time.Millisecond) {
			for i, f := range c.fleets {
				frames, _ := f.Step(now)
				for j, g := range c.fleets {
					if i == j || i*j != 0 || !slices.Contains(heard, i+j) {
						continue
					}
					for _, b := range frames {
						if err := g.Receive(b, now); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
	}
	want := func(share float64, why string) {
		t.Helper()
		if got := c.fleets[0].Stats().Share; got != share {
			t.Fatalf("%s, a node uses %v of its share, want %v", why, got, share)
		}
	}
	run(time.Second, 1, 2)
	want(1, "hearing both")
	run(6 * time.Second)
	want(minority, "alone for long")
	run(time.Second, 1)
	want(minority, "hearing one of two")
	run(time.Second)
	want(minority, "alone again")
	run(time.Second, 1)
	want(minority, "hearing one of two")
	run(time.Second, 1, 2)
	want(1, "hearing both")
	run(6 * time.Second)
	want(minority, "alone for long")
	run(deadHold+time.Second, 2)
	want(1, "hearing one of two for long")
}

// TestFleetHold: what a node gains counts with it later than with the others, and then as if it had counted as early: the level is the same.
func TestFleetHold(t *testing.T) {
	const rate, size = 20_000, 1000
	for _, spent := range []int64{5, 300} { // before it counts the bucket is full again, or is not
		c, k := newCrew(t, 2, Spec{Rate: Rate{N: rate, Per: time.Second, Burst: size}}, Options{}), simKey(1)
		now := mono.Time(time.Second)
		if !c.limiters[0].Take(k, 400, now).OK { // hot, and told
			t.Fatal("refused")
		}
		c.talk(now)
		c.run(now, now.Add(200*time.Millisecond)) // full again
		now = now.Add(200 * time.Millisecond)
		if !c.limiters[0].Take(k, spent, now).OK {
			t.Fatal("refused")
		}
		w := writer{}
		x := c.hotCell(0, k)
		c.fleets[0].tell(x, now, &w)
		for _, b := range c.fleets[0].frames(now, false, &w) {
			if err := c.fleets[1].Receive(b, now); err != nil {
				t.Fatal(err)
			}
		}
		if len(x.gains) == 0 {
			t.Fatal("the gain counts at once")
		}
		for range 2 {
			now = now.Add(minGap / 2)
			for i := range 2 {
				c.hotCell(i, k).draw(now)
			}
		}
		one, two := x.level, c.hotCell(1, k).level
		if want := min(size, size-float64(spent)+rate*minGap.Seconds()); len(x.gains) != 0 || math.Abs(one-two) > 0.5 || math.Abs(one-want) > 0.5 {
			t.Errorf("%d spent: the levels are %.1f and %.1f, want %.1f", spent, one, two, want)
		}
		if math.Abs(x.used-x.told.c) > 0.01 {
			t.Errorf("%d spent: %.2f are charged and %.2f were told of", spent, x.used, x.told.c)
		}
	}
}

// TestFleetMeanwhile: a node overdraws its share only if there is more than what the others may be asked for before they hear of it.
func TestFleetMeanwhile(t *testing.T) {
	const size = 100
	for _, demand := range []float64{10, 3000, 1e6} {
		c, k := newCrew(t, 10, Spec{Rate: Rate{N: 1000, Per: time.Second, Burst: size}}, Options{}), simKey(1)
		now := mono.Time(time.Second)
		if err := c.fleets[0].Receive(says(0, record{key: k, life: 1, demand: packLog(demand)}), now); err != nil {
			t.Fatal(err)
		}
		x := c.hotCell(0, k)
		x.setLevel(20)
		x.draw(now)
		// What a frame takes to be sent and heard is minGap here.
		want := (1-x.stock)*20 - max(0, min(demand*minGap.Seconds()-1, size/8.0))
		if math.Abs(x.whole-want) > 0.01 {
			t.Errorf("with a demand of %v elsewhere, requests of %.2f may pass, want %.2f", demand, x.whole, want)
		}
	}
}

// TestFleetHeals: cuts cost no more than the table says, whatever chance has in store.
func TestFleetHeals(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("one goroutine")
	}
	for _, x := range []struct {
		name         string
		n            int
		excess, over float64
	}{
		{"partition", 3, 8, 1}, {"partition-shift", 3, 5, 5}, {"partition", 10, 6, 1},
	} {
		t.Run(fmt.Sprintf("%d/%s", x.n, x.name), func(t *testing.T) {
			t.Parallel()
			for seed := int64(1); seed <= 4; seed++ {
				m := fleetsim.Run(fleetsim.Make(x.name, simParams(x.n)), simFactory(t, nil), seed)
				if m.Env > x.excess || m.Over1s > x.over {
					t.Errorf("seed %d: excess %.1f %%, in a second %.1f %% over; at most %v and %v", seed, m.Env, m.Over1s, x.excess, x.over)
				}
			}
		})
	}
}
