package compress

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Level trades time and memory for size.
type Level uint8

// The levels. doc.go has what each costs.
const (
	Fast Level = iota
	Small
	levels
)

// String returns the level as a configuration has it.
func (l Level) String() string {
	switch l {
	case Fast:
		return "fast"
	case Small:
		return "small"
	}
	return fmt.Sprintf("level %d", uint8(l))
}

// Settings of the libraries. Windows are small: they bound memory here and at the client, and no client has to accept one over 8
// MiB (RFC 9659).
var (
	gzipLevels   = [levels]int{Fast: gzip.BestSpeed, Small: 6}
	brotliLevels = [levels]int{Fast: 2, Small: 5}
	zstdLevels   = [levels]zstd.EncoderLevel{Fast: zstd.SpeedFastest, Small: zstd.SpeedBetterCompression}
)

const (
	brotliWindow = 16 // 64 KiB, as a power of two
	zstdWindow   = 128 << 10
)

var footprints = [codings][levels]int{
	Gzip:   {Fast: 850 << 10, Small: 1150 << 10},
	Brotli: {Fast: 1000 << 10, Small: 1850 << 10},
	Zstd:   {Fast: 900 << 10, Small: 5250 << 10},
}

// Footprint returns how many bytes of heap an encoder holds at most; 0 for Identity.
func Footprint(c Coding, l Level) int { return footprints[c][l] }

// stream is what the libraries have in common.
type stream interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// Encoder writes what is written to it, encoded, to another writer. It is not safe for concurrent use and starts no
// goroutine. An error of that writer is returned by all calls that follow.
type Encoder struct {
	stream stream
	coding Coding
	level  Level
	dst    target
	dirty  bool // something was written since the last flush
	closed bool
}

// target is where an encoder writes to. The stream keeps it for life, so that a waiting encoder holds on to no connection.
type target struct {
	w   io.Writer // nil: the encoder is in its pool
	err error     // the first one of w
}

func (t *target) Write(p []byte) (int, error) {
	if t.err != nil {
		return 0, t.err
	}
	n, err := t.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	t.err = err
	return n, err
}

var (
	errClosed = errors.New("compress: write after close")
	pools     [codings][levels]sync.Pool
)

// NewEncoder returns an encoder from a pool, to be given back with Release. Identity has none: that is a programmer's error.
func NewEncoder(c Coding, l Level, dst io.Writer) *Encoder {
	e, _ := pools[c][l].Get().(*Encoder)
	if e == nil {
		e = &Encoder{stream: newStream(c, l), coding: c, level: l}
	}
	e.dst.w = dst
	e.stream.Reset(&e.dst)
	return e
}

func newStream(c Coding, l Level) stream {
	switch c {
	case Gzip:
		if w, err := gzip.NewWriterLevel(nil, gzipLevels[l]); err == nil {
			return w
		}
	case Brotli:
		return brotli.NewWriterOptions(nil, brotli.WriterOptions{Quality: brotliLevels[l], LGWin: brotliWindow})
	case Zstd:
		// One at a time means in the caller's goroutine; an empty body must still be a frame.
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true),
			zstd.WithEncoderLevel(zstdLevels[l]), zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
		if err == nil {
			return w
		}
	}
	panic(fmt.Sprintf("BUG: no encoder for %v, %v", c, l))
}

// Write takes p. Encoded bytes come when there is enough for a block, or at a Flush.
func (e *Encoder) Write(p []byte) (int, error) {
	if e.closed {
		return 0, errClosed
	}
	if e.dst.err != nil {
		return 0, e.dst.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	e.dirty = true
	return e.stream.Write(p)
}

// Flush writes all that was taken, so that the receiver can decode it now. With nothing new it does nothing.
func (e *Encoder) Flush() error {
	if e.dst.err != nil || e.closed || !e.dirty {
		return e.dst.err
	}
	e.dirty = false
	return e.stream.Flush()
}

// Close writes the rest and the end. An encoder that is not closed leaves a body that its reader sees is cut short. The
// second call does nothing.
func (e *Encoder) Close() error {
	if e.dst.err != nil || e.closed {
		return e.dst.err
	}
	e.closed = true
	return e.stream.Close()
}

// Release gives the encoder back, closed or not. It must not be used any more.
func (e *Encoder) Release() {
	if e.dst.w == nil {
		panic("BUG: an encoder is released twice")
	}
	e.dst, e.dirty, e.closed = target{}, false, false
	pools[e.coding][e.level].Put(e)
}
