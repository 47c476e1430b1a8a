package route

import (
	"bytes"
	"errors"
)

// What Normalize refuses. All of them are a client's fault (400).
var (
	ErrNotAbsolute  = errors.New("path does not begin with a slash")
	ErrAboveRoot    = errors.New("path climbs above the root")
	ErrEncodedSlash = errors.New("path has an encoded slash (%2F)")
	ErrBackslash    = errors.New(`path has a backslash (\ or %5C)`)
	ErrNUL          = errors.New("path has a NUL byte")
	ErrControl      = errors.New("path has a control byte")
	ErrBadEscape    = errors.New("path has a % that two hexadecimal digits do not follow")
	ErrBadByte      = errors.New("path has a byte that must be percent-encoded")
	ErrDotParameter = errors.New("path has a dot segment with parameters (..;)")
)

// What a byte of a raw path is.
const (
	byteBad     = iota // not a character of a URI's path
	byteControl        // 0x01 to 0x1F, 0x7F
	byteNUL
	byteBackslash
	byteReserved   // stands for itself; its escape is another spelling that is kept
	byteUnreserved // stands for itself, and so does its escape
	byteSlash
	bytePercent
)

var classes = classify()

func classify() (c [256]uint8) {
	for b := range 0x20 {
		c[b] = byteControl
	}
	c[0x7F], c[0], c['\\'], c['/'], c['%'] = byteControl, byteNUL, byteBackslash, byteSlash, bytePercent
	// RFC 3986 has no [ and ] in a path, but they are URI characters, and browsers send them as they are.
	for _, b := range []byte(reserved) {
		c[b] = byteReserved
	}
	for _, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") {
		c[b] = byteUnreserved
	}
	return c
}

// reserved are the characters that may stand for themselves in a path segment although they are reserved.
const reserved = "!$&'()*+,;=:@[]"

// Normalize returns the normalised form of a raw request path (origin-form, without query), which is what routes match
// and what is forwarded: dot segments removed, runs of "/" merged, escapes of unreserved characters decoded, the other
// escapes in upper case (RFC 3986, 6.2.2; "//" is merged first, as nginx does). The form is never longer than raw, and
// normalising it again changes nothing.
//
// A path that is normal already is returned as it is: no copy, no allocation. Otherwise the form overwrites dst[:0],
// which grows if it has to; dst may be raw[:0]. After an error dst holds garbage.
//
// Refused is what servers are known to read in more than one way: an encoded "/", "\" plain or encoded, NUL and control
// bytes plain or encoded, broken escapes, bytes that are no URI characters, "..;" and ".;" segments (some servers cut
// the parameter off and climb). A ".." above the root is refused as well, as nginx does, where RFC 3986 would drop it:
// honest clients resolve dot segments before they send, and what remains is a probe.
func Normalize(dst, raw []byte) (path []byte, err error) {
	if len(raw) == 0 || raw[0] != '/' {
		return nil, ErrNotAbsolute
	}
	if normal(raw) {
		return raw, nil
	}
	return rewrite(dst[:0], raw)
}

// normal reports whether raw, which begins with "/", is valid and its own normalised form.
func normal(raw []byte) bool {
	for i := 0; i < len(raw); i++ {
		switch classes[raw[i]] {
		case byteUnreserved, byteReserved:
		case byteSlash:
			if i+1 < len(raw) && (raw[i+1] == '/' || raw[i+1] == '.') && !plainSegment(raw[i+1:]) {
				return false
			}
		case bytePercent:
			if !normalEscape(raw[i:]) {
				return false
			}
			i += 2
		default:
			return false
		}
	}
	return true
}

// plainSegment reports whether the segment at the head of s needs no removal. s begins with "/" or ".".
func plainSegment(s []byte) bool {
	dots := 0
	for dots < len(s) && s[dots] == '.' {
		dots++
	}
	return dots > 2 || dots > 0 && dots < len(s) && s[dots] != '/' && s[dots] != ';' && s[dots] != '%'
}

// normalEscape reports whether the escape at the head of s is one that stays, in upper case.
func normalEscape(s []byte) bool {
	if len(s) < 3 || isLowerHex(s[1]) || isLowerHex(s[2]) {
		return false
	}
	b, ok := unescape(s)
	return ok && (classes[b] == byteBad || classes[b] == byteReserved || classes[b] == bytePercent)
}

// rewrite appends the normalised form of raw to dst, one segment after the other. It never writes past what it has
// read, so dst may share raw's memory.
func rewrite(dst, raw []byte) ([]byte, error) {
	var err error
	for i := 0; i < len(raw); {
		dst = append(dst, '/')
		start := len(dst)
		if dst, i, err = appendSegment(dst, raw, i+1); err != nil {
			return nil, err
		}
		last := i == len(raw)
		segment := dst[start:]
		switch {
		case len(segment) == 0 || string(segment) == ".":
			dst = dst[:start]
		case string(segment) == "..":
			if start == 1 {
				return nil, ErrAboveRoot
			}
			dst = dst[:bytes.LastIndexByte(dst[:start-1], '/')+1]
		case bytes.HasPrefix(segment, []byte(".;")) || bytes.HasPrefix(segment, []byte("..;")):
			return nil, ErrDotParameter
		default:
			continue
		}
		if !last { // the next segment brings its own slash
			dst = dst[:len(dst)-1]
		}
	}
	return dst, nil
}

// appendSegment appends the segment of raw that begins at i, and returns where it ends.
func appendSegment(dst, raw []byte, i int) ([]byte, int, error) {
	for i < len(raw) && raw[i] != '/' {
		b := raw[i]
		class := classes[b]
		if class != bytePercent {
			if class != byteUnreserved && class != byteReserved {
				return nil, 0, refusal(class)
			}
			dst = append(dst, b)
			i++
			continue
		}
		b, ok := unescape(raw[i:])
		if !ok {
			return nil, 0, ErrBadEscape
		}
		switch classes[b] {
		case byteUnreserved:
			dst = append(dst, b)
		case byteReserved, byteBad, bytePercent:
			dst = append(dst, '%', upperHex[b>>4], upperHex[b&15])
		case byteSlash:
			return nil, 0, ErrEncodedSlash
		default:
			return nil, 0, refusal(classes[b])
		}
		i += 3
	}
	return dst, i, nil
}

func refusal(class uint8) error {
	switch class {
	case byteNUL:
		return ErrNUL
	case byteControl:
		return ErrControl
	case byteBackslash:
		return ErrBackslash
	}
	return ErrBadByte
}

const upperHex = "0123456789ABCDEF"

// unescape decodes the %XX at the head of s.
func unescape[T []byte | string](s T) (b byte, ok bool) {
	if len(s) < 3 {
		return 0, false
	}
	hi, lo := hexValue(s[1]), hexValue(s[2])
	return byte(hi<<4 | lo), hi >= 0 && lo >= 0
}

func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

func isLowerHex(c byte) bool { return c >= 'a' && c <= 'f' }
