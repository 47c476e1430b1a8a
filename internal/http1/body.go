package http1

import (
	"bytes"
	"errors"
	"io"
)

type bodyKind uint8

const (
	bodyNone bodyKind = iota
	bodyLength
	bodyChunked
	bodyClose // until the connection ends: responses only
)

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkData
	chunkEnd
	chunkTrailers
)

// Bounds of chunked bodies: one size line, and all extensions of a body together (a flood of them is work for nothing).
const (
	maxChunkLine = 512
	maxChunkExt  = 16 << 10
)

// Body reads the body of one message. The zero value is an empty body. Not safe for concurrent use.
type Body struct {
	rd    *Reader
	lim   Limits
	kind  bodyKind
	state chunkState
	done  bool
	left  int64 // of the body, or of the chunk
	read  int64
	ext   int

	// Max is how long the body may be; 0 is unlimited. A longer one is the fault BodyTooLarge as soon as that is known,
	// which for a chunk is when its size has come.
	Max int64

	// Trailers holds the trailer fields once Next has returned io.EOF on a chunked body. Its views are valid until the
	// reader's next Fill.
	Trailers Head
}

// Request makes b the body that follows request head h on rd.
func (b *Body) Request(h *Head, rd *Reader, lim Limits) {
	b.reset(rd, lim)
	switch {
	case h.Chunked:
		b.kind = bodyChunked
	case h.Length > 0:
		b.kind, b.left = bodyLength, h.Length
	default:
		b.done = true
	}
}

// Response makes b the body that follows response head h on rd. toHead tells that the request was a HEAD.
func (b *Body) Response(h *Head, rd *Reader, lim Limits, toHead bool) {
	b.reset(rd, lim)
	switch {
	case toHead || NoBody(h.Status):
		b.done = true
	case h.Chunked:
		b.kind = bodyChunked
	case h.Length >= 0:
		b.kind, b.left, b.done = bodyLength, h.Length, h.Length == 0
	default:
		b.kind = bodyClose
	}
}

// NoBody reports whether a response of that status never has a body.
func NoBody(status int) bool { return status < 200 || status == 204 || status == 304 }

func (b *Body) reset(rd *Reader, lim Limits) {
	f := b.Trailers.Fields[:0]
	*b = Body{rd: rd, lim: lim}
	b.Trailers.Fields = f
}

// Release forgets the message, and the reader.
func (b *Body) Release() { b.reset(nil, Limits{}) }

// Done reports whether the body was read to its end.
func (b *Body) Done() bool { return b.done }

// Read returns how many body bytes Next has returned.
func (b *Body) Read() int64 { return b.read }

// Chunked reports whether the body's length is not known beforehand because it is chunked.
func (b *Body) Chunked() bool { return b.kind == bodyChunked }

// UntilClose reports whether the body ends with its connection.
func (b *Body) UntilClose() bool { return b.kind == bodyClose }

// Left returns how many bytes of a body of known length are still to come, or -1.
func (b *Body) Left() int64 {
	switch {
	case b.done:
		return 0
	case b.kind == bodyLength:
		return b.left
	}
	return -1
}

// Here reports whether the rest of the body is already in the reader's buffer, so that reading it does not block.
func (b *Body) Here() bool {
	return b.done || b.kind == bodyLength && int64(b.rd.Buffered()) >= b.left
}

// Pending reports whether Next can return a piece, or the end, without reading from the connection.
// For a chunked body it may say no although it could.
func (b *Body) Pending() bool {
	if b.done {
		return true
	}
	n := b.rd.Buffered()
	return n > 0 && (b.kind != bodyChunked || b.state == chunkData)
}

// Next returns the next piece of the body as a view that is valid until the following call. At the end it returns io.EOF;
// io.ErrUnexpectedEOF means that the connection ended inside the body; a [Fault], that the framing is malformed.
func (b *Body) Next() ([]byte, error) { return b.next((*Body).fill) }

// ErrMore says that the next piece has not come yet.
var ErrMore = errors.New("more bytes are needed")

// NextHere is Next, but returns ErrMore where that would read from the connection.
func (b *Body) NextHere() ([]byte, error) { return b.next((*Body).noFill) }

