package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// tell sends a request as it is written over a connection of its own, and returns the answer.
func tell(t testing.TB, g *Gateway, head ...string) (*http.Response, string) {
	t.Helper()
	k := dial(t, g)
	defer func() {
		k.c.Close()
		<-k.end
	}()
	fmt.Fprintf(k.c, "%s\r\nConnection: close\r\n\r\n", strings.Join(head, "\r\n"))
	resp, err := http.ReadResponse(bufio.NewReader(k.c), nil)
	if err != nil {
		t.Fatalf("%q: %v", head, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// TestCacheKeyHasWhatTheUpstreamSees: an endpoint that makes another answer of what is spelled otherwise, or of fields that are in no key, makes it for
// those who ask so, and not for others.
func TestCacheKeyHasWhatTheUpstreamSees(t *testing.T) {
	f := func(more string, first, second []string) {
		t.Helper()
		g, n := cachedOrigin(t, "cache: {enabled: true, ttl: 1h}", more, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.Host, r.RequestURI, r.Header["X-Forwarded-Host"], r.Header["X-Forwarded-Proto"], r.Header["X-Forwarded-Prefix"], r.Header["X-Http-Method-Override"], r.Header["X-Original-Url"])
		})
		_, evil := tell(t, g, first...)
		_, good := tell(t, g, second...)
		if evil == good || n.Load() != 2 {
			t.Errorf("%q is answered with what came for %q: %q", second, first, good)
		}
		if _, again := tell(t, g, second...); again != good || n.Load() != 2 {
			t.Errorf("%q: %q, then %q, asked %d times", second, good, again, n.Load())
		}
		if _, _, err := g.Purge("url", "http://a.example/x"); err != nil {
			t.Fatal(err)
		}
		if s, _ := g.CacheStats(); s.Entries != 0 {
			t.Errorf("%q: %d are left after a purge of the URL", first, s.Entries)
		}
	}
	plain := []string{"GET /x HTTP/1.1", "Host: a.example"}
	for _, host := range []string{"A.example", "a.example.", "a.example:80", "a.example:"} {
		f("", []string{"GET /x HTTP/1.1", "Host: " + host}, plain)
	}
	for _, field := range []string{"X-HTTP-Method-Override: DELETE", "x-original-url: /admin"} {
		f("", []string{plain[0], plain[1], field}, plain)
	}
	trusting := "trusted_proxies: [192.0.2.0/24]"
	f(trusting, []string{plain[0], "Host: evil.example", "X-Forwarded-Host: a.example"}, plain)
	for _, field := range []string{"X-Forwarded-Proto: nothing", "X-Forwarded-Prefix: /evil", "X-Forwarded-Host: a.example\r\nX-Forwarded-Host: evil.example", "X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https"} {
		f(trusting, []string{plain[0], plain[1], field}, plain)
	}
}

// TestBareQueryIsAnotherURL: an endpoint that redirects /x? to /x must not have that stored for /x.
func TestBareQueryIsAnotherURL(t *testing.T) {
	g, _ := cachedOrigin(t, "cache: {enabled: true, ttl: 1h}", "", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.RequestURI, "?") {
			w.Header().Set("Location", "/x")
			w.WriteHeader(301)
		}
	})
	if resp, _ := tell(t, g, "GET /x? HTTP/1.1", "Host: a"); resp.StatusCode != 301 {
		t.Fatal(resp.StatusCode)
	}
	if resp, _ := tell(t, g, "GET /x HTTP/1.1", "Host: a"); resp.StatusCode != 200 {
		t.Error(resp.StatusCode)
	}
}

// TestWaitersHaveOneDeadline: who waits for an answer that does not come is told so in time, and is not sent after it.
func TestWaitersHaveOneDeadline(t *testing.T) {
	stuck := make(chan struct{})
	defer close(stuck)
	g, n := cachedOrigin(t, "timeout: 300ms, cache: {enabled: true}", "", func(_ http.ResponseWriter, _ *http.Request) { <-stuck })
	begun := time.Now()
	done := make(chan int, 10)
	for range cap(done) {
		go func() {
			resp, _ := tell(t, g, "GET /x HTTP/1.1", "Host: a")
			done <- resp.StatusCode
		}()
	}
	for range cap(done) {
		if status := <-done; status != 504 { // those who are sent on get 503, as the only connection is stuck
			t.Errorf("status %d", status)
		}
	}
	if d := time.Since(begun); d > 5*time.Second || n.Load() > 3 {
		t.Errorf("took %v, asked %d times", d, n.Load())
	}
}

// TestStaleUnderLoad: what is past its time is served at once while load has that in force, nobody is asked, and the request goes on telling limits.
func TestStaleUnderLoad(t *testing.T) {
	g, n := cachedOrigin(t, "cache: {enabled: true, stale_under_load: 1h}", "", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", r.URL.Query().Get("cc"))
		fmt.Fprint(w, r.Header.Get("Weir-Degraded"))
	})
	f := func(path, status string, asked int64) {
		t.Helper()
		resp, _ := get(t, g, path)
		if got := resp.Header.Get("Cache-Status"); !strings.Contains(got, status) || n.Load() != asked {
			t.Errorf("%s: %q, asked %d times, want %q, %d", path, got, n.Load(), status, asked)
		}
	}
	const old, strict = "/a?cc=max-age=0,stale-if-error=1", "/b?cc=max-age=0,stale-if-error=1,must-revalidate"
	f(old, "fwd=uri-miss", 1)
	f(old, "fwd=stale", 2)
	e, err := g.Explain(g.Snapshot(), Question{URL: "http://api.example.com" + old})
	if err != nil || e.Cache != "miss" {
		t.Errorf("%v, explained as %q", err, e.Cache)
	}
	g.pressure.off.Store(noRevalidation)
	f(old, "detail=load", 2)
	f(strict, "fwd=uri-miss", 3)
	f(strict, "fwd=", 4)
	f("/new?cc=max-age=60", "fwd=uri-miss", 5)
	if _, body := get(t, g, "/new?cc=max-age=60"); body != "revalidation" {
		t.Errorf("the endpoint was told %q", body)
	}
	if e, err = g.Explain(g.Snapshot(), Question{URL: "http://api.example.com" + old}); err != nil || e.Cache != "stale" {
		t.Errorf("%v, explained as %q", err, e.Cache)
	}
	g.pressure.off.Store(0)
	f(old, "fwd=stale", 6)
}
