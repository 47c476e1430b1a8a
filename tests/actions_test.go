package tests

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestTag checks that a policy of action tag lets everything pass and tells the endpoint, and that nobody else can say so.
func TestTag(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	w := startWeir(t, onePool+`
dimensions: [{name: key, from: "header:x-key"}]
policies:
  - {name: soft, dimensions: [key], limit: 2, window: 24h, action: tag}
  - {name: softer, dimensions: [key], limit: 3, window: 24h, action: tag}
  - {name: hard, dimensions: [key], limit: 6, window: 24h}
`, map[string]string{"up": u.addr})
	// sent returns the values of fields that an endpoint may take for Weir-Limited.
	sent := func(want int, fields ...string) (values []string) {
		t.Helper()
		u.begin(nil)
		resp, _ := fetch(t, "GET", w.url("/"), "", fields...)
		if resp.StatusCode != want {
			t.Errorf("%q: %d, want %d", fields, resp.StatusCode, want)
		}
		if strings.Contains(strings.Join(resp.Header.Values("RateLimit"), ""), "soft") {
			t.Errorf("what never refuses is shown as a limit: %v", resp.Header)
		}
		reqs, _ := u.got()
		for _, r := range reqs {
			for _, f := range r.fields {
				if strings.EqualFold(strings.ReplaceAll(f[0], "_", "-"), "weir-limited") {
					values = append(values, f[1])
				}
			}
		}
		return values
	}
	forged := []string{"X-Key: k", "Weir-Limited: soft", "WEIR-LIMITED: other", "weir_limited: soft", "Weir_Limited: other"}
	for i, want := range []string{"", "", "soft", "soft softer", "soft softer", "soft softer"} {
		got := strings.Join(sent(200, forged...), " ")
		if want == "" && got != "" || strings.Contains(got, "other") {
			t.Errorf("request %d: Weir-Limited %q from the client came through", i, got)
		}
		for name := range strings.FieldsSeq(want) {
			if !strings.Contains(got, name) {
				t.Errorf("request %d: Weir-Limited %q does not name %s", i, got, name)
			}
		}
		if want == "soft" && strings.Contains(got, "softer") {
			t.Errorf("request %d: Weir-Limited %q", i, got)
		}
	}
	if got := sent(429, forged...); len(got) != 0 {
		t.Errorf("a refused request has arrived, tagged %q", got)
	}
	if got := sent(200, "Weir-Limited: soft", "Connection: weir-limited"); len(got) != 0 {
		t.Errorf("no policy applies: %q", got)
	}
	for policy, want := range map[string]float64{"soft": 4, "softer": 3} {
		if n := w.metric("weir_limiter_decisions_total", `policy="`+policy+`"`, `decision="refused"`); n != want {
			t.Errorf("%s: %v refusals are counted, want %v", policy, n, want)
		}
	}
}

// TestShadow checks that a shadow policy of any algorithm and action counts and never refuses, delays or is shown.
func TestShadow(t *testing.T) {
	t.Parallel()
	text := answers("x") + "policies:\n"
	algorithms := []string{"token_bucket", "leaky_bucket", "sliding_window", "fixed_window", "concurrency", "adaptive", "quota"}
	for _, a := range algorithms {
		window := "24h"
		if a == "quota" {
			window = "month"
		}
		text += fmt.Sprintf("  - {name: %s, algorithm: %s, limit: 2, window: %s, mode: shadow, action: queue, max_wait: 30s, cost: \"2\"}\n", a, a, window)
	}
	w := startWeir(t, text+"  - {name: told, limit: 100, window: 24h}\n  - {name: off, limit: 1, window: 24h, mode: \"off\"}\n", nil)
	start := time.Now()
	for i := range 4 {
		eventually(t, 2*time.Second, "the seats of the one before are free", func() bool {
			_, body := w.admin("POST", "/api/v1/explain", `{"method":"GET","url":"http://a.test/x"}`)
			return number(body, `(?s)"policy":\s*"concurrency".*?"remaining":\s*(\d+)`) == 2
		})
		resp, _ := fetch(t, "GET", w.url("/x"), "")
		if got := strings.Join(resp.Header.Values("RateLimit"), ","); resp.StatusCode != 200 || !strings.HasPrefix(got, fmt.Sprintf(`"told";r=%d;`, 99-i)) || strings.Contains(got, ",") {
			t.Errorf("request %d: %d, RateLimit %q", i, resp.StatusCode, got)
		}
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("four requests took %v", d)
	}
	for _, a := range algorithms {
		refused := 3.0
		if a == "concurrency" {
			refused = 0
		}
		if n := w.metric("weir_limiter_decisions_total", `policy="`+a+`"`, `decision="refused"`, `mode="shadow"`); n != refused {
			t.Errorf("%s: %v would have been refused, want %v", a, n, refused)
		}
	}
	if n := w.metric("weir_limiter_decisions_total", `policy="off"`); n != 0 {
		t.Errorf("a policy that is off has decided %v times", n)
	}
}

