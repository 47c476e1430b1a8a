package telemetry

import (
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// plain are the bytes that stand in a JSON string as they are: printable ASCII, but for the quote and the backslash.
var plain = func() (t [256]bool) {
	for c := byte(' '); c <= '~'; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// appendString appends s to dst as a JSON string of printable characters: control characters, line and paragraph
// separators, format characters (bidirectional overrides) and whatever else does not print are written \uXXXX, invalid
// UTF-8 becomes \ufffd. After limit bytes of s it stops, at a whole character, and writes "…".
func appendString(dst []byte, s string, limit int) []byte {
	cut := len(s) > limit
	if cut {
		for back := 0; back < utf8.UTFMax-1 && limit > 0 && !utf8.RuneStart(s[limit]); back++ {
			limit--
		}
		s = s[:limit]
	}
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		if plain[s[i]] {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r >= utf8.RuneSelf && r != utf8.RuneError && unicode.IsPrint(r) {
			i += size
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = appendEscape(dst, r)
		i += size
		start = i
	}
	dst = append(dst, s[start:]...)
	if cut {
		dst = append(dst, "…"...)
	}
	return append(dst, '"')
}

func appendEscape(dst []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(dst, '\\', byte(r))
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	if r > 0xffff {
		hi, lo := utf16.EncodeRune(r)
		return appendUnit(appendUnit(dst, uint16(hi)), uint16(lo))
	}
	return appendUnit(dst, uint16(r))
}

func appendUnit(dst []byte, u uint16) []byte {
	return append(dst, '\\', 'u', hexDigits[u>>12], hexDigits[u>>8&0xf], hexDigits[u>>4&0xf], hexDigits[u&0xf])
}
