package limiter

import (
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"

	"weir/internal/mono"
)

// DefaultMaxBytes holds 1.3 million keys that all owe something at the same moment. A dozen policies under a flood of new
// keys at once still fit into a machine of 1 GiB.
const DefaultMaxBytes = 64 << 20

// minShardBytes is what a shard gets at least: room for 80 keys.
const minShardBytes = 4 << 10

// MinMaxBytes is the smallest bound New accepts.
const MinMaxBytes = 16 * minShardBytes

// Options of a Limiter.
type Options struct {
	// MaxBytes bounds the memory of the buckets; 0 is DefaultMaxBytes. A key costs 45 to 55 bytes. Memory is taken as keys
	// come, not beforehand. More: fewer newcomers share a bucket in a flood; less: a smaller worst case.
	MaxBytes int64
}

// Limiter is one policy's rate and its buckets, one per key. All methods are safe for concurrent use, and none allocates
// for a key that is known.
type Limiter struct {
	name   string
	max    int64
	rate   atomic.Pointer[Rate]
	shards []shard
	shift  uint8 // hash to shard

	mu sync.Mutex // one SetRate at a time
}

// New returns a limiter in which every bucket is full.
func New(name string, r Rate, o Options) (*Limiter, error) {
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("limiter %s: %w", name, err)
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MaxBytes < MinMaxBytes {
		return nil, fmt.Errorf("limiter %s: %d bytes for buckets: at least %d are needed", name, o.MaxBytes, MinMaxBytes)
	}
	n := shardCount(o.MaxBytes)
	l := &Limiter{name: name, max: o.MaxBytes, shards: make([]shard, n), shift: uint8(64 - bits.TrailingZeros(uint(n)))}
	l.rate.Store(&r)
	g, limit := newGCRA(r), chunksWithin(o.MaxBytes/int64(n))
	for i := range l.shards {
		s := &l.shards[i]
		s.gcra, s.limit, s.unknown = g, limit, fullSince(past)
	}
	return l, nil
}

// shardCount is a power of two: 4 per processor so that two rarely want the same one, 64 to 256 so that a shard is changed
// or grown in little time, each of a useful size.
func shardCount(maxBytes int64) int {
	n := min(max(64, 1<<bits.Len(uint(4*runtime.GOMAXPROCS(0)-1))), 256)
	for int64(n)*minShardBytes > maxBytes {
		n /= 2
	}
	return n
}

func (l *Limiter) shard(k Key) (*shard, uint64) {
	h := mix(k)
	return &l.shards[h>>l.shift], h
}

// Name returns the policy's name.
func (l *Limiter) Name() string { return l.name }

// Rate returns the rate in force.
func (l *Limiter) Rate() Rate { return *l.rate.Load() }

// SetRate changes the rate in place. A bucket keeps the units it owes, fractions rounded up to a tick of the new rate;
// one that owes more than the new burst owes the new burst, so that it is empty, not worse. A higher burst is there at
// once, less what is owed; a full bucket stays full. Buckets change a shard at a time, about 20 ns each under the shard's
// mutex. The rate in force is no change. An invalid rate is an error and changes nothing.
func (l *Limiter) SetRate(r Rate, now mono.Time) error {
	if err := r.Validate(); err != nil {
		return fmt.Errorf("limiter %s: %w", l.name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r == l.Rate() {
		return nil
	}
	g := newGCRA(r)
	for i := range l.shards {
		l.shards[i].change(g, now)
	}
	l.rate.Store(&r)
	return nil
}

// Take spends n ≥ 0 units of k's budget at instant now and reports the outcome; a refusal spends nothing.
//
// It is GCRA (ITU-T I.371, Annex A) without rounding; doc.go has the derivation. Expected O(1) under one shard's mutex,
// no allocation for a known key. A now earlier than the bucket's last change counts as that change. n > Burst never
// succeeds: Decision.Retry is Never. n = 0 is a Peek that always succeeds.
func (l *Limiter) Take(k Key, n int64, now mono.Time) Decision {
	checkUnits(n)
	s, h := l.shard(k)
	d, _ := s.take(k, h, n, now)
	if n > 0 {
		s.count(d.OK)
	}
	return d
}

// Peek is the answer that Take would give, with no effect: nothing is spent, created or counted.
func (l *Limiter) Peek(k Key, n int64, now mono.Time) Decision {
	checkUnits(n)
	s, h := l.shard(k)
	return s.peek(k, h, n, now)
}

// Refund gives n ≥ 0 units back to k. A bucket is never more than full, so that what has been refilled since is not given
// twice. What a key spent while there was no room for it comes back through a Charge only.
func (l *Limiter) Refund(k Key, n int64, now mono.Time) {
	checkUnits(n)
	s, h := l.shard(k)
	s.refund(k, h, n, false, now)
	s.refunded.Add(1)
}

func checkUnits(n int64) {
	if n < 0 {
		panic("BUG: limiter: negative number of units")
	}
}
