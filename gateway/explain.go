package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"weir/balancer"
	"weir/gateway/route"
	"weir/internal/http1"
	"weir/internal/mono"
)

// Question is a request to be explained.
type Question struct {
	Method string
	URL    string // absolute, or a path
	Header http.Header
	Remote string // address of the client; empty is 127.0.0.1
}

// Explanation is what would become of a request.
type Explanation struct {
	Verdict    string            `json:"verdict"` // pass, or a token of Weir-Reason
	Status     int               `json:"status,omitempty"`
	Detail     string            `json:"detail,omitempty"`
	Method     string            `json:"method"`
	Host       string            `json:"host"`
	Path       string            `json:"path"` // normalised
	Client     string            `json:"client"`
	Route      string            `json:"route,omitempty"`
	Considered []ExplainedRule   `json:"considered,omitempty"` // routes whose host and path match, in order
	Dimensions map[string]string `json:"dimensions,omitempty"`
	Priority   string            `json:"priority,omitempty"`
	Policies   []ExplainedPolicy `json:"policies,omitempty"`
	Pools      []ExplainedPool   `json:"pools,omitempty"`
	Stream     *ExplainedStream  `json:"stream,omitempty"`       // of a route with pools
	Cache      string            `json:"cache,omitempty"`        // of a route with one: hit, stale, miss or pass
	Refusal    string            `json:"grpc_refusal,omitempty"` // of a call of gRPC: how it, or one that passes now, is refused
	Changes    []string          `json:"changes,omitempty"`      // of method and bodies, for people
	Answer     string            `json:"answer,omitempty"`       // of a route that answers itself
	Upstream   string            `json:"upstream,omitempty"`     // request line and host that the endpoint would get
}

// ExplainedRule is a route that was considered.
type ExplainedRule struct {
	Route   string `json:"route"`
	Matched bool   `json:"matched"`
	Why     string `json:"why,omitempty"`
}

// ExplainedPool is a pool that the route may use.
type ExplainedPool struct {
	Pool       string              `json:"pool"`
	Share      float64             `json:"share"`
	Healthy    int                 `json:"healthy"`
	Panic      bool                `json:"panic,omitempty"`
	InUse      int                 `json:"seats_in_use"`
	Seats      int                 `json:"seats"`
	Waiting    int                 `json:"waiting"`
	Tunnels    int                 `json:"tunnels"`
	MaxTunnels int                 `json:"max_tunnels"`
	Queue      ExplainedQueue      `json:"queue"`
	Call       *ExplainedCall      `json:"grpc,omitempty"` // of a call of gRPC
	Endpoints  []ExplainedEndpoint `json:"endpoints"`
}

// ExplainedEndpoint is an endpoint of such a pool.
type ExplainedEndpoint struct {
	Endpoint string `json:"endpoint"`
	State    string `json:"state"`
	Breaker  string `json:"breaker"`
	InFlight int64  `json:"in_flight"`
	Tunnels  int64  `json:"tunnels"`
}

// question is a carrier without a connection: it has a head, and nothing can be sent over it.
type question struct {
	carrier   // nil: what would send anything is never called
	method    string
	host      string
	authority string
	path      string
	query     string
	bare      bool // the URL ends in a question mark
	header    http.Header
	withheld  transform // what endpoints do not get of header
	plain     bool      // they are asked for identity by the gateway itself
}

func (q *question) Method() string    { return q.method }
func (q *question) Host() string      { return q.host }
func (q *question) Authority() string { return q.authority }
func (q *question) Path() string      { return q.path }
func (q *question) RawQuery() string  { return q.query }
func (q *question) ClientCN() string  { return "" }
func (q *question) Field(name string) (string, bool) {
	v := q.header.Values(name)
	if len(v) == 0 {
		return "", false
	}
	if name == "cookie" {
		return strings.Join(v, "; "), true
	}
	return v[0], true
}
func (q *question) Header(name string) (string, bool) { return q.Field(name) }
func (q *question) Query(name string) (string, bool)  { return queryParam(q.query, name) }

