package gateway

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/config"
	"weir/limiter"
)

// limited makes an exchange that policies with these rates were charged for at 0, those named in shadows in shadow.
func limited(t testing.TB, spent []int64, rates []limiter.Rate, shadows ...int) (x *Exchange, refused int) {
	t.Helper()
	x = &Exchange{car: request("GET", "/"), snap: &Snapshot{}}
	x.snap.headers.Reason = true
	for i, r := range rates {
		name := fmt.Sprintf("p%d", i)
		l, err := limiter.New(name, limiter.Spec{Rate: r}, limiter.Options{})
		if err != nil {
			t.Fatal(err)
		}
		key := limiter.Key{Hi: 1, Lo: 2}
		for range spent[i] {
			l.Take(key, 1, 0)
		}
		p := &policy{name: name, shadow: slices.Contains(shadows, i), quoted: `"` + name + `"`}
		v := &variant{limiter: l, numbers: config.Numbers{Limit: r.N, Burst: r.Burst}}
		v.describe(&config.Policy{Name: name, Window: config.Window{Every: r.Per}})
		if p.shadow {
			x.charge.AddSoft(l, key, 1)
		} else {
			x.charge.Add(l, key, 1)
		}
		x.uses = append(x.uses, use{p, v, key, 1})
	}
	return x, x.charge.Take(0)
}

func TestRateLimitFields(t *testing.T) {
	per := func(n, burst int64, d time.Duration) limiter.Rate { return limiter.Rate{N: n, Per: d, Burst: burst} }
	f := func(spent []int64, rates []limiter.Rate, policies, state string, shadows ...int) {
		t.Helper()
		x, _ := limited(t, spent, rates, shadows...)
		got := string(x.appendLimits(nil))
		want := ""
		if policies != "" {
			want = "RateLimit-Policy: " + policies + "\r\nRateLimit: " + state + "\r\n"
		}
		if got != want {
			t.Errorf("got %q\nwant %q", got, want)
		}
	}
	f([]int64{0}, []limiter.Rate{per(10, 10, time.Second)}, `"p0";q=10;w=1`, `"p0";r=9;t=1`)
	f([]int64{3}, []limiter.Rate{per(10, 10, time.Minute)}, `"p0";q=10;w=60`, `"p0";r=6;t=24`)
	f([]int64{10}, []limiter.Rate{per(10, 10, time.Minute)}, `"p0";q=10;w=60`, `"p0";r=0;t=6`) // refused: when one more is there
	f([]int64{0}, []limiter.Rate{per(1, 5, 1500*time.Millisecond)}, `"p0";q=1;w=2`, `"p0";r=4;t=2`)
	// The tightest first: the least share left; the others in their order.
	f([]int64{0, 8, 0}, []limiter.Rate{per(10, 10, time.Second), per(10, 10, time.Second), per(10, 10, time.Second)},
		`"p1";q=10;w=1, "p0";q=10;w=1, "p2";q=10;w=1`, `"p1";r=1;t=1, "p0";r=9;t=1, "p2";r=9;t=1`)
	f([]int64{0, 0}, []limiter.Rate{per(1000, 1000, time.Second), per(10, 10, time.Second)},
		`"p1";q=10;w=1, "p0";q=1000;w=1`, `"p1";r=9;t=1, "p0";r=999;t=1`)
	// A refused one is the tightest, and the others show what they have without this request.
	f([]int64{0, 2}, []limiter.Rate{per(10, 10, time.Second), per(2, 2, time.Minute)},
		`"p1";q=2;w=60, "p0";q=10;w=1`, `"p1";r=0;t=30, "p0";r=10;t=0`)
	// Policies in shadow are nobody's business.
	f([]int64{0, 5}, []limiter.Rate{per(10, 10, time.Second), per(5, 5, time.Second)}, `"p0";q=10;w=1`, `"p0";r=9;t=1`, 1)
	f([]int64{5}, []limiter.Rate{per(5, 5, time.Second)}, "", "", 0)
	f(nil, nil, "", "")
}

