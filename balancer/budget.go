package balancer

import (
	"sync"
	"sync/atomic"

	"weir/internal/mono"
)

// BudgetConfig bounds retries.
type BudgetConfig struct {
	Ratio        float64 // retries per first attempt, over the last 10 s
	MinPerSecond float64 // retries for a pool with little traffic, averaged over the last 10 s and shared by the fleet
}

// Budget keeps retries from multiplying the load of a pool that is failing. With r = Ratio × the first attempts of the last 10 s and
// m = 10 × MinPerSecond / nodes, a retry is given if with it the last 10 s have at most
//
//	r + max(0, m − r/2)
//
// of them: m for a pool without traffic, never more than r + m, and r alone once r reaches 2 m, so that a few seconds of trouble
// of a busy pool send it no more than (1 + Ratio) × its requests, from a cold start too. Nodes that agree on their number have
// together, in any 10 s, at most Ratio × all first attempts of the last 20 s + 10 × MinPerSecond, since a retry may be earned by
// what came up to 10 s before it; and in the long run Ratio × all first attempts + MinPerSecond. It is Finagle's RetryBudget with
// a window in place of its bucket, and a minimum that fades.
//
// Request is one CAS, Retry takes a mutex. Safe for concurrent use.
type Budget struct {
	seen    window // a: first attempts, b: retries
	cfg     atomic.Pointer[BudgetConfig]
	nodes   atomic.Int64 // that share the minimum; 0 is 1
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
	earned := c.Ratio * float64(requests)
	least := windowSeconds * c.MinPerSecond / float64(max(b.nodes.Load(), 1))
	if float64(retries)+1 > earned+max(0, least-earned/2) {
		b.refused.Add(1)
		return false
	}
	b.seen.add(0, 1, now)
	return true
}

// Share divides the minimum by n gateways, this one included, of which each has the same pool; n < 1 is 1. It holds through
// Reconfigure. A share is a fraction: where it is less than one retry, first attempts must earn the rest. While nodes do not agree on n,
// and for 10 s after, the fleet's sum can be over by what they disagree on.
func (b *Budget) Share(n int) { b.nodes.Store(int64(n)) }
