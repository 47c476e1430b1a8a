package limiter

import "weir/internal/mono"

// change converts every bucket to the numbers of m.
func (s *shard) change(m meter, now mono.Time) {
	s.mu.Lock()
	for slot := range s.used {
		e := s.at(slot)
		m.convert(&s.rings, s.meter, &e.bucket, now)
		s.touchLocked(e)
	}
	m.convert(&s.rings, s.meter, &s.unknown, now)
	if old, ok := s.meter.(*sliding); ok && old.parts != m.(*sliding).parts {
		freed := s.rings.reset() // convert left none in use
		s.bytes -= freed
		s.budget.give(freed)
	}
	if renumbered(s.meter, m) {
		s.gen++
	}
	s.setMeter(m)
	s.mu.Unlock()
}

func (s *shard) setMeter(m meter) {
	s.meter = m
	s.common, _ = m.(*shares)
}

// renumbered reports whether marks of old mean something else to m, a meter of the same algorithm.
func renumbered(old, m meter) bool {
	switch m := m.(type) {
	case *shares:
		return renumbered(old.(*shares).cold, m.cold)
	case *gcra:
		return true
	case *sliding:
		o := old.(*sliding)
		return o.per != m.per || o.parts != m.parts
	case *windows:
		return !m.periods.same(old.(*windows).periods)
	}
	return false
}
