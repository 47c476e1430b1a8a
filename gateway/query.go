package gateway

import (
	"fmt"
	"slices"
	"strings"
)

// What clients could spell in two ways, so that the gateway counts one thing and the endpoint reads another: parameters, cookies.

// queryParam returns the first parameter of that name in a raw query, decoded as servers that are lenient do: + is a space, and a % that
// begins no byte is itself. It allocates only for values that need decoding.
func queryParam(raw, name string) (value string, ok bool) {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		k, v, _ := strings.Cut(pair, "=")
		if decode(k) == name {
			return decode(v), true
		}
	}
	return "", false
}

// decode decodes a name or a value of a query.
func decode(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			b = append(b, ' ')
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

func isHex(c byte) bool { return c-'0' < 10 || (c|0x20)-'a' < 6 }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return (c | 0x20) - 'a' + 10
}

// broken reports whether a % in s begins no byte.
func broken(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && (i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2])) {
			return true
		}
	}
	return false
}

// ambiguousParam returns the first of names that servers may read differently in a raw query: it stands there with two values, or
// beside a semicolon, which some take for a separator, or with a % that begins no byte; and why.
func ambiguousParam(raw string, names []string) (name, why string) {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		for first := true; pair != ""; first = false {
			var piece string
			var semicolon bool
			piece, pair, semicolon = strings.Cut(pair, ";")
			k, v, _ := strings.Cut(piece, "=")
			k = decode(k)
			if !slices.Contains(names, k) {
				continue
			}
			if semicolon || !first {
				return k, "stands beside a ; that is not escaped"
			}
			if broken(v) {
				return k, "has a % that begins no byte"
			}
			if other, again := queryParam(raw, k); again && other != decode(v) {
				return k, "is given twice"
			}
		}
	}
	return "", ""
}

// eachCookie calls yield with the cookies of a request in their order, those of several fields too (RFC 6265, section 5.4), without the
// quotes around values, until it returns false.
func eachCookie(x *Exchange, yield func(name, value string) bool) {
	x.car.EachField("cookie", func(list string) bool {
		for list != "" {
			var pair string
			pair, list, _ = strings.Cut(list, ";")
			k, v, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if !yield(k, strings.Trim(v, `"`)) {
				return false
			}
		}
		return true
	})
}

// cookie returns the value of the first cookie of that name.
func cookie(x *Exchange, name string) (value string) {
	eachCookie(x, func(k, v string) bool {
		if k == name {
			value = v
			return false
		}
		return true
	})
	return value
}

// ambiguous says why a request cannot be told whose it is: it has something that limits go by in two ways. "" if it does not.
func (x *Exchange) ambiguous() string {
	if params := x.snap.params; len(params) > 0 {
		if raw := x.car.RawQuery(); raw != "" {
			if name, why := ambiguousParam(raw, params); name != "" {
				return fmt.Sprintf("the parameter %q %s", name, why)
			}
		}
	}
	for _, name := range x.snap.cookies {
		value, seen, twice := "", false, false
		eachCookie(x, func(k, v string) bool {
			if k == name {
				twice = seen && v != value
				value, seen = v, true
			}
			return !twice
		})
		if twice {
			return fmt.Sprintf("the cookie %q is given twice", name)
		}
	}
	return ""
}
