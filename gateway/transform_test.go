package gateway

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"

	"weir/config"
)

func dimNames(names ...string) func(string) int {
	return func(name string) int {
		for i, n := range names {
			if n == name {
				return i
			}
		}
		panic("no dimension " + name)
	}
}

// dimExchange is an exchange whose dimensions have these values; an empty one is absent.
func dimExchange(car carrier, values ...string) *Exchange {
	x := &Exchange{car: car}
	for i, v := range values {
		x.dims.known |= 1 << i
		if v != "" {
			x.dims.has |= 1 << i
			x.dims.values[i] = v
		}
	}
	return x
}

func TestTemplate(t *testing.T) {
	f := func(template, want string) {
		t.Helper()
		c := request("GET", "/a%20b")
		c.query = "q=1&r"
		x := dimExchange(c, "acme", "", "one\r\nX-Evil: two\x00\x7f\tend")
		got := string(compileTemplate(template, dimNames("tenant", "absent", "hostile")).append([]byte(">"), x))
		if got != ">"+want {
			t.Errorf("%q gave %q, want %q", template, got[1:], want)
		}
	}
	f("", "")
	f("plain", "plain")
	f("${tenant}", "acme")
	f("<${tenant}>", "<acme>")
	f("${tenant}${tenant}", "acmeacme")
	f("[${absent}]", "[]")
	f("${hostile}", "oneX-Evil: twoend")
	f("${uri}", "/a%20b?q=1&r")
	f("https://x${uri}#${query}", "https://x/a%20b?q=1&r#q=1&r")
	f("$${tenant}", "${tenant}")
	f("$${${tenant}}", "${acme}")
	f("a$b$", "a$b$")
	f("${", "${")
	f("${tenant", "${tenant")
	f("100$$", "100$$")
}

func TestTemplateWithoutQuery(t *testing.T) {
	x := dimExchange(request("GET", "/a"))
	if got := string(compileTemplate("${uri}|${query}|", dimNames()).append(nil, x)); got != "/a||" {
		t.Errorf("got %q", got)
	}
}

// TestTemplateValuesStayInTheirField: whatever a dimension holds, it is one field value on one line.
func TestTemplateValuesStayInTheirField(t *testing.T) {
	tpl := compileTemplate("a${v}b", dimNames("v"))
	rapid.Check(t, func(t *rapid.T) {
		v := string(rapid.SliceOf(rapid.Byte()).Draw(t, "value"))
		got := string(tpl.append(nil, dimExchange(request("GET", "/"), v)))
		var want []byte
		for _, c := range []byte(v) {
			if c >= ' ' && c != 0x7f {
				want = append(want, c)
			}
		}
		if got != "a"+string(want)+"b" {
			t.Fatalf("%q became %q", v, got)
		}
	})
}

func TestTransform(t *testing.T) {
	tr := compileTransform(&config.Transform{
		Remove: []string{"Server", "X-Gone"},
		Set:    []config.HeaderValue{{Name: "X-Tenant", Value: "${tenant}"}},
		Add:    []config.HeaderValue{{Name: "Via", Value: "1.1 weir"}, {Name: "via", Value: "${tenant}"}},
	}, dimNames("tenant"))
	got := string(tr.append(nil, dimExchange(request("GET", "/"), "acme")))
	if want := "X-Tenant: acme\r\nVia: 1.1 weir\r\nvia: acme\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	f := func(name string, want bool) {
		t.Helper()
		if got := tr.drops([]byte(name)); got != want {
			t.Errorf("drops(%q) = %v", name, got)
		}
	}
	f("server", true)
	f("SERVER", true)
	f("x-gone", true)
	f("X-TENANT", true) // set replaces
	f("Via", false)     // add does not
	f("Serve", false)
	f("Serverx", false)
	f("", false)
	var none transform
	if none.drops([]byte("server")) || len(none.append(nil, nil)) != 0 {
		t.Error("a transform that says nothing does something")
	}
}

func TestAppendPath(t *testing.T) {
	f := func(r rewrite, path, want string) {
		t.Helper()
		if got := string(r.appendPath([]byte("GET "), path)); got != "GET "+want {
			t.Errorf("%+v of %q gave %q, want %q", r, path, got[4:], want)
		}
	}
	f(rewrite{}, "/a%20b", "/a%20b")
	f(rewrite{host: "other"}, "/a", "/a")
	f(rewrite{strip: "/v1"}, "/v1/users", "/users")
	f(rewrite{strip: "/v1"}, "/v1", "/")
	f(rewrite{strip: "/v1/"}, "/v1/users", "/users")
	f(rewrite{strip: "/v1"}, "/v2/users", "/v2/users")
	f(rewrite{prefix: "/api"}, "/users", "/api/users")
	f(rewrite{prefix: "/api/"}, "/users", "/api/users")
	f(rewrite{prefix: "/"}, "/users", "/users")
	f(rewrite{strip: "/v1", prefix: "/api"}, "/v1/users", "/api/users")
	f(rewrite{regex: regexp.MustCompile(`^/u/(\d+)$`), to: "/users?id=$1"}, "/u/7", "/users%3Fid=7")
	f(rewrite{regex: regexp.MustCompile(`^/u/(\d+)$`), to: "/users/${1}/x"}, "/u/7", "/users/7/x")
	f(rewrite{regex: regexp.MustCompile(`^/u/`), to: ""}, "/u/7", "/7")
	f(rewrite{regex: regexp.MustCompile(`^.*$`), to: ""}, "/u/7", "/")
	f(rewrite{regex: regexp.MustCompile(`b`), to: "\r\nHost: evil #é"}, "/b", "/%0D%0AHost:%20evil%20%23%C3%A9")
	f(rewrite{strip: "/v1", prefix: "/api", regex: regexp.MustCompile(`/api/(.*)`), to: "/$1/end"}, "/v1/x", "/x/end")
}

// TestRewrittenPathsStayPaths: no rewriting makes more of a request line than its path.
func TestRewrittenPathsStayPaths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rewrite{
			strip:  rapid.StringMatching(`(/[a-c]{0,2}){0,2}`).Draw(t, "strip"),
			prefix: rapid.StringMatching(`(/[a-c]{0,2}){0,2}`).Draw(t, "prefix"),
		}
		if rapid.Bool().Draw(t, "regex") {
			r.regex = regexp.MustCompile(rapid.SampledFrom([]string{`a`, `^/`, `.*`, `(b)(c)?`, `$`}).Draw(t, "pattern"))
			r.to = string(rapid.SliceOf(rapid.Byte()).Draw(t, "to"))
		}
		got := string(r.appendPath(nil, rapid.StringMatching(`(/[a-c]{1,3}){0,3}/?`).Filter(func(s string) bool { return s != "" }).Draw(t, "path")))
		if got == "" || got[0] != '/' {
			t.Fatalf("%q does not begin with a slash", got)
		}
		for i := range len(got) {
			if c := got[i]; c <= ' ' || c >= 0x7f || c == '?' || c == '#' {
				t.Fatalf("byte %#x in %q", c, got)
			}
		}
	})
}
