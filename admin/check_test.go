package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"weir/config"
)

// Check refuses keys that begin with "no", to be tried again after as many ms as follow, and leaves Key and Decisions empty.
func (g *gateway) Check(c CheckRequest) CheckResult {
	g.checks = append(g.checks, c)
	v := CheckResult{Allowed: true, Limit: 10, Remaining: 9, Reason: "allowed"}
	if after, no := strings.CutPrefix(c.Key, "no"); no {
		v.Allowed, v.Reason, v.Remaining = false, "limited", 0
		_, _ = fmt.Sscan(after, &v.RetryAfterMS)
		v.Decisions = []CheckDecision{{Policy: "plan", Limit: 10, Mode: "enforce"}}
	}
	return v
}

func (g *gateway) Usage(key string) (any, error) {
	if key != "user:1" && key != "user:1/a b" {
		return nil, fmt.Errorf("key %q: %w", key, ErrNotFound)
	}
	return map[string]string{"key": key}, nil
}

func (g *gateway) Summary() any { return map[string]int{"keys": 3} }

func (g *gateway) CheckFault(c CheckRequest) error {
	if c.Metadata["endpoint"] == "bad" {
		return errors.New("endpoint: no path")
	}
	return nil
}

func (g *gateway) ResetKey(who, key string) (string, any, error) {
	g.asked = append(g.asked, "reset "+key+" by "+who)
	if strings.HasPrefix(key, "x") {
		return "", nil, fmt.Errorf("key %q: %w", key, ErrNotFound)
	}
	return key, map[string]string{"key": key}, nil
}

func TestOneCheck(t *testing.T) {
	f := func(body string, status int, want, retry string) {
		t.Helper()
		w := ask(open().Handler(), "POST /api/v1/check", body, asJSON)
		got := strings.Join(strings.Fields(w.Body.String()), " ")
		if w.Code != status || got != want || w.Header().Get("Retry-After") != retry || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v %s", body, w.Code, w.Header(), got)
		}
	}
	f(`{"key":"user:12345"}`, 200, `{ "allowed": true, "key": "user:12345", "limit": 10, "remaining": 9, "reset_after_ms": 0, "retry_after_ms": 0, "reason": "allowed", "decisions": [] }`, "")
	refusal := func(ms string) string {
		return `{ "allowed": false, "key": "no` + ms + `", "limit": 10, "remaining": 0, "reset_after_ms": 0, "retry_after_ms": ` + ms +
			`, "reason": "limited", "decisions": [ { "policy": "plan", "level": 0, "allowed": false, "limit": 10, "remaining": 0, "mode": "enforce" } ] }`
	}
	f(`{"key":"no0"}`, 429, refusal("0"), "")
	f(`{"key":"no1"}`, 429, refusal("1"), "1")
	f(`{"key":"no1000"}`, 429, refusal("1000"), "1")
	f(`{"key":"no1001"}`, 429, refusal("1001"), "2")
	f(`{"key":"no9223372036854775807"}`, 429, refusal("9223372036854775807"), "9223372036854776")
}

func TestWhatIsChecked(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		g := open()
		ask(g.Handler(), "POST /api/v1/check", body, asJSON)
		var got []string
		for _, c := range g.gateway.checks {
			b, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(b))
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %s, want %s", body, s, want)
		}
	}
	f(`{"key":"a"}`, `{"key":"a"}`)
	f(`{"key":"a","tokens":null,"metadata":null}`, `{"key":"a"}`)
	f(`{"key":"a","tokens":0,"metadata":{}}`, `{"key":"a","tokens":0}`)
	f(`{"key":"a","tokens":1000000000}`, `{"key":"a","tokens":1000000000}`)
	f(`{"key":"user:12345","tokens":2,"metadata":{"user_id":"12345","endpoint":"/api/data"}}`, `{"key":"user:12345","tokens":2,"metadata":{"endpoint":"/api/data","user_id":"12345"}}`)
	f(`{"key":"a","metadata":{"i":12345678901234567890,"f":1.50,"e":-1E3,"t":true,"n":false,"s":"\u00e9\""}}`, `{"key":"a","metadata":{"e":"-1E3","f":"1.50","i":"12345678901234567890","n":"false","s":"é\"","t":"true"}}`)
	f(`{"checks":[{"key":"a"},{"key":"b","tokens":3}]}`, `{"key":"a"} {"key":"b","tokens":3}`)
	f(`{"checks":[]}`, ``)
}

