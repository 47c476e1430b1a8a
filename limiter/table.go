package limiter

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"weir/internal/mono"
)

const (
	chunkLen  = 16 // entries allocated together: 768 bytes, a size class of the allocator
	reclaim   = 16 // entries looked at for one that is full again, before the table grows or gives up
	slotBits  = 24 // of an index cell; the other 8 are a tag of the hash
	slotMask  = 1<<slotBits - 1
	maxChunks = slotMask / chunkLen
)

type entry struct {
	key Key
	bucket
	allowed, refused uint32 // decisions since the entry was made; at most MaxUint32
}

type chunk [chunkLen]entry

// shard is a part of a limiter's buckets, under one mutex: a compact hash table. Entries are dense and never move; index
// is open addressing with linear probing over them, at most ¾ full. A cell is 0 or tag<<slotBits | slot+1.
type shard struct {
	mu sync.Mutex
	meter
	common *shares // the meter, if the limit is shared by a fleet
	index  []uint32
	chunks []*chunk
	used   int // entries in use
	hand   int // next entry to look at for reclaiming
	rings  rings
	seats  bool // the meter is one of seats
	owner  *Limiter

	bytes, limit int64 // of chunks, index and rings: there are, there may be
	budget       *Budget

	// unknown is the bucket of every key that has no entry. It is idle, but for what keys that found no room spent of it.
	// A key that gets an entry later starts from it, so that what it spent here is not forgotten.
	unknown bucket

	tracked bool
	changed int    // tracked: how many entries changed since the last Changed; those have last set to 1
	gen     uint32 // goes up when the meter's marks change their meaning

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
		if e := s.at(slot); s.idle(&e.bucket, now) && !s.untoldLocked(e, now) {
			return slot
		}
	}
	if c := len(s.chunks); c < maxChunks && s.roomFor(tableBytes(c+1)-tableBytes(c)) {
		return s.used
	}
	return -1
}

// untoldLocked reports whether e has given back what it spent in the window in progress, and Changed has yet to say so.
func (s *shard) untoldLocked(e *entry, now mono.Time) bool {
	return s.tracked && e.last != 0 && e.x >= s.windows().periods.at(now).id
}

// roomFor takes so many bytes more for the shard, if they are to be had.
func (s *shard) roomFor(bytes int64) bool {
	if s.bytes+bytes > s.limit || !s.budget.take(bytes) {
		return false
	}
	s.bytes += bytes
	return true
}

// insertLocked adds k, which is not there, with a bucket like that of the unknown keys. It returns nil if there is no room.
func (s *shard) insertLocked(k Key, h uint64, now mono.Time) *entry {
	slot := s.roomLocked(now)
	switch {
	case slot < 0:
		return nil
	case slot < s.used:
		s.unlinkLocked(slot)
		if s.tracked && s.at(slot).last != 0 { // its window is over
			s.changed--
		}
		s.inherit(&s.unknown, &s.at(slot).bucket)
		s.drop(&s.rings, &s.at(slot).bucket)
		s.forward(&s.rings, &s.unknown, now) // the key that goes was idle at now, not at any time before
		s.evictions++
	default:
		s.growLocked()
		s.used++
	}
	e := s.at(slot)
	*e = entry{key: k, bucket: s.clone(&s.unknown)}
	s.linkLocked(slot, h)
	return e
}

