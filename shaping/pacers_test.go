package shaping

import (
	"math"
	"runtime"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

func TestPacersConfig(t *testing.T) {
	f := func(right bool, c PacersConfig) {
		t.Helper()
		if p, err := NewPacers(c); (err == nil) != right || (p != nil) != right {
			t.Errorf("%+v: %v", c, err)
		}
	}
	f(true, PacersConfig{Tiers: []Tier{{Rate: 1}}, Flows: 1})
	f(true, PacersConfig{Tiers: []Tier{{}}, Total: 10, Flows: 1})
	f(true, PacersConfig{Tiers: []Tier{{Rate: 20, Guarantee: 10}, {Guarantee: 1, Weight: 3}}, Total: 10, Burst: 1, Flows: 1})
	f(false, PacersConfig{})
	f(false, PacersConfig{Tiers: []Tier{{Rate: 1}}})
	f(false, PacersConfig{Flows: 1})
	f(false, PacersConfig{Tiers: make([]Tier, maxTiers+1), Total: 1, Flows: 1})
	f(false, PacersConfig{Tiers: []Tier{{}}, Flows: 1})
	f(false, PacersConfig{Tiers: []Tier{{Rate: 1}}, Burst: 1, Flows: 1})
	f(false, PacersConfig{Tiers: []Tier{{Rate: 1}}, Total: -1, Flows: 1})
	f(false, PacersConfig{Tiers: []Tier{{Rate: -1}}, Total: 1, Flows: 1})
	f(false, PacersConfig{Tiers: []Tier{{Rate: 1, Burst: -1}}, Flows: 1})
	f(false, PacersConfig{Tiers: []Tier{{Rate: 1, Guarantee: 1}}, Flows: 1}) // of what?
	f(false, PacersConfig{Tiers: []Tier{{Rate: 1, Guarantee: 2}}, Total: 9, Flows: 1})
	f(false, PacersConfig{Tiers: []Tier{{Guarantee: 10}}, Total: 9, Flows: 1})
	f(false, PacersConfig{Tiers: []Tier{{Weight: -1}}, Total: 9, Flows: 1})
	f(false, PacersConfig{Tiers: []Tier{{Rate: MaxPace + 1}}, Flows: 1})
}

// TestPacersKeepWithinBounds: over every interval every flow keeps to its burst and rate, and all together to the total's,
// exactly, whoever comes and goes.
func TestPacersKeepWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tier := Tier{Rate: rapid.Int64Range(1<<16, 1<<30).Draw(t, "rate")}
		total := int64(0)
		if rapid.Bool().Draw(t, "shared") {
			total = int64(float64(tier.Rate) * rapid.Float64Range(0.3, 5).Draw(t, "total"))
		}
		tier.Burst = tier.Rate / 5
		p, err := NewPacers(PacersConfig{Tiers: []Tier{tier}, Total: total, Burst: total / 5, Flows: 9})
		if err != nil {
			t.Fatal(err)
		}
		c := &crowd{p: p}
		most := int(tier.Burst/12) + 1
		if total > 0 {
			most = min(most, int(total/60)+1)
		}
		n := rapid.IntRange(1, 8).Draw(t, "conns")
		for range n {
			c.join(rapid.Uint64Range(0, 3).Draw(t, "flow"), 0, 1, func(w *writer) {
				w.late, w.most = 0, rapid.IntRange(most/2, most).Draw(t, "most")
				w.next = mono.Time(rapid.Int64Range(0, 1e9).Draw(t, "from"))
				if rapid.IntRange(0, 3).Draw(t, "goes") == 0 {
					w.close = w.next.Add(time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "after")))
				}
			})
		}
		c.run(3 * second / 2)
		flows := map[*Flow][]sent{}
		for _, w := range c.conns {
			flows[w.flow] = append(flows[w.flow], w.log...)
		}
		for f, all := range flows {
			if e := excess(last(all, 300), tier.Rate, tier.Burst); e > 0 {
				t.Fatalf("flow %d: %d bytes too many", f.key.Lo, e)
			}
		}
		if e := int64(0); total > 0 {
			if e = excess(last(c.total, 300), total, total/5); e > 0 {
				t.Fatalf("%d bytes more than the total", e)
			}
		}
	})
}

