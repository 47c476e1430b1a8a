package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"weir/gateway/route"
	"weir/internal/mono"
	"weir/limiter"
)

// CheckQuestion asks whether somebody may spend.
type CheckQuestion struct {
	Key      string            // the caller's name: the dimension `key`, unless the configuration defines one of that name
	Tokens   int64             // units; 0 peeks
	Metadata map[string]string // values of dimensions by name; endpoint: the path; method, host
}

// CheckAnswer says whether, and what each policy that applies says.
type CheckAnswer struct {
	Allowed   bool
	Policy    string           // that refused, or else has least left; "" if none applies
	Limit     int64            // of that policy
	Decision  limiter.Decision // of that policy
	Wait      time.Duration    // the caller must not go on before
	Decisions []CheckDecision  // the root of a hierarchy first
	Unknown   []string         // names in the metadata that mean nothing here, sorted
}

// CheckDecision is what one policy says.
type CheckDecision struct {
	Policy  string
	Level   int
	Mode    string
	Action  string
	Limit   int64
	Allowed bool
	Left    int64
}

// Check spends Tokens of every policy that applies to a request as described, or of none, by the same code as for a request that is
// served. Dimensions have the values of the metadata; those that it does not name have their default, or none. Policies for some routes
// apply if the endpoint's route is one of them. Seats are looked at and not taken, as nobody would give them back.
// An endpoint that no request could have, see CheckEndpoint, counts as none.
func (g *Gateway) Check(s *Snapshot, in CheckQuestion) CheckAnswer {
	q := &question{method: in.Metadata["method"], header: http.Header{}}
	if q.method == "" {
		q.method = http.MethodGet
	}
	host, _ := splitHost([]byte(in.Metadata["host"]))
	q.host = strings.ToLower(string(host))
	q.path, q.query, _ = endpointOf(in.Metadata["endpoint"])
	x := &Exchange{gw: g, snap: s, car: q, start: mono.Now(), peerText: new(peerText), checking: true, tokens: in.Tokens, key: in.Key}
	x.token.checked = true // claims come from the metadata
	for i := range s.dims {
		if v := in.Metadata[s.dims[i].name]; v != "" {
			x.dims.set(i, v)
		}
	}
	if s.dims[s.keyDim].from != fromKey && in.Key != "" && in.Metadata["key"] == "" {
		x.dims.set(s.keyDim, in.Key)
	}
	if q.path != "" {
		if n := s.table.Match(x); n >= 0 {
			x.route = s.routes[n]
		}
	}
	x.plan()
	unknown := s.unknown(in.Metadata)
	if len(x.uses) == 0 {
		return CheckAnswer{Allowed: true, Decisions: []CheckDecision{}, Unknown: unknown}
	}
	ds, refused := x.checkCharge()
	x.count(ds, refused)
	if in.Tokens > 0 {
		g.callers.note(x, 1)
	}
	a := x.checkAnswer(ds, refused)
	a.Unknown = unknown
	return a
}

// CheckEndpoint says what is wrong with the endpoint of a check: it is the path of a request, with a query or without.
func CheckEndpoint(endpoint string) error {
	_, _, err := endpointOf(endpoint)
	return err
}

// endpointOf takes an endpoint apart. The path is normalised, as that of a request is, so that another spelling finds the same route.
func endpointOf(endpoint string) (path, query string, err error) {
	if endpoint == "" {
		return "", "", nil
	}
	path, query, _ = strings.Cut(endpoint, "?")
	if path[0:min(1, len(path))] != "/" {
		return "", "", fmt.Errorf("%q does not begin with /: write the path of the request", endpoint)
	}
	p, err := route.Normalize(nil, []byte(path))
	if err != nil {
		return "", "", err
	}
	return string(p), query, nil
}

// unknown returns the names in a check's metadata that are no dimension, and nothing else that a check knows.
func (s *Snapshot) unknown(metadata map[string]string) (names []string) {
	for name := range metadata {
		switch name {
		case "endpoint", "method", "host", "key":
			continue
		}
		if !slices.ContainsFunc(s.dims, func(d dimension) bool { return d.name == name }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// checkCharge spends what a check asks for, seats excepted: if there are none left, nothing is spent. It returns what each policy says,
// in the order of x.uses, and which one refuses, or -1.
func (x *Exchange) checkCharge() (ds []limiter.Decision, refused int) {
	seats := -1
	for i := range x.uses {
		if u := &x.uses[i]; u.p.seats && seats < 0 && !u.p.soft() && !x.peek(u, u.n).OK {
			seats = i
		}
	}
	if seats >= 0 {
		for i := range x.uses {
			u := &x.uses[i]
			d, rest := x.peek(u, u.n), x.peek(u, 0)
			d.Left, d.Reset = rest.Left, rest.Reset
			ds = append(ds, d)
		}
		return ds, seats
	}
	for i := range x.uses {
		u := &x.uses[i]
		n := u.n
		if u.p.seats {
			n = 0
		}
		x.add(u, n)
	}
	refused = x.charge.Take(x.start)
	x.charge.Settle(x.start)
	ds = x.charge.Decisions()
	for i := range x.uses {
		if u := &x.uses[i]; u.p.seats {
			ds[i] = x.peek(u, u.n)
		}
	}
	return ds, refused
}

func (x *Exchange) checkAnswer(ds []limiter.Decision, refused int) CheckAnswer {
	a := CheckAnswer{Allowed: refused < 0, Wait: x.charge.Wait(), Decisions: make([]CheckDecision, 0, len(x.uses))}
	tight := refused
	if tight < 0 {
		tight = x.tightest(ds)
	}
	if tight >= 0 {
		u := &x.uses[tight]
		a.Policy, a.Limit, a.Decision = u.p.name, u.v.numbers.Limit, ds[tight]
	}
	for i := len(x.uses) - 1; i >= 0; i-- {
		u := &x.uses[i]
		a.Decisions = append(a.Decisions, CheckDecision{Policy: u.p.name, Level: u.p.depth, Mode: u.p.conf.Mode, Action: u.p.conf.Action,
			Limit: u.v.numbers.Limit, Allowed: ds[i].OK, Left: ds[i].Left})
	}
	return a
}
