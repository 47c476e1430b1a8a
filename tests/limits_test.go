package tests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const limitConfig = base + `
listeners: [{name: web, address: "@web"}]
dimensions:
  - {name: key, from: "header:x-api-key", secret: true}
  - {name: tenant, from: "header:x-tenant", default: anonymous}
routes:
  - {name: plain, match: {path: /plain}, respond: {body: ok}}
  - {name: tight, match: {path: /tight}, respond: {body: ok}}
  - {name: pair, match: {path: /pair}, respond: {body: ok}}
  - {name: shadow, match: {path: /shadow}, respond: {body: ok}}
  - {name: slow, match: {path: /slow}, respond: {body: ok}}
  - {name: all, respond: {body: ok}}
policies:
  - {name: per-key, dimensions: [key], limit: 5, window: 1m, routes: [plain]}
  - {name: tight, limit: 2, window: 1h, routes: [tight]}
  - {name: wide, dimensions: [tenant], limit: 100, window: 1h, routes: [pair]}
  - {name: narrow, dimensions: [tenant], limit: 3, window: 1h, routes: [pair]}
  - {name: watched, limit: 1, window: 1h, routes: [shadow], mode: shadow}
  - {name: when, limit: 1, window: 1h, routes: [all], when: "request.method == 'POST'"}
  - {name: refill, limit: 10, window: 1s, burst: 5, routes: [slow]}
`

// TestLimited checks every field of a refusal against the contract.
func TestLimited(t *testing.T) {
	t.Parallel()
	w := startWeir(t, limitConfig, nil)
	get := func(fields ...string) (*http.Response, string) {
		return fetch(t, "GET", w.url("/plain"), "", fields...)
	}
	for i := range 5 {
		resp, _ := get("X-Api-Key: k1-secret")
		if resp.StatusCode != 200 {
			t.Fatalf("request %d: %d", i, resp.StatusCode)
		}
		if got, want := resp.Header.Get("RateLimit"), fmt.Sprintf(`"per-key";r=%d;t=`, 4-i); !strings.HasPrefix(got, want) {
			t.Errorf("request %d: RateLimit %q, want %s…", i, got, want)
		}
		if got := resp.Header.Get("RateLimit-Policy"); got != `"per-key";q=5;w=60` {
			t.Errorf("request %d: RateLimit-Policy %q", i, got)
		}
	}
	resp, body := get("X-Api-Key: k1-secret")
	if resp.StatusCode != 429 || resp.Status != "429 Too Many Requests" {
		t.Fatalf("the sixth: %s", resp.Status)
	}
	for name, want := range map[string]string{
		"Content-Type": `^application/problem\+json`, "RateLimit-Policy": `^"per-key";q=5;w=60$`, "RateLimit": `^"per-key";r=0;t=\d+$`,
		"Retry-After": `^\d+$`, "Weir-Reason": `^limited; policy="per-key"$`,
	} {
		if got := resp.Header.Get(name); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s: %q, want %s", name, got, want)
		}
	}
	var p struct {
		Type, Title, Detail string
		Status              int
		Violated            []string `json:"violated-policies"`
		RetryMS             int64    `json:"retry_after_ms"`
		RequestID           string   `json:"request_id"`
	}
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	after, _ := strconv.ParseInt(resp.Header.Get("Retry-After"), 10, 64)
	if p.Type != "https://iana.org/assignments/http-problem-types#quota-exceeded" || p.Title == "" || p.Detail == "" || p.Status != 429 ||
		len(p.Violated) != 1 || p.Violated[0] != "per-key" || p.RequestID == "" || p.RetryMS <= 0 || p.RetryMS > 12000 || after*1000 < p.RetryMS {
		t.Errorf("Retry-After %d, body %s", after, body)
	}
	if strings.Contains(body, "k1-secret") || strings.Contains(w.log.String(), "k1-secret") {
		t.Error("a secret value is shown")
	}
	if resp, _ := get("X-Api-Key: k2"); resp.StatusCode != 200 {
		t.Errorf("another key: %d", resp.StatusCode)
	}
	if resp, _ := get(); resp.StatusCode != 200 || resp.Header.Get("RateLimit") != "" {
		t.Errorf("no key, so no policy: %d %q", resp.StatusCode, resp.Header.Get("RateLimit"))
	}
	resp, body = get("X-Api-Key: k1-secret", "Accept: text/plain")
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") || strings.Count(strings.TrimSpace(body), "\n") != 0 || body == "" {
		t.Errorf("for text/plain: %v %q", resp.Header, body)
	}
	if n := w.metric("weir_limiter_decisions_total", `policy="per-key"`); n != 8 {
		t.Errorf("weir_limiter_decisions_total for per-key is %v, want 8", n)
	}
	if v := w.metric("weir_limiter_keys"); v < 2 {
		t.Errorf("weir_limiter_keys is %v", v)
	}
}