func TestManyChecks(t *testing.T) {
	w := ask(open().Handler(), "POST /api/v1/check", `{"checks":[{"key":"a"},{"key":"no5"},{"key":"b"}]}`, asJSON)
	var got struct{ Results []CheckResult }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || w.Header().Get("Retry-After") != "" {
		t.Fatalf("%d %v %s", w.Code, err, w.Body)
	}
	var s string
	for _, r := range got.Results {
		s += fmt.Sprintf("%s %v %v ", r.Key, r.Allowed, r.Decisions != nil)
	}
	if s != "a true true no5 false true b true true " {
		t.Error(s)
	}
	if w := ask(open().Handler(), "POST /api/v1/check", `{"checks":[]}`, asJSON); strings.Join(strings.Fields(w.Body.String()), "") != `{"results":[]}` {
		t.Error(w.Body)
	}
	g := open()
	if w := ask(g.Handler(), "POST /api/v1/check", manyChecks(1000), asJSON); w.Code != 200 || len(g.gateway.checks) != 1000 {
		t.Errorf("%d, %d checks", w.Code, len(g.gateway.checks))
	}
}

func manyChecks(n int) string {
	return `{"checks":[{"key":"k"}` + strings.Repeat(`,{"key":"k"}`, n-1) + `]}`
}

func TestChecksThatAreRefused(t *testing.T) {
	f := func(body string, status int, want string) {
		t.Helper()
		g := open()
		refused(t, fmt.Sprintf("%.100s", body), ask(g.Handler(), "POST /api/v1/check", body, asJSON), status, want)
		if len(g.gateway.checks) > 0 {
			t.Errorf("%.100s: %d checks were done", body, len(g.gateway.checks))
		}
	}
	f(``, 400, "not complete")
	f(`{`, 400, "not complete")
	f(`[]`, 400, "must be")
	f(`{"key":"a"} {"key":"b"}`, 400, "there is more")
	f(`{"key":5}`, 400, "key: must be string, not number")
	f(`{"key":"a","tokens":"1"}`, 400, "tokens: must be int64, not string")
	f(`{"key":"a","tokens":1.5}`, 400, "tokens: must be int64, not number 1.5")
	f(`{"key":"a","tokens":99999999999999999999}`, 400, "tokens: must be int64")
	f(`{"key":"a","token":1}`, 400, `unknown field "token"`)
	f(`{"key":"a","metadata":[]}`, 400, "metadata: must be")
	f(`{"key":"a","metadata":{"x":null}}`, 400, "must be a string, a number or a bool")
	f(`{"key":"a","metadata":{"x":{}}}`, 400, "must be a string, a number or a bool")
	f(`{"key":"a","metadata":{"x":["y"]}}`, 400, "must be a string, a number or a bool")
	f(`{}`, 422, "Nothing was spent: key: is missing")
	f(`null`, 422, "key: is missing")
	f(`{"key":""}`, 422, "key: is missing")
	f(`{"key":"`+strings.Repeat("k", 1025)+`"}`, 422, "has 1025 bytes")
	f(`{"key":"a","tokens":-1}`, 422, "[0:0 tokens: must be 0 to 1000000000, not -1]")
	f(`{"key":"a","tokens":1000000001}`, 422, "not 1000000001")
	f(`{"tokens":-1}`, 422, "[0:0 key: is missing: write who spends, for example \"user:12345\"] [0:0 tokens: must be")

	f(`{"key":"a","checks":[]}`, 400, "not both")
	f(`{"tokens":1,"checks":[]}`, 400, "not both")
	f(`{"metadata":{},"checks":[{"key":"a"}]}`, 400, "not both")
	f(`{"checks":null}`, 400, "checks: must be a list")
	f(`{"checks":{"key":"a"}}`, 400, "checks: must be a list")
	f(`{"checks":[{"key":"a"},5]}`, 400, "[0:0 checks[1]: must be a check, not number]")
	f(`{"checks":[{"key":"a"},{"key":"b","tokens":"x"}]}`, 400, "[0:0 checks[1].tokens: must be int64, not string]")
	f(`{"checks":[{"key":"a"},{"key":"b","wait":1}]}`, 400, `[0:0 checks[1]: unknown field "wait"]`)
	f(`{"checks":[{"key":"a"},{"checks":[]}]}`, 400, `unknown field "checks"`)
	f(`{"checks":[{"key":"a"},{"key":"b","metadata":{"x":null}}]}`, 400, "checks[1]: a value of metadata")
	f(`{"checks":[{"key":"a"},{"tokens":1},{"key":"b","tokens":-1}]}`, 422, "Nothing was spent: checks[1].key: is missing")
	f(`{"checks":[{"key":"a"},{"tokens":1},{"key":"b","tokens":-1}]}`, 422, "[0:0 checks[2].tokens: must be")
	f(manyChecks(1001), 422, "up to 1000 checks")
	f(`{"checks":[`+strings.Repeat(`{},`, 300_000)+`{}]}`, 422, "up to 1000 checks")
	f(`{"key":"a","metadata":{"x":"`+strings.Repeat("x", maxBatch)+`"}}`, 413, "1048576 bytes")
	f(`{"checks":[{"key":"a"},{"key":"b","metadata":{"endpoint":"bad"}}]}`, 422, "checks[1].metadata: endpoint: no path")
	for _, media := range []string{"", "Content-Type: text/plain", asYAML} {
		refused(t, media, ask(open().Handler(), "POST /api/v1/check", `{"key":"a"}`, media), 415, "application/json")
	}
}

