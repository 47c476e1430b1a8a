// Package websocket follows the frames of a WebSocket (RFC 6455) that passes through: where they end, how many messages there were, and
// how it was closed. It does not look into messages, so extensions such as compression do not matter, and it copies nothing.
//
// It is no WebSocket implementation: it neither opens one, nor reassembles messages, nor checks their text.
package websocket

import "encoding/binary"

// Kinds of frames (RFC 6455, section 11.8).
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPong         = 0xA
)

// Status codes of a Close (RFC 6455, section 7.4.1). The last two are never sent: they say what was not.
const (
	GoingAway = 1001
	NoStatus  = 1005 // a Close without one
	Abnormal  = 1006 // no Close
)

// Frames follows one direction. The zero value follows a server's frames, from their start. Not safe for concurrent use.
type Frames struct {
	Masked   bool // a client's: its frames are masked, a server's are not
	broken   bool
	closed   bool
	op       byte // of the frame under way
	fin      bool
	have     uint8    // bytes of its header that have come; 0: between frames
	need     uint8    // bytes that the header has
	code     uint16   // of the Close
	told     uint8    // bytes of code that have come
	mask     [4]byte  // of the frame under way
	left     uint64   // of its payload
	header   [14]byte // as far as it has come
	messages int64
}

// Messages is how many messages have passed to their end.
func (f *Frames) Messages() int64 { return f.messages }

// Broken reports that what came are no frames. What follows is not looked at.
func (f *Frames) Broken() bool { return f.broken }

// Closed reports that a Close has passed, after which nothing may come, and its status.
func (f *Frames) Closed() (code int, ok bool) {
	switch {
	case !f.closed:
		return 0, false
	case f.told < 2:
		return NoStatus, true
	}
	return int(f.code), true
}

// Between reports that what has come ends where a frame does: another may be put behind it, if nothing was said that is the last.
func (f *Frames) Between() bool { return f.have == 0 && !f.broken && !f.closed }

// Feed follows all of p.
func (f *Frames) Feed(p []byte) {
	for len(p) > 0 {
		p = p[f.FeedFrame(p):]
	}
}

// FeedFrame follows p to the end of the frame under way, or of the next one if there is none, and returns how many bytes that were.
// It takes all of p if that end is not in it, or the stream is broken or closed.
func (f *Frames) FeedFrame(p []byte) (n int) {
	for n < len(p) {
		if f.broken || f.closed {
			return len(p)
		}
		if f.have < 2 || f.have < f.need {
			f.header[f.have] = p[n]
			n++
			if f.have++; f.have == 2 {
				f.start()
			}
			if f.have < 2 || f.have < f.need || f.broken {
				continue
			}
			f.size()
		} else {
			k := int(min(f.left, uint64(len(p)-n)))
			f.payload(p[n : n+k])
			n += k
			f.left -= uint64(k)
		}
		if f.left == 0 && !f.broken {
			f.end()
			return n
		}
	}
	return n
}

// start takes the first two bytes of a header, which say how long it is.
func (f *Frames) start() {
	f.fin, f.op = f.header[0]&0x80 != 0, f.header[0]&0x0f
	masked, short := f.header[1]&0x80 != 0, f.header[1]&0x7f
	control := f.op >= opClose
	if masked != f.Masked || f.op > opBinary && !control || f.op > opPong || control && (!f.fin || short > 125) {
		f.broken = true
		return
	}
	f.need = 2
	switch short {
	case 126:
		f.need += 2
	case 127:
		f.need += 8
	}
	if masked {
		f.need += 4
	}
}

// size takes the rest of a header.
func (f *Frames) size() {
	at := 2
	switch short := f.header[1] & 0x7f; short {
	case 126:
		f.left, at = uint64(binary.BigEndian.Uint16(f.header[2:])), 4
	case 127:
		f.left, at = binary.BigEndian.Uint64(f.header[2:]), 10
		f.broken = f.left>>63 != 0
	default:
		f.left = uint64(short)
	}
	copy(f.mask[:], f.header[at:])
	if !f.Masked {
		f.mask = [4]byte{}
	}
	if f.op == opClose {
		f.code, f.told = 0, 0
	}
}

// payload looks at a piece of a Close.
func (f *Frames) payload(p []byte) {
	if f.op != opClose {
		return
	}
	for _, c := range p {
		if f.told < 2 {
			f.code = f.code<<8 | uint16(c^f.mask[f.told])
			f.told++
		}
	}
}

// end is the end of a frame.
func (f *Frames) end() {
	f.have, f.need = 0, 0
	switch {
	case f.op == opClose:
		f.closed = true
	case f.op <= opBinary && f.fin:
		f.messages++
	}
}

// AppendClose appends a Close with a status and a reason of at most 123 bytes. mask is that of a client's; nil for a server's.
func AppendClose(b []byte, code int, reason string, mask *[4]byte) []byte {
	b = append(b, 0x80|opClose, byte(2+len(reason)))
	if mask == nil {
		b = append(b, byte(code>>8), byte(code))
		return append(b, reason...)
	}
	b[len(b)-1] |= 0x80
	b = append(b, mask[:]...)
	b = append(b, byte(code>>8)^mask[0], byte(code)^mask[1])
	for i := range len(reason) {
		b = append(b, reason[i]^mask[(i+2)%4])
	}
	return b
}
