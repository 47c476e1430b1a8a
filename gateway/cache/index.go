package cache

import (
	"slices"
	"sync"
)

// Locks: the table's own come first, then at most one of those here. Nothing calls the table while it holds one.

// list notes that a key of f's URL has something stored, unless f was voided.
func (c *Cache) list(f *Flight) bool {
	s := c.shard(f.urlHash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.void {
		return false
	}
	p := s.spotLocked(f.urlHash)
	if !slices.Contains(p.keys, f.hash) {
		p.keys = append(p.keys, f.hash)
	}
	return true
}

// unlist notes that a key of a URL has nothing stored any more.
func (c *Cache) unlist(urlHash, hash uint64) {
	s := c.shard(urlHash)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.spots[urlHash]
	if p == nil {
		return
	}
	if i := slices.Index(p.keys, hash); i >= 0 {
		p.keys = slices.Delete(p.keys, i, i+1)
	}
	s.tidyLocked(urlHash, p)
}

// drop removes all that is stored for a URL, under whatever dimensions, and keeps what is on its way from being stored. It returns how many
// variants it removed.
func (c *Cache) drop(url []byte) (n int) {
	h := c.hash(url)
	s := c.shard(h)
	s.mu.Lock()
	p := s.spots[h]
	if p == nil {
		s.mu.Unlock()
		return 0
	}
	for _, f := range p.flights {
		f.void = true
	}
	keys := slices.Clone(p.keys)
	s.mu.Unlock()
	for _, k := range keys {
		c.update(k, func(r *resource) *resource {
			if r == nil || r.urlHash != h {
				return r
			}
			n += len(r.variants)
			return nil
		})
	}
	c.counters.purged.Add(int64(n))
	return n
}

// dropVariants removes the variants under a hash that which says, and returns how many.
func (c *Cache) dropVariants(hash uint64, which func(*resource, *stored) bool) (n int) {
	c.update(hash, func(r *resource) *resource {
		if r == nil {
			return nil
		}
		left := r.without(func(s *stored) bool { return which(r, s) })
		n = len(r.variants)
		if left != nil {
			n -= len(left.variants)
		}
		return left
	})
	c.counters.purged.Add(int64(n))
	return n
}

// A tagIndex says under which hashes something with a tag is stored. Its memory is part of what the variants weigh.
type tagIndex struct {
	mu   sync.Mutex
	keys map[string]map[uint64]struct{}
}

// change notes that what is stored under a hash changed. Either may be nil.
func (t *tagIndex) change(hash uint64, old, n *resource) {
	if !old.tagged() && !n.tagged() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old.eachTag(func(tag string) {
		if m := t.keys[tag]; m != nil {
			delete(m, hash)
			if len(m) == 0 {
				delete(t.keys, tag)
			}
		}
	})
	n.eachTag(func(tag string) {
		m := t.keys[tag]
		if m == nil {
			m = make(map[uint64]struct{}, 1)
			t.keys[tag] = m
		}
		m[hash] = struct{}{}
	})
}

// with returns the hashes under which something has a tag.
func (t *tagIndex) with(tag string) []uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := make([]uint64, 0, len(t.keys[tag]))
	for k := range t.keys[tag] {
		keys = append(keys, k)
	}
	return keys
}

func (r *resource) tagged() bool {
	return r != nil && slices.ContainsFunc(r.variants, func(s *stored) bool { return len(s.tags) > 0 })
}

func (r *resource) eachTag(f func(string)) {
	if r == nil {
		return
	}
	for _, s := range r.variants {
		for _, tag := range s.tags {
			f(tag)
		}
	}
}
