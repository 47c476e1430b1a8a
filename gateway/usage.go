package gateway

import (
	"fmt"
	"slices"
	"strings"

	"weir/internal/mono"
	"weir/limiter"
)

// Usage is what a key has spent.
type Usage struct {
	Key      string        `json:"key"`
	Allowed  uint64        `json:"allowed"`
	Refused  uint64        `json:"refused"`
	Policies []PolicyUsage `json:"policies"`
	Nodes    []NodeUsage   `json:"nodes"`
}

// PolicyUsage is what a key has spent of one policy. Allowed and Refused are decisions since the key's bucket was made; rates are
// null until the key has been watched for a second.
type PolicyUsage struct {
	Policy       string `json:"policy"`
	Level        int    `json:"level"`
	Mode         string `json:"mode"`
	Algorithm    string `json:"algorithm"`
	Limit        int64  `json:"limit"`
	Window       string `json:"window,omitempty"`
	Burst        int64  `json:"burst"`
	Remaining    int64  `json:"remaining"`
	ResetAfterMS int64  `json:"reset_after_ms"` // -1: nobody knows
	Allowed      uint32 `json:"allowed"`
	Refused      uint32 `json:"refused"`
	Rate1s       *Rates `json:"rate_1s"`
	Rate1m       *Rates `json:"rate_1m"`
}

// NodeUsage is the part of one gateway.
type NodeUsage struct {
	Node    string `json:"node"`
	Allowed uint64 `json:"allowed"`
	Refused uint64 `json:"refused"`
}

// NodeSummary is what policies have decided at this gateway, and who was busiest.
type NodeSummary struct {
	Node     string          `json:"node"`
	Memory   int64           `json:"memory_bytes"`
	MaxBytes int64           `json:"memory_max_bytes"`
	Policies []PolicySummary `json:"policies"`
	Busiest  []BusyKey       `json:"busiest"`
}

// PolicySummary is what one policy has decided.
type PolicySummary struct {
	Policy   string  `json:"policy"`
	Mode     string  `json:"mode"`
	Keys     int64   `json:"keys"` // buckets in memory
	Allowed  uint64  `json:"allowed"`
	Refused  uint64  `json:"refused"`
	Overflow uint64  `json:"overflow"`
	Factor   float64 `json:"factor,omitempty"` // of an adaptive limit: the configured one is multiplied by it
}

// BusyKey is a key and about how many requests it made. Usage of the key has exact figures.
type BusyKey struct {
	Key      string `json:"key"`
	Requests uint64 `json:"requests"`
}

// Usage says what a key has spent: one that was used in a check, or the values of a policy's dimensions joined by colons. The key is
// watched from then on. The error wraps ErrUnknown if no bucket is known of it.
func (g *Gateway) Usage(s *Snapshot, key string) (*Usage, error) {
	now := mono.Now()
	u := &Usage{Key: key}
	for _, b := range g.find(s, key, now) {
		d := b.v.limiter.Peek(b.key, 0, now)
		allowed, refused, _ := b.v.limiter.Counts(b.key)
		p := PolicyUsage{Policy: b.p.name, Level: b.p.depth, Mode: b.p.conf.Mode, Algorithm: b.p.conf.Algorithm, Limit: b.v.numbers.Limit,
			Window: b.p.windowText(), Burst: b.v.numbers.Burst, Remaining: d.Left, ResetAfterMS: Millis(d.Reset), Allowed: allowed, Refused: refused,
			Rate1s: b.over(1), Rate1m: b.over(rateSamples - 1)}
		u.Policies = append(u.Policies, p)
		u.Allowed, u.Refused = u.Allowed+uint64(allowed), u.Refused+uint64(refused)
	}
	if u.Policies == nil {
		return nil, fmt.Errorf("%w key %q: it has spent nothing here, or so long ago that it owes nothing", ErrUnknown, key)
	}
	slices.SortStableFunc(u.Policies, func(a, b PolicyUsage) int { return a.Level - b.Level })
	u.Nodes = []NodeUsage{{s.conf.Node.Name, u.Allowed, u.Refused}}
	return u, nil
}

// windowText is what the limit is per, in words; nothing for seats.
func (p *policy) windowText() string {
	if p.seats {
		return ""
	}
	return p.conf.Window.String()
}

// find returns the buckets of a key: those it is known to have by having been watched, and those of policies whose dimensions can have
// it for a value.
func (g *Gateway) find(s *Snapshot, key string, now mono.Time) []*watched {
	g.callers.mu.Lock()
	defer g.callers.mu.Unlock()
	w := g.callers.all[key]
	made := w == nil
	if made {
		w = &caller{name: key}
	}
	var frame []byte
	for _, p := range s.policies {
		parts := []string{key}
		if n := len(p.dims); n > 1 {
			parts = strings.Split(key, ":")
		}
		if len(parts) != len(p.dims) {
			continue
		}
		frame = frame[:0]
		for _, v := range parts {
			frame = limiter.AppendPart(frame, v)
		}
		k := g.hasher.Sum(frame)
		for _, v := range p.variants {
			if _, _, ok := v.limiter.Counts(k); ok && w.bucket(v, k) == nil {
				w.add(p, v, k, now)
			}
		}
	}
	if made && len(w.buckets) > 0 {
		known := g.callers.watchLocked([]byte(key), 0)
		known.buckets = w.buckets
		w = known
	}
	c := w.copyLocked()
	return c.buckets
}

// Reset lets a key start anew with every policy, but for what it has in progress, and returns how many buckets that were.
func (g *Gateway) Reset(s *Snapshot, key string) (int, error) {
	now := mono.Now()
	n := 0
	buckets := g.find(s, key, now)
	for _, b := range buckets {
		if b.v.limiter.Reset(b.key, now) {
			n++
		}
	}
	if len(buckets) == 0 {
		return 0, fmt.Errorf("%w key %q: it has spent nothing here, or so long ago that it owes nothing", ErrUnknown, key)
	}
	return n, nil
}

// Summary says what policies have decided here, and who was busiest.
func (g *Gateway) Summary(s *Snapshot) NodeSummary {
	sum := NodeSummary{Node: s.conf.Node.Name, Memory: g.budget.Used(), MaxBytes: g.budget.Most(), Policies: []PolicySummary{}, Busiest: []BusyKey{}}
	for _, p := range s.policies {
		ps := PolicySummary{Policy: p.name, Mode: p.conf.Mode}
		for _, v := range p.variants {
			st := v.limiter.Stats()
			ps.Keys, ps.Overflow = ps.Keys+st.Keys, ps.Overflow+st.Overflow
			ps.Allowed, ps.Refused = ps.Allowed+st.Allowed-st.Refunded, ps.Refused+st.Refused
		}
		if p.conf.Algorithm == "adaptive" {
			ps.Factor = g.factor(p.variants[0].identity)
		}
		sum.Policies = append(sum.Policies, ps)
	}
	for _, c := range g.callers.busiest(20) {
		sum.Busiest = append(sum.Busiest, BusyKey{c.name, c.count})
	}
	return sum
}
