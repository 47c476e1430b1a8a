package gateway

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"weir/config"
	"weir/gateway/route"
	"weir/internal/expr"
	"weir/internal/h2"
	"weir/internal/http1"
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

	paced           map[string]*pacingConf // by route
	pacedEverywhere *pacingConf
	byRoute         map[string][]int // policies that name a route
	tokenEverywhere *bool            // a policy for all routes depends on a token; nil: not looked at yet
}

// plan is what Install has to do to what lives: everything that Compile made or wants changed.
type plan struct {
	pools    []*poolConf
	limiters map[string]*variant // by identity
	verifier *verifier           // nil: no dimension comes from a token
	store    *keptStore          // nil: there is none
	demos    []*demo
}

// Compile turns a validated configuration into a snapshot. It has no side effects and starts nothing: the result may be
// thrown away with Discard. What lives already under the same identity is taken over as it is; new numbers reach it at
// Install.
func (g *Gateway) Compile(c *config.Config) (*Snapshot, error) {
	p := &compiler{gw: g, conf: c, dims: map[string]int{}, pools: map[string]*poolConf{}, policies: map[string]*policy{}, paced: map[string]*pacingConf{}}
	p.snap = &Snapshot{conf: c, headers: c.Headers, listeners: map[string]*Listener{}, noRoute: g.hub.Route(""), spoofable: []string{tagHeader, degradedHeader}, plan: &plan{limiters: map[string]*variant{}}}
	for _, step := range []func() error{p.listeners, p.dimensions, p.compileRoom, p.compilePressure, p.compilePools, p.compilePolicies, p.compileShaping, p.compileCache, p.compileRoutes, p.compileStore} {
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
		c := &Listener{
			Name: l.Name, RedirectHTTPS: l.RedirectHTTPS, HTTP2: l.HTTP2, Streams: l.Limits.Streams,
			Resets: l.Limits.Resets, ControlFrames: l.Limits.ControlFrames,
			Limits:        http1.Limits{Bytes: int(l.Limits.HeaderBytes), Fields: l.Limits.Headers},
			HeaderTimeout: l.Limits.HeaderTimeout, IdleTimeout: l.Limits.IdleTimeout,
			Body: int64(l.Limits.Body), MinRate: int64(l.Limits.BodyMinRate),
		}
		for k := range c.floods {
			if h2.Flood(k) != h2.NoFlood {
				c.floods[k] = p.gw.hub.Floods(l.Name, floodNames[k])
			}
		}
		p.snap.listeners[l.Name] = c
	}
	return nil
}

func (p *compiler) dimensions() error {
	defaults := slices.Clone(builtins)
	if !slices.ContainsFunc(p.conf.Dimensions, func(d config.Dimension) bool { return d.Name == builtinKey.name }) {
		defaults = append(defaults, builtinKey)
	}
	names := make([]string, 0, len(defaults)+len(p.conf.Dimensions))
	for _, d := range defaults {
		names = append(names, d.name)
	}
	for _, d := range p.conf.Dimensions {
		names = append(names, d.Name)
	}
	if len(names) > maxDimensions {
		return fmt.Errorf("dimensions: %d are too many, %d can be defined", len(p.conf.Dimensions), maxDimensions-len(defaults))
	}
	env, err := expr.NewEnv(names)
	if err != nil {
		return err
	}
	p.env = env
	p.snap.dims = append(p.snap.dims, defaults...)
	for i := range p.conf.Dimensions {
		d, err := compileDimension(&p.conf.Dimensions[i], env)
		if err != nil {
			return fmt.Errorf("dimension %s: %w", p.conf.Dimensions[i].Name, err)
		}
		p.readBy(d)
		if d.from == fromJWT && p.snap.tokens == nil {
			if err := p.tokens(); err != nil {
				return fmt.Errorf("jwt: %w", err)
			}
		}
		p.snap.dims = append(p.snap.dims, d)
	}
	for i, n := range names {
		p.dims[n] = i
	}
	p.snap.keyDim = p.dims[builtinKey.name]
	return nil
}

