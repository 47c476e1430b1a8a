package tests

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

const adminConfig = `
node: {name: test, data_dir: ""}
admin: {address: "@admin", tokens: [{name: ops, token: "an-admin-token-1234", role: admin}, {name: eyes, token: "a-viewer-token-1234"}]}
telemetry: {access_log: {output: "@dir/access.log"}}
listeners: [{name: web, address: "@web"}]
dimensions: [{name: key, from: "header:x-api-key", secret: true}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes:
  - {name: api, match: {path: "/api/*"}, pool: up}
  - {name: rest, respond: {status: 204}}
policies: [{name: per-key, dimensions: [key], limit: 2, window: 1h, routes: [api]}]
`

// call is a request to the admin address with fields of its own.
func (w *weir) call(method, path, body string, fields ...string) (*http.Response, string) {
	w.t.Helper()
	return fetch(w.t, method, w.adminURL(path), body, fields...)
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	up := serve(t, say("ok"))
	w := startWeir(t, adminConfig, map[string]string{"up": up.addr})
	const ops, eyes = "Authorization: Bearer an-admin-token-1234", "Authorization: Bearer a-viewer-token-1234"
	t.Run("health", func(t *testing.T) {
		for _, path := range []string{"/livez", "/readyz"} {
			if resp, body := w.call("GET", path, ""); resp.StatusCode != 200 {
				t.Errorf("%s: %d %s", path, resp.StatusCode, body)
			}
		}
	})
	t.Run("tokens", func(t *testing.T) {
		f := func(method, path string, want int, fields ...string) {
			t.Helper()
			if resp, body := w.call(method, path, "", fields...); resp.StatusCode != want {
				t.Errorf("%s %s %q: %d %s, want %d", method, path, fields, resp.StatusCode, body, want)
			}
		}
		f("GET", "/api/v1/routes", 401)
		f("GET", "/api/v1/routes", 401, "Authorization: Bearer an-admin-token-123")
		f("GET", "/api/v1/routes", 401, "Authorization: Basic eDp5")
		f("GET", "/api/v1/routes", 200, eyes)
		f("GET", "/api/v1/routes", 200, ops)
		f("POST", "/api/v1/config/reload", 401)
		f("POST", "/api/v1/config/reload", 403, eyes)
		f("POST", "/api/v1/config/reload", 200, ops)
		f("POST", "/api/v1/config/reload", 403, ops, "Origin: http://evil.test", "Sec-Fetch-Site: cross-site")
		f("POST", "/api/v1/config/reload", 403, ops, "Sec-Fetch-Site: cross-site")
		f("GET", "/api/v1/none", 404, ops)
		f("DELETE", "/api/v1/routes", 405, ops)
	})
	t.Run("shows", func(t *testing.T) {
		for path, want := range map[string][]string{
			"/api/v1/routes": {`"api"`, `"rest"`}, "/api/v1/pools": {`"up"`, up.addr}, "/api/v1/config": {"per-key", w.addr("web")},
		} {
			resp, body := w.call("GET", path, "", eyes)
			if !json.Valid([]byte(body)) || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
				t.Errorf("%s is no JSON: %v %.200s", path, resp.Header, body)
			}
			for _, s := range want {
				if !strings.Contains(body, s) {
					t.Errorf("%s does not hold %s: %.2000s", path, s, body)
				}
			}
			if strings.Contains(body, "an-admin-token") {
				t.Errorf("%s shows a token", path)
			}
		}
	})
	t.Run("explain", func(t *testing.T) {
		const ask = `{"method":"GET","url":"http://a.test/api/x","headers":{"x-api-key":"k-secret"},"remote":"192.0.2.7"}`
		for range 5 { // no side effects: the limit is 2
			resp, body := w.call("POST", "/api/v1/explain", ask, eyes, "Content-Type: application/json")
			if resp.StatusCode != 200 || !strings.Contains(body, `"api"`) || !strings.Contains(body, "per-key") || strings.Contains(body, `"limited"`) {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			if strings.Contains(body, "k-secret") {
				t.Error("a secret dimension is shown")
			}
		}
		resp, body := w.call("POST", "/api/v1/explain", `{"methd":"GET"}`, eyes, "Content-Type: application/json")
		if resp.StatusCode != 400 || !strings.Contains(body, "methd") || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
			t.Errorf("an unknown field: %d %v %s", resp.StatusCode, resp.Header, body)
		}
	})
	t.Run("validate", func(t *testing.T) {
		good, _ := os.ReadFile(w.config)
		if resp, body := w.call("POST", "/api/v1/config/validate", string(good), ops, "Content-Type: application/yaml"); resp.StatusCode != 200 {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
		bad := strings.Replace(string(good), "pool: up", "pool: upp", 1)
		resp, body := w.call("POST", "/api/v1/config/validate", bad, ops, "Content-Type: application/yaml")
		if resp.StatusCode/100 != 4 || !strings.Contains(body, "upp") || !strings.Contains(body, `"line"`) {
			t.Errorf("a pool that is not there: %d %s", resp.StatusCode, body)
		}
	})
	t.Run("metrics", func(t *testing.T) {
		for range 3 {
			fetch(t, "GET", w.url("/api/x"), "", "X-Api-Key: k-secret")
		}
		dial(t, w.addr("web")).ask("GET /?\"q\" HTTP/1.1\r\nHost: a.test\r\nUser-Agent: \"}\\\xff{\"\r\n\r\n")
		_, body := w.call("GET", "/metrics", "", eyes)
		for _, want := range []string{`weir_http_requests_total{`, `route="api"`, "weir_http_request_duration_seconds", "weir_http_response_bytes_total",
			"weir_upstream_requests_total{", "weir_upstream_healthy{", "weir_upstream_inflight{", "weir_breaker_state{", "weir_limiter_decisions_total{",
			"weir_limiter_keys", "weir_config_reload_success", "weir_config_reload_timestamp_seconds", "weir_config_info{", "weir_connections",
			"go_goroutines", "process_resident_memory_bytes"} {
			if !strings.Contains(body, want) {
				t.Errorf("/metrics has no %s", want)
			}
		}
		if strings.Contains(body, "k-secret") {
			t.Error("/metrics shows a key")
		}
	})
	t.Run("access-log", func(t *testing.T) {
		var lines []string
		eventually(t, 4*time.Second, "lines of four requests", func() bool {
			text, _ := os.ReadFile(w.dir + "/access.log")
			lines = strings.Split(strings.TrimSpace(string(text)), "\n")
			return len(lines) >= 4
		})
		all := strings.Join(lines, "\n")
		for _, line := range lines {
			if !json.Valid([]byte(line)) {
				t.Errorf("no JSON: %s", line)
			}
		}
		for _, want := range []string{`"api"`, `"up"`, up.addr, "429", `"limited"`, "per-key", "/api/x", "204"} {
			if !strings.Contains(all, want) {
				t.Errorf("the access log does not hold %s:\n%s", want, all)
			}
		}
		if strings.Contains(all, "k-secret") {
			t.Error("the access log shows a secret")
		}
	})
	t.Run("not-through-the-data-plane", func(t *testing.T) {
		for _, path := range []string{"/metrics", "/readyz", "/api/v1/config"} {
			resp, body := fetch(t, "GET", w.url(path), "", "Host: "+w.addr("admin"), eyes)
			if strings.Contains(body, "weir_") || strings.Contains(body, "listeners") || resp.StatusCode == 401 {
				t.Errorf("%s: %d %.100s", path, resp.StatusCode, body)
			}
		}
	})
}

// TestAdminOpen checks that without tokens the API on loopback is open, but not to a browser's cross-site request.
func TestAdminOpen(t *testing.T) {
	t.Parallel()
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
`+fixedRoute, nil)
	f := func(method, path string, want int, fields ...string) {
		t.Helper()
		if resp, body := w.call(method, path, "", fields...); resp.StatusCode != want {
			t.Errorf("%s %s %q: %d %s, want %d", method, path, fields, resp.StatusCode, body, want)
		}
	}
	f("GET", "/api/v1/routes", 200)
	f("POST", "/api/v1/config/reload", 200)
	f("POST", "/api/v1/config/reload", 403, "Sec-Fetch-Site: cross-site")
	f("POST", "/api/v1/config/reload", 403, "Origin: http://evil.test")
}
