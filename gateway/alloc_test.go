package gateway

import (
	"io"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"weir/internal/mono"
	"weir/telemetry"
)

const threePolicies = `
dimensions:
  - {name: user, from: "header:x-user"}
routes:
  - {name: limited, match: {path: "/limited/*"}, pool: api}
  - {name: all, pool: api}
policies:
  - {name: everybody, limit: 100000000}
  - {name: by-ip, dimensions: [ip], limit: 100000000, burst: 1000000000}
  - {name: by-user, dimensions: [user, route], limit: 100000000, window: 1h}
  - {name: none-left, dimensions: [ip], limit: 1, window: 1h, routes: [limited]}
`

// again makes x ready to be served anew, as the pool of exchanges does.
func again(x *Exchange) {
	s := x.snap
	x.reset()
	x.snap, x.start = s, mono.Now()
	x.identify()
}

// TestPipelineAllocates holds the pipeline to no allocation, over a carrier that itself makes none.
func TestPipelineAllocates(t *testing.T) {
	g := newGateway(t, poolYAML("    retry: {budget: 100%}\n", "127.0.0.1:1", "127.0.0.1:2")+threePolicies)
	f := func(name string, c *fakeCarrier, status int) {
		t.Helper()
		c.fields = map[string]string{"x-user": "u"}
		x := g.exchange(c)
		x.frame, x.text, x.reply.Head = make([]byte, 0, 256), make([]byte, 0, 512), make([]byte, 0, 512)
		c.picked = make([]string, 0, 8)
		n := testing.AllocsPerRun(1000, func() {
			again(x)
			c.picked = c.picked[:0]
			g.serve(x)
		})
		if c.status != status {
			t.Errorf("%s: status %d, want %d", name, c.status, status)
		}
		if n != 0 && !raceEnabled {
			t.Errorf("%s: %v allocations per request", name, n)
		}
	}
	f("pass", request("GET", "/a"), 200)
	f("limited", request("GET", "/limited/a"), 429)
	retried := request("GET", "/a")
	retried.script = []Result{{Fault: FaultConnect}, {Status: 200, Sent: true}}
	f("retried while the budget lasts", retried, 200)
	failed := request("POST", "/a")
	failed.script = []Result{{Fault: FaultReset, Sent: true}}
	f("failed", failed, 502)
}

// allocations returns how many heap objects one call of f makes in steady state, over many.
func allocations(n int, f func()) float64 {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties pools
	for range 200 {
		f()
	}
	runtime.GC()
	for range 50 {
		f()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		f()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(n)
}

// TestProxyAllocates holds a proxied request, client's socket to upstream's socket and back, to no allocation.
func TestProxyAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	const (
		head = " HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: test/1.0\r\nAccept: */*\r\nX-User: somebody\r\nCookie: a=b; c=d\r\n" +
			"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n"
		answer = "HTTP/1.1 200 OK\r\nServer: test\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
		chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
	)
	f := func(name, request, answer, end string, sample float64, status string) {
		t.Helper()
		g := newGateway(t, poolYAML("", plainUpstream(t, answer))+threePolicies)
		if sample > 0 {
			log, err := telemetry.OpenAccessLog(telemetry.AccessLogOptions{Output: filepath.Join(t.TempDir(), "log"), Sample: sample})
			if err != nil {
				t.Fatal(err)
			}
			g.SetAccessLog(log)
			t.Cleanup(func() { log.Close() })
		}
		k := dial(t, g)
		req, tail := []byte(request), []byte(end)
		var last []byte
		if status == "429" {
			k.roundTrip(req, []byte("{}"))
		}
		n := allocations(5000, func() { last = k.roundTrip(req, tail) })
		if !strings.HasPrefix(string(last), "HTTP/1.1 "+status) {
			t.Errorf("%s: %q", name, last)
		}
		if n > 0.05 {
			t.Errorf("%s: %v allocations per request", name, n)
		}
		k.c.Close()
		io.Copy(io.Discard, k.c) //nolint:errcheck // it is closed
		<-k.end
	}
	get := "GET /v1/items/42?page=2" + head
	f("no log", get, answer, "{}", 0, "200")
	f("log 1%", get, answer, "{}", 0.01, "200")
	f("log 100%", get, answer, "{}", 1, "200")
	f("refused", "GET /limited/x"+head, answer, "}\n", 0, "429")
	f("refused, log 1%", "GET /limited/x"+head, answer, "}\n", 0.01, "429")
	f("refused, log 100%", "GET /limited/x"+head, answer, "}\n", 1, "429")
	f("chunked answer", get, chunks, "0\r\n\r\n", 0, "200")
	f("path to normalise, host in capitals", strings.Replace("GET /a/./b//c%41"+head, "api", "API", 1), answer, "{}", 0.01, "200")
	f("small body", strings.Replace("POST /a"+head, "\r\n\r\n", "\r\nContent-Length: 4\r\n\r\n\r\n\r\n", 1), answer, "{}", 0, "200")
}
