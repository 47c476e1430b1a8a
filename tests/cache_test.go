package tests

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

const cacheConfig = base + `
listeners: [{name: web, address: "@web"}]
dimensions: [{name: tenant, from: "header:x-tenant"}]
pools: [{name: up, endpoints: [{address: "@up"}], health: {passive: {consecutive_failures: 0, error_rate: 0%}}, breaker: {failure_threshold: 0}, retry: {attempts: 1}}]
routes:
  - {name: plain, match: {path: "/plain/*"}, pool: up}
  - {name: tenants, match: {path: "/tenants/*"}, pool: up, cache: {enabled: true, key: [tenant]}}
  - {name: limited, match: {path: "/limited/*"}, pool: up, cache: {enabled: true}}
  - {name: fresh, match: {path: "/ttl/*"}, pool: up, cache: {enabled: true, ttl: 1m, stale_if_error: 1h}}
  - {name: headers, match: {path: "/headers/*"}, pool: up, cache: {enabled: true}, response: {remove: [x-secret], set: [{name: x-route, value: "${path}"}]}}
  - {name: all, pool: up, cache: {enabled: true}}
policies: [{name: few, limit: 3, window: 1h, routes: [limited]}]
`

// origin counts what it is asked, and answers as the query says.
type origin struct {
	mu    sync.Mutex
	asked []*http.Request
	wait  chan struct{} // if not nil, answers wait for it
	etag  string
	down  bool
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	o.mu.Lock()
	o.asked = append(o.asked, r)
	n, wait, etag, down := len(o.asked), o.wait, o.etag, o.down
	o.mu.Unlock()
	if wait != nil {
		<-wait
	}
	if down {
		w.WriteHeader(503)
		return
	}
	for name, values := range r.URL.Query() {
		if len(name) > 1 {
			w.Header()[http.CanonicalHeaderKey(name)] = values
		}
	}
	if etag != "" {
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(304)
			return
		}
	}
	fmt.Fprintf(w, "answer %d", n)
	if r.URL.Query().Has("h") { // more than all socket buffers hold
		w.Write(make([]byte, 7<<20))
	}
	if r.URL.Query().Has("l") {
		w.(http.Flusher).Flush()
		io.WriteString(w, strings.Repeat("x", 300_000))
	}
}

func (o *origin) set(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
}

func (o *origin) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.asked)
}

// cacheTest is a gateway before an origin.
type cacheTest struct {
	*weir
	o *origin
}

func newCacheTest(t *testing.T) *cacheTest {
	o := &origin{}
	s := serve(t, o.ServeHTTP)
	return &cacheTest{startWeir(t, cacheConfig, map[string]string{"up": s.addr}), o}
}

// ask sends GET and checks the body, and that the origin has been asked so often.
func (c *cacheTest) ask(path, body string, asked int, fields ...string) *http.Response {
	c.t.Helper()
	resp, got := fetch(c.t, "GET", c.url(path), "", fields...)
	if got != body || c.o.count() != asked {
		c.t.Errorf("%s %q: %d %q, asked %d times, want %q, %d; %v", path, fields, resp.StatusCode, got, c.o.count(), body, asked, resp.Header)
	}
	return resp
}

const minute = "?cache-control=max-age=60"

