package telemetry

import (
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Hub holds every metric of a gateway. Its methods are safe for concurrent use. The methods that look up a cell take a
// lock and belong where a configuration is compiled, not where a request is served.
type Hub struct {
	routes   table[string, Route]
	pools    table[string, pool]
	policies table[policyKey, PolicyCell]
	cached   table[cacheKey, Counter]
	floods   table[floodKey, Counter]
	coded    table[codedKey, Counter]
	uncoded  table[string, Counter]
	refusals table[string, Counter]
	panics   Counter
	exprs    Counter
	unsent   Counter
	sources  atomic.Pointer[Sources]
	registry *prometheus.Registry
}

type policyKey struct{ name, mode string }

type floodKey struct{ listener, kind string }

type cacheKey struct{ route, result string }

type codedKey struct{ route, direction string }

// NewHub returns a hub that also shows the Go runtime (go_) and the process (process_).
func NewHub() *Hub {
	h := &Hub{registry: prometheus.NewRegistry()}
	h.registry.MustRegister(
		collector{h},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return h
}

// Handler answers scrapes in the Prometheus text format and in OpenMetrics. A metric that can't be read is left out; the
// others are still shown. At most four scrapes run at once, more are answered 503.
func (h *Hub) Handler() http.Handler {
	return promhttp.HandlerFor(h.registry, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		EnableOpenMetrics:   true,
	})
}

// Route returns the cell of a route: the same one for the same name until RetainRoutes drops it.
func (h *Hub) Route(name string) *Route { return h.routes.get(name, nil) }

// Endpoint returns the cell of a pool's endpoint: the same one for the same names until RetainPools or RetainEndpoints
// drops it.
func (h *Hub) Endpoint(poolName, endpoint string) *Endpoint {
	p := h.pools.get(poolName, nil)
	return p.endpoints.get(endpoint, func(e *Endpoint) { e.pool = p })
}

// Retry returns the counter of a pool's retries: the same one for the same name until RetainPools drops it.
func (h *Hub) Retry(poolName string) *Counter { return &h.pools.get(poolName, nil).retries }

// Queue returns the cell of a pool's queue: the same one for the same name until RetainPools drops it.
func (h *Hub) Queue(poolName string) *Queue { return &Queue{h.pools.get(poolName, nil)} }

// Policy returns the cell of a policy in a mode: the same one for the same names until RetainPolicies drops it.
func (h *Hub) Policy(name, mode string) *PolicyCell {
	return h.policies.get(policyKey{name, mode}, nil)
}

// CacheRequests returns the counter of a route's requests by what the cache did for them: the same one for the same names until
// RetainRoutes drops it. The results must come from a fixed list.
func (h *Hub) CacheRequests(route, result string) *Counter {
	return h.cached.get(cacheKey{route, result}, nil)
}

// Floods returns the counter of a listener's connections of HTTP/2 that were ended for a flood: the same one for the same names until
// RetainListeners drops it. The kinds must come from a fixed list.
func (h *Hub) Floods(listener, kind string) *Counter {
	return h.floods.get(floodKey{listener, kind}, nil)
}

// Compressed returns the counter of the bytes of a route's responses that went into compression (in) or came out of it (out): the same
// one for the same names until RetainRoutes drops it.
func (h *Hub) Compressed(route, direction string) *Counter {
	return h.coded.get(codedKey{route, direction}, nil)
}

// CompressSkipped returns the counter of a route's responses that were not compressed for want of memory, as Compressed does.
func (h *Hub) CompressSkipped(route string) *Counter { return h.uncoded.get(route, nil) }

// Refusal returns the counter of requests refused for a reason. The reasons must come from a fixed list.
func (h *Hub) Refusal(reason string) *Counter { return h.refusals.get(reason, nil) }

// Panics returns the counter of requests that ended in a panic.
func (h *Hub) Panics() *Counter { return &h.panics }

// ExpressionErrors counts CEL expressions that could not be evaluated for a request.
func (h *Hub) ExpressionErrors() *Counter { return &h.exprs }

// MirrorsDropped counts copies of requests that were not sent: too long, or too many under way.
func (h *Hub) MirrorsDropped() *Counter { return &h.unsent }

// RetainListeners drops the cells of listeners that are not named.
func (h *Hub) RetainListeners(names []string) {
	keep := set(names)
	h.floods.retain(func(k floodKey) bool { return keep[k.listener] })
}

// RetainRoutes drops the cells of routes that are not named. A request still in progress may go on writing to a dropped
// cell; what it writes is not shown.
func (h *Hub) RetainRoutes(names []string) {
	keep := set(names)
	h.routes.retain(func(name string) bool { return keep[name] })
	h.cached.retain(func(k cacheKey) bool { return keep[k.route] })
	h.coded.retain(func(k codedKey) bool { return keep[k.route] })
	h.uncoded.retain(func(name string) bool { return keep[name] })
}

// RetainPools drops the cells of pools that are not named, with those of their endpoints.
func (h *Hub) RetainPools(names []string) {
	keep := set(names)
	h.pools.retain(func(name string) bool { return keep[name] })
}

// RetainEndpoints drops the cells of a pool's endpoints that are not named.
func (h *Hub) RetainEndpoints(poolName string, endpoints []string) {
	keep := set(endpoints)
	h.pools.get(poolName, nil).endpoints.retain(func(name string) bool { return keep[name] })
}

// RetainPolicies drops the cells of policies that are not named, in all their modes.
func (h *Hub) RetainPolicies(names []string) {
	keep := set(names)
	h.policies.retain(func(k policyKey) bool { return keep[k.name] })
}

// SetSources replaces what is asked at scrape.
func (h *Hub) SetSources(s Sources) { h.sources.Store(&s) }

func set(names []string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}
