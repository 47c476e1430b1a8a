package expr

import (
	"strings"
	"testing"
)

// FuzzCompile feeds random sources: none panics; an error is one line; evaluation ends, within its bound; and a program
// that runs without the meter could not have spent more than the meter would let it.
func FuzzCompile(f *testing.F) {
	for _, src := range benchmarks {
		f.Add(src, "/v1/users/17", "acme")
	}
	for _, src := range []string{
		`tenant + request.path`, `size(tenant) * 5`, `request.headers[?"a"].orValue(tenant)`, `[1, 2].map(x, x * 2).exists(x, x > 3)`,
		`tenant.replace("a", "bb").reverse() + tenant.trim()`, `"%s %d".format([tenant, 5])`, `[tenant, "b"].join(",")`,
		`{"a": tenant}["a"]`, `tenant.lastIndexOf("a") > 0 ? tenant.substring(1) : tenant.charAt(0)`, `optional.of(tenant).value()`,
		`timestamp("2020-01-01T00:00:00Z") + duration("1h") > timestamp(0)`, `b"a" + bytes(tenant) == b""`, `type(tenant) == string`,
		`request.path.split("/").filter(s, s != "").map(s, s + s).join("")`, `strings.quote(tenant)`, `request . headers`, "\x00", `((((`,
	} {
		f.Add(src, "/v1/users/17", "")
	}
	e, err := NewEnv([]string{"tenant", "user_id"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, src, path, tenant string) {
		r := newRequest()
		r.path, r.dims[0] = path, tenant
		for _, k := range []Kind{Bool, String, Int} {
			p, err := e.Compile(src, k)
			if err != nil {
				checkLine(t, err)
				continue
			}
			switch k {
			case Bool:
				_, err = p.Bool(r)
			case String:
				_, err = p.String(r)
			case Int:
				_, err = p.Int(r)
			}
			checkLine(t, err)
			checkEstimate(t, e, src, r)
		}
	})
}

func checkLine(t *testing.T, err error) {
	if err != nil && (strings.ContainsAny(err.Error(), "\n\r") || err.Error() == "") {
		t.Errorf("%q is not one line", err)
	}
}
