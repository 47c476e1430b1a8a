package gateway

import (
	"slices"

	"weir/config"
	"weir/internal/expr"
)

// wantsToken reports whether something of a route depends on a token, so that a bad one is refused there.
func (p *compiler) wantsToken(c *config.Route, e *entry) bool {
	if p.snap.tokens == nil {
		return false
	}
	if p.tokenEverywhere == nil {
		p.tokenEverywhere = new(bool)
		for _, pol := range p.snap.policies {
			*p.tokenEverywhere = *p.tokenEverywhere || len(pol.conf.Routes) == 0 && p.policyWantsToken(pol)
		}
	}
	wants := *p.tokenEverywhere
	for _, i := range p.byRoute[c.Name] {
		wants = wants || p.policyWantsToken(p.snap.policies[i])
	}
	for _, t := range e.targets {
		wants = wants || t.pool.hashOn >= 0 && p.fromToken(t.pool.hashOn)
	}
	for _, list := range [][]headerTemplate{e.request.add, e.response.add} {
		for i := range list {
			wants = wants || p.templateWantsToken(list[i].value)
		}
	}
	if q := e.rewrite.query; q != nil {
		for i := range q.add {
			wants = wants || p.templateWantsToken(q.add[i].value)
		}
	}
	wants = wants || p.recodeWantsToken(e.recode)
	dims := []int{p.snap.room.by}
	if e.cache != nil {
		dims = append(dims, e.cache.key...)
	}
	if e.pacing != nil {
		dims = append(dims, e.pacing.by)
	}
	for _, d := range dims {
		wants = wants || d >= 0 && p.fromToken(d)
	}
	if u := e.urgency; u != nil {
		wants = wants || u.from == fromJWT || u.prog != nil && slices.ContainsFunc(u.prog.Uses(), p.fromToken)
	}
	if c.Match.When != "" {
		if prog, err := p.env.Compile(c.Match.When, expr.Bool); err == nil {
			wants = wants || slices.ContainsFunc(prog.Uses(), p.fromToken)
		}
	}
	return wants || p.templateWantsToken(e.redirect)
}

func (p *compiler) templateWantsToken(t template) bool {
	return slices.ContainsFunc(t, func(part part) bool { return part.dim >= 0 && p.fromToken(part.dim) })
}

// policyWantsToken reports whether which bucket a policy uses, or whether it applies, may depend on a token.
func (p *compiler) policyWantsToken(pol *policy) bool {
	progs := []*expr.Program{pol.when, pol.cost}
	if pol.choose != nil {
		for i := range pol.conf.Overrides {
			if prog, err := p.env.Compile(pol.conf.Overrides[i].When, expr.Bool); err == nil {
				progs = append(progs, prog)
			}
		}
	}
	for _, prog := range progs {
		if prog != nil && slices.ContainsFunc(prog.Uses(), p.fromToken) {
			return true
		}
	}
	if pol.settle != nil && slices.ContainsFunc(pol.settle.Uses(), p.fromToken) {
		return true
	}
	return slices.ContainsFunc(pol.dims, p.fromToken) || pol.parent != nil && p.policyWantsToken(pol.parent)
}

// fromToken reports whether a dimension depends on a token.
func (p *compiler) fromToken(dim int) bool {
	d := &p.snap.dims[dim]
	return d.from == fromJWT || d.prog != nil && slices.ContainsFunc(d.prog.Uses(), p.fromToken)
}

// recodeWantsToken reports whether what is put into bodies may depend on a token.
func (p *compiler) recodeWantsToken(r *recode) bool {
	if r == nil {
		return false
	}
	for _, d := range []*document{r.request, r.answer} {
		if d == nil {
			continue
		}
		for _, dim := range d.names {
			if dim >= 0 && p.fromToken(dim) {
				return true
			}
		}
	}
	return false
}
