package cache

import (
	"strings"
	"time"

	"weir/internal/mono"
)

// storable reports whether a response to GET may be stored at all (RFC 9111, section 3). d loses a no-store that does not count.
func (f *Flight) storable(r Response, d *directives) Fate {
	status := r.Status()
	switch {
	case status < 200, status == 206, status == 304, has(r, "content-range"), ofRequest(status), endless(r):
		return Unfit
	case d.has(mustUnderstand) && !understood(status):
		return Unfit
	case d.has(mustUnderstand): // section 5.2.2.3
		d.flags &^= noStore
	}
	switch {
	case d.has(noStore | private):
		return Forbidden
	case f.authorized && !d.has(public|mustRevalidate) && d.sMaxAge == none: // section 3.5
		return Forbidden
	case !f.policy.StoreCookies && has(r, "set-cookie") && !d.has(public) && d.sMaxAge == none && !d.withholds("set-cookie"):
		return Cookie
	}
	return Stores
}

// endless reports whether a body is made not to end: those who wait for it would wait for nothing.
func endless(r Response) bool {
	v, _, _ := strings.Cut(first(r, "content-type"), ";")
	v = trim(v)
	return is(v, "text/event-stream") || is(v, "multipart/x-mixed-replace")
}

// presumes reports whether s is stored by what the policy says and not by what the response does, and to a request with a cookie, by which it may
// not have been selected: then what is one client's might be sent to others.
func (f *Flight) presumes(s *stored, d *directives) bool {
	return f.cookie && !f.policy.StoreCookies && !s.explicit && !d.has(public|noCache) && !varies(s.vary, "cookie")
}

func (d *directives) withholds(name string) bool {
	for _, w := range d.withheld {
		if w == name {
			return true
		}
	}
	return false
}

// useful reports whether there is a use for s: it is fresh, or may be served stale, or can be validated and the origin wants caches to.
func (s *stored) useful(d *directives, now mono.Time) bool {
	return now < s.fresh || now < s.whileRevalidate || now < s.ifError || (s.etag != "" || s.lastModified != "") && (s.explicit || d.has(noCache))
}

// freshen makes of what is stored and of a 304 for it a response that is stored in its place (RFC 9111, section 4.3.4).
func (f *Flight) freshen(r Response, at instant) Fate {
	if v := first(r, "etag"); v != "" && !weakEqual(v, f.base.etag) {
		return Unmatched
	}
	return f.merge(r, at)
}

// update does the same with a response to HEAD that is of what is stored, and forgets that if it is of something else (section 4.3.5).
func (f *Flight) update(r Response, at instant) Fate {
	if r.Status() != 200 || f.base.status != 200 {
		return Unfit
	}
	n, sized := number(first(r, "content-length"))
	tag, modified := first(r, "etag"), first(r, "last-modified")
	switch {
	case tag != f.base.etag, modified != f.base.lastModified, sized && n != int64(len(f.base.body.bytes)), tag == "" && modified == "":
		f.forget()
		return Unfit
	}
	f.merge(r, at)
	return Unfit // it is to be passed on
}

// merge stores what is stored with the fields of r (section 3.2), and leaves it in f.base.
func (f *Flight) merge(r Response, at instant) Fate {
	m := merged(f.base, r, at)
	d := responseDirectives(m)
	why := f.storable(m, &d)
	s := f.assess(m, &d, at)
	if f.complete(s, m, &d, at) != Stores {
		f.forget()
		return Freshened // good for this request, for which it was validated
	}
	s.body = f.base.body
	presumes := f.presumes(s, &d)
	stored := why == Stores && !presumes && s.useful(&d, at.mono) && f.store(s, f.base)
	if !stored && !((f.authorized || presumes) && !d.has(noStore|private)) { // what is for one who is known says nothing to others
		f.forget()
	}
	f.base = s
	return Freshened
}

// A message is a response put together from fields.
type message struct {
	status        int
	names, values []string
}

func (m *message) Status() int                    { return m.status }
func (m *message) Len() int                       { return len(m.names) }
func (m *message) FieldAt(i int) (string, string) { return m.names[i], m.values[i] }
func (m *message) add(name, value string) {
	m.names, m.values = append(m.names, name), append(m.values, value)
}
func (m *message) FieldValue(name string, n int) (string, bool) {
	for i := range m.names {
		if !is(m.names[i], name) {
			continue
		}
		if n == 0 {
			return m.values[i], true
		}
		n--
	}
	return "", false
}

// merged returns what is stored with its fields replaced by those of r, but for those that r is no authority for.
func merged(old *stored, r Response, at instant) *message {
	m := &message{status: old.status}
	for name, value := range old.head.all {
		low, _ := lowerToken(name)
		if !renews(low) || !has(r, low) && low != "date" {
			m.add(name, value)
		}
	}
	for i := range r.Len() {
		if name, value := r.FieldAt(i); renews(name) {
			m.add(name, value)
		}
	}
	if !has(r, "date") {
		m.add("Date", time.Unix(at.wall, 0).UTC().Format(imfLayout))
	}
	return m
}

// renews reports whether a 304, or a response to HEAD, replaces a field of what is stored. It does not where that tells how to read the
// body, which has not come again. Hop-by-hop fields are dealt with where it is stored.
func renews(name string) bool {
	switch {
	case is(name, "content-length"), is(name, "content-encoding"), is(name, "content-type"), is(name, "content-range"),
		is(name, "content-md5"), is(name, "content-digest"):
		return false
	}
	return true
}

// Answer is what to send after Begin said Freshened: what is stored, as the client asked for it.
func (f *Flight) Answer(q *Query) Answer {
	a := Answer{cache: f.cache, Outcome: Hit, why: f.why, fwdStatus: 304}
	a.serve(q, f.base)
	return a
}
