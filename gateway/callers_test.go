package gateway

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/internal/mono"
)

const callersYAML = `pools: [{name: api, endpoints: [{address: '127.0.0.1:1'}]}]
routes: [{name: all, pool: api}]
dimensions: [{name: tenant, from: 'header:x-tenant'}, {name: user, from: 'header:x-user'}, {name: token, from: 'header:x-token', secret: true}]
policies:
  - {name: plan, dimensions: [tenant], limit: 100, window: 1h}
  - {name: user, dimensions: [tenant, user], limit: 10, window: 1h}
  - {name: token, dimensions: [token], limit: 5, window: 1h}
  - {name: by-key, dimensions: [key], limit: 3, window: 1h}
  - {name: seats, algorithm: concurrency, dimensions: [tenant], limit: 2}
  - {name: all, limit: 1000, window: 1h}
`

// spend serves a request of these header fields n times.
func spend(g *Gateway, n int, fields map[string]string) {
	for range n {
		c := request("GET", "/")
		c.fields = fields
		g.serve(g.exchange(c))
	}
}

func TestUsage(t *testing.T) {
	g := newGateway(t, callersYAML)
	s := g.Snapshot()
	spend(g, 12, map[string]string{"x-tenant": "a", "x-user": "u"})
	f := func(key string, want ...string) {
		t.Helper()
		u, err := g.Usage(s, key)
		if err != nil {
			t.Errorf("%s: %v", key, err)
			return
		}
		var got []string
		for _, p := range u.Policies {
			got = append(got, fmt.Sprintf("%s %d of %d, %d+%d", p.Policy, p.Remaining, p.Limit, p.Allowed, p.Refused))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
		for _, p := range u.Policies {
			if len(p.Nodes) != 1 || p.Nodes[0].Allowed != p.Allowed || p.Nodes[0].Refused != p.Refused {
				t.Errorf("%+v", p)
			}
		}
	}
	f("a", "plan 90 of 100, 10+0", "seats 2 of 2, 10+0")
	f("a:u", "user 0 of 10, 10+2")
	for _, key := range []string{"b", "a:v", "u", "a:u:x", ""} {
		if u, err := g.Usage(s, key); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %+v %v", key, u, err)
		}
	}
	ask := func(tokens int64) CheckAnswer {
		return g.Check(s, CheckQuestion{Key: "who", Tokens: tokens, Metadata: map[string]string{"tenant": "a", "token": "s3cret", "endpoint": "/"}})
	}
	if a := ask(2); !a.Allowed || a.Policy != "by-key" || a.Limit != 3 || a.Decision.Left != 1 || len(a.Decisions) != 5 {
		t.Errorf("%+v", a)
	}
	if a := ask(0); !a.Allowed || a.Decision.Left != 1 {
		t.Errorf("a look: %+v", a)
	}
	if a := ask(2); a.Allowed || a.Policy != "by-key" || a.Decision.Retry <= 0 {
		t.Errorf("%+v", a)
	}
	f("who", "plan 88 of 100, 11+0", "token 3 of 5, 1+0", "by-key 1 of 3, 1+1", "seats 2 of 2, 10+0")
	if name, n, err := g.Reset(s, "who"); err != nil || n != 3 || name != "who" { // seats have nothing to forget
		t.Errorf("%d buckets, %v", n, err)
	}
	f("a", "plan 100 of 100, 11+0", "seats 2 of 2, 10+0")
	if name, n, err := g.Reset(s, "nobody"); !errors.Is(err, ErrUnknown) || name != "" {
		t.Errorf("%q: %d buckets, %v", name, n, err)
	}
	spend(g, 2, map[string]string{"x-tenant": "2001:db8::1", "x-user": "u:1"}) // values may hold colons
	f("2001:db8::1:u:1", "user 8 of 10, 2+0")
	if a := g.Check(s, CheckQuestion{Key: "k", Metadata: map[string]string{"usr": "x", "tenant": "a", "endpoint": "/", "a": ""}}); fmt.Sprint(a.Unknown) != "[a usr]" {
		t.Errorf("unknown: %v", a.Unknown)
	}
}

func TestSplits(t *testing.T) {
	f := func(key string, n int, want string) {
		t.Helper()
		if got := fmt.Sprintf("%q", splits(key, n)); got != want {
			t.Errorf("%s in %d: %s", key, n, got)
		}
	}
	f("a", 0, "[]")
	f("a:b", 1, `[["a:b"]]`)
	f("a", 2, "[]")
	f("a:b:", 2, `[["a" "b:"] ["a:b" ""]]`)
	f("a:b:c", 3, `[["a" "b" "c"]]`)
	if n := len(splits(strings.Repeat(":", 200), 5)); n != maxSplits {
		t.Errorf("%d ways", n)
	}
}

// Whoever was asked about is watched for a while, whoever else comes.
func TestAskedAboutAreKept(t *testing.T) {
	g := newGateway(t, callersYAML)
	spend(g, 1, map[string]string{"x-tenant": "a"})
	if _, err := g.Usage(g.Snapshot(), "a"); err != nil {
		t.Fatal(err)
	}
	now := mono.Now()
	for i := range 3 * maxCallers {
		g.callers.watchLocked(fmt.Appendf(nil, "busy-%d", i), 1000, now)
	}
	if g.callers.all["a"] == nil || len(g.callers.all) != maxCallers {
		t.Errorf("forgotten, among %d", len(g.callers.all))
	}
	for i := range 2 * maxCallers {
		g.callers.watchLocked(fmt.Appendf(nil, "asked-%d", i), 0, now).asked = now.Add(time.Duration(i))
	}
	if g.callers.all["a"] != nil || len(g.callers.all) != maxCallers {
		t.Errorf("kept for ever, among %d", len(g.callers.all))
	}
}