func (b *Body) next(fill func(*Body) error) ([]byte, error) {
	if b.done {
		return nil, io.EOF
	}
	if b.kind == bodyChunked {
		return b.nextChunked(fill)
	}
	if b.kind == bodyLength && b.Max > 0 && b.left > b.Max-b.read {
		return nil, BodyTooLarge
	}
	if b.rd.Buffered() == 0 {
		if err := fill(b); err != nil {
			if err == io.ErrUnexpectedEOF && b.kind == bodyClose {
				b.done = true
				err = io.EOF
			}
			return nil, err
		}
	}
	p := b.rd.Bytes()
	if b.kind == bodyLength {
		if int64(len(p)) >= b.left {
			p = p[:b.left]
			b.done = true
		}
		b.left -= int64(len(p))
	}
	b.take(p)
	return p, nil
}

func (b *Body) take(p []byte) {
	b.rd.Discard(len(p))
	b.read += int64(len(p))
}

func (b *Body) nextChunked(fill func(*Body) error) ([]byte, error) {
	for {
		before := b.state
		switch b.state {
		case chunkSize:
			if f := b.size(); f != None {
				return nil, f
			}
		case chunkData:
			if p := b.rd.Bytes(); len(p) > 0 {
				if int64(len(p)) >= b.left {
					p = p[:b.left]
					b.state = chunkEnd
				}
				b.left -= int64(len(p))
				b.take(p)
				return p, nil
			}
		case chunkEnd:
			p := b.rd.Bytes()
			if len(p) > 0 && p[0] != '\r' || len(p) > 1 && p[1] != '\n' {
				return nil, BadChunk
			}
			if len(p) > 1 {
				b.rd.Discard(2)
				b.state = chunkSize
			}
		case chunkTrailers:
			if err := b.trailers(); err != nil {
				return nil, err
			}
		}
		if b.state != before {
			continue
		}
		if err := fill(b); err != nil {
			return nil, err
		}
	}
}

func (b *Body) noFill() error { return ErrMore }

func (b *Body) fill() error {
	err := b.rd.Fill()
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// size parses a chunk's size line if it is all here, and sets the next state.
func (b *Body) size() Fault {
	p := b.rd.Bytes()
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		if len(p) > maxChunkLine || !sizePrefix(p) {
			return BadChunk
		}
		return None
	}
	if i < 2 || i > maxChunkLine || p[i-1] != '\r' {
		return BadChunk
	}
	line := p[:i-1]
	n, digits := int64(0), 0
	for digits < len(line) {
		v := hexValue(line[digits])
		if v < 0 {
			break
		}
		if digits == 15 { // 60 bits
			return BadChunk
		}
		n = n<<4 | int64(v)
		digits++
	}
	ext := line[digits:]
	if digits == 0 || len(ext) > 0 && ext[0] != ';' || !cleanValue(ext) {
		return BadChunk
	}
	if b.ext += len(ext); b.ext > maxChunkExt {
		return BadChunk
	}
	if b.Max > 0 && n > b.Max-b.read {
		return BodyTooLarge
	}
	b.rd.Discard(i + 1)
	b.left = n
	b.state = chunkData
	if n == 0 {
		b.state = chunkTrailers
		b.Trailers.Reset()
	}
	return None
}

// sizePrefix reports whether p may still become a size line: junk is refused before its line feed comes.
func sizePrefix(p []byte) bool { return len(p) == 0 || hexValue(p[0]) >= 0 }

func (b *Body) trailers() error {
	n, f := b.Trailers.ParseTrailers(b.rd.Bytes(), b.lim)
	if f != None {
		if f.TooLarge() {
			return f
		}
		return BadTrailer
	}
	if n == 0 {
		return nil
	}
	b.rd.Discard(n)
	b.done = true
	return io.EOF
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// AppendChunkSize appends the size line of a chunk of n > 0 bytes. Data and CRLF follow it.
func AppendChunkSize(dst []byte, n int) []byte {
	const digits = "0123456789abcdef"
	var t [16]byte
	i := len(t)
	for n > 0 {
		i--
		t[i] = digits[n&15]
		n >>= 4
	}
	dst = append(dst, t[i:]...)
	return append(dst, '\r', '\n')
}
