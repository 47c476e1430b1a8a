package shaping

import (
	"math"
	"testing"
	"time"

	"weir/internal/mono"
)

// TestFlowSharesAmongConnections: connections of a flow have equal parts of it, whatever size of pieces it comes to, late ones within reason.
func TestFlowSharesAmongConnections(t *testing.T) {
	for _, rate := range []int64{64 << 10, 1 << 20, 100 << 20, 5 << 30} {
		for _, most := range []int{0, 32 << 10} {
			c := newCrowd(t, 0, Tier{Rate: rate})
			c.join(1, 0, 8, func(w *writer) { w.most = most })
			seconds := mono.Time(10)
			if rate > 1<<30 {
				seconds = 1 // that is many pieces
			}
			c.run(second)
			sum(c.conns)
			c.run((1 + seconds) * second)
			all := 0.0
			for _, w := range c.conns {
				all += float64(w.bytes)
			}
			if off := all/float64(seconds)/float64(rate) - 1; math.Abs(off) > 0.01 {
				t.Errorf("%d B/s, pieces of up to %d: in all off by %.2f %%", rate, most, off*100)
			}
			for i, w := range c.conns {
				if off := float64(w.bytes)/all*8 - 1; math.Abs(off) > 0.05 {
					t.Errorf("%d B/s, pieces of up to %d: connection %d is off by %.1f %%", rate, most, i, off*100)
				}
			}
		}
	}
}

func TestTurnTableOfTime(t *testing.T) {
	p, _ := NewPacers(PacersConfig{Tiers: []Tier{{Rate: 1000, Burst: 100}}, Flows: 2})
	f := p.Hold(Key{1, 1}, 0, 0)
	var a, b, c Turn
	const ms = time.Millisecond
	is := func(what string, got, want time.Duration) {
		t.Helper()
		if got != want {
			t.Errorf("%s: wait %v, want %v", what, got, want)
		}
	}
	at := func(ms int64) mono.Time { return mono.Time(ms * 1e6) }
	is("a within the burst", f.Reserve(&a, 90, at(1000)), 0)
	a.Cancel(0, at(1000))
	is("a has the rest", f.Reserve(&a, 10, at(1000)), 40*ms) // a turn of 50, half of the burst
	is("b behind it", f.Reserve(&b, 50, at(1000)), 45*ms)    // half of 90
	is("c behind them", f.Reserve(&c, 60, at(1000)), 75*ms)
	if s := p.Stats(); s != (PacersStats{Flows: 1, Waiting: 3, Bytes: 90, Waits: 3}) {
		t.Errorf("%+v", s)
	}
	a.Cancel(10, at(1010))
	is("b looks again", b.Wait(at(1020)), 20*ms) // 40 in all
	is("b a moment early", b.Wait(at(1040)-1), 5*ms)
	is("b", b.Wait(at(1040)), 0)
	b.Cancel(20, at(1050))
	is("b has gone", b.Wait(at(1050)), 0)
	is("c", c.Wait(at(1075)), 5*ms) // 100 - 20
	is("c", c.Wait(at(1080)), 0)
	is("a again", f.Reserve(&a, 20, at(1130)), 0) // a turn of 50 again
	is("its rest", f.Reserve(&a, 20, at(1150)), 0)
	is("too much", f.Reserve(&a, 20, at(1150)), 20*ms) // the other 10 are given back
	a.Cancel(20, at(1150))
	if s := p.Stats(); s != (PacersStats{Flows: 1, Bytes: 220, Waits: 4}) {
		t.Errorf("%+v", s)
	}
	f.Reserve(&a, 50, at(1300))
	a.Cancel(50, at(3000)) // of no use: the bucket has been full since
	is("the burst", f.Reserve(&a, 100, at(3000)), 0)
	is("and no more", f.Reserve(&a, 1, at(3000)), 25*ms)
}

// TestCancelLeavesNoGhosts: ninety-nine clients that wait go away, and the hundredth waits no longer than if they had never been.
func TestCancelLeavesNoGhosts(t *testing.T) {
	for _, total := range []int64{0, 1 << 20} {
		p, _ := NewPacers(PacersConfig{Tiers: []Tier{{Rate: 1 << 20}}, Total: total, Flows: 2})
		f := p.Hold(Key{1, 1}, 0, 0)
		var turns [100]Turn
		var first Turn
		f.Reserve(&first, 100_000, second)
		for i := range turns {
			if f.Reserve(&turns[i], 16<<10, second) == 0 {
				t.Fatal("it does not wait")
			}
		}
		for i := range turns[:99] {
			turns[i].Cancel(16<<10, second)
		}
		now := second
		for wait := turns[99].Wait(now); wait > 0; wait = turns[99].Wait(now) {
			now = now.Add(wait)
		}
		if late := now.Sub(second); late > 150*time.Millisecond {
			t.Errorf("total %d: the hundredth waits %v", total, late)
		}
		turns[99].Cancel(0, now)
		if s := p.Stats(); s.Waiting != 0 || s.Bytes != 100_000+16<<10 {
			t.Errorf("total %d: %+v", total, s)
		}
	}
}

