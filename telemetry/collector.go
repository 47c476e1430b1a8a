package telemetry

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// collector reads a hub when it is scraped.
type collector struct{ hub *Hub }

// descs lists every metric made by desc, for Describe.
var descs []*prometheus.Desc

func desc(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc("weir_"+name, help, labels, nil)
	descs = append(descs, d)
	return d
}

var (
	httpRequests   = desc("http_requests_total", "Requests finished, by the class of the status answered; none: the client left first.", "route", "method", "code")
	httpDuration   = desc("http_request_duration_seconds", "Time from a request's header to the last byte of its response.", "route")
	httpIn         = desc("http_request_bytes_total", "Bytes of request bodies received.", "route")
	httpOut        = desc("http_response_bytes_total", "Bytes of response bodies sent.", "route")
	grpcResponses  = desc("grpc_responses_total", "Calls of gRPC by the status that the client got, the endpoint's or the gateway's own; those that broke off have none.", "route", "code")
	tunnels        = desc("tunnels", "WebSockets and other tunnels open.", "route")
	tunnelBytes    = desc("tunnel_bytes_total", "Bytes that passed through tunnels, from clients (in) and to them (out).", "route", "direction")
	messages       = desc("websocket_messages_total", "Messages that passed through WebSockets.", "route", "direction")
	eventStreams   = desc("event_streams", "Event streams (text/event-stream) under way.", "route")
	eventBytes     = desc("event_stream_bytes_total", "Bytes of event streams.", "route")
	events         = desc("events_total", "Events of event streams, comments that stand alone included.", "route")
	refusals       = desc("refusals_total", "Requests that the gateway refused itself.", "reason")
	floods         = desc("http2_floods_total", "Connections of HTTP/2 that were ended for a flood, by the limit that they passed.", "listener", "kind")
	panics         = desc("panics_total", "Requests that ended in a panic.")
	exprErrors     = desc("expression_errors_total", "CEL expressions that could not be evaluated for a request.")
	mirrorsDropped = desc("mirrors_dropped_total", "Copies of requests that were not sent to a mirror: too long, or too many under way.")

	upstreamRequests = desc("upstream_requests_total", "Attempts at an endpoint, by the class of the status it answered; none: no answer.", "pool", "endpoint", "code")
	queueDepth       = desc("queue_depth", "Requests waiting for room in a pool.", "pool", "priority")
	queueWait        = desc("queue_wait_seconds", "How long requests that had to waited for room.", "pool")
	queueFlows       = desc("queue_flows", "Flows that share a pool's queue now: values of the dimension that it goes by.", "pool")
	queueDelay       = desc("queue_delay_seconds", "The least that requests have waited lately for a pool: what stands in its queue.", "pool")
	queueRefused     = desc("queue_refused_total", "Requests that found no room in a pool.", "pool", "priority", "reason")

	concurrencyLimit    = desc("concurrency_limit", "Requests that a pool may have in progress now; 0 is no limit.", "pool")
	concurrencyInflight = desc("concurrency_inflight", "Requests that a pool has in progress.", "pool")

	loadLevel   = desc("load", "Load of the gateway by signal, 1 is full; all: the worst of these and of all pools.", "signal")
	poolLoad    = desc("pool_load", "Load of a pool's queue, 1 is full.", "pool")
	shedTotal   = desc("shed_total", "Requests refused for load before they waited, the gateway's or the pool's.", "pool", "priority")
	degradedOff = desc("degraded", "Whether something is done without for load: 1 or 0.", "feature")

	shapingBytes = desc("shaping_bytes_total", "Bytes of bodies that a shaping rule let pass.", "rule", "direction")
	shapingWaits = desc("shaping_waits_total", "Pieces of bodies that a shaping rule had wait.", "rule", "direction")
	shapingFlows = desc("shaping_flows", "Flows that a shaping rule knows now.", "rule", "direction")

	upstreamDuration = desc("upstream_duration_seconds", "Time from an attempt's start to its response's header, or to its failure.", "pool")
	upstreamRetries  = desc("upstream_retries_total", "Attempts after the first of a request.", "pool")

	upstreamHealthy        = desc("upstream_healthy", "Whether an endpoint is healthy: 1, or 0 if it is unhealthy, ejected or draining.", "pool", "endpoint")
	upstreamInflight       = desc("upstream_inflight", "Attempts in progress at an endpoint.", "pool", "endpoint")
	upstreamTunnels        = desc("upstream_tunnels", "WebSockets and other tunnels open to an endpoint.", "pool", "endpoint")
	upstreamPanic          = desc("upstream_panic", "Whether too few endpoints of a pool are healthy, so that all are used: 1 or 0.", "pool")
	upstreamRetriesRefused = desc("upstream_retries_refused_total", "Retries that the retry budget did not allow.", "pool")
	breakerState           = desc("breaker_state", "State of an endpoint's circuit breaker: 0 closed, 1 half open, 2 open.", "pool", "endpoint")
	breakerTransitions     = desc("breaker_transitions_total", "Changes of state of an endpoint's circuit breaker.", "pool", "endpoint")

	limiterKeys      = desc("limiter_keys", "Buckets in memory.", "policy")
	limiterBytes     = desc("limiter_bytes", "Memory of the buckets.", "policy")
	limiterEvictions = desc("limiter_evictions_total", "Full buckets that made room for another key.", "policy")
	limiterOverflow  = desc("limiter_overflow_total", "Decisions made on a shared bucket for want of room.", "policy")
	limiterWait      = desc("limiter_wait_seconds", "How long requests that a policy made wait did so, refused in the end or not.", "policy", "mode")
	limiterFactor    = desc("limiter_adaptive_factor", "By what an adaptive policy's limit is multiplied now.", "policy")
	limiterMemory    = desc("limiter_memory_bytes", "Memory of all buckets together.")
	limiterMemoryMax = desc("limiter_memory_max_bytes", "Bound of that memory.")
	limiterDecisions = desc("limiter_decisions_total", "What a policy decided; in shadow mode a refusal is counted and not carried out.", "policy", "decision", "mode")

	limiterExcess = desc("limiter_excess_units", "By how much a limit that gateways share may be exceeded (bound) and was, as far as this one knows (seen).", "policy", "kind")

	clusterMembers = desc("cluster_members", "Gateways of the cluster, this one included.", "state")
	clusterLag     = desc("cluster_lag_seconds", "Age of what another gateway told last.", "node")
	clusterBytes   = desc("cluster_bytes_total", "Bytes exchanged with other gateways.", "direction")
	clusterFrames  = desc("cluster_frames_total", "Frames of spending exchanged with other gateways.", "direction")
	clusterDropped = desc("cluster_frames_dropped_total", "Frames that came faster than they could be taken in.")
	clusterRefused = desc("cluster_refused_total", "Announcements of gateways that were refused: name_taken, another gateway of that name lives; not_allowed, of another cluster or version.", "reason")
	clusterShare   = desc("cluster_share", "Part of its share of limits that this gateway uses: less than 1 while it hears less than half of the cluster.")
	clusterHotKeys = desc("cluster_hot_keys", "Keys near their limit, whose spending gateways tell each other.")

	redisUp       = desc("redis_up", "Whether the store of strict policies answers: 1 or 0.")
	redisCalls    = desc("redis_calls_total", "Questions to the store of strict policies.", "result")
	redisDuration = desc("redis_call_duration_seconds", "How long answers of the store of strict policies took.")
	redisDropped  = desc("redis_corrections_dropped_total", "Costs that were corrected and seats that were given back while the store could not be told.")

	cacheRequests  = desc("cache_requests_total", "Requests to a route with a cache, by what that did for them.", "route", "result")
	cacheEntries   = desc("cache_entries", "URLs of which something is kept, each counted once for every caller's key.")
	cacheBytes     = desc("cache_bytes", "Memory of what is kept.")
	cacheMax       = desc("cache_max_bytes", "Bound of that memory.")
	cacheFilling   = desc("cache_filling_bytes", "Memory of what is on its way into the cache.")
	cacheLent      = desc("cache_sending_bytes", "Memory of long bodies that are being sent, each counted once; it may be no part of what is kept any more.")
	cacheStored    = desc("cache_stored_total", "Answers that were kept.")
	cacheFreshened = desc("cache_freshened_total", "Answers that the upstream said are still good.")
	cacheEvicted   = desc("cache_evicted_total", "Entries that made room for others.")
	cachePurged    = desc("cache_purged_total", "Answers that were purged, or made out of date by a request that changes something.")
	cacheUntold    = desc("cache_untold_total", "URLs made out of date by a request that changes something, of which the other gateways were not told: too many at once.")
	cacheRefused   = desc("cache_refused_total", "Answers to GET that were not kept: forbidden by no-store, private or Authorization; unfit, a status or a kind that is not kept; silent on how long they are fresh; varies, by * or too much; cookie, see ignore_cookies; too_large; no_room, too much was on its way or being sent; purged while they came.", "reason")

	compressBytes   = desc("compress_bytes_total", "Bytes of responses that went into compression (in) and came out of it (out).", "route", "direction")
	compressSkipped = desc("compress_skipped_total", "Responses that were not compressed for want of memory.", "route")

	tokenChecks   = desc("jwt_checks_total", "Tokens looked at: remembered as good or as bad, or checked.", "result")
	tokenKeys     = desc("jwt_keys", "Keys that tokens are checked with.")
	tokenFailures = desc("jwt_refresh_failures_total", "Times that a file or URL gave no keys.")

	connections         = desc("connections", "Client connections open.", "listener")
	connectionsAccepted = desc("connections_accepted_total", "Client connections accepted and kept.", "listener")
	connectionsRefused  = desc("connections_refused_total", "Client connections closed at accept.", "listener", "reason")
	certificateExpiry   = desc("tls_certificate_expiry_seconds", "Unix time at which a certificate ends.", "certificate")
	configInfo          = desc("config_info", "Always 1; the hash is that of the configuration in force.", "hash")
	reloadSuccess       = desc("config_reload_success", "Whether the last reload succeeded: 1 or 0.")
	reloadTime          = desc("config_reload_timestamp_seconds", "Unix time of the last reload tried.")
	accessLogDropped    = desc("access_log_dropped_total", "Access log lines lost because the output could not keep up or failed.")
)

