package limiter

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// ledger is a plain limiter that is charged what the nodes admit, whatever it has left: what one limiter for all would owe.
type ledger struct {
	*Limiter
	owing *shares
	size  float64
}

func newLedger(t rapid.TB, s Spec) ledger {
	l, err := New("ledger", s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return ledger{l, &shares{cold: l.meter(s)}, float64(s.units())}
}

func (l ledger) charge(k Key, n int64, now mono.Time) *Charge {
	c := new(Charge)
	c.Add(l.Limiter, k, 0)
	c.Take(now)
	if l.Spec().Algorithm == Concurrency { // which Correct leaves alone
		s, h := l.shard(k)
		c.steps[0].spending = s.debit(k, h, n, false, now)
		c.steps[0].n, c.steps[0].own, c.steps[0].spent, c.steps[0].seats = n, n, true, true
		return c
	}
	c.Correct(0, n, now)
	return c
}

// beyond is by how much more than the limit is owed.
func (l ledger) beyond(k Key, now mono.Time) float64 {
	s, h := l.shard(k)
	e := s.findLocked(k, h)
	if e == nil {
		return -l.size
	}
	return l.owing.owed(&s.rings, &e.bucket, now) - l.size
}

// pair is a charge at a node and its like in the ledger.
type pair struct {
	node  int
	c, in *Charge
	n     int64
}

// TestSharedThree: three nodes never admit more than one limiter would, but for the bound, whatever is corrected and given back.
func TestSharedThree(t *testing.T) {
	for i, s := range sharedSpecs {
		if s.MaxWait > 0 { // what waits is owed beyond the limit
			continue
		}
		t.Run(fmt.Sprintf("%d-%v", i, s.Algorithm), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { sharedThree(t, s) })
		})
	}
}

func sharedThree(t *rapid.T, s Spec) {
	c, one := newCrew(t, 3, s, Options{}), newLedger(t, s)
	bound, _ := c.limiters[0].Excess()
	k, now := simKey(1), mono.Time(0)
	debt, most := int64(0), int64(1) // corrections charge whatever is left; a whole request passes where a unit does
	var open []pair
	for range rapid.IntRange(1, 150).Draw(t, "ops") {
		now = now.Add(time.Duration(rapid.SampledFrom([]int{2, 2, 2, 5, 30, 200}).Draw(t, "ms")) * time.Millisecond)
		c.talk(now)
		op := rapid.IntRange(0, 9).Draw(t, "op")
		if op < 7 || len(open) == 0 {
			p := pair{node: rapid.IntRange(0, 2).Draw(t, "node"), c: new(Charge), n: int64(rapid.IntRange(1, 6).Draw(t, "n"))}
			p.c.Add(c.limiters[p.node], k, p.n)
			if p.c.Take(now) >= 0 {
				continue
			}
			p.in = one.charge(k, p.n, now)
			open = append(open, p)
			most = max(most, p.n)
			if x := one.beyond(k, now); x > bound+float64(debt)+float64(3*(most-1)) {
				t.Fatalf("%v: %.1f beyond the limit, bound %.1f, debt %d", now, x, bound, debt)
			}
			continue
		}
		i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
		p := open[i]
		if op == 7 && s.Algorithm != Concurrency {
			n := int64(rapid.IntRange(0, 9).Draw(t, "n"))
			debt += max(0, n-p.n)
			p.c.Correct(0, n, now)
			p.in.Correct(0, n, now)
			open[i].n = n
			continue
		}
		for _, ch := range []*Charge{p.c, p.in} {
			if s.Algorithm == Concurrency || op == 8 {
				ch.Refund(now)
			} else {
				ch.Settle(now)
			}
		}
		open = append(open[:i], open[i+1:]...)
	}
}

// TestSharedRefusedChain: what a chain gives back that a later step refuses is as if never spent: nobody hears of it, and the limit is
// all there.
func TestSharedRefusedChain(t *testing.T) {
	for i, s := range sharedSpecs {
		t.Run(fmt.Sprintf("%d-%v", i, s.Algorithm), func(t *testing.T) {
			c, k := newCrew(t, 3, s, Options{}), simKey(1)
			never, err := New("never", Spec{Algorithm: FixedWindow, Rate: Rate{N: 1, Per: time.Second}}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			now, n := mono.Time(0), int64(2)
			if s.Algorithm == Concurrency {
				n = 1
			}
			var held []*Charge
			for range 15 { // so that the key is hot
				now = now.Add(10 * time.Millisecond)
				ch := new(Charge)
				ch.Add(c.limiters[0], k, n)
				if ch.Take(now) < 0 {
					held = append(held, ch)
				}
				c.talk(now)
			}
			x := c.hotCell(0, k)
			if x == nil {
				t.Fatal("the key is not hot")
			}
			c.run(now, now.Add(100*time.Millisecond))
			now = now.Add(100 * time.Millisecond)
			used, left := x.used, c.limiters[0].Peek(k, 0, now).Left
			for range 1000 {
				ch := new(Charge)
				ch.Add(c.limiters[0], k, 1)
				ch.Add(never, k, 2)
				if ch.Take(now) < 0 {
					t.Fatal("the second step takes")
				}
			}
			if got := c.limiters[0].Peek(k, 0, now).Left; x.used != used || got != left {
				t.Errorf("used %v, was %v; left %d, was %d; %d charges are held", x.used, used, got, left, len(held))
			}
		})
	}
}
