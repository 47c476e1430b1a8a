package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

const explainYAML = `
trusted_proxies: [192.0.2.0/24]
dimensions:
  - {name: user, from: "header:x-user"}
  - {name: session, from: "cookie:sid", default: none}
  - {name: page, from: "query:page"}
routes:
  - {name: posts, match: {path: "/a/*", methods: [POST]}, pool: api}
  - {name: beta, match: {headers: [{name: x-beta, value: "1"}]}, pool: api}
  - {name: org, match: {hosts: ["*.example.org"], path: "/a/:id"}, pool: api}
  - {name: page, match: {query: [{name: page, regex: "^[0-9]+$"}]}, pool: api}
  - {name: cel, match: {when: "user == 'u1' && request.path.startsWith('/a')"}, pool: api}
  - {name: text, match: {path: "/a"}, respond: {status: 203, body: x}}
  - {name: gone, match: {path: "/b/c"}, pool: ill}
  - {name: rest, match: {path: "~^/(a|b)"}, pool: api}
policies:
  - {name: all, limit: 60, window: 1000h}
  - {name: by-ip, dimensions: [ip], limit: 6, window: 1000h, burst: 8}
  - {name: by-user, dimensions: [user, session], limit: 5, window: 1000h}
  - {name: shadow, dimensions: [path], limit: 1, window: 1000h, mode: shadow}
  - {name: pages, dimensions: [page], limit: 2, window: 1000h, routes: [page, rest]}
  - {name: writes, limit: 4, window: 1000h, when: "request.method != 'GET'"}
`

// anyQuestion is a random request.
func anyQuestion(t *rapid.T) Question {
	pick := func(label string, list ...string) string { return rapid.SampledFrom(list).Draw(t, label) }
	q := Question{Method: pick("method", "GET", "HEAD", "POST", "DELETE"), Remote: "192.0.2.7", Header: http.Header{}}
	q.URL = "http://" + pick("host", "example.com", "api.example.org", "Example.ORG:8080", "example.org", "[::1]:80", "192.0.2.9") +
		pick("path", "", "/", "/a", "/a/b", "/a/./b", "/a//b", "/a/../b", "/b", "/b/%63", "/%61/x", "/c", "/a%2Fb", "/..", "/a%41", "/a/b/", "/b/c") +
		pick("query", "", "", "?page=1", "?page=x", "?page=2&page=3", "?a%20b=%zz", "?page=%31")
	for _, f := range [][]string{{"X-User", "u1", "u2", ""}, {"X-Beta", "1", "2"}, {"Cookie", "sid=s1", "a=b; sid=s2"},
		{"X-Forwarded-For", "198.51.100.1", "198.51.100.2, 192.0.2.8", "2001:db8::1", "2001:db8::2", "junk"}} {
		if rapid.Bool().Draw(t, f[0]) {
			q.Header.Set(f[0], pick(f[0]+" value", f[1:]...))
		}
	}
	return q
}

