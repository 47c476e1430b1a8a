package gateway

import (
	"strings"

	"weir/config"
	"weir/internal/http1"
)

// template is text with ${names} in it, compiled to parts.
type template []part

type part struct {
	text string
	dim  int // dimension, or one of the below
}

const (
	partText  = -1
	partURI   = -2 // path and query as they came
	partQuery = -3
)

// compileTemplate splits s at its ${names}. $${ stands for ${. Unknown names were refused by config.
func compileTemplate(s string, dim func(name string) int) template {
	var t template
	text := func(v string) {
		if v == "" {
			return
		}
		if n := len(t); n > 0 && t[n-1].dim == partText {
			t[n-1].text += v
			return
		}
		t = append(t, part{text: v, dim: partText})
	}
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			text(s)
			return t
		}
		if i > 0 && s[i-1] == '$' {
			text(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		name, rest, ok := strings.Cut(s[i+2:], "}")
		if !ok {
			text(s)
			return t
		}
		text(s[:i])
		switch name {
		case "uri":
			t = append(t, part{dim: partURI})
		case "query":
			t = append(t, part{dim: partQuery})
		default:
			t = append(t, part{dim: dim(name)})
		}
		s = rest
	}
}

// append appends the text for x. A dimension that x does not have is empty.
func (t template) append(dst []byte, x *Exchange) []byte {
	for i := range t {
		switch p := &t[i]; p.dim {
		case partText:
			dst = append(dst, p.text...)
		case partURI:
			dst = append(dst, x.car.Path()...)
			if q := x.car.RawQuery(); q != "" {
				dst = append(dst, '?')
				dst = append(dst, q...)
			}
		case partQuery:
			dst = append(dst, x.car.RawQuery()...)
		default:
			v, _ := x.Dimension(p.dim)
			dst = appendClean(dst, v)
		}
	}
	return dst
}

// appendClean appends v without control bytes: a query parameter or a CEL expression may hold CR and LF once decoded.
func appendClean(dst []byte, v string) []byte {
	for i := 0; i < len(v); i++ {
		if c := v[i]; c >= 0x20 && c != 0x7f {
			dst = append(dst, c)
		}
	}
	return dst
}

// transform changes header fields: drop, then the new ones. A field that set replaces is dropped too.
type transform struct {
	drop []string // lower case
	add  []headerTemplate
}

type headerTemplate struct {
	name  string
	value template
}

func compileTransform(c *config.Transform, dim func(string) int) transform {
	var t transform
	for _, n := range c.Remove {
		t.drop = append(t.drop, strings.ToLower(n))
	}
	for _, h := range c.Set {
		t.drop = append(t.drop, strings.ToLower(h.Name))
	}
	for _, list := range [][]config.HeaderValue{c.Set, c.Add} {
		for _, h := range list {
			t.add = append(t.add, headerTemplate{h.Name, compileTemplate(h.Value, dim)})
		}
	}
	return t
}

func (t *transform) drops(name []byte) bool {
	for _, d := range t.drop {
		if len(d) == len(name) && http1.EqualFold(name, d) {
			return true
		}
	}
	return false
}

// append appends the new fields as header lines.
func (t *transform) append(dst []byte, x *Exchange) []byte {
	for i := range t.add {
		dst = append(dst, t.add[i].name...)
		dst = append(dst, ": "...)
		dst = t.add[i].value.append(dst, x)
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// appendPath appends the path that the upstream sees: what was matched, with the route's rewriting. It always starts with
// a slash, and what a regex makes of it is escaped where it must be.
func (r *rewrite) appendPath(dst []byte, path string) []byte {
	if !r.path() {
		return append(dst, path...)
	}
	if r.strip != "" && strings.HasPrefix(path, r.strip) {
		path = path[len(r.strip):]
	}
	if r.prefix != "" {
		path = strings.TrimSuffix(r.prefix, "/") + "/" + strings.TrimPrefix(path, "/")
	}
	if r.regex != nil {
		path = r.regex.ReplaceAllString(path, r.to)
	}
	if path == "" || path[0] != '/' {
		dst = append(dst, '/')
	}
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(path); i++ {
		if c := path[i]; c <= ' ' || c >= 0x7f || c == '?' || c == '#' {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}
