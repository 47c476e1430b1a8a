package jwt

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
	"unsafe"
)

// ways is how many slots a digest may be in. More: fuller before entries push each other out, more to look at.
const ways = 8

// entry is a verdict on one token. Immutable.
type entry struct {
	sum         digest // SHA-256 of the token
	generation  uint64 // of the keys
	from, until int64  // wall clock, ns: good at from ≤ now < until, so a clock set back does not make it last
	token       *Token // or
	err         error
}

func (e *entry) good(generation uint64, now int64) bool {
	return e.generation == generation && e.from <= now && now < e.until
}

func (e *entry) weight() int64 {
	w := int64(unsafe.Sizeof(*e))
	if e.token != nil {
		w += e.token.weight
	}
	return w
}

// cache holds verdicts in a table of fixed size, in sets of 8 slots (as processors' caches do): each digest belongs to one
// set. There is no lock, and nothing to sweep: an entry that ended is not returned and stays until another needs its slot.
type cache struct {
	slots []slot
	sets  uint64 // a power of two
	limit int64  // bytes of entries
	bytes atomic.Int64
	hand  atomic.Uint64 // next slot to be cleared when there are too many bytes
}

// slot's tag is a part of the digest, so that a look-up follows the pointers of its own entry only. It may lag behind the
// entry, which makes a miss.
type slot struct {
	tag atomic.Uint64
	e   atomic.Pointer[entry]
}

// newCache returns a cache for that many entries, a power of two and at least 8, in about that many bytes.
func newCache(entries int, limit int64) *cache {
	if entries < ways || entries&(entries-1) != 0 {
		panic("BUG: jwt: size of cache is not a power of two")
	}
	return &cache{slots: make([]slot, entries), sets: uint64(entries / ways), limit: limit}
}

func (c *cache) set(sum *digest) (slots []slot, tag uint64) {
	i := (binary.LittleEndian.Uint64(sum[:]) & (c.sets - 1)) * ways
	return c.slots[i : i+ways], binary.LittleEndian.Uint64(sum[8:])
}

// find returns the verdict on the token with this digest, or nil. No allocation, no lock.
func (c *cache) find(sum *digest, generation uint64, now int64) *entry {
	slots, tag := c.set(sum)
	for i := range slots {
		if slots[i].tag.Load() != tag {
			continue
		}
		if e := slots[i].e.Load(); e != nil && e.sum == *sum && e.good(generation, now) {
			return e
		}
	}
	return nil
}

// put remembers e, in place of the entry of its token if its set has one, else of one that ended, else of any.
func (c *cache) put(e *entry) {
	slots, tag := c.set(&e.sum)
	at, found := &slots[rand.IntN(ways)], false
	for i := range slots {
		old := slots[i].e.Load()
		if old != nil && old.sum == e.sum { // two of one token would disagree when the clock is set back
			at = &slots[i]
			break
		}
		if !found && (old == nil || !old.good(e.generation, e.from)) {
			at, found = &slots[i], true
		}
	}
	c.bytes.Add(e.weight())
	c.drop(at.e.Swap(e))
	at.tag.Store(tag)
	for c.bytes.Load() > c.limit {
		c.drop(c.slots[c.hand.Add(1)%uint64(len(c.slots))].e.Swap(nil))
	}
}

func (c *cache) drop(e *entry) {
	if e != nil {
		c.bytes.Add(-e.weight())
	}
}

// entries counts what is held, ended or not. It looks at every slot.
func (c *cache) entries() (n int) {
	for i := range c.slots {
		if c.slots[i].e.Load() != nil {
			n++
		}
	}
	return n
}
