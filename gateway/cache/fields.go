package cache

import (
	"strings"

	"weir/internal/http1"
)

// Fields shows the header fields of a message.
type Fields interface {
	// FieldValue returns value i, counted from 0, of the fields of that lower-case name; false past the last. It may be a
	// view that dies with the message: the package copies what it keeps.
	FieldValue(name string, i int) (string, bool)
}

// Request is the head of a request, as the upstream gets it: of a field that the gateway sets, FieldValue must give what it sets, or what
// varies by that field goes to the wrong clients.
type Request interface {
	Fields
	Method() string
}

// Response is the head of a response of an upstream.
type Response interface {
	Fields
	Status() int
	Len() int                           // of fields
	FieldAt(i int) (name, value string) // in their order, the name in any case
}

func first(f Fields, name string) string {
	v, _ := f.FieldValue(name, 0)
	return v
}

func has(f Fields, name string) bool {
	_, ok := f.FieldValue(name, 0)
	return ok
}

// A list walks the elements of all fields of a name, which together are one comma-separated list (RFC 9110, section 5.6.1).
// A comma in a quoted string does not separate. Empty elements are left out.
type list struct {
	of   Fields
	name string
	i    int
	rest string
}

func listOf(f Fields, name string) list { return list{of: f, name: name} }

// next returns the next element without the space around it.
func (l *list) next() (string, bool) {
	for {
		for l.rest != "" {
			var e string
			if e, l.rest = cutElement(l.rest); e != "" {
				return e, true
			}
		}
		v, ok := l.of.FieldValue(l.name, l.i)
		if !ok {
			return "", false
		}
		l.i++
		l.rest = v
	}
}

// cutElement cuts s behind its first element. A quoted string that does not end takes all the rest.
func cutElement(s string) (element, rest string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && c == ',':
			return trim(s[:i]), s[i+1:]
		}
	}
	return trim(s), ""
}

// trim removes optional whitespace.
func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// is reports whether name is that lower-case name, in any case.
func is(name, lower string) bool { return http1.EqualFold(name, lower) }

// lines are header fields in the form in which they are sent: "Name: value" CRLF, again and again. They are Fields; names are
// compared in any case.
type lines []byte

func (l lines) FieldValue(name string, i int) (string, bool) {
	for n, v := range l.all {
		if is(n, name) {
			if i == 0 {
				return v, true
			}
			i--
		}
	}
	return "", false
}

// all yields names and values, which are copies.
func (l lines) all(yield func(name, value string) bool) {
	for rest := string(l); rest != ""; {
		var line string
		line, rest, _ = strings.Cut(rest, "\r\n")
		n, v, _ := strings.Cut(line, ": ")
		if !yield(n, v) {
			return
		}
	}
}

// add appends a field.
func (l lines) add(name, value string) lines {
	l = append(l, name...)
	l = append(l, ": "...)
	l = append(l, value...)
	return append(l, "\r\n"...)
}
