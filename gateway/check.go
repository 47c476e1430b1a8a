package gateway

import (
	"net/http"
	"slices"
	"time"

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
func (g *Gateway) Check(s *Snapshot, in CheckQuestion) CheckAnswer {
	q := &question{method: in.Metadata["method"], host: in.Metadata["host"], path: in.Metadata["endpoint"], header: http.Header{}}
	if q.method == "" {
		q.method = http.MethodGet
	}
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
	refused := x.checkCharge()
	x.countDecisions(refused)
	if in.Tokens > 0 {
		g.callers.note(x, 1)
	}
	a := x.checkAnswer(refused)
	a.Unknown = unknown
	return a
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

// checkCharge spends what a check asks for, seats excepted.
func (x *Exchange) checkCharge() (refused int) {
	seats := -1
	for i := range x.uses {
		u := &x.uses[i]
		n := u.n
		if u.p.seats {
			if n = 0; seats < 0 && !u.p.soft() && !u.v.limiter.Peek(u.key, u.n, x.start).OK {
				seats = i
			}
		}
		if u.p.soft() {
			x.charge.AddSoft(u.v.limiter, u.key, n)
		} else {
			x.charge.Add(u.v.limiter, u.key, n)
		}
	}
	refused = x.charge.Take(x.start)
	if refused < 0 && seats >= 0 {
		x.charge.Refund(x.start)
		refused = seats
	} else {
		x.charge.Settle(x.start)
	}
	ds := x.charge.Decisions()
	for i := range x.uses {
		if u := &x.uses[i]; u.p.seats {
			ds[i] = u.v.limiter.Peek(u.key, u.n, x.start)
		}
	}
	return refused
}

func (x *Exchange) checkAnswer(refused int) CheckAnswer {
	a := CheckAnswer{Allowed: refused < 0, Wait: x.charge.Wait(), Decisions: make([]CheckDecision, 0, len(x.uses))}
	ds := x.charge.Decisions()
	tight := refused
	if tight < 0 {
		tight = x.tightest()
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
