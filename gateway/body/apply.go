package body

import (
	"bytes"
	"math"
	"sync"
)

// Apply appends to dst what the operations make of the document src, and returns it. fill tells the value of a name in a
// template; nil fills in none. dst and src must not overlap.
//
// mem holds every buffer before it is made; nil has room for all. What only the work needs is given back at its end, and what
// dst has grown by stays held, for the caller to give back. A work in vain gives back all.
//
// The error is ErrInvalid, ErrDepth, ErrTooLarge or ErrNoRoom; dst comes back as it was. O(len(src)) for each pass. It
// allocates nothing if dst has room for the result, in the steady state, for documents up to some 64 KiB.
func (p *Program) Apply(dst, src []byte, fill func(name string) (string, bool), mem Memory) ([]byte, error) {
	if len(src) > p.limit {
		return dst, ErrTooLarge
	}
	if mem == nil {
		mem = unbounded{}
	}
	s := scratches.Get().(*scratch)
	defer s.release()
	if !s.begin(mem, p.longest) || !s.render(p.templates, fill) {
		return dst, ErrNoRoom
	}
	if len(p.passes) == 0 {
		if err := check(src); err != nil {
			return dst, err
		}
		out, _, ok := grown(mem, dst, len(src), len(dst)+len(src))
		if !ok {
			return dst, ErrNoRoom
		}
		return append(out, src...), nil
	}
	last := len(p.passes) - 1
	for i, top := range p.passes[:last] {
		r := rewriter{src: src, dst: s.between[i&1][:0], most: p.limit, scratch: s}
		err := r.document(top)
		s.between[i&1] = r.dst
		s.held += r.held
		if err != nil {
			return dst, err
		}
		src = r.dst
	}
	r := rewriter{src: src, dst: dst, most: len(dst) + p.limit, scratch: s}
	if err := r.document(p.passes[last]); err != nil {
		mem.Hold(-r.held)
		return dst, err
	}
	return r.dst, nil
}

// check returns an error if src is not a JSON document.
func check(src []byte) error {
	end, err := skipValue(src, skipSpace(src, 0), 0)
	if err == nil && skipSpace(src, end) < len(src) {
		err = ErrInvalid
	}
	return err
}

// scratch is what one Apply needs beside the document.
type scratch struct {
	between [2][]byte // documents between passes
	values  []byte    // what templates became,
	ends    []int     // and where each ends
	name    []byte    // a member's name without escapes
	longest int       // no name that is looked for is longer
	mem     Memory
	held    int // by these buffers
}

// keepScratch is how many bytes of a buffer are kept for the next Apply.
const keepScratch = 64 << 10

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// begin has mem hold the buffers that are there already. It is not ok if there is no room for them.
func (s *scratch) begin(mem Memory, longest int) (ok bool) {
	s.mem, s.longest = mem, longest
	n := cap(s.between[0]) + cap(s.between[1]) + cap(s.values)
	if ok = mem.Hold(n); ok {
		s.held = n
	}
	return ok
}

func (s *scratch) release() {
	s.mem.Hold(-s.held)
	for _, b := range []*[]byte{&s.between[0], &s.between[1], &s.values, &s.name} {
		if cap(*b) > keepScratch {
			*b = nil
		}
		*b = (*b)[:0]
	}
	s.ends, s.mem, s.held = s.ends[:0], nil, 0
	scratches.Put(s)
}

// render makes the values of templates. It is not ok if there is no room for them.
func (s *scratch) render(templates []template, fill func(string) (string, bool)) (ok bool) {
	for _, t := range templates {
		values, size, ok := grown(s.mem, s.values, t.most(fill), math.MaxInt)
		if !ok {
			return false
		}
		s.held += size
		s.values = t.append(values, fill)
		s.ends = append(s.ends, len(s.values))
	}
	return true
}

// filled returns the value that a set puts.
func (s *scratch) filled(e *edit) []byte {
	if e.template < 0 {
		return e.value
	}
	start := 0
	if e.template > 0 {
		start = s.ends[e.template-1]
	}
	return s.values[start:s.ends[e.template]]
}

// meant returns what the inside of a name means. It is good until the next call. A name that is too long to be one that is looked for, as an
// escape has six bytes at most for one, is returned as it is.
func (s *scratch) meant(raw []byte) []byte {
	if len(raw) > 6*s.longest || bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	s.name = appendMeant(s.name[:0], raw)
	return s.name
}
