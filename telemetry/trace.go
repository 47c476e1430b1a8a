package telemetry

import (
	"encoding/binary"
	"math/rand/v2"
)

// traceparentLen is the length of a version 00 traceparent: version, trace, parent and flags in hex, with dashes.
const traceparentLen = 2 + 1 + 32 + 1 + 16 + 1 + 2

// ParseTraceparent reads a traceparent header (W3C Trace Context, level 1, section 3.2). ok is false, and the rest zero,
// for anything the recommendation calls invalid: upper-case hex, version ff, an all-zero id, a version 00 that is not exactly 55
// bytes. Of a later version the first 55 bytes are read, if a dash follows them. It does not allocate.
func ParseTraceparent(s string) (traceID [16]byte, parent [8]byte, flags byte, ok bool) {
	if len(s) < traceparentLen || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return
	}
	var version, f [1]byte
	var t [16]byte
	var p [8]byte
	if !lowerHex(version[:], s[:2]) || !lowerHex(t[:], s[3:35]) || !lowerHex(p[:], s[36:52]) || !lowerHex(f[:], s[53:55]) {
		return
	}
	switch {
	case version[0] == 0xff, t == [16]byte{}, p == [8]byte{}:
		return
	case len(s) == traceparentLen:
	case version[0] == 0 || s[traceparentLen] != '-':
		return
	}
	return t, p, f[0], true
}

// lowerHex decodes s, twice as long as dst, and reports whether it is lower-case hex.
func lowerHex(dst []byte, s string) bool {
	for i := range dst {
		hi, lo := nibbles[s[2*i]], nibbles[s[2*i+1]]
		if hi|lo > 0xf {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

// nibbles are the values of the lower-case hex digits; 0xff for every other byte.
var nibbles = func() (t [256]byte) {
	for c := range t {
		t[c] = 0xff
	}
	for v, c := range []byte(hexDigits) {
		t[c] = byte(v)
	}
	return t
}()

// AppendTraceparent appends a version 00 traceparent to dst and returns it.
func AppendTraceparent(dst []byte, traceID [16]byte, parent [8]byte, flags byte) []byte {
	dst = append(dst, "00-"...)
	dst = appendHex(dst, traceID)
	dst = append(dst, '-')
	dst = appendHex64(dst, binary.BigEndian.Uint64(parent[:]))
	return append(dst, '-', hexDigits[flags>>4], hexDigits[flags&15])
}

// appendHex is hex.AppendEncode for an id: eight digits at a time, a fifth of the work.
func appendHex(dst []byte, id [16]byte) []byte {
	dst = appendHex64(dst, binary.BigEndian.Uint64(id[:8]))
	return appendHex64(dst, binary.BigEndian.Uint64(id[8:]))
}

func appendHex64(dst []byte, v uint64) []byte {
	dst = binary.BigEndian.AppendUint64(dst, eightDigits(uint32(v>>32)))
	return binary.BigEndian.AppendUint64(dst, eightDigits(uint32(v)))
}

// eightDigits returns v in hex, the first digit in the highest byte.
func eightDigits(v uint32) uint64 {
	const ones = 0x0101010101010101
	n := uint64(v)
	n = (n | n<<16) & 0x0000ffff0000ffff
	n = (n | n<<8) & 0x00ff00ff00ff00ff
	n = (n | n<<4) & 0x0f0f0f0f0f0f0f0f // a digit's value in each byte
	letters := (n + 6*ones) >> 4 & ones // 1 where it is 10 or more
	return n + '0'*ones + letters*('a'-'9'-1)
}

// NewTraceID returns a random id that is not zero. Like NewSpanID and AppendRequestID it draws from ChaCha8, seeded by
// the system, one generator per thread: lock-free, about 10 ns, and not to be guessed from other ids.
func NewTraceID() (id [16]byte) {
	for id == [16]byte{} {
		binary.BigEndian.PutUint64(id[:8], rand.Uint64())
		binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id
}

// NewSpanID returns a random id that is not zero.
func NewSpanID() (id [8]byte) {
	for id == [8]byte{} {
		binary.BigEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}

// AppendRequestID appends a new request id, 32 lower-case hex digits (128 random bits), to dst and returns it. It reads
// no clock and does not allocate if dst has room.
func AppendRequestID(dst []byte) []byte {
	return appendHex(dst, NewTraceID())
}