// TestExplainAgreesWithServe asks what would become of a request, twice, and then sends it.
func TestExplainAgreesWithServe(t *testing.T) {
	pools := poolYAML("", plainUpstream(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) +
		"  - {name: ill, health: {panic: 0%}, endpoints: [{address: 'nowhere.invalid:80'}]}\n"
	yaml := pools + strings.ReplaceAll(explainYAML, "pool: api}", `pool: api, response: {set: [{name: x-route, value: "${route}"}]}}`)
	seen := map[string]int{}
	g := newGateway(t, yaml)
	asked := 0
	rapid.Check(t, func(rt *rapid.T) {
		if asked++; asked%40 == 0 { // when little is left all is refused
			g = newGateway(t, yaml)
		}
		q := anyQuestion(rt)
		e, err := g.Explain(g.Snapshot(), q)
		if err != nil {
			rt.Fatal(err)
		}
		twice, err := g.Explain(g.Snapshot(), q)
		if err != nil {
			rt.Fatal(err)
		}
		if d := cmp.Diff(e, twice, cmpopts.IgnoreFields(ExplainedPolicy{}, "RetryAfterMS", "ResetMS")); d != "" { // time passes
			rt.Fatalf("asking changes the answer: %s", d)
		}
		k := dial(t, g)
		defer k.c.Close()
		host, rest, _ := strings.Cut(strings.TrimPrefix(q.URL, "http://"), "/")
		if h, query, ok := strings.Cut(host, "?"); ok {
			host, rest = h, "?"+query
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s /%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", q.Method, rest, host)
		q.Header.Write(&b) //nolint:errcheck // a strings.Builder takes everything
		io.WriteString(k.c, b.String()+"\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(k.c), &http.Request{Method: q.Method})
		if err != nil {
			rt.Fatal(err)
		}
		defer resp.Body.Close()
		reason := resp.Header.Get("Weir-Reason")
		if reason == "" {
			reason = "pass"
		}
		got, _, _ := strings.Cut(reason, ";")
		seen[got]++
		seen[e.Route]++
		if got != e.Verdict {
			rt.Fatalf("explained as %q (%s), became %q\n%s", e.Verdict, e.Detail, reason, b.String())
		}
		if e.Status != 0 && resp.StatusCode != e.Status {
			rt.Fatalf("explained as %d, became %d", e.Status, resp.StatusCode)
		}
		if r := resp.Header.Get("X-Route"); r != "" && r != e.Route {
			rt.Fatalf("explained as route %q, became %q", e.Route, r)
		}
		applied := 0
		for _, p := range e.Policies {
			if p.Applies && p.Mode == "enforce" {
				applied++
			}
		}
		if items, _ := parseItems(resp.Header.Get("RateLimit")); len(items) != applied {
			rt.Fatalf("explained with %d policies, became %q", applied, resp.Header.Get("RateLimit"))
		}
	})
	for _, want := range []string{"pass", "limited", "no_route", "bad_request", "beta", "org", "page", "cel", "text", "rest", "posts"} {
		if seen[want] == 0 {
			t.Logf("%s did not happen this time", want)
		}
	}
	if seen["pass"] == 0 || seen["limited"] == 0 {
		t.Errorf("the test is blind: %v", seen)
	}
}

// TestExplainTakesNothing: no unit, no seat, no lease, nothing counted.
func TestExplainTakesNothing(t *testing.T) {
	g := newGateway(t, poolYAML("", "127.0.0.1:1")+"routes: [{name: all, pool: api}]\npolicies: [{name: p, limit: 1, window: 1h}]")
	for range 20 {
		e, err := g.Explain(g.Snapshot(), Question{URL: "/"})
		if err != nil || e.Verdict != "pass" || e.Policies[0].Remaining != 0 && !e.Policies[0].Allowed {
			t.Fatalf("%+v, %v", e, err)
		}
	}
	if s := g.spending()["p"]; s.Allowed+s.Refused != 0 {
		t.Errorf("%+v", s)
	}
	if err := everythingBack(g); err != nil {
		t.Error(err)
	}
	c := request("GET", "/")
	if g.serve(g.exchange(c)); c.status != 200 {
		t.Errorf("status %d", c.status)
	}
	e, err := g.Explain(g.Snapshot(), Question{URL: "/"})
	if err != nil || e.Verdict != "limited" || e.Status != 429 || e.Policies[0].RetryAfterMS <= 0 {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestExplainKeepsSecrets(t *testing.T) {
	g := newGateway(t, "dimensions: [{name: key, from: 'header:x-api-key', secret: true}]\nroutes: [{name: all, respond: {body: x}}]\n")
	e, err := g.Explain(g.Snapshot(), Question{URL: "/", Header: http.Header{"X-Api-Key": {"hunter2hunter2"}}})
	if err != nil || e.Dimensions["key"] != "[redacted]" {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestExplainSeesWhatTheEdgeRefuses: such requests never reach a route.
func TestExplainSeesWhatTheEdgeRefuses(t *testing.T) {
	g := newGateway(t, "routes: [{name: old, match: {path: /old}, redirect: {to: '/new?${query}'}}, {name: all, respond: {status: 204}}]\n")
	f := func(method, url string, status int, answer string) {
		t.Helper()
		e, err := g.Explain(g.Snapshot(), Question{Method: method, URL: url})
		if err != nil || e.Status != status || e.Answer != answer {
			t.Errorf("%s %s: %+v, %v", method, url, e, err)
		}
	}
	f("GET", "http://a/", 0, "respond 204")
	f("get", "/", 400, "")
	f("GET", "/old?a=1", 0, "redirect 302 to /new?a=1")
	f("TRACE", "http://a/", 405, "")
	f("CONNECT", "http://a/", 405, "")
	f("G T", "http://a/", 400, "")
	f("GET", "http:///x", 400, "")
	for _, q := range []Question{{URL: "gopher://a/"}, {URL: "http://u:p@a/"}, {URL: "/", Header: http.Header{"x y": {"1"}}}, {URL: "/", Header: http.Header{"X": {"a\r\nb"}}}} {
		if _, err := g.Explain(g.Snapshot(), q); err == nil {
			t.Errorf("%+v was explained", q)
		}
	}
}

func TestExplainRefusesNonsense(t *testing.T) {
	g := newGateway(t, "routes: [{name: all, respond: {body: x}}]\n")
	for _, q := range []Question{{URL: "http://a b/"}, {URL: "/", Remote: "nobody"}, {URL: "/", Header: http.Header{"Host": {"a@b"}}}, {URL: "%zz"}} {
		if e, err := g.Explain(g.Snapshot(), q); err == nil {
			t.Errorf("%+v: %+v", q, e)
		}
	}
}
