package config

import (
	"fmt"

	"weir/limiter"
)

func (k *checker) checkPolicies() {
	k.checkNames("policies", len(k.c.Policies), func(i int) string { return k.c.Policies[i].Name })
	for i := range k.c.Policies {
		k.checkPolicy(&k.c.Policies[i], fmt.Sprintf("policies[%d]", i))
	}
	k.checkChains()
}

func (k *checker) checkPolicy(p *Policy, path string) {
	seen := map[string]bool{}
	for i, d := range p.Dimensions {
		at := fmt.Sprintf("%s.dimensions[%d]", path, i)
		k.checkReference(at, "dimension", d, k.dimensions)
		if seen[d] {
			k.fault(at, "the dimension %s is given twice: remove one", quote(d))
		}
		seen[d] = true
	}
	clear(seen)
	for i, r := range p.Routes {
		at := fmt.Sprintf("%s.routes[%d]", path, i)
		k.checkReference(at, "route", r, k.routes)
		if seen[r] {
			k.fault(at, "the route %s is given twice: remove one", quote(r))
		}
		seen[r] = true
	}
	k.checkWhen(path+".when", p.When)
	if p.Limit > 0 && p.Burst > 0 && p.Window > 0 {
		if err := (limiter.Rate{N: p.Limit, Per: p.Window, Burst: p.Burst}).Validate(); err != nil {
			k.fault(path+".burst", "%v: write a smaller burst", err)
		}
	}
}

// checkChains checks that no route has more policies than a request can be charged for.
func (k *checker) checkChains() {
	everywhere := 0
	of := make(map[string]int, len(k.c.Routes))
	for i := range k.c.Policies {
		p := &k.c.Policies[i]
		if p.Mode == "off" {
			continue
		}
		path := fmt.Sprintf("policies[%d]", i)
		if len(p.Routes) == 0 {
			if everywhere++; everywhere == limiter.MaxChain+1 {
				k.fault(path, "more than %d policies could apply to one request: give some of them routes:, or turn some off", limiter.MaxChain)
				return
			}
		}
		for _, r := range p.Routes {
			of[r]++
		}
	}
	for i, r := range k.c.Routes {
		if n := everywhere + of[r.Name]; everywhere <= limiter.MaxChain && n > limiter.MaxChain {
			k.fault(fmt.Sprintf("routes[%d].name", i), "%d policies could apply to the route %s, at most %d can: take it out of some policies' routes:", n, quote(r.Name), limiter.MaxChain)
		}
	}
}
