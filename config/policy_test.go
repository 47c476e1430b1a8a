package config

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the machine may have none

	"pgregory.net/rapid"
)

func TestParseAmount(t *testing.T) {
	f := func(text string, want Amount, shown string) {
		t.Helper()
		got, problem := parseAmount(text)
		if problem != "" || got != want || got.String() != shown {
			t.Errorf("%s: got %+v (%s) %s", text, got, got, problem)
		}
	}
	f("1", Amount{Units: 1}, "1")
	f("1000000000", Amount{Units: 1_000_000_000}, "1000000000")
	f("5%", Amount{Share: 0.05}, "5%")
	f("12.50%", Amount{Share: 0.125}, "12.5%")
	f("100%", Amount{Share: 1}, "100%")
	f("0.000000001%", Amount{Share: 1e-11}, "0.000000001%")
	for _, text := range []string{"0%", "0.0000000001%", "101%", "-1%", "5 %", "5%%", "%", "5.5", "", "1e3%"} {
		if got, problem := parseAmount(text); problem == "" {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

func TestParseWindow(t *testing.T) {
	f := func(text string, want Window, shown string) {
		t.Helper()
		got, problem := parseWindow(text)
		if problem != "" || got != want || got.String() != shown {
			t.Errorf("%s: got %+v (%s) %s", text, got, got, problem)
		}
	}
	f("60s", Window{Every: time.Minute}, "1m")
	f("24h", Window{Every: 24 * time.Hour}, "24h")
	for _, period := range []string{"hour", "day", "week", "month"} {
		f(period, Window{Calendar: period}, period)
	}
	for _, text := range []string{"year", "Month", "days", "", "60", "-1s"} {
		if got, problem := parseWindow(text); problem == "" {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

// TestShareIsExact holds shares to rational arithmetic on what is written.
func TestShareIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, digits := rapid.Int64Range(1, maxUnits).Draw(t, "n"), rapid.Int64Range(1, 100_000_000_000).Draw(t, "share") // in 1e-9 %
		a, problem := parseAmount(fmt.Sprintf("%d.%09d%%", digits/1_000_000_000, digits%1_000_000_000))
		if problem != "" {
			t.Fatal(problem)
		}
		exact := new(big.Int).Mul(big.NewInt(n), big.NewInt(digits))
		want := max(exact.Quo(exact, big.NewInt(100_000_000_000)).Int64(), 1)
		if got := a.of(n); got != want {
			t.Fatalf("%v of %d is %d, not %d", a, n, want, got)
		}
	})
	for percent := range int64(100) { // where floating point goes wrong
		a, problem := parseAmount(fmt.Sprintf("%d%%", percent+1))
		for n := int64(100); n < 10_000; n += 100 {
			if got := a.of(n); got != n/100*(percent+1) || problem != "" {
				t.Fatalf("%v of %d is not %d %s", a, n, got, problem)
			}
		}
	}
}

func TestNumbers(t *testing.T) {
	units, share := func(n int64) Amount { return Amount{Units: n} }, func(p Percent) Amount { return Amount{Share: p} }
	p := Policy{Limit: share(0.29), Overrides: []Override{
		{Limit: units(7)}, {Limit: units(7), Burst: share(0.5)}, {Limit: share(0.001), Burst: units(9)}, {Limit: share(0.5)},
	}}
	f := func(override int, parent, want Numbers, relative bool) {
		t.Helper()
		if got := p.Numbers(override, parent); got != want || p.Relative(override) != relative {
			t.Errorf("%s by %d: got %+v %t, want %+v", p.Algorithm, override, got, p.Relative(override), want)
		}
	}
	f(-1, Numbers{100, 200}, Numbers{29, 58}, true)
	f(0, Numbers{100, 200}, Numbers{7, 7}, false)
	f(1, Numbers{100, 200}, Numbers{7, 100}, true)
	f(2, Numbers{100, 200}, Numbers{1, 9}, true)
	f(3, Numbers{1, 1}, Numbers{1, 1}, true)
	f(3, Numbers{}, Numbers{1, 1}, true)
	p.Algorithm = "fixed_window" // its burst is its limit, whatever the parent's
	f(-1, Numbers{100, 200}, Numbers{29, 29}, true)
	f(3, Numbers{100, 5000}, Numbers{50, 50}, true)
	f(1, Numbers{100, 200}, Numbers{7, 7}, false)
	p = Policy{Limit: units(10), Burst: share(0.29)}
	f(-1, Numbers{1, 100}, Numbers{10, 29}, true)
}

// inherited parses policies and returns them by name.
func inherited(t *testing.T, policies string) map[string]*Policy {
	t.Helper()
	c := mustParse(t, "routes: [{name: r, respond: {}}]\ndimensions: [{name: tenant, from: header:x}, {name: user, from: header:y}]\npolicies:\n"+policies)
	all := map[string]*Policy{}
	for i := range c.Policies {
		all[c.Policies[i].Name] = &c.Policies[i]
	}
	return all
}

func TestInheritance(t *testing.T) {
	all := inherited(t, `
  - {name: grandchild, parent: child, limit: 50%, routes: [], when: "", overrides: [{when: user == "", limit: 10%}]}
  - {name: child, parent: root, dimensions: [tenant, user], burst: , mode: ~}
  - {name: root, dimensions: [tenant], limit: 1000, window: 1m, burst: 2000, routes: [r], when: tenant != "x", mode: shadow, priority: high,
     cost: 2, settle: "response.status", action: queue, max_wait: 1s, overrides: [{when: "true", limit: 5}]}
`)
	f := func(name, field string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s of %s: got %v, want %v", field, name, got, want)
		}
	}
	c, g := all["child"], all["grandchild"]
	f("child", "dimensions", c.Dimensions, []string{"tenant", "user"})
	f("child", "limit", c.Limit, "100%")
	f("child", "burst", c.Burst, "100%")
	f("child", "window", c.Window, "1m")
	f("child", "mode", c.Mode, "shadow")
	f("child", "depth", c.Depth, 1)
	f("child", "overrides", len(c.Overrides), 0)
	f("grandchild", "dimensions", g.Dimensions, []string{"tenant", "user"})
	f("grandchild", "limit", g.Limit, "50%")
	f("grandchild", "burst", g.Burst, "50%")
	f("grandchild", "override's burst", g.Overrides[0].Burst, "10%")
	f("grandchild", "routes", g.Routes, []string{})
	f("grandchild", "when", g.When, "")
	f("grandchild", "priority", g.Priority, "high")
	f("grandchild", "cost", g.Cost, "2")
	f("grandchild", "settle", g.Settle, "response.status")
	f("grandchild", "action", g.Action, "queue")
	f("grandchild", "max_wait", g.MaxWait, time.Second)
	f("grandchild", "depth", g.Depth, 2)
	f("root", "depth", all["root"].Depth, 0)
	n := all["root"].Numbers(-1, Numbers{})
	f("grandchild", "numbers", g.Numbers(-1, c.Numbers(-1, n)), Numbers{500, 1000})
}

// TestInheritedOfAnotherAlgorithm: what the parent's algorithm has and the child's does not is dropped, not a fault.
func TestInheritedOfAnotherAlgorithm(t *testing.T) {
	all := inherited(t, `
  - {name: slides, algorithm: sliding_window, limit: 10, window: 1m, granularity: 10, settle: "1", action: queue, max_wait: 1s}
  - {name: seats, parent: slides, algorithm: concurrency, action: reject}
  - {name: bucket, parent: slides, algorithm: token_bucket, limit: 50%}
  - {name: slides-again, parent: bucket, algorithm: sliding_window}
  - {name: month, algorithm: quota, limit: 10, window: month, timezone: Europe/Berlin}
  - {name: open, parent: month, algorithm: concurrency}
  - {name: day, parent: month, window: day}
`)
	seats, bucket, again, open, day := all["seats"], all["bucket"], all["slides-again"], all["open"], all["day"]
	switch {
	case seats.Granularity != 60, seats.Settle != "", seats.MaxWait != 0, seats.Window != Window{Every: time.Second}, seats.Burst != Amount{}:
		t.Errorf("seats: %+v", seats)
	case bucket.Granularity != 60, bucket.MaxWait != time.Second, bucket.Burst != Amount{Share: 0.5}:
		t.Errorf("bucket: %+v", bucket)
	case again.Granularity != 60, again.Burst != Amount{}:
		t.Errorf("slides-again: %+v", again)
	case open.Window != Window{Every: time.Second}, open.Timezone != "UTC":
		t.Errorf("open: %+v", open)
	case day.Timezone != "Europe/Berlin", day.Window != Window{Calendar: "day"}:
		t.Errorf("day: %+v", day)
	}
	if n := bucket.Numbers(-1, all["slides"].Numbers(-1, Numbers{})); n != (Numbers{5, 5}) {
		t.Errorf("bucket allows %+v", n)
	}
}

func TestMergedKeysAreGiven(t *testing.T) {
	all := inherited(t, `
  - {name: root, limit: 10, window: 1m, mode: shadow}
  - &a {name: a, parent: root, mode: enforce, window: 5s}
  - {<<: *a, name: b, window: }
`)
	if b := all["b"]; b.Mode != "enforce" || b.Window.Every != time.Minute || b.Parent != "root" {
		t.Errorf("got %+v", b)
	}
}

// TestVariantsAreCounted counts the limits that a policy may have: its own, and if one is a share, each for each of the parent's.
func TestVariantsAreCounted(t *testing.T) {
	c := mustParse(t, `
policies:
  - {name: a, limit: 10, overrides: [{when: "true", limit: 20}, {when: "true", limit: 30}]}
  - {name: b, parent: a, limit: 50%, overrides: [{when: "true", limit: 1}, {when: "true", limit: 10%}]}
  - {name: c, parent: b, limit: 5, burst: 10%}
  - {name: d, parent: b, limit: 5}
`)
	b := newPolicyBook(c.Policies, len(c.Policies), nil, c.known)
	for i, want := range []struct{ variants, distinct int }{{3, 3}, {9, 7}, {9, 7}, {1, 1}} {
		if got := b.variants(i); got != want.variants || len(b.numbers(i)) != want.distinct {
			t.Errorf("%s: got %d and %v, want %+v", c.Policies[i].Name, got, b.numbers(i), want)
		}
	}
}

func TestView(t *testing.T) {
	all := inherited(t, `
  - {name: root, limit: 10, window: month, algorithm: quota}
  - {name: a, parent: root, limit: 12.5%, window: 90s, algorithm: token_bucket, overrides: [{when: "true", limit: 5}], cost: 5}
`)
	f := func(name, want string) {
		t.Helper()
		got, err := json.Marshal(all[name].View())
		if err != nil || string(got) != want {
			t.Errorf("%v: got\n%s\nwant\n%s", err, got, want)
		}
	}
	f("root", `{"name":"root","dimensions":[],"algorithm":"quota","limit":10,"window":"month","scope":"local","on_outage":"cluster","routes":[],"when":"",`+
		`"mode":"enforce","parent":"","overrides":[],"granularity":60,"priority":"","cost":"1","settle":"","action":"reject","max_wait":"0s","timezone":"UTC"}`)
	f("a", `{"name":"a","dimensions":[],"algorithm":"token_bucket","limit":"12.5%","window":"1m30s","burst":"12.5%","scope":"local","on_outage":"cluster","routes":[],"when":"",`+
		`"mode":"enforce","parent":"root","overrides":[{"when":"true","limit":5,"burst":5}],"granularity":60,"priority":"","cost":"5","settle":"","action":"reject","max_wait":"0s","timezone":"UTC"}`)
	if all["a"].FromAPI() {
		t.Error("a policy of the file came by the API")
	}
}

func TestHashOfPolicies(t *testing.T) {
	hashes := map[string]string{}
	for _, policies := range []string{
		"{name: a, limit: 10}", "{name: a, limit: 11}", "{name: a, limit: 10, burst: 9}", "{name: a, limit: 10, window: 2s}",
		"{name: a, limit: 10, window: day, algorithm: quota}", "{name: a, limit: 10, window: week, algorithm: quota}",
		"{name: a, limit: 10}, {name: b, parent: a}", "{name: a, limit: 10}, {name: b, parent: a, limit: 10%}",
		`{name: a, limit: 10, overrides: [{when: "true", limit: 5}]}`, `{name: a, limit: 10, overrides: [{when: "true", limit: 6}]}`,
	} {
		h := mustParse(t, "policies: ["+policies+"]\n").Hash()
		if other, twice := hashes[h]; twice {
			t.Errorf("%s and %s have the same hash", policies, other)
		}
		hashes[h] = policies
	}
	if mustParse(t, "policies: [{name: a, limit: 10, burst: 10}]\n").Hash() != mustParse(t, "policies: [{limit: 10, name: a, cost: 1}]\n").Hash() {
		t.Error("the same has another hash")
	}
}

func TestClientIPPrefix(t *testing.T) {
	f := func(arg string, v4, v6 int, ok bool) {
		t.Helper()
		if a, b, c := ClientIPPrefix(arg); a != v4 || b != v6 || c != ok {
			t.Errorf("%q: got %d, %d, %t", arg, a, b, c)
		}
	}
	f("24", 24, 64, true)
	f("24,56", 24, 56, true)
	f("0,0", 0, 0, true)
	f("32, 128", 32, 128, true)
	for _, arg := range []string{"", ",", "24,", ",56", "33", "24,129", "-1", "+24", "24.5", "24,56,64", "/24", "999999999999999999999"} {
		f(arg, 0, 0, false)
	}
}

// TestBuiltInKey: key is there without a definition, and a definition replaces it.
func TestBuiltInKey(t *testing.T) {
	const policies = "policies: [{name: p, limit: 1, dimensions: [key], when: 'key != \"\"'}]\n"
	mustParse(t, policies)
	c := mustParse(t, "dimensions: [{name: key, from: header:x-key}]\n"+policies)
	if n := strings.Join(c.known.dimensions.list, " "); n != "ip host path method route key" {
		t.Errorf("known are %s", n)
	}
}

func TestSecretOfTokensIsNeverShown(t *testing.T) {
	c := mustParse(t, "jwt: {secret: 0123456789abcdef0123456789abcdef}\n")
	text, err := json.Marshal(c)
	if err != nil || strings.Contains(string(text), "0123456789abcdef") || !strings.Contains(string(text), `"refresh":"5m","secret":"[redacted]"`) {
		t.Errorf("%v: %s", err, text)
	}
}
