package body

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// template is text with ${names} in it, compiled to parts.
type template []part

type part struct {
	text string // JSON-escaped; or
	name string // what stands between the braces
}

func parseTemplate(s string) (template, error) {
	var t template
	var text []byte
	flush := func() {
		if len(text) > 0 {
			t = append(t, part{text: string(appendEscaped(nil, string(text)))})
			text = text[:0]
		}
	}
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			text = append(text, s...)
			flush()
			return t, nil
		}
		if i > 0 && s[i-1] == '$' {
			text = append(append(text, s[:i-1]...), "${"...)
			s = s[i+2:]
			continue
		}
		name, rest, ok := strings.Cut(s[i+2:], "}")
		if !ok || name == "" {
			return nil, errors.New("the text has a ${ without a name and }; write $${ for ${ itself")
		}
		text = append(text, s[:i]...)
		flush()
		t = append(t, part{name: name})
		s = rest
	}
}

// most is how many bytes the value of the template has at most: a byte becomes six where it is escaped.
func (t template) most(fill func(string) (string, bool)) int {
	n := len(`null`)
	for i := range t {
		n += len(t[i].text)
		if t[i].name != "" && fill != nil {
			v, _ := fill(t[i].name)
			n += 6 * len(v)
		}
	}
	return n
}

// append appends the JSON value of the template.
func (t template) append(dst []byte, fill func(string) (string, bool)) []byte {
	start := len(dst)
	dst = append(dst, '"')
	for i := range t {
		p := &t[i]
		if p.name == "" {
			dst = append(dst, p.text...)
			continue
		}
		v, ok := "", false
		if fill != nil {
			v, ok = fill(p.name)
		}
		if !ok && len(t) == 1 {
			return append(dst[:start], "null"...)
		}
		if ok {
			dst = appendEscaped(dst, v)
		}
	}
	return append(dst, '"')
}

// appendEscaped appends s as the inside of a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendEscaped(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[from:i]...), "\ufffd"...)
				from = i + 1
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
			i++
			continue
		}
		dst = append(dst, s[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	return append(dst, s[from:]...)
}
