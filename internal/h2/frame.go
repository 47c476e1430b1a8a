package h2

import (
	"encoding/binary"
	"fmt"
)

// FrameType is the type of a frame (RFC 9113, section 6).
type FrameType uint8

// The types that there are. Others are ignored.
const (
	frameData FrameType = iota
	frameHeaders
	framePriority
	frameRSTStream
	frameSettings
	framePushPromise
	framePing
	frameGoAway
	frameWindowUpdate
	frameContinuation
)

var frameNames = [...]string{"DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION"}

// String is the name that RFC 9113 gives it.
func (t FrameType) String() string {
	if int(t) < len(frameNames) {
		return frameNames[t]
	}
	return fmt.Sprintf("type %#x", uint8(t))
}

// Flags; what they mean is the frame's.
const (
	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Code says why a stream or a connection ends (RFC 9113, section 7).
type Code uint32

// The codes that are sent.
const (
	NoError          Code = 0x0
	ProtocolError    Code = 0x1
	InternalError    Code = 0x2
	FlowControlError Code = 0x3
	StreamClosed     Code = 0x5
	FrameSizeError   Code = 0x6
	RefusedStream    Code = 0x7
	Cancel           Code = 0x8
	CompressionError Code = 0x9
	EnhanceYourCalm  Code = 0xb
)

// connError ends a connection: the peer is told.
type connError Code

// Error is for logs.
func (e connError) Error() string { return fmt.Sprintf("HTTP/2 connection error %#x", uint32(e)) }

// settings' identifiers.
const (
	settingTableSize        = 0x1
	settingPush             = 0x2
	settingStreams          = 0x3
	settingWindow           = 0x4
	settingFrameSize        = 0x5
	settingHeadSize         = 0x6
	settingConnect          = 0x8
	settingLength           = 6
	frameHeader             = 9
	maxFrame                = 16 << 10 // that is taken, and that is sent: what every side must take
	maxWindow               = 1<<31 - 1
	initialWindow           = 1<<16 - 1
	maxStreamID      uint32 = 1<<31 - 1
)

// header is the header of a frame.
type header struct {
	length int
	kind   FrameType
	flags  uint8
	stream uint32
}

func parseHeader(b []byte) header {
	_ = b[8]
	return header{int(b[0])<<16 | int(b[1])<<8 | int(b[2]), FrameType(b[3]), b[4], binary.BigEndian.Uint32(b[5:]) & maxStreamID}
}

func (h header) has(flag uint8) bool { return h.flags&flag != 0 }

func appendHeader(b []byte, length int, kind FrameType, flags uint8, stream uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), byte(kind), flags, byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendReset(b []byte, stream uint32, code Code) []byte {
	return binary.BigEndian.AppendUint32(appendHeader(b, 4, frameRSTStream, 0, stream), uint32(code))
}

func appendGoAway(b []byte, last uint32, code Code) []byte {
	b = binary.BigEndian.AppendUint32(appendHeader(b, 8, frameGoAway, 0, 0), last)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

func appendWindowUpdate(b []byte, stream uint32, n int64) []byte {
	return binary.BigEndian.AppendUint32(appendHeader(b, 4, frameWindowUpdate, 0, stream), uint32(n))
}

func appendSetting(b []byte, id uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, id), value)
}

// unpad returns a payload without its padding. ok: it can be.
func unpad(h header, p []byte) (rest []byte, ok bool) {
	if !h.has(flagPadded) {
		return p, true
	}
	if len(p) == 0 || int(p[0]) >= len(p) {
		return nil, false
	}
	return p[1 : len(p)-int(p[0])], true
}
