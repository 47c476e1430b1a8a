package expr

import (
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"pgregory.net/rapid"
)

// checkEstimate holds the static worst case against the meter: a program that is never to pass a limit runs without
// one, so what it costs must stay below the estimate.
func checkEstimate(t interface{ Fatalf(string, ...any) }, e *Env, src string, r *request) {
	checked, issues := e.cel.Compile(src)
	if issues.Err() != nil {
		t.Fatalf("%s: %v", src, issues.Err())
	}
	estimate, err := e.cel.EstimateCost(checked, sizes{checked})
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	metered, err := e.cel.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostTracking(nil), cel.CostLimit(10*maxCost))
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	in := newInput()
	in.env, in.request = e, r
	_, details, _ := metered.Eval(in)
	if cost := details.ActualCost(); *cost > estimate.Max {
		t.Fatalf("%s cost %d, more than the estimate of %d", src, *cost, estimate.Max)
	}
}

func drawBool(t *rapid.T, depth int) string {
	if depth == 0 {
		return rapid.SampledFrom([]string{`true`, `tenant == ""`, `"x-a" in request.headers`, `request.path.startsWith("/v1")`}).Draw(t, "bool")
	}
	a, b := drawString(t, depth-1), drawString(t, depth-1)
	p, q := drawBool(t, depth-1), drawBool(t, depth-1)
	return rapid.SampledFrom([]string{
		a + " == " + b, a + " < " + b, a + " in [" + b + `, "x"]`, a + ".contains(" + b + ")", a + `.matches("(a|b)+/?x$")`,
		"(" + p + " && " + q + ")", "(" + p + " || " + q + ")", "!(" + p + ")", "(" + p + " ? " + q + " : " + p + ")",
		"[" + a + ", " + b + "].exists(x, x == " + a + ")", a + `.split("/").all(x, ` + p + ")", "size(" + a + ") > 3",
		a + " in request.query", a + ".indexOf(" + b + ") > 1",
	}).Draw(t, "bool")
}

func drawString(t *rapid.T, depth int) string {
	if depth == 0 {
		return rapid.SampledFrom([]string{`tenant`, `user_id`, `request.path`, `request.method`, `request.headers["x-a"]`, `request.query[?"q"].orValue("a")`, `"a"`, `"/"`}).Draw(t, "string")
	}
	a, b, p := drawString(t, depth-1), drawString(t, depth-1), drawBool(t, depth-1)
	return rapid.SampledFrom([]string{
		"(" + a + " + " + b + ")", a + ".lowerAscii()", a + ".trim()", a + ".reverse()", a + `.replace("a", "bcd")`, a + `.split("/")[0]`,
		a + `.split("a").filter(x, x != "")[0]`, "(" + p + " ? " + a + " : " + b + ")", "request.headers[" + a + "]", a + ".substring(1)", "string(size(" + a + "))",
		"[" + a + ", " + b + "].map(x, x + x)[1]", "string(bytes(" + a + "))", "strings.quote(" + a + ")", "{" + a + ": " + b + "}[" + a + "]",
	}).Draw(t, "string")
}

// Expressions of every shape, over requests as long as they may be.
func TestEstimateHolds(t *testing.T) {
	e := newTestEnv(t)
	unmetered, metered, refused := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		src := drawBool(t, rapid.IntRange(1, 3).Draw(t, "depth"))
		long := func(label string) string {
			unit := rapid.SampledFrom([]string{"a", "/", "a/", "/v1", "é", "\"", "\xff"}).Draw(t, label)
			return strings.Repeat(unit, rapid.SampledFrom([]int{0, 1, 10, 1000, MaxValue / len(unit)}).Draw(t, label))
		}
		r := newRequest()
		r.path, r.headers["x-a"], r.query["q"], r.dims = long("path"), long("header"), long("query"), []string{long("tenant"), long("user")}
		p, err := e.Compile(src, Bool)
		if err != nil {
			if !strings.Contains(err.Error(), "units on a long request") {
				t.Fatalf("%s: %v", src, err)
			}
			refused++
			return
		}
		if _, err := p.Bool(r); err != nil && strings.Contains(err.Error(), "internal error") {
			t.Fatalf("%s: %v", src, err)
		}
		if p.metered {
			metered++
		} else {
			unmetered++
		}
		checkEstimate(t, e, src, r)
	})
	if unmetered == 0 || metered == 0 || refused > unmetered+metered {
		t.Errorf("the draw is lopsided: %d without the meter, %d with it, %d refused", unmetered, metered, refused)
	}
}
