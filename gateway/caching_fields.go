package gateway

import (
	"bytes"

	"weir/gateway/cache"
	"weir/internal/http1"
)

// outgoing is an exchange's request as an endpoint gets it.
type outgoing Exchange

// Method returns the method.
func (o *outgoing) Method() string { return o.car.Method() }

// FieldValue returns value i of the fields of that lower-case name: first the client's that go on and what the gateway vouches for, then the
// route's.
func (o *outgoing) FieldValue(name string, i int) (string, bool) {
	x := (*Exchange)(o)
	v, n := x.car.SentField(name, i)
	if n > i {
		return v, true
	}
	for j := range x.route.request.add {
		h := &x.route.request.add[j]
		if len(h.name) != len(name) || !http1.EqualFold(h.name, name) {
			continue
		}
		if n == i {
			return string(h.value.append(nil, x)), true
		}
		n++
	}
	return "", false
}

// received is the head of an endpoint's answer as the cache sees it: all of it counts, and what the route takes away is not kept.
type received struct {
	head *http1.Head
	drop *transform
}

// Status returns the status.
func (r *received) Status() int { return r.head.Status }

// Len returns the number of fields.
func (r *received) Len() int { return len(r.head.Fields) }

// FieldAt returns field i. One that the route takes away is shown as one of the connection's, which are not kept.
func (r *received) FieldAt(i int) (name, value string) {
	n := r.head.Name(i)
	if len(r.drop.drop) > 0 && r.drop.drops(n) {
		return "connection", ""
	}
	return view(n), view(r.head.Value(i))
}

// FieldValue returns value i of the fields of that lower-case name.
func (r *received) FieldValue(name string, i int) (string, bool) {
	for j := range r.head.Fields {
		if n := r.head.Name(j); len(n) == len(name) && http1.EqualFold(n, name) {
			if i == 0 {
				return view(r.head.Value(j)), true
			}
			i--
		}
	}
	return "", false
}

var _ cache.Response = (*received)(nil)

// lineValue returns the first value of that lower-case name in header lines, and how many there are up to the i-th.
func lineValue(lines []byte, name string, i int) (value []byte, n int) {
	for len(lines) > 0 {
		line, rest, _ := bytes.Cut(lines, []byte("\r\n"))
		lines = rest
		if len(line) > len(name) && line[len(name)] == ':' && http1.EqualFold(line[:len(name)], name) {
			if n++; n > i {
				return bytes.TrimSpace(line[len(name)+1:]), n
			}
		}
	}
	return nil, n
}
