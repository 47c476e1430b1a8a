package limiter

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// Two sets of limiters of any algorithms: one sees all chains, the other only those that passed. Nobody can tell them apart.
func TestRefusedChainsAreInvisible(t *testing.T) {
	type pair struct{ seen, twin *Charge }
	rapid.Check(t, func(t *rapid.T) {
		const levels = 4
		var seen, twin [levels]*Limiter
		for i := range seen {
			spec := anySpec().Draw(t, "spec")
			seen[i], twin[i] = newSpec(t, spec, Options{}), newSpec(t, spec, Options{})
		}
		now := mono.Time(0)
		var open []pair
		for range rapid.IntRange(1, 25).Draw(t, "requests") {
			now = now.Add(stride(t, seen[rapid.IntRange(0, levels-1).Draw(t, "whose")].Spec()))
			a, b := new(Charge), new(Charge)
			want, longest := -1, time.Duration(0)
			for i := range seen {
				n, soft := rapid.Int64Range(0, 3).Draw(t, "units"), rapid.IntRange(0, 3).Draw(t, "soft") == 0
				add := (*Charge).Add
				if soft {
					add = (*Charge).AddSoft
				}
				add(a, seen[i], key(i), n)
				add(b, twin[i], key(i), n)
				d := twin[i].Peek(key(i), n, now)
				if !d.OK && !soft && want < 0 {
					want = i
				}
				if !soft {
					longest = max(longest, d.Wait)
				}
			}
			if got := a.Take(now); got != want {
				t.Fatalf("refused by %d, want %d", got, want)
			}
			if want < 0 {
				b.Take(now)
				if !slices.Equal(a.Decisions(), b.Decisions()) || a.Wait() != longest {
					t.Fatalf("%+v, wait %v; the twin: %+v, wait %v", a.Decisions(), a.Wait(), b.Decisions(), longest)
				}
				open = append(open, pair{a, b})
			} else if a.Refund(now); rapid.Bool().Draw(t, "again") { // nothing to refund; and refused once more
				a.Again()
				if got := a.Take(now); got != want {
					t.Fatalf("refused again by %d, want %d", got, want)
				}
			}
			if len(open) > 0 && rapid.Bool().Draw(t, "end") {
				p := open[0]
				open = open[1:]
				i, n := rapid.IntRange(0, levels-1).Draw(t, "step"), rapid.Int64Range(0, 5).Draw(t, "cost")
				for _, c := range []*Charge{p.seen, p.twin} {
					c.Correct(i, n, now)
				}
				end := rapid.SampledFrom([]func(*Charge, mono.Time){(*Charge).Refund, (*Charge).Settle}).Draw(t, "how")
				end(p.seen, now)
				end(p.twin, now)
			}
			for i := range seen {
				for _, at := range []mono.Time{now, now.Add(stride(t, seen[i].Spec()))} {
					for n := range int64(3) {
						if got, want := seen[i].Peek(key(i), n, at), twin[i].Peek(key(i), n, at); got != want {
							t.Fatalf("level %d, %d units at %d: %+v, the twin: %+v", i, n, at, got, want)
						}
					}
				}
				a, b := seen[i].Stats(), twin[i].Stats()
				if a.Allowed != b.Allowed || a.Refunded != b.Refunded {
					t.Fatalf("level %d: %+v, the twin: %+v", i, a, b)
				}
			}
		}
	})
}

func TestCorrect(t *testing.T) {
	const s = time.Second
	f := func(name string, spec Spec, want int64, do func(c *Charge)) {
		t.Helper()
		l := newSpec(t, spec, Options{})
		var c Charge
		c.Add(l, key(1), 4)
		c.Take(0)
		do(&c)
		if d := l.Peek(key(1), 0, 0); d.Left != want {
			t.Errorf("%s: %+v, want %d left", name, d, want)
		}
	}
	token := Spec{Rate: Rate{1, s, 10}}
	fixed := Spec{Algorithm: FixedWindow, Rate: Rate{N: 10, Per: s}}
	f("up", token, 3, func(c *Charge) { c.Correct(0, 7, 0) })
	f("down", token, 9, func(c *Charge) { c.Correct(0, 1, 0) })
	f("to nothing", token, 10, func(c *Charge) { c.Correct(0, 0, 0); c.Refund(0) })
	f("to nothing and up", fixed, 5, func(c *Charge) { c.Correct(0, 0, 0); c.Correct(0, 5, 0) })
	f("up and refunded", fixed, 10, func(c *Charge) { c.Correct(0, 9, 0); c.Refund(0) })
	f("beyond the burst", token, 0, func(c *Charge) { c.Correct(0, 50, 0) })
	f("after Settle", token, 6, func(c *Charge) { c.Settle(0); c.Correct(0, 9, 0) })
	f("after Refund", token, 10, func(c *Charge) { c.Refund(0); c.Correct(0, 9, 0) })
	f("seats", Spec{Algorithm: Concurrency, Rate: Rate{N: 10}}, 6, func(c *Charge) { c.Correct(0, 1, 0) })
	f("soft that did not fit", token, 6, func(c *Charge) {
		l, k, _ := c.Step(0)
		var soft Charge
		soft.AddSoft(l, k, 7)
		soft.Take(0)
		soft.Correct(0, 8, 0)
	})
	f("from nothing in a later window, then refunded", fixed, 6, func(c *Charge) {
		l, k, _ := c.Step(0)
		var later Charge
		later.Add(l, key(2), 0)
		later.Take(0)
		later.Correct(0, 5, mono.Time(3*s))
		if later.Refund(mono.Time(3 * s)); l.Peek(key(2), 0, mono.Time(3*s)).Left != 10 {
			t.Error("not given back")
		}
		_ = k
	})
	l := newSpec(t, fixed, Options{})
	var c Charge
	c.Add(l, key(1), 4)
	c.Take(0)
	later := mono.Time(s)
	c.Correct(0, 6, later) // the window has changed: 2 in the new one, and none of the old comes back into it
	if d := l.Peek(key(1), 0, later); d.Left != 8 {
		t.Errorf("%+v", d)
	}
	c.Correct(0, 1, later)
	if d := l.Peek(key(1), 0, later); d.Left > 10 || d.Left < 8 {
		t.Errorf("%+v", d)
	}
	// Without room of its own: charged to the shared bucket, and given back there.
	l = tiny(t, Rate{1, s, 10})
	for i := range 16 {
		l.Take(key(i), 10, 0)
	}
	var shared Charge
	shared.Add(l, key(100), 1)
	shared.Take(0)
	for _, want := range []int64{4, 8, 0} {
		if shared.Correct(0, 10-want, 0); l.Peek(key(101), 0, 0).Left != want {
			t.Errorf("%+v, want %d left", l.Peek(key(101), 0, 0), want)
		}
	}
}