// readBy notes what of a request a dimension is read from, so that no client can have it read in two ways.
func (p *compiler) readBy(d dimension) {
	switch {
	case d.from == fromHeader:
		p.readsHeader(d.arg)
	case d.from == fromQuery:
		p.snap.params = append(p.snap.params, d.arg)
	case d.from == fromCookie:
		p.snap.cookies = append(p.snap.cookies, d.arg)
	case d.prog != nil:
		p.reads(d.prog.Reads())
	}
}

// reads notes what an expression that limits go by reads.
func (p *compiler) reads(r expr.Reads) {
	for _, name := range r.Headers {
		p.readsHeader(name)
	}
	for _, name := range r.Query {
		if !slices.Contains(p.snap.params, name) {
			p.snap.params = append(p.snap.params, name)
		}
	}
}

// repeatable are header fields that may be repeated: a further one adds to the first.
var repeatable = []string{"cookie", "accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "connection", "content-encoding",
	"content-language", "expect", "forwarded", "if-match", "if-none-match", "link", "pragma", "prefer", "sec-websocket-extensions",
	"sec-websocket-protocol", "te", "trailer", "transfer-encoding", "upgrade", "via", "x-forwarded-for"}

// readsHeader notes that limits go by a header field: the first counts, further ones are not sent on, and neither is what some servers
// take for it, its name with underscores.
func (p *compiler) readsHeader(name string) {
	p.spoofable(name)
	if !slices.Contains(repeatable, name) && !slices.Contains(p.snap.single, name) {
		p.snap.single = append(p.snap.single, name)
	}
}

// spoofable notes a header field whose name nobody may come near.
func (p *compiler) spoofable(name string) {
	s := p.snap
	if slices.Contains(s.spoofable, name) {
		return
	}
	s.spoofable = append(s.spoofable, name)
	for i := range len(name) {
		s.odd = s.odd || !plainSign(name[i])
	}
}

// tokens makes ready what checks tokens.
func (p *compiler) tokens() error {
	v, err := p.gw.live.verifier(&p.conf.JWT)
	if err != nil {
		return err
	}
	p.snap.plan.verifier = v
	p.snap.tokens, p.snap.tokenField = v.Verifier, strings.ToLower(p.conf.JWT.Header)
	p.readsHeader(p.snap.tokenField)
	return nil
}

func (p *compiler) compileStore() (err error) {
	p.snap.plan.store, err = p.gw.live.storeOf(&p.conf.Redis)
	return err
}

func (p *compiler) dim(name string) int {
	i, ok := p.dims[name]
	if !ok {
		panic("BUG: dimension " + name + " passed validation")
	}
	return i
}

// dimensionMeaning is what a policy's buckets are told apart by. A dimension read from elsewhere is another one.
func (p *compiler) dimensionMeaning(names []string) string {
	var b strings.Builder
	for _, n := range names {
		d := p.snap.dims[p.dim(n)]
		fmt.Fprintf(&b, "%q=%d:%q:%q%v;", n, d.from, d.arg, d.def, d.bits)
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
	e.rewrite = rewrite{strip: c.Rewrite.StripPrefix, prefix: c.Rewrite.Prefix, to: c.Rewrite.To, host: c.Rewrite.Host,
		method: c.Rewrite.Method, query: compileQuery(&c.Rewrite.Query, p.dim)}
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
	if err := p.routeRoom(e, c); err != nil {
		return nil, rule, err
	}
	if e.recode, err = p.routeRecode(e, c); err != nil {
		return nil, rule, err
	}
	e.cache = p.routeCache(e, c)
	e.index = p.routeIndex(c.Name)
	e.wantsToken = p.wantsToken(c, e)
	p.reach(e)
	for i, name := range ours {
		e.unwanted[i] = e.request.drops([]byte(name))
	}
	for _, h := range e.request.add {
		p.spoofable(strings.ToLower(h.name))
	}
	return e, rule, nil
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
	for _, f := range m.Headers { // a client that is of one route here, and of another to the endpoint, has the wrong limits
		p.readsHeader(strings.ToLower(f.Name))
	}
	for _, f := range m.Query {
		name := f.Name
		if f.Value == "" && f.Regex == "" {
			name = presence + name
		}
		p.reads(expr.Reads{Query: []string{name}})
	}
	if m.When != "" {
		prog, err := p.env.Compile(m.When, expr.Bool)
		if err != nil {
			return r, fmt.Errorf("when: %w", err)
		}
		p.reads(prog.Reads())
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
