package config

import (
	"fmt"
	"slices"
)

// applying are policies without a condition that apply to the same requests.
type applying struct {
	by  []int // those that apply by themselves, in order
	all []int // and their ancestors
}

// always says whether a request on a policy's routes is always charged for it, if its dimensions have a value.
func (p *Policy) always() bool { return p.Mode != "off" && p.When == "" }

// add adds policy i with its ancestors, but not those of besides.
func (a *applying) add(b *policyBook, i int, besides *applying) {
	a.by = append(a.by, i)
	for range maxDepth + 1 {
		p := &b.policies[i]
		if p.always() && !slices.Contains(a.all, i) && (besides == nil || !slices.Contains(besides.all, i)) {
			a.all = append(a.all, i)
		}
		above, ok := b.index[p.Parent]
		if !ok {
			return
		}
		i = above
	}
}

// checkAlways checks that no request is charged for too many policies that have no condition. How many of those with one hold
// at once cannot be told. The fault is of the policy that is one too many, which is none of those before first.
func (b *policyBook) checkAlways() {
	const advice = "with their ancestors: give some of them fewer routes: or a when:, or turn some off"
	var everywhere applying
	for i := range b.policies {
		p := &b.policies[i]
		if len(p.Routes) > 0 || !p.always() {
			continue
		}
		if everywhere.add(b, i, nil); len(everywhere.all) > maxAlways {
			b.fault(i, "", "more than %d policies without a when: could apply to one request, %s", maxAlways, advice)
			return
		}
	}
	of := map[string]*applying{} // by route, besides everywhere
	for i := range b.policies {
		p := &b.policies[i]
		if !p.always() {
			continue
		}
		for _, name := range p.Routes {
			on := of[name]
			if on == nil {
				on = &applying{}
				of[name] = on
			}
			if len(everywhere.all)+len(on.all) > maxAlways {
				continue // told
			}
			if on.add(b, i, &everywhere); len(everywhere.all)+len(on.all) > maxAlways {
				last := b.oneTooMany(&everywhere, on)
				key := ""
				if r := slices.Index(b.policies[last].Routes, name); r >= 0 {
					key = fmt.Sprintf("routes[%d]", r)
				}
				b.fault(last, key, "more than %d policies without a when: could apply to the route %s, %s", maxAlways, quote(name), advice)
			}
		}
	}
}

// oneTooMany returns the first of the policies that apply, in order, with which they are more than maxAlways.
func (b *policyBook) oneTooMany(everywhere, on *applying) int {
	by := slices.Concat(everywhere.by, on.by)
	slices.Sort(by)
	var sum applying
	for _, i := range by {
		if sum.add(b, i, nil); len(sum.all) > maxAlways {
			return i
		}
	}
	panic("BUG: config: policies counted twice")
}
