package gateway

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"weir/config"
	"weir/internal/expr"
	"weir/limiter"
	"weir/strict"
)

func (p *compiler) compilePolicies() error {
	p.snap.everywhere = new(index)
	var all []*policy
	for i := range p.conf.Policies {
		c := &p.conf.Policies[i]
		pol, err := p.compilePolicy(c, i)
		if err != nil {
			return fmt.Errorf("policy %s: %w", c.Name, err)
		}
		p.policies[c.Name] = pol
		if all = append(all, pol); !pol.off {
			p.snap.policies = append(p.snap.policies, pol)
		}
	}
	// Parents may stand behind their children. The shallowest come first, as shares need the parent's variants.
	slices.SortStableFunc(all, func(a, b *policy) int { return a.depth - b.depth })
	for _, pol := range all {
		pol.parent = p.policies[pol.conf.Parent]
		p.snap.nested = p.snap.nested || pol.parent != nil
		if err := p.compileVariants(pol); err != nil {
			return fmt.Errorf("policy %s: %w", pol.name, err)
		}
	}
	keyed, shared := map[string]int{}, limiter.NewHasher(sharedSecret(p.conf.Cluster.Name))
	for i, pol := range p.snap.policies {
		pol.hasher = p.gw.hasher
		if pol.conf.Scope != "local" {
			pol.hasher = shared
		}
		dims := fmt.Sprint(pol.dims, pol.conf.Scope != "local")
		if _, ok := keyed[dims]; !ok {
			keyed[dims] = len(keyed)
		}
		pol.keyed = keyed[dims]
		if len(pol.conf.Routes) == 0 {
			p.snap.everywhere.add(i, pol.when, p.dimOf)
		}
	}
	return p.fits()
}

// sharedSecret keys the hashes of what gateways count together: the same on all of them.
func sharedSecret(cluster string) (secret [16]byte) {
	copy(secret[:], identity("weir cluster", cluster))
	return secret
}

// fits refuses a configuration whose limiters take more than half of the memory for buckets before the first one.
func (p *compiler) fits() error {
	memory := int64(p.conf.Node.LimiterMemory)
	p.snap.fixed = int64(len(p.snap.plan.limiters)) * limiter.FixedBytes(bucketBytes(memory))
	if p.snap.fixed > memory/2 {
		return fmt.Errorf("%d policies and overrides take %d MiB before the first bucket, more than half of node.limiter_memory: raise it to %d MiB, or write fewer",
			len(p.snap.plan.limiters), p.snap.fixed>>20, 2*p.snap.fixed>>20+1)
	}
	return nil
}

// bucketBytes is what the buckets of one policy may take of the memory for all.
func bucketBytes(memory int64) int64 { return max(memory/4, limiter.MinMaxBytes) }

func (p *compiler) compilePolicy(c *config.Policy, order int) (*policy, error) {
	pol := &policy{name: c.Name, conf: c, order: order, off: c.Mode == "off", depth: c.Depth, shadow: c.Mode == "shadow", tag: c.Action == "tag" && c.Mode != "shadow",
		quoted: strconv.Quote(c.Name), seats: c.Algorithm == "concurrency", priority: unspecified}
	if !pol.off {
		pol.cell = p.gw.hub.Policy(c.Name, c.Mode)
	}
	for i, n := range priorityNames {
		if n == c.Priority {
			pol.priority = unspecified + priority(i)
		}
	}
	for _, d := range c.Dimensions {
		pol.dims = append(pol.dims, p.dim(d))
	}
	if !reserves(c) && c.Action == "queue" && !pol.shadow {
		pol.waits = c.MaxWait
	}
	var err error
	if c.When != "" {
		if pol.when, err = p.env.Compile(c.When, expr.Bool); err != nil {
			return nil, fmt.Errorf("when: %w", err)
		}
	}
	if pol.fixed, err = strconv.ParseInt(c.Cost, 10, 64); err != nil || pol.fixed < 0 {
		if pol.cost, err = p.env.Compile(c.Cost, expr.Int); err != nil {
			return nil, fmt.Errorf("cost: %w", err)
		}
	}
	if c.Settle != "" {
		if pol.settle, err = p.env.CompileSettle(c.Settle); err != nil {
			return nil, fmt.Errorf("settle: %w", err)
		}
	}
	for _, prog := range []*expr.Program{pol.when, pol.cost} {
		if prog != nil {
			p.reads(prog.Reads())
		}
	}
	if pol.settle != nil {
		p.reads(pol.settle.Reads())
	}
	if len(c.Overrides) > 0 {
		pol.choose = &index{when: make([]*expr.Program, len(c.Overrides))}
	}
	for i := range c.Overrides {
		when, err := p.env.Compile(c.Overrides[i].When, expr.Bool)
		if err != nil {
			return nil, fmt.Errorf("overrides[%d].when: %w", i, err)
		}
		p.reads(when.Reads())
		pol.choose.add(i, when, p.dimOf)
		if !when.Exact() || slices.Contains(pol.choose.always, i) {
			pol.choose.when[i] = when
		}
	}
	return pol, nil
}

