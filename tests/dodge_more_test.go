package tests

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestNoReadingDodgesALimit: the spellings here are only some servers' for the value that is limited.
func TestNoReadingDodgesALimit(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{} // requests by case in which such a server would read the value
	read := map[string]func(r *http.Request, raw string) bool{}
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		name := r.Header.Get("X-Case")
		mu.Lock()
		defer mu.Unlock()
		if can := read[name]; can == nil || can(r, fmt.Sprint(r.Method, r.Host, r.RequestURI, r.Header, r.Trailer)) {
			seen[name]++
		}
	})
	w := startWeir(t, onePool+`
dimensions:
  - {name: q, from: "query:q_k"}
  - {name: c, from: "cookie:sid"}
  - {name: h, from: "header:x-api-key"}
  - {name: t, from: "header:x-tenant", default: anonymous}
  - {name: e, from: 'expr: "sid=" + (request.headers[?"cookie"].orValue("").contains("xid=real") ? "real" : "")'}
policies:
  - {name: q, dimensions: [q], limit: 3, window: 24h, when: "request.path == '/q'"}
  - {name: c, dimensions: [c], limit: 3, window: 24h, when: "request.path == '/c'"}
  - {name: h, dimensions: [h], limit: 3, window: 24h, when: "request.path == '/h'"}
  - {name: t, dimensions: [t], limit: 3, window: 24h, when: "request.path == '/t'"}
  - {name: m, limit: 3, window: 24h, when: "request.method == 'POST'"}
  - {name: d, dimensions: [host], limit: 3, window: 24h, when: "request.path == '/d'"}
  - {name: e, dimensions: [e], limit: 3, window: 24h, when: "e == 'sid=real'"}
`, map[string]string{"up": up.addr})
	f := func(name, line string, can func(r *http.Request, raw string) bool, fields ...string) {
		t.Helper()
		mu.Lock()
		read[name] = can
		mu.Unlock()
		for i := range 8 {
			n := fmt.Sprint(i)
			head := strings.ReplaceAll(line, "#", n) + " HTTP/1.1\r\nX-Case: " + name + "\r\n"
			if !strings.Contains(strings.Join(fields, "\n"), "Host:") {
				head += "Host: a.test\r\n"
			}
			body := "\r\n"
			for _, f := range fields {
				if b, ok := strings.CutPrefix(f, "BODY "); ok {
					body = "\r\n" + b
					continue
				}
				head += strings.ReplaceAll(f, "#", n) + "\r\n"
			}
			dial(t, w.addr("web")).ask(head + body)
		}
		mu.Lock()
		defer mu.Unlock()
		if got := seen[name]; got > 3 {
			t.Errorf("%s: %d requests got through as one client's, the limit is 3", name, got)
		}
		for _, k := range []string{"real", "anonymous", "a.test", "sid=real"} {
			w.admin("DELETE", "/api/v1/keys/"+k, "")
		}
	}
	holds := func(_ *http.Request, raw string) bool { return strings.Contains(raw, "real") }
	f("list", "GET /q?q_k[]=real", nil)
	f("list-escaped", "GET /q?q_k%5B0%5D=real", nil)
	for _, q := range []string{"[q_k]=real", "%5Bq_k%5D=real", "[q_k=real", "q_k]=real", "]q_k=real", "q_k=#&q_k]=real", "[q_k]=real&q_k=#"} {
		f("bracket "+q, "GET /q?"+q, nil) // qs of Express 4 and older Rack
	}
	f("php-dot", "GET /q?q.k=real", nil)
	f("php-space", "GET /q?+q_k=real", nil)
	f("php-nul-name", "GET /q?q_k%00x=real", nil)
	f("nul-value", "GET /q?q_k=real%00#", nil)
	f("semicolon-value", "GET /q?q_k=real;#", nil)
	f("cookie-comma", "GET /c", nil, "Cookie: a=1, sid=real")
	f("cookie-comma-behind", "GET /c", nil, "Cookie: sid=real, x#")
	f("cookie-backslash", "GET /c", nil, `Cookie: sid="re\al#"`)
	f("cookie-raw-second", "GET /e", nil, "Cookie: a=#", "Cookie: xid=real")
	f("sign", "GET /h", holds, "X.Api.Key: real")
	f("tilde", "GET /h", holds, "X~Api~Key: real")
	f("withdrawn", "GET /t", func(r *http.Request, raw string) bool { return r.Header.Get("X-Tenant") == "" }, "X-Tenant: t#", "Connection: X-Tenant")
	f("method", "post /m", nil)
	f("method-mixed", "Post /m", nil)
	f("host-case", "GET /d", nil, "Host: A.test")
	for i, cookie := range []string{"sid=real", "sid=re%61l", "sid=%72eal", `sid="real"`, "sid =real", "sid= real", "a=1;sid=rea%6c"} { // one value, one limit
		dial(t, w.addr("web")).ask(fmt.Sprintf("GET /c?%d HTTP/1.1\r\nX-Case: spelled\r\nHost: a.test\r\nCookie: %s\r\n\r\n", i, cookie))
	}
	for i, host := range []string{"b.test", "b.test.", "B.test:80", "b.TEST.:80", "b.test:", "b.test.", "b.test"} { // one name, one limit
		dial(t, w.addr("web")).ask(fmt.Sprintf("GET /d?%d HTTP/1.1\r\nX-Case: host\r\nHost: %s\r\n\r\n", i, host))
	}
	mu.Lock()
	defer mu.Unlock()
	if n := seen["spelled"]; n != 3 {
		t.Errorf("cookie: %d got through, want 3", n)
	}
	if n := seen["host"]; n != 3 {
		t.Errorf("host: %d got through, want 3", n)
	}
}

// TestNoSpellingTakesALaxRoute: a route is taken only if every server finds the parameter that it asks for.
func TestNoSpellingTakesALaxRoute(t *testing.T) {
	t.Parallel()
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
routes:
  - {name: lax, match: {query: [{name: export}]}, respond: {body: lax}}
  - {name: strict, respond: {body: strict}}
`, nil)
	f := func(query string, status int, body string) {
		t.Helper()
		resp := dial(t, w.addr("web")).ask("GET /?" + query + " HTTP/1.1\r\nHost: a.test\r\n\r\n")
		if resp.status != status || !strings.Contains(string(resp.body), body) {
			t.Errorf("%s: %d %q, want %d %q", query, resp.status, resp.body, status, body)
		}
	}
	f("export", 200, "lax")
	f("export=1&export=2&export[]=3", 200, "lax")
	f("exports=1&a=1;b", 200, "strict")
	const hidden = "query parameter export is spelled so that only some servers read it"
	for _, q := range []string{"a=1;export=1", "export[]=1", "+export=1", "[export]=1", "export]=1"} {
		f(q, 400, hidden)
	}
	f("export=1;a=1", 400, "query parameter export stands beside a ;")
	for _, q := range []string{"export=%zz", "export=1]=2"} {
		f(q, 400, "query parameter export is malformed")
	}
}