func TestCacheHit(t *testing.T) {
	c := newCacheTest(t)
	if resp := c.ask("/a"+minute, "answer 1", 1); !strings.Contains(resp.Header.Get("Cache-Status"), "fwd=uri-miss") {
		t.Errorf("%v", resp.Header)
	}
	resp := c.ask("/a"+minute, "answer 1", 1)
	if h := resp.Header; !strings.HasPrefix(h.Get("Cache-Status"), "weir; hit") || h.Get("Age") == "" || h.Get("Content-Length") != "8" || len(h["Date"]) != 1 || h.Get("Content-Type") == "" {
		t.Errorf("%v", h)
	}
	resp, body := fetch(t, "HEAD", c.url("/a"+minute), "")
	if body != "" || resp.Header.Get("Content-Length") != "8" || c.o.count() != 1 {
		t.Errorf("HEAD: %q, %v", body, resp.Header)
	}
	c.ask("/a"+minute+"&x=1", "answer 2", 2)
	c.ask("/plain/a"+minute, "answer 3", 3)
	c.ask("/plain/a"+minute, "answer 4", 4)
	c.ask("/b?cache-control=no-store", "answer 5", 5)
	c.ask("/b?cache-control=no-store", "answer 6", 6)
	c.ask("/b", "answer 7", 7) // which says nothing of its freshness
	c.ask("/b", "answer 8", 8)
	c.ask("/ttl/b", "answer 9", 9)
	c.ask("/ttl/b", "answer 9", 9)
	c.ask("/c"+minute, "answer 10", 10, "Authorization: Basic eA==") // RFC 9111, section 3.5
	c.ask("/c"+minute, "answer 11", 11)
	if n := c.metric("weir_cache_requests_total", `route="all"`, `result="hit"`); n != 2 {
		t.Errorf("%v hits in metrics", n)
	}
	if c.metric("weir_cache_entries") == 0 || c.metric("weir_cache_bytes") == 0 {
		t.Error("metrics show nothing kept")
	}
}

func TestCacheVaryAndKey(t *testing.T) {
	c := newCacheTest(t)
	c.ask("/v"+minute+"&vary=accept-language", "answer 1", 1, "Accept-Language: de")
	c.ask("/v"+minute+"&vary=accept-language", "answer 2", 2, "Accept-Language: en")
	c.ask("/v"+minute+"&vary=accept-language", "answer 1", 2, "Accept-Language: de")
	c.ask("/tenants/v"+minute, "answer 3", 3, "X-Tenant: a")
	c.ask("/tenants/v"+minute, "answer 4", 4, "X-Tenant: b")
	c.ask("/tenants/v"+minute, "answer 5", 5)
	c.ask("/tenants/v"+minute, "answer 3", 5, "X-Tenant: a")
}

func TestCacheHeaders(t *testing.T) {
	c := newCacheTest(t)
	for range 2 {
		resp := c.ask("/headers/a"+minute+"&x-secret=s&x-open=o", "answer 1", 1)
		if h := resp.Header; h.Get("X-Secret") != "" || h.Get("X-Open") != "o" || h.Get("X-Route") != "/headers/a" {
			t.Errorf("%v", h)
		}
	}
}

