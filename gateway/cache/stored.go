package cache

import (
	"hash/maphash"
	"slices"
	"sync/atomic"
	"time"

	"weir/internal/http1"
	"weir/internal/mono"
)

// A stored response. It does not change once it can be found; what freshens it makes another with the same body.
type stored struct {
	timing
	status int
	vary   []varied
	tags   []string

	head  lines // to be sent with the body: no hop-by-hop fields, no Content-Length, no Age
	brief lines // to be sent with 304
	body  *body // shared with what freshens it
	etag  string
	came  mono.Time // when its head did

	lastModified   string // as it is in head; "" if it is not a date
	modified, date int64  // seconds since 1970; modified is date where there is no Last-Modified
}

// A body of a response, and how many answers have it still to send.
type body struct {
	bytes []byte
	lent  atomic.Int32
}

// A resource is all that is stored for a key: its variants, the latest first. It does not change either.
type resource struct {
	key      []byte
	url      int // length of the URL in key
	hash     uint64
	urlHash  uint64
	variants []*stored
}

// What is kept beside the bytes counted one by one, estimated with room to spare: the structs, an entry of the table, its queue and its sketch.
const (
	resourceOverhead = 512
	variantOverhead  = 384
	tagOverhead      = 128
)

// weight is how many bytes of memory it costs to keep r.
func (r *resource) weight() uint32 {
	n := int64(resourceOverhead + cap(r.key))
	for _, s := range r.variants {
		n += s.weight()
	}
	return uint32(min(n, 1<<32-1))
}

func (s *stored) weight() int64 {
	n := int64(variantOverhead + cap(s.head) + cap(s.brief) + s.size() + len(s.etag) + len(s.lastModified))
	for i := range s.vary {
		n += int64(48 + len(s.vary[i].name) + len(s.vary[i].value))
	}
	for _, t := range s.tags {
		n += int64(tagOverhead + len(t))
	}
	return n
}

// size is the memory of the body; 0 while it is on its way.
func (s *stored) size() int {
	if s.body == nil {
		return 0
	}
	return cap(s.body.bytes)
}

// find returns the latest variant that answers a request, or nil.
func (r *resource) find(req Fields) *stored {
	for _, s := range r.variants {
		if selects(s.vary, req) {
			return s
		}
	}
	return nil
}

// with returns r with a response in it, in place of those that answer the same requests and of what it revalidated. It is r
// itself if something later is there. r may be nil.
func (r *resource) with(f *Flight, s *stored) *resource {
	n := &resource{key: f.key.b, url: f.key.url, hash: f.hash, urlHash: f.urlHash, variants: []*stored{s}}
	if r == nil || !r.is(&f.key) {
		return n
	}
	for _, v := range r.variants {
		if sameSelection(v.vary, s.vary) && v.came > s.came {
			return r // what came later is there already
		}
		if !sameSelection(v.vary, s.vary) && v != f.base && len(n.variants) < maxVariants {
			n.variants = append(n.variants, v)
		}
	}
	return n
}

// without returns r without the variants that drop says, r itself if there are none, or nil if nothing is left.
func (r *resource) without(drop func(*stored) bool) *resource {
	var left []*stored
	for _, v := range r.variants {
		if !drop(v) {
			left = append(left, v)
		}
	}
	if len(left) == len(r.variants) {
		return r
	}
	if len(left) == 0 {
		return nil
	}
	n := *r
	n.variants = left
	return &n
}

func (r *resource) has(s *stored) bool { return r != nil && slices.Contains(r.variants, s) }

func (r *resource) is(k *Key) bool { return r.url == k.url && string(r.key) == string(k.b) }

// secondary hashes what a request says in the fields by which the latest variant was selected.
func (r *resource) secondary(seed maphash.Seed, req Fields) uint64 {
	if r == nil {
		return 0
	}
	return secondary(seed, r.variants[0].vary, req)
}

// assess says how long a response may be used, and how it can be validated. d is what the response says.
func (f *Flight) assess(r Response, d *directives, at instant) *stored {
	s := &stored{status: r.Status(), timing: timingOf(f.policy, r, d, f.begun, at), came: at.mono}
	s.setValidators(r, at)
	return s
}

