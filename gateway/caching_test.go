package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// cachedOrigin is an HTTP server that counts, and a gateway before it. yaml is the route's, from match on.
func cachedOrigin(t testing.TB, route, more string, h http.HandlerFunc) (*Gateway, *atomic.Int64) {
	t.Helper()
	n := new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return newGateway(t, poolYAML("    retry: {attempts: 1}\n    connections: {max: 1, queue: 0}\n", s.Listener.Addr().String())+"routes: [{name: all, pool: api, "+route+"}]\n"+more), n
}

// get sends GET over a connection of its own, and returns the answer.
func get(t testing.TB, g *Gateway, path string, fields ...string) (*http.Response, string) {
	t.Helper()
	k := dial(t, g)
	defer func() {
		k.c.Close()
		<-k.end
	}()
	req, err := http.NewRequest("GET", "http://api.example.com"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Set(name, value)
	}
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return k.c, nil }}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func echoVaried(vary, control string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", control)
		w.Header().Set("Vary", vary)
		fmt.Fprintf(w, "%s %s", r.Header.Get(vary), r.Host)
	}
}

// TestCacheSeesWhatTheUpstreamGets: what varies by a field that the gateway sets, replaces or removes is told apart by what the upstream gets.
func TestCacheSeesWhatTheUpstreamGets(t *testing.T) {
	f := func(vary, route string, first, second []string, asked int64) {
		t.Helper()
		g, n := cachedOrigin(t, "cache: {enabled: true}, "+route, `dimensions: [{name: who, from: "header:x-key"}]`, echoVaried(vary, "max-age=60"))
		_, a := get(t, g, "/a", first...)
		_, b := get(t, g, "/a", second...)
		if n.Load() != asked || (a == b) != (asked == 1) {
			t.Errorf("%s, %s: asked %d times, want %d: %q, %q", vary, route, n.Load(), asked, a, b)
		}
	}
	set := `request: {set: [{name: x-tenant, value: "${who}"}]}`
	f("X-Tenant", set, []string{"X-Key: a"}, []string{"X-Key: b"}, 2)
	f("X-Tenant", set, []string{"X-Key: a"}, []string{"X-Key: a"}, 1)
	f("X-Tenant", set, []string{"X-Key: a", "X-Tenant: b"}, []string{"X-Key: a", "X-Tenant: c"}, 1)
	f("X-Lang", "request: {remove: [x-lang]}", []string{"X-Lang: a"}, []string{"X-Lang: b"}, 1)
	f("X-Lang", "hold: body", []string{"X-Lang: a"}, []string{"X-Lang: b"}, 2)
	f("X-Request-Id", "hold: body", nil, nil, 2)
	f("X-Forwarded-Proto", "hold: body", []string{"X-Forwarded-Proto: a"}, []string{"X-Forwarded-Proto: b"}, 1)
	f("Authorization", "request: {remove: [authorization]}", []string{"Authorization: a"}, []string{"Authorization: b"}, 1)
}

// TestHitTakesNoSeat: a pool that is full answers from the cache, refuses the rest, and has something stale for who asks for that.
func TestHitTakesNoSeat(t *testing.T) {
	stuck, there := make(chan struct{}), make(chan struct{})
	g, _ := cachedOrigin(t, "cache: {enabled: true, stale_if_error: 1h}", "", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(there)
			<-stuck
		}
		w.Header().Set("Cache-Control", "max-age="+r.URL.Query().Get("age"))
		io.WriteString(w, r.URL.Path)
	})
	get(t, g, "/fresh?age=60")
	get(t, g, "/stale?age=0")
	done := make(chan struct{})
	go func() {
		defer close(done)
		get(t, g, "/slow?age=60")
	}()
	<-there
	f := func(path string, status int, body, in string) {
		t.Helper()
		if resp, got := get(t, g, path); resp.StatusCode != status || body != "" && got != body || !strings.Contains(resp.Header.Get("Cache-Status"), in) {
			t.Errorf("%s: %d %q %v", path, resp.StatusCode, got, resp.Header)
		}
	}
	f("/fresh?age=60", 200, "/fresh", "hit")
	f("/stale?age=0", 200, "/stale", "stale-if-error")
	f("/other?age=60", 503, "", "")
	close(stuck)
	<-done
	f("/slow?age=60", 200, "/slow", "hit")
	if err := everythingBack(g); err != nil {
		t.Error(err)
	}
}

