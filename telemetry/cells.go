package telemetry

import (
	"sync"
	"sync/atomic"
	"time"
)

// Counter is a number that only grows. Safe for concurrent use.
type Counter struct{ n atomic.Uint64 }

// Inc adds one.
func (c *Counter) Inc() { c.n.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Value returns the sum of what was added.
func (c *Counter) Value() uint64 { return c.n.Load() }

// Method is a request's method as a label: one of the ten below, so that a client can't make up series.
type Method uint8

// The methods that have a label of their own; OTHER is every other.
const (
	OTHER Method = iota
	GET
	HEAD
	POST
	PUT
	PATCH
	DELETE
	OPTIONS
	CONNECT
	TRACE
	methods
)

var methodNames = [methods]string{"OTHER", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}

// String returns the label.
func (m Method) String() string {
	if m >= methods {
		return methodNames[OTHER]
	}
	return methodNames[m]
}

// MethodOf returns the label of a method as it stands in a request line. Methods are case-sensitive: get is OTHER.
func MethodOf(s string) Method {
	switch s {
	case "GET":
		return GET
	case "HEAD":
		return HEAD
	case "POST":
		return POST
	case "PUT":
		return PUT
	case "PATCH":
		return PATCH
	case "DELETE":
		return DELETE
	case "OPTIONS":
		return OPTIONS
	case "CONNECT":
		return CONNECT
	case "TRACE":
		return TRACE
	}
	return OTHER
}

// class is a status code's first digit, or 0 for what is no status code of HTTP.
type class uint8

const classes = 6

var classNames = [classes]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

func classOf(status int) class {
	if status < 100 || status > 599 {
		return 0
	}
	return class(status / 100)
}

// Route counts the requests of one route. Get one from [Hub.Route]; safe for concurrent use.
type Route struct {
	requests [methods][classes]atomic.Uint64
	duration histogram
	in, out  Counter
	grpc     [len(grpcNames)]atomic.Uint64

	Tunnels      Lasting // WebSockets and other tunnels
	EventStreams Lasting // answers that are event streams; nothing of them comes in
}

// Lasting counts what of a route goes on for long, while it does. Safe for concurrent use.
type Lasting struct {
	open    atomic.Int64
	In, Out Flow // from the client, and to it
}

// Flow is one direction of it. Messages are those of WebSockets, and events.
type Flow struct{ Bytes, Messages Counter }

// Begin counts one that begins, and End one that has ended.
func (l *Lasting) Begin() { l.open.Add(1) }

// End is the end of one that Begin counted.
func (l *Lasting) End() { l.open.Add(-1) }

// Observe counts one finished request: its method, the status answered (0 if none was: the client left), how long it
// took from its header to the last byte of the response, and the bytes of both bodies. It is at most five atomic
// additions and does not allocate.
func (r *Route) Observe(m Method, status int, d time.Duration, in, out int64) {
	if m >= methods {
		m = OTHER
	}
	r.requests[m][classOf(status)].Add(1)
	r.duration.observe(d)
	if in > 0 {
		r.in.Add(uint64(in))
	}
	if out > 0 {
		r.out.Add(uint64(out))
	}
}

// grpcNames are the statuses of gRPC as labels, by number.
var grpcNames = [...]string{"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}

// ObserveGRPC counts the status that one call of gRPC ended with, beside Observe; what is no status does not count.
func (r *Route) ObserveGRPC(status int) {
	if uint(status) < uint(len(r.grpc)) {
		r.grpc[status].Add(1)
	}
}

// GRPC returns how many calls ended with a status of gRPC.
func (r *Route) GRPC(status int) uint64 { return r.grpc[status].Load() }

// pool is what the endpoints of a pool share.
type pool struct {
	duration  histogram
	retries   Counter
	wait      histogram
	endpoints table[string, Endpoint]
}

// Queue counts the requests that wait for room in one pool. Get one from [Hub.Queue]; safe for concurrent use.
type Queue struct{ pool *pool }

// Waited counts a request that has waited, for room or in vain.
func (q *Queue) Waited(d time.Duration) { q.pool.wait.observe(d) }

// Endpoint counts the attempts at one endpoint. Get one from [Hub.Endpoint]; safe for concurrent use.
type Endpoint struct {
	requests [classes]atomic.Uint64
	pool     *pool
}

// Observe counts one attempt: the status answered (0 if there was no answer) and how long the answer's header took, or
// how long it was waited for. It is three atomic additions and does not allocate.
func (e *Endpoint) Observe(status int, d time.Duration) {
	e.requests[classOf(status)].Add(1)
	e.pool.duration.observe(d)
}

// PolicyCell counts the decisions of one policy. Get one from [Hub.Policy]; safe for concurrent use.
type PolicyCell struct {
	allowed, refused Counter
	wait             histogram
}

// Allowed counts a request that the policy let pass.
func (p *PolicyCell) Allowed() { p.allowed.Inc() }

// Refused counts a request that the policy refused or, in shadow mode, would have.
func (p *PolicyCell) Refused() { p.refused.Inc() }

// Waited counts how long a request waited for the policy.
func (p *PolicyCell) Waited(d time.Duration) { p.wait.observe(d) }

// table interns values by key. The zero value is empty; safe for concurrent use.
type table[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]*V
}

// get returns the value of k, made and initialised if there is none yet.
func (t *table[K, V]) get(k K, init func(*V)) *V {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.m[k]
	if v == nil {
		if t.m == nil {
			t.m = make(map[K]*V)
		}
		v = new(V)
		if init != nil {
			init(v)
		}
		t.m[k] = v
	}
	return v
}

// retain drops what keep does not hold for.
func (t *table[K, V]) retain(keep func(K) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range t.m {
		if !keep(k) {
			delete(t.m, k)
		}
	}
}

// entries returns a copy of the table, whose values are shared.
func (t *table[K, V]) entries() map[K]*V {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := make(map[K]*V, len(t.m))
	for k, v := range t.m {
		m[k] = v
	}
	return m
}
