package tests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// pressureView is what GET /api/v1/backpressure answers, as far as it is looked at here.
type pressureView struct {
	Enabled   bool     `json:"enabled"`
	Threshold float64  `json:"load_threshold"`
	ByAPI     []string `json:"by_api"`
	Load      struct {
		Level    float64  `json:"level"`
		Worst    string   `json:"worst"`
		Peers    int      `json:"peers_heard"`
		Degraded []string `json:"degraded"`
	} `json:"load"`
	Queues []struct {
		InFlight int `json:"in_flight"`
	} `json:"queues"`
}

func (w *weir) pressure() (v pressureView) {
	w.t.Helper()
	status, body := w.admin("GET", "/api/v1/backpressure", "")
	if err := json.Unmarshal([]byte(body), &v); err != nil || status != 200 {
		w.t.Fatalf("GET /api/v1/backpressure: %d %v %s", status, err, body)
	}
	return v
}

// TestPressureOfPeers: gateways hear each other, one in trouble does not shed for the others but counts in their mean, and a breaker that is open
// elsewhere opens here after a quarter of its failures, but never without one.
func TestPressureOfPeers(t *testing.T) {
	t.Parallel()
	dead := freeAddr(t) // nobody listens
	config := strings.Replace(fleetConfig, "routes: [{name: all, respond: {body: ok}}]\n", `
pools: [{name: up, breaker: {failure_threshold: 8, timeout: 60s}, retry: {attempts: 1}, health: {passive: {consecutive_failures: 1000, min_requests: 100000}}, endpoints: [{address: "@dead"}]}]
routes: [{name: all, pool: up}]
backpressure: {signals: {cpu: "off", memory: "off", inflight: 1000000}, global: true}
`, 1)
	var addrs []string
	for range 2 {
		addrs = append(addrs, freeAddr(t))
	}
	var nodes []*weir
	for i := range 2 {
		nodes = append(nodes, startWeir(t, config, map[string]string{"node": fmt.Sprint("node-", i), "cluster": addrs[i], "seeds": fmt.Sprintf("%q, %q", addrs[0], addrs[1]), "key": fleetKey, "dead": dead}))
	}
	for i, w := range nodes {
		eventually(t, 15*time.Second, fmt.Sprintf("node %d hears the other's pressure", i), func() bool { return w.pressure().Load.Peers == 1 })
	}
	breaker := func(i int) string {
		_, body := nodes[i].admin("GET", "/api/v1/pools", "")
		switch {
		case strings.Contains(body, `"breaker": "open"`):
			return "open"
		case strings.Contains(body, `"breaker": "closed"`):
			return "closed"
		}
		return body
	}
	fail := func(i, n int) {
		for range n {
			fetch(t, "GET", nodes[i].url("/"), "")
		}
	}
	fail(1, 2)
	if got := breaker(1); got != "closed" {
		t.Fatalf("after two failures of eight: %s", got)
	}
	fail(0, 8)
	if got := breaker(0); got != "open" {
		t.Fatalf("after eight failures: %s", got)
	}
	time.Sleep(1500 * time.Millisecond) // the other hears of it, and must not open by that alone
	if got := breaker(1); got != "closed" {
		t.Fatalf("a peer's word opened the breaker: %s", got)
	}
	fail(1, 1) // a third failure in a row, with a peer's open: a quarter of eight is two
	if got := breaker(1); got != "open" {
		t.Fatalf("a peer's open breaker and three failures: %s", got)
	}
}

// TestDegraded: under load features go off, the endpoint is told, limits stay in force; when it is over they come back. What the API changes holds
// until it is taken back, also over a reload.
func TestDegraded(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}
		fmt.Fprintf(w, "degraded: %s", r.Header.Get("Weir-Degraded"))
	})
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up, timeout: 30s}]
policies: [{name: p, limit: 1000, window: 1h}]
backpressure:
  signals: {cpu: "off", memory: "off", queue_delay: "off", inflight: 4}
  degrade: [{at: 0.9, disable: [retries, ratelimit_headers]}]
`, map[string]string{"up": up.addr})
	ask := func() (limits bool, told string) {
		resp, body := fetch(t, "GET", w.url("/"), "", "Weir-Degraded: a lie")
		return resp.Header.Get("RateLimit") != "", body
	}
	if limits, told := ask(); !limits || told != "degraded: " {
		t.Fatalf("at rest: RateLimit there %v, the endpoint is told %q", limits, told)
	}
	done := make(chan struct{})
	for range 5 {
		go func() {
			tryFetch(plainClient, "GET", w.url("/slow"), "") //nolint:errcheck // it only has to be in progress
			done <- struct{}{}
		}()
	}
	eventually(t, 10*time.Second, "features are off", func() bool { return len(w.pressure().Load.Degraded) == 2 })
	if limits, told := ask(); limits || told != "degraded: retries, ratelimit_headers" {
		t.Errorf("under load: RateLimit there %v, the endpoint is told %q", limits, told)
	}
	if got := w.metric("weir_degraded", `feature="retries"`); got != 1 {
		t.Errorf("weir_degraded is %v", got)
	}
	close(hold)
	for range 5 {
		<-done
	}
	eventually(t, 15*time.Second, "features are back", func() bool { return len(w.pressure().Load.Degraded) == 0 })
	if limits, told := ask(); !limits || told != "degraded: " {
		t.Errorf("after it: RateLimit there %v, the endpoint is told %q", limits, told)
	}
	if status, body := w.admin("POST", "/api/v1/backpressure", `{"load_threshold": 0.5}`); status != 200 {
		t.Fatalf("POST: %d %s", status, body)
	}
	if status, body := w.admin("POST", "/api/v1/backpressure", `{"load_threshold": 5}`); status != 422 || !strings.Contains(body, "body:1:20") {
		t.Errorf("a bad POST: %d %s", status, body)
	}
	w.admin("POST", "/api/v1/config/reload", "")
	if v := w.pressure(); v.Threshold != 0.5 || len(v.ByAPI) != 1 {
		t.Errorf("after a reload: %+v", v)
	}
	if status, _ := w.admin("DELETE", "/api/v1/backpressure", ""); status != 200 {
		t.Errorf("DELETE: %d", status)
	}
	if v := w.pressure(); v.Threshold != 0.8 || len(v.ByAPI) != 0 {
		t.Errorf("taken back: %+v", v)
	}
}
