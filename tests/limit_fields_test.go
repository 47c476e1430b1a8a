package tests

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestFieldsByAlgorithm checks what clients are told by a policy of each algorithm, and that it is true: who waits as long as
// Retry-After says succeeds, who waits less long than retry_after_ms does not.
func TestFieldsByAlgorithm(t *testing.T) {
	t.Parallel()
	h := serveHeld(t)
	w := startWeir(t, strings.Replace(answers("token_bucket", "leaky_bucket", "sliding_window", "fixed_window", "adaptive", "month", "hour", "calendar"), "routes:\n", `
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes:
  - {name: concurrency, match: {path: /concurrency}, pool: up}
`, 1)+`
policies:
  - {name: token_bucket, algorithm: token_bucket, limit: 3, window: 1500ms, routes: [token_bucket]}
  - {name: leaky_bucket, algorithm: leaky_bucket, limit: 3, window: 1500ms, routes: [leaky_bucket]}
  - {name: sliding_window, algorithm: sliding_window, limit: 3, window: 1500ms, routes: [sliding_window]}
  - {name: fixed_window, algorithm: fixed_window, limit: 3, window: 1500ms, routes: [fixed_window]}
  - {name: adaptive, algorithm: adaptive, limit: 3, window: 1500ms, routes: [adaptive]}
  - {name: concurrency, algorithm: concurrency, limit: 3, routes: [concurrency]}
  - {name: month, algorithm: quota, limit: 3, window: month, routes: [month]}
  - {name: calendar, algorithm: quota, limit: 3, window: month, routes: [calendar]}
  - {name: hour, algorithm: quota, limit: 3, window: hour, routes: [hour], timezone: Asia/Kathmandu}
`, map[string]string{"up": h.addr})
	match := func(t *testing.T, resp *http.Response, status int, fields map[string]string) {
		t.Helper()
		if resp.StatusCode != status {
			t.Errorf("%d, want %d", resp.StatusCode, status)
		}
		for name, want := range fields {
			if got := resp.Header.Get(name); !regexp.MustCompile("^" + want + "$").MatchString(got) {
				t.Errorf("%d: %s %q, want %s", resp.StatusCode, name, got, want)
			}
		}
	}
	f := func(name, policy string, retries bool) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "fixed_window" { // not over an edge
				time.Sleep(time.Until(time.Now().Truncate(1500 * time.Millisecond).Add(1520 * time.Millisecond)))
			}
			url := w.url("/" + name)
			for i := range 3 {
				resp, _ := fetch(t, "GET", url, "")
				match(t, resp, 200, map[string]string{"RateLimit-Policy": policy, "RateLimit": fmt.Sprintf(`"%s";r=%d;t=\d+`, name, 2-i), "Retry-After": "", "Weir-Reason": ""})
			}
			resp, body := fetch(t, "GET", url, "")
			match(t, resp, 429, map[string]string{"RateLimit-Policy": policy, "RateLimit": fmt.Sprintf(`"%s";r=0;t=\d+`, name), "Retry-After": `\d+`, "Weir-Reason": fmt.Sprintf(`limited; policy="%s"`, name)})
			ms, after := number(body, `"retry_after_ms":\s*(\d+)`), number(resp.Header.Get("Retry-After"), `^(\d+)$`)
			if ms <= 0 || after*1000 < ms || !strings.Contains(body, "quota-exceeded") {
				t.Errorf("Retry-After %d, %s", after, body)
			}
			if reset := number(resp.Header.Get("RateLimit"), `;t=(\d+)`); reset*1000 < ms || reset*1000 >= ms+1000 {
				t.Errorf("t=%d, %d ms to wait", reset, ms)
			}
			if !retries {
				return
			}
			begin := time.Now()
			time.Sleep(time.Duration(ms)*time.Millisecond - 120*time.Millisecond)
			early, _ := fetch(t, "GET", url, "")
			if early.StatusCode != 429 && time.Since(begin) < time.Duration(ms-20)*time.Millisecond {
				t.Errorf("%d after %v, %d ms were asked", early.StatusCode, time.Since(begin), ms)
			}
			time.Sleep(time.Until(begin.Add(time.Duration(after) * time.Second)))
			match(t, first(fetch(t, "GET", url, "")), 200, nil)
		})
	}
	f("token_bucket", `"token_bucket";q=3;w=2`, true) // seconds, rounded up
	f("leaky_bucket", `"leaky_bucket";q=3;w=2`, true)
	f("sliding_window", `"sliding_window";q=3;w=2`, true)
	f("fixed_window", `"fixed_window";q=3;w=2`, true)
	f("adaptive", `"adaptive";q=3;w=2`, true)
	f("month", `"month";q=3;w=\d+`, false)
	f("hour", `"hour";q=3;w=3600`, false)
	t.Run("concurrency", func(t *testing.T) {
		t.Parallel()
		const policy = `"concurrency";q=3;qu="concurrent-requests"`
		url := w.url("/concurrency")
		h.free <- struct{}{}
		match(t, first(fetch(t, "GET", url, "")), 200, map[string]string{"RateLimit-Policy": policy, "RateLimit": `"concurrency";r=2`})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { tryFetch(plainClient, "GET", url, "") })
		}
		h.waitIn(3)
		resp, body := fetch(t, "GET", url, "")
		match(t, resp, 429, map[string]string{"RateLimit-Policy": policy, "RateLimit": `"concurrency";r=0`, "Retry-After": "[1-9]", "Weir-Reason": `limited; policy="concurrency"`})
		if strings.Contains(body, "retry_after_ms") {
			t.Errorf("nobody knows when: %s", body)
		}
		for range 4 {
			h.free <- struct{}{}
		}
		after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		time.Sleep(time.Duration(after) * time.Second)
		match(t, first(fetch(t, "GET", url, "")), 200, nil)
		wg.Wait()
	})
	t.Run("month-is-the-calendar's", func(t *testing.T) {
		t.Parallel()
		resp, _ := fetch(t, "HEAD", w.url("/calendar"), "")
		now := time.Now().UTC()
		end := time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		if reset, want := number(resp.Header.Get("RateLimit"), `;t=(\d+)`), int(end.Sub(now).Seconds()); reset < want-5 || reset > want+5 {
			t.Errorf("t=%d, the month ends in %d s", reset, want)
		}
	})
}

func first(resp *http.Response, _ string) *http.Response { return resp }
