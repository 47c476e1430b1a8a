package body

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// The scanner checks the grammar of RFC 8259. Each function takes the place in src to begin at and returns the first one
// behind what it read, or an error.

// skipSpace returns the first place at or behind i that is not white space.
func skipSpace(src []byte, i int) int {
	for i < len(src) {
		switch src[i] {
		case ' ', '\t', '\n', '\r':
			i++
		default:
			return i
		}
	}
	return i
}

// skipValue skips the value that begins at i, which stands in depth containers. It does not recurse.
func skipValue(src []byte, i, depth int) (int, error) {
	outer, objects := depth, uint64(0) // bit d-1 of objects: the container at depth d is one
	for {
		var err error
		if i >= len(src) {
			return i, ErrInvalid
		}
		if c := src[i]; c == '{' || c == '[' {
			if depth == MaxDepth {
				return i, ErrDepth
			}
			depth++
			i = skipSpace(src, i+1)
			if c == '[' {
				objects &^= 1 << (depth - 1)
				if i < len(src) && src[i] != ']' {
					continue
				}
			} else {
				objects |= 1 << (depth - 1)
				if i < len(src) && src[i] != '}' {
					if i, err = skipName(src, i); err != nil {
						return i, err
					}
					continue
				}
			}
		} else {
			if i, err = skipScalar(src, i); err != nil {
				return i, err
			}
		}
		// Behind a value, or at the bracket of an empty container.
		var more bool
		for depth > outer && !more {
			if i, more, err = next(src, i, objects>>(depth-1)&1 == 1); err != nil {
				return i, err
			}
			if !more {
				depth--
			}
		}
		if depth == outer {
			return i, nil
		}
	}
}

// next goes from behind a value, or from the end of an empty container, to the container's next value (more), or
// behind the container.
func next(src []byte, i int, object bool) (_ int, more bool, err error) {
	i = skipSpace(src, i)
	if i >= len(src) {
		return i, false, ErrInvalid
	}
	switch {
	case src[i] == ',':
		i = skipSpace(src, i+1)
		if object {
			i, err = skipName(src, i)
		}
		return i, true, err
	case object && src[i] == '}', !object && src[i] == ']':
		return i + 1, false, nil
	}
	return i, false, ErrInvalid
}

// skipName skips a member's name and its colon, to its value.
func skipName(src []byte, i int) (int, error) {
	i, err := skipString(src, i)
	if err != nil {
		return i, err
	}
	return skipColon(src, i)
}

func skipColon(src []byte, i int) (int, error) {
	i = skipSpace(src, i)
	if i >= len(src) || src[i] != ':' {
		return i, ErrInvalid
	}
	return skipSpace(src, i+1), nil
}

// skipScalar skips a value that is no container.
func skipScalar(src []byte, i int) (int, error) {
	switch c := src[i]; {
	case c == '"':
		return skipString(src, i)
	case c == '-' || digit(c):
		return skipNumber(src, i)
	case c == 't':
		return skipWord(src, i, "true")
	case c == 'f':
		return skipWord(src, i, "false")
	case c == 'n':
		return skipWord(src, i, "null")
	}
	return i, ErrInvalid
}

func skipWord(src []byte, i int, word string) (int, error) {
	if len(src)-i < len(word) || string(src[i:i+len(word)]) != word {
		return i, ErrInvalid
	}
	return i + len(word), nil
}

func digit(c byte) bool { return c-'0' <= 9 }

func skipDigits(src []byte, i int) (int, error) {
	if i >= len(src) || !digit(src[i]) {
		return i, ErrInvalid
	}
	for i < len(src) && digit(src[i]) {
		i++
	}
	return i, nil
}

func skipNumber(src []byte, i int) (int, error) {
	var err error
	if src[i] == '-' {
		i++
	}
	if i < len(src) && src[i] == '0' {
		i++
	} else if i, err = skipDigits(src, i); err != nil {
		return i, err
	}
	if i < len(src) && src[i] == '.' {
		if i, err = skipDigits(src, i+1); err != nil {
			return i, err
		}
	}
	if i < len(src) && src[i]|0x20 == 'e' {
		i++
		if i < len(src) && (src[i] == '+' || src[i] == '-') {
			i++
		}
		return skipDigits(src, i)
	}
	return i, nil
}

// skipString skips the string at i, which must be one.
func skipString(src []byte, i int) (int, error) {
	if i >= len(src) || src[i] != '"' {
		return i, ErrInvalid
	}
	for i = skipPlain(src, i+1); i < len(src); i = skipPlain(src, i) {
		switch src[i] {
		case '"':
			return i + 1, nil
		case '\\':
			n := escape(src[i:])
			if n == 0 {
				return i, ErrInvalid
			}
			i += n
		default:
			return i, ErrInvalid
		}
	}
	return i, ErrInvalid
}

// skipPlain returns the first place at or behind i that is a quote, a backslash or a control byte.
func skipPlain(src []byte, i int) int {
	// Fast path: eight bytes at once. The high bit of a byte in (x-lo)&^x is set if x has a zero byte there, or above a
	// byte that is one ("Bit Twiddling Hacks", S. E. Anderson); the lowest set bit is always right.
	const lo, hi = 0x0101010101010101, 0x8080808080808080
	for i+8 <= len(src) {
		w := binary.LittleEndian.Uint64(src[i:])
		q, b := w^lo*'"', w^lo*'\\'
		if m := ((q-lo)&^q | (b-lo)&^b | (w-lo*' ')&^w) & hi; m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
		i += 8
	}
	// Slow path: the end of the document.
	for i < len(src) && src[i] != '"' && src[i] != '\\' && src[i] >= ' ' {
		i++
	}
	return i
}

// escape returns the length of the escape that s begins with, 0 if it is none.
func escape(s []byte) int {
	if len(s) < 2 {
		return 0
	}
	switch s[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if unit(s) >= 0 {
			return 6
		}
	}
	return 0
}

// unit returns the code unit of the \uXXXX that s begins with, -1 if it is none.
func unit(s []byte) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	var r rune
	for _, c := range s[2:6] {
		switch {
		case digit(c):
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// appendMeant appends what the inside of a JSON string means. A surrogate without its partner is U+FFFD.
func appendMeant(dst, s []byte) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			dst = append(dst, s[i])
			continue
		}
		i++
		switch s[i] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := unit(s[i-1:])
			i += 4
			if utf16.IsSurrogate(r) {
				if pair := utf16.DecodeRune(r, unit(s[i+1:])); pair != utf8.RuneError {
					r, i = pair, i+6
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, s[i])
		}
	}
	return dst
}
