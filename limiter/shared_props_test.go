package limiter

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// crew is a fleet of nodes whose frames arrive at once.
type crew struct {
	t        rapid.TB
	fleets   []*Fleet
	limiters []*Limiter
}

func newCrew(t rapid.TB, n int, s Spec, o Options) *crew {
	c := &crew{t: t}
	var ids []uint64
	for i := range n {
		ids = append(ids, nodeID(i))
	}
	for i := range n {
		f := NewFleet(FleetOptions{Self: ids[i], Incarnation: 1, Interval: 100 * time.Millisecond})
		f.Members(ids, nil, 0)
		o.Fleet, o.Share = f, 7
		l, err := New("crew", s, o)
		if err != nil {
			t.Fatal(err)
		}
		l.Join(0)
		c.fleets, c.limiters = append(c.fleets, f), append(c.limiters, l)
	}
	return c
}

// talk has every node say what it has to, to all others.
func (c *crew) talk(now mono.Time) (frames int) {
	for i, f := range c.fleets {
		list, _ := f.Step(now)
		frames += len(list)
		for _, b := range list {
			for j, g := range c.fleets {
				if j == i {
					continue
				}
				if err := g.Receive(b, now); err != nil {
					c.t.Fatal(err)
				}
			}
		}
	}
	return frames
}

// run lets time pass.
func (c *crew) run(from, to mono.Time) {
	for now := from; now < to; now = now.Add(20 * time.Millisecond) {
		c.talk(now)
	}
}

// hotCell is the cell of k at node i, or nil.
func (c *crew) hotCell(i int, k Key) *cell {
	s, h := c.limiters[i].shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.findLocked(k, h); e != nil {
		return s.meter.(*shares).cell(&s.rings, &e.bucket)
	}
	return nil
}

// sharedSpecs are limits of every kind, small enough for their ends to be seen.
var sharedSpecs = []Spec{
	{Rate: Rate{N: 100, Per: time.Second, Burst: 60}},
	{Algorithm: LeakyBucket, Rate: Rate{N: 100, Per: time.Second, Burst: 60}},
	{Algorithm: TokenBucket, MaxWait: 300 * time.Millisecond, Rate: Rate{N: 100, Per: time.Second, Burst: 60}},
	{Algorithm: LeakyBucket, MaxWait: 300 * time.Millisecond, Rate: Rate{N: 100, Per: time.Second, Burst: 60}},
	{Algorithm: SlidingWindow, Parts: 10, Rate: Rate{N: 90, Per: time.Second}},
	{Algorithm: FixedWindow, Rate: Rate{N: 90, Per: time.Second}},
	{Algorithm: Quota, Rate: Rate{N: 90}, Calendar: Calendar{Period: "hour"}},
	{Algorithm: Concurrency, Rate: Rate{N: 30}},
}

// TestSharedAlone: a fleet of one node answers as a limiter of its own does.
func TestSharedAlone(t *testing.T) {
	for i, s := range sharedSpecs {
		t.Run(fmt.Sprintf("%d-%v", i, s.Algorithm), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { sharedAlone(t, s) })
		})
	}
}

func sharedAlone(t *rapid.T, s Spec) {
	plain, err := New("plain", s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := newCrew(t, 1, s, Options{})
	now, k := mono.Time(0), simKey(1)
	var a, b []*Charge
	for range rapid.IntRange(1, 60).Draw(t, "ops") {
		now = now.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "ms")) * time.Millisecond)
		c.talk(now)
		n := int64(rapid.IntRange(0, 5).Draw(t, "peek"))
		if x, y := plain.Peek(k, n, now), c.limiters[0].Peek(k, n, now); x != y {
			t.Fatalf("%v: alone %+v, shared %+v", now, x, y)
		}
		m := int64(rapid.IntRange(1, 5).Draw(t, "n"))
		for i, l := range []*Limiter{plain, c.limiters[0]} {
			list := []*[]*Charge{&a, &b}[i]
			ch := new(Charge)
			ch.Add(l, k, m)
			if ch.Take(now) < 0 {
				*list = append(*list, ch)
			}
		}
		if len(a) != len(b) {
			t.Fatal("one takes what the other does not")
		}
		if len(a) > 0 && rapid.Bool().Draw(t, "back") {
			i := rapid.IntRange(0, len(a)-1).Draw(t, "which")
			a[i].Refund(now)
			b[i].Refund(now)
		}
	}
}