func TestLegacyRateLimitFields(t *testing.T) {
	x, _ := limited(t, []int64{3, 0}, []limiter.Rate{{N: 10, Per: time.Minute, Burst: 20}, {N: 100, Per: time.Second, Burst: 100}})
	x.snap.headers = config.Headers{RateLimit: "off", Legacy: true}
	if got, want := string(x.appendLimits(nil)), "X-RateLimit-Limit: 10\r\nX-RateLimit-Remaining: 16\r\nX-RateLimit-Reset: 24\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	x.snap.headers = config.Headers{RateLimit: "off"}
	if got := x.appendLimits(nil); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

// TestRateLimitFieldsParse holds the fields against the standard's grammar and the limiters' own answers.
func TestRateLimitFieldsParse(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(rt, "policies")
		spent, rates := make([]int64, n), make([]limiter.Rate, n)
		for i := range rates {
			rates[i] = limiter.Rate{N: rapid.Int64Range(1, 1000).Draw(rt, "limit"), Per: time.Duration(rapid.Int64Range(1, 100_000).Draw(rt, "ms")) * time.Millisecond}
			rates[i].Burst = rapid.Int64Range(1, 50).Draw(rt, "burst")
			spent[i] = rapid.Int64Range(0, 51).Draw(rt, "spent")
		}
		x, refused := limited(t, spent, rates)
		lines := string(x.appendLimits(nil))
		var sets [2][]item
		for i, name := range []string{"RateLimit-Policy", "RateLimit"} {
			v, times := headerOf(lines, name)
			items, err := parseItems(v)
			if err != nil || times != 1 || len(items) != n {
				rt.Fatalf("%s: %q, %d times: %v", name, v, times, err)
			}
			sets[i] = items
		}
		ds := x.charge.Decisions()
		share := func(i int) float64 { return float64(ds[i].Left) / float64(rates[i].Burst) }
		for k, state := range sets[1] {
			if state.name != sets[0][k].name {
				rt.Fatalf("the fields name other policies: %q", lines)
			}
			var i int
			if _, err := fmt.Sscanf(state.name, "p%d", &i); err != nil {
				rt.Fatal(err)
			}
			q := rates[i].N
			if d := rates[i].Per; d < time.Second {
				q = int64(float64(q) * (float64(time.Second) / float64(d)))
			}
			if state.params["r"] != max(0, ds[i].Left) || sets[0][k].params["q"] != q {
				rt.Fatalf("%q of %+v, decision %+v", lines, rates[i], ds[i])
			}
			if k == 0 && refused >= 0 && i != refused && ds[i].OK {
				rt.Fatalf("p%d refused, but %q", refused, lines)
			}
			var first int
			fmt.Sscanf(sets[1][0].name, "p%d", &first) //nolint:errcheck // it was parsed above
			if ds[first].OK && share(first) > share(i)+1e-9 {
				rt.Fatalf("p%d is tighter than the first: %q", i, lines)
			}
		}
	})
}

func TestRetryAfter(t *testing.T) {
	f := func(v Verdict, lo, hi int64) {
		t.Helper()
		seen := map[int64]bool{}
		for range 500 {
			got := retryAfter(&v)
			if got < lo || got > hi {
				t.Fatalf("%v %v: %d, want %d to %d", v.Reason, v.Decision.Retry, got, lo, hi)
			}
			seen[got] = true
		}
		if int64(len(seen)) < min(hi-lo+1, 2) {
			t.Errorf("%v %v: no jitter", v.Reason, v.Decision.Retry)
		}
	}
	refusal := func(d time.Duration) Verdict { return Verdict{Reason: Limited, Decision: limiter.Decision{Retry: d}} }
	f(refusal(1), 1, 2)
	f(refusal(time.Second), 1, 2)
	f(refusal(time.Second+1), 2, 3)
	f(refusal(10*time.Second), 10, 12)
	f(refusal(100*time.Second), 100, 111)
	f(refusal(limiter.Never), 0, 0)
	f(Verdict{Reason: BreakerOpen}, 1, 3)
	f(Verdict{Reason: NoEndpoint}, 1, 3)
	f(Verdict{Reason: QueueFull}, 1, 3)
	f(Verdict{Reason: NoRoute}, 0, 0)
	f(Verdict{Reason: UpstreamError}, 0, 0)
}

