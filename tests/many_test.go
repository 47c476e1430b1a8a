package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// batch sends checks in one call and returns the answers. c keeps its connection.
func batch(c *http.Client, w *weir, body []byte) (results []checkAnswer, err error) {
	resp, err := c.Post(w.adminURL("/api/v1/check"), "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("%d %.300s", resp.StatusCode, text)
	}
	if err != nil {
		return nil, err
	}
	var all struct{ Results []checkAnswer }
	err = json.Unmarshal(text, &all)
	return all.Results, err
}

type checkAnswer struct {
	Allowed   bool
	Key       string
	Remaining int
	Decisions []struct{ Policy string }
}

// TestManyPolicies makes 1,000 policies by the API, one for each tenant with a limit of its own, and asks for 10,000 clients: each gets
// exactly what its policy says.
func TestManyPolicies(t *testing.T) {
	t.Parallel()
	w := startWeir(t, apiConfig, nil)
	policies, users := 1000, 10
	if raced {
		policies = 100
	}
	limit := func(tenant int) int { return 1 + tenant%4 }
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	t.Cleanup(client.CloseIdleConnections)
	start := time.Now()
	for i := range policies {
		body := fmt.Sprintf(`{"name":"p%d","algorithm":"fixed_window","dimensions":["tenant","user_id"],"limit":%d,"window":"8760h","when":"tenant == 't%d'"}`, i, limit(i), i)
		resp, err := client.Post(w.adminURL("/api/v1/policies"), "application/json", bytes.NewReader([]byte(body)))
		noError(t, err)
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 201 {
			t.Fatalf("policy %d: %d %s", i, resp.StatusCode, text)
		}
	}
	t.Logf("%d policies took %v", policies, time.Since(start).Round(time.Millisecond))

	resp, _ := fetch(t, "GET", w.url("/x"), "", "X-Tenant: t7", "X-User-Id: other")
	if left(resp, "p7") != limit(7)-1 || left(resp, "p8") != -1 || left(resp, "from-file") != 49 {
		t.Errorf("%v", resp.Header)
	}
	allowed := make([]int, policies*users)
	for try := range 6 { // one more than the highest limit, and one of nobody's tenant
		var body bytes.Buffer
		n := 0
		send := func() {
			t.Helper()
			body.WriteString("]}")
			results, err := batch(client, w, body.Bytes())
			noError(t, err)
			for i, r := range results {
				at := n - len(results) + i
				tenant := at / users
				if r.Allowed {
					allowed[at]++
				}
				if d := r.Decisions; len(d) != 2 || d[0].Policy != fmt.Sprintf("p%d", tenant) || d[1].Policy != "from-file" {
					t.Fatalf("client %d of tenant %d: %+v", at, tenant, r)
				}
			}
			body.Reset()
		}
		for tenant := range policies {
			for user := range users {
				if body.Len() == 0 {
					body.WriteString(`{"checks":[`)
				} else {
					body.WriteByte(',')
				}
				fmt.Fprintf(&body, `{"key":"c","metadata":{"tenant":"t%d","user_id":"u%d"}}`, tenant, user)
				if n++; n%1000 == 0 {
					send()
				}
			}
		}
		if body.Len() > 0 {
			send()
		}
		if try == 0 {
			if resp, _ := fetch(t, "GET", w.url("/x"), "", "X-Tenant: nobody", "X-User-Id: u"); len(resp.Header.Values("RateLimit")) != 1 || left(resp, "from-file") < 0 {
				t.Errorf("a tenant without a policy: %v", resp.Header)
			}
		}
	}
	wrong := 0
	for at, n := range allowed {
		if n != limit(at/users) {
			if wrong++; wrong < 10 {
				t.Errorf("client %d was allowed %d times, want %d", at, n, limit(at/users))
			}
		}
	}
}

// TestFlood has 400,000 callers appear, each once, who owe something for a day: four policies count them. Memory has its bound, and
// who was limited before stays limited.
func TestFlood(t *testing.T) {
	const memory = 16 << 20
	w := startWeir(t, `
node: {name: test, data_dir: "", limiter_memory: 16MiB}
admin: {address: "@admin"}
telemetry: {access_log: {output: "off"}}
listeners: [{name: web, address: "@web"}]
routes: [{name: all, respond: {body: ok}}]
policies:
  - {name: bucket, dimensions: [key], limit: 4, window: 24h}
  - {name: slide, algorithm: sliding_window, dimensions: [key], limit: 1000000, window: 24h}
  - {name: fixed, algorithm: fixed_window, dimensions: [key], limit: 1000000, window: 8760h}
  - {name: month, algorithm: quota, dimensions: [key], limit: 1000000, window: month}
`, nil)
	client := &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	t.Cleanup(client.CloseIdleConnections)
	limited := func() (allowed int) { // 200 callers
		var body bytes.Buffer
		for i := range 200 {
			fmt.Fprintf(&body, `,{"key":"before-%d","tokens":2}`, i)
		}
		results, err := batch(client, w, []byte(`{"checks":[`+body.String()[1:]+`]}`))
		noError(t, err)
		for _, r := range results {
			if r.Allowed {
				allowed++
			}
		}
		return allowed
	}
	for i, want := range []int{200, 200, 0} {
		if n := limited(); n != want {
			t.Fatalf("round %d: %d allowed, want %d", i, n, want)
		}
	}
	keys := 400_000
	if raced {
		keys = 100_000
	}
	before, start := w.rss(), time.Now()
	most := before
	next := make(chan int, keys/1000)
	for n := 0; n < keys; n += 1000 {
		next <- n
	}
	close(next)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			var body bytes.Buffer
			for n := range next {
				body.Reset()
				for i := range 1000 {
					fmt.Fprintf(&body, `,{"key":"flood-%d"}`, n+i)
				}
				body.WriteString("]}")
				resp, err := client.Post(w.adminURL("/api/v1/check"), "application/json", io.MultiReader(bytes.NewReader([]byte(`{"checks":[`)), bytes.NewReader(body.Bytes()[1:])))
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("%d", resp.StatusCode)
					return
				}
				if n%20000 == 0 {
					mu.Lock()
					most = max(most, w.rss())
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	most = max(most, w.rss())
	a, _, text := w.api("GET", "/api/v1/metrics", "", 200)
	used, _ := a["memory_bytes"].(float64)
	t.Logf("%d keys in %v: VmRSS %d → %d MiB at most; buckets use %.1f MiB of 16", keys, time.Since(start).Round(time.Millisecond), before>>20, most>>20, used/(1<<20))
	if used > memory || used < memory/2 {
		t.Errorf("buckets use %v bytes: %s", used, text)
	}
	// The buckets, twice as the collector may leave as much garbage as there is live, and what calls of 1,000 checks need.
	if allowance := int64(2*memory + 24<<20); most > before+allowance && !raced {
		t.Errorf("VmRSS rose from %d to %d bytes, more than %d", before, most, allowance)
	}
	if n := limited(); n != 0 {
		t.Errorf("after the flood %d of 200 that were limited are allowed", n)
	}
	if n := w.metric("weir_limiter_keys"); n < 100_000 && !raced {
		t.Errorf("%v keys", n)
	}
}
