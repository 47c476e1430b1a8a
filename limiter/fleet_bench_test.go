package limiter

import (
	"fmt"
	"sync/atomic"
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

// BenchmarkFleetStepBusy is what 100 ms of so many keys cost that are asked for all the time, five times a second here and more at another
// node: the steps alone, and how many cells they look at.
func BenchmarkFleetStepBusy(b *testing.B) {
	const cells = 20_000
	c := newCrew(b, 3, Spec{Rate: Rate{N: 100, Per: time.Second, Burst: 100}}, Options{MaxBytes: 1 << 30})
	now, at := mono.Time(0), 0
	var spent time.Duration
	tenth := func() {
		for range 5 {
			for range cells / 2 / 5 {
				at = (at + 7919) % cells
				c.limiters[0].Take(key(at), 1, now)
				for range 25 {
					c.limiters[1].Take(key(at), 1, now)
				}
			}
			now = now.Add(20 * time.Millisecond)
			start := time.Now()
			frames, _ := c.fleets[0].Step(now)
			spent += time.Since(start)
			others, _ := c.fleets[1].Step(now)
			for _, frame := range frames {
				c.fleets[1].Receive(frame, now)
			}
			for _, frame := range others {
				c.fleets[0].Receive(frame, now)
			}
			c.fleets[0].peers[1].heard, c.fleets[1].peers[1].heard = now, now
		}
	}
	for range 50 {
		tenth()
	}
	spent = 0
	looks, told := c.fleets[0].looks, c.fleets[0].stats.Records
	for b.Loop() {
		tenth()
	}
	n := float64(b.N)
	b.ReportMetric(spent.Seconds()*1000/n, "step-ms/op")
	b.ReportMetric(float64(c.fleets[0].looks-looks)/n, "looks/op")
	b.ReportMetric(float64(c.fleets[0].stats.Records-told)/n, "records/op")
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
		b.Run(name+", two at once", func(b *testing.B) {
			var at atomic.Int64
			at.Store(int64(time.Hour))
			b.SetParallelism(1)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					l.Take(simKey(1), 1, mono.Time(at.Add(int64(pass))))
				}
			})
		})
	}
	spec := Spec{Rate: plenty}
	take("local", newSpec(b, spec, Options{}), 5*time.Microsecond, func(mono.Time) {})
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
