package tests

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const settleConfig = onePool + `
dimensions: [{name: key, from: "header:x-key"}]
policies:
  - {name: header, dimensions: [key], algorithm: fixed_window, limit: 1000, window: 8760h, cost: "10", when: "request.path == '/header'", settle: "response.headers['x-cost']"}
  - {name: kilo, dimensions: [key], algorithm: fixed_window, limit: 1000000, window: 8760h, cost: "10", when: "request.path.startsWith('/bytes')", settle: "response.bytes / 1000"}
  - {name: json, dimensions: [key], algorithm: fixed_window, limit: 1000, window: 8760h, cost: "10", when: "request.path.startsWith('/json')", settle: "response.json.usage.total_tokens"}
  - {name: parent, dimensions: [], algorithm: fixed_window, limit: 100000, window: 8760h, when: "request.path == '/family'", cost: "3", settle: "response.status == 200 ? 50 : 0"}
  - {name: child, parent: parent, dimensions: [key], limit: 1000}
`

// costly answers as the fields of the request say.
func costly(w http.ResponseWriter, r *http.Request) {
	const usage = `{"id":"x","usage":{"prompt_tokens":1,"total_tokens":77}}`
	if cost := r.Header.Get("Want-Cost"); cost != "" {
		w.Header().Set("X-Cost", cost)
	}
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/header":
		io.WriteString(w, "ok")
	case "/bytes":
		io.WriteString(w, strings.Repeat("x", 123_999))
	case "/bytes/chunked":
		for range 10 {
			io.WriteString(w, strings.Repeat("x", 4_000))
			w.(http.Flusher).Flush()
		}
	case "/bytes/endless":
		piece := []byte(strings.Repeat("x", 16<<10))
		for range 4096 { // 64 MiB
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	case "/json":
		io.WriteString(w, usage)
	case "/json/chunked":
		for i := range len(usage) {
			io.WriteString(w, usage[i:i+1])
			w.(http.Flusher).Flush()
		}
	case "/json/long":
		io.WriteString(w, strings.TrimSuffix(usage, "}")+`,"pad":"`+strings.Repeat("x", 1<<20)+`"}`)
	case "/json/long-chunked":
		io.WriteString(w, strings.TrimSuffix(usage, "}"))
		w.(http.Flusher).Flush()
		io.WriteString(w, `,"pad":"`+strings.Repeat("x", 1<<20)+`"}`)
	case "/json/slow": // the cost comes last, after what fills every buffer
		io.WriteString(w, `{"pad":"`+strings.Repeat("x", 900_000))
		w.(http.Flusher).Flush()
		time.Sleep(300 * time.Millisecond)
		io.WriteString(w, `","usage":{"total_tokens":500}}`)
	case "/json/packed": // as an endpoint that compresses when it may
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, "not JSON at all")
			return
		}
		io.WriteString(w, `{"usage":{"total_tokens":500}}`)
	case "/json/broken":
		io.WriteString(w, usage[:len(usage)-2])
	case "/json/text":
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, usage)
	case "/json/other":
		io.WriteString(w, `{"usage":{}}`)
	case "/json/none":
		w.WriteHeader(204)
	case "/json/cut":
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, strings.TrimSuffix(usage, "}"))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// TestSettle corrects what a request cost by its answer; the next request sees it.
func TestSettle(t *testing.T) {
	t.Parallel()
	up := serve(t, costly)
	w := startWeir(t, settleConfig, map[string]string{"up": up.addr})
	errors := 0
	// f sends a request of its own key and checks what the next one, that takes 10 as well, finds.
	f := func(path, policy string, spent int, fault bool, fields ...string) {
		t.Helper()
		fields = append(fields, fmt.Sprintf("X-Key: %s %q", path, fields))
		resp, _, err := tryFetch(plainClient, "GET", w.url(path), "", fields...)
		if err == nil && resp.StatusCode >= 300 {
			t.Errorf("%s %q: %d", path, fields, resp.StatusCode)
		}
		limit := map[string]int{"header": 1000, "kilo": 1000000, "json": 1000}[policy]
		resp, _, err = tryFetch(plainClient, "HEAD", w.url(path), "", fields...)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if got := limit - left(resp, policy) - 10; got != spent {
			t.Errorf("%s %q: %d spent, want %d", path, fields, got, spent)
		}
		if fault {
			errors++
		}
	}
	seen := func() int { return int(w.metric("weir_expression_errors_total")) }
	t.Run("header", func(t *testing.T) {
		before := seen()
		f("/header", "header", 3, false, "Want-Cost: 3")
		f("/header", "header", 25, false, "Want-Cost: 25")
		f("/header", "header", 0, false, "Want-Cost: 0")
		f("/header", "header", 900, false, "Want-Cost: 900")
		if n := seen() - before; n != 0 {
			t.Errorf("%d errors of expressions", n)
		}
		f("/header", "header", 10, true)
		f("/header", "header", 10, true, "Want-Cost: much")
		f("/header", "header", 10, true, "Want-Cost: -1")
		if n := seen() - before; n != 6 { // the HEADs are settled, and fail, too
			t.Errorf("%d errors of expressions, want 6", n)
		}
	})
	t.Run("debt", func(t *testing.T) { // costs more than there is: the next one is refused
		fields := []string{"X-Key: debt", "Want-Cost: 5000"}
		fetch(t, "GET", w.url("/header"), "", fields...)
		if resp, _ := fetch(t, "GET", w.url("/header"), "", fields...); resp.StatusCode != 429 || left(resp, "header") != 0 {
			t.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		f("/bytes", "kilo", 123, false)
		f("/bytes/chunked", "kilo", 40, false)
	})
	t.Run("json", func(t *testing.T) {
		before := seen()
		for _, path := range []string{"/json", "/json/chunked"} {
			f(path, "json", 77, false)
		}
		if n := seen() - before; n != 2 { // of the HEADs
			t.Errorf("%d errors of expressions, want 2", n)
		}
	})
	t.Run("no-json", func(t *testing.T) {
		for _, path := range []string{"/json/long", "/json/long-chunked", "/json/broken", "/json/text", "/json/other", "/json/none", "/json/cut"} {
			before := seen()
			f(path, "json", 10, true)
			if n := seen() - before; n != 2 {
				t.Errorf("%s: %d errors of expressions, want 2", path, n)
			}
		}
	})
	t.Run("hierarchy", func(t *testing.T) { // each by its own expression, inherited here
		fetch(t, "GET", w.url("/family"), "", "X-Key: k")
		resp, _ := fetch(t, "GET", w.url("/family"), "", "X-Key: k")
		if left(resp, "child") != 1000-50-3 || left(resp, "parent") != 100000-50-3 {
			t.Errorf("%v", resp.Header)
		}
	})
}

// TestSettleInSequence asks again on another connection as soon as it has the last byte of an answer: what that did cost is known then.
func TestSettleInSequence(t *testing.T) {
	t.Parallel()
	up := serve(t, costly)
	w := startWeir(t, settleConfig, map[string]string{"up": up.addr})
	a, b := dial(t, w.addr("web")), dial(t, w.addr("web"))
	for path, want := range map[string]string{"/bytes": `"kilo";r=999867;`, "/bytes/chunked": `"kilo";r=999950;`, "/json/chunked": `"json";r=913;`} {
		wrong := 0
		for i := range 300 {
			request := fmt.Sprintf(" %s HTTP/1.1\r\nHost: a.test\r\nX-Key: %s%d\r\n\r\n", path, path, i)
			a.ask("GET" + request)
			if got := b.ask("HEAD" + request).get("RateLimit"); !strings.HasPrefix(got, want) {
				wrong++
			}
		}
		if wrong > 0 {
			t.Errorf("%s: %d of 300 times the next request does not see the cost", path, wrong)
		}
	}
}

// TestSettleAborted checks that a client that leaves a download pays for what it was sent.
func TestSettleAborted(t *testing.T) {
	t.Parallel()
	up := serve(t, costly)
	w := startWeir(t, settleConfig, map[string]string{"up": up.addr})
	c := dial(t, w.addr("web"))
	c.send("GET /bytes/endless HTTP/1.1\r\nHost: a.test\r\nX-Key: leaver\r\n\r\n")
	got, err := io.CopyN(io.Discard, c.c, 3<<20)
	if err != nil {
		t.Fatal(err)
	}
	reset(c.c)
	spent := 0
	eventually(t, 5*time.Second, "the cost of what was sent", func() bool {
		resp, _ := fetch(t, "HEAD", w.url("/bytes"), "", "X-Key: leaver")
		spent = 1000000 - left(resp, "kilo") - 10
		return spent >= int(got)/1000
	})
	if spent > 64<<20/1000 { // what lay in buffers, not all there was
		t.Errorf("%d kB were charged, %d received", spent, got/1000)
	}
	before, _ := fetch(t, "HEAD", w.url("/bytes"), "", "X-Key: head")
	after, _ := fetch(t, "HEAD", w.url("/bytes"), "", "X-Key: head")
	if left(before, "kilo") != left(after, "kilo") { // no body, no bytes
		t.Errorf("%v, then %v", before.Header, after.Header)
	}
}

// TestSettleIsNotDodged: neither asking for a compressed answer nor leaving before its end hides what it did cost.
func TestSettleIsNotDodged(t *testing.T) {
	t.Parallel()
	up := serve(t, costly)
	w := startWeir(t, settleConfig, map[string]string{"up": up.addr})
	spent := func(key string) int {
		_, body := w.admin("POST", "/api/v1/explain", `{"url":"/json","headers":{"x-key":"`+key+`"}}`)
		return 1000 - number(body, `(?s)"policy":\s*"json".*?"remaining":\s*(\d+)`)
	}
	fetch(t, "GET", w.url("/json/packed"), "", "X-Key: packer", "Accept-Encoding: gzip")
	if n := spent("packer"); n != 500 {
		t.Errorf("a compressed answer: %d charged, want 500", n)
	}
	c := dial(t, w.addr("web"))
	c.send("GET /json/slow HTTP/1.1\r\nHost: a.test\r\nX-Key: leaver\r\n\r\n")
	if _, err := io.CopyN(io.Discard, c.c, 1000); err != nil {
		t.Fatal(err)
	}
	reset(c.c)
	eventually(t, 5*time.Second, "the cost of an answer that was left", func() bool { return spent("leaver") == 500 })
}
