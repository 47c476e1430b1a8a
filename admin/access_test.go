package admin

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"weir/config"
)

func TestRoles(t *testing.T) {
	calls := []struct {
		line, body, field string
		none, viewer      int // statuses; an admin is answered 2xx
	}{
		{"GET /livez", "", "", 200, 200},
		{"GET /readyz", "", "", 200, 200},
		{"HEAD /readyz", "", "", 200, 200},
		{"GET /", "", "", 401, 200},
		{"GET /metrics", "", "", 401, 200},
		{"GET /api/v1/routes", "", "", 401, 200},
		{"HEAD /api/v1/routes", "", "", 401, 200},
		{"GET /api/v1/pools", "", "", 401, 200},
		{"GET /api/v1/cluster", "", "", 401, 200},
		{"GET /api/v1/config", "", "", 401, 200},
		{"GET /api/v1/version", "", "", 401, 200},
		{"POST /api/v1/explain", `{"url":"/x"}`, asJSON, 401, 200},
		{"GET /api/v1/policies", "", "", 401, 200},
		{"POST /api/v1/policies", "name: new", asYAML, 401, 403},
		{"GET /api/v1/policies/plan", "", "", 401, 200},
		{"HEAD /api/v1/policies/plan", "", "", 401, 200},
		{"PUT /api/v1/policies/plan", "name: plan", asYAML, 401, 403},
		{"DELETE /api/v1/policies/plan", "", "", 401, 403},
		{"POST /api/v1/check", `{"key":"k"}`, asJSON, 401, 403},
		{"POST /api/v1/check", `{"key":"k","tokens":1}`, asJSON, 401, 403},
		{"POST /api/v1/check", `{"key":"k","tokens":0}`, asJSON, 401, 200},
		{"POST /api/v1/check", `{"checks":[{"key":"k","tokens":0},{"key":"l"}]}`, asJSON, 401, 403},
		{"POST /api/v1/check", `{"checks":[{"key":"k","tokens":0},{"key":"l","tokens":0}]}`, asJSON, 401, 200},
		{"GET /api/v1/metrics", "", "", 401, 200},
		{"GET /api/v1/backpressure", "", "", 401, 200},
		{"POST /api/v1/backpressure", "{}", asJSON, 401, 403},
		{"DELETE /api/v1/backpressure", "", "", 401, 403},
		{"DELETE /api/v1/cache?tag=a", "", "", 401, 403},
		{"GET /api/v1/metrics?key=user:1", "", "", 401, 200},
		{"DELETE /api/v1/keys/user:1", "", "", 401, 403},
		{"POST /api/v1/config/validate", "x: 1", asYAML, 401, 403},
		{"POST /api/v1/config/reload", "", "", 401, 403},
		{"POST /api/v1/pools/api/endpoints/a:1/drain", "", "", 401, 403},
		{"POST /api/v1/pools/api/endpoints/a:1/ready", "", "", 401, 403},
	}
	covered := make(map[string]bool)
	for _, c := range calls {
		f := func(who string, want int, fields ...string) {
			t.Helper()
			g := closed()
			w := ask(g.Handler(), c.line, c.body, append(fields, c.field, "Peer: 192.0.2.1:5", "Host: gw.example")...)
			if got := w.Code; got != want && (want != 200 || got/100 != 2) {
				t.Errorf("%s %s as %s: %d, want %d", c.line, c.body, who, got, want)
			}
			if want != 200 && len(g.gateway.asked)+len(g.gateway.checks) > 0 {
				t.Errorf("%s as %s was done: %v", c.line, who, g.gateway.asked)
			}
		}
		f("nobody", c.none)
		f("stranger", c.none, bearerOf("wrong-token-0123456789"))
		f("viewer", c.viewer, bearerOf(viewerToken))
		f("admin", 200, bearerOf(adminToken))
		method, path, _ := strings.Cut(c.line, " ")
		path, _, _ = strings.Cut(path, "?")
		covered[method+" "+path] = true
	}
	for pattern, all := range closed().paths() {
		path := strings.NewReplacer("{$}", "", "{pool}", "api", "{address}", "a:1", "{name}", "plan", "{key}", "user:1").Replace(pattern)
		for method := range all {
			if !covered[method+" "+path] {
				t.Errorf("%s %s is not in the table", method, path)
			}
		}
	}
}

