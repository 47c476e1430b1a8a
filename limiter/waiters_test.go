package limiter

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func woken(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// seat returns a charge that holds one seat of k, or fails.
func seat(t *testing.T, l *Limiter, k Key) *Charge {
	t.Helper()
	c := new(Charge)
	if c.Add(l, k, 1); c.Take(0) >= 0 {
		t.Fatal("no seat")
	}
	return c
}

func TestWaitersAreWokenInOrder(t *testing.T) {
	l := newSpec(t, Spec{Algorithm: Concurrency, Rate: Rate{N: 1}}, Options{})
	var back [5]<-chan struct{}
	var leave [5]func()
	for i := range back {
		back[i], leave[i] = l.Await(key(1))
	}
	f := func(want ...bool) {
		t.Helper()
		seat(t, l, key(1)).Settle(0)
		for i, w := range want {
			if got := woken(back[i]); got != w {
				t.Errorf("waiter %d woken: %v, want %v", i, got, w)
			}
		}
	}
	leave[1]()
	leave[1]()
	f(true, false, false, false)
	f(false, false, true, false, false)
	leave[2]() // it had its turn
	f(false, false, false, true, false)
	seat(t, l, key(2)).Settle(0)
	if woken(back[4]) {
		t.Error("woken by another key's seat")
	}
	c, leaveLast := l.Await(key(1))
	seat(t, l, key(1)).Refund(0)
	leave[4]() // it was woken and goes without knowing
	if woken(back[4]) || !woken(c) {
		t.Error("the turn was not passed on")
	}
	leaveLast()
	if l.waiters.n.Load() != 0 || len(l.waiters.keys) != 0 {
		t.Errorf("%d waiters are left", l.waiters.n.Load())
	}
	a, _ := l.Await(key(1))
	b, _ := l.Await(key(2))
	if err := l.SetSpec(Spec{Algorithm: Concurrency, Rate: Rate{N: 2}}, 0); err != nil || !woken(a) || !woken(b) {
		t.Errorf("%v, or not all were woken by a higher limit", err)
	}
}

// Keys without room share seats, so that one's going is another's turn.
func TestSharedSeatsWakeWhoShares(t *testing.T) {
	l := newSpec(t, Spec{Algorithm: Concurrency, Rate: Rate{N: 1}}, Options{MaxBytes: MinMaxBytes})
	shrink(l, tableBytes(1))
	for i := range 16 {
		seat(t, l, key(i))
	}
	c := seat(t, l, key(100))
	back, leave := l.Await(key(200))
	defer leave()
	if l.Peek(key(200), 1, 0).OK {
		t.Fatal("the seat is not shared")
	}
	if c.Settle(0); !woken(back) || !l.Peek(key(200), 1, 0).OK {
		t.Error("not woken")
	}
}

// Who is woken for a seat and is then refused by another limit passes the turn on.
func TestTurnIsPassedOnByARefusal(t *testing.T) {
	rate := newLimiter(t, Rate{1, time.Hour, 1}, Options{})
	seats := newSpec(t, Spec{Algorithm: Concurrency, Rate: Rate{N: 1}}, Options{})
	holder := seat(t, seats, key(1))
	first, _ := seats.Await(key(1))
	second, _ := seats.Await(key(1))
	holder.Settle(0)
	rate.Take(key(1), 1, 0)
	var c Charge
	c.Add(rate, key(1), 1)
	c.Add(seats, key(1), 1)
	if got := c.Take(0); !woken(first) || got != 0 || !woken(second) {
		t.Errorf("refused by %d; or a turn is lost", got)
	}
}

// Everybody gets a seat in the end, without asking again of its own accord; in a table that is too small, too.
func TestNoTurnIsLost(t *testing.T) {
	f := func(limit int64, keys int, small bool) {
		t.Helper()
		l := newSpec(t, Spec{Algorithm: Concurrency, Rate: Rate{N: limit}}, Options{MaxBytes: MinMaxBytes})
		if shrink(l, tableBytes(1)); small {
			for i := range 16 {
				seat(t, l, key(1000+i))
			}
		}
		const workers, rounds = 16, 300
		var in, most atomic.Int64
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				var c Charge
				for range rounds {
					c.Reset()
					c.Add(l, key(w%keys), 1)
					for c.Take(0) >= 0 {
						back, leave := l.Await(key(w % keys))
						if c.Again(); c.Take(0) < 0 {
							leave()
							break
						}
						<-back // a lost turn is a deadlock
						c.Again()
					}
					if n := in.Add(1); n > most.Load() {
						most.Store(n)
					}
					in.Add(-1)
					c.Settle(0)
				}
			})
		}
		wg.Wait()
		if most.Load() > limit*int64(keys) || l.waiters.n.Load() != 0 {
			t.Errorf("%d at once, %d still wait", most.Load(), l.waiters.n.Load())
		}
		for k := range keys {
			if d := l.Peek(key(k), 0, 0); d != allowed(limit, 0) {
				t.Errorf("%d seats, %d keys: %+v is left", limit, keys, d)
			}
		}
	}
	f(1, 1, false)
	f(3, 1, false)
	f(1, 3, false)
	f(1, 4, true)
	f(2, 1, true)
}
