package tests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const cacheMoreConfig = `
node: {name: "@node", data_dir: ""}
admin: {address: "@admin"}
telemetry: {access_log: {output: "@dir/access.log"}}
listeners: [{name: web, address: "@web"}]
pools: [{name: up, endpoints: [{address: "@up"}], connections: {max: 4}, health: {passive: {consecutive_failures: 0, error_rate: 0%}}, breaker: {failure_threshold: 0}, retry: {attempts: 1}}]
routes:
  - {name: shut, match: {path: "/shut"}, pool: up}
  - {name: set, match: {path: "/set/*"}, pool: up, cache: {enabled: true, ignore_cookies: true, ttl: 1m, ignore_client: false}, response: {set: [{name: x-who, value: "${ip}"}]}}
  - {name: old, match: {path: "/old/*"}, pool: up, cache: {enabled: true, heuristic: 10%}}
  - {name: all, pool: up, cache: {enabled: true}}
policies: [{name: many, limit: 1000, window: 1h}]
`

func newCacheMore(t *testing.T, more string) *cacheTest {
	o := &origin{}
	s := serve(t, o.ServeHTTP)
	return &cacheTest{startWeir(t, cacheMoreConfig+more, map[string]string{"up": s.addr, "node": "one"}), o}
}

// TestCacheHTTP2: the cache is the same for both protocols: what one brings the other gets, and streams that ask at once are one request.
func TestCacheHTTP2(t *testing.T) {
	c := newCacheMore(t, "")
	client := h2(t)
	f := func(method, path, body, status string, fields ...string) http.Header {
		t.Helper()
		resp, got, err := tryFetch(client, method, c.url(path), "", fields...)
		if err != nil {
			t.Fatal(err)
		}
		if resp.ProtoMajor != 2 || got != body || !strings.Contains(resp.Header.Get("Cache-Status"), status) || resp.Header.Get("RateLimit") == "" {
			t.Errorf("%s %s: %s %d %q %v", method, path, resp.Proto, resp.StatusCode, got, resp.Header)
		}
		return resp.Header
	}
	f("GET", "/a"+minute, "answer 1", "fwd=uri-miss")
	f("GET", "/a"+minute, "answer 1", "hit")
	c.ask("/a"+minute, "answer 1", 1)
	if h := f("HEAD", "/a"+minute, "", "hit"); h.Get("Content-Length") != "8" || h.Get("Age") == "" {
		t.Errorf("%v", h)
	}
	if h := f("GET", "/a"+minute, "swer", "hit", "Range: bytes=2-5"); h.Get("Content-Range") != "bytes 2-5/8" {
		t.Errorf("%v", h)
	}
	f("GET", "/a"+minute+"&l", "answer 2"+strings.Repeat("x", 300_000), "fwd=uri-miss")
	f("GET", "/a"+minute+"&l", "answer 2"+strings.Repeat("x", 300_000), "hit")
	c.o.set(func() { c.o.wait = make(chan struct{}) })
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { f("GET", "/b"+minute, "answer 3", "fwd=uri-miss") })
	}
	time.Sleep(500 * time.Millisecond)
	close(c.o.wait)
	all.Wait()
	if n := c.o.count(); n != 3 {
		t.Errorf("asked %d times", n)
	}
}

