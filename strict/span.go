package strict

import (
	"math/bits"
	"time"
)

// longest is the most that a bucket owes, in microseconds: 2^61 ns, as in package limiter.
const longest = (1 << 61) / 1000

// exact is what Lua counts up to without rounding: sums of two numbers below half of it are exact.
const exact = 1 << 53

// span is a length of time or an instant of exactly us + frac/num microseconds, where num is the rate's and 0 ≤ frac < num.
type span struct {
	us   int64
	frac uint64
}

func (a span) after(b span) bool { return a.us > b.us || a.us == b.us && a.frac > b.frac }

// until is the time from now to the first whole microsecond, of which the server's clock is made, that is not before a.
func (a span) until(now int64) time.Duration {
	if a.frac > 0 {
		a.us++
	}
	return time.Duration(a.us-now) * time.Microsecond
}

// pace is a rate made ready: a unit costs per/num microseconds, in lowest terms.
type pace struct{ num, per uint64 }

// cost is the time that n units take to refill, at most longest.
func (p pace) cost(n int64) span {
	hi, lo := bits.Mul64(uint64(n), p.per)
	if hi >= p.num {
		return span{us: longest}
	}
	us, frac := bits.Div64(hi, lo, p.num)
	if us >= longest {
		return span{us: longest}
	}
	return span{int64(us), frac}
}

// units is how many whole units refill in s, which is no longer than a burst.
func (p pace) units(s span) int64 {
	hi, lo := bits.Mul64(uint64(s.us), p.num)
	lo, carry := bits.Add64(lo, s.frac, 0)
	n, _ := bits.Div64(hi+carry, lo, p.per)
	return int64(n)
}

func (p pace) add(a, b span) span {
	s := span{a.us + b.us, a.frac + b.frac}
	if s.frac >= p.num {
		s.frac -= p.num
		s.us++
	}
	return s
}

func (p pace) sub(a, b span) span {
	s := span{a.us - b.us, a.frac - b.frac}
	if a.frac < b.frac {
		s.frac += p.num
		s.us--
	}
	return s
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
