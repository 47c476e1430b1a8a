package limiter

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"weir/internal/mono"
)

const (
	chunkLen  = 16 // entries allocated together: 640 bytes, a size class of the allocator
	reclaim   = 16 // entries looked at for one that is full again, before the table grows or gives up
	slotBits  = 24 // of an index cell; the other 8 are a tag of the hash
	slotMask  = 1<<slotBits - 1
	maxChunks = slotMask / chunkLen
)

type entry struct {
	key Key
	bucket
}

type chunk [chunkLen]entry

// shard is a part of a limiter's buckets, under one mutex: a compact hash table. Entries are dense and never move; index
// is open addressing with linear probing over them, at most ¾ full. A cell is 0 or tag<<slotBits | slot+1.
type shard struct {
	mu sync.Mutex
	*gcra
	index  []uint32
	chunks []*chunk
	used   int // entries in use
	hand   int // next entry to look at for reclaiming
	limit  int // chunks at most

	// unknown is the bucket of every key that has no entry. It is full, but for what keys that found no room spent of it.
	// A key that gets an entry later starts from it, so that what it spent here is not forgotten.
	unknown bucket

	evictions, overflow uint64

	allowed, refused, refunded atomic.Uint64
}

// mix spreads a key over 64 bits. Keys of a Hasher are uniform already; keys that were made otherwise get by.
func mix(k Key) uint64 {
	h := (k.Lo ^ bits.RotateLeft64(k.Hi, 32)) * 0x9e3779b97f4a7c15
	return h ^ h>>32
}

func tag(h uint64) uint32 { return uint32(h>>24) &^ slotMask }

func (s *shard) at(slot int) *entry { return &s.chunks[slot/chunkLen][slot%chunkLen] }

// findLocked returns k's entry, or nil.
func (s *shard) findLocked(k Key, h uint64) *entry {
	if len(s.index) == 0 {
		return nil
	}
	mask, t := uint32(len(s.index)-1), tag(h)
	for i := uint32(h) & mask; ; i = (i + 1) & mask {
		c := s.index[i]
		if c == 0 {
			return nil
		}
		if c&^slotMask == t {
			if e := s.at(int(c&slotMask) - 1); e.key == k {
				return e
			}
		}
	}
}

// roomLocked finds a slot for a new key: one not in use, or one that is full again at now and so worth no memory, or -1.
// Looking at a few entries per insertion, a hand goes round all of them, before memory is taken rather than after.
func (s *shard) roomLocked(now mono.Time) int {
	if s.used < len(s.chunks)*chunkLen {
		return s.used
	}
	for range min(reclaim, s.used) {
		slot := s.hand
		s.hand = (slot + 1) % s.used
		if s.at(slot).fullAt(now) {
			return slot
		}
	}
	if len(s.chunks) < s.limit {
		return s.used
	}
	return -1
}

// insertLocked adds k, which is not there, with bucket b. It reports false if there is no room.
func (s *shard) insertLocked(k Key, h uint64, b bucket, now mono.Time) bool {
	slot := s.roomLocked(now)
	switch {
	case slot < 0:
		return false
	case slot < s.used:
		s.unlinkLocked(slot)
		s.unknown.last = max(s.unknown.last, now) // the key that goes was full at now, not at any time before
		s.evictions++
	default:
		s.growLocked()
		s.used++
	}
	*s.at(slot) = entry{k, b}
	s.linkLocked(slot, h)
	return true
}

// growLocked makes room for one more entry and its cell.
func (s *shard) growLocked() {
	if s.used == len(s.chunks)*chunkLen {
		if len(s.chunks) == cap(s.chunks) {
			grown := make([]*chunk, len(s.chunks), min(max(1, 2*cap(s.chunks)), s.limit))
			copy(grown, s.chunks)
			s.chunks = grown
		}
		s.chunks = append(s.chunks, new(chunk))
	}
	if n := indexLen(len(s.chunks)); n > len(s.index) {
		s.index = make([]uint32, n)
		for slot := range s.used {
			s.linkLocked(slot, mix(s.at(slot).key))
		}
	}
}

