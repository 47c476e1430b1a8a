package telemetry

import (
	"compress/gzip"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// observed returns a hub in which everything that can be counted was.
func observed() *Hub {
	h := NewHub()
	r := h.Route("v1")
	r.Tunnels.Begin()
	r.Tunnels.In.Bytes.Add(30)
	r.Tunnels.Out.Messages.Add(2)
	r.EventStreams.Begin()
	r.EventStreams.Begin()
	r.EventStreams.End()
	r.EventStreams.Out.Bytes.Add(40)
	r.EventStreams.Out.Messages.Add(4)
	r.Observe(GET, 200, 3*time.Millisecond, 10, 1000)
	r.Observe(GET, 204, time.Millisecond, 0, 0)
	r.Observe(MethodOf("BREW"), 418, 2*time.Minute, 5, 7)
	r.Observe(POST, 0, time.Second, 1, 0)
	h.Endpoint("api", "127.0.0.1:9001").Observe(200, time.Millisecond)
	h.Endpoint("api", "127.0.0.1:9002").Observe(0, time.Second)
	h.Retry("api").Inc()
	h.Queue("api").Waited(3 * time.Millisecond)
	h.Policy("tenant", "enforce").Allowed()
	h.Policy("tenant", "enforce").Allowed()
	h.Policy("tenant", "shadow").Refused()
	h.Policy("tenant", "enforce").Waited(3 * time.Millisecond)
	for _, status := range []int{0, 14, 14, 17, -1} {
		h.Route("v1").ObserveGRPC(status)
	}
	h.Refusal("limited").Add(3)
	h.Floods("web", "resets").Inc()
	h.Panics().Inc()
	h.CacheRequests("v1", "hit").Add(5)
	h.Compressed("v1", "in").Add(4000)
	h.Compressed("v1", "out").Add(900)
	h.CompressSkipped("v1").Inc()
	h.SetSources(someSources())
	return h
}

func TestMetricsAsShown(t *testing.T) {
	want := `
# HELP weir_http_requests_total Requests finished, by the class of the status answered; none: the client left first.
# TYPE weir_http_requests_total counter
weir_http_requests_total{code="2xx",method="GET",route="v1"} 2
weir_http_requests_total{code="4xx",method="OTHER",route="v1"} 1
weir_http_requests_total{code="none",method="POST",route="v1"} 1
# HELP weir_http_request_bytes_total Bytes of request bodies received.
# TYPE weir_http_request_bytes_total counter
weir_http_request_bytes_total{route="v1"} 16
# HELP weir_tunnels WebSockets and other tunnels open.
# TYPE weir_tunnels gauge
weir_tunnels{route="v1"} 1
# HELP weir_tunnel_bytes_total Bytes that passed through tunnels, from clients (in) and to them (out).
# TYPE weir_tunnel_bytes_total counter
weir_tunnel_bytes_total{direction="in",route="v1"} 30
weir_tunnel_bytes_total{direction="out",route="v1"} 0
# HELP weir_websocket_messages_total Messages that passed through WebSockets.
# TYPE weir_websocket_messages_total counter
weir_websocket_messages_total{direction="in",route="v1"} 0
weir_websocket_messages_total{direction="out",route="v1"} 2
# HELP weir_event_streams Event streams (text/event-stream) under way.
# TYPE weir_event_streams gauge
weir_event_streams{route="v1"} 1
# HELP weir_event_stream_bytes_total Bytes of event streams.
# TYPE weir_event_stream_bytes_total counter
weir_event_stream_bytes_total{route="v1"} 40
# HELP weir_events_total Events of event streams, comments that stand alone included.
# TYPE weir_events_total counter
weir_events_total{route="v1"} 4
# HELP weir_http_response_bytes_total Bytes of response bodies sent.
# TYPE weir_http_response_bytes_total counter
weir_http_response_bytes_total{route="v1"} 1007
# HELP weir_grpc_responses_total Calls of gRPC by the status that the client got, the endpoint's or the gateway's own; those that broke off have none.
# TYPE weir_grpc_responses_total counter
weir_grpc_responses_total{code="OK",route="v1"} 1
weir_grpc_responses_total{code="UNAVAILABLE",route="v1"} 2
# HELP weir_upstream_requests_total Attempts at an endpoint, by the class of the status it answered; none: no answer.
# TYPE weir_upstream_requests_total counter
weir_upstream_requests_total{code="2xx",endpoint="127.0.0.1:9001",pool="api"} 1
weir_upstream_requests_total{code="none",endpoint="127.0.0.1:9002",pool="api"} 1
# HELP weir_upstream_retries_total Attempts after the first of a request.
# TYPE weir_upstream_retries_total counter
weir_upstream_retries_total{pool="api"} 1
# HELP weir_limiter_decisions_total What a policy decided; in shadow mode a refusal is counted and not carried out.
# TYPE weir_limiter_decisions_total counter
weir_limiter_decisions_total{decision="allowed",mode="enforce",policy="tenant"} 2
weir_limiter_decisions_total{decision="allowed",mode="shadow",policy="tenant"} 0
weir_limiter_decisions_total{decision="refused",mode="enforce",policy="tenant"} 0
weir_limiter_decisions_total{decision="refused",mode="shadow",policy="tenant"} 1
# HELP weir_refusals_total Requests that the gateway refused itself.
# TYPE weir_refusals_total counter
weir_refusals_total{reason="limited"} 3
# HELP weir_panics_total Requests that ended in a panic.
# TYPE weir_panics_total counter
weir_panics_total 1
# HELP weir_cache_requests_total Requests to a route with a cache, by what that did for them.
# TYPE weir_cache_requests_total counter
weir_cache_requests_total{result="hit",route="v1"} 5
# HELP weir_compress_bytes_total Bytes of responses that went into compression (in) and came out of it (out).
# TYPE weir_compress_bytes_total counter
weir_compress_bytes_total{direction="in",route="v1"} 4000
weir_compress_bytes_total{direction="out",route="v1"} 900
# HELP weir_compress_skipped_total Responses that were not compressed for want of memory.
# TYPE weir_compress_skipped_total counter
weir_compress_skipped_total{route="v1"} 1
# HELP weir_cache_entries URLs of which something is kept, each counted once for every caller's key.
# TYPE weir_cache_entries gauge
weir_cache_entries 3
# HELP weir_cache_bytes Memory of what is kept.
# TYPE weir_cache_bytes gauge
weir_cache_bytes 4000
# HELP weir_cache_refused_total Answers to GET that were not kept: forbidden by no-store, private or Authorization; unfit, a status or a kind that is not kept; silent on how long they are fresh; varies, by * or too much; cookie, see ignore_cookies; too_large; no_room, too much was on its way or being sent; purged while they came.
# TYPE weir_cache_refused_total counter
weir_cache_refused_total{reason="no_room"} 9
weir_cache_refused_total{reason="too_large"} 8
# HELP weir_connections Client connections open.
# TYPE weir_connections gauge
weir_connections{listener="web"} 3
# HELP weir_connections_accepted_total Client connections accepted and kept.
# TYPE weir_connections_accepted_total counter
weir_connections_accepted_total{listener="web"} 9
# HELP weir_connections_refused_total Client connections closed at accept.
# TYPE weir_connections_refused_total counter
weir_connections_refused_total{listener="web",reason="connections"} 2
# HELP weir_tls_certificate_expiry_seconds Unix time at which a certificate ends.
# TYPE weir_tls_certificate_expiry_seconds gauge
weir_tls_certificate_expiry_seconds{certificate="a�b"} 1.7e+09
# HELP weir_config_info Always 1; the hash is that of the configuration in force.
# TYPE weir_config_info gauge
weir_config_info{hash="abc"} 1
# HELP weir_config_reload_success Whether the last reload succeeded: 1 or 0.
# TYPE weir_config_reload_success gauge
weir_config_reload_success 1
# HELP weir_config_reload_timestamp_seconds Unix time of the last reload tried.
# TYPE weir_config_reload_timestamp_seconds gauge
weir_config_reload_timestamp_seconds 1.6e+09
# HELP weir_access_log_dropped_total Access log lines lost because the output could not keep up or failed.
# TYPE weir_access_log_dropped_total counter
weir_access_log_dropped_total 4
`
	var names []string
	for line := range strings.Lines(want) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			names = append(names, strings.Fields(rest)[0])
		}
	}
	if err := testutil.GatherAndCompare(observed().registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

func TestDurationHistogramAsShown(t *testing.T) {
	h := NewHub()
	for _, d := range []time.Duration{time.Microsecond, time.Millisecond, time.Hour} {
		h.Route("v1").Observe(GET, 200, d, 0, 0)
	}
	text, err := testutil.GatherAndFormat(h.registry, expfmt.TypeTextPlain, "weir_http_request_duration_seconds")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`le="5e-05"} 1`, `le="0.0005"} 1`, `le="0.001"} 2`, `le="60"} 2`, `le="+Inf"} 3`, `_count{route="v1"} 3`, `_sum{route="v1"} 3600.001001`} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestMetricsPassTheLinter(t *testing.T) {
	h := observed()
	h.registry = prometheus.NewPedanticRegistry() // also checks that Describe and Collect agree
	h.registry.MustRegister(collector{h})
	problems, err := testutil.GatherAndLint(h.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestEveryMetricIsShownOnce(t *testing.T) {
	families, err := observed().registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "weir_") {
			n++
		}
	}
	if n != len(descs) {
		t.Errorf("%d metrics shown, %d described", n, len(descs))
	}
}

func TestLabelsAreBounded(t *testing.T) {
	allowed := set([]string{"route", "policy", "pool", "endpoint", "reason", "priority", "code", "method", "node",
		"signal", "feature", "rule", "decision", "result", "mode", "hash", "listener", "certificate", "le", "state", "direction", "kind"})
	families, err := observed().registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if strings.HasPrefix(f.GetName(), "weir_") && !allowed[l.GetName()] {
					t.Errorf("%s has the label %s", f.GetName(), l.GetName())
				}
			}
		}
	}
}

