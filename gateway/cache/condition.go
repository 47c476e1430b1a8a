package cache

import "time"

// weakEqual compares entity tags weakly (RFC 9110, section 8.8.3.2).
func weakEqual(a, b string) bool { return opaque(a) == opaque(b) }

// strongEqual compares entity tags strongly.
func strongEqual(a, b string) bool { return a == b && !weak(a) && a != "" }

func weak(tag string) bool { return len(tag) > 2 && tag[0] == 'W' && tag[1] == '/' }

func opaque(tag string) string {
	if weak(tag) {
		return tag[2:]
	}
	return tag
}

// entityTag reports whether s is an entity tag (RFC 9110, section 8.8.3).
func entityTag(s string) bool {
	s = opaque(s)
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	for i := 1; i < len(s)-1; i++ {
		if c := s[i]; c <= ' ' || c == '"' || c == 0x7f {
			return false
		}
	}
	return true
}

// unchanged reports whether the client has what is stored: its If-None-Match names the entity tag, or, where that is not
// there, nothing changed since its If-Modified-Since (RFC 9110, section 13.2.2; RFC 9111, section 4.3.2).
func (s *stored) unchanged(r Fields) bool {
	if s.status < 200 || s.status > 299 {
		return false
	}
	if has(r, "if-none-match") {
		for l := listOf(r, "if-none-match"); ; {
			e, ok := l.next()
			if !ok {
				return false
			}
			if e == "*" || s.etag != "" && weakEqual(e, s.etag) {
				return true
			}
		}
	}
	v, ok := r.FieldValue("if-modified-since", 0)
	if !ok {
		return false
	}
	if has2(r, "if-modified-since") { // not one date: not valid
		return false
	}
	if v == s.lastModified && v != "" {
		return true
	}
	since, ok := parseDate(v, s.year())
	return ok && s.modified <= since
}

// has2 reports whether there is more than one field of that name.
func has2(r Fields, name string) bool {
	_, ok := r.FieldValue(name, 1)
	return ok
}

func (s *stored) year() int { return time.Unix(s.date, 0).UTC().Year() }

// A span is a part of a body: [from, to).
type span struct{ from, to int64 }

type rangeKind uint8

const (
	wholeBody rangeKind = iota // no Range, or one that does not count
	onePart
	unsatisfiable
)

// part reports what part of the stored body a request asks for. Several ranges are answered with the whole, as RFC 9110,
// section 14.2 allows, and so is one whose If-Range does not hold.
func (s *stored) part(r Fields) (span, rangeKind) {
	v, ok := r.FieldValue("range", 0)
	if !ok || s.status != 200 || has2(r, "range") || !s.ifRange(r) {
		return span{}, wholeBody
	}
	return parseRange(v, int64(len(s.body.bytes)))
}

// ifRange reports whether If-Range, if it is there, holds (RFC 9110, section 13.1.5): it needs a strong validator.
func (s *stored) ifRange(r Fields) bool {
	v, ok := r.FieldValue("if-range", 0)
	if !ok {
		return true
	}
	if entityTag(v) {
		return strongEqual(v, s.etag)
	}
	return v == s.lastModified && v != "" && s.modified < s.date // a second apart: section 8.8.2.2
}

// parseRange reads Range of a body of size bytes (RFC 9110, section 14.1.2). What is malformed or of another unit is as if it
// were not there.
func parseRange(v string, size int64) (span, rangeKind) {
	const unit = "bytes="
	if len(v) <= len(unit) || !is(v[:len(unit)], unit) {
		return span{}, wholeBody
	}
	e, rest := cutElement(v[len(unit):])
	for rest != "" || e == "" {
		if rest == "" {
			return span{}, wholeBody
		}
		var other string
		if other, rest = cutElement(rest); other == "" {
			continue
		}
		if e != "" {
			return span{}, wholeBody // more than one
		}
		e = other
	}
	dash := 0
	for dash < len(e) && e[dash] != '-' {
		dash++
	}
	if dash == len(e) {
		return span{}, wholeBody
	}
	return cutRange(e[:dash], e[dash+1:], size)
}

func cutRange(first, last string, size int64) (span, rangeKind) {
	b, ok := number(last)
	if !ok && last != "" {
		return span{}, wholeBody
	}
	if first == "" { // the last so many bytes
		switch {
		case last == "":
			return span{}, wholeBody
		case b == 0 || size == 0:
			return span{}, unsatisfiable
		}
		return span{max(0, size-b), size}, onePart
	}
	a, ok := number(first)
	switch {
	case !ok || last != "" && b < a:
		return span{}, wholeBody
	case a >= size:
		return span{}, unsatisfiable
	case last == "" || b >= size:
		b = size - 1
	}
	return span{a, b + 1}, onePart
}
