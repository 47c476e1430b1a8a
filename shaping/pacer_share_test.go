package shaping

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// crowd is connections that write through Pacers, in simulated time.
type crowd struct {
	p     *Pacers
	now   mono.Time
	conns []*writer
	total []sent // every piece of everybody
}

// writer is a connection: it asks, waits, writes, and asks again.
type writer struct {
	flow  *Flow
	turn  Turn
	asked int
	next  mono.Time     // when it does something next
	close mono.Time     // when its client goes away
	late  time.Duration // of its timers
	pause time.Duration // after a piece, to write it
	own   int64         // bytes a second that it has to send at most; 0: any
	due   mono.Time     // when it has the next of these
	most  int           // bytes it has in hand at once; 0: any
	bytes int64
	log   []sent
}

// join adds so many connections of a flow, which stay to the end unless changed.
func (c *crowd) join(k uint64, tier, n int, change func(*writer)) []*writer {
	first := len(c.conns)
	for range n {
		w := &writer{flow: c.p.Hold(Key{Lo: k}, tier, c.now), next: c.now, close: mono.Never, late: time.Millisecond}
		if change != nil {
			change(w)
		}
		c.conns = append(c.conns, w)
	}
	return c.conns[first:]
}

// run lets time pass until end.
func (c *crowd) run(end mono.Time) {
	for {
		var w *writer
		for _, o := range c.conns {
			if w == nil || o.next < w.next {
				w = o
			}
		}
		if w == nil || w.next > end {
			c.now = end
			return
		}
		c.now = w.next
		c.step(w)
	}
}

func (c *crowd) step(w *writer) {
	if c.now >= w.close {
		if w.asked > 0 {
			w.turn.Cancel(w.asked, c.now)
		}
		w.flow.Release(c.now)
		w.next = mono.Never
		return
	}
	var wait time.Duration
	if w.asked == 0 {
		w.asked = w.flow.Chunk(c.now)
		if w.most > 0 {
			w.asked = min(w.asked, w.most)
		}
		wait = w.flow.Reserve(&w.turn, w.asked, c.now)
	} else {
		wait = w.turn.Wait(c.now)
	}
	if wait > 0 {
		w.next = min(c.now.Add(wait+w.late), max(w.close, c.now))
		return
	}
	w.bytes += int64(w.asked)
	piece := sent{c.now, int64(w.asked)}
	w.log, c.total = append(w.log, piece), append(c.total, piece)
	w.next = c.now.Add(w.pause)
	if w.own > 0 {
		w.due = max(w.due, c.now-second/10).Add(time.Duration(float64(w.asked) / float64(w.own) * 1e9))
		w.next = max(w.next, w.due)
	}
	w.asked = 0
}

// sum is the bytes of connections since sum was called last.
func sum(ws []*writer) (n int64) {
	for _, w := range ws {
		n += w.bytes
		w.bytes = 0
	}
	return n
}

// fair is the oracle: the max-min fair shares of a total above guarantees, by bisection for the level.
func fair(total float64, all []Tier) []float64 {
	promised := 0.0
	for _, t := range all {
		promised += min(float64(t.Guarantee), float64(t.Rate))
	}
	scale := math.Min(1, total/promised)
	shares := func(level float64) (r []float64, sum float64) {
		for _, t := range all {
			x := math.Min(float64(t.Rate), math.Max(float64(t.Guarantee)*scale, level*float64(t.Weight)))
			r, sum = append(r, x), sum+x
		}
		return r, sum
	}
	low, high := 0.0, 1e12
	for range 200 {
		mid := (low + high) / 2
		if _, sum := shares(mid); sum > total {
			high = mid
		} else {
			low = mid
		}
	}
	r, _ := shares(low)
	return r
}

