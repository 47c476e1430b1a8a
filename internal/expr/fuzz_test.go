package expr

import (
	"encoding/json"
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
		`"acme" == tenant && request.headers["x-b"] == "1"`, `tenant in ["a", "acme"] && (true || false) && user_id == ""`,
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
			checkImplied(t, p, r)
		}
	})
}

// FuzzSettle feeds random settle expressions and bodies: none panics, an error is one line, a cost is not negative, and
// the same exchange costs the same again.
func FuzzSettle(f *testing.F) {
	for _, src := range append(settleBenchmarks,
		`response.bytes / 1000`, `double(response.bytes) * 0.5`, `response.json.usage`, `response.json.calls.map(c, c.n)[0]`,
		`response.json.?usage.?nope.orValue("7")`, `[response.json] == [response.json] ? 1 : 2`, `response.json in [1, response.json] ? 1 : 2`,
		`response.json.exists(k, k == "a") ? 1 : 2`, `response.json + response.json`, `-response.json`, `string(response.json)`, `{"a": response.json}.a`,
		`response . json`, `timestamp(response.json) > timestamp(0) ? 1 : 2`, `response.json ? 1 : 2`, `type(response.json) == map ? 1 : 2`,
	) {
		f.Add(src, testBody, "42")
	}
	f.Add(`response.json`, `" 12"`, "")
	f.Add(`response.json[0]`, `[1e400]`, " ")
	e, err := NewEnv([]string{"tenant", "user_id"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, src, body, header string) {
		s, err := e.CompileSettle(src)
		if err != nil {
			checkLine(t, err)
			return
		}
		for _, numbers := range []bool{false, true} {
			resp := &response{status: 200, bytes: 12_345, headers: map[string]string{"x-cost": header}}
			d := json.NewDecoder(strings.NewReader(body))
			if numbers {
				d.UseNumber()
			}
			resp.err = d.Decode(&resp.json)
			n, err := s.Cost(newRequest(), resp)
			checkLine(t, err)
			again, errAgain := s.Cost(newRequest(), resp)
			if n < 0 || n != again || (err == nil) != (errAgain == nil) {
				t.Errorf("%s cost %d, %v, then %d, %v", src, n, err, again, errAgain)
			}
		}
	})
}

func checkLine(t *testing.T, err error) {
	if err != nil && (strings.ContainsAny(err.Error(), "\n\r") || err.Error() == "") {
		t.Errorf("%q is not one line", err)
	}
}
