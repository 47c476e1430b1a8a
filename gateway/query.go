package gateway

import (
	"strings"

	"weir/internal/http1"
)

// What a client sends can be read in more than one way: of a name that comes twice some servers take the first value, some the
// last; some split a query at ; too. The gateway counts one reading and sends all on, so that a request is refused if another
// reading of a name that the configuration reads would give something else. Names that nobody reads can be sent as ever.

// ambiguous says why servers may read something else of x than what is counted; "" if they do not.
func (x *Exchange) ambiguous() string {
	if names := x.snap.params; len(names) > 0 {
		if query := x.car.RawQuery(); query != "" {
			if name, why := ambiguousParam(query, names); why != "" {
				return "query parameter " + name + " " + why
			}
		}
	}
	if names := x.snap.cookies; len(names) > 0 {
		if list, ok := x.car.Field("cookie"); ok {
			for _, name := range names {
				if why := cookieFault(list, name); why != "" {
					return "cookie " + name + " " + why
				}
			}
		}
	}
	return ""
}

// presence stands before a name of which only matters whether it is there: values may differ. No name in a configuration begins with
// it, for that is UTF-8.
const presence = "\xff"

// ambiguousParam returns the first of names that servers may read differently in a query, and why. It takes one pass for each.
func ambiguousParam(query string, names []string) (name, why string) {
	for _, name := range names {
		name, repeats := strings.CutPrefix(name, presence)
		if why := paramFault(query, name, repeats); why != "" {
			return name, why
		}
	}
	return "", ""
}

const (
	faultTwice     = "comes more than once, with different values"
	faultBroken    = "is malformed: servers may read different values"
	faultSemicolon = "stands beside a ; that is not escaped"
	faultHidden    = "is spelled so that only some servers read it"
)

// readings are the values that servers may read for one name.
type readings struct {
	raw   string // the first
	any   bool   // there is one
	plain bool   // there is one that we read too
	plus  bool   // a + is a space
}

// add takes one more, and reports whether all are the same.
func (r *readings) add(raw string) (same bool) {
	if !r.any {
		r.raw, r.any = raw, true
		return true
	}
	return r.raw == raw || unescape(r.raw, r.plus) == unescape(raw, r.plus)
}

// paramFault says what is ambiguous about a name in a query, or nothing. If it repeats, it may have several values.
func paramFault(query, name string, repeats bool) string {
	r := readings{plus: true}
	for query != "" {
		var piece string
		piece, query = cutAt(query, '&')
		raw, value := cutAt(piece, '=')
		like := resemble(raw, name)
		r.plain = r.plain || like == same
		if like != other {
			if broken(value) {
				return faultBroken
			}
			if !r.add(value) && !repeats {
				return faultTwice
			}
		}
		if strings.IndexByte(piece, ';') < 0 {
			continue
		}
		for piece != "" { // as a server reads it that splits at ; too
			var part string
			part, piece = cutAt(piece, ';')
			raw, value := cutAt(part, '=')
			if resemble(raw, name) != other && (broken(value) || !r.add(value)) {
				return faultSemicolon
			}
		}
	}
	if r.any && !r.plain {
		return faultHidden
	}
	return ""
}

// cutAt is strings.Cut for one byte.
func cutAt(s string, c byte) (before, after string) {
	if i := strings.IndexByte(s, c); i >= 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// queryParam returns the first value of a parameter, as the URL standard splits and decodes a query: at &, with a bad % as it is. A
// value that needs no decoding is a view. There is no limit on how many parameters a query has.
func queryParam(query, name string) (value string, ok bool) {
	for query != "" {
		var piece string
		piece, query = cutAt(query, '&')
		if raw, value := cutAt(piece, '='); resemble(raw, name) == same {
			return unescape(value, true), true
		}
	}
	return "", false
}

// likeness is how a raw name compares with one that is read.
type likeness uint8

const (
	other likeness = iota
	alike          // some servers take it for the name
	same
)

// resemble compares a raw name of a parameter with a name that is read. Alike is what PHP makes the same of it: it drops leading
// spaces, reads space, dot and an open bracket as _, and ends a name at NUL; the list forms name[] and name[0], which many read; and
// brackets that have no partner or no name before them, which qs and Rack drop: [name], [name, name].
func resemble(raw, name string) likeness {
	if is := spells(raw, name); is != other {
		return is
	}
	at := 0
	for at < len(raw) {
		c, n := decode(raw, at, true)
		if c != ' ' && c != '[' && c != ']' {
			break
		}
		at += n
	}
	if at > 0 && spells(raw[at:], name) != other {
		return alike
	}
	return other
}

// spells is resemble for a raw name from which nothing is dropped at the front.
func spells(raw, name string) likeness {
	is, i := same, 0
	for at := 0; at < len(raw); {
		c, n := decode(raw, at, true)
		at += n
		if i == len(name) {
			if c == '[' || c == ']' || c == 0 {
				return alike
			}
			return other
		}
		switch {
		case c == name[i]:
		case joins(c) && joins(name[i]):
			is = alike
		default:
			return other
		}
		i++
	}
	if i < len(name) {
		return other
	}
	return is
}

func joins(c byte) bool { return c == '_' || c == '.' || c == ' ' || c == '[' }

// decode returns the byte at s[at], and how many of s it takes.
func decode(s string, at int, plus bool) (c byte, n int) {
	switch c = s[at]; {
	case c == '+' && plus:
		return ' ', 1
	case c == '%' && at+2 < len(s):
		hi, lo := unhex(s[at+1]), unhex(s[at+2])
		if hi|lo <= 0xf {
			return hi<<4 | lo, 3
		}
	}
	return c, 1
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 0xff
}

// unescape decodes s; one that needs no decoding is returned as it is.
func unescape(s string, plus bool) string {
	if strings.IndexByte(s, '%') < 0 && (!plus || strings.IndexByte(s, '+') < 0) {
		return s
	}
	b := make([]byte, 0, len(s))
	for at := 0; at < len(s); {
		c, n := decode(s, at, plus)
		b = append(b, c)
		at += n
	}
	return view(b)
}

// broken reports whether s has a % that encodes nothing, or NUL, at which some servers end a string, or ]=, up to which qs reads the name.
func broken(s string) bool {
	if strings.Contains(s, "]=") {
		return true
	}
	for {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			return false
		}
		c, n := decode(s, i, false)
		if n == 1 || c == 0 {
			return true
		}
		s = s[i+n:]
		if c == ']' && s != "" && s[0] == '=' {
			return true
		}
	}
}

