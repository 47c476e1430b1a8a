package limiter

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

func TestChargeIsAllOrNothing(t *testing.T) {
	const s = time.Second
	global := newLimiter(t, Rate{1, s, 10}, Options{})
	tenant := newLimiter(t, Rate{1, s, 2}, Options{})
	user := newLimiter(t, Rate{1, s, 5}, Options{})
	plan := func() *Charge {
		var c Charge
		c.Add(global, key(1), 1)
		c.Add(tenant, key(2), 1)
		c.Add(user, key(3), 1)
		return &c
	}
	f := func(c *Charge, refusedBy int, want ...Decision) {
		t.Helper()
		if got := c.Take(0); got != refusedBy || !slices.Equal(c.Decisions(), want) {
			t.Errorf("refused by %d: %+v; want %d: %+v", got, c.Decisions(), refusedBy, want)
		}
	}
	f(plan(), -1, allowed(9, s), allowed(1, s), allowed(4, s))
	f(plan(), -1, allowed(8, 2*s), allowed(0, 2*s), allowed(3, 2*s))
	f(plan(), 1, allowed(8, 2*s), refuse(0, s, 2*s), allowed(3, 2*s)) // the others show what they have: nothing is spent
	f(plan(), 1, allowed(8, 2*s), refuse(0, s, 2*s), allowed(3, 2*s))
	for i, l := range []*Limiter{global, tenant, user} {
		want := Stats{Allowed: 2, Refused: []uint64{0, 2, 0}[i]}
		if st := l.Stats(); st.Allowed != want.Allowed || st.Refused != want.Refused || st.Refunded != 0 {
			t.Errorf("limiter %d: %+v", i, st)
		}
	}
}

func TestShadowNeverRefuses(t *testing.T) {
	const s = time.Second
	shadow := newLimiter(t, Rate{1, s, 1}, Options{})
	real := newLimiter(t, Rate{1, s, 2}, Options{})
	take := func() (int, []Decision) {
		var c Charge
		c.AddSoft(shadow, key(1), 1)
		c.Add(real, key(1), 1)
		return c.Take(0), c.Decisions()
	}
	f := func(refusedBy int, want ...Decision) {
		t.Helper()
		if got, ds := take(); got != refusedBy || !slices.Equal(ds, want) {
			t.Errorf("refused by %d: %+v; want %d: %+v", got, ds, refusedBy, want)
		}
	}
	f(-1, allowed(0, s), allowed(1, s))
	f(-1, refuse(0, s, s), allowed(0, 2*s))
	f(1, refuse(0, s, s), refuse(0, s, 2*s))
	if st := shadow.Stats(); st.Allowed != 1 || st.Refused != 1 {
		t.Errorf("%+v", st)
	}
	var c Charge
	c.AddSoft(shadow, key(1), 1)
	c.Take(0)
	c.Refund(0) // it was not charged
	if d := shadow.Peek(key(1), 0, 0); d.Left != 0 {
		t.Errorf("%+v", d)
	}
}

func TestRefundOnce(t *testing.T) {
	l := newLimiter(t, Rate{1, time.Hour, 10}, Options{})
	f := func(want int64, end ...func(c *Charge)) {
		t.Helper()
		l.Take(key(1), 5, 0) // somebody else's
		var c Charge
		c.Add(l, key(1), 3)
		for _, e := range end {
			e(&c)
		}
		if left := l.Peek(key(1), 0, 0).Left; left != want {
			t.Errorf("%d left, want %d", left, want)
		}
		if d := c.Decisions(); len(d) == 1 && (d[0].Left != want || d[0].Reset != time.Duration(10-want)*time.Hour) {
			t.Errorf("%+v, want %d left", d[0], want)
		}
		l.Reset(key(1), 0)
	}
	take := func(c *Charge) { c.Take(0) }
	refund := func(c *Charge) { c.Refund(0) }
	settle := func(c *Charge) { c.Settle(0) }
	f(5)
	f(5, refund)
	f(2, take)
	f(5, take, refund)
	f(5, take, refund, refund)
	f(2, take, settle)
	f(2, take, settle, refund)
	f(5, take, refund, settle, refund)
	f(2, take, (*Charge).Reset, refund)
	f(5, settle, refund)
	f(5, func(c *Charge) { c.Add(l, key(2), 11) }, take, refund)
}

