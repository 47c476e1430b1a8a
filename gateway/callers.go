package gateway

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/internal/mono"
	"weir/limiter"
)

const (
	maxCallers   = 1024 // that are watched at a time
	maxAsked     = 256  // of them, those who stay however little they spend, as they were asked about
	askedFor     = 10 * time.Minute
	sampleShift  = 6 // of 2^6 charged requests one is looked at
	rateEvery    = time.Second
	rateSamples  = 61 // for rates over a minute
	maxNameBytes = 256
)

// callers watches those who spend most and those who were asked about: what each bucket of theirs has counted over the last minute.
// All else about a key is in its buckets. The busiest are found by sampling with Space-Saving (Metwally, Agrawal, El Abbadi, 2005):
// whoever makes more than one in maxCallers of the requests is watched, in the long run.
type callers struct {
	mu     sync.Mutex
	all    map[string]*caller
	ticked mono.Time
}

type caller struct {
	name    string
	count   uint64    // requests, estimated from the samples; too high by what the one had whose place it took
	asked   mono.Time // when somebody asked about it last; 0: never
	buckets []*watched
}

// watched is a bucket of a caller.
type watched struct {
	p       *policy
	v       *variant
	key     limiter.Key
	samples []sample // ascending, at most rateSamples
}

type sample struct {
	at               mono.Time
	allowed, refused uint32
}

func newCallers() *callers { return &callers{all: map[string]*caller{}} }

// sample looks at one in 2^sampleShift of the requests that policies were charged for.
func (c *callers) sample(x *Exchange) {
	if uint64(x.start)*0x9e3779b97f4a7c15>>(64-sampleShift) == 0 {
		c.note(x, 1<<sampleShift)
	}
}

// note counts n requests of whoever sent x.
func (c *callers) note(x *Exchange, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range x.uses {
		u := &x.uses[i]
		name := x.caller(u)
		if len(name) == 0 {
			continue
		}
		c.watchLocked(name, n, x.start).see(u.p, u.v, u.key, x.start)
	}
}

// watchLocked returns the caller of that name, in the place of another if it is new and there are many.
func (c *callers) watchLocked(name []byte, n uint64, now mono.Time) *caller {
	if w := c.all[string(name)]; w != nil {
		w.count += n
		return w
	}
	w := &caller{name: string(name), count: n}
	if len(c.all) >= maxCallers {
		gone := c.leastLocked(now)
		delete(c.all, gone.name)
		w.count += gone.count
	}
	c.all[w.name] = w
	return w
}

// leastLocked returns who can be missed most: the least busy of those nobody asked about lately; if that is many, who was asked about
// the longest ago.
func (c *callers) leastLocked(now mono.Time) *caller {
	var idle, old *caller
	asked := 0
	for _, w := range c.all {
		switch {
		case w.asked != 0 && now.Sub(w.asked) < askedFor:
			if asked++; old == nil || w.asked < old.asked {
				old = w
			}
		case idle == nil || w.count < idle.count:
			idle = w
		}
	}
	if idle == nil || asked > maxAsked {
		return old
	}
	return idle
}

func (w *caller) bucket(v *variant, k limiter.Key) *watched {
	for _, b := range w.buckets {
		if b.v.limiter == v.limiter && b.key == k {
			return b
		}
	}
	return nil
}

// maxBuckets bounds the buckets watched for one caller.
const maxBuckets = 16

// see returns the bucket of a caller, watched from now on; nil if it has too many.
func (w *caller) see(p *policy, v *variant, k limiter.Key, now mono.Time) *watched {
	b := w.bucket(v, k)
	if b == nil && len(w.buckets) < maxBuckets {
		b = &watched{p: p, v: v, key: k}
		b.look(now)
		w.buckets = append(w.buckets, b)
	}
	return b
}