// TestTurnIsGoodForAMoment: what is left of a turn may go for 20 ms, and then counts as not gone.
func TestTurnIsGoodForAMoment(t *testing.T) {
	p, _ := NewPacers(PacersConfig{Tiers: []Tier{{Rate: 1000, Burst: 100}}, Flows: 2})
	f := p.Hold(Key{1, 1}, 0, 0)
	var a Turn
	for _, c := range []struct{ ms, left int }{{1000, 40}, {1020, 30}, {1021, 40}, {1040, 30}} {
		if wait := f.Reserve(&a, 10, mono.Time(c.ms*1e6)); wait != 0 || a.left != c.left {
			t.Errorf("at %d ms: wait %v, then %d are left, want %d", c.ms, wait, a.left, c.left)
		}
	}
	if got := p.Stats().Bytes; got != 20+50 {
		t.Errorf("%d bytes went", got)
	}
}

// TestLongWaitsAreLookedAt: a wait of hours notices within a quarter of a second that the rate has changed.
func TestLongWaitsAreLookedAt(t *testing.T) {
	c := PacersConfig{Tiers: []Tier{{Rate: 1, Burst: 1}}, Flows: 2}
	p, _ := NewPacers(c)
	f := p.Hold(Key{1, 1}, 0, 0)
	var a Turn
	if got := f.Reserve(&a, 10_000, second); got != glance {
		t.Errorf("wait %v", got)
	}
	c.Tiers[0] = Tier{Rate: 1e6, Burst: 100}
	if err := p.Reshape(c, second); err != nil {
		t.Fatal(err)
	}
	if got := a.Wait(second.Add(glance)); got != 0 {
		t.Errorf("wait %v more", got)
	}
}

// TestWhatIsOverIsNotGivenBack: a turn of another tier's clock, or of an earlier visit to the total, is no credit.
func TestWhatIsOverIsNotGivenBack(t *testing.T) {
	p, _ := NewPacers(PacersConfig{Tiers: []Tier{{Rate: 1e6}, {Rate: 1000}}, Flows: 2})
	f := p.Hold(Key{1, 1}, 0, second)
	var a, b Turn
	f.Reserve(&a, 100, second)
	p.Hold(Key{1, 1}, 1, second)
	before := f.booked
	if a.Cancel(100, second); f.booked != before {
		t.Errorf("%d bytes of the other tier", before-f.booked)
	}

	p, _ = NewPacers(PacersConfig{Tiers: []Tier{{}}, Total: 1000, Flows: 2})
	f = p.Hold(Key{1, 1}, 0, second)
	f.Reserve(&a, 100, second)
	f.Reserve(&b, 100, 100*second)
	f.Reserve(&Turn{}, 100, 100*second)
	shared := f.shared
	if a.Cancel(100, 100*second); f.shared != shared {
		t.Errorf("%d bytes of the other visit", shared-f.shared)
	}
	if b.Cancel(100, 100*second); f.shared == shared {
		t.Error("nothing of this visit")
	}
}

// TestCreditIsGivenGently: when a flow ceases to be busy, the others run ahead by what it left, at double speed at most.
func TestCreditIsGivenGently(t *testing.T) {
	p, _ := NewPacers(PacersConfig{Tiers: []Tier{{}}, Total: 1 << 20, Flows: 2})
	stays, goes := p.Hold(Key{1, 1}, 0, 0), p.Hold(Key{2, 2}, 0, 0)
	var a, b Turn
	stays.Reserve(&a, 1<<20, second)
	goes.Reserve(&b, 10<<10, second)
	for now := second; now < second+second/2; now += mono.Time(time.Millisecond) {
		before := p.served
		stays.Chunk(now)
		if step := p.served - before; now > second && step > 2*mono.Time(time.Millisecond) {
			t.Fatalf("%v in a millisecond", time.Duration(step))
		}
	}
	// A quarter of 100 ms, of which half was its own.
	if got := time.Duration(p.served - p.at); got < 12*time.Millisecond || got > 13*time.Millisecond {
		t.Errorf("ahead by %v in the end", got)
	}
	stays.Chunk(1000 * second)
	if got := time.Duration(p.ahead - p.at); got > 13*time.Millisecond {
		t.Errorf("ahead by %v when nobody is busy", got)
	}
}

// TestFirstFlowBeginsWithALag: after a pause of all, two turns of 20 ms find a credit of 25 ms.
func TestFirstFlowBeginsWithALag(t *testing.T) {
	p, _ := NewPacers(PacersConfig{Tiers: []Tier{{}}, Total: 1 << 20, Flows: 2})
	for i, f := range []*Flow{p.Hold(Key{1, 1}, 0, 0), p.Hold(Key{2, 2}, 0, 0)} {
		went := 0
		for f.Reserve(&Turn{}, 1<<20/50, second) == 0 {
			went++
		}
		if want := 2 - i; went != want {
			t.Errorf("flow %d: %d turns went at once, want %d", i+1, went, want)
		}
	}
}
