package tests

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestRoutes checks every way to match, and that the first in file order wins.
func TestRoutes(t *testing.T) {
	t.Parallel()
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
dimensions: [{name: plan, from: "header:x-plan", default: free}]
routes:
  - {name: exact, match: {path: /exact}, respond: {body: exact}}
  - {name: post, match: {path: /m, methods: [POST]}, respond: {body: post}}
  - {name: get, match: {path: /m, methods: [GET]}, respond: {body: get}}
  - {name: host, match: {hosts: [api.test], path: "/h/*"}, respond: {body: host}}
  - {name: wild, match: {hosts: ["*.wild.test"], path: "/h/*"}, respond: {body: wild}}
  - {name: header, match: {path: /f, headers: [{name: x-beta, value: "1"}]}, respond: {body: beta}}
  - {name: header-regex, match: {path: /f, headers: [{name: x-beta, regex: "^v[0-9]+$"}]}, respond: {body: version}}
  - {name: query, match: {path: /f, query: [{name: debug}]}, respond: {body: debug}}
  - {name: when, match: {path: /f, when: "plan == 'gold' && request.method == 'GET'"}, respond: {body: gold}}
  - {name: rest, match: {path: /f}, respond: {body: rest}}
  - {name: param, match: {path: "/users/:id/orders"}, respond: {body: orders}}
  - {name: regex, match: {path: "~^/v[0-9]+/x$"}, respond: {body: regex}}
  - {name: moved, match: {path: "/old/*"}, redirect: {status: 308, to: "https://${host}/new${path}?${query}"}}
  - {name: created, match: {path: /created}, respond: {status: 201, body: '{"a":1}', headers: [{name: content-type, value: application/json}, {name: x-a, value: "1"}]}}
  - {name: prefix, match: {path: "/exact/*"}, respond: {body: prefix}}
`, nil)
	f := func(method, path string, status int, want string, fields ...string) {
		t.Helper()
		resp, text := fetch(t, method, w.url(path), "", fields...)
		if resp.StatusCode != status || want != "" && text != want {
			t.Errorf("%s %s %q: %d %q, want %d %q", method, path, fields, resp.StatusCode, text, status, want)
		}
		if status == 404 && reasonOf(resp) != "no_route" {
			t.Errorf("%s %s: Weir-Reason %q", method, path, reasonOf(resp))
		}
	}
	f("GET", "/exact", 200, "exact")
	f("GET", "/exact?x=/y", 200, "exact")
	f("GET", "/exact/deep", 200, "prefix")
	f("GET", "/exactly", 404, "")
	f("GET", "/m", 200, "get")
	f("HEAD", "/m", 200, "")
	f("POST", "/m", 200, "post")
	f("DELETE", "/m", 404, "")
	f("GET", "/h/x", 200, "host", "Host: api.test")
	f("GET", "/h/x", 200, "host", "Host: API.test:8000")
	f("GET", "/h/x", 200, "wild", "Host: a.b.wild.test")
	f("GET", "/h/x", 404, "", "Host: wild.test")
	f("GET", "/h/x", 404, "", "Host: evilapi.test")
	f("GET", "/f", 200, "beta", "X-Beta: 1")
	f("GET", "/f", 200, "version", "X-Beta: v12")
	f("GET", "/f?debug", 200, "debug")
	f("GET", "/f?a=b&debug=1", 200, "debug")
	f("GET", "/f?debugger", 200, "rest")
	f("GET", "/f", 200, "gold", "X-Plan: gold")
	f("POST", "/f", 200, "rest", "X-Plan: gold")
	f("GET", "/users/7/orders", 200, "orders")
	f("GET", "/users/7/8/orders", 404, "")
	f("GET", "/users//orders", 404, "")
	f("GET", "/v12/x", 200, "regex")
	f("GET", "/v/x", 404, "")
	f("GET", "/created", 201, `{"a":1}`)
	resp, _ := fetch(t, "GET", w.url("/old/a?b=c"), "", "Host: a.test")
	if got := resp.Header.Get("Location"); resp.StatusCode != 308 || got != "https://a.test/new/old/a?b=c" {
		t.Errorf("redirect: %d %q", resp.StatusCode, got)
	}
	resp, _ = fetch(t, "GET", w.url("/created"), "")
	if resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("X-A") != "1" {
		t.Errorf("respond: %v", resp.Header)
	}
}

// TestTransforms checks rewrites and header changes as the upstream and the client see them.
func TestTransforms(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
dimensions: [{name: tenant, from: "header:x-tenant", default: nobody}, {name: session, from: "cookie:sid"}, {name: q, from: "query:q"}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes:
  - name: strip
    match: {path: "/api/*"}
    pool: up
    rewrite: {strip_prefix: /api, prefix: /v2}
  - name: regex
    match: {path: "/users/*"}
    pool: up
    rewrite: {regex: "^/users/([0-9]+)/(.*)$", to: "/u/$2/$1"}
  - name: host
    match: {path: /host}
    pool: up
    rewrite: {host: internal.test}
  - name: fields
    match: {path: /fields}
    pool: up
    request:
      remove: [x-drop, authorization]
      set: [{name: x-who, value: "${tenant}/${session}/${q}"}, {name: x-replaced, value: ours}]
      add: [{name: x-added, value: second}]
    response:
      remove: [server]
      set: [{name: x-tenant-was, value: "${tenant}"}, {name: x-frame-options, value: DENY}]
      add: [{name: set-cookie, value: "b=2"}]
`, map[string]string{"up": u.addr})
	target := func(path, want string) {
		t.Helper()
		if _, text := fetch(t, "GET", w.url(path), ""); text != "GET "+want {
			t.Errorf("%s becomes %q, want %q", path, text, want)
		}
	}
	target("/api/a/b?c=%2F", "/v2/a/b?c=%2F")
	target("/api/", "/v2/")
	target("/api/%2e%2e/api/x", "/v2/x")
	target("/users/7/orders?x", "/u/orders/7?x")
	target("/users/x", "/users/x")
	u.begin(nil)
	fetch(t, "GET", w.url("/host"), "", "Host: a.test")
	reqs, _ := u.got()
	if reqs[0].get("Host") != "internal.test" || reqs[0].get("X-Forwarded-Host") != "a.test" {
		t.Errorf("host: %v", reqs[0].fields)
	}
	u.begin(func(r *upRequest) answer {
		return answer{steps: []step{{kind: "write", data: []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: x\r\nX-Frame-Options: ALLOW\r\nSet-Cookie: a=1\r\n\r\nok")}}}
	})
	resp, _ := fetch(t, "GET", w.url("/fields?q=a%20b"), "", "X-Tenant: acme", "Cookie: x=1; sid=s7", "X-Drop: 1", "Authorization: Basic eDp5", "X-Replaced: a", "X-Replaced: b", "X-Added: first")
	reqs, _ = u.got()
	raw := string(reqs[0].raw)
	for _, want := range []string{"x-who: acme/s7/a b\r\n", "x-replaced: ours\r\n", "x-added: first\r\n", "x-added: second\r\n"} {
		if !strings.Contains(strings.ToLower(raw), want) {
			t.Errorf("no %q in %q", want, raw)
		}
	}
	for _, not := range []string{"x-drop", "authorization", "x-replaced: a", "x-replaced: b"} {
		if strings.Contains(strings.ToLower(raw), not) {
			t.Errorf("%q in %q", not, raw)
		}
	}
	h := resp.Header
	if h.Get("Server") != "" || h.Get("X-Tenant-Was") != "acme" || strings.Join(h.Values("X-Frame-Options"), "|") != "DENY" ||
		strings.Join(h.Values("Set-Cookie"), "|") != "a=1|b=2" {
		t.Errorf("response: %v", h)
	}
}

// TestSplit checks that a split keeps to its weights.
func TestSplit(t *testing.T) {
	t.Parallel()
	a, b := serve(t, say("a")), serve(t, say("b"))
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools: [{name: a, endpoints: [{address: "@a"}]}, {name: b, endpoints: [{address: "@b"}]}]
routes: [{name: all, split: [{pool: a, weight: 80}, {pool: b, weight: 20}]}]
`, map[string]string{"a": a.addr, "b": b.addr})
	c := dial(t, w.addr("web"))
	n := 0
	for range 500 {
		if string(c.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").body) == "b" {
			n++
		}
	}
	if n < 60 || n > 140 { // 100 expected; five standard deviations are 45
		t.Errorf("%d of 500 at a pool of weight 20 in 100", n)
	}
}

// TestMirror checks that copies arrive and cost the client nothing when their pool is slow or dead.
func TestMirror(t *testing.T) {
	t.Parallel()
	up := serve(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	shadow := newUpstream(t)
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools: [{name: up, endpoints: [{address: "@up"}]}, {name: shadow, endpoints: [{address: "@shadow"}]}, {name: dead, endpoints: [{address: "@nobody"}]}]
routes:
  - {name: copied, match: {path: /copied}, pool: up, mirror: {pool: shadow, percent: 100%}}
  - {name: dead, match: {path: /dead}, pool: up, mirror: {pool: dead, percent: 100%}}
  - {name: never, match: {path: /never}, pool: up, mirror: {pool: shadow, percent: 0%}}
`, map[string]string{"up": up.addr, "shadow": shadow.addr})
	shadow.begin(func(r *upRequest) answer {
		return answer{steps: append([]step{{kind: "wait", wait: 200 * time.Millisecond}}, echoAnswer(r).steps...)}
	})
	start := time.Now()
	for i := range 5 {
		body := fmt.Sprintf("body %d", i)
		if resp, text := fetch(t, "POST", w.url("/copied"), body); resp.StatusCode != 200 || text != body {
			t.Errorf("%d %q", resp.StatusCode, text)
		}
	}
	if took := time.Since(start); took > 900*time.Millisecond {
		t.Errorf("the client waits for its copies: %v", took)
	}
	eventually(t, 3*time.Second, "five whole copies", func() bool {
		reqs, _ := shadow.got()
		whole := 0
		for _, r := range reqs {
			if strings.HasPrefix(string(r.body), "body ") && r.method == "POST" {
				whole++
			}
		}
		return whole == 5
	})
	for _, path := range []string{"/dead", "/never"} {
		if resp, text := fetch(t, "POST", w.url(path), "x"); resp.StatusCode != 200 || text != "x" {
			t.Errorf("%s: %d %q", path, resp.StatusCode, text)
		}
	}
	time.Sleep(100 * time.Millisecond)
	if reqs, faults := shadow.got(); len(reqs) != 5 || len(faults) > 0 {
		t.Errorf("the copies' pool received %s %s", targets(reqs), faults)
	}
}

// TestBalance checks that ring_hash and maglev are faithful to a key and round_robin is even.
func TestBalance(t *testing.T) {
	t.Parallel()
	var addrs [3]string
	for i := range addrs {
		addrs[i] = serve(t, say(fmt.Sprint(i))).addr
	}
	for _, kind := range []string{"round_robin", "weighted", "least_requests", "p2c", "random", "ring_hash", "maglev"} {
		t.Run(kind, func(t *testing.T) {
			faithful, hash := kind == "ring_hash" || kind == "maglev", ""
			if faithful {
				hash = "hash_on: user, "
			}
			w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
dimensions: [{name: user, from: "header:x-user"}]
pools: [{name: up, balance: `+kind+`, `+hash+`endpoints: [{address: "@a"}, {address: "@b"}, {address: "@c"}]}]
routes: [{name: all, pool: up}]
`, map[string]string{"a": addrs[0], "b": addrs[1], "c": addrs[2]})
			c := dial(t, w.addr("web"))
			counts, of := map[string]int{}, map[string]string{}
			for i := range 300 {
				user := fmt.Sprint(i % 50)
				at := string(c.ask("GET / HTTP/1.1\r\nHost: a.test\r\nX-User: " + user + "\r\n\r\n").body)
				counts[at]++
				if before, ok := of[user]; ok && before != at && faithful {
					t.Fatalf("user %s at %s and %s", user, before, at)
				}
				of[user] = at
			}
			even := kind == "round_robin" || kind == "weighted"
			for i := range 3 {
				n := counts[fmt.Sprint(i)]
				if even && (n < 99 || n > 101) || n == 0 {
					t.Errorf("requests per endpoint: %v", counts)
				}
			}
		})
	}
}