// Describe is part of prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
}

// Collect is part of prometheus.Collector. It takes no lock while it sends.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := sink{ch}
	s.routes(c.hub)
	s.pools(c.hub)
	s.limits(c.hub)
	if src := c.hub.sources.Load(); src != nil {
		s.sources(src)
	}
}

func (s sink) routes(h *Hub) {
	for name, r := range h.routes.entries() {
		for m := range r.requests {
			for code := range r.requests[m] {
				if n := r.requests[m][code].Load(); n > 0 {
					s.counter(httpRequests, n, name, Method(m).String(), classNames[code])
				}
			}
		}
		for code := range r.grpc {
			if n := r.grpc[code].Load(); n > 0 {
				s.counter(grpcResponses, n, name, grpcNames[code])
			}
		}
		if s.histogram(httpDuration, &r.duration, name) {
			s.counter(httpIn, r.in.Value(), name)
			s.counter(httpOut, r.out.Value(), name)
		}
		s.lasting(&r.Tunnels, &r.EventStreams, name)
	}
	for reason, n := range h.refusals.entries() {
		s.counter(refusals, n.Value(), reason)
	}
	for k, n := range h.cached.entries() {
		s.counter(cacheRequests, n.Value(), k.route, k.result)
	}
	for k, n := range h.floods.entries() {
		s.counter(floods, n.Value(), k.listener, k.kind)
	}
	for k, n := range h.coded.entries() {
		s.counter(compressBytes, n.Value(), k.route, k.direction)
	}
	for name, n := range h.uncoded.entries() {
		s.counter(compressSkipped, n.Value(), name)
	}
	s.counter(panics, h.panics.Value())
	s.counter(exprErrors, h.exprs.Value())
	s.counter(mirrorsDropped, h.unsent.Value())
}

