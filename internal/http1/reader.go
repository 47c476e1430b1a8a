package http1

import (
	"errors"
	"io"
	"sync"
)

// Buffer sizes: a head is read into a small buffer; a body that does not fit behind its head moves on into a large one.
const (
	SmallBuffer = 4 << 10
	LargeBuffer = 32 << 10
)

var (
	small = sync.Pool{New: func() any { return new([SmallBuffer]byte) }}
	large = sync.Pool{New: func() any { return new([LargeBuffer]byte) }}
)

// AcquireBuffer returns a buffer of at least n bytes with undefined content.
func AcquireBuffer(n int) []byte {
	switch {
	case n <= SmallBuffer:
		return small.Get().(*[SmallBuffer]byte)[:]
	case n <= LargeBuffer:
		return large.Get().(*[LargeBuffer]byte)[:]
	}
	return make([]byte, n)
}

// ReleaseBuffer gives back what AcquireBuffer returned; b must not be used again. Other sizes are left to the collector.
func ReleaseBuffer(b []byte) {
	switch cap(b) {
	case SmallBuffer:
		small.Put((*[SmallBuffer]byte)(b[:SmallBuffer]))
	case LargeBuffer:
		large.Put((*[LargeBuffer]byte)(b[:LargeBuffer]))
	}
}

// Reader reads messages from a connection. While a head is in use its buffer is held still: body bytes that do not fit
// behind it go into another one. It has a buffer only between the first Fill and Release, so that an idle connection
// costs none. Not safe for concurrent use.
type Reader struct {
	src    io.Reader
	buf    []byte
	r, w   int
	held   bool   // views of the current head point into buf
	pinned []byte // the buffer those views point into, once reading moved on
}

// NewReader returns a reader of src.
func NewReader(src io.Reader) Reader { return Reader{src: src} }

// Buffered returns how many bytes are read and not yet taken.
func (r *Reader) Buffered() int { return r.w - r.r }

// Bytes returns a view of them, valid until the next Fill.
func (r *Reader) Bytes() []byte { return r.buf[r.r:r.w] }

// Discard takes the first n of them.
func (r *Reader) Discard(n int) { r.r += n }

// Room returns free space to read into, at least one byte, for a caller that reads from the connection itself and says
// with Grew how much came.
func (r *Reader) Room() []byte {
	r.makeRoom()
	return r.buf[r.w:]
}

// Grew takes in n bytes that were read into Room.
func (r *Reader) Grew(n int) { r.w += n }

// Fill reads once. It makes room first; a nil error means that at least one byte came.
func (r *Reader) Fill() error {
	r.makeRoom()
	for range 8 {
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

func (r *Reader) makeRoom() {
	switch {
	case r.buf == nil:
		r.buf, r.r, r.w = AcquireBuffer(SmallBuffer), 0, 0
	case r.held && r.w == r.r: // a body begins that is not all here
		r.pinned, r.held = r.buf, false
		r.buf, r.r, r.w = AcquireBuffer(LargeBuffer), 0, 0
	case r.held: // a part of it that must be seen whole (a chunk header) is here: it moves along
		b := AcquireBuffer(max(LargeBuffer, 2*(r.w-r.r)))
		n := copy(b, r.buf[r.r:r.w])
		r.pinned, r.held = r.buf, false
		r.buf, r.r, r.w = b, 0, n
	case r.r == r.w:
		r.r, r.w = 0, 0
	case r.w == len(r.buf) && r.r > 0:
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	case r.w == len(r.buf):
		b := AcquireBuffer(2 * len(r.buf))
		r.w = copy(b, r.buf)
		ReleaseBuffer(r.buf)
		r.buf = b
	}
}

// ReadRequest reads a request head into h and holds its buffer still until Unpin. io.EOF means that the
// connection ended between requests.
func (r *Reader) ReadRequest(h *Head, lim Limits) error { return r.readHead(h, lim, true) }

// ReadResponse is ReadRequest for a response head.
func (r *Reader) ReadResponse(h *Head, lim Limits) error { return r.readHead(h, lim, false) }

func (r *Reader) readHead(h *Head, lim Limits, request bool) error {
	h.Reset()
	for {
		if r.w > r.r {
			n, f := h.parse(r.buf[r.r:r.w], lim, request)
			if f != None {
				return f
			}
			if n > 0 {
				r.r += n
				r.held = true
				return nil
			}
		}
		if err := r.Fill(); err != nil {
			if r.w > r.r && errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// Unpin ends the use of the last head's views.
func (r *Reader) Unpin() {
	r.held = false
	if r.pinned != nil {
		ReleaseBuffer(r.pinned)
		r.pinned = nil
	}
}

// Release gives the buffers back. Bytes read and not taken are lost.
func (r *Reader) Release() {
	r.Unpin()
	if r.buf != nil {
		ReleaseBuffer(r.buf)
		r.buf, r.r, r.w = nil, 0, 0
	}
}