// reserves reports whether a policy's limiter lets requests in ahead of time, so that each knows when its turn is.
func reserves(c *config.Policy) bool {
	switch c.Algorithm {
	case "token_bucket", "leaky_bucket", "adaptive":
		return c.Action == "queue" && c.Mode != "shadow"
	}
	return false
}

// compileVariants makes a variant for each override and for none, and where one is a share for each of the parent's: variants has
// `across` of them for each, which are the same one where nothing is a share.
func (p *compiler) compileVariants(pol *policy) error {
	c := pol.conf
	pol.across = 1
	for o := -1; o < len(c.Overrides); o++ {
		if c.Relative(o) {
			pol.across = len(pol.parent.variants)
		}
	}
	seen := map[string]int{} // conditions
	for o := -1; o < len(c.Overrides); o++ {
		of := ""
		if o >= 0 {
			when := c.Overrides[o].When
			of = strconv.Quote(when) + "#" + strconv.Itoa(seen[when])
			seen[when]++
		}
		if !c.Relative(o) {
			v, err := p.variant(pol, c.Numbers(o, config.Numbers{}), of)
			if err != nil {
				return err
			}
			pol.variants = append(pol.variants, slices.Repeat([]*variant{v}, pol.across)...)
			continue
		}
		shares := map[*variant]*variant{} // the parent may have one several times
		for _, parent := range pol.parent.variants {
			if v := shares[parent]; v != nil {
				pol.variants = append(pol.variants, v)
				continue
			}
			share := of
			if parent.of != "" {
				share += " of " + pol.parent.name + " " + parent.of
			}
			v, err := p.variant(pol, c.Numbers(o, parent.numbers), share)
			if err != nil {
				return err
			}
			shares[parent] = v
			pol.variants = append(pol.variants, v)
		}
	}
	return nil
}

func calendarOf(c *config.Policy) string {
	if c.Algorithm != "quota" {
		return ""
	}
	return c.Window.Calendar
}

// variant makes the variant of an override, which `of` names: "" for none. A policy that is off has no buckets, but what it would allow
// others a share of.
func (p *compiler) variant(pol *policy, n config.Numbers, of string) (*variant, error) {
	c := pol.conf
	spec, err := specOf(c, n)
	if err != nil {
		return nil, err
	}
	v := &variant{of: of, spec: spec, numbers: n}
	v.describe(c)
	if err := spec.Validate(); err != nil || pol.off {
		return v, err
	}
	scope := c.Scope
	if scope == "strict" {
		scope += " " + c.OnOutage // its limiter counts only in an outage, and is another one with another scope then
	}
	v.identity = identity(c.Name, c.Algorithm, scope, p.dimensionMeaning(c.Dimensions), c.Timezone, calendarOf(c), of)
	if p.snap.plan.limiters[v.identity] != nil {
		panic("BUG: two variants of policy " + c.Name + " are one")
	}
	if c.Scope == "strict" {
		id := identity(c.Name, c.Algorithm, c.Scope, p.dimensionMeaning(c.Dimensions), c.Timezone, calendarOf(c), of)
		if v.strict, err = strict.NewPolicy(shareOf(id), spec); err != nil {
			return nil, fmt.Errorf("policy %s, scope: strict: %w", c.Name, err)
		}
	}
	if v.limiter = p.gw.live.limiter(v.identity); v.limiter == nil {
		o := limiter.Options{Budget: p.gw.budget, MaxBytes: bucketBytes(int64(p.conf.Node.LimiterMemory)), Epoch: p.gw.epoch, Track: c.Algorithm == "quota"}
		if c.Scope == "cluster" || c.Scope == "strict" && c.OnOutage == "cluster" {
			o.Fleet, o.Share = p.gw.fleet, shareOf(v.identity)
		}
		if v.limiter, err = limiter.New(c.Name, spec, o); err != nil {
			return nil, err
		}
	}
	p.snap.plan.limiters[v.identity] = v
	pol.each = append(pol.each, v)
	return v, nil
}

