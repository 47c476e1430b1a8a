package tests

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestSlowClients opens clients of four slow kinds beside a steady load: the slow ones are cut, the load does not notice.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("0123456789abcdef", 1<<20) // 16 MiB: more than the sockets between can hold
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			io.WriteString(w, big)
			return
		}
		say("ok")(w, r)
	})
	w := startWeir(t, base+`
listeners:
  - name: web
    address: "@web"
    limits: {header_timeout: 1s, idle_timeout: 2s, body_min_rate: 1KiB}
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up}]
`, map[string]string{"up": up.addr})
	l := startLoad(w.url("/"), 8, 200)
	const each = 50
	var wg sync.WaitGroup
	f := func(kind, first string, cutWithin time.Duration, drip string) {
		for range each {
			c := dial(t, w.addr("web"))
			c.send(first)
			wg.Go(func() {
				if took, ok := untilCut(c.c, patience(cutWithin), drip); !ok {
					t.Errorf("%s: still open after %v", kind, took)
				}
			})
		}
	}
	f("header", "GET / HTTP/1.1\r\nHost: a.test\r\n", 5*time.Second, "X-A: 1\r\n")
	f("header by bytes", "G", 5*time.Second, "E")
	f("nothing", "", 6*time.Second, "")
	f("body", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n", 12*time.Second, "a")
	f("chunked body", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n", 12*time.Second, "1\r\na\r\n")
	for range each { // these never read: what the kernel still holds for them hides the close, so the gateway is asked
		dial(t, w.addr("web")).send("GET /big HTTP/1.1\r\nHost: a.test\r\n\r\n")
	}
	wg.Wait()
	eventually(t, 12*time.Second, "slow readers are cut", func() bool { return w.metric("weir_connections") <= 10 })
	total, failed, seen := l.stop()
	t.Logf("%d requests, p99 %v: %s", total, l.quantile(0.99), seen)
	if failed > 0 || total < 200 {
		t.Errorf("%d of %d requests beside them failed: %s", failed, total, seen)
	}
}

// untilCut sends drip every 100 ms and never reads, until the connection is closed or d has passed.
func untilCut(c net.Conn, d time.Duration, drip string) (took time.Duration, cut bool) {
	defer c.Close()
	start := time.Now()
	for time.Since(start) < d {
		time.Sleep(100 * time.Millisecond)
		if drip != "" {
			if _, err := io.WriteString(c, drip); err != nil {
				return time.Since(start), true
			}
			continue
		}
		if socketError(c) {
			return time.Since(start), true
		}
	}
	return time.Since(start), false
}

// TestSteadyClients checks that what is slow but above the minimum rate is left alone.
func TestSteadyClients(t *testing.T) {
	t.Parallel()
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
	})
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web", limits: {body_min_rate: 1KiB, header_timeout: 2s}}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up, timeout: 60s}]
`, map[string]string{"up": up.addr})
	c := dial(t, w.addr("web"))
	c.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 32000\r\n\r\n")
	for range 16 { // 4,000 bytes a second for 8 s, past the 5 s of grace
		if err := c.send(strings.Repeat("a", 2000)); err != nil {
			t.Fatalf("cut at 4,000 bytes per second: %v", err)
		}
		time.Sleep(500 * time.Millisecond)
	}
	if r := c.read(5*time.Second, false); r.status != 200 || len(r.body) != 32000 {
		t.Errorf("%d, %d bytes, %v", r.status, len(r.body), r.err)
	}
}