// A check takes no seats, but is refused if there are none; and takes nothing then.
func TestCheckLooksAtSeats(t *testing.T) {
	g := newGateway(t, callersYAML)
	s := g.Snapshot()
	ask := func() CheckAnswer {
		return g.Check(s, CheckQuestion{Tokens: 1, Metadata: map[string]string{"tenant": "a", "endpoint": "/"}})
	}
	for range 5 {
		if a := ask(); !a.Allowed {
			t.Fatalf("%+v", a)
		}
	}
	c := request("GET", "/")
	c.fields = map[string]string{"x-tenant": "a"}
	var held []*Exchange
	for range 2 {
		x := g.exchange(c)
		if v := g.admit(x); v.Reason != Pass {
			t.Fatal(v)
		}
		held = append(held, x)
	}
	before := left(t, g, "plan", c)
	if a := ask(); a.Allowed || a.Policy != "seats" || left(t, g, "plan", c) != before {
		t.Errorf("%+v, plan has %d of %d", a, left(t, g, "plan", c), before)
	}
	g.settle(held[0])
	if a := ask(); !a.Allowed {
		t.Errorf("%+v", a)
	}
	g.settle(held[1])
}

// Secret values are never shown, and nobody is found by what is shown of another.
func TestSecretKeysAreHashed(t *testing.T) {
	g := newGateway(t, callersYAML)
	x := g.exchange(request("GET", "/"))
	x.car.(*fakeCarrier).fields = map[string]string{"x-token": "s3cret"}
	g.admit(x)
	g.callers.note(x, 1)
	sum := g.Summary(g.Snapshot())
	if len(sum.Busiest) != 1 || !strings.HasPrefix(sum.Busiest[0].Key, "#") || strings.Contains(fmt.Sprint(sum), "s3cret") {
		t.Errorf("%+v", sum.Busiest)
	}
	alias := sum.Busiest[0].Key
	for _, key := range []string{alias, "s3cret"} {
		u, err := g.Usage(g.Snapshot(), key)
		if err != nil || len(u.Policies) != 1 || u.Policies[0].Policy != "token" || u.Key != alias {
			t.Errorf("%+v %v", u, err)
		}
	}
	if sum := g.Summary(g.Snapshot()); strings.Contains(fmt.Sprint(sum, g.callers.all), "s3cret") || len(g.callers.all) != 1 {
		t.Errorf("%+v", sum)
	}
	if name, n, err := g.Reset(g.Snapshot(), "s3cret"); name != alias || n != 1 || err != nil {
		t.Errorf("%q, %d buckets, %v", name, n, err)
	}
}

// Among many that come once, those who come often are found, and memory stays bounded.
func TestBusiestAreFound(t *testing.T) {
	g := newGateway(t, "routes: [{name: all, respond: {body: ok}}]\ndimensions: [{name: user, from: 'header:x-user'}]\npolicies: [{name: p, dimensions: [user], limit: 1, window: 1h}]\n")
	random := rand.New(rand.NewPCG(1, 2))
	c := request("GET", "/")
	x := g.exchange(c)
	x.route = x.snap.routes[0]
	for i := range 60_000 {
		user := fmt.Sprintf("once-%d", i)
		if n := random.IntN(100); n < 5 {
			user = fmt.Sprintf("often-%d", n)
		}
		c.fields = map[string]string{"x-user": user}
		x.dims.reset()
		x.plan()
		g.callers.note(x, 1)
	}
	var names []string
	for _, b := range g.callers.busiest(5) {
		names = append(names, b.name)
	}
	slices.Sort(names)
	if fmt.Sprint(names) != "[often-0 often-1 often-2 often-3 often-4]" || len(g.callers.all) != maxCallers {
		t.Errorf("%v of %d", names, len(g.callers.all))
	}
}

func TestRates(t *testing.T) {
	g := newGateway(t, callersYAML)
	f := map[string]string{"x-tenant": "a"}
	spend(g, 1, f)
	usage := func() PolicyUsage {
		u, err := g.Usage(g.Snapshot(), "a")
		if err != nil {
			t.Fatal(err)
		}
		return u.Policies[0]
	}
	if u := usage(); u.Rate1s != nil || u.Rate1m != nil {
		t.Errorf("%+v", u)
	}
	w := g.callers.all["a"]
	for _, b := range w.buckets { // the first sample is an hour old
		b.samples[0].at = mono.Now().Add(-time.Hour)
	}
	at := mono.Now()
	for i := range 100 {
		spend(g, min(2, 90-i), f)
		at = at.Add(time.Second)
		g.callers.tick(at)
	}
	if u := usage(); u.Rate1s == nil || u.Rate1s.Allowed != 0 || u.Rate1m == nil || u.Rate1m.Allowed > 2 || u.Allowed != 100 {
		t.Errorf("%+v %+v %+v", u, u.Rate1s, u.Rate1m)
	}
	if n := len(w.buckets[0].samples); n != rateSamples {
		t.Errorf("%d samples", n)
	}
	g.Reset(g.Snapshot(), "a")
	reload(t, g, strings.Replace(callersYAML, "name: plan,", "name: other,", 1))
	if _, ok := g.callers.all["a"]; !ok { // seats are still there
		t.Error("forgotten at a reload")
	}
	reload(t, g, "routes: [{name: all, respond: {body: ok}}]\n")
	if len(g.callers.all) != 0 {
		t.Errorf("%d callers without a policy", len(g.callers.all))
	}
}
