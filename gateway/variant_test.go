package gateway

import (
	"fmt"
	"strings"
	"testing"
)

// A bucket keeps what was spent when something else of its policy changes.
func TestVariantsKeepTheirBuckets(t *testing.T) {
	const head = `pools: [{name: api, endpoints: [{address: '127.0.0.1:1'}]}]
routes: [{name: all, pool: api}]
dimensions: [{name: tenant, from: 'header:x-tenant'}, {name: user, from: 'header:x-user'}, {name: plan, from: 'header:x-plan'}]
policies:
`
	f := func(name, before, after string, want int64) {
		t.Helper()
		g := newGateway(t, head+before)
		c := request("GET", "/")
		c.fields = map[string]string{"x-tenant": "t", "x-user": "u", "x-plan": "gold"}
		for range 40 {
			g.serve(g.exchange(c))
		}
		reload(t, g, head+after)
		x := g.exchange(c)
		x.route = x.snap.routes[0]
		x.plan()
		for _, u := range x.uses {
			if u.p.name == "p" {
				if got := u.v.limiter.Peek(u.key, 0, x.start).Left; got != want {
					t.Errorf("%s: %d left, want %d", name, got, want)
				}
			}
		}
	}
	const plan = "  - {name: plan, dimensions: [tenant], limit: 10000, window: 1h}\n"
	const p = "  - {name: p, parent: plan, dimensions: [tenant, user], limit: 100, window: 1h"
	f("an override for others as a share", plan+p+"}\n", plan+p+", overrides: [{when: user == 'x', limit: 1%}]}\n", 60)
	f("from units to a share", plan+p+"}\n", plan+strings.Replace(p, "limit: 100", "limit: 1%", 1)+"}\n", 60)
	f("a parent with another dimension", plan+strings.Replace(p, "limit: 100", "limit: 1%", 1)+"}\n", strings.Replace(plan, "[tenant]", "[tenant, plan]", 1)+strings.Replace(p, "limit: 100", "limit: 1%", 1)+"}\n", 60)
	f("a parent that is off", plan+strings.Replace(p, "limit: 100", "limit: 1%", 1)+"}\n", strings.Replace(plan, "limit: 10000", "limit: 10000, mode: off", 1)+strings.Replace(p, "limit: 100", "limit: 1%, mode: enforce", 1)+"}\n", 60)
	f("an override of the parent's for others", plan+strings.Replace(p, "limit: 100", "limit: 1%", 1)+"}\n", strings.Replace(plan, "10000", "10000, overrides: [{when: tenant == 'x', limit: 5}]", 1)+strings.Replace(p, "limit: 100", "limit: 1%", 1)+"}\n", 60)
	f("a share of an override is another limit", strings.Replace(plan, "10000", "10000, overrides: [{when: tenant == 't', limit: 20000}]", 1)+strings.Replace(p, "limit: 100", "limit: 1%", 1)+"}\n", plan+strings.Replace(p, "limit: 100", "limit: 1%", 1)+"}\n", 100)
}

// What is no share is one limit, whichever override of the parent holds.
func TestAbsoluteOverridesAreNotMultiplied(t *testing.T) {
	g := newGateway(t, `routes: [{name: all, respond: {body: ok}}]
policies:
  - {name: plan, limit: 1000, overrides: [{when: request.method == 'GET', limit: 500}, {when: request.method == 'POST', limit: 600}]}
  - {name: p, parent: plan, limit: 1%, window: 1h, overrides: [{when: request.path == '/five', limit: 5}, {when: request.path == '/five', limit: 7}]}
`)
	passed := 0
	for range 10 {
		for _, method := range []string{"GET", "POST", "PUT"} {
			c := request(method, "/five")
			if g.serve(g.exchange(c)); c.status == 200 {
				passed++
			}
		}
	}
	if passed != 5 {
		t.Errorf("%d pass an override of 5", passed)
	}
	p := g.Snapshot().policies[1]
	if n := fmt.Sprint(len(p.variants), len(p.each)); n != "9 5" {
		t.Errorf("%s variants, want 9 that are 5", n)
	}
}

// A policy that is off charges nobody and is passed over by its children, who have its shares and its parent still.
func TestOffParents(t *testing.T) {
	g := newGateway(t, `routes: [{name: all, respond: {body: ok}}]
policies:
  - {name: root, limit: 50, window: 1h}
  - {name: off, parent: root, limit: 40, mode: off, overrides: [{when: request.method == 'POST', limit: 20}]}
  - {name: p, parent: off, limit: 50%, mode: enforce, overrides: []}
`)
	count := func(method string) (n int) {
		for range 60 {
			c := request(method, "/")
			if g.serve(g.exchange(c)); c.status == 200 {
				n++
			}
		}
		return n
	}
	if get, post := count("GET"), count("POST"); get != 20 || post != 10 {
		t.Errorf("%d and %d, want half of 40 and of 20", get, post)
	}
	x := g.exchange(request("GET", "/"))
	x.route = x.snap.routes[0]
	x.plan()
	if len(x.uses) != 2 || x.uses[1].p.name != "root" || x.uses[1].v.limiter.Peek(x.uses[1].key, 0, x.start).Left != 20 {
		t.Errorf("%+v", x.uses)
	}
}

func TestManyVariantsMustFit(t *testing.T) {
	var b strings.Builder
	b.WriteString("node: {limiter_memory: 1MiB}\nroutes: [{name: all, respond: {body: ok}}]\npolicies:\n")
	for i := range 100 {
		fmt.Fprintf(&b, "  - {name: p%d, limit: 1, when: request.path == '/%d'}\n", i, i)
	}
	g := newGateway(t, "routes: [{name: all, respond: {body: ok}}]\n")
	_, err := g.Compile(parse(t, b.String()))
	if err == nil || !strings.Contains(err.Error(), "node.limiter_memory: raise it to") {
		t.Errorf("got %v", err)
	}
	s, err := g.Compile(parse(t, strings.Replace(b.String(), "1MiB", "64MiB", 1)))
	if err != nil {
		t.Fatal(err)
	}
	g.Install(s)
	if used, most := g.LimiterMemory(); used < 100*10_000 || most != 64<<20 {
		t.Errorf("%d of %d bytes", used, most)
	}
}
