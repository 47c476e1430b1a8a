package gateway

import (
	"strings"

	"weir/config"
)

// sentMethod returns the method that endpoints get, which is what counts for who may send a request once more. What asks to leave HTTP, and
// OPTIONS *, mean something in their own method alone.
func (x *Exchange) sentMethod() string {
	m := x.car.Method()
	if w := x.route.rewrite.method; w != "" && x.car.Path() != "*" && !x.car.Upgrades() {
		return w
	}
	return m
}

// sentMethod is the exchange's, at no cost where the client's is sent.
func (x *h1) sentMethod() string {
	if x.Exchange.route.rewrite.method == "" {
		return view(x.req.Method())
	}
	return x.Exchange.sentMethod()
}

// expectsBody reports whether requests of a method have a body as a rule, so that the lack of one must be said (RFC 9110, section 8.6).
func expectsBody(method string) bool {
	switch method {
	case "POST", "PUT", "PATCH":
		return true
	}
	return false
}

// queryRewrite changes the query that endpoints see: drop, then the new parameters.
type queryRewrite struct {
	drop []string
	add  []queryTemplate
}

type queryTemplate struct {
	name  string // escaped
	value template
}

// compileQuery returns nil if nothing is to be changed.
func compileQuery(c *config.QueryRewrite, dim func(string) int) *queryRewrite {
	if len(c.Set)+len(c.Add)+len(c.Remove) == 0 {
		return nil
	}
	q := &queryRewrite{drop: c.Remove[:len(c.Remove):len(c.Remove)]}
	for _, v := range c.Set {
		q.drop = append(q.drop, v.Name)
	}
	for _, list := range [][]config.QueryValue{c.Set, c.Add} {
		for _, v := range list {
			q.add = append(q.add, queryTemplate{string(appendQueryEscaped(nil, v.Name)), compileTemplate(v.Value, dim)})
		}
	}
	return q
}

// append appends what becomes of the query of x, with its question mark, or nothing. A name that goes, goes with all that servers take for
// it, and with what stands beside it at a ; that is not escaped: some servers split there.
func (q *queryRewrite) append(dst []byte, x *Exchange) []byte {
	mark := byte('?')
	for query := x.car.RawQuery(); query != ""; {
		var piece string
		if piece, query = cutAt(query, '&'); piece != "" && !q.drops(piece) {
			dst = append(append(dst, mark), piece...)
			mark = '&'
		}
	}
	for i := range q.add {
		dst = append(append(dst, mark), q.add[i].name...)
		dst = append(dst, '=')
		x.frame = q.add[i].value.append(x.frame[:0], x)
		dst = appendQueryEscaped(dst, view(x.frame))
		mark = '&'
	}
	return dst
}

func (q *queryRewrite) drops(piece string) bool {
	for _, name := range q.drop {
		for rest := piece; rest != ""; {
			var part string
			part, rest = cutAt(rest, ';')
			if raw, _ := cutAt(part, '='); resemble(raw, name) != other {
				return true
			}
		}
		if raw, _ := cutAt(piece, '='); strings.IndexByte(raw, ';') >= 0 && resemble(raw, name) != other {
			return true
		}
	}
	return false
}

// appendQueryEscaped appends s as a name or a value of a parameter.
func appendQueryEscaped(dst []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		c := s[i]
		if '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '-' || c == '.' || c == '_' || c == '~' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}
