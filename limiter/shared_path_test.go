package limiter

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"weir/internal/mono"
)

// TestSharedAllocs: a decision about a known key allocates nothing, hot or cold, to pass or not.
func TestSharedAllocs(t *testing.T) {
	for i, s := range sharedSpecs {
		t.Run(fmt.Sprintf("%d-%v", i, s.Algorithm), func(t *testing.T) {
			c, now := newCrew(t, 3, s, Options{}), mono.Time(0)
			cold, warm := simKey(1), simKey(2)
			c.limiters[0].Take(cold, 1, now)
			for range 40 {
				c.limiters[0].Take(warm, 1, now)
				now = now.Add(5 * time.Millisecond)
				c.talk(now)
			}
			if c.hotCell(0, cold) != nil || c.hotCell(0, warm) == nil {
				t.Fatal("keys are not cold and hot")
			}
			for _, k := range []Key{cold, warm} {
				var ch Charge
				round := func() {
					now = now.Add(40 * time.Millisecond)
					ch.Reset()
					ch.Add(c.limiters[0], k, 1)
					ch.Take(now)
					ch.Refund(now)
					c.limiters[0].Peek(k, 1, now)
					c.limiters[0].Peek(k, 10, now)
				}
				round()
				c.talk(now)
				if n := testing.AllocsPerRun(100, round); n != 0 {
					t.Errorf("%v allocations a decision", n)
				}
			}
		})
	}
}

// TestSharedStress has everything happen at once that may. The race detector and a deadlock are what it can find.
func TestSharedStress(t *testing.T) {
	for _, s := range []Spec{sharedSpecs[0], sharedSpecs[4], sharedSpecs[5], sharedSpecs[7]} {
		sharedStress(t, s)
	}
}

func sharedStress(t *testing.T, s Spec) {
	c := newCrew(t, 3, s, Options{Track: true, Budget: NewBudget(8 << 20)})
	ids := []uint64{nodeID(0), nodeID(1), nodeID(2)}
	const rounds = 300
	var wg sync.WaitGroup
	clock := func(i int) mono.Time { return mono.Time(time.Duration(i) * 7 * time.Millisecond) }
	each := func(do func(i int, now mono.Time)) {
		wg.Go(func() {
			for i := range rounds {
				do(i, clock(i))
			}
		})
	}
	inbox := make([]chan []byte, 3)
	for i := range inbox {
		inbox[i] = make(chan []byte, 10_000)
	}
	for n, l := range c.limiters {
		f := c.fleets[n]
		each(func(i int, now mono.Time) {
			for j := range 10 {
				var ch Charge
				ch.Add(l, simKey(uint64(j%4)), 1)
				if ch.Take(now) < 0 {
					switch i % 3 {
					case 0:
						ch.Refund(now)
					case 1:
						ch.Correct(0, 2, now)
					}
					ch.Settle(now)
				}
			}
		})
		each(func(_ int, now mono.Time) {
			frames, _ := f.Step(now)
			for j := range inbox {
				for _, b := range frames {
					if j != n {
						select {
						case inbox[j] <- b:
						default:
						}
					}
				}
			}
		})
		each(func(_ int, now mono.Time) {
			for len(inbox[n]) > 0 {
				if err := f.Receive(<-inbox[n], now); err != nil && f.Stats().Strangers == 0 {
					t.Error(err)
				}
			}
		})
		each(func(i int, now mono.Time) {
			switch i % 20 {
			case 3:
				f.Members(ids[:2+i/20%2], ids[2+i/20%2:], now)
			case 7:
				other := s
				other.Rate.N += int64(i % 40)
				if err := l.SetSpec(other, now); err != nil {
					t.Error(err)
				}
			case 11:
				l.Reset(simKey(1), now)
				l.Changed(func(Key, int64, int64) {})
				l.Stats()
				l.Excess()
				f.Stats()
			case 15:
				if err := f.Merge(c.fleets[(n+1)%3].State(1<<20, now), now); err != nil && f.Stats().Strangers == 0 {
					t.Error(err)
				}
			case 19:
				f.SetDelay(time.Duration(i)*time.Microsecond, now)
				if i > rounds*3/4 {
					l.Retire()
				}
			}
		})
	}
	wg.Wait()
}
