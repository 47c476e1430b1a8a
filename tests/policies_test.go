package tests

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// left is what RateLimit says a policy has left, -1 if it does not name it.
func left(resp *http.Response, policy string) int {
	return number(strings.Join(resp.Header.Values("RateLimit"), ", "), regexp.QuoteMeta(`"`+policy+`"`)+`;r=(\d+)`)
}

// number is the first group of a pattern in text, -1 if it does not match.
func number(text, pattern string) int {
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		return -1
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return -1
	}
	return n
}

// violated is the policy that Weir-Reason names.
func violated(resp *http.Response) string {
	m := regexp.MustCompile(`^limited; policy="(.*)"$`).FindStringSubmatch(resp.Header.Get("Weir-Reason"))
	if m == nil {
		return ""
	}
	return m[1]
}

// answers is a config whose every path is answered by a fixed route of that name, for policies that name one of them.
func answers(routes ...string) string {
	text := base + "listeners: [{name: web, address: \"@web\"}]\nroutes:\n"
	for _, r := range routes {
		text += fmt.Sprintf("  - {name: %s, match: {path: \"/%s\"}, respond: {body: ok}}\n", r, r)
	}
	return text
}

// TestHierarchy charges a user, its tenant and everybody together.
func TestHierarchy(t *testing.T) {
	t.Parallel()
	w := startWeir(t, answers("tree", "deep", "aside")+`
dimensions:
  - {name: tenant, from: "header:x-tenant"}
  - {name: user, from: "header:x-user"}
policies:
  - {name: user-in-tenant, parent: tenant-plan, dimensions: [tenant, user], limit: 25%}
  - {name: tenant-plan, algorithm: fixed_window, dimensions: [tenant], limit: 20, window: 8760h, routes: [tree], overrides: [{when: "tenant == 'acme'", limit: 41}]}
  - {name: aside, parent: tenant-plan, limit: 50%, routes: [aside]}
  - {name: d0, limit: 90, window: 24h, routes: [deep]}
  - {name: d1, parent: d0, limit: 80}
  - {name: d2, parent: d1, algorithm: sliding_window, limit: 70}
  - {name: d3, parent: d2, algorithm: fixed_window, limit: 60}
  - {name: d4, parent: d3, limit: 3, overrides: [{when: "request.method == 'POST'", limit: 50%}]}
  - {name: d5, parent: d4, algorithm: leaky_bucket, limit: 40}
  - {name: d6, parent: d5, algorithm: token_bucket, limit: 39}
  - {name: d7, parent: d6, limit: 38}
  - {name: d8, parent: d7, limit: 37}
`, nil)
	get := func(tenant, user string) *http.Response {
		t.Helper()
		fields := []string{"X-Tenant: " + tenant}
		if user != "" {
			fields = append(fields, "X-User: "+user)
		}
		resp, _ := fetch(t, "GET", w.url("/tree"), "", fields...)
		return resp
	}
	f := func(tenant, user string, status, userLeft, tenantLeft int, by string) {
		t.Helper()
		resp := get(tenant, user)
		if resp.StatusCode != status || left(resp, "user-in-tenant") != userLeft || left(resp, "tenant-plan") != tenantLeft || violated(resp) != by {
			t.Errorf("%s of %s: %d, %v; want %d, %d left of the user's, %d of the tenant's, refused by %q", user, tenant, resp.StatusCode, resp.Header, status, userLeft, tenantLeft, by)
		}
	}
	t.Run("together", func(t *testing.T) {
		for i := range 5 { // 25 % of 20
			f("t", "u1", 200, 4-i, 19-i, "")
		}
		f("t", "u1", 429, 0, 15, "user-in-tenant") // the tenant is not charged
		f("t", "u1", 429, 0, 15, "user-in-tenant")
		for u := range 3 {
			for i := range 5 {
				f("t", fmt.Sprint("v", u), 200, 4-i, 14-5*u-i, "")
			}
		}
		f("t", "u5", 429, 5, 0, "tenant-plan") // the user is not charged
		f("t", "u5", 429, 5, 0, "tenant-plan")
		f("other", "u1", 200, 4, 19, "")
	})
	t.Run("share-of-override", func(t *testing.T) { // 25 % of 41, rounded down
		for i := range 10 {
			f("acme", "u1", 200, 9-i, 40-i, "")
		}
		f("acme", "u1", 429, 0, 31, "user-in-tenant")
	})
	t.Run("without-user", func(t *testing.T) {
		if resp := get("lonely", ""); resp.StatusCode != 200 || left(resp, "tenant-plan") != 19 || left(resp, "user-in-tenant") != -1 {
			t.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
	})
	t.Run("parent-of-another-route", func(t *testing.T) { // it is charged for what it would not apply to itself
		for i := range 11 {
			resp, _ := fetch(t, "GET", w.url("/aside"), "", "X-Tenant: z")
			if (resp.StatusCode == 200) != (i < 10) || left(resp, "aside") != max(0, 9-i) || left(resp, "tenant-plan") != max(10, 19-i) {
				t.Errorf("request %d: %d %v", i, resp.StatusCode, resp.Header)
			}
		}
		f("z", "u", 200, 4, 9, "")
	})
	t.Run("nine-levels", func(t *testing.T) {
		limits := []int{90, 80, 70, 60, 3, 40, 39, 38, 37}
		for i := range 6 {
			resp, _ := fetch(t, "GET", w.url("/deep"), "")
			want, by, spent := 200, "", i+1
			if i >= 3 {
				want, by, spent = 429, "d4", 3
			}
			if resp.StatusCode != want || violated(resp) != by {
				t.Errorf("request %d: %d, refused by %q", i, resp.StatusCode, violated(resp))
			}
			for d, limit := range limits {
				if n := left(resp, fmt.Sprint("d", d)); n != limit-spent {
					t.Errorf("request %d: d%d has %d left, want %d", i, d, n, limit-spent)
				}
			}
		}
		if resp, _ := fetch(t, "POST", w.url("/deep"), "x"); left(resp, "d4") != 29 || left(resp, "d0") != 86 { // 50 % of d3's 60
			t.Errorf("by the override: %v", resp.Header)
		}
	})
}

// TestOverrides checks that the first override that holds counts, each with a bucket of its own.
func TestOverrides(t *testing.T) {
	t.Parallel()
	w := startWeir(t, answers("x")+`
dimensions: [{name: tenant, from: "header:x-tenant"}, {name: plan, from: "header:x-plan"}]
policies:
  - name: by-plan
    dimensions: [tenant]
    limit: 2
    window: 24h
    overrides:
      - {when: "tenant == 'acme' && plan == 'gold'", limit: 9}
      - {when: "plan in ['gold', 'silver']", limit: 5, burst: 7}
      - {when: "request.query['double'] == 'yes'", limit: 4}
`, nil)
	f := func(query, tenant, plan string, burst, limit int) {
		t.Helper()
		fields := []string{"X-Tenant: " + tenant}
		if plan != "" {
			fields = append(fields, "X-Plan: "+plan)
		}
		for i := range burst + 1 {
			resp, _ := fetch(t, "GET", w.url("/x"+query), "", fields...)
			if (resp.StatusCode == 200) != (i < burst) || !strings.HasPrefix(resp.Header.Get("RateLimit-Policy"), fmt.Sprintf(`"by-plan";q=%d;`, limit)) {
				t.Errorf("%s %s %s, request %d: %d %v", query, tenant, plan, i, resp.StatusCode, resp.Header)
			}
		}
	}
	f("", "acme", "gold", 9, 9)
	f("", "acme", "silver", 7, 5)
	f("", "acme", "", 2, 2)
	f("?double=yes", "acme", "", 4, 4)
	f("", "zed", "gold", 7, 5)
	f("", "zed", "bronze", 2, 2)
	if resp, _ := fetch(t, "GET", w.url("/x"), ""); resp.StatusCode != 200 || resp.Header.Get("RateLimit") != "" {
		t.Errorf("without a tenant: %d %v", resp.StatusCode, resp.Header)
	}
}

// TestCost checks costs that are worked out.
func TestCost(t *testing.T) {
	t.Parallel()
	w := startWeir(t, answers("units", "five")+`
policies:
  - {name: units, algorithm: fixed_window, limit: 100, window: 8760h, routes: [units], cost: "int(request.headers['x-units']) * (request.method == 'POST' ? 2 : 1)"}
  - {name: five, algorithm: fixed_window, limit: 12, window: 8760h, routes: [five], cost: "5"}
`, nil)
	f := func(method, path, units string, status, after int) *http.Response {
		t.Helper()
		var fields []string
		if units != "" {
			fields = []string{"X-Units: " + units}
		}
		resp, _ := fetch(t, method, w.url("/"+path), "", fields...)
		if resp.StatusCode != status || left(resp, path) != after {
			t.Errorf("%s %s, %q units: %d, %v; want %d and %d left", method, path, units, resp.StatusCode, resp.Header, status, after)
		}
		return resp
	}
	f("GET", "units", "30", 200, 70)
	f("POST", "units", "30", 200, 10)
	if resp := f("GET", "units", "11", 429, 10); resp.Header.Get("Retry-After") == "" {
		t.Errorf("no Retry-After: %v", resp.Header)
	}
	f("GET", "units", "10", 200, 0)
	f("GET", "units", "0", 200, 0) // costs nothing, so it passes an empty one
	if resp := f("GET", "units", "101", 429, 0); resp.Header.Get("Retry-After") != "" {
		t.Errorf("more than there ever is, and Retry-After: %v", resp.Header)
	}
	f("GET", "five", "", 200, 7)
	f("GET", "five", "", 200, 2)
	f("GET", "five", "", 429, 2)
	if n := w.metric("weir_expression_errors_total"); n != 0 {
		t.Errorf("%v errors of expressions", n)
	}
	for i, units := range []string{"", "many", "-4", "99999999999999999999"} { // what cannot be worked out is one
		resp, _ := fetch(t, "GET", w.url("/units"), "", "X-Units: "+units)
		if resp.StatusCode != 429 || left(resp, "units") != 0 {
			t.Errorf("%q units: %d %v", units, resp.StatusCode, resp.Header)
		}
		if n := w.metric("weir_expression_errors_total"); n != float64(i+1) {
			t.Errorf("after %q units: %v errors of expressions", units, n)
		}
	}
}
