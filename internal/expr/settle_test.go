package expr

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
)

// response is a Response of fixed values. It counts how often its JSON is asked for.
type response struct {
	status  int
	bytes   int64
	headers map[string]string
	json    any
	err     error
	decoded int

	messages [2]int64 // without them: none
}

func (r *response) Messages() (in, out int64, ok bool) {
	return r.messages[0], r.messages[1], r.messages != [2]int64{}
}

func (r *response) Status() int  { return r.status }
func (r *response) Bytes() int64 { return r.bytes }
func (r *response) ResponseHeader(name string) (string, bool) {
	v, ok := r.headers[name]
	return v, ok
}
func (r *response) JSON() (any, error) {
	r.decoded++
	return r.json, r.err
}

const testBody = `{"model": "big", "usage": {"total_tokens": 17, "whole": 3.0, "price": 2.25, "many": 1e3, "huge": 1e30, "none": null, "text": "12",
	"below": -4, "over": 9223372036854775808, "list": [1, 2, 3], "yes": true}, "calls": [{"n": 2, "tool": "a"}, {"n": 5, "tool": "b"}]}`

// decode decodes a body as a caller may: with json.Number or without.
func decode(t testing.TB, body string, numbers bool) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(body))
	if numbers {
		d.UseNumber()
	}
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func newResponse(t testing.TB, numbers bool) *response {
	return &response{
		status: 200, bytes: 3_000_000_000, messages: [2]int64{4, 9}, json: decode(t, testBody, numbers),
		headers: map[string]string{"x-cost": "42", "x-blank": " 7\t", "x-bad": "1.5", "x-minus": "-3", "x-empty": "", "x-big": "9223372036854775808"},
	}
}

func compileSettle(t testing.TB, src string) *Settle {
	t.Helper()
	s, err := newTestEnv(t).CompileSettle(src)
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	return s
}

func TestCost(t *testing.T) {
	f := func(src string, want int64) {
		t.Helper()
		s := compileSettle(t, src)
		for _, numbers := range []bool{false, true} {
			if got, err := s.Cost(newRequest(), newResponse(t, numbers)); got != want || err != nil {
				t.Errorf("%s = %d, %v, want %d (json.Number: %v)", src, got, err, want, numbers)
			}
		}
	}
	f(`5`, 5)
	f(`response.status >= 500 ? 0 : 2`, 2)
	f(`response.bytes / 1000000`, 3000)
	f(`response.bytes`, 3_000_000_000)
	f(`response.headers["x-cost"]`, 42)
	f(`response.headers['X-Cost']`, 42)
	f(`response.headers["x-blank"]`, 7)
	f(`response.headers[?'x'].orValue('1')`, 1)
	f(`"x-cost" in response.headers ? int(response.headers["x-cost"]) + 1 : 1`, 43)
	f(`has(response.headers.nope) ? 1 : 2`, 2)
	f(`2.25`, 3)
	f(`double(response.bytes) / 1e9 + 0.5`, 4)
	f(`request.messages + 2 * response.messages`, 22)
	f(`0.0`, 0)
	f(`response.json.usage.total_tokens`, 17)
	f(`response.json["usage"]["total_tokens"]`, 17)
	f(`int(response.json.usage.total_tokens) * 2`, 34)
	f(`response.json.usage.total_tokens * 2`, 34)
	f(`3 * response.json.usage.whole + response.json.usage.total_tokens`, 26)
	f(`response.json.usage.total_tokens > 5 ? 3 : 1`, 3)
	f(`response.json.usage.price > 2 ? 3 : 1`, 3)
	f(`response.json.usage.price`, 3)
	f(`double(response.json.usage.price) * 2.0`, 5)
	f(`double(response.json.usage.whole) * 2.5`, 8)
	f(`response.json.usage.many`, 1000)
	f(`response.json.usage.text`, 12)
	f(`has(response.json.usage) ? 1 : 2`, 1)
	f(`has(response.json.nope) ? 1 : 2`, 2)
	f(`response.json.?usage.?nope.orValue(4)`, 4)
	f(`response.json.?usage.?total_tokens.orValue(4)`, 17)
	f(`"usage" in response.json ? 1 : 2`, 1)
	f(`response.json.usage.none == null ? 1 : 2`, 1)
	f(`response.json.usage != null ? 1 : 2`, 1)
	f(`response.json.model == "big" ? 10 : 1`, 10)
	f(`response.json.usage.yes ? 1 : 2`, 1)
	f(`response.json.calls[1].n`, 5)
	f(`response.json.calls.filter(c, c.tool == "b")[0].n`, 5)
	f(`response.json.calls.map(c, c.n)[0]`, 2)
	f(`size(response.json.calls) * 100`, 200)
	f(`response.json.calls.exists(c, c.n > 4) ? 1 : 2`, 1)
	f(`3 in response.json.usage.list ? 1 : 2`, 1)
	f(`4 in response.json.usage.list ? 1 : 2`, 2)
	f(`tenant == "acme" && request.path.startsWith("/v1/") ? response.json.usage.list[2] : 1`, 3)
	f(`request.headers["X-A"]`, 1)
	f(`request.query.page`, 2)
}

