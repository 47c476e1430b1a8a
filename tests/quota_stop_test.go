package tests

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// pieces is what the endpoint below sends of each answer before it says nothing more.
const pieces = 300_000

// cutConfig has a quota of bytes, of a plain answer and of a tunnel.
const cutConfig = `
node: {name: test, data_dir: "@dir/data"}
admin: {address: "@admin"}
telemetry: {access_log: {output: "off"}}
listeners: [{name: web, address: "@web"}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: q, pool: up, timeout: 0s}]
shutdown_timeout: 1s
policies: [{name: q, algorithm: quota, limit: 100000000, window: month, cost: 1, settle: response.bytes}]
`

const holders = 20

// hold sends that many requests, calls cut when each has its pieces, and returns when all connections are closed.
func hold(t *testing.T, addr, upgrade string, cut func()) {
	t.Helper()
	var all, came sync.WaitGroup
	came.Add(holders)
	for range holders {
		c, err := net.Dial("tcp", addr)
		noError(t, err)
		all.Go(func() {
			defer c.Close()
			once := sync.OnceFunc(came.Done)
			defer once()
			fmt.Fprintf(c, "GET /q HTTP/1.1\r\nHost: a.test\r\n%s\r\n", upgrade)
			for b, got := make([]byte, 64<<10), 0; ; {
				n, err := c.Read(b)
				if got += n; got >= pieces {
					once()
				}
				if err != nil {
					return
				}
			}
		})
	}
	came.Wait()
	cut()
	all.Wait()
}

// TestQuotaCutAtStop: answers and tunnels that a stop cuts cost what came of them.
func TestQuotaCutAtStop(t *testing.T) {
	t.Parallel()
	for name, upgrade := range map[string]string{"answers": "", "tunnels": "Connection: Upgrade\r\nUpgrade: stream\r\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			over := make(chan struct{})
			up := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if upgrade == "" {
					w.Write(make([]byte, pieces))
					w.(http.Flusher).Flush()
					<-over
					return
				}
				c, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					return
				}
				defer c.Close()
				c.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: stream\r\n\r\n"))
				time.Sleep(50 * time.Millisecond) // what comes with the head is not counted
				c.Write(make([]byte, pieces))
				<-over
			})
			t.Cleanup(func() { close(over) })
			for try := 1; ; try++ {
				w := startWeir(t, cutConfig, map[string]string{"up": up.addr})
				hold(t, w.addr("web"), upgrade, func() { w.signal(syscall.SIGTERM) })
				if code := w.wait(5 * time.Second); code != 1 && upgrade == "" {
					t.Errorf("exit %d, though answers were cut", code)
				}
				if try < 3 && strings.Contains(w.log.String(), "the disk has not answered") {
					continue // others keep it busy
				}
				if w = w.again(); 100_000_000-quotaLeft(w) != holders*pieces {
					t.Errorf("%d bytes are counted, want %d", 100_000_000-quotaLeft(w), holders*pieces)
				}
				return
			}
		})
	}
}

// TestQuotaGrantsAtStop: what checks are granted until the admin API has ended is not forgotten.
func TestQuotaGrantsAtStop(t *testing.T) {
	t.Parallel()
	const limit = 100_000_000
	w := startWeir(t, quotaConfig("@dir/data", limit), nil)
	var granted, unknown atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
			defer c.CloseIdleConnections()
			for {
				resp, body, err := tryFetch(c, "POST", w.adminURL("/api/v1/check"), `{"key":"all","tokens":1,"metadata":{"endpoint":"/q"}}`, "Content-Type: application/json")
				switch {
				case err == nil && resp.StatusCode == 200 && strings.Contains(body, `"allowed": true`):
					granted.Add(1)
				case err != nil && strings.Contains(err.Error(), "connection refused"):
					return
				default:
					unknown.Add(1) // it may have been granted, or not
				}
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	silent, err := net.Dial("tcp", w.addr("admin")) // who says nothing does not hold the end up
	noError(t, err)
	defer silent.Close()
	begin := time.Now()
	w.stop()
	if took := time.Since(begin); took > patience(2*time.Second) {
		t.Errorf("the end took %v", took)
	}
	all.Wait()
	w = w.again()
	if spent := int64(limit - quotaLeft(w)); spent < granted.Load() || spent > granted.Load()+unknown.Load() || granted.Load() < 100 {
		t.Errorf("%d spent after the restart; %d were granted, and %d had no answer", spent, granted.Load(), unknown.Load())
	}
}
