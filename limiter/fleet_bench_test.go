package limiter

import (
	"fmt"
	"testing"
	"time"

	"weir/internal/mono"
)

// activeCells are so many keys at node 0 of 3 of which all nodes tell, and no bucket of which fills up.
func activeCells(tb testing.TB, n int) (c *crew, now mono.Time) {
	c = newCrew(tb, 3, Spec{Rate: Rate{N: 100, Per: time.Hour, Burst: 30}}, Options{MaxBytes: 1 << 30})
	for i := range n {
		for _, l := range c.limiters[:2] {
			for range 9 {
				l.Take(key(i), 1, now)
			}
		}
	}
	for range 100 { // until all is told often enough
		now = now.Add(100 * time.Millisecond)
		c.talk(now)
	}
	if got := c.fleets[0].Stats().Cells; got != n {
		tb.Fatalf("%d cells, want %d", got, n)
	}
	return c, now
}

// BenchmarkFleetStep is what 100 ms of 100,000 active keys cost, of which so many are asked for: at most 5 ms are allowed for.
func BenchmarkFleetStep(b *testing.B) {
	const cells = 100_000
	for _, asked := range []int{0, 1000} {
		b.Run(fmt.Sprintf("%d asked", asked), func(b *testing.B) {
			c, now := activeCells(b, cells)
			f, l := c.fleets[0], c.limiters[0]
			at := 0
			for b.Loop() {
				for range 5 { // every 20 ms, as foretold spending is looked at
					for range asked / 5 {
						at = (at + 7919) % cells
						l.Peek(key(at), 1, now)
						l.Take(key(at), 1, now)
					}
					now = now.Add(20 * time.Millisecond)
					f.Step(now)
				}
				for i := range c.fleets[1:] { // they are alive
					f.peers[i].heard = now
				}
			}
		})
	}
}

// BenchmarkFleetTake is one decision, beside that of a limit that is not shared.
func BenchmarkFleetTake(b *testing.B) {
	take := func(name string, l *Limiter, pass time.Duration, prepare func(now mono.Time)) {
		b.Run(name, func(b *testing.B) {
			now := mono.Time(time.Second)
			prepare(now)
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(pass)
				l.Take(simKey(1), 1, now)
			}
		})
	}
	spec := Spec{Rate: plenty}
	take("local", newSpec(b, spec, Options{}), 50, func(mono.Time) {})
	c := newCrew(b, 3, spec, Options{})
	take("cold", c.limiters[0], 5*time.Microsecond, func(mono.Time) {})
	c = newCrew(b, 3, spec, Options{})
	take("hot", c.limiters[0], 5*time.Microsecond, func(now mono.Time) {
		for range spec.Rate.Burst/3 - 10 {
			c.limiters[0].Take(simKey(1), 1, now)
		}
		c.talk(now)
		c.fleets[0].next = now.Add(time.Hour)
	})
	none := Spec{Rate: Rate{N: 1, Per: 360 * time.Hour, Burst: 3}}
	take("local, refused", newSpec(b, none, Options{}), 50, func(mono.Time) {})
	c = newCrew(b, 3, none, Options{})
	take("hot, refused", c.limiters[0], 50, func(now mono.Time) {
		for range 3 {
			c.limiters[0].Take(simKey(1), 1, now)
			c.talk(now)
		}
	})
}

// TestFleetAllocs: no decision allocates.
func TestFleetAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	c := newCrew(t, 3, Spec{Rate: plenty}, Options{})
	l, now := c.limiters[0], mono.Time(0)
	for _, state := range []string{"cold", "hot"} {
		if n := testing.AllocsPerRun(1000, func() { now++; l.Take(simKey(1), 1, now) }); n != 0 {
			t.Errorf("%s: %v allocations", state, n)
		}
		for range plenty.Burst / 4 {
			l.Take(simKey(1), 1, now)
		}
		c.talk(now)
	}
	if c.hotCell(0, simKey(1)) == nil {
		t.Error("the key is cold")
	}
}