// The long run: what is corrected upwards is paid back before anything more passes.
func TestDebtIsPaid(t *testing.T) {
	l := newLimiter(t, Rate{10, time.Second, 5}, Options{})
	now, sum := mono.Time(0), int64(0)
	for range 20_000 {
		now = now.Add(20 * time.Millisecond)
		var c Charge
		if c.Add(l, key(1), 1); c.Take(now) < 0 {
			c.Correct(0, 7, now)
			sum += 7
		}
	}
	if most := 5 + 10*int64(now)/int64(time.Second) + 6; sum > most || sum < most-14 {
		t.Errorf("%d units, of %d", sum, most)
	}
}

func TestSoftStepsDelayNobody(t *testing.T) {
	wait := Spec{Rate: Rate{1, time.Second, 1}, MaxWait: time.Minute}
	a, b, c := newSpec(t, wait, Options{}), newSpec(t, wait, Options{}), newSpec(t, wait, Options{})
	take := func() time.Duration {
		var ch Charge
		ch.AddSoft(a, key(1), 1)
		ch.Add(b, key(1), 1)
		ch.Add(c, key(1), 1)
		ch.Take(0)
		return ch.Wait()
	}
	a.Take(key(1), 1, 0)
	a.Take(key(1), 1, 0)
	if d := take(); d != 0 {
		t.Errorf("wait %v", d)
	}
	c.Take(key(1), 1, 0)
	if d := take(); d != 2*time.Second {
		t.Errorf("wait %v", d)
	}
}

// Planned leaf first, all that may pass passes at the first try, whatever the algorithms: a refusal by a limit of one's own never
// touches what is shared, of which there is exactly enough.
func TestLeafFirstChainsPassToTheUnit(t *testing.T) {
	const workers, own = 8, 500
	specs := func(n int64) []Spec {
		return []Spec{
			{Rate: Rate{1, time.Hour, n}}, {Algorithm: LeakyBucket, Rate: Rate{1, time.Hour, n}},
			{Algorithm: Adaptive, Rate: Rate{1, time.Hour, n}}, {Algorithm: FixedWindow, Rate: Rate{N: n, Per: time.Hour}},
			{Algorithm: SlidingWindow, Rate: Rate{N: n, Per: time.Hour}, Parts: 60}, {Algorithm: Concurrency, Rate: Rate{N: n}},
			{Algorithm: Quota, Rate: Rate{N: n}, Calendar: Calendar{Period: "month"}},
		}
	}
	for i, leaf := range specs(own) {
		for _, all := range specs(workers * own) {
			leaves, shared := newSpec(t, leaf, Options{}), newSpec(t, all, Options{})
			seats := newSpec(t, Spec{Algorithm: Concurrency, Rate: Rate{N: workers}}, Options{})
			var passed atomic.Int64
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					for range own + own/4 {
						var c, busy Charge
						c.Add(leaves, key(w), 1)
						c.Add(shared, key(-1), 1)
						busy.Add(seats, key(i), 1)
						if busy.Take(0) >= 0 {
							t.Error("a seat was lost")
						}
						if c.Take(0) < 0 {
							passed.Add(1)
						}
						busy.Settle(0)
						busy.Refund(0)
						busy.Settle(0)
					}
				})
			}
			wg.Wait()
			st := shared.Stats()
			if n := passed.Load(); n != workers*own || st.Allowed != workers*own || st.Refused != 0 || shared.Peek(key(-1), 0, 0).Left != 0 {
				t.Errorf("%v under %v: %d passed, %+v", leaf.Algorithm, all.Algorithm, n, st)
			}
			if d := seats.Peek(key(i), 0, 0); d != allowed(workers, 0) {
				t.Errorf("seats in the end: %+v", d)
			}
		}
	}
}
