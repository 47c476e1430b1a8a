package expr

import (
	"slices"
	"strings"
	"testing"
)

// request is a Request of fixed strings. Dimensions that are "" are absent.
type request struct {
	method, host, path string
	headers, query     map[string]string
	dims               []string
	asked              []string // which header names were asked for
}

func (r *request) Method() string { return r.method }
func (r *request) Host() string   { return r.host }
func (r *request) Path() string   { return r.path }
func (r *request) Header(name string) (string, bool) {
	r.asked = append(r.asked, name)
	v, ok := r.headers[name]
	return v, ok
}
func (r *request) Query(name string) (string, bool) { v, ok := r.query[name]; return v, ok }
func (r *request) Dimension(i int) (string, bool)   { return r.dims[i], r.dims[i] != "" }

func newRequest() *request {
	return &request{
		method: "GET", host: "api.example.com", path: "/v1/users/17",
		headers: map[string]string{"x-a": "1", "x-empty": ""},
		query:   map[string]string{"page": "2", "Page": "3"},
		dims:    []string{"acme", ""},
	}
}

func newTestEnv(t testing.TB) *Env {
	t.Helper()
	e, err := NewEnv([]string{"tenant", "user_id"})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestBool(t *testing.T) {
	e := newTestEnv(t)
	f := func(src string, want bool) {
		t.Helper()
		p, err := e.Compile(src, Bool)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			return
		}
		if got, err := p.Bool(newRequest()); err != nil || got != want {
			t.Errorf("%s = %v, %v, want %v", src, got, err, want)
		}
	}
	f(`true`, true)
	f(`request.method == "GET"`, true)
	f(`request.method != "GET"`, false)
	f(`request.host.endsWith(".example.com")`, true)
	f(`request.path.startsWith("/v1/") && !request.path.contains("admin")`, true)
	f(`request.path.matches("^/v1/users/[0-9]+$")`, true)
	f(`request.path.matches("users/[a-z]+$")`, false)
	f(`request.headers["x-a"] == "1"`, true)
	f(`request.headers["X-A"] == "1"`, true)
	f(`"X-a" in request.headers`, true)
	f(`"x-b" in request.headers`, false)
	f(`"x-empty" in request.headers && request.headers["x-empty"] == ""`, true)
	f(`has(request.query.page)`, true)
	f(`has(request.query.pages)`, false)
	f(`request.query.page == "2"`, true)
	f(`request.query["Page"] == "3"`, true)
	f(`"PAGE" in request.query`, false)
	f(`int(request.query.page) > 1`, true)
	f(`request.headers[?"x-b"].orValue("none") == "none"`, true)
	f(`request.headers.?foo.hasValue()`, false)
	f(`tenant == "acme"`, true)
	f(`user_id == ""`, true)
	f(`tenant in ["acme", "initech"]`, true)
	f(`tenant.upperAscii() == "ACME" && size(tenant) == 4`, true)
	f(`request.path.split("/")[2] == "users"`, true)
	f(`request.path.split("/").exists(s, s == "17")`, true)
	f(`["x-a", "x-b"].exists(k, k in request.headers)`, true)
	f(`["a"].exists(tenant, tenant == "a")`, true)
	f(`("n" + string(size(tenant))).contains("4")`, true)
	f(`request.path.replace("/", "--") == "--v1--users--17"`, true)
	f(`"gzip, br".split(",").exists(x, x.trim() == "br")`, true)
	f(`request.headers["x-a"].split(",").exists(x, x.trim().matches("^[0-9]$"))`, true)
	// An error on one side of || does not spoil the other.
	f(`request.headers["x-b"] == "1" || tenant == "acme"`, true)
	f(`request.headers["x-b"] == "1" && tenant == "x"`, false)
}

func TestStringAndInt(t *testing.T) {
	e := newTestEnv(t)
	p, err := e.Compile(`tenant + ":" + request.path.split("/")[1]`, String)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.String(newRequest()); got != "acme:v1" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	p, err = e.Compile(`request.method == "GET" ? 1 : size(request.path)`, Int)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Int(newRequest()); got != 1 || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
	r := newRequest()
	r.method = "POST"
	if got, err := p.Int(r); got != 12 || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
}

