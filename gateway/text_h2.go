package gateway

import (
	"errors"
	"io"
	"strconv"

	"weir/internal/http1"
)

// What HTTP/2 says is written as HTTP/1 on its way through the gateway, and back: one codec judges what comes in by either protocol, one
// carrier serves it. What follows is common to clients' streams and to endpoints'.

// Sizes of a chunk's frame as chunker writes it.
const (
	chunkHead = 8 + 2 // so many digits of its size, and CRLF
	chunkTail = 2
	chunkRoom = chunkHead + 512 + chunkTail
)

// chunker reads a body and frames it as HTTP/1 does. The zero value is an empty body.
type chunker struct {
	src      io.Reader // nil: there is no body
	chunked  bool
	trailers func(b []byte) []byte // appends their lines, at the end of a chunked body
	rest     []byte                // framed, and not read yet
	last     []byte                // memory for what ends a body
	ended    bool
}

// Read reads a piece with its frame. A body of known length is not framed.
func (c *chunker) Read(p []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(p, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	if c.src == nil || c.ended {
		return 0, io.EOF
	}
	if !c.chunked {
		return c.src.Read(p)
	}
	if len(p) < chunkRoom {
		b := make([]byte, chunkRoom)
		n, err := c.frame(b)
		c.rest = append(b[:n], c.rest...)
		m := copy(p, c.rest)
		c.rest = c.rest[m:]
		return m, err
	}
	return c.frame(p)
}

// frame reads a chunk into p.
func (c *chunker) frame(p []byte) (int, error) {
	n, err := c.src.Read(p[chunkHead : len(p)-chunkTail])
	size := 0
	if n > 0 {
		const digits = "0123456789abcdef"
		for i, k := chunkHead-3, n; i >= 0; i, k = i-1, k>>4 {
			p[i] = digits[k&15]
		}
		copy(p[chunkHead-2:], "\r\n")
		copy(p[chunkHead+n:], "\r\n")
		size = chunkHead + n + chunkTail
	}
	if err == io.EOF {
		c.ended = true
		c.last = append(c.last[:0], "0\r\n"...)
		if c.trailers != nil {
			c.last = c.trailers(c.last)
		}
		c.last = append(c.last, "\r\n"...)
		c.rest = c.last
		n := copy(p[size:], c.rest)
		c.rest = c.rest[n:]
		size += n
		err = nil
	}
	return size, err
}

// unframer takes apart a body that the gateway has framed: every write holds whole chunks, or bytes of a known length.
type unframer struct {
	chunked bool
	left    int64 // of a known length
	done    bool
	head    http1.Head // for trailers
}

var errFraming = errors.New("BUG: a message that is not framed as the gateway frames them")

// begin makes u ready for the body that follows h. A message without a body is done at once.
func (u *unframer) begin(h *http1.Head, noBody bool) {
	u.chunked, u.left = h.Chunked && !noBody, max(0, h.Length)
	u.done = noBody || !u.chunked && u.left == 0
}

// feed passes what p holds of the body to piece, and trailers to trailer.
func (u *unframer) feed(p []byte, piece func([]byte) error, trailer func(name, value []byte)) error {
	if !u.chunked {
		if int64(len(p)) > u.left {
			return errFraming
		}
		u.left -= int64(len(p))
		u.done = u.left == 0
		if len(p) == 0 {
			return nil
		}
		return piece(p)
	}
	for len(p) > 0 {
		var size int
		var ok bool
		if size, p, ok = chunkSize(p); !ok || u.done {
			return errFraming
		}
		if size == 0 {
			return u.end(p, trailer)
		}
		if len(p) < size+2 {
			return errFraming
		}
		if err := piece(p[:size]); err != nil {
			return err
		}
		p = p[size+2:]
	}
	return nil
}

// end takes the trailers, which p must hold whole.
func (u *unframer) end(p []byte, trailer func(name, value []byte)) error {
	u.done = true
	if len(p) == 2 {
		return nil
	}
	u.head.Reset()
	n, fault := u.head.ParseTrailers(p, http1.Limits{Bytes: len(p) + 1, Fields: 1 << 15})
	if fault != http1.None || n == 0 || n != len(p) {
		return errFraming
	}
	for i := range u.head.Fields {
		trailer(u.head.Name(i), u.head.Value(i))
	}
	return nil
}

// chunkSize takes a size line off p.
func chunkSize(p []byte) (size int, rest []byte, ok bool) {
	for i, c := range p {
		if c == '\r' {
			n, err := strconv.ParseUint(view(p[:i]), 16, 31)
			return int(n), p[min(i+2, len(p)):], err == nil && len(p) > i+1
		}
	}
	return 0, nil, false
}

// appendLength appends a Content-Length field.
func appendLength(b []byte, n int64) []byte {
	b = strconv.AppendInt(append(b, "Content-Length: "...), n, 10)
	return append(b, '\r', '\n')
}