// growLocked makes room for one more entry and its cell.
func (s *shard) growLocked() {
	if s.used == len(s.chunks)*chunkLen {
		if len(s.chunks) == cap(s.chunks) {
			grown := make([]*chunk, len(s.chunks), min(max(1, 2*cap(s.chunks)), maxChunks))
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

// spending is what a take leaves behind for whoever gives it back.
type spending struct {
	mark   mark   // of the meter
	gen    uint32 // of the shard
	shared bool   // the bucket of unknown keys paid
}

// take spends n units and sets d to the answer: one that is passed up costs as much as the arithmetic. Unless sp is nil, it is set to what
// was spent.
func (s *shard) take(k Key, h uint64, n int64, now mono.Time, d *Decision, sp *spending) {
	if n == 0 {
		*d = s.peek(k, h, n, now)
		return
	}
	s.mu.Lock()
	if m := s.common; m != nil {
		s.takeShared(m, k, h, n, now, d, sp)
		s.mu.Unlock()
		return
	}
	e, shared := s.findLocked(k, h), false
	b := &s.unknown
	if e != nil {
		b = &e.bucket
	}
	*d = s.decide(&s.rings, b, n, now)
	switch {
	case !d.OK && e != nil:
		e.count(&e.refused)
	case d.OK:
		if e == nil {
			e = s.enterLocked(k, h, now)
		}
		if e != nil {
			b = &e.bucket
			e.count(&e.allowed)
			s.touchLocked(e)
		} else {
			shared = true
			s.overflow++
		}
		if mark := s.spend(&s.rings, b, n, now); sp != nil {
			*sp = spending{mark, s.gen, shared}
		}
	}
	s.mu.Unlock()
}

// enterLocked gives k, which has none, an entry, or returns nil if there is no room.
func (s *shard) enterLocked(k Key, h uint64, now mono.Time) *entry {
	if s.seats && s.unknown.x != 0 { // what is in use of shared seats comes back to them, so nobody may take a copy along
		return nil
	}
	return s.insertLocked(k, h, now)
}

func (e *entry) count(n *uint32) {
	if *n < math.MaxUint32 {
		*n++
	}
}

// touchLocked notes that the state of e has changed, if somebody wants to know.
func (s *shard) touchLocked(e *entry) {
	switch {
	case !s.tracked:
	case e.last == hot:
		if c := s.rings.cells.get(int(e.x)); !c.changed {
			c.changed = true
			s.changed++
		}
	case e.last == 0:
		e.last = 1
		s.changed++
	}
}

// windows returns the meter of fixed windows or a quota, or nil.
func (s *shard) windows() *windows {
	switch m := s.meter.(type) {
	case *windows:
		return m
	case *shares:
		w, _ := m.whole.(*windows)
		return w
	}
	return nil
}

// changedLocked appends the entries that changed to list, as Changed reports them.
func (s *shard) changedLocked(list []entry) []entry {
	for slot := 0; s.changed > 0; slot++ {
		e := s.at(slot)
		switch {
		case e.last == hot:
			if c := s.rings.cells.get(int(e.x)); c.changed {
				c.changed = false
				s.changed--
				list = append(list, entry{key: e.key, bucket: bucket{x: c.win.number, y: uint64(math.Ceil(c.ownInWindow()))}})
			}
		case e.last != 0:
			e.last = 0
			s.changed--
			list = append(list, *e)
		}
	}
	return list
}

// stands is the answer of take but for Left and Reset, which are those of now, with nothing spent.
func (s *shard) stands(k Key, h uint64, n int64, now mono.Time) Decision {
	s.mu.Lock()
	b := &s.unknown
	if e := s.findLocked(k, h); e != nil {
		b = &e.bucket
	}
	d, rest := s.decide(&s.rings, b, n, now), s.decide(&s.rings, b, 0, now)
	s.mu.Unlock()
	d.Left, d.Reset = rest.Left, rest.Reset
	return d
}

// peek is the answer of take.
func (s *shard) peek(k Key, h uint64, n int64, now mono.Time) Decision {
	s.mu.Lock()
	b := &s.unknown
	if e := s.findLocked(k, h); e != nil {
		b = &e.bucket
	}
	d := s.decide(&s.rings, b, n, now)
	s.mu.Unlock()
	return d
}

// give returns n units of sp to k, or to the bucket of unknown keys; sp stands for the rest then. undo says that the spending is to
// count as never made. A key that has no entry any more is idle. What was spent by other numbers, of a gcra, or in windows of another
// length has been put together with more, and is not told apart.
func (s *shard) give(k Key, h uint64, n int64, sp *spending, undo bool, now mono.Time) {
	s.mu.Lock()
	void := false
	if sp.gen != s.gen {
		// nothing comes back
	} else if sp.shared {
		void = s.meter.give(&s.rings, &s.unknown, n, &sp.mark, now)
	} else if e := s.findLocked(k, h); e != nil {
		void = s.meter.give(&s.rings, &e.bucket, n, &sp.mark, now)
		if undo && e.allowed > 0 && e.allowed < math.MaxUint32 {
			e.allowed--
		}
		s.touchLocked(e)
	}
	if void {
		s.gen++
	}
	s.mu.Unlock()
}

// debit charges n units more to k, whatever is left. A key without an entry gets one, if there is room.
func (s *shard) debit(k Key, h uint64, n int64, shared bool, now mono.Time) spending {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !shared {
		e := s.findLocked(k, h)
		if e == nil {
			e = s.insertLocked(k, h, now)
		}
		if e != nil {
			s.touchLocked(e)
			return spending{mark: s.spend(&s.rings, &e.bucket, n, now), gen: s.gen}
		}
		s.overflow++
	}
	return spending{mark: s.spend(&s.rings, &s.unknown, n, now), gen: s.gen, shared: true}
}

// indexLen is the number of cells over so many chunks: a power of two, at most ¾ full.
func indexLen(chunks int) int { return 1 << bits.Len(uint(chunks*chunkLen*4/3)) }

// tableBytes is the most that so many chunks, their pointers and their index occupy.
func tableBytes(chunks int) int64 {
	return int64(chunks)*int64(unsafe.Sizeof(chunk{})) + 8<<bits.Len(uint(chunks)) + 4*int64(indexLen(chunks))
}

// bytesLocked is what the shard occupies.
func (s *shard) bytesLocked() int64 { return int64(unsafe.Sizeof(*s)) + s.bytes }
