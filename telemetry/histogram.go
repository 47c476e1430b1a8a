package telemetry

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// bounds are the upper bounds of a histogram's buckets, inclusive; one more bucket takes what is longer.
var bounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	1 * time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, 1 * time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second, 60 * time.Second,
}

// firstBucket holds, for every bit length of a duration in nanoseconds, the bucket of the shortest duration of that
// length. The right bucket is that one or one of the two that follow.
var firstBucket = func() (t [65]uint8) {
	for n := range t {
		shortest := time.Duration(0)
		if n > 0 {
			shortest = time.Duration(uint64(1) << (n - 1) & (1<<63 - 1))
		}
		for t[n] < uint8(len(bounds)) && bounds[t[n]] < shortest {
			t[n]++
		}
	}
	return t
}()

// histogram counts durations. The zero value is empty. Observe is two atomic additions; safe for concurrent use.
type histogram struct {
	counts [len(bounds) + 1]atomic.Uint64
	micros atomic.Uint64 // sum, in microseconds
}

// observe counts d. A negative duration counts as none.
func (h *histogram) observe(d time.Duration) {
	d = max(d, 0)
	i := int(firstBucket[bits.Len64(uint64(d))])
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.micros.Add((uint64(d) + 500) / 1000)
}

// reading is a histogram at one moment: count and sum in seconds, and how many were not longer than each bound.
type reading struct {
	count   uint64
	seconds float64
	upTo    map[float64]uint64
}

// read returns what h holds; ok is false if it is empty.
func (h *histogram) read() (r reading, ok bool) {
	r.upTo = make(map[float64]uint64, len(bounds))
	for i, b := range bounds {
		r.count += h.counts[i].Load()
		r.upTo[b.Seconds()] = r.count
	}
	r.count += h.counts[len(bounds)].Load()
	r.seconds = float64(h.micros.Load()) / 1e6
	return r, r.count > 0
}
