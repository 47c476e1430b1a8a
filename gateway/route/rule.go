package route

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Head is what a request shows of itself before its body. Strings may be views that die when the request ends.
type Head interface {
	Method() string
	Host() string                      // lower case, without port; an IPv6 address in brackets
	Path() string                      // normalised (see Normalize), without query
	Header(name string) (string, bool) // first value; name in canonical lower case
	Query(name string) (string, bool)  // first value, percent-decoded
}

// A FieldMatch asks for a header field or a query parameter: present, or with exactly Value if Exact, or with a match of
// Regex (RE2, anywhere in the value) if that is not empty. Header names are taken in any case, query names exactly.
type FieldMatch struct {
	Name, Value string
	Regex       string
	Exact       bool
}

// A Rule says which requests are its own: those for which all that it gives holds.
type Rule struct {
	Hosts   []string // "api.example.com", "*.example.org" (any depth below, not itself); none: all
	Path    string   // see the package comment; "" is every path
	Methods []string // none: all; GET implies HEAD
	Headers []FieldMatch
	Query   []FieldMatch
	When    func(Head) bool // nil: always. Must be pure: it may be asked although an earlier rule then wins
}

// A RuleError says which field of which rule Compile did not take.
type RuleError struct {
	Rule  int    // index into the rules
	Field string // hosts[0], path, methods[1], headers[0].name, headers[0].regex, query[2].value …
	Err   error
}

func (e *RuleError) Error() string { return fmt.Sprintf("rule %d: %s: %v", e.Rule, e.Field, e.Err) }

// Unwrap returns Err.
func (e *RuleError) Unwrap() error { return e.Err }

// A rule is a compiled Rule: its host and path place it in the table, the rest is asked one by one.
type rule struct {
	hosts   []host
	path    pattern
	methods []string
	headers []field
	query   []field
	when    func(Head) bool
}

type host struct {
	name     string // lower case; of a wildcard what follows "*."
	wildcard bool
}

type field struct {
	name, value string
	re          *regexp.Regexp // nil: value decides if exact, else presence
	exact       bool
}

// compileRule returns r ready to ask, and every fault it has.
func compileRule(index int, r Rule) (rule, error) {
	c := rule{when: r.When}
	var errs []error
	fault := func(err error, field string, args ...any) {
		if err != nil {
			errs = append(errs, &RuleError{index, fmt.Sprintf(field, args...), err})
		}
	}
	for i, h := range r.Hosts {
		name, wildcard, err := parseHost(h)
		fault(err, "hosts[%d]", i)
		c.hosts = append(c.hosts, host{name, wildcard})
	}
	var err error
	c.path, err = parsePath(r.Path)
	fault(err, "path")
	for i, m := range r.Methods {
		fault(checkMethod(m), "methods[%d]", i)
		c.methods = append(c.methods, strings.Clone(m))
	}
	if slices.Contains(c.methods, "GET") && !slices.Contains(c.methods, "HEAD") {
		c.methods = append(c.methods, "HEAD")
	}
	for i, m := range r.Headers {
		m.Name = strings.ToLower(m.Name)
		f, part, err := compileField(m)
		if err == nil && !isToken(m.Name) {
			part, err = "name", fmt.Errorf("%q is not a header name: letters, digits and !#$%%&'*+-.^_`|~", m.Name)
		}
		fault(err, "headers[%d].%s", i, part)
		c.headers = append(c.headers, f)
	}
	for i, m := range r.Query {
		f, part, err := compileField(m)
		fault(err, "query[%d].%s", i, part)
		c.query = append(c.query, f)
	}
	return c, errors.Join(errs...)
}

// compileField returns m ready to ask, or the part of it that is wrong.
func compileField(m FieldMatch) (f field, part string, err error) {
	f = field{name: m.Name, value: m.Value, exact: m.Exact}
	switch {
	case m.Name == "":
		return f, "name", errors.New("name is empty: say which field must be there")
	case m.Regex != "" && m.Exact:
		return f, "regex", errors.New("value and regex are both given: leave one out")
	case m.Value != "" && !m.Exact:
		return f, "value", errors.New("a value is given but not asked for exactly: set Exact")
	case m.Regex != "":
		if f.re, err = regexp.Compile(m.Regex); err != nil {
			return f, "regex", fmt.Errorf("%q is not a regular expression (RE2): %w", m.Regex, err)
		}
	}
	return f, "", nil
}

func checkMethod(m string) error {
	switch {
	case !isToken(m):
		return fmt.Errorf("%q is not a method: write GET, POST, PUT, …", m)
	case m != strings.ToUpper(m) && slices.Contains(wellKnown, strings.ToUpper(m)):
		return fmt.Errorf("method %q never comes, as methods are case-sensitive: write %q", m, strings.ToUpper(m))
	}
	return nil
}

var wellKnown = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"}

// isToken reports whether s is a token of RFC 9110, 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// accepts reports whether h, which the rule's hosts and segments match, has all the rest. path is folded.
func (r *rule) accepts(h Head, path string) bool {
	if len(r.methods) > 0 && !slices.Contains(r.methods, h.Method()) {
		return false
	}
	for i := range r.headers {
		if v, ok := h.Header(r.headers[i].name); !ok || !r.headers[i].accepts(v) {
			return false
		}
	}
	for i := range r.query {
		if v, ok := h.Query(r.query[i].name); !ok || !r.query[i].accepts(v) {
			return false
		}
	}
	if r.path.re != nil && !r.path.re.MatchString(path) {
		return false
	}
	return r.when == nil || r.when(h)
}

func (f *field) accepts(value string) bool {
	switch {
	case f.re != nil:
		return f.re.MatchString(value)
	case f.exact:
		return value == f.value
	}
	return true
}
