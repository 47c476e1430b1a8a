package strict

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/limiter"
)

func seatsOf(t *testing.T, n, units int64) Ask {
	return Ask{Policy: policy(t, 1, limiter.Spec{Algorithm: limiter.Concurrency, Rate: limiter.Rate{N: n}}), Key: key(1), N: units}
}

// TestSeatsComeBack: those of a gateway that crashed when their lease is over, those of one that lives only when it says so.
func TestSeatsComeBack(t *testing.T) {
	r := newServer(t)
	lease := Config{Addresses: []string{r.addr()}, Timeout: 100 * time.Millisecond, Lease: time.Second}
	crashed, lives, asks := opened(t, lease, nil), opened(t, lease, nil), seatsOf(t, 5, 1)
	for range 3 {
		take(t, crashed, asks)
	}
	got := take(t, lives, asks)
	take(t, lives, asks)
	if a := take(t, lives, Ask{Policy: asks.Policy, Key: asks.Key}); a.Left != 0 || a.Reset != limiter.Unknown {
		t.Fatalf("%+v", a)
	}
	crashed.held.mu.Lock() // it renews nothing any more
	clear(crashed.held.seats)
	crashed.held.mu.Unlock()
	until(t, 5*time.Second, "the seats of the crashed one are free", func() bool {
		return take(t, lives, Ask{Policy: asks.Policy, Key: asks.Key}).Left == 3
	})
	time.Sleep(2 * lease.Lease)
	if left := take(t, lives, Ask{Policy: asks.Policy, Key: asks.Key}).Left; left != 3 {
		t.Errorf("%d seats are free, want 3: what is held was not renewed", left)
	}
	settled(t, lives, 1, func() { lives.Release(&asks, &got.Mark); lives.Release(&asks, &got.Mark) })
	if left := take(t, lives, Ask{Policy: asks.Policy, Key: asks.Key}).Left; left != 4 {
		t.Errorf("%d seats are free, want 4", left)
	}
}

// TestSeatsOutliveTheServer: a server that forgets everything is told again what is held.
func TestSeatsOutliveTheServer(t *testing.T) {
	r := newServer(t)
	s := opened(t, Config{Addresses: []string{r.addr()}, Timeout: 100 * time.Millisecond, Lease: time.Second}, nil)
	asks := seatsOf(t, 5, 2)
	take(t, s, asks)
	must(t, r.client().FlushAll(context.Background()).Err())
	until(t, 5*time.Second, "the seats are there again", func() bool {
		return take(t, s, Ask{Policy: asks.Policy, Key: asks.Key}).Left == 3
	})
}

// TestSeatsAreCounted: never more at once than there are, whoever takes and gives them back.
func TestSeatsAreCounted(t *testing.T) {
	r := newServer(t)
	s := opened(t, Config{Addresses: []string{r.addr()}}, nil)
	asks := seatsOf(t, 7, 1)
	var inUse, most atomic.Int64
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			var answers [1]Answer
			for range 60 {
				refused, err := s.Take(context.Background(), []Ask{asks}, answers[:])
				if err != nil {
					t.Error(err)
					return
				}
				if refused < 0 {
					n := inUse.Add(1)
					for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
					}
					inUse.Add(-1)
					s.Release(&asks, &answers[0].Mark)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() > 7 {
		t.Errorf("%d of 7 seats were in use", most.Load())
	}
	until(t, 5*time.Second, "all seats are free", func() bool { return take(t, s, Ask{Policy: asks.Policy, Key: asks.Key}).Left == 7 })
	if s.Stats().Held != 0 {
		t.Errorf("%d are held", s.Stats().Held)
	}
}

// TestLateSeats: whoever gives up before the answer holds no seat.
func TestLateSeats(t *testing.T) {
	r := newServer(t)
	s := opened(t, Config{Addresses: []string{r.addr()}}, nil)
	asks := seatsOf(t, 7, 1)
	gaveUp := 0
	for range 200 {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Microsecond)
		var answers [1]Answer
		if _, err := s.Take(ctx, []Ask{asks}, answers[:]); err != nil {
			gaveUp++
		} else if answers[0].OK {
			s.Release(&asks, &answers[0].Mark)
		}
		cancel()
	}
	if gaveUp == 0 {
		t.Skip("nobody gave up")
	}
	until(t, 5*time.Second, "all seats are free", func() bool { return take(t, s, Ask{Policy: asks.Policy, Key: asks.Key}).Left == 7 })
}