// complete adds to s what is stored of a response, but for the body.
func (f *Flight) complete(s *stored, r Response, d *directives, at instant) Fate {
	var ok bool
	if s.vary, ok = f.selecting(r); !ok || len(s.vary) > maxVaryFields {
		return Varies
	}
	if s.tags, ok = tagsOf(r, f.policy.Tags); !ok {
		return TooLarge
	}
	named := connectionNames(r)
	head := make(lines, 0, 1024)
	for i := range r.Len() {
		name, value := r.FieldAt(i)
		if kept(name, named, d.withheld) {
			head = head.add(name, value)
		}
	}
	if !has(r, "date") { // RFC 9110, section 6.6.1
		head = head.add("Date", time.Unix(at.wall, 0).UTC().Format(imfLayout))
	}
	s.head = append(make(lines, 0, len(head)), head...)
	s.setBrief()
	return Stores
}

// selecting returns what the response was selected by. A flight behind an answer has no request any more; it can store what
// varies by the same fields as what it revalidates.
func (f *Flight) selecting(r Response) ([]varied, bool) {
	if f.request != nil {
		return selecting(r, f.request)
	}
	v, ok := selecting(r, lines(nil))
	if ok && f.base != nil && sameFields(v, f.base.vary) {
		return f.base.vary, true
	}
	return v, ok && len(v) == 0
}

func (s *stored) setValidators(r Response, at instant) {
	if v := first(r, "etag"); entityTag(v) {
		s.etag = string([]byte(v))
	}
	s.date = at.wall
	if sec, ok := fieldDate(r, "date", at); ok {
		s.date = sec
	}
	s.modified = s.date
	if sec, ok := fieldDate(r, "last-modified", at); ok {
		s.lastModified, s.modified = string([]byte(first(r, "last-modified"))), sec
	}
}

// connectionNames returns the lower-case names that Connection lists.
func connectionNames(r Fields) (names []string) {
	for l := listOf(r, "connection"); ; {
		e, ok := l.next()
		if !ok {
			return names
		}
		if name, ok := lowerToken(e); ok {
			names = append(names, name)
		}
	}
}

// kept reports whether a field is stored (RFC 9111, section 3.1): not what belongs to a connection or to a proxy, what Connection names, what
// the response keeps from being reused, and what is written anew with every answer.
func kept(name string, lists ...[]string) bool {
	if http1.KnownName(name).HopByHop() {
		return false
	}
	switch {
	case is(name, "content-length"), is(name, "age"), is(name, "proxy-authentication-info"):
		return false
	case is(name, "ratelimit"), is(name, "ratelimit-policy"), begins(name, "x-ratelimit-"), begins(name, "weir-"): // one client's account
		return false
	}
	for _, names := range lists {
		for _, n := range names {
			if is(name, n) {
				return false
			}
		}
	}
	return true
}

// begins reports whether name begins with a lower-case prefix.
func begins(name, prefix string) bool {
	return len(name) > len(prefix) && is(name[:len(prefix)], prefix)
}

// setBrief makes the head for 304: what describes the body is left out (RFC 9110, section 15.4.5).
func (s *stored) setBrief() {
	b := make(lines, 0, len(s.head))
	for name, value := range s.head.all {
		if describes(name) || s.etag != "" && is(name, "last-modified") {
			continue
		}
		b = b.add(name, value)
	}
	s.brief = append(make(lines, 0, len(b)), b...)
}

// describes reports whether a field says something of the body.
func describes(name string) bool {
	switch {
	case is(name, "content-type"), is(name, "content-encoding"), is(name, "content-language"), is(name, "content-range"),
		is(name, "content-digest"), is(name, "content-md5"), is(name, "content-disposition"), is(name, "digest"), is(name, "repr-digest"),
		is(name, "accept-ranges"):
		return true
	}
	return false
}

// tagsOf returns the tags in the field of that name. It is not ok if they are too many or too long: what could not be purged is not stored.
func tagsOf(r Fields, field string) (tags []string, ok bool) {
	if field == "" {
		return nil, true
	}
	for i := 0; ; i++ {
		v, more := r.FieldValue(field, i)
		if !more {
			return tags, true
		}
		for v != "" {
			n := 0
			for n < len(v) && v[n] != ' ' && v[n] != ',' && v[n] != '\t' {
				n++
			}
			if n > maxTagLength || n > 0 && len(tags) == maxTags {
				return nil, false
			}
			if n > 0 {
				tags = append(tags, string([]byte(v[:n])))
			}
			v = v[min(n+1, len(v)):]
		}
	}
}
