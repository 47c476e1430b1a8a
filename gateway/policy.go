package gateway

import (
	"slices"
	"time"

	"weir/config"
	"weir/internal/expr"
	"weir/limiter"
	"weir/strict"
	"weir/telemetry"
)

// policy is a compiled limit.
type policy struct {
	name     string
	conf     *config.Policy
	order    int // in the configuration
	depth    int
	parent   *policy       // nil: none
	off      bool          // there for its children alone
	shadow   bool          // counted and reported, never refuses
	tag      bool          // never refuses: the endpoint is told
	waits    time.Duration // how long a refused request may wait and ask again; 0: it is told when its turn is, or refused
	dims     []int
	keyed    int // the same for all policies of the same dimensions and hasher
	hasher   limiter.Hasher
	when     *expr.Program // nil: always
	cost     *expr.Program // nil: fixed
	fixed    int64
	settle   *expr.Settle
	seats    bool // given back when the request is done
	variants []*variant
	each     []*variant // those of variants, each once
	across   int        // how many variants of the parent there are for each of its own overrides: 1 unless a number is a share
	choose   *index     // of overrides; nil: there are none
	pools    []*pool    // that the routes it applies to use
	cell     *telemetry.PolicyCell
	quoted   string // "name"
	priority priority
}

// variant is a policy with the numbers of one override, or of none. It has buckets of its own, so that numbers never mix in one.
type variant struct {
	identity string
	of       string // what names its override among those of the policy, and of the parents it is a share of; "" for none
	limiter  *limiter.Limiter
	strict   *strict.Policy // the store decides, and limiter only while it does not answer; nil: limiter does
	spec     limiter.Spec
	numbers  config.Numbers
	head     string // "name";q=…;w=… of RateLimit-Policy
	allows   string // in words: 5 per 10s
}

// soft reports whether p never refuses.
func (p *policy) soft() bool { return p.shadow || p.tag }

// use is a policy as it applies to one request.
type use struct {
	p   *policy
	v   *variant
	key limiter.Key
	n   int64 // units
}

// priority is how much a request matters. The zero value is normal.
type priority int8

const (
	unspecified priority = iota - 2 // of a policy that says nothing
	low
	normal
	high
	critical
)

var priorityNames = [...]string{"", "low", "normal", "high", "critical"}

func (p priority) String() string { return priorityNames[p-unspecified] }

// plan works out which policies apply to x, with their buckets and costs: those whose conditions hold, and the ancestors of these.
// The deepest come first: a limit of the client's own refuses before one is touched that it shares with others.
func (x *Exchange) plan() {
	x.uses = x.uses[:0]
	x.match(x.snap.everywhere)
	if x.route != nil && x.route.index != nil {
		x.match(x.route.index)
	}
	if x.snap.nested {
		for _, u := range x.uses { // those found so far
			for p := u.p.parent; p != nil && !x.applies(p); p = p.parent {
				if !p.off {
					x.use(p, false) // one without a value for a dimension is passed over
				}
			}
		}
	}
	for i := 1; i < len(x.uses); i++ {
		if before(&x.uses[i], &x.uses[i-1]) {
			slices.SortFunc(x.uses, func(a, b use) int {
				if before(&a, &b) {
					return -1
				}
				return 1
			})
			break
		}
	}
}

// before is the order in which policies are charged.
func before(a, b *use) bool {
	if a.p.depth != b.p.depth {
		return a.p.depth > b.p.depth
	}
	return a.p.order < b.p.order
}

// match adds the policies of an index that apply to x.
func (x *Exchange) match(ix *index) {
	for m := ix.matches(x); m.next(); {
		p := x.snap.policies[m.item]
		x.use(p, !m.byValue || !p.when.Exact()) // an exact condition holds if it was found by its value
	}
}

func (x *Exchange) applies(p *policy) bool {
	for i := range x.uses {
		if x.uses[i].p == p {
			return true
		}
	}
	return false
}

// use adds p to what x spends of if p applies: all its dimensions have a value and, if it counts, its condition holds. A condition
// that fails to evaluate counts as true, so that an error cannot lift a limit.
func (x *Exchange) use(p *policy, conditional bool) {
	x.frame = x.frame[:0]
	for _, d := range p.dims {
		v, ok := x.Dimension(d)
		if !ok {
			return
		}
		x.frame = limiter.AppendPart(x.frame, v)
	}
	if conditional && p.when != nil {
		ok, err := p.when.Bool(x)
		if err != nil {
			x.gw.exprErrors.Inc()
		} else if !ok {
			return
		}
	}
	var key limiter.Key
	if n := len(x.uses); n > 0 && x.uses[n-1].p.keyed == p.keyed {
		key = x.uses[n-1].key
	} else {
		key = p.hasher.Sum(x.frame)
	}
	x.uses = append(x.uses, use{p, p.variant(x), key, p.units(x)})
}

// units is what x costs before it is served. A cost that cannot be evaluated is 1.
func (p *policy) units(x *Exchange) int64 {
	if x.checking && !p.seats {
		return x.tokens
	}
	if p.cost == nil {
		return p.fixed
	}
	n, err := p.cost.Int(x)
	if err != nil {
		x.gw.exprErrors.Inc()
		return 1
	}
	return n
}

// variant returns the numbers that x is limited by: those of the first override whose condition holds, as a share of what its parent
// allows where they are one. A condition that cannot be evaluated does not hold.
func (p *policy) variant(x *Exchange) *variant {
	if len(p.variants) == 1 {
		return p.variants[0]
	}
	return p.variants[p.pick(x)]
}

func (p *policy) pick(x *Exchange) int {
	own := 0 // no override
	if p.choose != nil {
		first := len(p.conf.Overrides)
		for m := p.choose.matches(x); m.next(); {
			if m.item >= first {
				continue
			}
			if when := p.choose.when[m.item]; when != nil {
				ok, err := when.Bool(x)
				if err != nil {
					x.gw.exprErrors.Inc()
				}
				if !ok || err != nil {
					continue
				}
			}
			first = m.item
		}
		if first < len(p.conf.Overrides) {
			own = first + 1
		}
	}
	if p.across == 1 {
		return own
	}
	return own*p.across + p.parent.pick(x)
}