// shareOf names a variant among gateways.
func shareOf(identity string) uint64 { return binary.BigEndian.Uint64([]byte(identity)) }

// specOf is what the limiter of a policy with these numbers counts by.
func specOf(c *config.Policy, n config.Numbers) (limiter.Spec, error) {
	a, ok := limiter.AlgorithmOf(c.Algorithm)
	if !ok {
		return limiter.Spec{}, fmt.Errorf("algorithm %q is unknown", c.Algorithm)
	}
	s := limiter.Spec{Algorithm: a, Rate: limiter.Rate{N: n.Limit, Per: c.Window.Every, Burst: n.Burst}}
	switch a {
	case limiter.SlidingWindow:
		s.Parts = c.Granularity
	case limiter.Quota:
		loc, err := location(c.Timezone)
		if err != nil {
			return s, err
		}
		s.Calendar = limiter.Calendar{Period: c.Window.Calendar, Location: loc}
	}
	if reserves(c) {
		s.MaxWait = c.MaxWait
	}
	return s, nil
}

// maxInteger is the largest number in a structured field (RFC 8941, section 3.3.1).
const maxInteger = 999_999_999_999_999

// locations are the time zones that were loaded: the same one each time, so that a reload does not look like a change.
var locations sync.Map

func location(name string) (*time.Location, error) {
	if loc, ok := locations.Load(name); ok {
		return loc.(*time.Location), nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, err
	}
	kept, _ := locations.LoadOrStore(name, loc)
	return kept.(*time.Location), nil
}

// describe puts into words what v allows, for headers (draft-ietf-httpapi-ratelimit-headers-10) and for people.
func (v *variant) describe(c *config.Policy) {
	quoted := strconv.Quote(c.Name)
	if c.Algorithm == "concurrency" {
		v.head = fmt.Sprintf(`%s;q=%d;qu="concurrent-requests"`, quoted, v.numbers.Limit)
		v.allows = fmt.Sprintf("%d at once", v.numbers.Limit)
		return
	}
	w := int64(math.Ceil(c.Window.Every.Seconds()))
	switch c.Window.Calendar {
	case "hour":
		w = 3600
	case "day":
		w = 24 * 3600
	case "week":
		w = 7 * 24 * 3600
	case "month":
		w = 30 * 24 * 3600
	}
	q := v.numbers.Limit
	if d := c.Window.Every; d > 0 && d < time.Second { // w is in whole seconds: as many as pass in one
		q = int64(min(float64(q)*(float64(time.Second)/float64(d)), maxInteger))
	}
	v.head = fmt.Sprintf("%s;q=%d;w=%d", quoted, min(q, maxInteger), w)
	v.allows = fmt.Sprintf("%d per %s", v.numbers.Limit, c.Window)
}

// dimOf returns the dimension that an expression calls by that name.
func (p *compiler) dimOf(name string) (int, bool) {
	switch name {
	case "request.method":
		name = "method"
	case "request.host":
		name = "host"
	case "request.path":
		name = "path"
	}
	i, ok := p.dims[name]
	return i, ok
}

// routeIndex returns the index of the policies that name a route; nil if none does.
func (p *compiler) routeIndex(name string) *index {
	if p.byRoute == nil {
		p.byRoute = map[string][]int{}
		for i, pol := range p.snap.policies {
			for _, r := range pol.conf.Routes {
				p.byRoute[r] = append(p.byRoute[r], i)
			}
		}
	}
	list := p.byRoute[name]
	if len(list) == 0 {
		return nil
	}
	ix := new(index)
	for _, i := range list {
		ix.add(i, p.snap.policies[i].when, p.dimOf)
	}
	return ix
}

// reach tells adaptive policies the pools of a route that they apply to.
func (p *compiler) reach(e *entry) {
	for _, pol := range p.snap.policies {
		if pol.conf.Algorithm != "adaptive" || len(pol.conf.Routes) > 0 && !slices.Contains(pol.conf.Routes, e.name) {
			continue
		}
		for _, t := range e.targets {
			if !slices.Contains(pol.pools, t.pool.pool) {
				pol.pools = append(pol.pools, t.pool.pool)
			}
		}
	}
}
