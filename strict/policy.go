package strict

import (
	"fmt"
	"math/bits"
	"strconv"
	"time"

	"weir/limiter"
)

// maxNum keeps the sum of two fractions exact in Lua, maxUnits that of two counts.
const (
	maxNum   = exact / 2
	maxUnits = exact / 2
)

// Policy is what a step counts by, made ready for the server. It is immutable, and made once per configuration.
type Policy struct {
	id   uint64
	spec limiter.Spec
	kind byte // of the script: t, w, s, c

	// token and leaky buckets
	pace
	full   span
	wait   int64 // microseconds
	smooth bool

	// fixed and sliding windows
	length int64  // microseconds
	p, q   uint64 // an instant of t microseconds is in sub-window floor(t·p/q)

	middle []any // what every step of the policy passes to the script after its own numbers
}

// NewPolicy prepares spec. The id names the policy in the keys: the same on every gateway of the fleet and after every reload, so that
// what was spent stays spent when the numbers change. It refuses what the server cannot count exactly; doc.go says why.
func NewPolicy(id uint64, spec limiter.Spec) (*Policy, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	p := &Policy{id: id, spec: spec}
	switch spec.Algorithm {
	case limiter.TokenBucket, limiter.LeakyBucket:
		return p, p.bucket()
	case limiter.SlidingWindow:
		return p, p.sliding()
	case limiter.FixedWindow, limiter.Quota:
		return p, p.window()
	case limiter.Concurrency:
		p.kind = 'c'
		return p, p.countable()
	}
	return nil, fmt.Errorf("%v has no strict form: every gateway finds its own rate", spec.Algorithm)
}

// countable refuses a limit that is not exact in a float64.
func (p *Policy) countable() error {
	if p.spec.Rate.N > maxUnits {
		return fmt.Errorf("limit of %d units: a strict one is %d at most", p.spec.Rate.N, int64(maxUnits))
	}
	return nil
}

// whole refuses a window that the server's clock, of microseconds, cannot cut.
func (p *Policy) whole() error {
	if p.spec.Rate.Per%time.Microsecond != 0 {
		return fmt.Errorf("window of %v: a strict one is of whole microseconds", p.spec.Rate.Per)
	}
	p.length = p.spec.Rate.Per.Microseconds()
	return p.countable()
}

func (p *Policy) bucket() error {
	r := p.spec.Rate
	hi, fine := bits.Mul64(uint64(r.N), 1000)
	if hi == 0 {
		g := gcd(fine, uint64(r.Per))
		p.pace = pace{num: fine / g, per: uint64(r.Per) / g}
	}
	if hi != 0 || p.num > maxNum {
		return fmt.Errorf("rate of %d per %v: too fine for a strict one", r.N, r.Per)
	}
	p.kind, p.full = 't', p.cost(r.Burst)
	p.wait = p.spec.MaxWait.Microseconds()
	p.smooth = p.spec.Algorithm == limiter.LeakyBucket && p.wait > 0
	smooth := int64(0)
	if p.smooth {
		smooth = 1
	}
	p.middle = []any{p.wait, smooth, fmt.Sprintf("%d/%d", p.per, p.num)}
	return nil
}

func (p *Policy) sliding() error {
	if err := p.whole(); err != nil {
		return err
	}
	parts := uint64(p.spec.Parts)
	if p.length < int64(parts) {
		return fmt.Errorf("window of %v: too short for %d sub-windows of a microsecond", p.spec.Rate.Per, parts)
	}
	g := gcd(parts, uint64(p.length))
	p.p, p.q = parts/g, uint64(p.length)/g
	p.kind = 's'
	life := 2*(p.length/1000+1) + 1000 // milliseconds: a sub-window is no longer than a window
	p.middle = []any{p.spec.Rate.N, int64(p.p), int64(p.q), int64(parts), life}
	return nil
}

func (p *Policy) window() error {
	p.kind = 'w'
	if p.spec.Algorithm == limiter.FixedWindow {
		if err := p.whole(); err != nil {
			return err
		}
		p.middle = []any{p.spec.Rate.N, p.length, int64(0), int64(0), int64(0)}
	}
	return p.countable()
}

// periods are the ends of the period of a quota that t, in microseconds since 1970, is in, and of the nearer neighbour of it.
func (p *Policy) periods(t int64) (from, mid, till int64) {
	start, end := p.spec.Calendar.Around(time.UnixMicro(t))
	from, mid = start.UnixMicro(), end.UnixMicro()
	if t-from < mid-t {
		before, _ := p.spec.Calendar.Around(start.Add(-time.Microsecond))
		return before.UnixMicro(), from, mid
	}
	_, after := p.spec.Calendar.Around(end)
	return from, mid, after.UnixMicro()
}

// begin is the first microsecond of sub-window k.
func (p *Policy) begin(k int64) int64 {
	hi, lo := bits.Mul64(uint64(k), p.q)
	if hi >= p.p {
		return exact
	}
	q, r := bits.Div64(hi, lo, p.p)
	if r > 0 {
		q++
	}
	return int64(min(q, exact))
}

// back is how long until what was spent in sub-window k counts no more.
func (p *Policy) back(k, now int64) time.Duration {
	return time.Duration(p.begin(k+int64(p.spec.Parts)+1)-now) * time.Microsecond
}

// key names the bucket of k. The braces are what a cluster chooses the slot by.
func (p *Policy) key(prefix string, k, group limiter.Key) string {
	b := make([]byte, 0, len(prefix)+96)
	b = append(b, prefix...)
	b = append(b, ':', '{')
	own := group == (limiter.Key{}) || group == k
	if own {
		group = k
	}
	b = appendHex(b, group)
	b = append(b, '}', ':', p.kind)
	b = strconv.AppendUint(b, p.id, 16)
	if !own {
		b = append(b, ':')
		b = appendHex(b, k)
	}
	return string(b)
}

func appendHex(b []byte, k limiter.Key) []byte {
	const digits = "0123456789abcdef"
	for _, w := range [2]uint64{k.Hi, k.Lo} {
		for s := 60; s >= 0; s -= 4 {
			b = append(b, digits[w>>s&15])
		}
	}
	return b
}
