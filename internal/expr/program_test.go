package expr

import (
	"strings"
	"sync"
	"testing"
	"unsafe"
)

func compile(t testing.TB, src string, k Kind) *Program {
	t.Helper()
	p, err := newTestEnv(t).Compile(src, k)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEvaluationErrors(t *testing.T) {
	f := func(src string, want string) {
		t.Helper()
		got, err := compile(t, src, Bool).Bool(newRequest())
		if err == nil || !strings.Contains(err.Error(), want) || got || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s = %v, %v, want an error with %q", src, got, err, want)
		}
	}
	f(`request.headers["x-b"] == "1"`, "no such key: x-b")
	f(`request.query.nope == "1"`, "no such key: nope")
	f(`request.headers["x\nb"] == "1"`, "no such key: x b")
	f(`request.headers[request.query.page] == "1"`, "no such key: 2")
	f(`request.headers[tenant + "-b"] == "1"`, "no such key: acme-b")
	f(`int(tenant) > 5`, "type conversion error")
	f(`request.path.split("/")[9] == ""`, "index out of bounds")
	f(`1 / size(user_id) == 0`, "division by zero")

	if _, err := compile(t, `size(request.path) - 100`, Int).Int(newRequest()); err == nil || err.Error() != "a cost of -88 is negative" {
		t.Errorf("negative cost: %v", err)
	}
	if s, err := compile(t, `request.headers["x-b"]`, String).String(newRequest()); s != "" || err == nil {
		t.Errorf("got %q, %v", s, err)
	}
}

// A short request passes where a long one would cost too much; the meter ends it.
func TestCostIsBounded(t *testing.T) {
	p := compile(t, `request.path.split("/").exists(s, s.trim() == "17" || s.lowerAscii().trim().reverse() == "71")`, Bool)
	r := newRequest()
	if got, err := p.Bool(r); !got || err != nil {
		t.Errorf("short: %v, %v", got, err)
	}
	r.path = strings.Repeat("/", 16_000)
	if _, err := p.Bool(r); err == nil || !strings.Contains(err.Error(), "cost limit exceeded") {
		t.Errorf("long: %v", err)
	}
}

// The estimates hold up to MaxValue, and so does every string.
func TestLongStringsAreRefused(t *testing.T) {
	long := strings.Repeat("a", MaxValue+1)
	r := &request{method: long, host: long, path: long, headers: map[string]string{"a": long}, query: map[string]string{"a": long}, dims: []string{long, long}}
	for _, src := range []string{
		`request.method == "a"`, `request.host == "a"`, `request.path == "a"`, `tenant == "a"`, `request.headers.a == "a"`,
		`request.query["a"] == "a"`, `request.headers[?"a"].orValue("") == "a"`, `"a" in request.query`, `request.headers[string(1) + tenant] == ""`,
	} {
		if _, err := compile(t, src, Bool).Bool(r); err == nil || !strings.Contains(err.Error(), "a string of 16385 bytes is more than") {
			t.Errorf("%s: %v", src, err)
		}
	}
	r.path = long[1:]
	if _, err := compile(t, `request.path == "a"`, Bool).Bool(r); err != nil {
		t.Error(err)
	}
}

func TestRequestIsAskedLazily(t *testing.T) {
	p := compile(t, `tenant == "x" && request.headers["x-a"] == "1"`, Bool)
	r := newRequest()
	if _, err := p.Bool(r); err != nil || len(r.asked) != 0 {
		t.Errorf("asked for %q, %v", r.asked, err)
	}
	r.dims[0] = "x"
	if got, err := p.Bool(r); !got || err != nil || len(r.asked) != 1 {
		t.Errorf("%v, %v, asked for %q", got, err, r.asked)
	}
}

// A request's strings are views of a buffer that is used again.
func TestStringIsACopy(t *testing.T) {
	buf := []byte("/secret")
	r := newRequest()
	r.path = unsafe.String(unsafe.SliceData(buf), len(buf))
	for _, src := range []string{`request.path`, `[request.path][0]`, `request.path.split(";")[0]`, `request.path.substring(0)`} {
		got, err := compile(t, src, String).String(r)
		copy(buf, "XXXXXXX")
		if got != "/secret" || err != nil {
			t.Errorf("%s = %q, %v", src, got, err)
		}
		copy(buf, "/secret")
	}
}

type panicking struct{ request }

func (*panicking) Path() string                 { panic("ouch") }
func (*panicking) Header(string) (string, bool) { panic("ouch") }

func TestPanicsBecomeErrors(t *testing.T) {
	for _, src := range []string{`request.path == ""`, `request.headers["a"] == ""`} {
		if got, err := compile(t, src, Bool).Bool(&panicking{}); got || err == nil {
			t.Errorf("%s = %v, %v", src, got, err)
		}
	}
}

func TestWrongKindIsABug(t *testing.T) {
	defer func() {
		if r, _ := recover().(string); !strings.HasPrefix(r, "BUG: expr: string asked of a program that gives bool") {
			t.Errorf("recovered %q", r)
		}
	}()
	_, _ = compile(t, `true`, Bool).String(newRequest())
}

func TestConcurrentUse(t *testing.T) {
	e := newTestEnv(t)
	p, err := e.Compile(`request.headers["x-a"] + tenant + request.path.split("/")[1]`, String)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			r := newRequest()
			r.dims[0] = name
			for range 200 {
				if got, err := p.String(r); got != "1"+name+"v1" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
			}
			if _, err := e.Compile(`tenant == "`+name+`"`, Bool); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// Budgets: 16 bytes for each string of the request that is looked at, nothing else.
func TestAllocations(t *testing.T) {
	r := newRequest()
	f := func(src string, want float64) {
		t.Helper()
		p := compile(t, src, Bool)
		r.asked = make([]string, 0, 10_000)
		got := testing.AllocsPerRun(500, func() {
			if _, err := p.Bool(r); err != nil {
				t.Fatal(err)
			}
		})
		if got > want {
			t.Errorf("%s: %v allocations, want %v", src, got, want)
		}
	}
	f(`true`, 0)
	f(`"x-b" in request.headers`, 0)
	f(`tenant == "acme"`, 1)
	f(`request.headers["x-a"] == "1" && request.path.startsWith("/v1/")`, 2)
}

var benchmarks = []string{
	`tenant == "acme"`,
	`request.method != "GET"`,
	`request.headers["x-a"] == "1"`,
	`"x-b" in request.headers && request.path.startsWith("/v1/")`,
	`request.method == "POST" || (tenant in ["acme", "initech"] && request.path.startsWith("/v1/"))`,
	`request.path.matches("^/v1/users/[0-9]+$")`,
	`request.path.split("/").exists(s, s == "17")`,
	`request.path.split("/").exists(s, s.trim() == "17")`, // metered
}

func BenchmarkBool(b *testing.B) {
	for _, src := range benchmarks {
		p := compile(b, src, Bool)
		b.Run(src, func(b *testing.B) {
			r := newRequest()
			b.ReportAllocs()
			for b.Loop() {
				r.asked = r.asked[:0]
				if _, err := p.Bool(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	e := newTestEnv(b)
	for b.Loop() {
		if _, err := e.Compile(benchmarks[4], Bool); err != nil {
			b.Fatal(err)
		}
	}
}
