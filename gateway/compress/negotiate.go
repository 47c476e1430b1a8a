package compress

import (
	"fmt"
	"strings"
)

// Coding is a content coding.
type Coding uint8

// The codings. Identity is none.
const (
	Identity Coding = iota
	Gzip
	Brotli
	Zstd
	codings
)

// String returns the coding as Content-Encoding has it.
func (c Coding) String() string {
	switch c {
	case Identity:
		return "identity"
	case Gzip:
		return "gzip"
	case Brotli:
		return "br"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("coding %d", uint8(c))
}

// ParseCoding returns the coding of a name, in any case. x-gzip is gzip (RFC 9110, 8.4.1.3).
func ParseCoding(name string) (Coding, bool) {
	for c := range codings {
		if strings.EqualFold(name, c.String()) {
			return c, true
		}
	}
	return Gzip, strings.EqualFold(name, "x-gzip")
}

// unlisted is the weight of what a field does not name.
const unlisted = -1

// Negotiate returns the coding to use for a request's Accept-Encoding (RFC 9110, 12.5.3; several fields joined by commas): of those preferred
// the one with the highest weight, the first one among equals, or Identity. Identity is chosen over a coding only if the
// client named it, or "*", with a higher weight. It is also the answer to no field, to one that is not as the RFC writes it,
// and where nothing else is acceptable, even if the client refuses it: any answer is better than none.
// The last weight of a name given twice counts. O(len), no allocation.
func Negotiate(acceptEncoding string, preferred []Coding) Coding {
	if acceptEncoding == "" || len(preferred) == 0 {
		return Identity
	}
	w := [codings]int{unlisted, unlisted, unlisted, unlisted}
	star := unlisted
	for rest, more := acceptEncoding, true; more; {
		var e string
		e, rest, more = strings.Cut(rest, ",")
		e = trim(e)
		if e == "" {
			continue // an empty element counts for nothing (RFC 9110, 5.6.1.2)
		}
		name, weight, ok := element(e)
		if !ok {
			return Identity
		}
		if name == "*" {
			star = weight
		} else if c, ok := ParseCoding(name); ok {
			w[c] = weight
		}
	}
	for c := range w {
		if w[c] == unlisted {
			w[c] = star
		}
	}
	best, most := Identity, max(0, w[Identity])
	for _, c := range preferred {
		if c < codings && w[c] > 0 && (w[c] > most || w[c] == most && best == Identity) {
			best, most = c, w[c]
		}
	}
	return best
}

// element parses `name` or `name;q=0.5`. Weights are in thousandths.
func element(e string) (name string, weight int, ok bool) {
	name, q, weighted := strings.Cut(e, ";")
	name = trim(name)
	if !token(name) {
		return "", 0, false
	}
	if !weighted {
		return name, 1000, true
	}
	q = trim(q)
	if len(q) < 2 || q[0]|0x20 != 'q' || q[1] != '=' {
		return "", 0, false
	}
	weight, ok = qvalue(q[2:])
	return name, weight, ok
}

// qvalue parses 0, 1, 0.5, 0.123, 1.000 (RFC 9110, 12.4.2).
func qvalue(s string) (int, bool) {
	if s == "" || s[0] != '0' && s[0] != '1' || len(s) > 5 || len(s) > 1 && s[1] != '.' {
		return 0, false
	}
	v := int(s[0]-'0') * 1000
	for i, unit := 2, 100; i < len(s); i, unit = i+1, unit/10 {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		v += int(s[i]-'0') * unit
	}
	return v, v <= 1000
}

func trim(s string) string { return strings.Trim(s, " \t") }

// token reports whether s is a token (RFC 9110, 5.6.2).
func token(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return s != ""
}
