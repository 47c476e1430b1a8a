package balancer

import (
	"sync/atomic"

	"weir/internal/mono"
)

// window counts two kinds of things over the last 10 seconds: the present second and the nine before it, so what it covers
// is between 9 and 10 s long. Adding is one CAS; nothing needs to be told that time passes. Safe for concurrent use; a sum
// taken during additions has seen some of them.
type window struct {
	seconds [windowSeconds]atomic.Uint64 // second (20 bits), a (22), b (22)
}

const (
	windowSeconds = 10
	fieldBits     = 22
	fieldMask     = 1<<fieldBits - 1
	secondBits    = 64 - 2*fieldBits
	secondMask    = 1<<secondBits - 1
)

// add counts a and b (each 0 or 1) at now. A now 10 s or more before the newest is not counted. Counts stop at 4,194,303 a second.
func (w *window) add(a, b uint64, now mono.Time) {
	second := uint64(now) / 1e9 & secondMask
	cell := &w.seconds[second%windowSeconds]
	for {
		old := cell.Load()
		next := second<<(2*fieldBits) | a<<fieldBits | b
		if at := old >> (2 * fieldBits); at == second {
			next = second<<(2*fieldBits) | min(old>>fieldBits&fieldMask+a, fieldMask)<<fieldBits | min(old&fieldMask+b, fieldMask)
		} else if old != 0 && (at-second)&secondMask < secondMask/2 {
			return
		}
		if cell.CompareAndSwap(old, next) {
			return
		}
	}
}

// sum returns the counts of the window that ends at now.
func (w *window) sum(now mono.Time) (a, b uint64) {
	second := uint64(now) / 1e9 & secondMask
	for i := range w.seconds {
		v := w.seconds[i].Load()
		if (second-v>>(2*fieldBits))&secondMask < windowSeconds {
			a += v >> fieldBits & fieldMask
			b += v & fieldMask
		}
	}
	return a, b
}

func (w *window) reset() {
	for i := range w.seconds {
		w.seconds[i].Store(0)
	}
}
