package compress

import (
	"fmt"
	"slices"
	"strings"
)

// DefaultTypes are media types that are large as text and not compressed by themselves. Server-sent events are not among
// them: each stream would hold an encoder for as long as it lasts.
var DefaultTypes = []string{
	"text/html", "text/css", "text/plain", "text/javascript", "text/xml", "text/csv", "text/markdown",
	"application/json", "application/*+json", "application/x-ndjson", "application/javascript", "application/xml", "application/*+xml",
	"application/wasm", "application/yaml", "image/svg+xml",
}

// DefaultMinimum is the length in bytes below which compression saves no packet.
const DefaultMinimum = 1024

// Rules say which responses may be compressed. They are immutable and safe for concurrent use.
type Rules struct {
	types   []mediaType
	minimum int64
}

// mediaType is a/b, a/* or a/*+b.
type mediaType struct {
	prefix, suffix string
	whole          bool // nothing stands between the two
}

// NewRules returns rules for responses of the given media types ("text/html", "text/*", "application/*+json") whose length, where
// it is known, is at least minimum bytes.
func NewRules(types []string, minimum int64) (*Rules, error) {
	if minimum < 0 {
		return nil, fmt.Errorf("a minimum of %d bytes is none", minimum)
	}
	r := &Rules{minimum: minimum}
	for _, t := range types {
		top, sub, ok := strings.Cut(t, "/")
		suffix, wild := strings.CutPrefix(sub, "*")
		if !ok || !token(top) || strings.Contains(top, "*") || strings.Contains(suffix, "*") ||
			!wild && !token(sub) || wild && suffix != "" && (suffix[0] != '+' || !token(suffix[1:])) {
			return nil, fmt.Errorf("%q is no media type; write text/html, text/* or application/*+json", t)
		}
		m := mediaType{prefix: top + "/", suffix: suffix}
		if !wild {
			m = mediaType{prefix: t, whole: true}
		}
		r.types = append(r.types, m)
	}
	return r, nil
}

// Response is what the rules look at. Fields are as they came, "" if they did not.
type Response struct {
	Status       int
	Head         bool   // it answers HEAD
	Type         string // Content-Type
	Encoding     string // Content-Encoding
	Range        string // Content-Range
	CacheControl string
	Length       int64 // of the body, -1 if it is not known
}

// Suitable reports whether a response may be compressed, for a client that likes it: it has a body which is whole (not 1xx,
// 204, 205, 206, 304, nor the answer to HEAD), of a type and length that the rules name, not encoded yet, and nobody
// forbids to transform it. A request can forbid that too: see [NoTransform]. No allocation.
func (r *Rules) Suitable(resp *Response) bool {
	switch s := resp.Status; {
	case s < 200, s == 204, s == 205, s == 206, s == 304, resp.Head, resp.Range != "":
		return false
	case resp.Length >= 0 && (resp.Length < r.minimum || resp.Length == 0):
		return false
	case resp.Encoding != "" && !strings.EqualFold(trim(resp.Encoding), "identity"):
		return false
	}
	return r.names(resp.Type) && !NoTransform(resp.CacheControl)
}

func (r *Rules) names(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	t = trim(t)
	return slices.ContainsFunc(r.types, func(m mediaType) bool {
		if m.whole {
			return strings.EqualFold(t, m.prefix)
		}
		rest := len(t) - len(m.prefix)
		return rest > len(m.suffix) && strings.EqualFold(t[:len(m.prefix)], m.prefix) && strings.EqualFold(t[len(t)-len(m.suffix):], m.suffix)
	})
}

// NoTransform reports whether a Cache-Control, of a request or a response, has the directive no-transform (RFC 9111, 5.2.1.6
// and 5.2.2.6).
func NoTransform(cacheControl string) bool {
	for rest := cacheControl; rest != ""; {
		var d string
		d, rest = directive(rest)
		name, _, _ := strings.Cut(d, "=")
		if strings.EqualFold(trim(name), "no-transform") {
			return true
		}
	}
	return false
}

// directive cuts s behind its first element; a comma within quotes does not end one.
func directive(s string) (first, rest string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case quoted && s[i] == '\\':
			i++
		case !quoted && s[i] == ',':
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
