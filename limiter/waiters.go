package limiter

import (
	"slices"
	"sync"
	"sync/atomic"
)

// waiters are those who wait for seats of a key to be given back.
type waiters struct {
	n    atomic.Int64
	mu   sync.Mutex
	keys map[Key][]chan struct{}
}

// Await returns a channel that is sent to when seats of k may have come back, in the order in which callers asked, one caller each
// time; and what the caller must call when it waits no longer. Await first, then Take again: what comes back in between is not
// missed. Who was sent to takes, or plans a Charge that takes, or else the next one is not told before seats come back again. Who
// has been refused once more is behind all others. Only Concurrency gives anything back in this way.
func (l *Limiter) Await(k Key) (back <-chan struct{}, leave func()) {
	w := &l.waiters
	c := make(chan struct{}, 1)
	w.mu.Lock()
	if w.keys == nil {
		w.keys = map[Key][]chan struct{}{}
	}
	w.keys[k] = append(w.keys[k], c)
	w.n.Add(1)
	w.mu.Unlock()
	return c, func() { w.leave(k, c) }
}

// Waiting is how many wait for seats: those of Await that were neither sent to nor have left.
func (l *Limiter) Waiting() int64 { return l.waiters.n.Load() }

// leave takes c off the list. If it was woken meanwhile, the next one is.
func (w *waiters) leave(k Key, c chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.keys[k]
	for i := range list {
		if list[i] == c {
			w.removeLocked(k, i)
			return
		}
	}
	select {
	case <-c: // it was woken and does not know
		w.wakeLocked(k)
	default:
	}
}

func (w *waiters) removeLocked(k Key, i int) {
	list := w.keys[k]
	if i == 0 {
		list[0] = nil
		list = list[1:]
	} else {
		list = slices.Delete(list, i, i+1)
	}
	w.n.Add(-1)
	if len(list) == 0 {
		delete(w.keys, k)
		return
	}
	w.keys[k] = list
}

// wake tells the first who waits for k. It costs one load when nobody waits for anything.
func (w *waiters) wake(k Key) {
	if w.n.Load() == 0 {
		return
	}
	w.mu.Lock()
	w.wakeLocked(k)
	w.mu.Unlock()
}

func (w *waiters) wakeLocked(k Key) {
	if list := w.keys[k]; len(list) > 0 {
		list[0] <- struct{}{} // there is room: who gets one is taken off the list
		w.removeLocked(k, 0)
	}
}

// wakeSharing tells the first who waits for each key of a shard: what keys without room share came back, to any of them.
func (w *waiters) wakeSharing(ofShard func(Key) bool) {
	if w.n.Load() == 0 {
		return
	}
	w.mu.Lock()
	for k := range w.keys {
		if ofShard(k) {
			w.wakeLocked(k)
		}
	}
	w.mu.Unlock()
}

// wakeAll tells everybody.
func (w *waiters) wakeAll() {
	w.mu.Lock()
	for k, list := range w.keys {
		for _, c := range list {
			c <- struct{}{}
		}
		w.n.Add(-int64(len(list)))
		delete(w.keys, k)
	}
	w.mu.Unlock()
}
