package tests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const apiConfig = `
node: {name: gw-1, data_dir: ""}
admin: {address: "@admin"}
telemetry: {access_log: {output: "off"}}
listeners: [{name: web, address: "@web"}]
dimensions:
  - {name: user_id, from: "header:x-user-id"}
  - {name: api_key, from: "header:x-api-key"}
  - {name: tenant, from: "header:x-tenant"}
routes:
  - {name: data, match: {path: "/api/*"}, respond: {body: ok}}
  - {name: all, respond: {body: ok}}
policies:
  - {name: from-file, dimensions: [tenant], limit: 50, window: 24h}
`

// contractPolicy is the body that interface.md, section 3, gives for POST /api/v1/policies.
const contractPolicy = `{"name":"api-rate-limit","algorithm":"token_bucket","limit":1000,"window":"1m","burst":100,"dimensions":["user_id","api_key"],"priority":"high"}`

// contractCheck is the body that it gives for POST /api/v1/check.
const contractCheck = `{"key":"user:12345","tokens":1,"metadata":{"user_id":"12345","api_key":"abc123","endpoint":"/api/data"}}`

// api calls the admin API with a JSON body, checks the status and decodes the answer.
func (w *weir) api(method, path, body string, status int, fields ...string) (answer map[string]any, resp *http.Response, text string) {
	w.t.Helper()
	if body != "" {
		fields = append(fields, "Content-Type: application/json")
	}
	resp, text = w.call(method, path, body, fields...)
	if resp.StatusCode != status {
		w.t.Errorf("%s %s %.200s: %d %.500s, want %d", method, path, body, resp.StatusCode, text, status)
	}
	want := "application/json"
	if status >= 400 && status != 429 {
		want = "application/problem+json"
	}
	if got := resp.Header.Get("Content-Type"); text != "" && !strings.HasPrefix(got, want) {
		w.t.Errorf("%s %s: Content-Type %q, want %s", method, path, got, want)
	}
	json.Unmarshal([]byte(text), &answer) //nolint:errcheck // a list stays nil
	return answer, resp, text
}

// holds reports whether an answer has those values, written as JSON.
func holds(t *testing.T, answer map[string]any, want string) {
	t.Helper()
	var w map[string]any
	noError(t, json.Unmarshal([]byte(want), &w))
	for k, v := range w {
		if got, ok := answer[k]; !ok || fmt.Sprint(got) != fmt.Sprint(v) {
			t.Errorf("%s is %v, want %v", k, answer[k], v)
		}
	}
}