// cookie returns the value of the first cookie of that name (RFC 6265, section 5.4), without the quotes around it and
// percent-decoded, as many servers do: else each spelling of a value would have a bucket of its own.
func cookie(x *Exchange, name string) string {
	list, ok := x.car.Field("cookie")
	if !ok {
		return ""
	}
	for list != "" {
		var pair string
		pair, list = cutAt(list, ';')
		if raw, value := cutAt(pair, '='); trim(raw) == name {
			value, _ = unquote(value)
			return unescape(value, false)
		}
	}
	return ""
}

// cookieFault says what is ambiguous about a cookie in a list, or nothing.
func cookieFault(list, name string) string {
	var r readings
	for list != "" {
		var pair string
		pair, list = cutAt(list, ';')
		raw, value := cutAt(pair, '=')
		raw = trim(raw)
		r.plain = r.plain || raw == name
		if raw == name || resemble(raw, name) != other {
			value, ok := unquote(value)
			switch {
			case !ok:
				return faultBroken
			case !r.add(value):
				return faultTwice
			}
		} else if hides(pair, name) {
			return faultHidden
		}
	}
	if r.any && !r.plain {
		return faultHidden
	}
	return ""
}

// hides reports whether a server that also splits cookies at a comma or a blank would find name in pair.
func hides(pair, name string) bool {
	for at := 0; ; {
		i := strings.Index(pair[at:], name)
		if i < 0 || name == "" {
			return false
		}
		i += at
		at = i + len(name)
		rest := pair[at:]
		for rest != "" && blank(rest[0]) {
			rest = rest[1:]
		}
		if i > 0 && (blank(pair[i-1]) || pair[i-1] == ',') && rest != "" && rest[0] == '=' {
			return true
		}
	}
}

// unquote returns a cookie's value without blanks and quotes around it. It is not ok if servers disagree on where it ends, or
// what an escape in it means.
func unquote(s string) (value string, ok bool) {
	s = trim(s)
	quoted := len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"'
	s = strings.Trim(s, `"`)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			return s, false
		case (blank(c) || c == ',') && !quoted:
			return s, false
		case c == '%' && i+2 < len(s) && s[i+1] == '0' && s[i+2] == '0':
			return s, false
		}
	}
	return s, true
}

// trim removes what one server or another takes for blanks.
func trim(s string) string {
	for s != "" && (blank(s[0]) || s[0] == 0x85 || s[0] == 0xa0) {
		s = s[1:]
	}
	for s != "" && (blank(s[len(s)-1]) || s[len(s)-1] == 0x85 || s[len(s)-1] == 0xa0) {
		s = s[:len(s)-1]
	}
	return s
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// plainSign reports whether c means the same in a header name to all servers.
func plainSign(c byte) bool {
	return c == '-' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// mistakable reports whether a server that reads signs in header names as one would take name for field, which is in lower
// case and another.
func mistakable(name []byte, field string) bool {
	if len(name) != len(field) {
		return false
	}
	for i, c := range name {
		f := field[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != f && (plainSign(c) && c != '-' || plainSign(f) && f != '-') {
			return false
		}
	}
	return true
}

// miscased reports whether a method is a well-known one but for its case. Methods are case-sensitive, but not to every server.
func miscased(method string) bool {
	for _, known := range [...]string{"get", "head", "post", "put", "patch", "delete", "options", "trace", "connect", "query"} {
		if len(method) == len(known) && http1.EqualFold(method, known) {
			return strings.ContainsFunc(method, func(r rune) bool { return 'a' <= r && r <= 'z' })
		}
	}
	return false
}
