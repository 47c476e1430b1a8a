package limiter

import (
	"slices"
	"unsafe"
)

// rings are the counters of sub-windows of a shard's keys that need more than fit into a bucket, all of one length. A ring has a
// number from 1; 0 is none.
type rings struct {
	all   [][]uint32
	idle  []int32                // freed ones; as much room as all has
	bytes int64                  // what the allocator takes for one ring; 0: not known yet
	grow  func(bytes int64) bool // takes memory, if it is to be had
	cells cells                  // of shared limits
}

// listBytes is what a ring's place in the two lists takes.
const listBytes = int64(unsafe.Sizeof([]uint32{}) + unsafe.Sizeof(int32(0)))

func (m *rings) get(r int) []uint32 { return m.all[r-1] }

// take returns a ring of n zeroes, or 0 if there is no room for one.
func (m *rings) take(n int) int {
	if last := len(m.idle) - 1; last >= 0 {
		r := m.idle[last]
		m.idle = m.idle[:last]
		return int(r)
	}
	if m.bytes == 0 {
		m.bytes = int64(cap(slices.Grow([]uint32(nil), n))) * 4
	}
	if len(m.all) == cap(m.all) && !m.growLists() || !m.grow(m.bytes) {
		return 0
	}
	m.all = append(m.all, make([]uint32, n))
	return len(m.all)
}

// growLists doubles the room in the lists, if memory is to be had.
func (m *rings) growLists() bool {
	n := max(4, 2*cap(m.all))
	if !m.grow(listBytes * int64(n-cap(m.all))) {
		return false
	}
	all := make([][]uint32, len(m.all), n)
	copy(all, m.all)
	m.all, m.idle = all, make([]int32, 0, n) // none is idle, or none were needed
	return true
}

func (m *rings) free(r int) {
	if r != 0 {
		clear(m.all[r-1])
		m.idle = append(m.idle, int32(r))
	}
}

// reset forgets all rings, none of which is in use, and returns what they took.
func (m *rings) reset() (bytes int64) {
	bytes = m.bytes*int64(len(m.all)) + listBytes*int64(cap(m.all))
	m.all, m.idle, m.bytes = nil, nil, 0
	return bytes
}
