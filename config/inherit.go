package config

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

var policyType = reflect.TypeFor[Policy]()

// policyDefaults returns what a policy is that gives nothing.
func policyDefaults() Policy { return layoutOf(policyType).defaults.Interface().(Policy) }

// policyBit returns the bit of policyText.given that stands for a key.
func policyBit(key string) uint64 {
	return 1 << layoutOf(policyType).byKey[key].index
}

// givenOf returns the keys of a policy that a mapping gives a value, its own and those that merge keys bring in.
func givenOf(m *yaml.Node) uint64 {
	given, seen := uint64(0), uint64(0)
	var walk func(m *yaml.Node, depth int)
	walk = func(m *yaml.Node, depth int) {
		if m = follow(m); m == nil || m.Kind != yaml.MappingNode || depth > maxMerge {
			return
		}
		merges := false
		for i := 0; i+1 < len(m.Content); i += 2 {
			key, value := follow(m.Content[i]), follow(m.Content[i+1])
			if key == nil || value == nil {
				continue
			}
			merges = merges || isMerge(key)
			f := layoutOf(policyType).byKey[key.Value]
			if f == nil || seen&(1<<f.index) != 0 {
				continue
			}
			seen |= 1 << f.index
			if !isNull(value) {
				given |= 1 << f.index
			}
		}
		for i := 0; merges && i+1 < len(m.Content); i += 2 {
			if key := follow(m.Content[i]); key != nil && isMerge(key) {
				for _, from := range mergeSources(m.Content[i+1]) {
					walk(from, depth+1)
				}
			}
		}
	}
	walk(m, 0)
	return given
}

// inherit gives the policies from first what they take from their parents, ancestors before descendants, and records parents
// that cannot be told.
func (b *policyBook) inherit() {
	for i := range b.texts {
		b.texts[i].given = givenOf(b.texts[i].node)
	}
	const reached, done = 1, 2
	state := make([]uint8, len(b.policies))
	var chain []int // from a policy up to the one that is done, or has no parent
	for i := b.first; i < len(b.policies); i++ {
		chain = chain[:0]
		for at := i; at >= b.first && state[at] != done; {
			if state[at] == reached {
				b.breakCycle(chain[slices.Index(chain, at):])
				break
			}
			state[at] = reached
			chain = append(chain, at)
			parent := b.policies[at].Parent
			if parent == "" {
				break
			}
			j, ok := b.index[parent]
			if !ok {
				b.fault(at, "parent", "%s", undefined("policy", parent, b.names.list))
				b.text(at).broken = true
				break
			}
			at = j
		}
		for _, at := range slices.Backward(chain) {
			b.take(at)
			state[at] = done
		}
	}
}

// breakCycle records policies each of which is the parent of the one before it, and the first the parent of the last.
func (b *policyBook) breakCycle(cycle []int) {
	for _, i := range cycle {
		b.text(i).broken = true
	}
	at := slices.Index(cycle, slices.Min(cycle))
	way := make([]string, 0, len(cycle)+1)
	for i := range len(cycle) + 1 {
		way = append(way, b.policies[cycle[(at+i)%len(cycle)]].Name)
	}
	if len(way) > 10 {
		way = append(append(way[:5:5], "…"), way[len(way)-4:]...)
	}
	if len(cycle) == 1 {
		b.fault(cycle[0], "parent", "the policy is its own parent: name another, or leave parent out")
		return
	}
	b.fault(cycle[at], "parent", "the parents go round in a circle, %s: leave one of them out", strings.Join(way, " → "))
}

// take gives policy i what it takes from its parent, which has taken already, and drops what its algorithm and action do
// not have, unless its text gives it.
func (b *policyBook) take(i int) {
	p, t := &b.policies[i], b.text(i)
	if p.Parent != "" && !t.broken {
		j := b.index[p.Parent]
		if above := b.text(j); above != nil && above.broken {
			t.broken = true
		} else {
			b.takeFrom(i, &b.policies[j])
		}
	}
	usual := policyDefaults()
	unless := func(applies bool, key string, drop func()) {
		if !applies && t.given&policyBit(key) == 0 {
			drop()
		}
	}
	unless(p.Algorithm == "sliding_window", "granularity", func() { p.Granularity = usual.Granularity })
	unless(p.Algorithm == "quota", "timezone", func() { p.Timezone = usual.Timezone })
	unless(p.Algorithm != "concurrency", "window", func() { p.Window = usual.Window })
	unless(p.Algorithm != "concurrency", "settle", func() { p.Settle = usual.Settle })
	unless(p.Action == "queue", "max_wait", func() { p.MaxWait = usual.MaxWait })
	if !p.bursts() {
		return
	}
	if p.Burst == (Amount{}) {
		p.Burst = p.Limit
	}
	for j := range p.Overrides {
		if o := &p.Overrides[j]; o.Burst == (Amount{}) {
			o.Burst = o.Limit
		}
	}
}

// takeFrom gives policy i the values of its parent that it does not give itself. What is its own alone, and its burst, which
// goes with the limit, stay.
func (b *policyBook) takeFrom(i int, parent *Policy) {
	p, t := &b.policies[i], b.text(i)
	v, from := reflect.ValueOf(p).Elem(), reflect.ValueOf(parent).Elem()
	for k := range layoutOf(policyType).fields {
		f := &layoutOf(policyType).fields[k]
		if t.given&(1<<f.index) != 0 {
			continue
		}
		switch f.key {
		case "name", "parent", "overrides", "burst":
		case "limit":
			p.Limit = Amount{Share: 1}
		default:
			v.Field(f.index).Set(from.Field(f.index))
		}
	}
	if p.Depth = parent.Depth + 1; p.Depth > maxDepth {
		t.broken = true
		b.fault(i, "parent", "the policy has %d ancestors, at most %d can be: name one further up", p.Depth, maxDepth)
	}
}
