package gateway

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"pgregory.net/rapid"
)

// methodGet is HPACK's index of ":method: GET".
const methodGet = 0x82

// TestFramesRead: whatever a client sends comes through as it was, however it is read, up to where it breaks off.
func TestFramesRead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var sent bytes.Buffer
		sent.WriteString(preface)
		framer := http2.NewFramer(&sent, nil)
		framer.AllowIllegalWrites = true
		for range rapid.IntRange(0, 20).Draw(rt, "frames") {
			kind := http2.FrameType(rapid.IntRange(0, 20).Draw(rt, "type"))
			size := rapid.SampledFrom([]int{0, 1, 6, 100, 4087, 4088, 5000, 16384, 16385}).Draw(rt, "size")
			flags := http2.Flags(rapid.Byte().Draw(rt, "flags"))
			fill := rapid.Byte().Draw(rt, "byte")
			if kind == http2.FrameHeaders || kind == http2.FrameContinuation {
				fill = methodGet // a malformed request is reset besides, see TestHeadGuard
			}
			payload := bytes.Repeat([]byte{fill}, size)
			if kind == http2.FrameSettings { // repeats are rewritten, see TestDropOverridden
				payload = payload[:min(size, 6)]
			}
			framer.WriteRawFrame(kind, flags, 1, payload) //nolint:errcheck // a buffer takes everything
		}
		sent.Truncate(sent.Len() - rapid.IntRange(0, min(20, sent.Len())).Draw(rt, "cut"))
		want := bytes.Clone(sent.Bytes())
		already := rapid.IntRange(0, len(want)).Draw(rt, "already")
		f := newFrames(readOnly{Buffer: bytes.NewBuffer(want[already:])}, want[:already:already], &Listener{HeaderTimeout: time.Hour, ControlFrames: 1 << 30})
		var got []byte
		for {
			p := make([]byte, rapid.SampledFrom([]int{1, 9, 1000, 20000}).Draw(rt, "room"))
			n, err := f.Read(p)
			if got = append(got, p[:n]...); err != nil {
				if err != io.EOF && err != io.ErrUnexpectedEOF {
					rt.Fatal(err)
				}
				break
			}
		}
		if !bytes.HasPrefix(want, got) {
			rt.Fatalf("what came is not what was sent: %d bytes of %d", len(got), len(want))
		}
		if rest := len(want) - len(got); rest > frameHeader+maxFrame {
			rt.Fatalf("%d bytes are missing", rest)
		}
	})
}

// readOnly is a connection that can only be read from.
type readOnly struct {
	*bytes.Buffer
	noConn
}

func (r readOnly) Read(p []byte) (int, error)  { return r.Buffer.Read(p) }
func (r readOnly) Write(p []byte) (int, error) { return len(p), nil }

// FuzzFramesRead: no bytes of a client's make frames panic, wait for what is there, or bring more than came, but for the resets of malformed requests.
func FuzzFramesRead(f *testing.F) {
	f.Add([]byte("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x01"), uint16(1))
	f.Add([]byte("\x00\x00\x02\x00\x08\x00\x00\x00\x01\x01\x00"), uint16(3))             // padding alone
	f.Add([]byte("\x00\x00\x01\x01\x04\x00\x00\x00\x01\x82\x00\x00\x04\x03"), uint16(9)) // a head, and half a reset
	f.Add([]byte("\x00\x00\x0d\x01\x2c\x00\x00\x00\x01\xff"), uint16(100))               // padding and priority that are not there
	f.Fuzz(func(t *testing.T, sent []byte, room uint16) {
		in := append([]byte(preface), sent...)
		fr := newFrames(readOnly{Buffer: bytes.NewBuffer(in)}, nil, &Listener{HeaderTimeout: time.Hour, Resets: 10, ControlFrames: 100})
		p := make([]byte, int(room)+1)
		got := 0
		for {
			n, err := fr.Read(p)
			if got += n; err != nil {
				break
			}
		}
		if most := len(in) + len(in)/frameHeader*(frameHeader+4); got > most {
			t.Fatalf("%d bytes of %d", got, len(in))
		}
	})
}

// FuzzScanner: a stream of frames that comes in pieces holds the same frames as at once.
func FuzzScanner(f *testing.F) {
	f.Add([]byte("\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08"), uint8(3))
	f.Add([]byte("\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0b\x00\x00\x00"), uint8(1))
	f.Add([]byte("\x00\x00\x02\x03\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), uint8(200))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		var want []header
		for rest := stream; len(rest) >= frameHeader; {
			h := parseHeader(rest)
			body := rest[frameHeader:min(len(rest), frameHeader+h.length)]
			if i, coded := map[http2.FrameType]int{http2.FrameRSTStream: 0, http2.FrameGoAway: 4}[h.kind]; coded && h.length >= i+4 {
				if len(body) < i+4 {
					break // its code is not there yet
				}
				h.code = http2.ErrCode(binary.BigEndian.Uint32(body[i:]))
			}
			want = append(want, h)
			rest = rest[frameHeader+len(body):]
		}
		var got []header
		s := scanner{seen: func(h header) { got = append(got, h) }}
		for rest := stream; len(rest) > 0; {
			n := min(len(rest), int(piece)+1)
			s.pass(rest[:n])
			rest = rest[n:]
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}
