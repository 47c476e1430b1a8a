package limiter

import "math"

// Stats are a limiter's counters since New and its size now.
type Stats struct {
	Allowed   uint64 // decisions to spend. A step of a chain that another step refused is not counted
	Refused   uint64 // decisions not to, those of shadow steps among them
	Refunded  uint64 // allowed ones that were given back
	Overflow  uint64 // times a shared bucket paid, for want of room
	Evictions uint64 // buckets that were full again and made room for another key
	Keys      int64  // buckets in memory, those that are full again among them
	Bytes     int64  // memory of the buckets; what a grown table left to the garbage collector is not counted
	MaxBytes  int64  // bound of Bytes
}

// Stats adds up the shards, about 20 ns each.
func (l *Limiter) Stats() Stats {
	st := Stats{MaxBytes: l.max.Load()}
	for i := range l.shards {
		s := &l.shards[i]
		st.Allowed += s.allowed.Load()
		st.Refused += s.refused.Load()
		st.Refunded += s.refunded.Load()
		s.mu.Lock()
		st.Overflow += s.overflow
		st.Evictions += s.evictions
		st.Keys += int64(s.used)
		st.Bytes += s.bytesLocked()
		s.mu.Unlock()
	}
	return st
}

// count counts a decision that is final. It is apart from take because a chain's are final only at its end, and a counter
// that went back at every turn would look like a restart to whoever scrapes it.
func (s *shard) count(ok bool) {
	if ok {
		s.allowed.Add(1)
	} else {
		s.refused.Add(1)
	}
}

// uncount takes back that a refusal of k was counted.
func (s *shard) uncount(k Key, h uint64) {
	s.refused.Add(^uint64(0))
	s.mu.Lock()
	if e := s.findLocked(k, h); e != nil && e.refused > 0 && e.refused < math.MaxUint32 {
		e.refused--
	}
	s.mu.Unlock()
}
