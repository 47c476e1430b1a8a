package tests

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestClientDeadline: a client's own time limit ends its wait, however its body is sent, and is told the endpoint; it is held against nobody.
func TestClientDeadline(t *testing.T) {
	t.Parallel()
	told := make(chan string, 64)
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		told <- r.Header.Get("X-Request-Timeout") + r.Header.Get("Grpc-Timeout")
		io.Copy(io.Discard, r.Body) //nolint:errcheck // the answer is late in any case
		select {
		case <-time.After(5 * time.Second):
		case <-r.Context().Done():
		}
	})
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools: [{name: up, endpoints: [{address: "@up"}], retry: {attempts: 1}, breaker: {failure_threshold: 3}}]
routes: [{name: all, pool: up, timeout: 20s}]
`, map[string]string{"up": up.addr})
	f := func(body io.Reader, field, sent string) {
		t.Helper()
		req, err := http.NewRequest("POST", w.url("/"), body)
		noError(t, err)
		name, value, _ := strings.Cut(field, ": ")
		req.Header.Set(name, value)
		begin := time.Now()
		resp, err := plainClient.Do(req)
		noError(t, err)
		resp.Body.Close()
		took := time.Since(begin)
		if resp.StatusCode != 504 || reasonOf(resp) != "upstream_timeout" || took < 250*time.Millisecond || took > patience(2*time.Second) {
			t.Errorf("%s: %d %s after %v", field, resp.StatusCode, reasonOf(resp), took)
		}
		if got := <-told; !strings.HasSuffix(got, sent) || got == "" {
			t.Errorf("%s: the endpoint is told %q", field, got)
		}
	}
	for range 2 {
		f(nil, "X-Request-Timeout: 300ms", "ms")
		f(strings.NewReader(strings.Repeat("x", 10_000)), "X-Request-Timeout: 0.3", "")
		f(strings.NewReader(strings.Repeat("x", 200_000)), "X-Request-Timeout: 300ms", "ms")
		f(struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 40_000))}, "Grpc-Timeout: 300m", "u")
	}
	if _, body := w.admin("GET", "/api/v1/pools", ""); !strings.Contains(body, `"breaker": "closed"`) {
		t.Errorf("the endpoint's breaker: %s", body)
	}
}

// TestPacedUploadInTime: a body that its flow's rate would keep longer than the client waits is refused in time.
func TestPacedUploadInTime(t *testing.T) {
	t.Parallel()
	up := serve(t, say("ok"))
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up}]
shaping: [{name: slow, upload: 8KiB}]
`, map[string]string{"up": up.addr})
	body := strings.Repeat("x", 12_000)
	seen := map[string]int{}
	for range 4 {
		begin := time.Now()
		resp, _ := fetch(t, "POST", w.url("/"), body, "X-Request-Timeout: 400ms")
		seen[fmt.Sprint(resp.StatusCode, " ", reasonOf(resp))]++
		if took := time.Since(begin); took > patience(1500*time.Millisecond) {
			t.Errorf("%d after %v", resp.StatusCode, took)
		}
	}
	if seen["503 queue_timeout"] < 2 {
		t.Errorf("answers: %v", seen)
	}
}

// TestFallbackFullToo: a request that finds no room, in the fallback's pool neither, gets its charge back.
func TestFallbackFullToo(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools:
  - {name: a, connections: {max: 1, queue: 0}, endpoints: [{address: "@up"}]}
  - {name: b, connections: {max: 1, queue: 0}, endpoints: [{address: "@up"}]}
routes: [{name: all, pool: a, fallback: {on: [queue_full], pool: b}}]
policies: [{name: p, limit: 100, window: 1h}]
`, map[string]string{"up": up.addr})
	done := make(chan struct{})
	for range 2 {
		go func() {
			tryFetch(plainClient, "GET", w.url("/"), "") //nolint:errcheck // it only has to be in progress
			done <- struct{}{}
		}()
	}
	eventually(t, 10*time.Second, "both pools are full", func() bool {
		return w.metric("weir_concurrency_inflight", `pool="a"`) == 1 && w.metric("weir_concurrency_inflight", `pool="b"`) == 1
	})
	for range 5 {
		resp, _ := fetch(t, "GET", w.url("/"), "")
		if resp.StatusCode != 503 || reasonOf(resp) != "queue_full" || left(resp, "p") != 98 { // as it owes nothing
			t.Errorf("%d %s, %v", resp.StatusCode, reasonOf(resp), resp.Header["Ratelimit"])
		}
	}
	close(release)
	<-done
	<-done
	if resp, _ := fetch(t, "GET", w.url("/"), ""); left(resp, "p") != 97 {
		t.Errorf("%v: what was refused was charged", resp.Header["Ratelimit"])
	}
}