func (s *shard) linkLocked(slot int, h uint64) {
	mask := uint32(len(s.index) - 1)
	i := uint32(h) & mask
	for s.index[i] != 0 {
		i = (i + 1) & mask
	}
	s.index[i] = tag(h) | uint32(slot+1)
}

// unlinkLocked removes the cell of slot and moves later cells of its run back (Knuth, TAOCP 6.4, algorithm R), so that
// no tombstones pile up.
func (s *shard) unlinkLocked(slot int) {
	mask := uint32(len(s.index) - 1)
	i := uint32(mix(s.at(slot).key)) & mask
	for int(s.index[i]&slotMask)-1 != slot {
		i = (i + 1) & mask
	}
	for j := i; ; {
		j = (j + 1) & mask
		c := s.index[j]
		if c == 0 {
			break
		}
		home := uint32(mix(s.at(int(c&slotMask)-1).key)) & mask
		if (j-home)&mask >= (j-i)&mask {
			s.index[i] = c
			i = j
		}
	}
	s.index[i] = 0
}

// take spends n units and reports whether the bucket of unknown keys paid.
func (s *shard) take(k Key, h uint64, n int64, now mono.Time) (d Decision, shared bool) {
	if n == 0 {
		return s.peek(k, h, n, now), false
	}
	s.mu.Lock()
	if e := s.findLocked(k, h); e != nil {
		d, e.bucket = s.decide(e.bucket, n, now)
	} else {
		var b bucket
		d, b = s.decide(s.unknown, n, now)
		if d.OK && !s.insertLocked(k, h, b, now) {
			s.unknown = b
			s.overflow++
			shared = true
		}
	}
	s.mu.Unlock()
	return d, shared
}

// peek is the answer of take.
func (s *shard) peek(k Key, h uint64, n int64, now mono.Time) Decision {
	s.mu.Lock()
	b := s.unknown
	if e := s.findLocked(k, h); e != nil {
		b = e.bucket
	}
	d, _ := s.decide(b, n, now)
	s.mu.Unlock()
	return d
}

// refund gives n units back to k, or to the bucket of unknown keys. A key that has no entry any more is full.
func (s *shard) refund(k Key, h uint64, n int64, shared bool, now mono.Time) {
	s.mu.Lock()
	if shared {
		s.unknown = s.gcra.refund(s.unknown, n, now)
	} else if e := s.findLocked(k, h); e != nil {
		e.bucket = s.gcra.refund(e.bucket, n, now)
	}
	s.mu.Unlock()
}

// change converts every bucket to the rate of g.
func (s *shard) change(g *gcra, now mono.Time) {
	s.mu.Lock()
	for slot := range s.used {
		e := s.at(slot)
		e.bucket = g.convert(s.gcra, e.bucket, now)
	}
	s.unknown = g.convert(s.gcra, s.unknown, now)
	s.gcra = g
	s.mu.Unlock()
}

// indexLen is the number of cells over so many chunks: a power of two, at most ¾ full.
func indexLen(chunks int) int { return 1 << bits.Len(uint(chunks*chunkLen*4/3)) }

// tableBytes is the most that so many chunks, their pointers and their index occupy.
func tableBytes(chunks int) int64 {
	return int64(chunks)*int64(unsafe.Sizeof(chunk{})) + 8<<bits.Len(uint(chunks)) + 4*int64(indexLen(chunks))
}

// bytesLocked is what the shard occupies.
func (s *shard) bytesLocked() int64 {
	return int64(unsafe.Sizeof(*s)) + int64(len(s.chunks))*int64(unsafe.Sizeof(chunk{})) +
		8*int64(cap(s.chunks)) + 4*int64(len(s.index))
}

// chunksWithin is how many chunks fit into so many bytes for a shard.
func chunksWithin(n int64) int {
	n -= int64(unsafe.Sizeof(shard{}))
	c := int(min(n/int64(unsafe.Sizeof(chunk{})), maxChunks))
	for tableBytes(c) > n {
		c--
	}
	return c
}