func TestStepsAndReset(t *testing.T) {
	l := newLimiter(t, plenty, Options{})
	var c Charge
	c.Add(l, key(1), 1)
	c.AddSoft(l, key(2), 0)
	if got, k, n := c.Step(1); got != l || k != key(2) || n != 0 || c.Len() != 2 || c.Decisions() != nil {
		t.Errorf("%p %v %d, %d steps, %v", got, k, n, c.Len(), c.Decisions())
	}
	if c.Take(0); len(c.Decisions()) != 2 {
		t.Errorf("%+v", c.Decisions())
	}
	c.Reset()
	if c.Len() != 0 || c.Decisions() != nil || c.Take(0) != -1 {
		t.Errorf("%d steps, %v", c.Len(), c.Decisions())
	}
	if st := l.Stats(); st.Allowed != 1 || st.Refused != 0 {
		t.Errorf("a step of no units was counted: %+v", st)
	}
}

func TestChargeMisusePanics(t *testing.T) {
	l := newLimiter(t, plenty, Options{})
	f := func(misuse func(c *Charge)) {
		t.Helper()
		defer func() {
			if r, _ := recover().(string); !strings.HasPrefix(r, "BUG: ") {
				t.Errorf("panic %q", r)
			}
		}()
		var c Charge
		misuse(&c)
	}
	f(func(c *Charge) { c.Take(0); c.Take(0) })
	f(func(c *Charge) { c.Take(0); c.Add(l, key(1), 1) })
}

// A chain against its levels by themselves: it passes if each would, spends then at each and else at none.
func TestChargeIsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var limiters [4]*Limiter
		for i := range limiters {
			limiters[i] = newLimiter(t, anyRate().Draw(t, "rate"), Options{})
		}
		now := mono.Time(0)
		for range rapid.IntRange(1, 20).Draw(t, "requests") {
			now = now.Add(pause(t, limiters[0].Spec().Rate))
			var c Charge
			want := -1
			var before []Decision
			for i, l := range limiters {
				n, shadow := units(t, l.Spec().Rate), rapid.Bool().Draw(t, "shadow")
				if shadow {
					c.AddSoft(l, key(i), n)
				} else {
					c.Add(l, key(i), n)
				}
				before = append(before, l.Peek(key(i), n, now))
				if !before[i].OK && !shadow && want < 0 {
					want = i
				}
			}
			shown := slices.Clone(before)
			if want >= 0 { // the others show what they have with nothing spent
				for i, l := range limiters {
					if rest := l.Peek(key(i), 0, now); i != want {
						shown[i].Left, shown[i].Reset = rest.Left, rest.Reset
					}
				}
			}
			if got := c.Take(now); got != want || !slices.Equal(c.Decisions(), shown) {
				t.Fatalf("refused by %d: %+v; want %d: %+v", got, c.Decisions(), want, shown)
			}
			if undo := rapid.Bool().Draw(t, "refund"); undo {
				c.Refund(now)
			} else if want < 0 {
				continue
			}
			for i, l := range limiters {
				_, _, n := c.Step(i)
				if after := l.Peek(key(i), n, now); after != before[i] {
					t.Fatalf("level %d: %+v after, %+v before", i, after, before[i])
				}
			}
		}
	})
}

// Chains that share a level and are refused by others at every moment leave it charged to the unit.
func TestConcurrentChargesAreExact(t *testing.T) {
	const workers, rounds, burst = 8, 2000, 5000
	shared := newLimiter(t, Rate{1, time.Hour, burst}, Options{})
	own := newLimiter(t, Rate{1, time.Hour, rounds / 4}, Options{})
	var passed atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			var c Charge
			for range rounds {
				c.Reset()
				c.Add(shared, key(0), 1)
				c.Add(own, key(w), 1)
				if c.Take(0) < 0 {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := passed.Load(); n != workers*rounds/4 {
		t.Errorf("%d passed", n)
	}
	if left := shared.Peek(key(0), 0, 0).Left; left != burst-workers*rounds/4 {
		t.Errorf("%d left", left)
	}
	if st := shared.Stats(); st.Allowed != workers*rounds/4 || st.Refused != 0 {
		t.Errorf("%+v", st)
	}
}