func TestBearer(t *testing.T) {
	f := func(want int, fields ...string) {
		t.Helper()
		w := ask(closed().Handler(), "GET /", "", fields...)
		if w.Code != want {
			t.Errorf("%q: %d, want %d", fields, w.Code, want)
		}
		if want == 401 {
			challenge := w.Header().Get("WWW-Authenticate")
			if !strings.HasPrefix(challenge, `Bearer realm=`) || strings.Contains(challenge, "invalid_token") != (len(fields) > 0) {
				t.Errorf("%q: WWW-Authenticate: %s", fields, challenge)
			}
			if strings.Contains(w.Body.String(), adminToken) {
				t.Error("the answer holds a token")
			}
			refused(t, "bearer", w, 401, "admin.tokens")
		}
	}
	f(401)
	f(200, bearerOf(adminToken))
	f(200, "Authorization: bearer "+adminToken)
	f(200, "Authorization: BEARER  "+adminToken+" ")
	f(401, "Authorization: Bearer")
	f(401, "Authorization: Bearer ")
	f(401, "Authorization: "+adminToken)
	f(401, "Authorization: Basic "+adminToken)
	f(401, bearerOf(adminToken[:len(adminToken)-1]))
	f(401, bearerOf(adminToken+"x"))
	f(401, bearerOf(strings.ToUpper(adminToken)))
	f(401, bearerOf(adminToken+" "+adminToken))
	f(401, bearerOf(viewerToken), bearerOf(adminToken))
}

func TestTokensThatLetNobodyIn(t *testing.T) {
	g := open()
	f := func(role string, want int) {
		t.Helper()
		g.Reconfigure(g.options(config.Token{Name: "odd", Token: adminToken, Role: role}))
		if w := ask(g.Handler(), "POST /api/v1/config/reload", "", bearerOf(adminToken)); w.Code != want {
			t.Errorf("role %q: %d, want %d", role, w.Code, want)
		}
	}
	f("admin", 200)
	f("viewer", 403)
	f("", 403)
	f("Admin", 403)
	g.Reconfigure(g.options(config.Token{Name: "empty", Role: "admin"}))
	refused(t, "empty", ask(g.Handler(), "GET /", "", "Authorization: Bearer "), 401, "")
	refused(t, "none", ask(g.Handler(), "GET /", ""), 401, "")
}

func TestPathsAreNotToldToStrangers(t *testing.T) {
	for _, line := range []string{"GET /no/such", "DELETE /api/v1/routes", "GET /livez/x", "GET /livez/../api/v1/config", "GET //livez", "GET /%6civez/"} {
		if w := ask(closed().Handler(), line, ""); w.Code != 401 {
			t.Errorf("%s: %d", line, w.Code)
		}
	}
}

