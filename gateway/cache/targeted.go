package cache

import "strings"

// targetedDirectives reads a targeted field (RFC 9213). It is a Dictionary of Structured Fields (RFC 9651); one that is empty
// or has any fault is as if it were not there. A member of a type that its directive does not have is left out; of several with
// the same key the last counts.
func targetedDirectives(r Fields, name string) (directives, bool) {
	v, ok := r.FieldValue(name, 0)
	if !ok {
		return blank, false
	}
	for i := 1; ; i++ {
		more, ok := r.FieldValue(name, i)
		if !ok {
			break
		}
		v += "," + more
	}
	var members []member
	p := parser{s: strings.Trim(v, " ")}
	for p.s != "" {
		m, ok := p.member()
		if !ok || !p.separator() {
			return blank, false
		}
		members = append(members, m)
	}
	d := blank
	d.targeted = true
	for i, m := range members {
		if !repeated(members[i+1:], m.key) {
			d.takeMember(m)
		}
	}
	return d, len(members) > 0
}

func repeated(later []member, key string) bool {
	for _, m := range later {
		if m.key == key {
			return true
		}
	}
	return false
}

// takeMember takes a directive. ?0 is one that is not there.
func (d *directives) takeMember(m member) {
	switch m.key {
	case "max-age", "s-maxage", "stale-while-revalidate", "stale-if-error":
		if m.kind == sfInteger {
			d.takeResponse(m.key, m.value, true)
		}
	case "no-cache", "private":
		switch m.kind {
		case sfTrue:
			d.takeResponse(m.key, "", false)
		case sfString:
			d.takeResponse(m.key, m.value, true)
		}
	default:
		if m.kind == sfTrue {
			d.takeResponse(m.key, "", false)
		}
	}
}

type sfKind uint8

const (
	sfOther sfKind = iota // decimals, tokens, bytes, dates, inner lists, false
	sfTrue
	sfInteger
	sfString
)

// A member of a dictionary. value is of an integer its digits, of a string what it says.
type member struct {
	key, value string
	kind       sfKind
}

// A parser of Structured Fields. What it has read is cut from s.
type parser struct{ s string }

func (p *parser) take(c byte) bool {
	if p.s != "" && p.s[0] == c {
		p.s = p.s[1:]
		return true
	}
	return false
}

func (p *parser) skip(set string) { p.s = strings.TrimLeft(p.s, set) }

// separator reads up to the next member, which must be there if there is a comma.
func (p *parser) separator() bool {
	p.skip(" \t")
	if p.s == "" {
		return true
	}
	if !p.take(',') {
		return false
	}
	p.skip(" \t")
	return p.s != ""
}

func (p *parser) key() (string, bool) {
	if p.s == "" || !(lower(p.s[0]) || p.s[0] == '*') {
		return "", false
	}
	return p.while(func(c byte) bool { return lower(c) || digit(c) || strings.IndexByte("_-.*", c) >= 0 }), true
}

func lower(c byte) bool { return 'a' <= c && c <= 'z' }
func digit(c byte) bool { return '0' <= c && c <= '9' }

func (p *parser) while(f func(byte) bool) string {
	i := 0
	for i < len(p.s) && f(p.s[i]) {
		i++
	}
	s := p.s[:i]
	p.s = p.s[i:]
	return s
}

func (p *parser) member() (m member, ok bool) {
	if m.key, ok = p.key(); !ok {
		return m, false
	}
	m.kind = sfTrue
	if p.take('=') {
		if p.take('(') {
			m.kind = sfOther
			if !p.innerList() {
				return m, false
			}
		} else if m.kind, m.value, ok = p.bare(); !ok {
			return m, false
		}
	}
	return m, p.params()
}

func (p *parser) innerList() bool {
	for {
		p.skip(" ")
		if p.take(')') {
			return true
		}
		if _, _, ok := p.bare(); !ok || !p.params() {
			return false
		}
		if p.s == "" || p.s[0] != ' ' && p.s[0] != ')' {
			return false
		}
	}
}

func (p *parser) params() bool {
	for p.take(';') {
		p.skip(" ")
		if _, ok := p.key(); !ok {
			return false
		}
		if p.take('=') {
			if _, _, ok := p.bare(); !ok {
				return false
			}
		}
	}
	return true
}

// bare reads a bare item.
func (p *parser) bare() (sfKind, string, bool) {
	if p.s == "" {
		return sfOther, "", false
	}
	switch c := p.s[0]; {
	case c == '"':
		v, ok := p.text()
		return sfString, v, ok
	case c == '?':
		yes := strings.HasPrefix(p.s, "?1")
		if !yes && !strings.HasPrefix(p.s, "?0") {
			return sfOther, "", false
		}
		p.s = p.s[2:]
		if yes {
			return sfTrue, "", true
		}
		return sfOther, "", true
	case c == ':':
		end := strings.IndexByte(p.s[1:], ':')
		if end < 0 {
			return sfOther, "", false
		}
		p.s = p.s[end+2:]
		return sfOther, "", true
	case c == '-' || digit(c):
		return p.number()
	case c == '@':
		p.s = p.s[1:]
		k, _, ok := p.number()
		return sfOther, "", ok && k != sfOther
	case lower(c) || 'A' <= c && c <= 'Z' || c == '*':
		p.while(func(c byte) bool { return tokenByte(c) || c == ':' || c == '/' })
		return sfOther, "", true
	}
	return sfOther, "", false
}

// number reads an integer or a decimal. A negative integer keeps its sign.
func (p *parser) number() (sfKind, string, bool) {
	sign := ""
	if p.take('-') {
		sign = "-"
	}
	n := p.while(digit)
	if n == "" || len(n) > 15 {
		return sfOther, "", false
	}
	if p.take('.') {
		part := p.while(digit)
		return sfOther, "", len(n) <= 12 && len(part) >= 1 && len(part) <= 3
	}
	return sfInteger, sign + n, true
}

// text reads a string.
func (p *parser) text() (string, bool) {
	var b []byte
	for i := 1; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == '"':
			p.s = p.s[i+1:]
			return string(b), true
		case c == '\\':
			if i++; i >= len(p.s) || p.s[i] != '"' && p.s[i] != '\\' {
				return "", false
			}
			b = append(b, p.s[i])
		case c < 0x20 || c > 0x7e:
			return "", false
		default:
			b = append(b, c)
		}
	}
	return "", false
}
