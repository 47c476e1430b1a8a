package strict

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/limiter"
)

// BenchmarkTake is one Take over the loopback: alone, and by 64 goroutines; of one step, and of a chain of three.
func BenchmarkTake(b *testing.B) {
	r := newServer(b)
	s := opened(b, Config{Addresses: []string{r.addr()}}, nil)
	chain := []Ask{
		{Policy: benchPolicy(b, 1, bucketOf(1_000_000_000, time.Second, 1_000_000_000)), Key: key(1), N: 1},
		{Policy: benchPolicy(b, 2, limiter.Spec{Algorithm: limiter.SlidingWindow, Rate: limiter.Rate{N: 1 << 30, Per: time.Minute}, Parts: 60}), Key: key(2), N: 1},
		{Policy: benchPolicy(b, 3, limiter.Spec{Algorithm: limiter.FixedWindow, Rate: limiter.Rate{N: 1 << 50, Per: time.Hour}}), Key: key(3), N: 1},
	}
	for _, steps := range []int{1, 3} {
		for _, goroutines := range []int{1, 64} {
			b.Run(fmt.Sprintf("steps=%d/goroutines=%d", steps, goroutines), func(b *testing.B) {
				b.ReportAllocs()
				before := s.Stats()
				var left atomic.Int64
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				for range goroutines {
					wg.Go(func() {
						answers := make([]Answer, steps)
						for left.Add(-1) >= 0 {
							if _, err := s.Take(context.Background(), chain[:steps], answers); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				st := s.Stats()
				b.ReportMetric(float64(st.Calls-before.Calls)/float64(st.Batches-before.Batches), "calls/batch")
			})
		}
	}
}

func benchPolicy(b *testing.B, id uint64, s limiter.Spec) *Policy { return policy(b, id, s) }

// BenchmarkAway is a Take while Redis is down.
func BenchmarkAway(b *testing.B) {
	r := newServer(b)
	s := opened(b, Config{Addresses: []string{r.addr()}}, nil)
	asks := []Ask{{Policy: policy(b, 1, bucketOf(1, time.Second, 1)), Key: key(1), N: 1}}
	answers := make([]Answer, 1)
	r.kill()
	until(b, 5*time.Second, "it is noticed", func() bool {
		_, _ = s.Take(context.Background(), asks, answers)
		return !s.Up()
	})
	b.ReportAllocs()
	for b.Loop() {
		_, _ = s.Take(context.Background(), asks, answers)
	}
}