// TestCutBodyIsNotKept: what the endpoint did not finish is not stored.
func TestCutBodyIsNotKept(t *testing.T) {
	addr := plainUpstream(t, "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxx\r\n")
	g := newGateway(t, poolYAML("    retry: {attempts: 1}\n", addr)+"routes: [{name: all, pool: api, cache: {enabled: true}}]\n")
	for range 2 {
		k := dial(t, g)
		fmt.Fprintf(k.c, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
		b, _ := io.ReadAll(k.c)
		if !strings.Contains(string(b), "fwd=uri-miss") {
			t.Errorf("%q", b)
		}
		k.c.Close()
		<-k.end
	}
	if s, _ := g.CacheStats(); s.Entries != 0 || s.Filling != 0 {
		t.Errorf("%+v", s)
	}
}

// TestSettleByStored: a hit costs what the answer says, as when it came.
func TestSettleByStored(t *testing.T) {
	g, n := cachedOrigin(t, "cache: {enabled: true}", `policies:
  - {name: field, algorithm: fixed_window, limit: 1000, window: 8760h, settle: "response.headers['x-cost']"}
  - {name: json, algorithm: fixed_window, limit: 1000, window: 8760h, settle: "response.json.used"}
`, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Cost", "7")
		io.WriteString(w, `{"used": 30}`)
	})
	for range 3 {
		get(t, g, "/a")
	}
	if n.Load() != 1 {
		t.Errorf("asked %d times", n.Load())
	}
	resp, _ := get(t, g, "/a")
	if got := resp.Header.Get("RateLimit"); !strings.Contains(got, `"field";r=978`) || !strings.Contains(got, `"json";r=909`) {
		t.Errorf("%q", got)
	}
}

// TestUnmatchedIsAskedPlainly: a 304 of something else than what is stored is not for the client.
func TestUnmatchedIsAskedPlainly(t *testing.T) {
	g, n := cachedOrigin(t, "cache: {enabled: true}", "", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		if r.Header.Get("If-None-Match") != "" {
			w.Header().Set("ETag", `"other"`)
			w.WriteHeader(304)
			return
		}
		w.Header().Set("ETag", `"one"`)
		io.WriteString(w, "hello")
	})
	for i := range 2 {
		if resp, body := get(t, g, "/a"); resp.StatusCode != 200 || body != "hello" {
			t.Errorf("%d: %d %q", i, resp.StatusCode, body)
		}
	}
	if leases := g.PoolStats()[0].Endpoints[0].Leases; n.Load() != 3 || leases != 3 {
		t.Errorf("asked %d times with %d leases", n.Load(), leases)
	}
	if err := everythingBack(g); err != nil {
		t.Error(err)
	}
}

// TestHitAllocates holds a hit, client's socket to client's socket, to no allocation.
func TestHitAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	up := plainUpstream(t, "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nVary: accept-encoding\r\nContent-Length: 2\r\n\r\n{}")
	g := newGateway(t, poolYAML("", up)+"dimensions: [{name: user, from: 'header:x-user'}]\nroutes: [{name: all, pool: api, cache: {enabled: true, key: [user]}}]\npolicies: [{name: by-ip, dimensions: [ip], limit: 100000000}]\n")
	k := dial(t, g)
	req := []byte("GET /v1/items/42?page=2 HTTP/1.1\r\nHost: api.example.com\r\nAccept-Encoding: gzip\r\nX-User: somebody\r\nCookie: a=b\r\n\r\n")
	var last []byte
	n := allocations(5000, func() { last = k.roundTrip(req, []byte("{}")) })
	if !strings.Contains(string(last), "; hit") {
		t.Errorf("%q", last)
	}
	if n > 0.05 {
		t.Errorf("%v allocations per hit", n)
	}
	k.c.Close()
	io.Copy(io.Discard, k.c) //nolint:errcheck // it is closed
	<-k.end
}

// TestHitsFlowAsShaped: bytes of stored answers count as any other, also of long ones.
func TestHitsFlowAsShaped(t *testing.T) {
	body := strings.Repeat("x", 200_000)
	g, n := cachedOrigin(t, "cache: {enabled: true}", "shaping: [{name: s, download: 1GiB}]", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		io.WriteString(w, body)
	})
	for i := range 3 {
		if _, got := get(t, g, "/a"); got != body {
			t.Errorf("%d: %d bytes", i, len(got))
		}
	}
	if s := g.PacingStats(); n.Load() != 1 || s[0].Bytes != 600_000 {
		t.Errorf("asked %d times, %+v", n.Load(), s)
	}
}