// TestPolicyAPI takes a policy through its life.
func TestPolicyAPI(t *testing.T) {
	t.Parallel()
	w := startWeir(t, apiConfig, nil)
	const at = "/api/v1/policies/api-rate-limit"
	a, resp, text := w.api("POST", "/api/v1/policies", contractPolicy, 201)
	holds(t, a, contractPolicy)
	holds(t, a, `{"source":"api","durable":false,"mode":"enforce","action":"reject","cost":"1","scope":"local"}`)
	tag := resp.Header.Get("ETag")
	if resp.Header.Get("Location") != at || len(tag) < 4 || tag[0] != '"' {
		t.Errorf("Location %q, ETag %q", resp.Header.Get("Location"), tag)
	}
	_, resp, body := w.api("POST", "/api/v1/policies", contractPolicy, 409)
	if resp.Header.Get("Location") != at || !strings.Contains(body, "api-rate-limit") {
		t.Errorf("again: %v %s", resp.Header, body)
	}
	w.api("POST", "/api/v1/policies", `{"name":"from-file","limit":1}`, 409)
	_, resp, got := w.api("GET", at, "", 200)
	if got != text || resp.Header.Get("ETag") != tag {
		t.Errorf("GET gives %s, %s; POST gave %s, %s", resp.Header.Get("ETag"), got, tag, text)
	}
	w.api("GET", at, "", 304, "If-None-Match: "+tag)
	_, _, list := w.api("GET", "/api/v1/policies", "", 200)
	var all []map[string]any
	noError(t, json.Unmarshal([]byte(list), &all))
	if len(all) != 2 || all[0]["name"] != "from-file" || all[0]["source"] != "file" || all[0]["durable"] != true || all[1]["source"] != "api" {
		t.Errorf("the list: %s", list)
	}

	t.Run("in-force", func(t *testing.T) {
		resp, _ := fetch(t, "GET", w.url("/x"), "", "X-User-Id: 1", "X-Api-Key: 2")
		if left(resp, "api-rate-limit") != 99 || !strings.Contains(resp.Header.Get("RateLimit-Policy"), `"api-rate-limit";q=1000;w=60`) {
			t.Errorf("%v", resp.Header)
		}
		if resp, _ := fetch(t, "GET", w.url("/x"), "", "X-User-Id: 1"); left(resp, "api-rate-limit") != -1 {
			t.Errorf("without a key: %v", resp.Header)
		}
	})
	t.Run("put", func(t *testing.T) {
		const changed = `{"algorithm":"token_bucket","limit":500,"window":"1m","burst":40,"dimensions":["user_id","api_key"]}`
		w.api("PUT", at, changed, 412, `If-Match: "other"`)
		w.api("PUT", at, changed, 412, "If-Match: W/"+tag)
		a, resp, _ := w.api("PUT", at, changed, 200, "If-Match: "+tag)
		holds(t, a, changed)
		next := resp.Header.Get("ETag")
		if next == tag {
			t.Error("the ETag is the same")
		}
		w.api("PUT", at, changed, 412, "If-Match: "+tag)
		if _, resp, _ := w.api("PUT", at, changed, 200, "If-Match: "+next); resp.Header.Get("ETag") != next {
			t.Error("the same policy has another ETag")
		}
		if resp, _ := fetch(t, "GET", w.url("/x"), "", "X-User-Id: 1", "X-Api-Key: 2"); left(resp, "api-rate-limit") != 38 { // two are spent
			t.Errorf("what was spent is not: %v", resp.Header)
		}
		w.api("PUT", at, `{"name":"other","limit":1}`, 422)
		w.api("PUT", "/api/v1/policies/new", `{"limit":1}`, 412, "If-Match: *")
		_, resp, _ = w.api("PUT", "/api/v1/policies/new", `{"limit":1,"when":"request.method == 'PATCH'"}`, 201)
		if resp.Header.Get("Location") != "/api/v1/policies/new" {
			t.Errorf("Location %q", resp.Header.Get("Location"))
		}
	})
	t.Run("file", func(t *testing.T) {
		w.api("PUT", "/api/v1/policies/from-file", `{"limit":1}`, 409)
		w.api("DELETE", "/api/v1/policies/from-file", "", 409)
	})
	t.Run("faults", func(t *testing.T) {
		f := func(body string, status int, words ...string) {
			t.Helper()
			_, _, text := w.api("POST", "/api/v1/policies", body, status)
			for _, word := range words {
				if !strings.Contains(text, word) {
					t.Errorf("%s: %s does not hold %s", body, text, word)
				}
			}
		}
		f(`{"name":"x","limit":1,"windw":"1m"}`, 422, "windw", "window", `"line"`)
		f(`{"name":"x","limit":1,"dimensions":["tenat"]}`, 422, "tenat", "tenant")
		f(`{"name":"x","limit":0}`, 422, "limit")
		f(`{"name":"x","limit":"5%"}`, 422, "parent")
		f(`{"name":"x","parent":"nobody"}`, 422, "nobody")
		f(`{"name":"x","limit":1,"when":"request.methd == 'GET'"}`, 422, "methd")
		f(`{"limit":1}`, 422, "name")
		f(``, 422)
		f(`{"name":`, 422)
		w.api("GET", "/api/v1/policies/x", "", 404)
	})
	t.Run("delete", func(t *testing.T) {
		w.api("POST", "/api/v1/policies", `{"name":"child","parent":"api-rate-limit","limit":"50%"}`, 201)
		w.api("DELETE", at, "", 409)
		w.api("DELETE", "/api/v1/policies/child", "", 204)
		w.api("DELETE", at, "", 412, "If-Match: "+tag)
		w.api("DELETE", at, "", 204)
		w.api("DELETE", at, "", 404)
		w.api("GET", at, "", 404)
		if resp, _ := fetch(t, "GET", w.url("/x"), "", "X-User-Id: 1", "X-Api-Key: 2"); left(resp, "api-rate-limit") != -1 {
			t.Errorf("it still applies: %v", resp.Header)
		}
	})
}

