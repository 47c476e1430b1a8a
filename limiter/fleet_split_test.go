package limiter

import (
	"testing"
	"time"

	"weir/internal/mono"
)

// trio is three nodes in virtual time that keep a bucket of 400/s + 80 and a window of 4200, cut 2|1 from 4 s to 16 s.
type trio struct {
	fleets         [3]*Fleet
	bucket, window [3]*Limiter
	next           [3]mono.Time
	wire           []parcel
	admitted       [3][40]int // by second
	spent          int        // of the window
}

// parcel is a frame on its way to a node.
type parcel struct {
	to    int
	frame []byte
}

const (
	cutAt  = 4 * time.Second
	healAt = 16 * time.Second
)

func trioAt(d time.Duration) mono.Time { return mono.Time(time.Hour + d) }

func newTrio(t *testing.T) *trio {
	x := &trio{}
	for i := range x.fleets {
		x.fleets[i] = NewFleet(FleetOptions{Self: uint64(i + 1), Incarnation: 1, Interval: 100 * time.Millisecond, Delay: 500 * time.Microsecond, Start: trioAt(time.Duration(i) * 30 * time.Millisecond)})
		x.bucket[i] = newLimiterOf(t, Spec{Rate: Rate{N: 400, Per: time.Second, Burst: 80}}, Options{Fleet: x.fleets[i], Share: 7})
		x.window[i] = newLimiterOf(t, Spec{Algorithm: FixedWindow, Rate: Rate{N: 4200, Per: 8760 * time.Hour}}, Options{Fleet: x.fleets[i], Share: 8})
		x.bucket[i].Join(trioAt(0))
		x.window[i].Join(trioAt(0))
	}
	x.members(trioAt(0), []uint64{1, 2, 3}, 0, 1, 2)
	return x
}

func newLimiterOf(t *testing.T, s Spec, o Options) *Limiter {
	t.Helper()
	l, err := New("trio", s, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (x *trio) members(now mono.Time, alive []uint64, nodes ...int) {
	for _, i := range nodes {
		x.fleets[i].Members(alive, nil, now)
	}
}

// run lets 40 s pass in which each node is asked 267/s of the bucket, and of the window 200/s, then 10/s in the cut and nothing after it. The
// third takes the first for dead at 10 s, the second at second.
func (x *trio) run(second time.Duration) {
	for ms := range 40_000 {
		d := time.Duration(ms) * time.Millisecond
		now := trioAt(d)
		if d == 10*time.Second {
			x.members(now, []uint64{1, 2}, 0, 1)
			x.members(now, []uint64{2, 3}, 2)
		}
		switch d {
		case second:
			x.members(now, []uint64{3}, 2)
		case healAt + 300*time.Millisecond:
			x.members(now, []uint64{1, 2, 3}, 0, 1, 2)
		}
		for _, p := range x.wire {
			_ = x.fleets[p.to].Receive(p.frame, now)
		}
		x.wire = x.wire[:0]
		x.ask(ms, d, now)
		x.step(d >= cutAt && d < healAt, now)
	}
}

func (x *trio) ask(ms int, d time.Duration, now mono.Time) {
	every := 5
	if d > cutAt {
		every = 100
	}
	for i := range 3 {
		if (ms*267+i*333)/1000 != ((ms-1)*267+i*333)/1000 && x.bucket[i].Take(simKey(1), 1, now).OK {
			x.admitted[i][ms/1000]++
		}
		if d < healAt && ms%every == i && x.window[i].Take(simKey(1), 1, now).OK {
			x.spent++
		}
	}
}

func (x *trio) step(split bool, now mono.Time) {
	for i, f := range x.fleets {
		select {
		case <-f.Wake():
			x.next[i] = now
		default:
		}
		if now < x.next[i] {
			continue
		}
		var frames [][]byte
		frames, x.next[i] = f.Step(now)
		for _, b := range frames {
			for to := range 3 {
				if to != i && !(split && (i == 2 || to == 2)) {
					x.wire = append(x.wire, parcel{to, b})
				}
			}
		}
	}
}

// TestFleetSplit: a node that is cut off takes nothing over, even if it learns of the others' deaths one by one; and what was presumed of a
// window comes back when the others say what they spent.
func TestFleetSplit(t *testing.T) {
	for name, second := range map[string]time.Duration{"deaths at once": 10 * time.Second, "deaths 3 s apart": 13 * time.Second} {
		t.Run(name, func(t *testing.T) {
			x := newTrio(t)
			x.run(second)
			for s := 5; s < 40; s++ {
				if sum := x.admitted[0][s] + x.admitted[1][s] + x.admitted[2][s]; sum > 440 {
					t.Errorf("second %d: %d admitted of 400", s, sum)
				}
			}
			for i := range 3 {
				if left := x.window[i].Peek(simKey(1), 0, trioAt(40*time.Second)).Left; left != int64(4200-x.spent) {
					t.Errorf("node %d: %d left of the window, want %d", i, left, 4200-x.spent)
				}
				if n := x.admitted[i][39]; n < 66 {
					t.Errorf("node %d: %d admitted in the last second, a third is 133", i, n)
				}
			}
		})
	}
}
