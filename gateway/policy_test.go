package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir/internal/expr"
	"weir/internal/mono"
	"weir/limiter"
)

// TestPlanIsLinear: the policies found by the index are those that apply when all are tried, deepest first, with the numbers of
// the first override whose condition holds.
func TestPlanIsLinear(t *testing.T) {
	conditions := []string{"", "tenant == 'a'", "'b' == tenant", "tenant in ['a', 'c']", "tenant == 'a' && user == 'u'", "request.method == 'POST'",
		"request.path == '/x/1' && request.headers['x-no'] == '1'", "tenant != 'a'", "request.path.startsWith('/x/')", "request.query['q'] == '1'",
		"tenant == '' || user == 'v'", "request.host == 'test.local'"}
	rapid.Check(t, func(rt *rapid.T) {
		pick := func(name string, list ...string) string { return rapid.SampledFrom(list).Draw(rt, name) }
		var b strings.Builder
		b.WriteString("pools: [{name: api, endpoints: [{address: '127.0.0.1:1'}]}]\nroutes: [{name: x, match: {path: /x/*}, pool: api}, {name: all, pool: api}]\n" +
			"dimensions: [{name: tenant, from: 'header:x-tenant'}, {name: user, from: 'header:x-user', default: nobody}]\npolicies:\n")
		n := rapid.IntRange(1, 12).Draw(rt, "policies")
		for i := range n {
			fmt.Fprintf(&b, "  - {name: p%d, limit: 100, window: 1h, dimensions: %s, routes: %s, when: %q, mode: %s", i, pick("dims", "[]", "[tenant]", "[user]", "[tenant, user]"),
				pick("routes", "[]", "[x]", "[all]", "[all, x]"), pick("when", conditions...), pick("mode", "enforce", "enforce", "shadow", "off"))
			if i > 0 && rapid.Bool().Draw(rt, "child") {
				fmt.Fprintf(&b, ", parent: p%d", rapid.IntRange(0, i-1).Draw(rt, "parent"))
			}
			if rapid.Bool().Draw(rt, "overridden") {
				b.WriteString(", overrides: [")
				for o := range rapid.IntRange(1, 4).Draw(rt, "overrides") {
					fmt.Fprintf(&b, "{when: %q, limit: %d}, ", pick("override", conditions[1:]...), 200+o)
				}
				b.WriteString("]")
			}
			b.WriteString("}\n")
		}
		g := newGateway(t, b.String())
		c := request(pick("method", "GET", "POST"), pick("path", "/x/1", "/y"))
		c.fields = map[string]string{}
		for _, f := range []string{"x-tenant", "x-user"} {
			if v := pick(f, "", "a", "b", "c", "u", "v", strings.Repeat("z", 20<<10)); v != "" {
				c.fields[f] = v
			}
		}
		x := g.exchange(c)
		x.route = x.snap.routes[x.snap.table.Match(x)]
		x.plan()
		got := map[string]int64{}
		for i, u := range x.uses {
			got[u.p.name] = u.v.numbers.Limit
			if i > 0 && u.p.depth > x.uses[i-1].p.depth {
				rt.Fatalf("%s before %s", x.uses[i-1].p.name, u.p.name)
			}
		}
		if want := naivePlan(x); fmt.Sprint(got) != fmt.Sprint(want) || len(x.uses) != len(got) {
			rt.Fatalf("got %v, want %v of\n%s", got, want, b.String())
		}
	})
}

// newTestEnv is the environment of x's configuration.
func newTestEnv(x *Exchange) *expr.Env {
	var names []string
	for i := range x.snap.dims {
		names = append(names, x.snap.dims[i].name)
	}
	env, err := expr.NewEnv(names)
	if err != nil {
		panic(err)
	}
	return env
}

// tooLong reports whether p's condition demands a value of a dimension that is longer than expressions take. The index knows better
// than the expression, which gives an error: a value that long is none of those demanded.
func tooLong(x *Exchange, p *policy) bool {
	eq, ok := p.when.Implies()
	if !ok {
		return false
	}
	for i := range x.snap.dims {
		if x.snap.dims[i].name == eq.Name {
			v, _ := x.Dimension(i)
			return len(v) > expr.MaxValue
		}
	}
	return false
}

