package expr

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestImplies(t *testing.T) {
	e := newTestEnv(t)
	f := func(src, name string, exact bool, values ...string) {
		t.Helper()
		p, err := e.Compile(src, Bool)
		if err != nil {
			t.Fatal(err)
		}
		eq, ok := p.Implies()
		if ok != (name != "") || eq.Name != name || !slices.Equal(eq.Values, values) || p.Exact() != exact {
			t.Errorf("%s implies %+v, %v, exactly: %v; want %s in %q, %v", src, eq, ok, p.Exact(), name, values, exact)
		}
	}
	const rest = ` && request.headers["x"] == "1"`
	f(`tenant == "acme"`, "tenant", true, "acme")
	f(`"acme" == tenant`, "tenant", true, "acme")
	f(`((.tenant == ("acme")))`, "tenant", true, "acme")
	f(`tenant in ["a", "b", "a"]`, "tenant", true, "a", "b")
	f(`request.method == "GET"`, "request.method", true, "GET")
	f(`request.host in ["a.example"]`, "request.host", true, "a.example")
	f(`request.path == "/a"`, "request.path", true, "/a")
	f(`tenant == "acme"`+rest, "tenant", false, "acme")
	f(`request.headers["x"] == "1" && tenant == "acme"`, "tenant", false, "acme")
	f(`true && (size(user_id) > 1 && (user_id != "" && "b" == user_id)) && tenant == "acme"`, "user_id", false, "b")
	f(`tenant == "acme" && user_id == "b"`, "tenant", false, "acme")
	f(`tenant == "acme" && true`, "tenant", false, "acme")

	// "" is also what a request has that has no such dimension.
	f(`tenant == ""`, "", false)
	f(`tenant in ["a", ""]`, "", false)
	f(`tenant == "" && request.method == "GET"`, "request.method", false, "GET")

	f(`true`, "", false)
	f(`tenant != "a"`, "", false)
	f(`!(tenant == "a")`, "", false)
	f(`!(tenant != "a")`, "", false)
	f(`tenant == "a" || tenant == "b"`, "", false)
	f(`(tenant == "a" || true)`+rest, "", false)
	f(`tenant == "a" ? true : false`, "", false)
	f(`["a"].exists(tenant, tenant == "a")`, "", false)
	f(`["a"].all(x, tenant == "a" && x == "a")`, "", false)
	f(`tenant == user_id`, "", false)
	f(`"a" == "a"`, "", false)
	f(`tenant in []`, "", false)
	f(`tenant in [user_id, "a"]`, "", false)
	f(`tenant in [?optional.of("a")]`, "", false)
	f(`tenant in {"a": 1}`, "", false)
	f(`"a" in [tenant]`, "", false)
	f(`dyn(tenant) == "a"`, "", false)
	f(`tenant + "" == "a"`, "", false)
	f(`request.headers["a"] == "a"`, "", false)
	f(`request.query.a == "a"`, "", false)

	// The meter may end what stands before, and its error is the condition's.
	const dear = `request.path.split("/").exists(s, s.trim() == "17" || s.lowerAscii().trim().reverse() == "71")`
	f(dear+` && tenant == "acme"`, "", false)
	f(`tenant == "acme" && `+dear, "tenant", false, "acme")
	f(`(tenant == "acme" && user_id == "") && `+dear, "tenant", false, "acme")

	p, err := e.Compile(`tenant == "a" ? "a" : "b"`, String)
	if err != nil {
		t.Fatal(err)
	}
	if eq, ok := p.Implies(); ok || p.Exact() {
		t.Error("what is no condition implies", eq)
	}
}