// look takes a sample of the bucket's counters.
func (b *watched) look(now mono.Time) {
	allowed, refused, _ := b.v.limiter.Counts(b.key)
	if n := len(b.samples); n > 0 && (allowed < b.samples[n-1].allowed || refused < b.samples[n-1].refused) {
		b.samples = b.samples[:0] // the bucket is another one
	}
	if len(b.samples) == rateSamples {
		b.samples = append(b.samples[:0], b.samples[1:]...)
	}
	b.samples = append(b.samples, sample{now, allowed, refused})
}

// Rates are decisions per second.
type Rates struct {
	Allowed float64 `json:"allowed"`
	Refused float64 `json:"refused"`
}

// over is the rate over the last n samples; nil if there are none yet.
func (b *watched) over(n int) *Rates {
	last := len(b.samples) - 1
	if last < 1 {
		return nil
	}
	a, z := b.samples[max(0, last-n)], b.samples[last]
	s := z.at.Sub(a.at).Seconds()
	if s <= 0 {
		return nil
	}
	return &Rates{float64(z.allowed-a.allowed) / s, float64(z.refused-a.refused) / s}
}

// tick takes a sample of every bucket that is watched, once a second.
func (c *callers) tick(now mono.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.ticked) < rateEvery-rateEvery/10 {
		return
	}
	c.ticked = now
	for _, w := range c.all {
		for _, b := range w.buckets {
			b.look(now)
		}
	}
}

// retain forgets buckets of limiters that are gone, and shows those that stay with the policies of s.
func (c *callers) retain(s *Snapshot) {
	type place struct {
		p *policy
		v *variant
	}
	now := map[*limiter.Limiter]place{}
	for _, p := range s.policies {
		for _, v := range p.each {
			now[v.limiter] = place{p, v}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, w := range c.all {
		w.buckets = slices.DeleteFunc(w.buckets, func(b *watched) bool {
			at, ok := now[b.v.limiter]
			b.p, b.v = at.p, at.v
			return !ok
		})
		if len(w.buckets) == 0 {
			delete(c.all, name)
		}
	}
}

// busiest returns the n busiest callers, the first first.
func (c *callers) busiest(n int) []caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]caller, 0, len(c.all))
	for _, w := range c.all {
		if w.count > 0 {
			all = append(all, caller{name: w.name, count: w.count})
		}
	}
	slices.SortFunc(all, func(a, b caller) int {
		return cmp.Or(cmp.Compare(b.count, a.count), strings.Compare(a.name, b.name))
	})
	return all[:min(n, len(all))]
}

// caller is what the sender of x is called at a policy: the dimension `key` if it has one, else the values of the policy's dimensions,
// joined by colons. Secret values are shown by a hash. A policy without dimensions has no callers.
// The result is valid until the next call.
func (x *Exchange) caller(u *use) []byte {
	if len(u.p.dims) == 0 {
		return nil
	}
	x.frame = x.frame[:0]
	if k := x.snap.keyDim; !x.snap.dims[k].secret {
		if v, ok := x.Dimension(k); ok {
			x.frame = append(x.frame, v[:min(len(v), maxNameBytes)]...)
			return x.frame
		}
	}
	for i, d := range u.p.dims {
		v, _ := x.Dimension(d)
		x.frame = x.gw.appendName(x.frame, i, v, x.snap.dims[d].secret)
	}
	return x.frame[:min(len(x.frame), maxNameBytes)]
}

// appendName appends the i-th value of a caller's name.
func (g *Gateway) appendName(b []byte, i int, v string, secret bool) []byte {
	if i > 0 {
		b = append(b, ':')
	}
	if secret {
		return append(b, g.alias(v)...)
	}
	return append(b, v...)
}

// alias stands for a secret value.
func (g *Gateway) alias(secret string) string {
	k := g.hasher.Sum(limiter.AppendPart(nil, secret))
	return "#" + hex.EncodeToString(binary.BigEndian.AppendUint64(nil, k.Lo)[:6])
}