func TestHandlerAnswersWhatAParserReads(t *testing.T) {
	for _, encoding := range []string{"", "gzip"} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Header.Set("Accept-Encoding", encoding)
		w := httptest.NewRecorder()
		observed().Handler().ServeHTTP(w, r)
		body := w.Result().Body
		if encoding == "gzip" {
			z, err := gzip.NewReader(body)
			if err != nil {
				t.Fatal(err)
			}
			body = z
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(body)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"weir_http_requests_total", "go_goroutines", "process_open_fds"} {
			if families[name] == nil {
				t.Errorf("%q: no %s", encoding, name)
			}
		}
	}
}

func TestCellsSurviveReloadsAndGoWithTheirNames(t *testing.T) {
	h := NewHub()
	a, b := h.Route("a"), h.Route("b")
	a.Observe(GET, 200, 1, 0, 0)
	h.RetainRoutes([]string{"a"})
	if h.Route("a") != a {
		t.Error("a route that stays has a new cell")
	}
	if h.Route("b") == b {
		t.Error("a route that went and came back has its old cell")
	}
	e1, e2, other := h.Endpoint("api", "1"), h.Endpoint("api", "2"), h.Endpoint("other", "1")
	retries := h.Retry("api")
	h.RetainEndpoints("api", []string{"1"})
	if h.Endpoint("api", "1") != e1 || h.Endpoint("api", "2") == e2 || h.Endpoint("other", "1") != other {
		t.Error("RetainEndpoints kept or dropped the wrong cells")
	}
	h.RetainPools([]string{"api"})
	if h.Endpoint("api", "1") != e1 || h.Retry("api") != retries || h.Endpoint("other", "1") == other {
		t.Error("RetainPools kept or dropped the wrong cells")
	}
	p, q := h.Policy("p", "enforce"), h.Policy("q", "shadow")
	if h.Policy("p", "shadow") == p {
		t.Error("two modes share a cell")
	}
	h.RetainPolicies([]string{"p"})
	if h.Policy("p", "enforce") != p || h.Policy("q", "shadow") == q {
		t.Error("RetainPolicies kept or dropped the wrong cells")
	}
}

