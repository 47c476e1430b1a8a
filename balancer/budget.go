package balancer

import (
	"sync"
	"sync/atomic"

	"weir/internal/mono"
)

// BudgetConfig bounds retries.
type BudgetConfig struct {
	Ratio        float64 // retries per first attempt, over the last 10 s
	MinPerSecond float64 // retries that are there in any case, averaged over the last 10 s
}

// Budget keeps retries from multiplying the load of a pool that is failing: in the last 10 s there are at most
// Ratio × first attempts + 10 × MinPerSecond of them. It is Finagle's RetryBudget with a window in place of its bucket.
// Request is one CAS, Retry takes a mutex. Safe for concurrent use.
type Budget struct {
	seen    window // a: first attempts, b: retries
	cfg     atomic.Pointer[BudgetConfig]
	refused atomic.Uint64
	mu      sync.Mutex // one Retry at a time, so that two cannot take the last one
}

// Request counts a first attempt.
func (b *Budget) Request(now mono.Time) { b.seen.add(1, 0, now) }

// Retry takes one retry, or reports that there is none.
func (b *Budget) Retry(now mono.Time) bool {
	c := b.cfg.Load()
	b.mu.Lock()
	defer b.mu.Unlock()
	requests, retries := b.seen.sum(now)
	if float64(retries)+1 > c.Ratio*float64(requests)+windowSeconds*c.MinPerSecond {
		b.refused.Add(1)
		return false
	}
	b.seen.add(0, 1, now)
	return true
}
