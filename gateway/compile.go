package gateway

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"weir/config"
	"weir/gateway/route"
	"weir/internal/expr"
	"weir/internal/http1"
	"weir/limiter"
)

// compiler holds what one Compile has worked out so far.
type compiler struct {
	gw   *Gateway
	conf *config.Config
	snap *Snapshot
	env  *expr.Env

	dims     map[string]int
	pools    map[string]*poolConf
	policies map[string]*policy
}

// plan is what Install has to do to what lives: everything that Compile made or wants changed.
type plan struct {
	pools    []*poolConf
	limiters map[string]*policy // by identity
	demos    []*demo
}

// Compile turns a validated configuration into a snapshot. It has no side effects and starts nothing: the result may be
// thrown away with Discard. What lives already under the same identity is taken over as it is; new numbers reach it at
// Install.
func (g *Gateway) Compile(c *config.Config) (*Snapshot, error) {
	p := &compiler{gw: g, conf: c, dims: map[string]int{}, pools: map[string]*poolConf{}, policies: map[string]*policy{}}
	p.snap = &Snapshot{conf: c, headers: c.Headers, listeners: map[string]*Listener{}, noRoute: g.hub.Route(""), plan: &plan{limiters: map[string]*policy{}}}
	for _, step := range []func() error{p.listeners, p.dimensions, p.compilePools, p.compilePolicies, p.compileRoutes} {
		if err := step(); err != nil {
			p.snap.Discard()
			return nil, err
		}
	}
	return p.snap, nil
}

// Discard frees what a snapshot that is not installed holds.
func (s *Snapshot) Discard() {
	if s.plan == nil {
		return
	}
	for _, d := range s.plan.demos {
		d.close()
	}
}

func (p *compiler) listeners() error {
	p.snap.trusted = p.conf.Trusted()
	for i := range p.conf.Listeners {
		l := &p.conf.Listeners[i]
		p.snap.listeners[l.Name] = &Listener{
			Name: l.Name, RedirectHTTPS: l.RedirectHTTPS,
			Limits:        http1.Limits{Bytes: int(l.Limits.HeaderBytes), Fields: l.Limits.Headers},
			HeaderTimeout: l.Limits.HeaderTimeout, IdleTimeout: l.Limits.IdleTimeout,
			Body: int64(l.Limits.Body), MinRate: int64(l.Limits.BodyMinRate),
		}
	}
	return nil
}

func (p *compiler) dimensions() error {
	names := make([]string, 0, len(builtins)+len(p.conf.Dimensions))
	for _, d := range builtins {
		names = append(names, d.name)
	}
	for _, d := range p.conf.Dimensions {
		names = append(names, d.Name)
	}
	if len(names) > maxDimensions {
		return fmt.Errorf("dimensions: %d are too many, %d can be defined", len(p.conf.Dimensions), maxDimensions-len(builtins))
	}
	env, err := expr.NewEnv(names)
	if err != nil {
		return err
	}
	p.env = env
	p.snap.dims = append(p.snap.dims, builtins...)
	for i := range p.conf.Dimensions {
		d, err := compileDimension(&p.conf.Dimensions[i], env)
		if err != nil {
			return fmt.Errorf("dimension %s: %w", p.conf.Dimensions[i].Name, err)
		}
		if d.from == fromHeader && d.arg != "cookie" {
			p.snap.single = append(p.snap.single, d.arg)
		}
		p.snap.dims = append(p.snap.dims, d)
	}
	for i, n := range names {
		p.dims[n] = i
	}
	return nil
}

func (p *compiler) dim(name string) int {
	i, ok := p.dims[name]
	if !ok {
		panic("BUG: dimension " + name + " passed validation")
	}
	return i
}

func (p *compiler) compilePolicies() error {
	for i := range p.conf.Policies {
		c := &p.conf.Policies[i]
		if c.Mode == "off" {
			continue
		}
		pol := &policy{name: c.Name, conf: c, shadow: c.Mode == "shadow", cell: p.gw.hub.Policy(c.Name, c.Mode)}
		for _, d := range c.Dimensions {
			pol.dims = append(pol.dims, p.dim(d))
		}
		if c.When != "" {
			prog, err := p.env.Compile(c.When, expr.Bool)
			if err != nil {
				return fmt.Errorf("policy %s: when: %w", c.Name, err)
			}
			pol.when = prog
		}
		pol.quoted = strconv.Quote(c.Name)
		pol.head = fmt.Sprintf("%s;q=%d;w=%d", pol.quoted, c.Limit, int64(math.Ceil(c.Window.Seconds())))
		id := identity(c.Name, c.Algorithm, c.Scope, p.dimensionMeaning(c.Dimensions))
		rate := limiter.Rate{N: c.Limit, Per: c.Window, Burst: c.Burst}
		pol.limiter = p.gw.live.limiter(id)
		if pol.limiter == nil {
			l, err := limiter.New(c.Name, rate, limiter.Options{})
			if err != nil {
				return fmt.Errorf("policy %s: %w", c.Name, err)
			}
			pol.limiter = l
		} else if err := rate.Validate(); err != nil {
			return fmt.Errorf("policy %s: %w", c.Name, err)
		}
		p.snap.plan.limiters[id] = pol
		p.snap.policies = append(p.snap.policies, pol)
	}
	return nil
}