func TestAViewerMayOnlyPeek(t *testing.T) {
	g := closed()
	w := ask(g.Handler(), "POST /api/v1/check", `{"checks":[{"key":"a","tokens":0},{"key":"b"}]}`, asJSON, bearerOf(viewerToken))
	refused(t, "viewer", w, 403, `The token "eve" may only look, with "tokens": 0; to spend needs role: checker or admin.`)
	if !strings.Contains(g.log.String(), `msg="admin change refused" who=eve`) {
		t.Errorf("log: %s", &g.log)
	}
	g.log.Reset()
	ask(g.Handler(), "POST /api/v1/check", `{"key":"b"}`, asJSON, bearerOf(adminToken))
	if g.log.Len() > 0 {
		t.Errorf("a check is logged: %s", &g.log)
	}
}

func TestACheckerMaySpendAndNoMore(t *testing.T) {
	g := closed()
	const token = "a-checkers-own-token"
	g.Reconfigure(Options{Tokens: []config.Token{{Name: "svc", Token: token, Role: "checker"}}})
	if w := ask(g.Handler(), "POST /api/v1/check", `{"key":"b"}`, asJSON, bearerOf(token)); w.Code != 200 && w.Code != 429 {
		t.Errorf("a check: %d %s", w.Code, w.Body)
	}
	if w := ask(g.Handler(), "GET /api/v1/policies", "", bearerOf(token)); w.Code != 200 {
		t.Errorf("reading: %d", w.Code)
	}
	for _, call := range []string{"POST /api/v1/config/reload", "DELETE /api/v1/policies/p", "DELETE /api/v1/keys/k", "POST /api/v1/policies"} {
		refused(t, call, ask(g.Handler(), call, "", bearerOf(token)), 403, `The token "svc" may only read; this needs role: admin.`)
	}
}

func TestUsage(t *testing.T) {
	f := func(query string, status int, want string) {
		t.Helper()
		w := ask(open().Handler(), "GET /api/v1/metrics"+query, "")
		if status != 200 {
			refused(t, query, w, status, want)
		} else if w.Code != 200 || strings.Join(strings.Fields(w.Body.String()), " ") != want {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	f("", 200, `{ "keys": 3 }`)
	f("?", 200, `{ "keys": 3 }`)
	f("?key=user:1", 200, `{ "key": "user:1" }`)
	f("?key=user%3A1", 200, `{ "key": "user:1" }`)
	f("?key=user:1/a+b", 200, `{ "key": "user:1/a b" }`)
	f("?key=nobody", 404, `key "nobody": not found`)
	f("?key=", 400, "Name one key")
	f("?key=a&key=b", 400, "Name one key")
	f("?Key=user:1", 400, `not "Key"`)
	f("?key=user:1&window=1m", 400, `not "window"`)
	f("?key=%zz", 400, "can't be read")
}

func TestResetKey(t *testing.T) {
	f := func(path, key string, status int) {
		t.Helper()
		g := closed()
		w := ask(g.Handler(), "DELETE /api/v1/keys/"+path, "", bearerOf(adminToken))
		if w.Code != status || strings.Join(g.gateway.asked, ",") != "reset "+key+" by ops" {
			t.Errorf("%s: %d %q", path, w.Code, g.gateway.asked)
		}
	}
	f("user:1", "user:1", 200)
	f("user%3A1", "user:1", 200)
	f("a%2Fb%2F..%2Fc", "a/b/../c", 200)
	f("%2E%2E", "..", 200)
	f("a%20b%3Fc", "a b?c", 200)
	f("%C3%A9%25", "é%", 200)
	f("xx", "xx", 404)
	refused(t, "body", ask(open().Handler(), "DELETE /api/v1/keys/a", "x"), 400, "takes no body")
}

// FuzzChecks: whatever is sent, the answer is checks within bounds or a problem.
func FuzzChecks(f *testing.F) {
	for _, s := range []string{`{"key":"a","tokens":1,"metadata":{"a":1}}`, `{"checks":[{"key":"a"}]}`, `{"checks":null}`, `null`, `{"checks":[{"metadata":{"a":tru}}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		checks, many, p := parseChecks(body)
		if p != nil {
			if p.Status != 400 && p.Status != 422 || checks != nil && p.Status == 400 {
				t.Errorf("%+v with %d checks", p, len(checks))
			}
			return
		}
		if len(checks) > maxChecks || !many && len(checks) != 1 {
			t.Errorf("%d checks, many %v", len(checks), many)
		}
		for _, c := range checks {
			if c.Key == "" || len(c.Key) > maxKey || c.Tokens != nil && (*c.Tokens < 0 || *c.Tokens > maxTokens) {
				t.Errorf("%+v", c)
			}
		}
	})
}