func TestCrossSiteRequestsAreRefused(t *testing.T) {
	f := func(want int, fields ...string) {
		t.Helper()
		for _, g := range []*rig{open(), closed()} {
			for _, line := range []string{"GET /api/v1/routes", "POST /api/v1/config/reload", "GET /livez", "POST /api/v1/policies",
				"PUT /api/v1/policies/plan", "DELETE /api/v1/policies/plan", "POST /api/v1/check", "DELETE /api/v1/keys/user:1", "GET /api/v1/metrics"} {
				body, media := "", asYAML
				if strings.HasSuffix(line, "check") {
					body, media = `{"key":"k"}`, asJSON
				}
				w := ask(g.Handler(), line, body, append(fields, bearerOf(adminToken), media)...)
				if got := w.Code; got != want && (want != 200 || got/100 != 2) {
					t.Errorf("%s %q: %d, want %d", line, fields, w.Code, want)
				}
				if want == 403 {
					refused(t, line, w, 403, "another site")
				}
			}
			if want == 403 && len(g.gateway.asked)+len(g.gateway.checks) > 0 {
				t.Errorf("%q was done: %v", fields, g.gateway.asked)
			}
		}
	}
	f(200)
	f(200, "Sec-Fetch-Site: same-origin", "Origin: http://127.0.0.1:8080")
	f(200, "Sec-Fetch-Site: none")
	f(200, "Origin: http://127.0.0.1:8080")
	f(200, "Origin: https://127.0.0.1:8080")
	f(200, "Host: LOCALHOST:8080", "Origin: http://localhost:8080")
	f(403, "Sec-Fetch-Site: cross-site")
	f(403, "Sec-Fetch-Site: same-site")
	f(403, "Sec-Fetch-Site: Same-Origin")
	f(403, "Sec-Fetch-Site: cross-site", "Origin: http://127.0.0.1:8080")
	f(403, "Sec-Fetch-Site: same-origin", "Origin: http://evil.example")
	f(403, "Origin: http://evil.example")
	f(403, "Origin: http://127.0.0.1:9999") // another port is another origin
	f(403, "Origin: http://127.0.0.1")
	f(403, "Origin: null")
	f(403, "Origin: ")
	f(403, "Origin: file://127.0.0.1:8080")
	f(403, "Origin: http://127.0.0.1:8080@evil.example")
	f(403, "Origin: http://127.0.0.1:8080", "Origin: http://evil.example")
	f(403, "Origin: http://%zz")
}

func TestRebindingIsRefused(t *testing.T) {
	f := func(host string, want int) {
		t.Helper()
		w := ask(open().Handler(), "GET /api/v1/routes", "", "Host: "+host)
		if w.Code != want {
			t.Errorf("Host %q: %d, want %d", host, w.Code, want)
		}
		if want == 403 {
			refused(t, host, w, 403, "only known by its IP address")
		}
		if w := ask(closed().Handler(), "GET /api/v1/routes", "", "Host: "+host, bearerOf(viewerToken)); w.Code != 200 {
			t.Errorf("Host %q with a token: %d", host, w.Code)
		}
	}
	f("127.0.0.1:8080", 200)
	f("127.0.0.1", 200)
	f("[::1]:8080", 200)
	f("[::1]", 200)
	f("localhost:8080", 200)
	f("LocalHost", 200)
	f("localhost.:8080", 200)
	f("", 200)
	f("evil.example", 403)
	f("evil.example:8080", 403)
	f("localhost.evil.example:8080", 403)
	f("127.0.0.1.nip.io:8080", 403)
	f("0x7f000001:8080", 403)
	f("2130706433", 403)
	f("evil.example:80:80", 403)
}

func TestWithoutTokensOnlyLoopbackIsAnswered(t *testing.T) {
	f := func(peer string, want int) {
		t.Helper()
		if w := ask(open().Handler(), "GET /livez", "", "Peer: "+peer); w.Code != want {
			t.Errorf("%s: %d, want %d", peer, w.Code, want)
		}
	}
	f("127.0.0.1:1", 200)
	f("127.8.9.1:1", 200)
	f("[::1]:1", 200)
	f("[::ffff:127.0.0.1]:1", 200)
	f("192.0.2.1:1", 403)
	f("10.0.0.1:1", 403)
	f("[2001:db8::1]:1", 403)
	f("@", 403)
	f("", 403)
}