func TestCostErrors(t *testing.T) {
	f := func(src, want string) {
		t.Helper()
		s := compileSettle(t, src)
		for _, numbers := range []bool{false, true} {
			got, err := s.Cost(newRequest(), newResponse(t, numbers))
			if err == nil || got != 0 || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s = %d, %v, want an error with %q", src, got, err, want)
			}
		}
	}
	f(`response.headers["nope"]`, "no such key: nope")
	f(`response.json.nope`, "no such key: nope")
	f(`response.json.usage.none.deep`, "no such key: deep")
	f(`response.json.calls[2].n`, "index out of bounds: 2")
	f(`response.headers["x-bad"]`, `a cost of "1.5" is no whole number`)
	f(`response.headers["x-empty"]`, `a cost of "" is no whole number`)
	f(`response.headers["x-big"]`, `too large`)
	f(`response.headers["x-minus"]`, "a cost of -3 is negative")
	f(`"1\n2"`, `a cost of "1\n2" is no whole number`)
	f(`0 - 1`, "a cost of -1 is negative")
	f(`-0.5`, "a cost of -0.5 is negative")
	f(`0.0 / 0.0`, "a cost of NaN is no number")
	f(`1.0 / 0.0`, "a cost of +Inf is no number, or too large")
	f(`-1.0 / 0.0`, "a cost of -Inf is negative")
	f(`9223372036854775808.0`, "too large")
	f(`response.json.usage.huge`, "a cost of 1e+30 is no number, or too large")
	f(`response.json.usage.over`, "too large")
	f(`response.json.usage.below`, "a cost of -4 is negative")
	f(`response.json.usage.none`, "the expression gave a null_type, not an int, a double, or a string of digits")
	f(`response.json.usage.yes`, "gave a bool")
	f(`response.json.usage`, "gave a map")
	f(`response.json.calls`, "gave a list")
	f(`response.json.model`, `a cost of "big" is no whole number`)
	f(`dyn(5u)`, "gave a uint")
	f(`response.json.usage.total_tokens * 2.5`, "no such overload")
	f(`response.json == response.json ? 1 : 2`, "lists and objects of the JSON cannot be compared as a whole")
	f(`[response.json.calls] == dyn([response.json.calls]) ? 1 : 2`, "cannot be compared as a whole")
	f(`response.json.usage.list == [1, 2, 3] ? 1 : 2`, "cannot be compared as a whole")
	f(`response.json.calls[0] in response.json.calls ? 1 : 2`, "cannot be compared as a whole")
	f(`response.json.usage.exists(k, k == "price") ? 1 : 2`, "an object of the JSON can only be asked by name, not listed")
}

func TestCostWithoutJSON(t *testing.T) {
	resp := newResponse(t, false)
	resp.json, resp.err = nil, errors.New("no\nJSON")
	for _, src := range []string{`response.json.a`, `response.json`, `has(response.json.a) ? 1 : 2`} {
		if _, err := compileSettle(t, src).Cost(newRequest(), resp); err == nil || err.Error() != "no JSON" {
			t.Errorf("%s: %v", src, err)
		}
	}
	resp.err = nil // the body is null
	if _, err := compileSettle(t, `response.json.a`).Cost(newRequest(), resp); err == nil {
		t.Error("a field of null")
	}
	resp.json = json.Number("1e999")
	if _, err := compileSettle(t, `response.json`).Cost(newRequest(), resp); err == nil || !strings.Contains(err.Error(), "a number of the JSON is none, or too large") {
		t.Error(err)
	}
	if _, err := compileSettle(t, `response.headers["x-cost"]`).Cost(newRequest(), resp); err != nil {
		t.Error(err)
	}
}

