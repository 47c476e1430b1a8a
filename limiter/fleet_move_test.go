package limiter

import (
	"testing"
	"time"

	"weir/internal/mono"
)

// TestFleetMovingBurst: 20,000 requests a second at one of two nodes, which move to the other when nine tenths are spent, exceed the limit by
// no more than the bound that is shown.
func TestFleetMovingBurst(t *testing.T) {
	for _, delay := range []time.Duration{200 * time.Microsecond, time.Millisecond, 5 * time.Millisecond} {
		for _, limit := range []int64{300, 900, 1800} {
			over, bound := movingBurst(t, delay, limit)
			t.Logf("frames take %v, limit %d: over by %d, bound %.1f", delay, limit, over, bound)
			if float64(over) > bound {
				t.Errorf("frames take %v, limit %d: over by %d, bound %.1f", delay, limit, over, bound)
			}
		}
	}
}

func movingBurst(t *testing.T, delay time.Duration, limit int64) (over int64, bound float64) {
	type frame struct {
		at mono.Time
		to int
		b  []byte
	}
	var fleets [2]*Fleet
	var limiters [2]*Limiter
	var due [2]mono.Time
	var wire []frame
	now, k := mono.Time(time.Hour), simKey(1)
	for i := range fleets {
		fleets[i] = NewFleet(FleetOptions{Self: uint64(i + 1), Incarnation: 5, Interval: 100 * time.Millisecond, Delay: delay, Start: now})
		limiters[i] = newLimiterOf(t, Spec{Algorithm: FixedWindow, Rate: Rate{N: limit, Per: 24 * time.Hour}}, Options{Fleet: fleets[i], Share: 7})
		fleets[i].Members([]uint64{1, 2}, nil, now)
		limiters[i].Join(now)
	}
	var admitted [2]int64
	for step := range 60_000 {
		now = now.Add(50 * time.Microsecond)
		rest := wire[:0]
		for _, f := range wire {
			if f.at > now {
				rest = append(rest, f)
			} else if err := fleets[f.to].Receive(f.b, now); err != nil {
				t.Fatal(err)
			}
		}
		wire = rest
		if node := 0; step > 30_000 {
			if admitted[0] >= limit*9/10 || step > 45_000 {
				node = 1
			}
			if limiters[node].Take(k, 1, now).OK {
				admitted[node]++
			}
		}
		for i, f := range fleets {
			select {
			case <-f.Wake():
			default:
				if now < due[i] {
					continue
				}
			}
			var frames [][]byte
			frames, due[i] = f.Step(now)
			for _, b := range frames {
				wire = append(wire, frame{now.Add(delay), 1 - i, b})
			}
		}
	}
	bound, _ = limiters[1].Excess()
	return admitted[0] + admitted[1] - limit, bound
}
