package body

import (
	"bytes"
	"slices"
	"sync"
)

// Apply appends to dst what the operations make of the document src, and returns it. fill tells the value of a name in a
// template; nil fills in none. dst and src must not overlap.
//
// The error is ErrInvalid, ErrDepth or ErrTooLarge; dst comes back as it was. O(len(src)) for each pass. It allocates
// nothing if dst has room for the result, in the steady state, for documents up to some 64 KiB.
func (p *Program) Apply(dst, src []byte, fill func(name string) (string, bool)) ([]byte, error) {
	if len(src) > p.limit {
		return dst, ErrTooLarge
	}
	s := acquireScratch()
	defer s.release()
	s.render(p.templates, fill)
	if len(p.passes) == 0 {
		if err := check(src); err != nil {
			return dst, err
		}
		return append(dst, src...), nil
	}
	for i, top := range p.passes {
		last := i == len(p.passes)-1
		out := s.between[i&1][:0]
		if last {
			out = dst
		}
		r := rewriter{src: src, dst: slices.Grow(out, len(src)), most: len(out) + p.limit, scratch: s}
		err := r.document(top)
		if !last {
			s.between[i&1] = r.dst
		}
		if err != nil {
			return dst, err
		}
		src = r.dst
	}
	return src, nil
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
}

// keepScratch is how many bytes of a buffer are kept for the next Apply.
const keepScratch = 64 << 10

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func acquireScratch() *scratch { return scratches.Get().(*scratch) }

func (s *scratch) release() {
	for _, b := range []*[]byte{&s.between[0], &s.between[1], &s.values, &s.name} {
		if cap(*b) > keepScratch {
			*b = nil
		}
		*b = (*b)[:0]
	}
	s.ends = s.ends[:0]
	scratches.Put(s)
}

func (s *scratch) render(templates []template, fill func(string) (string, bool)) {
	for _, t := range templates {
		s.values = t.append(s.values, fill)
		s.ends = append(s.ends, len(s.values))
	}
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

// meant returns what the inside of a name means. It is good until the next call.
func (s *scratch) meant(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	s.name = appendMeant(s.name[:0], raw)
	return s.name
}