func TestPacersReshape(t *testing.T) {
	c := newCrowd(t, 0, Tier{Rate: 1 << 20}, Tier{Rate: 4 << 20})
	a, b := c.join(1, 0, 2, nil), c.join(2, 1, 2, nil)
	check := func(what string, wantA, wantB float64) {
		t.Helper()
		c.run(c.now + 2*second)
		sum(a)
		sum(b)
		c.run(c.now + 2*second)
		if gotA, gotB := float64(sum(a))/(2<<20), float64(sum(b))/(2<<20); math.Abs(gotA/wantA-1) > 0.05 || math.Abs(gotB/wantB-1) > 0.05 {
			t.Errorf("%s: %.2f and %.2f MiB/s, want %.2f and %.2f", what, gotA, gotB, wantA, wantB)
		}
	}
	reshape := func(total int64, tiers ...Tier) {
		t.Helper()
		if err := c.p.Reshape(PacersConfig{Tiers: tiers, Total: total, Flows: 9}, c.now); err != nil {
			t.Fatal(err)
		}
	}
	check("at first", 1, 4)
	reshape(0, Tier{Rate: 2 << 20}, Tier{Rate: 1 << 20})
	check("other rates", 2, 1)
	reshape(3<<20, Tier{Rate: 2 << 20}, Tier{Rate: 9 << 20, Weight: 2})
	check("a total", 1, 2)
	reshape(6<<20, Tier{Rate: 9 << 20}, Tier{Rate: 9 << 20})
	check("another total", 3, 3)
	reshape(0, Tier{Rate: 5 << 20})
	check("one tier, no total", 5, 5)
	if c.p.Reshape(PacersConfig{}, c.now) == nil {
		t.Error("reshaped to nonsense")
	}
	check("as before", 5, 5)
}

