package cache

import (
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"weir/internal/mono"
)

// Options of a cache.
type Options struct {
	MaxSize int64  // bytes, of all that is stored or on its way; at least MinSize
	Name    string // in Cache-Status, a token; "" is weir
}

// MinSize is the least that MaxSize may be.
const MinSize = 1 << 20

// A Cache holds responses. It is safe for concurrent use, has no goroutine, and needs no closing.
type Cache struct {
	mem    *otter.Cache[uint64, *resource]
	seed   maphash.Seed
	status []byte // "Cache-Status: " and the name

	maxFilling atomic.Int64
	filling    atomic.Int64 // bytes of what is on its way
	lent       atomic.Int64 // bytes of bodies that answers have still to send, each counted once

	shards [shards]shard
	tags   tagIndex
	purges purgeLog
	solos  [1 << 12]atomic.Uint64 // what is not worth waiting for: upper half of a hash, and until when in seconds

	counters counters
}

// New returns an empty cache.
func New(o Options) (*Cache, error) {
	if o.MaxSize < MinSize {
		return nil, fmt.Errorf("max_size %d is too small for a cache: give it %d or more", o.MaxSize, MinSize)
	}
	if o.Name == "" {
		o.Name = "weir"
	}
	if _, ok := lowerToken(o.Name); !ok {
		return nil, errors.New("the name of a cache must be a token")
	}
	c := &Cache{seed: maphash.MakeSeed(), status: []byte("Cache-Status: " + o.Name)}
	c.tags.keys = make(map[string]map[uint64]struct{})
	for i := range c.shards {
		c.shards[i].spots = make(map[uint64]*spot)
	}
	mem, err := otter.New(&otter.Options[uint64, *resource]{
		MaximumWeight:    uint64(o.MaxSize - fillingOf(o.MaxSize)),
		Weigher:          func(_ uint64, r *resource) uint32 { return r.weight() },
		OnAtomicDeletion: c.deleted,
		Executor:         func(f func()) { f() }, // on the caller's goroutine: no goroutine without an owner
	})
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	c.mem = mem
	c.maxFilling.Store(fillingOf(o.MaxSize))
	return c, nil
}

// fillingOf is how much of a cache may be bodies on their way.
func fillingOf(size int64) int64 { return max(size/8, min(size/2, smallestFilling)) }

// Resize changes MaxSize. What is too much is dropped at once.
func (c *Cache) Resize(size int64) {
	size = max(size, MinSize)
	c.maxFilling.Store(fillingOf(size))
	c.mem.SetMaximum(uint64(size - fillingOf(size)))
	c.mem.CleanUp()
}

// room is how long a body may be.
func (c *Cache) room(p *Policy) int64 {
	n := min(c.maxFilling.Load(), int64(c.mem.GetMaximum())/2)
	if p.MaxObject > 0 {
		n = min(n, p.MaxObject)
	}
	return n
}

// update replaces what is stored under a hash by what change makes of it, in one step: nothing if that is nil. change gets nil
// if there is nothing, must not call the cache, and returns what it got to leave all as it is.
func (c *Cache) update(hash uint64, change func(*resource) *resource) {
	c.mem.Compute(hash, func(old *resource, found bool) (*resource, otter.ComputeOp) {
		if !found {
			old = nil
		}
		n := change(old)
		switch {
		case n == old:
			return old, otter.CancelOp
		case n == nil:
			return nil, otter.InvalidateOp // deleted takes it from the indices
		}
		if old != nil && old.urlHash != n.urlHash {
			c.unlist(old.urlHash, hash)
		}
		c.tags.change(hash, old, n)
		return n, otter.WriteOp
	})
	if c.mem.WeightedSize() > c.mem.GetMaximum() {
		c.mem.CleanUp()
	}
}

// deleted takes what is not stored any more from the indices.
func (c *Cache) deleted(e otter.DeletionEvent[uint64, *resource]) {
	if e.Cause == otter.CauseReplacement {
		return
	}
	if e.WasEvicted() {
		c.counters.evicted.Add(1)
	}
	c.unlist(e.Value.urlHash, e.Key)
	c.tags.change(e.Key, e.Value, nil)
}

// get returns what is stored for a key, or nil.
func (c *Cache) get(hash uint64, k *Key) *resource {
	r, ok := c.mem.GetIfPresent(hash)
	if !ok || !r.is(k) {
		return nil
	}
	return r
}

func (c *Cache) hash(b []byte) uint64 { return maphash.Bytes(c.seed, b) }

// markSolo remembers for a while that waiting for a key is of no use.
func (c *Cache) markSolo(hash uint64, now mono.Time) {
	c.solos[hash%uint64(len(c.solos))].Store(hash&^0xffffffff | uint64(uint32(now/1e9)+solo))
}

func (c *Cache) unmarkSolo(hash uint64) {
	if s := &c.solos[hash%uint64(len(c.solos))]; (s.Load()^hash)>>32 == 0 {
		s.Store(0)
	}
}

func (c *Cache) isSolo(hash uint64, now mono.Time) bool {
	v := c.solos[hash%uint64(len(c.solos))].Load()
	return (v^hash)>>32 == 0 && uint32(v) > uint32(now/1e9)
}

type counters struct {
	stored, freshened, evicted, purged, voided atomic.Int64

	refused [fates]atomic.Int64
}

// Stats of a cache. Counters go up since it was made.
type Stats struct {
	Resources           int   // keys with something stored
	Bytes, MaxBytes     int64 // of what is stored
	Filling, MaxFilling int64 // bytes of what is on its way
	Lent                int64 // bytes of bodies that are being sent, see Answer.Lend
	Stored, Freshened   int64 // responses
	Evicted             int64 // resources, for want of room
	Purged              int64 // variants purged or invalidated
	Voided              int64 // fills that a purge or an invalidation came before

	Refused [fates]int64 // responses to GET that were not stored, by Fate
}

// Stats returns what there is now.
func (c *Cache) Stats() Stats {
	k := &c.counters
	s := Stats{
		Resources: c.mem.EstimatedSize(), Bytes: int64(c.mem.WeightedSize()), MaxBytes: int64(c.mem.GetMaximum()),
		Filling: c.filling.Load(), MaxFilling: c.maxFilling.Load(), Lent: c.lent.Load(),
		Stored: k.stored.Load(), Freshened: k.freshened.Load(), Evicted: k.evicted.Load(), Purged: k.purged.Load(),
		Voided: k.voided.Load(),
	}
	for f := range k.refused {
		s.Refused[f] = k.refused[f].Load()
	}
	return s
}

const shards = 64

// A shard has the spots of a part of the URLs.
type shard struct {
	mu    sync.Mutex
	spots map[uint64]*spot // by the hash of the URL
}

// A spot says what there is of a URL: the hashes of its keys that have something stored, and the flights under way.
type spot struct {
	keys    []uint64
	flights []*Flight
}

func (c *Cache) shard(urlHash uint64) *shard { return &c.shards[urlHash%shards] }

func (s *shard) spotLocked(urlHash uint64) *spot {
	p := s.spots[urlHash]
	if p == nil {
		p = new(spot)
		s.spots[urlHash] = p
	}
	return p
}

func (s *shard) tidyLocked(urlHash uint64, p *spot) {
	if len(p.keys) == 0 && len(p.flights) == 0 {
		delete(s.spots, urlHash)
	}
}
