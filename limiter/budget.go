package limiter

import "sync/atomic"

// Budget bounds the memory of the buckets of several limiters together. A nil one bounds nothing. Safe for concurrent use.
type Budget struct{ most, used atomic.Int64 }

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int64) *Budget {
	b := new(Budget)
	b.most.Store(bytes)
	return b
}

// Set changes the bound. What is in use beyond a lower one stays in use; nothing is added to it.
func (b *Budget) Set(bytes int64) { b.most.Store(bytes) }

// Most returns the bound in bytes, Used what is taken.
func (b *Budget) Most() int64 { return b.most.Load() }

// Used returns the bytes in use.
func (b *Budget) Used() int64 { return b.used.Load() }

func (b *Budget) take(bytes int64) bool {
	if b == nil {
		return true
	}
	for {
		used := b.used.Load()
		if used+bytes > b.most.Load() {
			return false
		}
		if b.used.CompareAndSwap(used, used+bytes) {
			return true
		}
	}
}

func (b *Budget) give(bytes int64) {
	if b != nil {
		b.used.Add(-bytes)
	}
}
