package gateway

import (
	"bytes"
	"io"
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
		f := newFrames(readOnly{Buffer: bytes.NewBuffer(want[already:])}, want[:already:already], time.Hour)
		f.noise.left = 1 << 40
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
