package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The format of bbolt's file, version 2 (bbolt/internal/common). Numbers have the machine's byte order.
//
//	page      id 8, flags 2, count 2, overflow 4; count elements; keys and values. It is 1 + overflow pages long.
//	meta      after the page's head: magic 4, version 4, page size 4, flags 4, root bucket 16, freelist 8, pages 8,
//	          transaction 8, FNV-1a of all that 8
//	branch    element: pos 4, key size 4, page 8
//	leaf      element: flags 4, pos 4, key size 4, value size 4. pos counts from the start of the element.
//	bucket    a leaf's value: root page 8, sequence 8; with root 0 a leaf page follows in the value
//	freelist  page numbers of 8 bytes; with count 0xffff the first is their count
const (
	pageSize   = 4096
	headSize   = 16
	elemSize   = 16
	bucketSize = 16
	metaSize   = 64

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
	bucketElem   = 0x01

	magic       = 0xED0CDAED
	fileVersion = 2
	maxDepth    = 32 // of 4 KiB pages: more than any disk holds
	bornPages   = 4  // of a database without a transaction
)

var native = binary.NativeEndian

// header is what a meta page says.
type header struct{ root, freelist, pages, txid uint64 }

// parseHeader reads a meta page, and reports whether it is whole.
func parseHeader(p page) (h header, ok bool) {
	m := p[headSize : headSize+metaSize]
	sum := fnv.New64a()
	sum.Write(m[:metaSize-8])
	ok = native.Uint32(m) == magic && native.Uint32(m[4:]) == fileVersion && native.Uint64(m[56:]) == sum.Sum64()
	return header{root: native.Uint64(m[16:]), freelist: native.Uint64(m[32:]), pages: native.Uint64(m[40:]), txid: native.Uint64(m[48:])},
		ok && native.Uint32(m[8:]) == pageSize
}

// unborn reports whether the file is what a crash can leave of a new one before its first transaction: a beginning of the
// four pages that bbolt makes, or zeros in their stead.
func unborn(f io.ReaderAt, size int64) (bool, error) {
	if size > bornPages*pageSize {
		return false, nil
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return false, err
	}
	if len(bytes.Trim(b, "\x00")) == 0 {
		return true, nil
	}
	if size < pageSize {
		return false, nil
	}
	h, ok := parseHeader(b[:pageSize])
	return ok && h.txid == 0, nil // every first transaction replaces this page
}

// check returns an error unless bbolt can work on the file without leaving its pages. It reads each page once, in memory
// of one page per level of the tree, and a byte per page of the file.
func check(f io.ReaderAt, size int64) error {
	c := checker{f: f}
	h, err := c.header(size)
	if err != nil {
		return err
	}
	c.used = make([]bool, h.pages)
	c.used[0], c.used[1] = true, true
	if err := c.freelist(h.freelist); err != nil {
		return err
	}
	return c.tree(h.root, 0, span{}, true)
}

type checker struct {
	f    io.ReaderAt
	used []bool // the pages met, in use or free
	bufs [maxDepth][]byte
}

// header returns the newer of the two headers, as bbolt chooses it.
func (c *checker) header(size int64) (header, error) {
	var b [2 * pageSize]byte
	if _, err := c.f.ReadAt(b[:], 0); err != nil {
		if err == io.EOF {
			return header{}, errors.New("it is too short")
		}
		return header{}, err
	}
	h, ok := parseHeader(b[:pageSize])
	if other, otherOK := parseHeader(b[pageSize:]); otherOK && (!ok || other.txid > h.txid) {
		h, ok = other, true
	}
	switch {
	case !ok:
		return h, errors.New("it has no valid header")
	case h.pages > uint64(size)/pageSize:
		return h, fmt.Errorf("it is cut: %d bytes, and %d pages of %d are in use", size, h.pages, pageSize)
	case h.pages < bornPages || h.txid >= 1<<62:
		return h, errors.New("its header makes no sense")
	}
	return h, nil
}

// claim reads a page and marks it as met.
func (c *checker) claim(id uint64, buf *[]byte) (page, error) {
	pages := uint64(len(c.used))
	if id >= pages {
		return nil, fmt.Errorf("page %d of %d", id, pages)
	}
	if *buf == nil {
		*buf = make([]byte, pageSize)
	}
	p := page((*buf)[:pageSize])
	if _, err := c.f.ReadAt(p, int64(id)*pageSize); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	n := uint64(p.overflow()) + 1
	if p.id() != id || n > pages-id {
		return nil, fmt.Errorf("page %d has a wrong head", id)
	}
	for i := range n {
		if c.used[id+i] {
			return nil, fmt.Errorf("page %d is used twice", id+i)
		}
		c.used[id+i] = true
	}
	if n > 1 {
		*buf = make([]byte, n*pageSize)
		p = *buf
		if _, err := c.f.ReadAt(p, int64(id)*pageSize); err != nil {
			return nil, fmt.Errorf("page %d: %w", id, err)
		}
	}
	return p, nil
}