// lasting shows what a route had of tunnels and event streams, if it had any.
func (s sink) lasting(t, e *Lasting, route string) {
	if t.In.Bytes.Value() > 0 || t.Out.Bytes.Value() > 0 || t.open.Load() > 0 {
		s.gauge(tunnels, float64(t.open.Load()), route)
		for direction, f := range map[string]*Flow{"in": &t.In, "out": &t.Out} {
			s.counter(tunnelBytes, f.Bytes.Value(), route, direction)
			s.counter(messages, f.Messages.Value(), route, direction)
		}
	}
	if e.Out.Bytes.Value() > 0 || e.open.Load() > 0 {
		s.gauge(eventStreams, float64(e.open.Load()), route)
		s.counter(eventBytes, e.Out.Bytes.Value(), route)
		s.counter(events, e.Out.Messages.Value(), route)
	}
}

func (s sink) pools(h *Hub) {
	for name, p := range h.pools.entries() {
		for endpoint, e := range p.endpoints.entries() {
			for code := range e.requests {
				if n := e.requests[code].Load(); n > 0 {
					s.counter(upstreamRequests, n, name, endpoint, classNames[code])
				}
			}
		}
		s.histogram(upstreamDuration, &p.duration, name)
		s.counter(upstreamRetries, p.retries.Value(), name)
		s.histogram(queueWait, &p.wait, name)
	}
}

func (s sink) limits(h *Hub) {
	for k, p := range h.policies.entries() {
		s.counter(limiterDecisions, p.allowed.Value(), k.name, "allowed", k.mode)
		s.counter(limiterDecisions, p.refused.Value(), k.name, "refused", k.mode)
		s.histogram(limiterWait, &p.wait, k.name, k.mode)
	}
}

// sink makes metrics of readings and sends them.
type sink struct{ ch chan<- prometheus.Metric }

func (s sink) send(d *prometheus.Desc, m prometheus.Metric, err error) {
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	s.ch <- m
}

func (s sink) counter(d *prometheus.Desc, n uint64, labels ...string) {
	m, err := prometheus.NewConstMetric(d, prometheus.CounterValue, float64(n), clean(labels)...)
	s.send(d, m, err)
}

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	m, err := prometheus.NewConstMetric(d, prometheus.GaugeValue, v, clean(labels)...)
	s.send(d, m, err)
}

// histogram sends h and reports whether there was anything to send.
func (s sink) histogram(d *prometheus.Desc, h *histogram, labels ...string) bool {
	r, ok := h.read()
	if ok {
		m, err := prometheus.NewConstHistogram(d, r.count, r.seconds, r.upTo, clean(labels)...)
		s.send(d, m, err)
	}
	return ok
}

// ask calls a source; a panic of it becomes an error of the metric d.
func (s sink) ask(d *prometheus.Desc, source func()) {
	defer func() {
		if p := recover(); p != nil {
			s.send(d, nil, fmt.Errorf("source panicked: %v", p))
		}
	}()
	source()
}

// clean makes labels valid UTF-8, which Prometheus insists on.
func clean(labels []string) []string {
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "\uFFFD")
	}
	return labels
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