// TestPolicyAPIReload reloads the file under policies that came by the API.
func TestPolicyAPIReload(t *testing.T) {
	t.Parallel()
	w := startWeir(t, apiConfig, nil)
	w.api("POST", "/api/v1/policies", `{"name":"by-user","algorithm":"fixed_window","dimensions":["user_id"],"limit":10,"window":"8760h"}`, 201)
	w.api("POST", "/api/v1/policies", `{"name":"child","parent":"from-file","limit":"10%"}`, 201)
	f := func(want, child int) {
		t.Helper()
		if resp, _ := fetch(t, "GET", w.url("/x"), "", "X-User-Id: 1", "X-Tenant: t"); left(resp, "by-user") != want || left(resp, "child") != child {
			t.Errorf("%d %v, want %d and %d left", resp.StatusCode, resp.Header, want, child)
		}
	}
	reload := func(old, new string, status int) (body string) {
		t.Helper()
		w.writeConfig(strings.Replace(apiConfig, old, new, 1))
		_, _, body = w.api("POST", "/api/v1/config/reload", "", status)
		return body
	}
	f(9, 4)
	reload("limit: 50", "limit: 80", 200)
	f(8, 6) // 10 % of 80, two are spent
	if body := reload(`  - {name: user_id, from: "header:x-user-id"}`+"\n", "", 422); !strings.Contains(body, "policy by-user") || !strings.Contains(body, "user_id") {
		t.Errorf("without the dimension: %s", body)
	}
	f(7, 5)
	if body := reload("name: from-file", "name: renamed", 422); !strings.Contains(body, "policy child") || !strings.Contains(body, "from-file") {
		t.Errorf("without the parent: %s", body)
	}
	if body := reload("  - {name: from-file", "  - {name: by-user, limit: 7}\n  - {name: from-file", 422); !strings.Contains(body, "by-user") {
		t.Errorf("a policy of that name in the file: %s", body)
	}
	f(6, 4)
	if w.metric("weir_config_reload_success") != 0 {
		t.Error("the metric does not say that reloads fail")
	}
	w.api("DELETE", "/api/v1/policies/by-user", "", 204)
	reload(`  - {name: user_id, from: "header:x-user-id"}`+"\n", "", 200)
	w.stop()
	w = w.again() // they do not outlive a restart, and say so
	w.api("GET", "/api/v1/policies/child", "", 404)
}