func TestCompileSettleErrors(t *testing.T) {
	e := newTestEnv(t)
	f := func(src, want string) {
		t.Helper()
		_, err := e.CompileSettle(src)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s:\n got %v\nwant %q in one line", src, err, want)
		}
	}
	f("", `the expression is empty: write one that gives a cost, such as response.headers["x-cost"]`)
	f(`true`, `column 1: the expression gives a bool, but a cost is needed here: write one such as response.headers["x-cost"]`)
	f(`[1]`, `gives a list(int)`)
	f(`5u`, `gives a uint`)
	f(`null`, `gives a null`)
	f(`response.size`, `column 9: nothing is called "response.size": known are request.method, request.host, request.path, request.headers, request.query, request.messages, response.status, response.bytes, response.headers, response.json, response.messages, tenant, user_id`)
	f("1 +\n  foo", `line 2, column 3: nothing is called "foo"`)
	f(`response.headers.size()`, `response.headers can only be asked by name: write response.headers["name"]`)
	f(`response.headers == request.headers ? 1 : 2`, `can only be asked by name`)
	f(`response.json.list.join("")`, `join() is not available`)
	f(`"%s".format([response.json])`, `format() is not available`)
	f(`response.json.a.matches(response.json.b) ? 1 : 2`, `a regular expression must be a literal`)
	f(`response.json.a.replace("a", response.json.b)`, `a replacement must be a literal`)
	f(`[response.json] == [response.json] ? 1 : 2`, `column 17: lists and maps cannot be compared as a whole: compare elements, fields, or size()`)
	f(`{"a": 1} != {"a": 1} ? 1 : 2`, `cannot be compared as a whole`)
	f(`optional.of([1]) == optional.of([1]) ? 1 : 2`, `cannot be compared as a whole`)
	f(`[1] in [[1]] ? 1 : 2`, `cannot be compared as a whole`)
	f(strings.Repeat("(", 150)+"1"+strings.Repeat(")", 150), "recursion limit")
	f(strings.Repeat("1 + ", 3000)+"1", "size")
}

func TestResponseIsOnlyKnownInSettle(t *testing.T) {
	e := newTestEnv(t)
	if _, err := e.CompileSettle(`response.status`); err != nil {
		t.Fatal(err)
	}
	for _, src := range []string{`response.status == 200`, `response.json.a.b == 1`, `response.headers["a"] == ""`, `"a" in response.headers`, `has(response.json.a)`, `response == 1`, `request.messages > 1`, `response.messages > 1`} {
		_, err := e.Compile(src, Bool)
		if err == nil || !strings.Contains(err.Error(), "is only known in settle: this expression runs before there is a response") || !strings.Contains(err.Error(), "column ") {
			t.Errorf("%s: %v", src, err)
		}
	}
	if _, err := e.Compile(`[1].exists(response, response == 1)`, Bool); err != nil {
		t.Error(err)
	}
}

func TestNeeds(t *testing.T) {
	f := func(src string, want Needs) {
		t.Helper()
		s := compileSettle(t, src)
		if s.Needs() != want || s.Source() != src {
			t.Errorf("%s needs %+v, want %+v", s.Source(), s.Needs(), want)
		}
	}
	f(`1`, Needs{})
	f(`response.headers["x-cost"]`, Needs{})
	f(`response.status == 200 ? size("response.json") : 1`, Needs{})
	f(`response.bytes`, Needs{Bytes: true})
	f(`.response.bytes`, Needs{Bytes: true})
	f(`response.status == 200 ? response.json.a : response.bytes`, Needs{Bytes: true, JSON: true})
	f(`has(response.json.a) ? 1 : 2`, Needs{JSON: true})
	f(`request.messages`, Needs{Messages: true})
	f(`response.messages * 2`, Needs{Messages: true})
	f(`[1].map(x, response.json.a + x)[0]`, Needs{JSON: true})
}