// TestRefusals renders any verdict: the body is valid JSON that says what the head says.
func TestRefusals(t *testing.T) {
	details := []string{"", "no route matches this host, path and method", `path has a backslash (\ or %5C)`, "TRACE is not served"}
	for _, d := range faultDetail {
		details = append(details, d)
	}
	rapid.Check(t, func(rt *rapid.T) {
		x, refused := limited(t, []int64{1}, []limiter.Rate{{N: 1, Per: time.Duration(rapid.Int64Range(1, 1e12).Draw(rt, "per")), Burst: 1}})
		v := Verdict{Reason: Reason(rapid.IntRange(1, int(reasons)-1).Draw(rt, "reason")), Detail: rapid.SampledFrom(details).Draw(rt, "detail")}
		if rapid.Bool().Draw(rt, "own status") {
			v.Status = rapid.IntRange(400, 599).Draw(rt, "status")
		}
		if v.Reason == Limited {
			v.Policy, v.Variant, v.Decision = x.uses[refused].p, x.uses[refused].v, x.charge.Decisions()[refused]
		}
		x.identify()
		x.refuse(x.blankReply(), &v)
		var p struct {
			Type, Title, Reason, Detail string
			Status                      int
			RequestID                   string   `json:"request_id"`
			Violated                    []string `json:"violated-policies"`
			RetryMS                     int64    `json:"retry_after_ms"`
		}
		if err := json.Unmarshal(x.reply.Body, &p); err != nil {
			rt.Fatalf("%v: %s", err, x.reply.Body)
		}
		if p.Reason != v.Reason.String() || p.Title == "" || p.Status != x.reply.Status || p.RequestID != string(x.requestID[:x.idLen]) || v.Policy == nil && p.Detail != v.Detail {
			rt.Fatalf("%+v of %+v", p, v)
		}
		want := v.Reason.String()
		if v.Reason == Limited {
			want += `; policy="p0"`
			if len(p.Violated) != 1 || p.Violated[0] != "p0" || p.RetryMS != int64((v.Decision.Retry+999_999)/time.Millisecond) {
				rt.Fatalf("%+v of %+v", p, v)
			}
		}
		head := string(x.reply.Head)
		if got, n := headerOf(head, "Weir-Reason"); got != want || n != 1 {
			rt.Fatalf("Weir-Reason is %q, %d times, want %q", got, n, want)
		}
		if got, _ := headerOf(head, "Content-Type"); got != "application/problem+json" {
			rt.Fatalf("Content-Type is %q", got)
		}
		if !strings.HasSuffix(head, "\r\n") || strings.Contains(head, "\r\n\r\n") {
			rt.Fatalf("head %q", head)
		}
	})
}

func TestPlainRefusal(t *testing.T) {
	x, _ := limited(t, []int64{1}, []limiter.Rate{{N: 1, Per: time.Hour, Burst: 1}})
	x.car.(*fakeCarrier).fields = map[string]string{"accept": "text/plain, */*"}
	v := Verdict{Reason: Limited, Policy: x.uses[0].p, Variant: x.uses[0].v, Decision: x.charge.Decisions()[0]}
	x.refuse(x.blankReply(), &v)
	if got := string(x.reply.Body); got != "Quota exceeded (policy p0)\n" {
		t.Errorf("body %q", got)
	}
	if got, _ := headerOf(string(x.reply.Head), "Content-Type"); !strings.HasPrefix(got, "text/plain") {
		t.Errorf("Content-Type is %q", got)
	}
	x.snap.headers.Reason = false
	x.refuse(x.blankReply(), &v)
	if got, n := headerOf(string(x.reply.Head), "Weir-Reason"); n != 0 {
		t.Errorf("Weir-Reason is %q though it is off", got)
	}
}

func TestFixedReplies(t *testing.T) {
	g := newGateway(t, `
dimensions: [{name: who, from: "header:x-who", default: you}]
routes:
  - {name: text, match: {path: /text}, respond: {status: 203, body: "hello"}, response: {set: [{name: X-Who, value: "${who}"}]}}
  - {name: json, match: {path: /json}, respond: {body: "{}", headers: [{name: content-type, value: application/json}, {name: X-A, value: b}]}}
  - {name: empty, match: {path: /empty}, respond: {status: 204}}
  - {name: moved, match: {path: "/old/*"}, redirect: {status: 308, to: "https://${host}/new${uri}"}}
  - {name: back, match: {path: /back}, redirect: {to: "/login?from=${path}&who=${who}"}}
policies: [{name: all, limit: 10, window: 10s}]
`)
	f := func(path string, status int, body string, fields ...string) {
		t.Helper()
		c := request("GET", path)
		c.query = "q=1"
		var head string
		var got Reply
		c.refuse = func(r *Reply) { got, head = *r, string(r.Head) }
		g.serve(g.exchange(c))
		if got.Status != status || string(got.Body) != body {
			t.Errorf("%s: %d %q, want %d %q", path, got.Status, got.Body, status, body)
		}
		for _, want := range append(fields, `RateLimit-Policy: "all";q=10;w=10`) {
			if !strings.Contains("\r\n"+head, "\r\n"+want) {
				t.Errorf("%s: no %q in %q", path, want, head)
			}
		}
	}
	f("/text", 203, "hello", "Content-Type: text/plain; charset=utf-8\r\n", "X-Who: you\r\n")
	f("/json", 200, "{}", "content-type: application/json\r\n", "X-A: b\r\n")
	f("/empty", 204, "")
	f("/old/a", 308, "", "Location: https://test.local/new/old/a?q=1\r\n")
	f("/back", 302, "", "Location: /login?from=/back&who=you\r\n")
}

func TestDateIsNow(t *testing.T) {
	got, err := time.Parse(time.RFC1123, string(appendDate(nil)))
	if d := time.Since(got); err != nil || d < -time.Second || d > time.Minute {
		t.Errorf("%v, %v", got, err)
	}
}