// TestReshapeKeepsDebts: a reload is no way to a new burst.
func TestReshapeKeepsDebts(t *testing.T) {
	c := PacersConfig{Tiers: []Tier{{Rate: 1000, Burst: 1000}}, Flows: 9}
	p, _ := NewPacers(c)
	f := p.Hold(Key{1, 1}, 0, second)
	var a, b Turn
	f.Reserve(&a, 1000, second)
	f.Reserve(&b, 500, second)
	for range 3 {
		if err := p.Reshape(c, second); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := b.Wait(second), 250*time.Millisecond; got != want { // a half of it
		t.Errorf("wait %v, want %v", got, want)
	}
	b.Cancel(500, second)
	f.Release(second)
	p.Reshape(c, second)
	f = p.Hold(Key{1, 1}, 0, second+second/2)
	if got := f.Reserve(&a, 500, second+second/2); got != 0 {
		t.Errorf("half a second later half of the burst makes it wait %v", got)
	}
	if got := f.Reserve(&a, 100, second+second/2); got < 50*time.Millisecond {
		t.Errorf("more than the rest waits %v", got)
	}
}

// TestPacersAreBounded: a flood of keys has one flow's rate, and pushes out nobody who owes.
func TestPacersAreBounded(t *testing.T) {
	for _, total := range []int64{0, 1 << 30} {
		p, _ := NewPacers(PacersConfig{Tiers: []Tier{{Rate: 1000, Burst: 1000}}, Total: total, Flows: 100})
		now := second
		var turn Turn
		let := 0
		for i := range uint64(10_000) {
			f := p.Hold(Key{i, i}, 0, now)
			if f.Reserve(&turn, 1000, now) == 0 {
				let++
			} else {
				turn.Cancel(1000, now)
			}
			f.Release(now)
		}
		if s := p.Stats(); let != 101 || s.Flows != 100 || s.Overflow != 9900 {
			t.Errorf("total %d: %d went at once: %+v", total, let, s)
		}
		if f := p.Hold(Key{5, 5}, 0, now); f == &p.overflow || f.Reserve(&turn, 1000, now) == 0 {
			t.Error("who owes was forgotten")
		} else {
			turn.Cancel(1000, now)
			f.Release(now)
		}
		now += 20 * second // all debts are paid
		for range 50 {
			p.Hold(Key{1, 7}, 0, now).Release(now)
		}
		if s := p.Stats(); s.Flows != 1 {
			t.Errorf("total %d: flows that owe nothing stay: %+v", total, s)
		}
	}
}

func TestFlowIsSharedWhileHeld(t *testing.T) {
	p, _ := NewPacers(PacersConfig{Tiers: []Tier{{Rate: 1000}, {Rate: 2000}}, Flows: 1})
	a := p.Hold(Key{1, 1}, 0, 0)
	b := p.Hold(Key{1, 1}, 1, 0)
	if a != b || a.tier != 1 {
		t.Error("one key, two flows")
	}
	if f := p.Hold(Key{2, 2}, 5, 0); f != &p.overflow {
		t.Error("there was room")
	}
	a.Release(second)
	b.Release(second)
	if f := p.Hold(Key{2, 2}, -1, second); f == &p.overflow || f.tier != 0 {
		t.Error("no room, or no tier")
	}
	defer func() {
		if recover() == nil {
			t.Error("released once more")
		}
	}()
	a.Release(second)
}

func TestPacersAllocate(t *testing.T) {
	for _, total := range []int64{0, 1 << 20} {
		p, _ := NewPacers(PacersConfig{Tiers: []Tier{{Rate: 1 << 20}}, Total: total, Flows: 10})
		other := p.Hold(Key{2, 2}, 0, 0)
		p.Hold(Key{1, 1}, 0, 0)
		now := second
		var turn, theirs Turn
		n := testing.AllocsPerRun(100, func() {
			f := p.Hold(Key{1, 1}, 0, now)
			for wait := f.Reserve(&turn, f.Chunk(now), now); wait > 0; wait = turn.Wait(now) {
				now = now.Add(wait)
			}
			if other.Reserve(&theirs, 10_000, now) > 0 {
				theirs.Cancel(10_000, now)
			}
			f.Release(now)
			p.Stats()
		})
		if n != 0 {
			t.Errorf("total %d: %v allocations", total, n)
		}
		if n := testing.AllocsPerRun(100, func() { p.Hold(Key{3, 3}, 0, now).Release(now) }); n != 0 {
			t.Errorf("total %d: %v allocations for a key that comes again", total, n)
		}
	}
}

// TestPacersByManyAtOnce: nothing is lost or left over when goroutines with clocks of their own do everything at once.
func TestPacersByManyAtOnce(t *testing.T) {
	for _, total := range []int64{0, 64 << 20} {
		c := PacersConfig{Tiers: []Tier{{Rate: 8 << 20}, {Rate: 16 << 20, Weight: 2}}, Total: total, Flows: 6}
		p, _ := NewPacers(c)
		var wg sync.WaitGroup
		for g := range uint64(8) {
			wg.Go(func() {
				now, bytes := second, uint64(0)
				for i := range uint64(300) {
					f := p.Hold(Key{Lo: (g + i) % 10}, int(i%2), now)
					var turn Turn
					n := f.Chunk(now)
					wait := f.Reserve(&turn, n, now)
					for k := 0; wait > 0; k++ {
						if k == 3 && i%3 == 0 {
							turn.Cancel(n, now)
							break
						}
						now = now.Add(wait)
						wait = turn.Wait(now)
						runtime.Gosched()
					}
					bytes += uint64(n)
					f.Release(now)
					if i%100 == 50 && g == 0 {
						if err := p.Reshape(c, now); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		now := 10_000 * second
		for range 10 {
			p.Hold(Key{Lo: 99}, 0, now).Release(now)
		}
		if s := p.Stats(); s.Waiting != 0 || s.Flows > 1 || s.Bytes == 0 {
			t.Errorf("left over: %+v", s)
		}
		for i := range p.tiers {
			if len(p.tiers[i].busy) > 0 {
				t.Errorf("busy: %+v", p.tiers[i].busy)
			}
		}
	}
}

func BenchmarkFlowReserve(b *testing.B) {
	f := func(name string, total int64, flows int) {
		b.Run(name, func(b *testing.B) {
			p, err := NewPacers(PacersConfig{Tiers: []Tier{{Rate: 1 << 30}}, Total: total, Flows: flows})
			if err != nil {
				b.Fatal(err)
			}
			all := make([]*Flow, flows)
			turns := make([]Turn, flows)
			for i := range all {
				all[i] = p.Hold(Key{Lo: uint64(i)}, 0, 0)
			}
			b.ReportAllocs()
			now := mono.Time(0)
			for i := 0; b.Loop(); i++ {
				k := i % flows
				for wait := all[k].Reserve(&turns[k], 4096, now); wait > 0; wait = turns[k].Wait(now) {
					now = now.Add(wait)
				}
			}
		})
	}
	f("ceilings", 0, 1000)
	f("total/1", 1<<30, 1)
	f("total/1000", 1<<30, 1000)
	b.Run("hold", func(b *testing.B) {
		p, _ := NewPacers(PacersConfig{Tiers: []Tier{{Rate: 1 << 30}}, Flows: 10})
		b.ReportAllocs()
		for b.Loop() {
			p.Hold(Key{1, 1}, 0, 0).Release(0)
		}
	})
}