// The body is decoded once, and only if an evaluation gets to it; nothing of one exchange is left for the next.
func TestJSONIsAskedOnce(t *testing.T) {
	s := compileSettle(t, `response.status == 200 ? response.json.usage.total_tokens + response.json.usage.whole : 1`)
	for range 3 {
		resp := newResponse(t, false)
		if n, err := s.Cost(newRequest(), resp); n != 20 || err != nil || resp.decoded != 1 {
			t.Errorf("%d, %v, decoded %d times", n, err, resp.decoded)
		}
		resp = newResponse(t, false)
		resp.status = 500
		if n, err := s.Cost(newRequest(), resp); n != 1 || err != nil || resp.decoded != 0 {
			t.Errorf("%d, %v, decoded %d times", n, err, resp.decoded)
		}
	}
	out := outcomes.Get().(*outcome)
	if out.request != nil || out.response != nil || out.json != nil || out.decoded {
		t.Error("something of an exchange is kept")
	}
}

// TestNoMessages: a request that has no messages has no cost by them, rather than one of nothing.
func TestNoMessages(t *testing.T) {
	for _, src := range []string{`request.messages`, `response.messages + 1`} {
		if n, err := compileSettle(t, src).Cost(newRequest(), &response{}); n != 0 || err == nil || !strings.Contains(err.Error(), "has no messages") {
			t.Errorf("%s: %d, %v", src, n, err)
		}
	}
}

func TestLongStringsOfTheResponseAreRefused(t *testing.T) {
	long := strings.Repeat("1", MaxValue+1)
	resp := &response{headers: map[string]string{"a": long}, json: map[string]any{"a": long, "l": []any{long}}}
	for _, src := range []string{
		`response.headers.a`, `response.json.a`, `size(response.json.a)`, `response.json["a"] == "a" ? 1 : 2`, `response.json.?a.orValue("1")`,
		`response.json.l.exists(x, x == "a") ? 1 : 2`, `response.json.l[0] == "a" ? 1 : 2`, `response.json.l.map(x, x)[0]`,
	} {
		if _, err := compileSettle(t, src).Cost(newRequest(), resp); err == nil || !strings.Contains(err.Error(), "a string of 16385 bytes is more than") {
			t.Errorf("%s: %v", src, err)
		}
	}
}

type panickingResponse struct{ response }

func (*panickingResponse) JSON() (any, error)                   { panic("ouch") }
func (*panickingResponse) Status() int                          { panic("ouch") }
func (*panickingResponse) ResponseHeader(string) (string, bool) { panic("ouch") }

func TestPanicsOfAResponseBecomeErrors(t *testing.T) {
	for _, src := range []string{`response.json.a`, `response.status`, `response.headers["a"]`, `[1].map(x, response.json.a)[0]`} {
		if n, err := compileSettle(t, src).Cost(newRequest(), &panickingResponse{}); n != 0 || err == nil {
			t.Errorf("%s = %d, %v", src, n, err)
		}
	}
}

func TestConcurrentSettle(t *testing.T) {
	e := newTestEnv(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			s, err := e.CompileSettle(`response.json.n + response.status`)
			if err != nil {
				t.Error(err)
				return
			}
			for range 200 {
				if n, err := s.Cost(newRequest(), &response{status: i, json: map[string]any{"n": 10.0}}); n != int64(10+i) || err != nil {
					t.Errorf("%d, %v", n, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestAmountAtItsEdges(t *testing.T) {
	resp := &response{}
	s := compileSettle(t, `response.json`)
	f := func(v any, want int64) {
		t.Helper()
		resp.json = v
		got, err := s.Cost(newRequest(), resp)
		if want < 0 && err == nil || want >= 0 && (err != nil || got != want) {
			t.Errorf("%v: %d, %v, want %d", v, got, err, want)
		}
	}
	f(math.Copysign(0, -1), 0)
	f(math.SmallestNonzeroFloat64, 1)
	f(math.Nextafter(1<<63, 0), 1<<63-1024)
	f(float64(1<<63), -1)
	f(float64(-1<<63), -1)
	f(math.NaN(), -1)
	f(math.Inf(1), -1)
	f(json.Number("9223372036854775807"), math.MaxInt64)
	f(json.Number("9223372036854775808"), -1)
	f(json.Number("1e3"), 1000)
	f(json.Number("0.1"), 1)
	f("9223372036854775807", math.MaxInt64)
	f(" 00012 ", 12)
	f("1_000", -1)
	f("0x10", -1)
	f("1e3", -1)
}