// Explain says what would become of a request, by the same code that serves it, but takes nothing. An error means that
// the question itself makes no sense.
func (g *Gateway) Explain(s *Snapshot, in Question) (*Explanation, error) {
	q, secure, err := ask(in)
	if err != nil {
		return nil, err
	}
	x := &Exchange{gw: g, snap: s, car: q, start: mono.Now(), secure: secure, off: g.pressure.off.Load(), peerText: new(peerText)}
	if in.Remote == "" {
		in.Remote = "127.0.0.1"
	}
	peer, ok := parseAddr(in.Remote)
	if !ok {
		return nil, fmt.Errorf("remote %q is not an address", in.Remote)
	}
	x.peer = peer
	if x.trusted = s.isTrusted(peer); x.trusted {
		list := q.header.Values("X-Forwarded-For")
		x.peer = s.clientAddr(peer, func(yield func(string) bool) {
			for i := len(list) - 1; i >= 0; i-- {
				if !yield(list[i]) {
					return
				}
			}
		})
	}
	e := &Explanation{Verdict: "pass", Method: q.method, Host: q.host, Client: x.peer.String()}
	e.explain(x, q)
	e.call(x)
	return e, nil
}

// explain says what would become of the request, up to where it would be refused.
func (e *Explanation) explain(x *Exchange, q *question) {
	if v := q.check(); v.Reason != Pass {
		e.refuse(v.Reason, v.Detail)
		e.Status = v.status()
		return
	}
	p, err := route.Normalize(nil, []byte(q.path))
	if err != nil {
		e.refuse(BadRequest, err.Error())
		return
	}
	q.path = string(p)
	e.Path = q.path
	if why := x.ambiguous(); why != "" {
		e.refuse(BadRequest, why)
		return
	}
	for _, step := range x.snap.table.Explain(x) {
		e.Considered = append(e.Considered, ExplainedRule{x.snap.routes[step.Rule].name, step.Matched, step.Why})
	}
	n := x.snap.table.Match(x)
	if n < 0 {
		e.refuse(NoRoute, "no route matches this host, path and method")
		return
	}
	x.route = x.snap.routes[n]
	e.Route = x.route.name
	e.dimensions(x)
	e.policies(x)
	e.answer(x)
	e.cache(x, q)
	e.stream(x)
	e.changes(x)
	e.pools(x)
}

func ask(in Question) (*question, bool, error) {
	u, err := url.Parse(in.URL)
	if err != nil {
		return nil, false, err
	}
	q := &question{method: in.Method, path: u.EscapedPath(), query: u.RawQuery, bare: u.ForceQuery, header: in.Header, authority: u.Host}
	if q.header == nil {
		q.header = http.Header{}
	}
	if q.method == "" {
		q.method = http.MethodGet
	}
	if h := q.header.Get("Host"); h != "" {
		q.authority = h
	}
	if q.path == "" {
		q.path = "/"
	}
	if q.authority == "" && u.Scheme == "" {
		q.authority = "localhost" // a path alone
	}
	switch u.Scheme {
	case "", "http", "https":
	default:
		return nil, false, fmt.Errorf("scheme %q is neither http nor https", u.Scheme)
	}
	if u.User != nil {
		return nil, false, errors.New("a URL with user and password names no request: send an Authorization header")
	}
	for name, values := range q.header {
		if !http1.Token(name) {
			return nil, false, fmt.Errorf("%q is no header name", name)
		}
		for _, v := range values {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return nil, false, fmt.Errorf("header %s has a control character", name)
			}
		}
	}
	host, ok := splitHost([]byte(q.authority))
	if !ok && q.authority != "" {
		return nil, false, fmt.Errorf("host %q is malformed", q.authority)
	}
	q.host = strings.ToLower(string(withoutDot(host)))
	return q, u.Scheme == "https", nil
}

