package balancer

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"weir/internal/mono"
)

const (
	// ewmaDecay is the time in which a latency of the past loses 63 % of its weight.
	ewmaDecay = 10 * time.Second
	// ewmaShift makes the clock of an ewma: one tick is 2^20 ns, about a millisecond, and 32 bits last 52 days.
	ewmaShift = 20
	// unknownLoad is more than any measured one: an endpoint that has not answered yet gets one request, not all of them.
	unknownLoad = 1e18
)

// ewma is a peak-sensitive moving average of latency in nanoseconds, after Finagle's PeakEwma: a higher sample replaces it
// at once, a lower one pulls it down by how much time has passed since the one before, and with no samples it falls
// towards 0. One word, so value and time agree; 0 is "nothing known". Safe for concurrent use.
type ewma struct {
	word atomic.Uint64 // float32 bits, tick
}

func decayed(word uint64, now mono.Time) (value, keep float64, tick uint32) {
	value = float64(math.Float32frombits(uint32(word >> 32)))
	tick = uint32(now >> ewmaShift)
	ticks := int32(tick - uint32(word))
	if ticks <= 0 { // the same tick, or a sample that comes late
		return value, 1, uint32(word)
	}
	return value, math.Exp(-float64(ticks) * float64(1<<ewmaShift) / float64(ewmaDecay)), tick
}

// value returns the average at now, in nanoseconds.
func (m *ewma) value(now mono.Time) float64 {
	w := m.word.Load()
	if w == 0 {
		return 0
	}
	v, keep, _ := decayed(w, now)
	return v * keep
}

// observe adds the latency of an attempt. One that failed counts as no faster than the average was: a fast failure says
// nothing good about an endpoint, and of one that is unknown it says nothing.
func (m *ewma) observe(rtt time.Duration, failed bool, now mono.Time) {
	sample := float64(max(rtt, 1))
	for {
		old := m.word.Load()
		v, keep, tick := decayed(old, now)
		next := max(sample, v*keep+sample*(1-keep))
		switch {
		case old == 0 && failed:
			return
		case old == 0:
			next, tick = sample, uint32(now>>ewmaShift)
		case failed:
			next = max(sample, v)
		case sample < v && keep == 1:
			return
		}
		if m.word.CompareAndSwap(old, uint64(math.Float32bits(float32(next)))<<32|uint64(tick)) {
			return
		}
	}
}

// last returns the average as of the last sample.
func (m *ewma) last() time.Duration {
	return time.Duration(math.Float32frombits(uint32(m.word.Load() >> 32)))
}

func (m *ewma) reset() { m.word.Store(0) }

// load is what P2C compares: expected latency of the queue at e, per weight.
func (a *ask) load(e *Endpoint) float64 {
	busy := float64(e.busy())
	latency := e.latency.value(a.now)
	load := latency * (busy + 1)
	if latency == 0 && busy > 0 {
		load = unknownLoad + busy
	}
	return load / (float64(e.weight.Load()) * a.ramp(e))
}

// p2c takes the better of two at random (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing"), by load. O(1).
func (a *ask) p2c(t *tier) *Endpoint {
	n := uint64(len(t.ends))
	if n == 1 {
		return a.only(t.ends[0])
	}
	for range 3 {
		r := rand.Uint64()
		i := r >> 32 * n >> 32
		j := r & math.MaxUint32 * (n - 1) >> 32
		if j >= i {
			j++
		}
		x, y := a.only(t.ends[i]), a.only(t.ends[j])
		switch {
		case x == nil && y == nil:
		case x == nil:
			return y
		case y == nil || a.load(x) <= a.load(y):
			return x
		default:
			return y
		}
	}
	return a.sweep(t)
}

const (
	leastScan   = 32 // up to this many endpoints, all are compared
	leastSample = 8  // of more, so many at random
)

// least takes the lowest (in flight + 1) / weight; equals share by chance.
func (a *ask) least(t *tier) *Endpoint {
	n := uint64(len(t.ends))
	if n > leastScan {
		return a.leastOfSome(t)
	}
	start := scale(rand.Uint64(), n)
	var best *Endpoint
	lowest := math.Inf(1)
	for k := range n {
		i := start + k
		if i >= n {
			i -= n
		}
		if e := a.only(t.ends[i]); e != nil {
			if l := a.queue(e); l < lowest {
				best, lowest = e, l
			}
		}
	}
	return best
}

func (a *ask) leastOfSome(t *tier) *Endpoint {
	var best *Endpoint
	lowest := math.Inf(1)
	for range leastSample {
		if e := a.only(t.ends[scale(rand.Uint64(), uint64(len(t.ends)))]); e != nil {
			if l := a.queue(e); l < lowest {
				best, lowest = e, l
			}
		}
	}
	if best == nil {
		return a.sweep(t)
	}
	return best
}

// queue is what LeastRequests compares.
func (a *ask) queue(e *Endpoint) float64 {
	return float64(e.busy()+1) / (float64(e.weight.Load()) * a.ramp(e))
}