// dimensionMeaning is what a policy's buckets are told apart by. A dimension read from elsewhere is another one.
func (p *compiler) dimensionMeaning(names []string) string {
	var b strings.Builder
	for _, n := range names {
		d := p.snap.dims[p.dim(n)]
		fmt.Fprintf(&b, "%q=%d:%q:%q;", n, d.from, d.arg, d.def)
	}
	return b.String()
}

func (p *compiler) compileRoutes() error {
	rules := make([]route.Rule, 0, len(p.conf.Routes))
	for i := range p.conf.Routes {
		c := &p.conf.Routes[i]
		e, rule, err := p.compileRoute(c)
		if err != nil {
			return fmt.Errorf("route %s: %w", c.Name, err)
		}
		p.snap.routes = append(p.snap.routes, e)
		rules = append(rules, rule)
	}
	t, err := route.Compile(rules)
	p.snap.table = t
	return err
}

func (p *compiler) compileRoute(c *config.Route) (*entry, route.Rule, error) {
	e := &entry{name: c.Name, conf: c, timeout: c.Timeout, body: -1, cell: p.gw.hub.Route(c.Name),
		request: compileTransform(&c.Request, p.dim), response: compileTransform(&c.Response, p.dim)}
	if c.Body != nil {
		e.body = int64(*c.Body)
	}
	rule, err := p.rule(c)
	if err != nil {
		return nil, rule, err
	}
	switch {
	case c.Respond != nil:
		e.respond = newFixed(c.Respond)
	case c.Redirect != nil:
		e.status, e.redirect = c.Redirect.Status, compileTemplate(c.Redirect.To, p.dim)
	case c.Pool != "":
		e.targets, e.weight = []target{{p.pools[c.Pool], 1}}, 1
	default:
		for _, s := range c.Split {
			if s.Weight > 0 {
				e.weight += uint64(s.Weight)
				e.targets = append(e.targets, target{p.pools[s.Pool], e.weight})
			}
		}
	}
	e.rewrite = rewrite{strip: c.Rewrite.StripPrefix, prefix: c.Rewrite.Prefix, to: c.Rewrite.To, host: c.Rewrite.Host}
	if c.Rewrite.Regex != "" {
		if e.rewrite.regex, err = regexp.Compile(c.Rewrite.Regex); err != nil {
			return nil, rule, err
		}
	}
	if c.Mirror.Pool != "" && c.Mirror.Percent > 0 {
		e.mirror = p.pools[c.Mirror.Pool]
		e.mirrored = float64(c.Mirror.Percent)
	}
	e.fallback = p.fallback(&c.Fallback)
	for _, pol := range p.snap.policies {
		if applies(pol.conf.Routes, c.Name) {
			e.policies = append(e.policies, pol)
		}
	}
	if len(e.policies) > limiter.MaxChain {
		return nil, rule, fmt.Errorf("%d policies apply, at most %d can", len(e.policies), limiter.MaxChain)
	}
	for i, name := range ours {
		e.unwanted[i] = e.request.drops([]byte(name))
	}
	for _, h := range e.request.add {
		if name := strings.ToLower(h.name); !slices.Contains(p.snap.spoofable, name) {
			p.snap.spoofable = append(p.snap.spoofable, name)
		}
	}
	return e, rule, nil
}

func applies(routes []string, name string) bool {
	for _, r := range routes {
		if r == name {
			return true
		}
	}
	return len(routes) == 0
}

func (p *compiler) rule(c *config.Route) (route.Rule, error) {
	m := &c.Match
	r := route.Rule{Hosts: m.Hosts, Path: m.Path, Methods: m.Methods}
	for _, list := range []struct {
		from []config.FieldMatch
		to   *[]route.FieldMatch
	}{{m.Headers, &r.Headers}, {m.Query, &r.Query}} {
		for _, f := range list.from {
			*list.to = append(*list.to, route.FieldMatch{Name: f.Name, Value: f.Value, Regex: f.Regex, Exact: f.Value != ""})
		}
	}
	if m.When != "" {
		prog, err := p.env.Compile(m.When, expr.Bool)
		if err != nil {
			return r, fmt.Errorf("when: %w", err)
		}
		r.When = func(h route.Head) bool {
			x := h.(*Exchange)
			ok, err := prog.Bool(x)
			if err != nil {
				x.gw.exprErrors.Inc()
			}
			return ok && err == nil // a condition that cannot be evaluated does not hold
		}
	}
	return r, nil
}

func (p *compiler) fallback(c *config.Fallback) *fallback {
	if len(c.On) == 0 {
		return nil
	}
	f := &fallback{}
	for _, s := range c.On {
		for r := range reasonTable {
			if s == reasonTable[r].token || s == "timeout" && Reason(r) == UpstreamTimeout {
				f.on[r] = true
			}
		}
	}
	if c.Pool != "" {
		f.pool = p.pools[c.Pool]
		return f
	}
	f.respond = newFixed(c.Respond)
	return f
}

// newFixed compiles a fixed answer. Its file was read into its body by config.
func newFixed(c *config.Respond) *fixed {
	f := &fixed{status: c.Status, headers: c.Headers, body: []byte(c.Body)}
	for _, h := range c.Headers {
		f.typed = f.typed || http.CanonicalHeaderKey(h.Name) == "Content-Type"
	}
	return f
}