// TestPolicies checks several policies at once, shadow mode, conditions and the refill.
func TestPolicies(t *testing.T) {
	t.Parallel()
	w := startWeir(t, limitConfig, nil)
	count := func(n int, method, path string, fields ...string) (ok int, last *http.Response) {
		for range n {
			resp, _ := fetch(t, method, w.url(path), "", fields...)
			if last = resp; resp.StatusCode == 200 {
				ok++
			}
		}
		return ok, last
	}
	t.Run("the-tightest-is-named", func(t *testing.T) {
		ok, last := count(6, "GET", "/pair", "X-Tenant: acme")
		if ok != 3 || !strings.Contains(last.Header.Get("Weir-Reason"), `"narrow"`) {
			t.Errorf("%d of 6, %v", ok, last.Header)
		}
		if got := last.Header.Get("RateLimit"); !strings.HasPrefix(got, `"narrow"`) {
			t.Errorf("RateLimit %q, want the tightest first", got)
		}
	})
	t.Run("all-or-nothing", func(t *testing.T) { // a refusal by narrow leaves wide uncharged
		_, last := count(1, "GET", "/pair", "X-Tenant: acme")
		if got := strings.Join(last.Header.Values("RateLimit"), ", "); strings.Contains(got, `"wide"`) && !strings.Contains(got, `"wide";r=97;`) {
			t.Errorf("RateLimit %q, want wide to have 97 left", got)
		}
	})
	t.Run("default-value", func(t *testing.T) {
		if ok, _ := count(5, "GET", "/pair"); ok != 3 {
			t.Errorf("%d of 5 without a tenant", ok)
		}
	})
	t.Run("shadow", func(t *testing.T) {
		if ok, _ := count(5, "GET", "/shadow"); ok != 5 {
			t.Errorf("%d of 5 pass a shadow policy", ok)
		}
		if n := w.metric("weir_limiter_decisions_total", `policy="watched"`, `mode="shadow"`); n != 5 {
			t.Errorf("%v decisions are counted", n)
		}
	})
	t.Run("when", func(t *testing.T) {
		if ok, _ := count(5, "GET", "/other"); ok != 5 {
			t.Errorf("%d of 5 GETs", ok)
		}
		if ok, _ := count(5, "POST", "/other"); ok != 1 {
			t.Errorf("%d of 5 POSTs", ok)
		}
	})
	t.Run("refill", func(t *testing.T) {
		start := time.Now()
		ok := 0
		for time.Since(start) < 2*time.Second {
			if resp, _ := fetch(t, "GET", w.url("/slow"), ""); resp.StatusCode == 200 {
				ok++
			}
			time.Sleep(10 * time.Millisecond)
		}
		most := 5 + int(10*time.Since(start).Seconds()) + 1
		if ok > most || ok < most-5 {
			t.Errorf("%d pass in 2 s, want about %d and no more", ok, most)
		}
	})
	t.Run("retry-after-is-true", func(t *testing.T) {
		for {
			resp, body := fetch(t, "GET", w.url("/slow"), "")
			if resp.StatusCode == 200 {
				continue
			}
			ms, _ := strconv.Atoi(regexp.MustCompile(`"retry_after_ms":\s*(\d+)`).FindStringSubmatch(body)[1])
			time.Sleep(time.Duration(ms+20) * time.Millisecond)
			if resp, _ := fetch(t, "GET", w.url("/slow"), ""); resp.StatusCode != 200 {
				t.Errorf("%d after waiting for the %d ms that were asked", resp.StatusCode, ms)
			}
			return
		}
	})
}

// TestLimitIsExact spends a bucket from many connections at once: exactly the limit passes.
func TestLimitIsExact(t *testing.T) {
	t.Parallel()
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
routes: [{name: fixed, respond: {body: ok}}]
policies: [{name: exact, limit: 200, window: 24h}]
`, nil)
	var mu sync.Mutex
	var wg sync.WaitGroup
	ok, refused := 0, 0
	for range 8 {
		wg.Go(func() {
			c := dial(t, w.addr("web"))
			for range 50 {
				c.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
				r := c.read(5*time.Second, false)
				mu.Lock()
				if r.status == 200 {
					ok++
				} else if r.status == 429 {
					refused++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if ok != 200 || refused != 200 {
		t.Errorf("%d pass and %d are refused, want 200 and 200", ok, refused)
	}
}

// TestLimitHeaders checks the settings of headers.
func TestLimitHeaders(t *testing.T) {
	t.Parallel()
	f := func(name, headers string, has, hasNot []string) {
		t.Run(name, func(t *testing.T) {
			w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
routes: [{name: fixed, respond: {body: ok}}]
policies: [{name: one, limit: 1, window: 1h}]
headers: {`+headers+`}
`, nil)
			for range 2 {
				resp, _ := fetch(t, "GET", w.url("/"), "")
				for _, h := range has {
					if h == "Weir-Reason" && resp.StatusCode == 200 {
						continue
					}
					if resp.Header.Get(h) == "" {
						t.Errorf("%d: no %s in %v", resp.StatusCode, h, resp.Header)
					}
				}
				for _, h := range hasNot {
					if resp.Header.Get(h) != "" {
						t.Errorf("%d: %s: %s", resp.StatusCode, h, resp.Header.Get(h))
					}
				}
			}
		})
	}
	draft := []string{"RateLimit", "RateLimit-Policy"}
	legacy := []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}
	f("default", "", append(draft, "Weir-Reason"), legacy)
	f("legacy", "legacy: true", append(draft, legacy...), nil)
	f("off", `ratelimit: "off", reason: false`, nil, append(append(draft, legacy...), "Weir-Reason"))
}