// TestCacheUnderLoad: with serve_stale what is past its time is served while the gateway is loaded, and asked for anew when it is not.
func TestCacheUnderLoad(t *testing.T) {
	c := newCacheMore(t, "backpressure: {signals: {cpu: off, memory: off, queue_delay: off, inflight: 1}, degrade: [{at: 0.9, serve_stale: true}]}\n")
	const brief, strict = "?cache-control=max-age=1", "?cache-control=max-age=1,must-revalidate"
	c.ask("/a"+brief, "answer 1", 1)
	c.ask("/b"+strict, "answer 2", 2)
	time.Sleep(2100 * time.Millisecond)
	c.o.set(func() { c.o.wait = make(chan struct{}) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		tryFetch(plainClient, "GET", c.url("/shut"), "") //nolint:errcheck // it only stands in the way
	}()
	eventually(t, 5*time.Second, "the load counts", func() bool { return c.metric("weir_degraded", `feature="revalidation"`) == 1 })
	c.o.set(func() { close(c.o.wait); c.o.wait = nil })
	<-done
	resp := c.ask("/a"+brief, "answer 1", 3)
	if got := resp.Header.Get("Cache-Status"); !strings.Contains(got, "detail=load") {
		t.Errorf("%q", got)
	}
	c.ask("/b"+strict, "answer 4", 4)
	if status, answer := c.admin("POST", "/api/v1/explain", fmt.Sprintf(`{"url":%q}`, c.url("/a"+brief))); status != 200 || !strings.Contains(answer, `"cache": "stale"`) {
		t.Errorf("%d %s", status, answer)
	}
	eventually(t, 10*time.Second, "the load is gone", func() bool { return c.metric("weir_degraded", `feature="revalidation"`) == 0 })
	c.ask("/a"+brief, "answer 5", 5)
}

// TestCacheKeys: keys of the configuration do what the documentation says.
func TestCacheKeys(t *testing.T) {
	c := newCacheMore(t, "")
	ago := time.Now().UTC().Add(-time.Hour).Format(http.TimeFormat)
	c.ask("/old/a?last-modified="+strings.ReplaceAll(ago, " ", "%20"), "answer 1", 1)
	resp := c.ask("/old/a?last-modified="+strings.ReplaceAll(ago, " ", "%20"), "answer 1", 1)
	if got := resp.Header.Get("Cache-Status"); !strings.HasPrefix(got, "weir; hit; ttl=3") || len(got) != len("weir; hit; ttl=359") {
		t.Errorf("a tenth of an hour is %q", got)
	}
	c.ask("/a"+minute, "answer 2", 2)
	c.ask("/a"+minute, "answer 2", 2, "Cache-Control: no-cache", "Pragma: no-cache")
	c.ask("/set/a"+minute, "answer 3", 3)
	c.ask("/set/a"+minute, "answer 4", 4, "Cache-Control: no-cache")
	c.ask("/b"+minute+"&set-cookie=a=b", "answer 5", 5)
	c.ask("/b"+minute+"&set-cookie=a=b", "answer 6", 6)
	c.ask("/set/b?set-cookie=a=b", "answer 7", 7, "Cookie: c=d")
	c.ask("/set/b?set-cookie=a=b", "answer 7", 7)
	if got := resp.Header["Ratelimit"]; len(got) != 1 {
		t.Errorf("%q", got)
	}
	if n := c.metric("weir_cache_refused_total", `reason="cookie"`); n != 2 {
		t.Errorf("%v refused for cookies", n)
	}
	var lines []string
	eventually(t, 4*time.Second, "the access log", func() bool {
		text, _ := os.ReadFile(c.dir + "/access.log")
		lines = strings.Split(strings.TrimSpace(string(text)), "\n")
		return len(lines) == 10
	})
	var got []string // in the order of names: a request may be logged after the next one
	for _, line := range lines {
		var v struct{ Path, Cache string }
		noError(t, json.Unmarshal([]byte(line), &v))
		got = append(got, v.Path+" "+v.Cache)
	}
	slices.Sort(got)
	want := []string{"/a hit", "/a miss", "/b miss", "/b miss", "/old/a hit", "/old/a miss", "/set/a miss", "/set/a miss", "/set/b hit", "/set/b miss"}
	if !slices.Equal(got, want) {
		t.Errorf("the access log says %q, want %q", got, want)
	}
}

// TestCacheUnsafeOfPeers: what a request changes on one gateway, the two others forget.
func TestCacheUnsafeOfPeers(t *testing.T) {
	o := &origin{}
	s := serve(t, o.ServeHTTP)
	addrs := []string{freeAddr(t), freeAddr(t), freeAddr(t)}
	seeds := fmt.Sprintf("%q, %q, %q", addrs[0], addrs[1], addrs[2])
	var nodes []*weir
	for i := range addrs {
		nodes = append(nodes, startWeir(t, cacheMoreConfig+`
cluster: {enabled: true, bind: "@cluster", join: [@seeds]}
`, map[string]string{"up": s.addr, "node": fmt.Sprint("node", i), "cluster": addrs[i], "seeds": seeds}))
	}
	for _, n := range nodes {
		eventually(t, 15*time.Second, "all know each other", func() bool {
			_, a := n.admin("GET", "/api/v1/cluster", "")
			return strings.Contains(a, `"heard": 3`)
		})
	}
	ask := func(n int, method, path string) string { // over any gateway, for the same URL
		_, body := fetch(t, method, nodes[n].url(path), "", "Host: shop.example")
		return body
	}
	const item, list = "/item" + minute, "/list" + minute
	before := map[string]string{}
	for n := range nodes {
		before[fmt.Sprint(n, item)], before[fmt.Sprint(n, list)] = ask(n, "GET", item), ask(n, "GET", list)
	}
	for n := range nodes {
		if ask(n, "GET", item) != before[fmt.Sprint(n, item)] {
			t.Fatal("it is not kept")
		}
	}
	begun := time.Now()
	ask(0, "DELETE", item+"&content-location=/list"+strings.ReplaceAll(minute, "&", "%26"))
	for n := range nodes {
		for _, path := range []string{"/list" + minute} {
			eventually(t, 5*time.Second, fmt.Sprint("gateway ", n, " forgets ", path), func() bool { return ask(n, "GET", path) != before[fmt.Sprint(n, path)] })
		}
	}
	t.Logf("all have forgotten after %v", time.Since(begun))
	ask(1, "PUT", item)
	for n := range nodes {
		eventually(t, 5*time.Second, fmt.Sprint("gateway ", n, " forgets the item"), func() bool { return ask(n, "GET", item) != before[fmt.Sprint(n, item)] })
	}
}
