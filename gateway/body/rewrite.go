package body

// rewriter carries one pass over a document.
type rewriter struct {
	src  []byte
	from int // src before it is in dst, or dropped
	dst  []byte
	most int   // bytes dst may have
	full error // it had no room: ErrTooLarge or ErrNoRoom
	held int   // bytes that dst has grown by
	*scratch
}

func (r *rewriter) document(top *node) error {
	if cap(r.dst)-len(r.dst) < len(r.src) { // changes add little, mostly
		r.fits(min(len(r.src)+len(r.src)/8+64, r.most-len(r.dst)))
	}
	end, err := r.value(skipSpace(r.src, 0), top, 0)
	switch {
	case err != nil:
		return err
	case skipSpace(r.src, end) < len(r.src):
		return ErrInvalid
	}
	r.replace(len(r.src), len(r.src), nil)
	return r.full
}

// fits makes room for n bytes more in dst, and reports whether there is.
func (r *rewriter) fits(n int) bool {
	switch {
	case r.full != nil:
	case len(r.dst)+n > r.most:
		r.full = ErrTooLarge
	case len(r.dst)+n > cap(r.dst):
		dst, size, ok := grown(r.mem, r.dst, n, r.most)
		if !ok {
			r.full = ErrNoRoom
		}
		r.dst, r.held = dst, r.held+size
	}
	return r.full == nil
}

func (r *rewriter) put(b []byte) {
	if r.fits(len(b)) {
		r.dst = append(r.dst, b...)
	}
}

func (r *rewriter) putByte(b byte) {
	if r.fits(1) {
		r.dst = append(r.dst, b)
	}
}

// replace puts what stands before start, and b in the place of what stands from start to end.
func (r *rewriter) replace(start, end int, b []byte) {
	r.put(r.src[r.from:start])
	r.put(b)
	r.from = end
}

// value does what n says to the value at i, which stands in depth containers, and returns where it ends. n may be nil.
// A node is as deep as its path, so what recurses is never deeper than MaxDepth.
func (r *rewriter) value(i int, n *node, depth int) (int, error) {
	if n == nil || i >= len(r.src) {
		return skipValue(r.src, i, depth)
	}
	switch c := r.src[i]; {
	case n.edit.kind == Set:
		end, err := skipValue(r.src, i, depth)
		if err == nil {
			r.replace(i, end, r.filled(&n.edit))
		}
		return end, err
	case c == '{' && len(n.names) > 0:
		return r.object(i, n, depth)
	case c == '[' && len(n.elements) > 0:
		return r.array(i, n, depth)
	case c == 'n' && n.makes:
		end, err := skipWord(r.src, i, "null")
		if err == nil {
			r.replace(i, end, nil)
			r.make(n)
		}
		return end, err
	}
	return skipValue(r.src, i, depth)
}

// items is the state of a walk through an object's members or an array's elements.
type items struct {
	kept bool // one of them has stayed
	sep  int  // the comma before the one at hand
}

// remove drops the item from start to end with one of the commas beside it.
func (r *rewriter) remove(l *items, start, end int) {
	if l.kept {
		r.replace(l.sep, end, nil)
		return
	}
	if i := skipSpace(r.src, end); i < len(r.src) && r.src[i] == ',' {
		end = skipSpace(r.src, i+1)
	}
	r.replace(start, end, nil)
}

// next goes from the end of an item to the next one, or behind the bracket that closes.
func (r *rewriter) next(l *items, end int, closing byte) (_ int, more bool, err error) {
	i := skipSpace(r.src, end)
	switch {
	case i >= len(r.src):
	case r.src[i] == ',':
		l.sep = i
		return skipSpace(r.src, i+1), true, nil
	case r.src[i] == closing:
		return i + 1, false, nil
	}
	return i, false, ErrInvalid
}

// name reads the name of the member at i: the inside of the string, and where the value begins.
func (r *rewriter) name(i int) (raw []byte, value int, err error) {
	end, err := skipString(r.src, i)
	if err != nil {
		return nil, end, err
	}
	value, err = skipColon(r.src, end)
	return r.src[i+1 : end-1], value, err
}

// enter goes from an object's or array's opening bracket to its first item, or behind the bracket that closes.
func (r *rewriter) enter(i int, closing byte) (_ int, more bool) {
	i = skipSpace(r.src, i+1)
	if i < len(r.src) && r.src[i] == closing {
		return i + 1, false
	}
	return i, true
}

func (r *rewriter) object(i int, n *node, depth int) (int, error) {
	var renamed, seen uint64 // a bit for each of n.names
	var err error
	if n.renames {
		if renamed, err = r.renamed(i, n, depth); err != nil {
			return i, err
		}
	}
	var l items
	i, more := r.enter(i, '}')
	end := i - 1 // of the last member; in an empty object, the bracket
	for more {
		start := i
		raw, value, err := r.name(start)
		if err != nil {
			return value, err
		}
		name := r.meant(raw)
		gone := n.replaces(renamed, name)
		var child *node
		if k := n.member(name); k >= 0 {
			seen |= 1 << k
			child = n.names[k].node
			gone = gone || child.edit.kind == Remove
			if child.edit.kind == Rename {
				r.replace(start, start+len(raw)+2, child.edit.value)
			}
		}
		if end, err = r.value(value, child, depth+1); err != nil {
			return end, err
		}
		if gone {
			r.remove(&l, start, end)
		} else {
			l.kept = true
		}
		if i, more, err = r.next(&l, end, '}'); err != nil {
			return i, err
		}
	}
	if n.makes {
		r.replace(end, end, nil)
		r.members(n, seen, l.kept)
	}
	return i, nil
}

// renamed returns which members that n renames the object at i has, a bit for each of n.names.
func (r *rewriter) renamed(i int, n *node, depth int) (found uint64, err error) {
	var l items
	i, more := r.enter(i, '}')
	for more {
		raw, value, err := r.name(i)
		if err != nil {
			return 0, err
		}
		if k := n.member(r.meant(raw)); k >= 0 && n.names[k].edit.kind == Rename {
			found |= 1 << k
		}
		end, err := skipValue(r.src, value, depth+1)
		if err != nil {
			return 0, err
		}
		if i, more, err = r.next(&l, end, '}'); err != nil {
			return 0, err
		}
	}
	return found, nil
}

// members puts the members that are to be made and were not seen.
func (r *rewriter) members(n *node, seen uint64, comma bool) {
	for k := range n.names {
		m := &n.names[k]
		if seen>>k&1 == 1 || m.edit.kind != Set && !m.makes {
			continue
		}
		if comma {
			r.putByte(',')
		}
		comma = true
		r.put(m.quoted)
		r.putByte(':')
		r.make(m.node)
	}
}

// make puts the value of a set, or an object with what is set below.
func (r *rewriter) make(n *node) {
	if n.edit.kind == Set {
		r.put(r.filled(&n.edit))
		return
	}
	r.putByte('{')
	r.members(n, 0, false)
	r.putByte('}')
}

func (r *rewriter) array(i int, n *node, depth int) (int, error) {
	var l items
	i, more := r.enter(i, ']')
	for index := 0; more; index++ {
		start := i
		child := n.element(index)
		end, err := r.value(start, child, depth+1)
		if err != nil {
			return end, err
		}
		if child != nil && child.edit.kind == Remove {
			r.remove(&l, start, end)
		} else {
			l.kept = true
		}
		if i, more, err = r.next(&l, end, ']'); err != nil {
			return i, err
		}
	}
	return i, nil
}