// check refuses what the edge refuses before any route is asked.
func (q *question) check() Verdict {
	switch {
	case !http1.Token(q.method):
		return Verdict{Reason: BadRequest, Detail: http1.BadMethod.Error()}
	case miscased(q.method):
		return Verdict{Reason: BadRequest, Detail: methodCase}
	case q.method == "CONNECT" || q.method == "TRACE":
		return Verdict{Reason: BadRequest, Status: 405, Detail: q.method + " is not served"}
	case q.host == "":
		return Verdict{Reason: BadRequest, Detail: http1.BadHost.Error()}
	}
	return Verdict{}
}

// answer says what the route answers itself.
func (e *Explanation) answer(x *Exchange) {
	switch {
	case x.route.respond != nil:
		e.Answer = fmt.Sprintf("respond %d", x.route.respond.status)
	case x.route.targets == nil:
		e.Answer = fmt.Sprintf("redirect %d to %s", x.route.status, x.route.redirect.append(nil, x))
	}
}

func (e *Explanation) refuse(r Reason, detail string) {
	if e.Verdict == "pass" {
		e.Verdict, e.Status, e.Detail = r.String(), reasonTable[r].status, detail
	}
}

func (e *Explanation) dimensions(x *Exchange) {
	e.Dimensions = map[string]string{}
	for i := range x.snap.dims {
		d := &x.snap.dims[i]
		v, ok := x.Dimension(i)
		switch {
		case !ok:
		case d.secret:
			e.Dimensions[d.name] = "[redacted]"
		default:
			e.Dimensions[d.name] = strings.Clone(v)
		}
	}
}

func (e *Explanation) pools(x *Exchange) {
	last := uint64(0)
	x.begun = x.start
	if x.setDue(); x.overdue() && len(x.route.targets) > 0 {
		e.refuse(tooLate.Reason, tooLate.Detail)
	}
	for _, t := range x.route.targets {
		s, gate := t.pool.balancer.Stats(), t.pool.gate.Stats()
		p := ExplainedPool{Pool: s.Name, Share: float64(t.upTo-last) / float64(x.route.weight), Healthy: s.Healthy, Panic: s.Panic,
			InUse: gate.InFlight, Seats: gate.Limit, Waiting: gate.Waiting,
			Tunnels: int(t.pool.tunnels.Load()), MaxTunnels: t.pool.maxTunnels, Queue: x.explainQueue(t.pool)}
		last = t.upTo
		for _, ep := range s.Endpoints {
			p.Endpoints = append(p.Endpoints, ExplainedEndpoint{ep.Name, ep.State, ep.BreakerState, ep.InFlight, ep.Tunnels})
		}
		e.Pools = append(e.Pools, p)
		if len(x.route.targets) > 1 {
			continue
		}
		if miss := missOf(&s); miss != balancer.OK {
			v := missVerdict(miss)
			e.refuse(v.Reason, v.Detail)
		}
	}
	if len(x.route.targets) > 0 {
		host := x.route.rewrite.host
		if host == "" {
			host = x.car.Authority()
		}
		line := x.route.rewrite.appendPath([]byte(x.sentMethod()+" "), x.car.Path())
		if w := x.route.rewrite.query; w != nil {
			line = w.append(line, x)
		} else if q := x.car.RawQuery(); q != "" {
			line = append(append(line, '?'), q...)
		}
		e.Upstream = string(line) + " (Host: " + host + ")"
	}
}

// missOf says what a lease would meet, without taking one, which could move a breaker on.
func missOf(s *balancer.PoolStats) balancer.Miss {
	if s.Healthy == 0 && !s.Panic {
		return balancer.NoEndpoint
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if e.BreakerState != "open" && (e.Healthy || s.Panic && e.State != "draining") {
			return balancer.OK
		}
	}
	return balancer.BreakerOpen
}