// outcome is how a request fared.
type outcome struct {
	n      int
	status int
	sent   time.Time
	at     time.Time
	by     string
}

func (o *outcome) took() time.Duration { return o.at.Sub(o.sent) }

// together sends n requests, one each gap, and returns how they fared in the order of their answers.
func together(t *testing.T, n int, gap time.Duration, url string, fields ...string) []outcome {
	t.Helper()
	var mu sync.Mutex
	var all []outcome
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			start := time.Now()
			resp, _, err := tryFetch(plainClient, "GET", url, "", fields...)
			o := outcome{n: i, sent: start, at: time.Now()}
			if err == nil {
				o.status, o.by = resp.StatusCode, violated(resp)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, o)
		})
		time.Sleep(gap)
	}
	wg.Wait()
	return all
}

// TestQueue checks how long requests wait with action queue, in which order they go on, and who is refused.
func TestQueue(t *testing.T) {
	w := startWeir(t, answers("bucket", "leak", "fixed", "slide", "both")+`
policies:
  - {name: bucket, limit: 10, burst: 2, routes: [bucket], action: queue, max_wait: 420ms}
  - {name: leak, algorithm: leaky_bucket, limit: 10, burst: 4, routes: [leak], action: queue, max_wait: 5s}
  - {name: fixed, algorithm: fixed_window, limit: 5, window: 2s, routes: [fixed], action: queue, max_wait: 3s}
  - {name: slide, algorithm: sliding_window, limit: 5, window: 1s, routes: [slide], action: queue, max_wait: 3s}
  - {name: both-wait, limit: 10, burst: 1, routes: [both], action: queue, max_wait: 5s}
  - {name: both-not, limit: 3, window: 24h, routes: [both]}
`, nil)
	late := patience(90 * time.Millisecond)
	t.Run("token-bucket", func(t *testing.T) { // two at once, then one each 100 ms that waits up to 420 ms
		all := together(t, 9, 4*time.Millisecond, w.url("/bucket"))
		waits, refused := 0, 0
		begin := all[0].sent
		for _, o := range all {
			switch {
			case o.status == 429:
				refused++
				if o.took() > late {
					t.Errorf("request %d waited %v to be refused", o.n, o.took())
				}
			case o.n != waits:
				t.Errorf("request %d went on as the %dth", o.n, waits)
				fallthrough
			default:
				want := max(0, time.Duration(o.n-1)*100) * time.Millisecond
				if d := o.at.Sub(begin); d < want || d > want+late {
					t.Errorf("request %d went on after %v, want %v", o.n, d, want)
				}
				waits++
			}
		}
		if waits != 6 || refused != 3 {
			t.Errorf("%d passed and %d were refused, want 6 and 3: %v", waits, refused, all)
		}
	})
	t.Run("leaky-bucket", func(t *testing.T) { // holds 4, lets one go each 100 ms
		all := together(t, 7, 2*time.Millisecond, w.url("/leak"))
		var passed []outcome
		for _, o := range all {
			if o.status == 200 {
				passed = append(passed, o)
			}
		}
		if len(passed) != 4 {
			t.Fatalf("%d passed, want 4: %v", len(passed), all)
		}
		for i := range passed {
			want := time.Duration(i) * 100 * time.Millisecond
			if d := passed[i].at.Sub(passed[0].sent); d < want || d > want+late || passed[i].n != i {
				t.Errorf("request %d went on as the %dth, after %v, want %v", passed[i].n, i, d, want)
			}
		}
	})
	t.Run("fixed-window", func(t *testing.T) { // waits for the next window of the clock
		time.Sleep(time.Until(time.Now().Truncate(2 * time.Second).Add(2050 * time.Millisecond)))
		edge := time.Now().Truncate(2 * time.Second).Add(2 * time.Second)
		all := together(t, 10, 0, w.url("/fixed"))
		before, after := 0, 0
		for _, o := range all {
			switch {
			case o.status != 200:
				t.Errorf("request %d: %d", o.n, o.status)
			case o.at.Before(edge):
				before++
			case o.at.Before(edge.Add(2 * late)):
				after++
			}
		}
		if before != 5 || after != 5 {
			t.Errorf("%d before the edge and %d soon after it, want 5 and 5: %v", before, after, all)
		}
	})
	t.Run("sliding-window", func(t *testing.T) {
		all := together(t, 10, 0, w.url("/slide"))
		n := 0
		for _, o := range all {
			if o.status != 200 {
				t.Errorf("request %d: %d", o.n, o.status)
			}
			if o.took() > 900*time.Millisecond {
				n++
			}
		}
		if n != 5 {
			t.Errorf("%d waited a window, want 5: %v", n, all)
		}
	})
	t.Run("another-policy-refuses", func(t *testing.T) { // at once, though the first would have had it wait
		all := together(t, 5, 2*time.Millisecond, w.url("/both"))
		refused := 0
		for _, o := range all {
			if o.status == 429 {
				refused++
				if o.by != "both-not" || o.took() > late {
					t.Errorf("request %d: refused by %q after %v", o.n, o.by, o.took())
				}
			}
		}
		if refused != 2 {
			t.Errorf("%d refused, want 2: %v", refused, all)
		}
	})
}