// naivePlan is what applies to x, tried one by one as the documentation says, with the limits.
func naivePlan(x *Exchange) map[string]int64 {
	all := map[string]int64{}
	for _, p := range x.snap.policies {
		holds := true
		if p.when != nil {
			ok, err := p.when.Bool(x)
			holds = ok || err != nil && !tooLong(x, p)
		}
		for _, d := range p.dims {
			if _, ok := x.Dimension(d); !ok {
				holds = false
			}
		}
		if !holds || len(p.conf.Routes) > 0 && !slices.Contains(p.conf.Routes, x.route.name) {
			continue
		}
		for q := p; q != nil; q = q.parent {
			if !q.off {
				addNaively(x, all, q)
			}
		}
	}
	return all
}

// addNaively adds the limit of p for x, if its dimensions have values.
func addNaively(x *Exchange, all map[string]int64, p *policy) {
	for _, d := range p.dims {
		if _, ok := x.Dimension(d); !ok {
			return
		}
	}
	own := 0
	for i, o := range p.conf.Overrides {
		prog, err := newTestEnv(x).Compile(o.When, expr.Bool)
		if err != nil {
			panic(err)
		}
		if ok, err := prog.Bool(x); ok && err == nil {
			own = i + 1
			break
		}
	}
	all[p.name] = p.variants[own].numbers.Limit
}

// BenchmarkPlan finds the policies of a request where 1,000 are for all routes, told apart by their conditions.
func BenchmarkPlan(b *testing.B) {
	f := func(name string, others int, when string) {
		b.Run(name, func(b *testing.B) {
			var y strings.Builder
			y.WriteString("routes: [{name: all, pool: api}]\ndimensions: [{name: tenant, from: 'header:x-tenant'}]\npolicies:\n")
			for i := range others {
				fmt.Fprintf(&y, "  - {name: o%d, dimensions: [tenant], limit: 1, window: 1h, when: %q}\n", i, fmt.Sprintf(when, i))
			}
			for i := range 3 {
				fmt.Fprintf(&y, "  - {name: p%d, dimensions: [tenant], limit: 100000000, when: \"tenant == 'acme'\"}\n", i)
			}
			g := newGateway(b, poolYAML("", "127.0.0.1:1")+y.String())
			c := request("GET", "/api/42")
			c.fields = map[string]string{"x-tenant": "acme"}
			x := g.exchange(c)
			x.frame = make([]byte, 0, 256)
			b.ReportAllocs()
			for b.Loop() {
				x.charge.Reset()
				x.dims.reset()
				x.route, x.start = nil, mono.Now()
				if v := g.admit(x); v.Reason != Pass || len(x.uses) != 3 {
					b.Fatal(v, len(x.uses))
				}
			}
		})
	}
	f("3 policies", 0, "")
	f("3 of 1000", 997, "tenant == 't%d'")
}

func TestSharesFollowTheParent(t *testing.T) {
	g := newGateway(t, `pools: [{name: api, endpoints: [{address: '127.0.0.1:1'}]}]
routes: [{name: all, pool: api}]
dimensions: [{name: tenant, from: 'header:x-tenant'}, {name: user, from: 'header:x-user'}]
policies:
  - {name: plan, dimensions: [tenant], limit: 1000, window: 1h, burst: 2000, overrides: [{when: "tenant == 'acme'", limit: 50000, burst: 60000}, {when: "tenant == 'tiny'", limit: 10}]}
  - {name: user, parent: plan, dimensions: [tenant, user], limit: 5%, overrides: [{when: "user == 'vip'", limit: 50%}, {when: "user == 'bot'", limit: 3}]}
  - {name: deep, parent: user, limit: 10%}
`)
	f := func(tenant, user string, want ...limiter.Rate) {
		t.Helper()
		c := request("GET", "/")
		c.fields = map[string]string{"x-tenant": tenant, "x-user": user}
		x := g.exchange(c)
		x.route = x.snap.routes[0]
		x.plan()
		var got []limiter.Rate
		for _, u := range x.uses {
			got = append(got, limiter.Rate{N: u.v.limiter.Spec().Rate.N, Burst: u.v.limiter.Spec().Rate.Burst})
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s %s: got %v, want %v", tenant, user, got, want)
		}
	}
	r := func(n, burst int64) limiter.Rate { return limiter.Rate{N: n, Burst: burst} }
	f("t", "u", r(5, 10), r(50, 100), r(1000, 2000))
	f("acme", "u", r(250, 300), r(2500, 3000), r(50000, 60000))
	f("acme", "vip", r(2500, 3000), r(25000, 30000), r(50000, 60000))
	f("tiny", "u", r(1, 1), r(1, 1), r(10, 10))
	f("tiny", "bot", r(1, 1), r(3, 3), r(10, 10))
}