// TestCheckAPI asks for leave as a program beside the data plane does.
func TestCheckAPI(t *testing.T) {
	t.Parallel()
	w := startWeir(t, apiConfig+`
  - {name: user, algorithm: fixed_window, dimensions: [user_id, api_key], limit: 5, window: 8760h, routes: [data]}
  - {name: by-key, parent: all-keys, algorithm: fixed_window, dimensions: [key], limit: 50%}
  - {name: all-keys, algorithm: fixed_window, limit: 100, window: 8760h, when: "request.host == 'keys'"}
`, nil)
	f := func(body string, status int, want string) map[string]any {
		t.Helper()
		a, _, _ := w.api("POST", "/api/v1/check", body, status)
		holds(t, a, want)
		return a
	}
	peek := strings.Replace(contractCheck, `"tokens":1`, `"tokens":0`, 1)
	f(peek, 200, `{"allowed":true,"remaining":5}`)
	f(peek, 200, `{"allowed":true,"remaining":5}`)
	for i := range 5 {
		a := f(contractCheck, 200, fmt.Sprintf(`{"allowed":true,"key":"user:12345","limit":5,"remaining":%d,"retry_after_ms":0}`, 4-i))
		if got, want := fmt.Sprint(a["decisions"]), fmt.Sprintf("[map[allowed:true level:0 limit:5 mode:enforce policy:user remaining:%d]]", 4-i); got != want {
			t.Errorf("decisions %s, want %s", got, want)
		}
		if n, ok := a["reset_after_ms"].(float64); !ok || n <= 0 {
			t.Errorf("reset_after_ms %v", a["reset_after_ms"])
		}
	}
	a, resp, _ := w.api("POST", "/api/v1/check", contractCheck, 429)
	holds(t, a, `{"allowed":false,"key":"user:12345","limit":5,"remaining":0,"reason":"limited; policy=\"user\""}`)
	if n, ok := a["retry_after_ms"].(float64); !ok || n <= 0 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("retry_after_ms %v, Retry-After %q", a["retry_after_ms"], resp.Header.Get("Retry-After"))
	}
	f(peek, 200, `{"allowed":true,"remaining":0}`)
	if resp, _ := fetch(t, "GET", w.url("/api/data"), "", "X-User-Id: 12345", "X-Api-Key: abc123"); resp.StatusCode != 429 { // the same buckets
		t.Errorf("through the gateway: %d", resp.StatusCode)
	}
	f(strings.Replace(contractCheck, "/api/data", "/elsewhere", 1), 200, `{"allowed":true,"reason":"no policy applies","decisions":[]}`)

	t.Run("key", func(t *testing.T) { // its bucket and, with the host, its parent's
		const body = `{"key":"k1","tokens":20,"metadata":{"host":"keys"}}`
		f(body, 200, `{"allowed":true,"limit":50,"remaining":30}`)
		a := f(body, 200, `{"allowed":true,"remaining":10}`)
		if got, want := fmt.Sprint(a["decisions"]), "[map[allowed:true level:0 limit:100 mode:enforce policy:all-keys remaining:60] map[allowed:true level:1 limit:50 mode:enforce policy:by-key remaining:10]]"; got != want {
			t.Errorf("decisions %s, want %s", got, want)
		}
		f(body, 429, `{"allowed":false,"limit":50,"remaining":10,"reason":"limited; policy=\"by-key\""}`)
		f(strings.Replace(body, "k1", "k2", 1), 200, `{"limit":100,"remaining":40}`) // the parent is the tighter: 40 % and not 60 %
		f(strings.Replace(body, "k1", "k2", 1), 200, `{"limit":50,"remaining":10}`)
		f(strings.Replace(body, "k1", "k3", 1), 200, `{"limit":100,"remaining":0}`)
		f(strings.Replace(body, "k1", "k4", 1), 429, `{"reason":"limited; policy=\"all-keys\""}`)
	})
	t.Run("batch", func(t *testing.T) {
		one := strings.Replace(contractCheck, "12345", "9", 2)
		_, _, text := w.api("POST", "/api/v1/check", `{"checks":[`+strings.Repeat(one+",", 6)+contractCheck+`]}`, 200)
		var batch struct{ Results []map[string]any }
		noError(t, json.Unmarshal([]byte(text), &batch))
		if len(batch.Results) != 7 {
			t.Fatalf("%s", text)
		}
		for i, r := range batch.Results {
			if r["allowed"] != (i < 5) {
				t.Errorf("check %d: %v", i, r)
			}
		}
		w.api("POST", "/api/v1/check", `{"checks":[`+strings.Repeat(one+",", 1000)+one+`]}`, 422)
		w.api("POST", "/api/v1/check", `{"checks":[`+strings.Replace(one, `"9"`, `"8"`, 1)+`,{"key":""}]}`, 422)
		f(strings.Replace(strings.Replace(peek, `"12345"`, `"8"`, 1), "x", "x", 1), 200, `{"remaining":5}`) // nothing of a faulty batch was spent
	})
	t.Run("faults", func(t *testing.T) {
		for _, body := range []string{`{}`, `{"key":"a","tokens":-1}`, `{"key":"a","token":1}`, `{"key":"a","metadata":{"x":[]}}`, `[]`, `{"key":5}`} {
			resp, text := w.call("POST", "/api/v1/check", body, "Content-Type: application/json")
			if resp.StatusCode != 400 && resp.StatusCode != 422 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
				t.Errorf("%s: %d %s", body, resp.StatusCode, text)
			}
		}
	})
	t.Run("metrics-and-reset", func(t *testing.T) {
		const body = `{"key":"user:77","metadata":{"user_id":"7","api_key":"7","endpoint":"/api/x"}}`
		for i := range 7 {
			f(body, 200+229*(i/5), `{"key":"user:77"}`)
		}
		a, _, text := w.api("GET", "/api/v1/metrics?key=user:77", "", 200)
		holds(t, a, `{"key":"user:77"}`)
		for _, want := range []string{`"policy":"user"`, `"limit":5`, `"allowed":5`, `"refused":2`, `"remaining":0`, `"node":"gw-1"`, `"rate_1s"`, `"rate_1m"`} {
			if !strings.Contains(strings.ReplaceAll(text, `": `, `":`), want) {
				t.Errorf("%s does not hold %s", text, want)
			}
		}
		if _, _, text := w.api("GET", "/api/v1/metrics", "", 200); !strings.Contains(text, "user:77") {
			t.Errorf("the summary does not name a busy key: %s", text)
		}
		w.api("GET", "/api/v1/metrics?key=nobody", "", 404)
		w.api("DELETE", "/api/v1/keys/user:77", "", 200)
		f(body, 200, `{"remaining":4}`)
		w.api("DELETE", "/api/v1/keys/nobody", "", 404)
	})
	t.Run("explain", func(t *testing.T) {
		fetch(t, "GET", w.url("/api/y"), "", "X-User-Id: e", "X-Api-Key: e", "X-Tenant: e")
		for range 3 {
			_, _, text := w.api("POST", "/api/v1/explain", `{"method":"GET","url":"http://a.test/api/y","headers":{"x-user-id":"e","x-api-key":"e","x-tenant":"e"}}`, 200)
			for policy, want := range map[string]int{"user": 4, "from-file": 49} {
				if n := number(text, `(?s)"policy":\s*"`+policy+`".*?"remaining":\s*(\d+)`); n != want {
					t.Errorf("%s: %d left, want %d: %s", policy, n, want, text)
				}
			}
		}
	})
}