func TestCompileErrors(t *testing.T) {
	e := newTestEnv(t)
	f := func(src string, k Kind, want string) {
		t.Helper()
		_, err := e.Compile(src, k)
		if err == nil {
			t.Errorf("%s: compiled, want %q", src, want)
			return
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s:\n got %q\nwant %q in one line", src, err, want)
		}
	}
	f("", Bool, `the expression is empty: write one that gives a bool, such as request.method != "GET"`)
	f(" \n", Int, "the expression is empty")
	f(`tenant`, Bool, `column 1: the expression gives a string, but a bool is needed here`)
	f(`tenant == "x"`, String, `column 1: the expression gives a bool, but a string is needed here`)
	f(`1.5`, Int, `gives a double, but a int`)
	f(`dyn(true)`, Bool, `gives a dyn`)
	f(`tennant == "a"`, Bool, `column 1: nothing is called "tennant": known are request.method, request.host, request.path, request.headers, request.query, tenant, user_id`)
	f(`request.body == "a"`, Bool, `nothing is called "request.body"`)
	f(`true && foo()`, Bool, `column 12: nothing is called "foo"`)
	f("true &&\n  foo", Bool, `line 2, column 3: nothing is called "foo"`)
	f(`tenant = "a"`, Bool, `column 8: a single "=" means nothing: write "==" to compare`)
	f(`tenant == `, Bool, `syntax error`)
	f(`1 == "a"`, Bool, `column 3: found no matching overload for '_==_' applied to '(int, string)'; compare and combine values of the same type`)
	f(`tenant.foo == "a"`, Bool, `does not support field selection; use it as it is`)
	f(`size(request.headers) == 1`, Bool, `request.headers can only be asked by name: write request.headers["name"], or "name" in request.headers`)
	f(`request.query.all(k, k == "a")`, Bool, `request.query can only be asked by name`)
	f(`request.headers == request.query`, Bool, `can only be asked by name`)
	f(`request.headers in [request.query]`, Bool, `can only be asked by name`)
	f(`[request.headers].exists(h, size(h) == 0)`, Bool, `can only be asked by name`)
	f(`(true ? request.headers : request.query)["a"] == ""`, Bool, `can only be asked by name`)
	f(`request.path.matches("^/v1/[")`, Bool, `column 22: invalid matches argument`)
	f(`request.path.matches(tenant)`, Bool, `column 22: a regular expression must be a literal string`)
	f(`matches(request.path, tenant + "a")`, Bool, `a regular expression must be a literal string`)
	f(`duration("x") > duration("1s")`, Bool, `column 10: invalid duration argument`)
	f(`request.path.split("/").exists(a, request.path.split("/").exists(b, a == b))`, Bool, `more than 10000000000: avoid loops within loops`)
	f(`request.path.replace("/", tenant) == ""`, Bool, `column 27: a replacement must be a literal string of at most 32 bytes`)
	f(`request.path.replace("/", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1) == ""`, Bool, `a replacement must be a literal`)
	f(`request.path.split("/").map(x, request.path).join("") == ""`, Bool, `join() is not available, as its result can be very long: put strings together with +`)
	f(`["a"].join() == ""`, Bool, `join() is not available`)
	f(`"%s".format([tenant]) == ""`, Bool, `format() is not available`)
	f(`request.headers in [{"a": "b"}]`, Bool, `can only be asked by name`)
	f(strings.Repeat("(", 150)+"true"+strings.Repeat(")", 150), Bool, "recursion limit")
	f(strings.Repeat("true && ", 2000)+"true", Bool, "size")
}

func TestNewEnvErrors(t *testing.T) {
	f := func(want string, dims ...string) {
		t.Helper()
		if _, err := NewEnv(dims); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewEnv(%q): %v, want %q", dims, err, want)
		}
	}
	f(`"a" is given twice`, "a", "b", "a")
	f(`no name`, "")
	f(`"a-b" cannot be named so: use letters`, "a-b")
	f(`"1a" cannot be named so`, "1a")
	for name := range reserved {
		f("choose another name", name)
	}
	if _, err := NewEnv([]string{"ip", "host", "path", "method", "route", "size", "has", "optional", "timestamp", "_", "A1"}); err != nil {
		t.Error(err)
	}
}

func TestUses(t *testing.T) {
	e := newTestEnv(t)
	f := func(src string, want ...int) {
		t.Helper()
		p, err := e.Compile(src, Bool)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(p.Uses(), want) {
			t.Errorf("%s uses %v, want %v", src, p.Uses(), want)
		}
	}
	f(`true`)
	f(`request.path == "tenant"`)
	f(`tenant == "a"`, 0)
	f(`user_id == tenant && tenant != ""`, 0, 1)
	f(`request.headers[user_id] == "a"`, 1)
	f(`[user_id].all(x, x == "")`, 1)
	f(`.user_id == ""`, 1)
}
