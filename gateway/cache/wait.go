package cache

import (
	"slices"
	"time"

	"weir/internal/mono"
)

// launch notes that f is under way, or returns another flight that it may wait for.
func (c *Cache) launch(f *Flight, wait bool) *Flight {
	s := c.shard(f.urlHash)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.spotLocked(f.urlHash)
	for _, o := range p.flights {
		if wait && f.shared && o.shared && !o.void && !o.over && o.second == f.second && string(o.key.b) == string(f.key.b) {
			return o
		}
	}
	p.flights = append(p.flights, f)
	return nil
}

// Wait waits until f is over, for at most d, or until gone is closed; that may be nil. It reports whether it is worth to wait again, if
// the answer is not there: not if the response is not for all, and not if the time has run out.
func (f *Flight) Wait(d time.Duration, gone <-chan struct{}) (again bool) {
	s := f.cache.shard(f.urlHash)
	s.mu.Lock()
	if f.over {
		defer s.mu.Unlock()
		return !f.useless
	}
	if f.done == nil {
		f.done = make(chan struct{})
	}
	done := f.done
	s.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		s.mu.Lock()
		defer s.mu.Unlock()
		return !f.useless
	case <-t.C:
	case <-gone:
	}
	return false
}

// land takes f off the list and lets those go on who wait. useless says that they will find nothing. Only the first call does anything.
func (f *Flight) land(useless bool) {
	s := f.cache.shard(f.urlHash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.spots[f.urlHash]; p != nil {
		if i := slices.Index(p.flights, f); i >= 0 {
			p.flights = slices.Delete(p.flights, i, i+1)
			s.tidyLocked(f.urlHash, p)
		}
	}
	f.releaseLocked(useless)
}

// release lets those go on who wait, though f goes on too.
func (f *Flight) release() {
	s := f.cache.shard(f.urlHash)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.releaseLocked(true)
}

func (f *Flight) releaseLocked(useless bool) {
	if f.over {
		return
	}
	f.over, f.useless = true, useless
	if f.done != nil {
		close(f.done)
	}
}

// Failed reports whether the upstream failed f and something stale was sent instead. Who has waited for f may then have that from Rescue
// too.
func (f *Flight) Failed() bool {
	s := f.cache.shard(f.urlHash)
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.failed
}

// Over reports whether f is over, so that Wait returns at once.
func (f *Flight) Over() bool {
	s := f.cache.shard(f.urlHash)
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.over
}

// Overtake lets those go on who wait for f, and reports true, if its head came before since: its client takes the body too slowly for others to
// wait for. One of them goes in its place; f goes on too.
func (f *Flight) Overtake(since mono.Time) bool {
	s := f.cache.shard(f.urlHash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.over || f.landing == 0 || f.landing >= since {
		return false
	}
	f.releaseLocked(false)
	return true
}