func newCrowd(t interface{ Fatal(...any) }, total int64, tiers ...Tier) *crowd {
	p, err := NewPacers(PacersConfig{Tiers: tiers, Total: total, Flows: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return &crowd{p: p}
}

const second = mono.Time(time.Second)

// TestShareEqually: one connection or twenty, small pieces or large, quick or slow to write: everybody's flow gets the same, every second.
func TestShareEqually(t *testing.T) {
	for _, total := range []int64{256 << 10, 10 << 20, 100 << 20, 2 << 30} {
		c := newCrowd(t, total, Tier{Rate: total})
		flows := [][]*writer{
			c.join(1, 0, 1, nil),
			c.join(2, 0, 20, nil),
			c.join(3, 0, 1, func(w *writer) { w.most = 32 << 10 }),
			c.join(4, 0, 3, func(w *writer) { w.late = 3 * time.Millisecond; w.pause = 5 * time.Millisecond }),
			c.join(5, 0, 2, func(w *writer) { w.late = 0; w.most = 16 << 10 }),
		}
		c.run(second)
		for _, f := range flows {
			sum(f)
		}
		for s := range mono.Time(5) {
			c.run((s + 2) * second)
			for i, f := range flows {
				if off := float64(sum(f))/float64(total)*5 - 1; math.Abs(off) > 0.03 {
					t.Errorf("total %d, second %d: flow %d is off by %.1f %%", total, s+1, i+1, off*100)
				}
			}
		}
		if e := excess(last(c.total, 2000), total, c.p.config.Burst+1<<20); e > 0 {
			t.Errorf("total %d: %d bytes too many", total, e)
		}
	}
}

func last(all []sent, n int) []sent { return all[max(0, len(all)-n):] }

// TestShareWhatOthersLeave: flows below their share, by a ceiling or by want of bytes, leave it to the others.
func TestShareWhatOthersLeave(t *testing.T) {
	const total = 10 << 20
	c := newCrowd(t, total, Tier{Rate: total}, Tier{Rate: 1 << 20})
	greedy := [][]*writer{c.join(1, 0, 1, nil), c.join(2, 0, 5, nil)}
	capped := c.join(3, 1, 4, nil)
	idle := c.join(4, 0, 1, func(w *writer) { w.own = 1 << 20; w.most = 8 << 10 })
	rare := c.join(5, 0, 1, func(w *writer) { w.own = 1 << 20; w.most = 128 << 10 })
	c.run(second)
	all := append(greedy, capped, idle, rare)
	for _, f := range all {
		sum(f)
	}
	for s := range mono.Time(5) {
		c.run((s + 2) * second)
		for i, want := range []float64{3.5, 3.5, 1, 1, 1} {
			tolerance := 0.05
			if i == 4 {
				tolerance = 0.13 // a piece
			}
			if got := float64(sum(all[i])) / (1 << 20); math.Abs(got/want-1) > tolerance {
				t.Errorf("second %d: flow %d gets %.2f MiB/s, want %.2f", s+1, i+1, got, want)
			}
		}
	}
}

// TestShareFollowsComings: within a moment of a coming or a going everybody has the new share.
func TestShareFollowsComings(t *testing.T) {
	const total = 20 << 20
	c := newCrowd(t, total, Tier{Rate: total})
	stays := c.join(1, 0, 3, nil)
	check := func(what string, want float64) {
		t.Helper()
		c.run(c.now + second/2)
		sum(stays)
		for range 3 {
			c.run(c.now + second)
			if got := float64(sum(stays)) / total; math.Abs(got/want-1) > 0.03 {
				t.Errorf("%s: it gets %.3f of the total, want %.3f", what, got, want)
			}
		}
	}
	check("alone", 1)
	for k := range uint64(9) {
		c.join(k+2, 0, 2, func(w *writer) { w.close = 10 * second })
	}
	check("one of ten", 0.1)
	c.run(10 * second)
	check("alone again", 1)
	c.run(c.now + 2*keep)
	for range 3 {
		c.p.Hold(Key{Lo: 99}, 0, c.now).Release(c.now)
	}
	if n := c.p.Stats(); n.Flows != 2 || n.Waiting > 3 {
		t.Errorf("left over: %+v", n)
	}
}

// TestShareMatchesOracle: any tiers, any crowd of flows that always want more, come and go.
func TestShareMatchesOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.Int64Range(1<<20, 100<<20).Draw(t, "total")
		tiers := make([]Tier, rapid.IntRange(1, 5).Draw(t, "tiers"))
		for i := range tiers {
			tiers[i] = Tier{
				Rate:   int64(float64(total) * rapid.Float64Range(0.03, 1).Draw(t, "rate")),
				Weight: rapid.Int64Range(1, 10).Draw(t, "weight"),
			}
			tiers[i].Guarantee = int64(float64(tiers[i].Rate) * rapid.Float64Range(0, 0.9).Draw(t, "guarantee"))
		}
		c := newCrowd(t, total, tiers...)
		flows, of := [][]*writer{}, []Tier{}
		for phase := range 2 {
			for range rapid.IntRange(1, 5).Draw(t, "more") {
				tier := rapid.IntRange(0, len(tiers)-1).Draw(t, "tier")
				flows = append(flows, c.join(uint64(len(flows)), tier, rapid.IntRange(1, 4).Draw(t, "conns"), nil))
				of = append(of, tiers[tier])
			}
			if phase == 1 {
				for _, w := range flows[0] {
					w.close = c.now
				}
				flows, of = flows[1:], of[1:]
			}
			c.run(c.now + 2*second) // what was booked at a larger share is served first
			for _, f := range flows {
				sum(f)
			}
			c.run(c.now + second)
			for i, want := range fair(float64(total), of) {
				if want < max(float64(total)/50, 5*evenPiece/2) {
					continue // 20 ms of a large share, or the pieces of all four connections after another, take longer than this to serve at it
				}
				if got := float64(sum(flows[i])); math.Abs(got-want) > 0.05*want+8192 {
					t.Fatalf("total %d: flow %d of %+v gets %.0f, want %.0f", total, i, of[i], got, want)
				}
			}
		}
	})
}
