package websocket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// naive is what Frames says, worked out from all bytes at once.
type naive struct {
	messages       int64
	closed, broken bool
	code           int
	between        bool
	ends           []int // where frames end
}

var errShort = errors.New("short")

// readFrame takes a whole frame off r.
func readFrame(r *bytes.Reader, masked bool) (op byte, fin bool, payload []byte, ok bool, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, false, nil, true, errShort
	}
	op, fin = head[0]&15, head[0]&0x80 != 0
	n := uint64(head[1] & 0x7f)
	switch {
	case (head[1]&0x80 != 0) != masked, op >= 3 && op <= 7, op > 10, op >= 8 && (!fin || n > 125):
		return 0, false, nil, false, nil
	}
	switch n {
	case 126:
		var l uint16
		if binary.Read(r, binary.BigEndian, &l) != nil {
			return 0, false, nil, true, errShort
		}
		n = uint64(l)
	case 127:
		if binary.Read(r, binary.BigEndian, &n) != nil {
			return 0, false, nil, true, errShort
		}
	}
	var mask [4]byte
	if masked {
		if _, err := io.ReadFull(r, mask[:]); err != nil {
			return 0, false, nil, true, errShort
		}
	}
	if n > 1<<62 {
		return 0, false, nil, n>>63 == 0, errShort
	}
	if n > uint64(r.Len()) {
		return 0, false, nil, true, errShort
	}
	payload = make([]byte, n)
	io.ReadFull(r, payload) //nolint:errcheck // they are there
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return op, fin, payload, true, nil
}

func model(b []byte, masked bool) (m naive) {
	r := bytes.NewReader(b)
	for m.between = true; r.Len() > 0; {
		op, fin, payload, ok, err := readFrame(r, masked)
		if !ok {
			m.broken, m.between = true, false
			return m
		}
		if err != nil {
			m.between = false
			return m
		}
		m.ends = append(m.ends, len(b)-r.Len())
		if op == 8 {
			m.closed, m.between, m.code = true, false, NoStatus
			if len(payload) >= 2 {
				m.code = int(payload[0])<<8 | int(payload[1])
			}
			return m
		}
		if op < 3 && fin {
			m.messages++
		}
	}
	return m
}

// frame is one frame as it is written.
func frame(op byte, fin bool, payload []byte, masked bool, mask [4]byte) []byte {
	b := []byte{op, 0}
	if fin {
		b[0] |= 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if !masked {
		return append(b, payload...)
	}
	b[1] |= 0x80
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

func frames(t *rapid.T, masked bool) (b []byte) {
	for range rapid.IntRange(0, 6).Draw(t, "frames") {
		op := rapid.SampledFrom([]byte{0, 1, 2, 8, 9, 10, 0, 1, 2, 1, 3, 11}).Draw(t, "op")
		size := rapid.SampledFrom([]int{0, 1, 2, 5, 125, 126, 127, 1000, 65535, 65536, 70000}).Draw(t, "size")
		if op >= 8 {
			size %= 126
		}
		payload := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, size)
		mask := [4]byte{1, 2, 3, byte(size)}
		b = append(b, frame(op, op >= 8 || rapid.Bool().Draw(t, "fin"), payload, masked, mask)...)
	}
	if rapid.Bool().Draw(t, "cut") {
		b = b[:rapid.IntRange(0, len(b)).Draw(t, "at")]
	}
	return b
}

func check(t interface{ Errorf(string, ...any) }, f *Frames, m naive) {
	code, closed := f.Closed()
	if !closed {
		code = m.code
	}
	if f.Messages() != m.messages || f.Broken() != m.broken || closed != m.closed || code != m.code || f.Between() != m.between {
		t.Errorf("%d messages, broken %v, closed %v %d, between %v; want %+v", f.Messages(), f.Broken(), closed, code, f.Between(), m)
	}
}

// TestModel: whatever comes, in pieces of whatever size, is what a reader of whole frames makes of it, and frames end where it says.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		masked := rapid.Bool().Draw(t, "masked")
		b := frames(t, masked)
		m := model(b, masked)
		f := Frames{Masked: masked}
		for at := 0; at < len(b); {
			n := min(rapid.IntRange(1, 300).Draw(t, "piece")*rapid.SampledFrom([]int{1, 1, 100}).Draw(t, "times"), len(b)-at)
			f.Feed(b[at : at+n])
			at += n
		}
		check(t, &f, m)

		f = Frames{Masked: masked}
		for at, i := 0, 0; i < len(m.ends); i++ {
			if at += f.FeedFrame(b[at:]); at != m.ends[i] {
				t.Fatalf("frame %d ends at %d, want %d", i, at, m.ends[i])
			}
		}
	})
}

// FuzzFrames: the same for bytes that nobody thought of.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x81\x05hello\x88\x02\x03\xe9"), false, uint8(1))
	f.Add([]byte("\x81\x85\x01\x02\x03\x04hello"), true, uint8(3))
	f.Add([]byte("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff"), true, uint8(9))
	f.Add([]byte("\x01\x7e\x00\x01a\x80\x00\x89\x00"), false, uint8(2))
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"), false, uint8(4))
	f.Fuzz(func(t *testing.T, b []byte, masked bool, piece uint8) {
		frames := Frames{Masked: masked}
		for at := 0; at < len(b); at += int(piece) + 1 {
			frames.Feed(b[at:min(at+int(piece)+1, len(b))])
		}
		check(t, &frames, model(b, masked))
	})
}

// TestAppendClose: what is appended is a Close to whoever follows.
func TestAppendClose(t *testing.T) {
	for _, mask := range []*[4]byte{nil, {1, 2, 3, 4}} {
		b := AppendClose([]byte("before"), GoingAway, "shutting down", mask)[len("before"):]
		op, fin, payload, ok, err := readFrame(bytes.NewReader(b), mask != nil)
		if op != 8 || !fin || string(payload) != "\x03\xe9shutting down" || !ok || err != nil {
			t.Errorf("%q: %d %v %q %v %v", b, op, fin, payload, ok, err)
		}
		f := Frames{Masked: mask != nil}
		f.Feed(b)
		if code, closed := f.Closed(); code != GoingAway || !closed {
			t.Errorf("%d %v", code, closed)
		}
	}
}

// TestFeedAllocates: following costs no memory.
func TestFeedAllocates(t *testing.T) {
	b := frame(1, true, make([]byte, 300), true, [4]byte{1, 2, 3, 4})
	f := Frames{Masked: true}
	if n := testing.AllocsPerRun(100, func() { f.Feed(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