func TestCacheValidation(t *testing.T) {
	c := newCacheTest(t)
	c.o.etag = `"1"`
	c.ask("/e?cache-control=no-cache", "answer 1", 1)
	resp := c.ask("/e?cache-control=no-cache", "answer 1", 2)
	if resp.StatusCode != 200 || !strings.Contains(resp.Header.Get("Cache-Status"), "fwd-status=304") {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	c.o.set(func() { c.o.etag = `"2"` })
	c.ask("/e?cache-control=no-cache", "answer 3", 3)
	c.ask("/e?cache-control=no-cache", "answer 3", 4)
	if resp := c.ask("/e?cache-control=no-cache", "", 5, `If-None-Match: "2"`); resp.StatusCode != 304 {
		t.Errorf("%d", resp.StatusCode)
	}
	c.ask("/e?cache-control=no-cache", "answer 3", 6, `If-None-Match: "0"`) // which is the client's, not the cache's
	c.ask("/e?cache-control=no-cache", "answ", 7, "Range: bytes=0-3")
	c.ask("/f"+minute, "answer 8", 8)
	if resp := c.ask("/f"+minute, "", 8, `If-None-Match: "2"`); resp.StatusCode != 304 {
		t.Errorf("%d", resp.StatusCode)
	}
}

func TestCacheRange(t *testing.T) {
	c := newCacheTest(t)
	c.ask("/r"+minute, "answer 1", 1)
	if resp := c.ask("/r"+minute, "swer", 1, "Range: bytes=2-5"); resp.StatusCode != 206 || resp.Header.Get("Content-Range") != "bytes 2-5/8" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if resp := c.ask("/r"+minute, "", 1, "Range: bytes=90-"); resp.StatusCode != 416 || resp.Header.Get("Content-Range") != "bytes */8" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	long := "answer 2" + strings.Repeat("x", 300_000)
	c.ask("/r"+minute+"&l", long, 2)
	c.ask("/r"+minute+"&l", long, 2)
	c.ask("/r"+minute+"&l", long[100:250_001], 2, "Range: bytes=100-250000")
}

func TestCacheStale(t *testing.T) {
	c := newCacheTest(t)
	const path = "/s?cache-control=max-age=1,stale-while-revalidate=60"
	c.ask(path, "answer 1", 1)
	time.Sleep(2100 * time.Millisecond)
	if _, body := fetch(t, "GET", c.url(path), ""); body != "answer 1" {
		t.Errorf("%q", body)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, body := fetch(t, "GET", c.url(path), ""); body == "answer 2" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nobody fetched it anew")
		}
	}
	if n := c.o.count(); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

func TestCacheError(t *testing.T) {
	c := newCacheTest(t)
	const path = "/ttl/e?cache-control=max-age=1"
	c.ask(path, "answer 1", 1)
	time.Sleep(2100 * time.Millisecond)
	c.o.set(func() { c.o.down = true })
	if resp := c.ask(path, "answer 1", 2); resp.StatusCode != 200 || !strings.Contains(resp.Header.Get("Cache-Status"), "stale-if-error") {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	resp, _ := fetch(t, "GET", c.url("/ttl/other"), "")
	if resp.StatusCode != 503 {
		t.Errorf("%d", resp.StatusCode)
	}
}

func TestCacheUnreachable(t *testing.T) {
	o := &origin{}
	s := serve(t, o.ServeHTTP)
	c := &cacheTest{startWeir(t, cacheConfig, map[string]string{"up": s.addr}), o}
	const path = "/ttl/e?cache-control=max-age=1"
	c.ask(path, "answer 1", 1)
	time.Sleep(2100 * time.Millisecond)
	s.kill()
	if resp := c.ask(path, "answer 1", 1); resp.StatusCode != 200 {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}

// TestCacheCoalesce has 100 clients ask for the same at once: the origin is asked once.
func TestCacheCoalesce(t *testing.T) {
	c := newCacheTest(t)
	c.o.wait = make(chan struct{})
	var clients sync.WaitGroup
	for range 100 {
		clients.Go(func() {
			resp, body, err := tryFetch(plainClient, "GET", c.url("/c"+minute), "")
			if err != nil || resp.StatusCode != 200 || body != "answer 1" {
				t.Errorf("%v, %q", err, body)
			}
		})
	}
	time.Sleep(time.Second)
	close(c.o.wait)
	clients.Wait()
	if n := c.o.count(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	if n := c.metric("weir_cache_requests_total", `result="coalesced"`); n < 50 {
		t.Errorf("%v waited", n)
	}
}

func TestCacheLimits(t *testing.T) {
	c := newCacheTest(t)
	for range 3 {
		if resp := c.ask("/limited/a"+minute, "answer 1", 1); resp.Header.Get("RateLimit") == "" {
			t.Errorf("%v", resp.Header)
		}
	}
	resp, _ := fetch(t, "GET", c.url("/limited/a"+minute), "")
	if resp.StatusCode != 429 || c.o.count() != 1 {
		t.Errorf("%d, asked %d times", resp.StatusCode, c.o.count())
	}
	if n := c.metric("weir_limiter_decisions_total", `policy="few"`, `decision="allowed"`); n != 3 {
		t.Errorf("%v allowed", n)
	}
}

func TestCacheUnsafe(t *testing.T) {
	c := newCacheTest(t)
	c.ask("/u"+minute, "answer 1", 1)
	if _, body := fetch(t, "POST", c.url("/u"+minute), "change"); body != "answer 2" {
		t.Errorf("%q", body)
	}
	c.ask("/u"+minute, "answer 3", 3)
	c.ask("/u"+minute, "answer 3", 3)
}

func TestCachePurge(t *testing.T) {
	c := newCacheTest(t)
	asked := 0
	f := func(path, query string, purged int) {
		t.Helper()
		asked++
		body := fmt.Sprint("answer ", asked)
		c.ask(path, body, asked)
		c.ask(path, body, asked)
		status, answer := c.admin("DELETE", "/api/v1/cache?"+query, "")
		var v struct{ Purged int }
		if err := json.Unmarshal([]byte(answer), &v); err != nil || status != 200 || v.Purged != purged {
			t.Errorf("%s: %d %s", query, status, answer)
		}
		if purged > 0 {
			asked++
			body = fmt.Sprint("answer ", asked)
		}
		c.ask(path, body, asked)
	}
	web := "http://" + c.addr("web")
	f("/p/1"+minute, "url="+url.QueryEscape(web+"/p/1"+minute), 1)
	f("/p/2"+minute, "url="+url.QueryEscape(web+"/p/./2"+minute), 1)
	f("/p/3"+minute, "url="+url.QueryEscape(web+"/p/3"), 0)
	f("/q/4"+minute, "prefix="+url.QueryEscape(web+"/q/"), 1)
	f("/t/5"+minute+"&surrogate-key=red%20green", "tag=green", 1)
	f("/t/6"+minute+"&surrogate-key=red%20green", "tag=blue", 0)
	f("/z/7"+minute, "all=true", 7)
	if status, answer := c.admin("DELETE", "/api/v1/cache?url=/p/1", ""); status != 400 {
		t.Errorf("%d %s", status, answer)
	}
}

func TestCacheExplain(t *testing.T) {
	c := newCacheTest(t)
	f := func(method, path, want string) {
		t.Helper()
		status, answer := c.admin("POST", "/api/v1/explain", fmt.Sprintf(`{"method":%q,"url":%q}`, method, c.url(path)))
		var v struct{ Cache string }
		if err := json.Unmarshal([]byte(answer), &v); err != nil || status != 200 || v.Cache != want {
			t.Errorf("%s %s: %d, %q, want %q", method, path, status, v.Cache, want)
		}
	}
	f("GET", "/x"+minute, "miss")
	c.ask("/x"+minute, "answer 1", 1)
	f("GET", "/x"+minute, "hit")
	f("POST", "/x"+minute, "pass")
	f("GET", "/plain/x", "")
}

// TestCacheReload: what a route means is part of what answers are found by; numbers are not.
func TestCacheReload(t *testing.T) {
	c := newCacheTest(t)
	c.ask("/a"+minute, "answer 1", 1)
	reload := func(from, to string) {
		t.Helper()
		c.writeConfig(strings.Replace(cacheConfig, from, to, 1))
		if status, answer := c.admin("POST", "/api/v1/config/reload", ""); status != 200 {
			t.Fatalf("%d %s", status, answer)
		}
	}
	reload("{name: all, pool: up, cache: {enabled: true}}", "{name: all, pool: up, cache: {enabled: true, ttl: 1m}}")
	c.ask("/a"+minute, "answer 1", 1)
	reload("{name: all, pool: up, cache: {enabled: true}}", "{name: all, pool: up, cache: {enabled: true}, response: {remove: [x-a]}}")
	c.ask("/a"+minute, "answer 2", 2)
	c.ask("/a"+minute, "answer 2", 2)
	reload("policies:", "cache: {enabled: false}\npolicies:")
	c.ask("/a"+minute, "answer 3", 3)
	c.ask("/a"+minute, "answer 4", 4)
}
