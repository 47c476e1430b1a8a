package balancer

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkLease is a lease, its report and its end, with everything on and some load in flight.
func BenchmarkLease(b *testing.B) {
	for _, balance := range allBalances {
		for _, n := range []int{3, 100} {
			p := newPool(b, Config{Balance: balance, Endpoints: hosts(n, 3, 1, 2), Passive: testPassive(), Breaker: testBreaker(),
				MaxConnections: 1024, Panic: 0.3, SlowStart: time.Second}, Hooks{})
			for i := range 2 * n {
				lease(b, p, mix(uint64(i)), nil, second(0))
			}
			b.Run(fmt.Sprintf("%v/%d", balance, n), func(b *testing.B) {
				b.ReportAllocs()
				var workers atomic.Uint64
				b.RunParallel(func(pb *testing.PB) {
					i := workers.Add(1) << 32
					var tried Set
					for pb.Next() {
						i++
						now := second(float64(i&(1<<32-1)) * 1e-6)
						l, _ := p.Lease(mix(i), &tried, now)
						l.Report(Success, time.Duration(i&1023)*time.Microsecond, now)
						l.Done(now)
					}
				})
			})
		}
	}
}

func BenchmarkRebuild(b *testing.B) {
	for _, n := range []int{3, 100} {
		p := newPool(b, Config{Balance: P2C, Endpoints: hosts(n)}, Hooks{})
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.mu.Lock()
				p.rebuildLocked(second(0))
				p.mu.Unlock()
			}
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, balance := range []Balance{RingHash, Maglev} {
		for _, n := range []int{3, 100} {
			p := newPool(b, Config{Balance: balance, Endpoints: hosts(n, 3, 1, 2)}, Hooks{})
			b.Run(fmt.Sprintf("%v/%d", balance, n), func(b *testing.B) {
				for b.Loop() {
					newLookup(balance, p.members)
				}
			})
		}
	}
}

func BenchmarkBudget(b *testing.B) {
	var budget Budget
	budget.cfg.Store(&BudgetConfig{Ratio: 0.2, MinPerSecond: 3})
	b.Run("request", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			budget.Request(second(float64(i) * 1e-6))
		}
	})
	b.Run("retry", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			budget.Retry(second(float64(i) * 1e-6))
		}
	})
}

func BenchmarkBreaker(b *testing.B) {
	br := NewBreaker(testBreaker(), nil)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			gen, _ := br.Permit(second(0))
			br.Report(gen, true, second(0))
		}
	})
}
