package route

import (
	"errors"
	"strings"
	"testing"
)

func mustCompile(t testing.TB, rules ...Rule) *Table {
	t.Helper()
	table, err := Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestMatchPath(t *testing.T) {
	f := func(pattern, path string, want bool) {
		t.Helper()
		table, h := mustCompile(t, Rule{Path: pattern}), &head{method: "GET", host: "a", path: path}
		if got := table.Match(h) == 0; got != want {
			t.Errorf("%s on %s: %v", pattern, path, got)
		}
		if steps := table.Explain(h); (len(steps) == 1) != want {
			t.Errorf("%s on %s: explained as %v", pattern, path, steps)
		}
	}
	f("", "/", true)
	f("", "/a/b", true)
	f("", "*", true)
	f("/*", "/a", true)
	f("/*", "*", true)
	f("/", "/", true)
	f("/", "/a", false)
	f("/", "*", false)
	f("/a", "/a", true)
	f("/a", "/A", false)
	f("/a", "/a/", false)
	f("/a/", "/a/", true)
	f("/a/", "/a", false)
	f("/a/*", "/a", true)
	f("/a/*", "/a/", true)
	f("/a/*", "/a/b/c", true)
	f("/a/*", "/ab", false)
	f("/a/*", "/", false)
	f("/u/:id", "/u/17", true)
	f("/u/:id", "/u/", false)
	f("/u/:id", "/u", false)
	f("/u/:id", "/u/17/x", false)
	f("/u/:id/*", "/u/17", true)
	f("/u/:id/*", "/u/17/x/y", true)
	f("/u/:id/*", "/u", false)
	f("/u/:id/o/:n", "/u/17/o/4", true)
	f("/u/:id/o/:n", "/u/17/p/4", false)
	f("~^/v[12]/", "/v2/x", true)
	f("~^/v[12]/", "/v3/x", false)
	f("~/x$", "/a/b/x", true)
	f("~^/a/b/[0-9]+$", "/a/b/17", true)
	f("~^/a/b/[0-9]+$", "/a/b/17/", false)
	f("~^/a/b/[0-9]*$", "/a/b/", true)
	f("~^/a/b", "/a/bc", true)
	// A reserved character and its escape are one; others are two.
	f("/@me", "/%40me", true)
	f("/%40me", "/@me", true)
	f("/x:batch/*", "/x%3Abatch/y", true)
	f("~^/@", "/%40me", true)
	f("/a;b", "/a%3Bb", true)
	f("/%3Ax", "/:x", true)
	f("/u/:id", "/u/%40", true)
	f("/a%20b", "/a%20b", true)
	f("/a%25", "/a%2540", false)
}

// However a client writes a path, it gets the route of the path that is meant.
func TestNoRouteIsDodgedBySpelling(t *testing.T) {
	table := mustCompile(t, Rule{Path: "/admin/*"}, Rule{Path: "/users/@me"}, Rule{Path: "/*"})
	f := func(raw string, want int) {
		t.Helper()
		path, err := Normalize(nil, []byte(raw))
		if err != nil {
			return // refused: not dodged
		}
		if got := table.Match(&head{method: "GET", path: string(path)}); got != want {
			t.Errorf("%s → %s: rule %d, want %d", raw, path, got, want)
		}
	}
	for _, raw := range []string{"/admin", "/admin/", "/admin/x", "//admin/x", "/./admin/x", "/x/../admin/x", "/%61dmin/x", "/%61%64%6D%69%6e/x",
		"/admin//x", "/admin/./x", "/x/%2e%2e/admin", "/x/..//admin", "/x//../admin", "/x/..;/admin", "/x/..%2fadmin", `/x\..\admin`,
		"/admin%00", "/admin%2fx", "/../admin", "/x/.%2E/admin/", "/admin/%C3%A9", "/admin/%c3%a9"} {
		f(raw, 0)
	}
	for _, raw := range []string{"/users/@me", "/users/%40me", "/users//%40%6de", "/users/x/../@me", "/users/%40%6D%65"} {
		f(raw, 1)
	}
	f("/Admin", 2)
	f("/admin%25", 2)
}

func TestMatchHost(t *testing.T) {
	f := func(pattern, host string, want bool) {
		t.Helper()
		table, h := mustCompile(t, Rule{Hosts: []string{pattern}}), &head{method: "GET", host: host, path: "/"}
		if got := table.Match(h) == 0; got != want {
			t.Errorf("%s on %s: %v", pattern, host, got)
		}
		if steps := table.Explain(h); (len(steps) == 1) != want {
			t.Errorf("%s on %s: explained as %v", pattern, host, steps)
		}
	}
	f("a.example", "a.example", true)
	f("A.Example", "a.example", true)
	f("a.example", "a.example.", true)
	f("a.example", "b.a.example", false)
	f("a.example", "", false)
	f("*.example", "a.example", true)
	f("*.example", "a.b.c.example", true)
	f("*.example", "a.example.", true)
	f("*.example", "example", false)
	f("*.example", ".example", false)
	f("*.example", "aexample", false)
	f("*.b.example", "a.c.example", false)
	f("[2001:DB8::1]", "[2001:db8::1]", true)
}

func TestMatchTheRest(t *testing.T) {
	f := func(r Rule, h *head, why string) {
		t.Helper()
		h.path = "/"
		table := mustCompile(t, r)
		if got := table.Match(h) == 0; got != (why == "") {
			t.Errorf("%+v on %+v: %v", r, h, got)
		}
		if steps := table.Explain(h); len(steps) != 1 || steps[0] != (Step{0, why == "", why}) {
			t.Errorf("%+v on %+v: explained as %+v", r, h, steps)
		}
	}
	get := Rule{Methods: []string{"GET"}}
	f(get, &head{method: "GET"}, "")
	f(get, &head{method: "HEAD"}, "")
	f(get, &head{method: "POST"}, `method "POST" is not one of GET, HEAD`)
	f(Rule{Methods: []string{"HEAD"}}, &head{method: "GET"}, `method "GET" is not one of HEAD`)
	f(Rule{Methods: []string{"PURGE", "PUT"}}, &head{method: "PUT"}, "")

	x := func(v string) *head {
		return &head{headers: map[string]string{"x-a": v}, query: map[string]string{"q": v}}
	}
	f(Rule{Headers: []FieldMatch{{Name: "X-A"}}}, x(""), "")
	f(Rule{Headers: []FieldMatch{{Name: "x-b"}}}, x(""), "header x-b is missing")
	f(Rule{Headers: []FieldMatch{{Name: "x-a", Exact: true, Value: "1"}}}, x("1"), "")
	f(Rule{Headers: []FieldMatch{{Name: "x-a", Exact: true, Value: "1"}}}, x("11"), `header x-a is not "1"`)
	f(Rule{Headers: []FieldMatch{{Name: "x-a", Exact: true}}}, x("1"), `header x-a is not ""`)
	f(Rule{Headers: []FieldMatch{{Name: "x-a", Regex: "[0-9]{2}"}}}, x("a42b"), "")
	f(Rule{Headers: []FieldMatch{{Name: "x-a", Regex: "^[0-9]{2}"}}}, x("a42b"), `header x-a does not match "^[0-9]{2}"`)
	f(Rule{Headers: []FieldMatch{{Name: "x-a"}, {Name: "x-b"}}}, x(""), "header x-b is missing")
	f(Rule{Query: []FieldMatch{{Name: "q", Exact: true, Value: "a b"}}}, x("a b"), "")
	f(Rule{Query: []FieldMatch{{Name: "Q"}}}, x(""), "query Q is missing")
	f(Rule{When: func(h Head) bool { return h.Method() == "X" }}, &head{method: "X"}, "")
	f(Rule{When: func(h Head) bool { return h.Method() == "X" }}, &head{method: "Y"}, "when does not hold")
}

func TestFirstMatchWins(t *testing.T) {
	table := mustCompile(t,
		Rule{Hosts: []string{"*.example"}, Path: "/v1/*", Methods: []string{"POST"}},
		Rule{Path: "/v1/:x", Headers: []FieldMatch{{Name: "x-beta"}}},
		Rule{Hosts: []string{"api.example"}, Path: "/v1/users"},
		Rule{Path: "~^/v1/u"},
		Rule{Path: "/v1/*"},
	)
	f := func(h *head, want int) {
		t.Helper()
		if got := table.Match(h); got != want {
			t.Errorf("%+v: rule %d, want %d", h, got, want)
		}
	}
	beta := map[string]string{"x-beta": ""}
	f(&head{method: "POST", host: "api.example", path: "/v1/users", headers: beta}, 0)
	f(&head{method: "GET", host: "api.example", path: "/v1/users", headers: beta}, 1)
	f(&head{method: "GET", host: "api.example", path: "/v1/users"}, 2)
	f(&head{method: "GET", host: "b.example", path: "/v1/users"}, 3)
	f(&head{method: "GET", host: "api.example", path: "/v1/x"}, 4)
	f(&head{method: "GET", host: "api.example", path: "/v2"}, -1)
	if got := mustCompile(t).Match(&head{path: "/"}); got != -1 {
		t.Errorf("an empty table matches %d", got)
	}
	steps := table.Explain(&head{method: "GET", host: "api.example", path: "/v1/users"})
	want := []Step{{0, false, `method "GET" is not one of POST`}, {1, false, "header x-beta is missing"}, {2, true, ""}}
	if len(steps) != 3 || steps[0] != want[0] || steps[1] != want[1] || steps[2] != want[2] {
		t.Errorf("explained as %+v", steps)
	}
}

func TestCompileReportsEveryFault(t *testing.T) {
	_, err := Compile([]Rule{
		{Hosts: []string{"a.b", "a.b:80"}, Path: "a", Methods: []string{"GET", "get", "", "a b"}},
		{Path: "/fine"},
		{
			Headers: []FieldMatch{{Name: "a b"}, {}, {Name: "x", Regex: "["}, {Name: "x", Regex: "a", Exact: true}, {Name: "x", Value: "a"}},
			Query:   []FieldMatch{{Name: "a b"}, {}, {Name: "q", Regex: "("}},
		},
	})
	var got []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		got = append(got, strings.Join(strings.SplitN(line, ": ", 3)[:2], " "))
	}
	want := []string{
		"rule 0 hosts[1]", "rule 0 path", "rule 0 methods[1]", "rule 0 methods[2]", "rule 0 methods[3]",
		"rule 2 headers[0].name", "rule 2 headers[1].name", "rule 2 headers[2].regex", "rule 2 headers[3].regex", "rule 2 headers[4].value",
		"rule 2 query[1].name", "rule 2 query[2].regex",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var first *RuleError
	if !errors.As(err, &first) || first.Rule != 0 || first.Field != "hosts[1]" || !strings.Contains(first.Err.Error(), "without port") {
		t.Errorf("first is %+v", first)
	}
}
