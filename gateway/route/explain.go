package route

import (
	"fmt"
	"slices"
	"strings"
)

// A Step is a rule that was considered for a request, and what came of it.
type Step struct {
	Rule    int
	Matched bool
	Why     string // what did not hold; "" if Matched
}

// Explain returns the rules whose hosts and path match h, in order, each with the first of its other conditions that
// did not hold, up to and with the one that Match returns. It asks rule after rule, without the index, and allocates:
// it is for people.
func (t *Table) Explain(h Head) []Step {
	var steps []Step
	host, path := strings.TrimSuffix(h.Host(), "."), fold(h.Path())
	for i := range t.rules {
		r := &t.rules[i]
		if !r.hasHost(host) || !r.path.matches(path) {
			continue
		}
		why := r.refuses(h)
		steps = append(steps, Step{Rule: i, Matched: why == "", Why: why})
		if why == "" {
			break
		}
	}
	return steps
}

func (r *rule) hasHost(name string) bool {
	return len(r.hosts) == 0 || slices.ContainsFunc(r.hosts, func(h host) bool {
		below, ok := strings.CutSuffix(name, h.name)
		return ok && (below == "" && !h.wildcard || h.wildcard && len(below) > 1 && strings.HasSuffix(below, "."))
	})
}

func (p *pattern) matches(path string) bool {
	if p.re != nil {
		return p.re.MatchString(path)
	}
	if !strings.HasPrefix(path, "/") {
		return p.below && len(p.segments) == 0
	}
	got := strings.Split(path[1:], "/")
	if len(got) < len(p.segments) || len(got) > len(p.segments) && !p.below {
		return false
	}
	for i, seg := range p.segments {
		if seg.param && got[i] == "" || !seg.param && got[i] != seg.text {
			return false
		}
	}
	return true
}

// refuses returns the first condition besides hosts and path that h does not meet, or "".
func (r *rule) refuses(h Head) string {
	if len(r.methods) > 0 && !slices.Contains(r.methods, h.Method()) {
		return fmt.Sprintf("method %q is not one of %s", h.Method(), strings.Join(r.methods, ", "))
	}
	for i := range r.headers {
		v, ok := h.Header(r.headers[i].name)
		if why := r.headers[i].refuses(v, ok); why != "" {
			return "header " + why
		}
	}
	for i := range r.query {
		v, ok := h.Query(r.query[i].name)
		if why := r.query[i].refuses(v, ok); why != "" {
			return "query " + why
		}
	}
	if r.when != nil && !r.when(h) {
		return "when does not hold"
	}
	return ""
}

// refuses does not show the value, which may be a secret.
func (f *field) refuses(value string, ok bool) string {
	switch {
	case !ok:
		return f.name + " is missing"
	case f.accepts(value):
		return ""
	case f.re != nil:
		return fmt.Sprintf("%s does not match %q", f.name, f.re)
	}
	return fmt.Sprintf("%s is not %q", f.name, f.value)
}