func TestChangesAreLogged(t *testing.T) {
	f := func(line, token string, prepare func(*gateway), want ...string) {
		t.Helper()
		g := closed()
		if prepare != nil {
			prepare(&g.gateway)
		}
		ask(g.Handler(), line, "", bearerOf(token), "Peer: 192.0.2.9:4711")
		for _, w := range want {
			if !strings.Contains(g.log.String(), w) {
				t.Errorf("%s: no %s in %q", line, w, &g.log)
			}
		}
		if n := strings.Count(g.log.String(), "\n"); n != min(len(want), 1) {
			t.Errorf("%s: %d lines: %s", line, n, &g.log)
		}
		for _, secret := range []string{adminToken, viewerToken} {
			if strings.Contains(g.log.String(), secret) {
				t.Errorf("%s: a token in the log", line)
			}
		}
	}
	f("POST /api/v1/pools/api/endpoints/a:1/drain", adminToken, nil,
		`level=INFO msg="admin change" who=ops from=192.0.2.9:4711 action=drain pool=api endpoint=a:1 result=done`)
	f("POST /api/v1/pools/api/endpoints/a:1/ready", adminToken, nil, "level=INFO", "action=ready", "result=done")
	f("POST /api/v1/pools/x%0Ay/endpoints/a:1/drain", adminToken, nil, "level=WARN", `pool="x\ny"`, "not found")
	f("POST /api/v1/config/reload", adminToken, nil, "level=INFO", "who=ops", "action=reload", "result=done")
	f("POST /api/v1/config/reload", adminToken, func(g *gateway) {
		g.reloadErr = config.Faults{{File: "f", Line: 1, Col: 2, Message: "a"}, {File: "f", Line: 3, Col: 4, Message: "b"}}
	}, "level=WARN", `result="f:1:2: a (first of 2 faults)"`)
	f("POST /api/v1/config/reload", viewerToken, nil,
		`level=WARN msg="admin change refused" who=eve from=192.0.2.9:4711 method=POST path=/api/v1/config/reload`)
	f("DELETE /api/v1/policies/plan", adminToken, nil, `level=INFO msg="admin change" who=ops from=192.0.2.9:4711 action="delete policy" policy=plan result=done`)
	f("DELETE /api/v1/policies/none", adminToken, nil, "level=WARN", "policy=none", "not found")
	f("PUT /api/v1/policies/plan", adminToken, nil, "level=INFO", `action="put policy" policy=plan created=false etag=`, "result=done")
	f("POST /api/v1/policies", adminToken, nil, "level=INFO", `action="create policy" policy=new etag=`, "result=done")
	f("DELETE /api/v1/keys/user%3A1%2Fa", adminToken, nil, "level=INFO", `action="reset key" key=user:1/a result=done`)
	f("DELETE /api/v1/keys/x%0Ay", adminToken, nil, "level=WARN", `key=""`, "not found")
	f("DELETE /api/v1/keys/user:1", viewerToken, nil, `msg="admin change refused" who=eve`, "path=/api/v1/keys/{key}")
	f("POST /api/v1/check", viewerToken, nil) // 415
	f("GET /api/v1/routes", adminToken, nil)
	f("POST /api/v1/config/reload", "unknown-token-0123456789", nil)
}

func TestReloadKnowsWhoAsked(t *testing.T) {
	g, o := closed(), open()
	ask(g.Handler(), "POST /api/v1/config/reload", "", bearerOf(adminToken))
	ask(o.Handler(), "POST /api/v1/config/reload", "")
	if got := fmt.Sprint(g.gateway.asked, o.gateway.asked); got != "[reload by ops] [reload by local]" {
		t.Error(got)
	}
}

func TestConcurrentReconfigure(t *testing.T) {
	g := open()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 200 {
			g.Reconfigure(Options{Tokens: []config.Token{{Name: "a", Token: adminToken, Role: "viewer"}}})
			g.Reconfigure(Options{})
		}
	}()
	for range 200 {
		if w := ask(g.Handler(), "GET /api/v1/routes", "", bearerOf(adminToken)); w.Code != http.StatusOK {
			t.Errorf("%d", w.Code)
		}
	}
	<-done
}
