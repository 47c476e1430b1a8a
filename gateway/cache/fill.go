package cache

// Fill takes the next piece of the body. After false there is no need to call it again: the response is not stored, for want of room.
func (f *Flight) Fill(p []byte) bool {
	if f.fate != Stores {
		return false
	}
	if n := len(f.body) + len(p); n > cap(f.body) && !f.grow(n) {
		f.cache.counters.refused[f.fate].Add(1)
		f.unshare(f.making.came)
		f.land(true)
		f.Abort()
		return false
	}
	f.body = append(f.body, p...)
	return true
}

// grow makes room for n bytes in all.
func (f *Flight) grow(n int) bool {
	most := f.cache.room(f.policy)
	if int64(n) > most {
		f.fate = TooLarge
		return false
	}
	size := int64(max(2*cap(f.body), minBody))
	if f.length >= 0 { // known, and yet not taken on trust
		size = min(max(size, firstBody), f.length)
	}
	size = max(int64(n), min(size, most))
	if !f.book(size - int64(cap(f.body))) {
		f.fate = NoRoom
		return false
	}
	f.body = append(make([]byte, 0, size), f.body...)
	return true
}

// book counts n more bytes as on their way, if there is room for them.
func (f *Flight) book(n int64) bool {
	c := f.cache
	most := c.maxFilling.Load()
	if f.booked+n > firstBody {
		most -= most / 4 // long bodies to slow clients leave room for short ones
	}
	if c.filling.Add(n) > most || c.lent.Load() > int64(c.mem.GetMaximum()) {
		c.filling.Add(-n)
		return false
	}
	f.booked += n
	return true
}

// Body returns what was filled in so far; it is good until Commit or Abort.
func (f *Flight) Body() []byte { return f.body }

// Commit ends f after the last piece, and reports whether the response is stored. Call it only if the response ended as it should: a body
// that was cut is Abort's.
func (f *Flight) Commit() bool {
	defer f.Abort()
	if f.fate != Stores || f.length >= 0 && int64(len(f.body)) != f.length {
		return false
	}
	f.fate = NotAsked
	s := f.making
	s.body = &body{bytes: f.body}
	if n := len(f.body); cap(f.body)-n > n/8 {
		s.body.bytes = append(make([]byte, 0, n), f.body...)
	}
	if !f.store(s, nil) {
		return false
	}
	f.cache.counters.stored.Add(1)
	if s.reusable(s.came) {
		f.cache.unmarkSolo(f.soloHash())
	}
	return true
}

// store puts s where it can be found, unless it has been purged or invalidated meanwhile; or, if it was made of what was stored, that is not
// stored any more.
func (f *Flight) store(s, of *stored) bool {
	c, stored := f.cache, false
	c.purges.mu.RLock()
	defer c.purges.mu.RUnlock()
	if !c.purges.hitLocked(f.since, f.key.URL(), s.tags) {
		c.update(f.hash, func(r *resource) *resource {
			if of != nil && !r.has(of) {
				return r
			}
			n := r.with(f, s)
			if stored = c.list(f); stored {
				return n
			}
			return r
		})
	}
	if !stored {
		c.counters.voided.Add(1)
	}
	return stored
}

// Abort ends f. Nothing is stored of it; those who wait go on. Calls after the first, or after Commit, do nothing.
func (f *Flight) Abort() {
	if f.fate == Stores {
		f.fate = NotAsked
	}
	f.cache.filling.Add(-f.booked)
	f.booked, f.body, f.making = 0, nil, nil
	f.land(false)
}
