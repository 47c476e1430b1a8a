package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"weir/internal/mono"
	"weir/limiter"
	"weir/strict"
)

// Usage is what a key has spent.
type Usage struct {
	Key      string        `json:"key"`
	Policies []PolicyUsage `json:"policies"`
}

// PolicyUsage is what a key has spent of one policy. Allowed and Refused are decisions since the key's bucket was made; rates are
// null until the key has been watched for a second.
type PolicyUsage struct {
	Policy       string      `json:"policy"`
	Level        int         `json:"level"`
	Mode         string      `json:"mode"`
	Algorithm    string      `json:"algorithm"`
	Limit        int64       `json:"limit"`
	Window       string      `json:"window,omitempty"`
	Burst        int64       `json:"burst"`
	Remaining    int64       `json:"remaining"`
	ResetAfterMS int64       `json:"reset_after_ms"` // -1: when others are done
	Allowed      uint32      `json:"allowed"`
	Refused      uint32      `json:"refused"`
	Rate1s       *Rates      `json:"rate_1s"`
	Rate1m       *Rates      `json:"rate_1m"`
	Nodes        []NodeUsage `json:"nodes"`
}

// NodeUsage is the part of one gateway.
type NodeUsage struct {
	Node    string `json:"node"`
	Allowed uint32 `json:"allowed"`
	Refused uint32 `json:"refused"`
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
	Requests uint64 `json:"requests_estimated"`
}

// Usage says what a key has spent: one that was used in a check, or the values of a policy's dimensions joined by colons. The key is
// watched from then on. The error wraps ErrUnknown if no bucket is known of it.
func (g *Gateway) Usage(s *Snapshot, key string) (*Usage, error) {
	now := mono.Now()
	u := &Usage{}
	type bucket struct {
		v *variant
		k limiter.Key
	}
	var buckets []bucket
	u.Key = g.find(s, key, now, func(b *watched) {
		buckets = append(buckets, bucket{b.v, b.key})
		allowed, refused, _ := b.v.limiter.Counts(b.key)
		u.Policies = append(u.Policies, PolicyUsage{Policy: b.p.name, Level: b.p.depth, Mode: b.p.conf.Mode, Algorithm: b.p.conf.Algorithm, Limit: b.v.numbers.Limit,
			Window: b.p.windowText(), Burst: b.v.numbers.Burst, Allowed: allowed, Refused: refused,
			Rate1s: b.over(1), Rate1m: b.over(rateSamples - 1), Nodes: []NodeUsage{{s.conf.Node.Name, allowed, refused}}})
	})
	for i, b := range buckets { // which may ask a store
		d := s.peek(b.v, b.k, 0, now)
		u.Policies[i].Remaining, u.Policies[i].ResetAfterMS = d.Left, Millis(d.Reset)
	}
	if u.Policies == nil {
		return nil, fmt.Errorf("%w key: it has spent nothing here, or so long ago that it owes nothing", ErrUnknown)
	}
	slices.SortStableFunc(u.Policies, func(a, b PolicyUsage) int { return a.Level - b.Level })
	return u, nil
}

// windowText is what the limit is per, in words; nothing for seats.
func (p *policy) windowText() string {
	if p.seats {
		return ""
	}
	return p.conf.Window.String()
}

// find calls each with the buckets of a key: those it is known to have by having been watched, and those of policies whose dimensions
// can have it for values. It returns what the key is called where it is shown, which is not itself if only secret values are like it.
func (g *Gateway) find(s *Snapshot, key string, now mono.Time, each func(*watched)) (name string) {
	c := g.callers
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := map[*watched]bool{}
	see := func(b *watched) {
		if b != nil && !seen[b] {
			seen[b] = true
			each(b)
		}
	}
	name = key
	if w := c.all[key]; w != nil {
		w.asked = now
		for _, b := range w.buckets {
			see(b)
		}
	}
	var frame, called []byte
	for _, p := range s.policies {
		for _, values := range splits(key, len(p.dims)) {
			frame, called = frame[:0], called[:0]
			for i, v := range values {
				frame = limiter.AppendPart(frame, v)
				called = g.appendName(called, i, v, s.dims[p.dims[i]].secret)
			}
			k := p.hasher.Sum(frame)
			for _, v := range p.each {
				if _, _, ok := v.limiter.Counts(k); !ok {
					continue
				}
				if len(seen) == 0 {
					name = string(called)
				}
				w := c.watchLocked(called[:min(len(called), maxNameBytes)], 0, now)
				w.asked = now
				see(w.see(p, v, k, now))
			}
		}
	}
	return name
}

// maxSplits bounds the ways in which a key with colons in it is read.
const maxSplits = 64

// splits returns the ways to read a key as n values joined by colons.
func splits(key string, n int) (all [][]string) {
	if n == 0 {
		return nil
	}
	values := make([]string, n)
	var split func(rest string, i int)
	split = func(rest string, i int) {
		if i == n-1 {
			if values[i] = rest; len(all) < maxSplits {
				all = append(all, slices.Clone(values))
			}
			return
		}
		for j := range len(rest) {
			if rest[j] == ':' {
				values[i] = rest[:j]
				split(rest[j+1:], i+1)
			}
		}
	}
	split(key, 0)
	return all
}

// Reset lets a key start anew with every policy, but for what it has in progress. It returns how many buckets that were, and what the
// key is called where it is shown.
func (g *Gateway) Reset(s *Snapshot, key string) (name string, n int, err error) {
	now := mono.Now()
	found := false
	var stored []strict.Ask
	name = g.find(s, key, now, func(b *watched) {
		found = true
		if b.v.limiter.Reset(b.key, now) {
			n++
		}
		if b.v.strict != nil {
			stored = append(stored, strict.Ask{Policy: b.v.strict, Key: b.key})
		}
	})
	for _, a := range stored {
		if s.store == nil || s.store.Forget(context.Background(), a.Policy, a.Key, a.Group) != nil {
			return name, n, errors.New("the store of strict policies does not answer: what it counts stays")
		}
		n++
	}
	if !found {
		return "", 0, fmt.Errorf("%w key: it has spent nothing here, or so long ago that it owes nothing", ErrUnknown)
	}
	return name, n, nil
}

// Summary says what policies have decided here, and who was busiest.
func (g *Gateway) Summary(s *Snapshot) NodeSummary {
	sum := NodeSummary{Node: s.conf.Node.Name, Policies: []PolicySummary{}, Busiest: []BusyKey{}}
	sum.Memory, sum.MaxBytes = g.LimiterMemory()
	for _, p := range s.policies {
		ps := PolicySummary{Policy: p.name, Mode: p.conf.Mode}
		for _, v := range p.each {
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