// TestGoneWhileWaiting checks that who leaves while a policy has it wait gets nothing sent and gives back what it took.
func TestGoneWhileWaiting(t *testing.T) {
	t.Parallel()
	up := serve(t, say("ok"))
	w := startWeir(t, onePool+`
dimensions: [{name: key, from: "header:x-key"}]
policies:
  - {name: bucket, dimensions: [key], limit: 100, window: 100s, burst: 2, action: queue, max_wait: 30s}
  - {name: count, dimensions: [key], algorithm: fixed_window, limit: 100, window: 8760h}
`, map[string]string{"up": up.addr})
	const request = "GET / HTTP/1.1\r\nHost: a.test\r\nX-Key: k\r\n\r\n"
	explained := func(want int) func() bool {
		return func() bool {
			_, body := w.admin("POST", "/api/v1/explain", `{"method":"GET","url":"http://a.test/","headers":{"x-key":"k"}}`)
			return number(body, `(?s)"policy":\s*"count".*?"remaining":\s*(\d+)`) == want
		}
	}
	for range 2 {
		dial(t, w.addr("web")).ask(request)
	}
	var leavers []*raw
	for i := range 4 { // the last one would wait 4 s
		c := dial(t, w.addr("web"))
		c.send(request)
		leavers = append(leavers, c)
		eventually(t, 10*time.Second, "it has taken its place", explained(97-i))
	}
	for i := len(leavers) - 1; i >= 0; i-- { // the place of one with others behind it does not come back
		leavers[i].c.Close()
		eventually(t, 10*time.Second, "it is refunded", explained(98-i))
	}
	start := time.Now()
	resp, _ := fetch(t, "GET", w.url("/"), "", "X-Key: k")
	if d := time.Since(start); resp.StatusCode != http.StatusOK || d > 2*time.Second {
		t.Errorf("who comes next: %d after %v, want at most a second", resp.StatusCode, d)
	}
	if n := left(resp, "count"); n != 97 {
		t.Errorf("%d left, want 97", n)
	}
	if n := up.hits.Load(); n != 3 {
		t.Errorf("%d requests arrived, want 3", n)
	}
}