func TestASourceThatPanicsCostsOnlyItsMetrics(t *testing.T) {
	h := observed()
	src := someSources()
	src.Connections = func() []ListenerStats { panic("torn down") }
	h.SetSources(src)
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if body := w.Body.String(); w.Code != 200 || strings.Contains(body, "weir_connections") || !strings.Contains(body, "weir_config_info") {
		t.Errorf("status %d\n%s", w.Code, body)
	}
	if _, err := h.registry.Gather(); err == nil || !strings.Contains(err.Error(), "torn down") {
		t.Errorf("gather says %v", err)
	}
}

func TestScrapesWhileEverythingChanges(t *testing.T) {
	h := observed()
	var wg sync.WaitGroup
	errs := make(chan error, 100)
	for g := range 2 {
		wg.Go(func() {
			for i := range 300 {
				name := string(rune('a' + i%20))
				h.Route(name).Observe(Method(i%12), i, time.Duration(i), 1, 1)
				h.Endpoint("p"+name, name).Observe(i, time.Duration(i))
				h.Policy(name, "enforce").Refused()
				if g == 0 && i%7 == 0 {
					h.RetainRoutes([]string{"a", "b"})
					h.RetainPools([]string{"pa"})
					h.SetSources(Sources{})
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			_, err := h.registry.Gather()
			errs <- err
		}
	})
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestMethodOf(t *testing.T) {
	for m := range methods {
		if got := MethodOf(m.String()); got != m {
			t.Errorf("MethodOf(%s) = %s", m, got)
		}
	}
	for _, s := range []string{"", "get", "PROPFIND", "GET ", strings.Repeat("A", 1<<16)} {
		if MethodOf(s) != OTHER {
			t.Errorf("MethodOf(%.20q) = %s", s, MethodOf(s))
		}
	}
	if Method(200).String() != "OTHER" {
		t.Error("a method out of range has no label")
	}
}

func TestClassOf(t *testing.T) {
	f := func(status int, want string) {
		t.Helper()
		if got := classNames[classOf(status)]; got != want {
			t.Errorf("%d is %s, want %s", status, got, want)
		}
	}
	f(-1, "none")
	f(0, "none")
	f(99, "none")
	f(100, "1xx")
	f(299, "2xx")
	f(599, "5xx")
	f(600, "none")
}
