package cache

import "hash/maphash"

// A varied is a request field that a stored response was selected by, with what the request said then: all values as one list,
// without the space around its elements.
type varied struct {
	name, value string
	present     bool
}

// selecting returns what the response was selected by (RFC 9111, section 4.1): the fields that its Vary names, as r has them.
// It is not ok if Vary says that it cannot be known, or is malformed.
func selecting(resp, r Fields) (v []varied, ok bool) {
	for l := listOf(resp, "vary"); ; {
		e, more := l.next()
		if !more {
			return v, true
		}
		name, ok := lowerToken(e)
		if !ok || name == "*" {
			return nil, false
		}
		if !varies(v, name) {
			v = append(v, asked(r, name))
		}
	}
}

func varies(v []varied, name string) bool {
	for i := range v {
		if v[i].name == name {
			return true
		}
	}
	return false
}

// asked returns what the request says in a field.
func asked(r Fields, name string) varied {
	a := varied{name: name, present: has(r, name)}
	var b []byte
	for l := listOf(r, name); ; {
		e, ok := l.next()
		if !ok {
			a.value = string(b)
			return a
		}
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = append(b, e...)
	}
}

// selects reports whether a request that says r is answered by a response that was selected by v. It does not allocate.
func selects(v []varied, r Fields) bool {
	for i := range v {
		if !v[i].matches(r) {
			return false
		}
	}
	return true
}

func (v *varied) matches(r Fields) bool {
	one, ok := r.FieldValue(v.name, 0)
	if !ok || !v.present {
		return ok == v.present
	}
	if one == v.value && !has2(r, v.name) { // Fast path
		return true
	}
	rest := v.value
	for l := listOf(r, v.name); ; {
		e, ok := l.next()
		if !ok {
			return rest == ""
		}
		if len(rest) < len(v.value) {
			if rest == "" || rest[0] != ',' {
				return false
			}
			rest = rest[1:]
		}
		if len(rest) < len(e) || rest[:len(e)] != e {
			return false
		}
		rest = rest[len(e):]
	}
}

// secondary hashes what r says in the fields that v names, so that requests that would be answered alike have the same. It is
// what may be known of a response that is still on its way.
func secondary(seed maphash.Seed, v []varied, r Fields) uint64 {
	if len(v) == 0 {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(seed)
	for i := range v {
		mark := byte(0)
		if has(r, v[i].name) {
			mark = 1
		}
		h.WriteByte(mark)
		for l := listOf(r, v[i].name); ; {
			e, ok := l.next()
			if !ok {
				break
			}
			h.WriteString(e)
			h.WriteByte(',')
		}
		h.WriteByte('\n')
	}
	return h.Sum64()
}

// sameFields reports whether two responses are selected by the same fields.
func sameFields(a, b []varied) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !varies(b, a[i].name) {
			return false
		}
	}
	return true
}

// sameSelection reports whether two responses answer the same requests.
func sameSelection(a, b []varied) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