// checkImplied holds p against what it says of itself: where the equality does not hold, nor does the condition, and it
// has no error; and if it is exact, the condition holds where the equality does.
func checkImplied(t interface{ Fatalf(string, ...any) }, p *Program, r *request) (implied, differs bool) {
	eq, ok := p.Implies()
	if !ok {
		if p.Exact() {
			t.Fatalf("%s is exact, but implies nothing", p.Source())
		}
		return false, false
	}
	var v string
	switch eq.Name {
	case varMethod:
		v = r.method
	case varHost:
		v = r.host
	case varPath:
		v = r.path
	default:
		v, _ = r.Dimension(p.env.dims[eq.Name])
	}
	if len(v) > MaxValue {
		return true, false
	}
	holds := slices.Contains(eq.Values, v)
	got, err := p.Bool(r)
	if !holds && (got || err != nil) {
		t.Fatalf("%s = %v, %v, though %s is %q", p.Source(), got, err, eq.Name, v)
	}
	if p.Exact() && (got != holds || err != nil) {
		t.Fatalf("%s = %v, %v, though it is exact and %s is %q", p.Source(), got, err, eq.Name, v)
	}
	return true, !holds
}

func drawCondition(t *rapid.T, depth int) string {
	name := rapid.SampledFrom([]string{`tenant`, `user_id`, `request.method`, `request.host`, `request.path`})
	literal := rapid.SampledFrom([]string{`"a"`, `"b"`, `""`, `"/1"`})
	if depth == 0 {
		a, v, w := name.Draw(t, "name"), literal.Draw(t, "value"), literal.Draw(t, "value")
		return rapid.SampledFrom([]string{
			a + " == " + v, v + " == " + a, a + " in [" + v + ", " + w + "]", a + " != " + v, a + " == " + name.Draw(t, "name"),
			a + ".startsWith(" + v + ")", `true`, `false`,
			`request.headers["x-a"] == ` + v, `request.query.q == ` + v, `int(` + a + `) > 1`, `1 / size(` + a + `) == 1`, // these may be errors
			a + `.split("/").exists(s, s.trim() == ` + v + ` || s.lowerAscii().trim().reverse() == ` + w + `)`, // this one is metered
		}).Draw(t, "leaf")
	}
	p, q := drawCondition(t, depth-1), drawCondition(t, rapid.IntRange(0, depth-1).Draw(t, "depth"))
	return rapid.SampledFrom([]string{
		"(" + p + ") && (" + q + ")", "(" + q + ") && (" + p + ")", "(" + p + ") && (" + q + ") && " + name.Draw(t, "name") + ` == "a"`,
		"(" + p + ") || (" + q + ")", "!(" + p + ")", "(" + p + ") ? (" + q + ") : (" + p + ")", `["a", "b"].exists(tenant, ` + p + ")",
	}).Draw(t, "condition")
}

// Conditions of every shape, over requests that lack things, and over some for which the meter ends the evaluation.
func TestImpliesHolds(t *testing.T) {
	e := newTestEnv(t)
	implied, differs, exact := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p, err := e.Compile(drawCondition(t, rapid.IntRange(0, 3).Draw(t, "depth")), Bool)
		if err != nil {
			if !strings.Contains(err.Error(), "units on a long request") {
				t.Fatal(err)
			}
			return
		}
		value := rapid.SampledFrom([]string{"", "a", "b", "/1", "1", strings.Repeat("/", 16_000), strings.Repeat("a", MaxValue+1)})
		for range 5 {
			r := &request{
				method: value.Draw(t, "method"), host: value.Draw(t, "host"), path: value.Draw(t, "path"),
				dims: []string{value.Draw(t, "tenant"), value.Draw(t, "user")}, headers: map[string]string{}, query: map[string]string{},
			}
			if rapid.Bool().Draw(t, "header") {
				r.headers["x-a"] = value.Draw(t, "header")
			}
			i, d := checkImplied(t, p, r)
			if i {
				implied++
			}
			if d {
				differs++
			}
			if p.Exact() {
				exact++
			}
		}
	})
	if implied == 0 || differs == 0 || exact == 0 {
		t.Errorf("the draw is lopsided: %d implied, %d of them not held, %d exact", implied, differs, exact)
	}
}