func (c *checker) freelist(id uint64) error {
	p, err := c.claim(id, &c.bufs[0])
	if err != nil {
		return fmt.Errorf("list of free pages: %w", err)
	}
	n, ids := uint64(p.count()), p[headSize:]
	if n == 0xffff {
		n, ids = native.Uint64(ids), ids[8:]
	}
	if p.flags() != freelistPage || n > uint64(len(ids))/8 {
		return fmt.Errorf("page %d is no list of free pages", id)
	}
	for i := range n {
		free := native.Uint64(ids[8*i:])
		if free >= uint64(len(c.used)) || c.used[free] {
			return fmt.Errorf("page %d cannot be free", free)
		}
		c.used[free] = true
	}
	return nil
}

// tree checks the pages from id down. Those of the root bucket hold buckets, those of these do not.
func (c *checker) tree(id uint64, depth int, keys span, root bool) error {
	if depth == maxDepth {
		return fmt.Errorf("page %d is too deep", id)
	}
	p, err := c.claim(id, &c.bufs[depth])
	if err != nil {
		return err
	}
	switch p.flags() {
	case leafPage:
		err = c.leaf(p, depth, keys, root)
	case branchPage:
		err = c.branch(p, depth, keys, root)
	default:
		err = errors.New("it is of no known kind")
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

func (c *checker) branch(p page, depth int, keys span, root bool) error {
	n := p.count()
	if n == 0 {
		return errors.New("a branch without leaves")
	}
	key, err := p.branchKey(0)
	for i := 0; err == nil && i < n; i++ {
		child, next := span{low: key, high: keys.high}, []byte(nil)
		if i+1 < n {
			if next, err = p.branchKey(i + 1); err != nil {
				return err
			}
			child.high = next
		}
		if err = keys.next(key); err == nil {
			err = c.tree(p.branchPage(i), depth+1, child, root)
		}
		key = next
	}
	return err
}

func (c *checker) leaf(p page, depth int, keys span, root bool) error {
	for i := range p.count() {
		key, value, flags, err := p.leafElem(i)
		if err != nil {
			return err
		}
		if err := keys.next(key); err != nil {
			return err
		}
		if flags&bucketElem == 0 {
			continue
		}
		if !root || len(value) < bucketSize {
			return fmt.Errorf("element %d is no bucket", i)
		}
		if id := native.Uint64(value); id != 0 {
			err = c.tree(id, depth+1, span{}, false)
		} else if inner := page(value[bucketSize:]); len(inner) < headSize || inner.flags() != leafPage {
			err = fmt.Errorf("element %d is no bucket", i)
		} else {
			err = c.leaf(inner, depth, span{}, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// span is where the keys of a page may lie: low ≤ key < high, each greater than the one before. nil is no bound.
type span struct {
	low, high []byte
	begun     bool // low is a key of the page itself
}

func (s *span) next(key []byte) error {
	order := bytes.Compare(s.low, key)
	if order > 0 || order == 0 && s.begun || s.high != nil && bytes.Compare(key, s.high) >= 0 {
		return errors.New("its keys are not in order")
	}
	s.low, s.begun = key, true
	return nil
}

// page is a page's bytes, at least its head.
type page []byte

func (p page) id() uint64       { return native.Uint64(p) }
func (p page) flags() uint16    { return native.Uint16(p[8:]) }
func (p page) count() int       { return int(native.Uint16(p[10:])) }
func (p page) overflow() uint32 { return native.Uint32(p[12:]) }

// part returns n bytes at an offset from element i.
func (p page) part(i int, pos, n uint32) ([]byte, error) {
	from := uint64(headSize+elemSize*i) + uint64(pos)
	if to := from + uint64(n); n > 0 && to <= uint64(len(p)) {
		return p[from:to], nil
	}
	return nil, fmt.Errorf("element %d lies outside of the page", i)
}

// branchKey returns the key of an element; then branchPage may be asked for its page.
func (p page) branchKey(i int) ([]byte, error) {
	e, err := p.part(i, 0, elemSize)
	if err != nil {
		return nil, err
	}
	return p.part(i, native.Uint32(e), native.Uint32(e[4:]))
}

func (p page) branchPage(i int) uint64 { return native.Uint64(p[headSize+elemSize*i+8:]) }

func (p page) leafElem(i int) (key, value []byte, flags uint32, err error) {
	e, err := p.part(i, 0, elemSize)
	if err != nil {
		return nil, nil, 0, err
	}
	flags, pos, size := native.Uint32(e), native.Uint32(e[4:]), native.Uint32(e[8:])
	if key, err = p.part(i, pos, size); err != nil {
		return nil, nil, 0, err
	}
	if n := native.Uint32(e[12:]); n > 0 {
		from := uint64(pos) + uint64(size)
		if from > 1<<32-1 {
			return nil, nil, 0, fmt.Errorf("element %d lies outside of the page", i)
		}
		value, err = p.part(i, uint32(from), n)
	}
	return key, value, flags, err
}
