package gateway

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"weir/internal/http1"
	"weir/internal/mono"
)

// frames is a client's HTTP/2 connection as the library reads and writes it. It looks at every frame that passes, and ends the connection
// of a client that floods it (floodgate), or sends the head of a request without end. How much memory frames can take the library bounds.
// Where RFC 9113 asks for another answer than the library's, frames gives that.
type frames struct {
	net.Conn
	rd       *bufio.Reader
	patience time.Duration // for a head in several frames

	left    int    // bytes of the frame that is being read
	ahead   []byte // to be read then, before what comes next
	opening bool   // a head is not complete
	heads   headGuard
	gate    floodgate

	mu     sync.Mutex
	out    scanner
	urgent []byte        // goes out at the next boundary of frames
	asked  bool          // goAwayPing was sent
	heard  chan struct{} // closed when the client has answered goAwayPing
}

var errFlood = errors.New("a flood of frames")

// newFrames reads nc, of which already was read, within the limits of l.
func newFrames(nc net.Conn, already []byte, l *Listener) *frames {
	f := &frames{Conn: nc, patience: l.HeaderTimeout, left: len(preface), heard: make(chan struct{}), gate: newFloodgate(l.Resets, l.ControlFrames, mono.Now())}
	f.out.seen = func(h header) { f.gate.answered(h, mono.Now()) }
	f.rd = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(already), nc), http1.SmallBuffer)
	f.heads.init()
	return f
}

// Read reads on, never past the end of a frame.
func (f *frames) Read(p []byte) (n int, err error) {
	if f.left == 0 && len(f.ahead) == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	if f.left == 0 {
		n = copy(p, f.ahead)
		f.ahead = f.ahead[n:]
		return n, nil
	}
	n, err = f.rd.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}

// maxFrame is the longest frame that a client may send: as long as every server must take.
const maxFrame = 16 << 10

// next looks at the frame that begins here. Of a head or settings it waits for all.
func (f *frames) next() error {
	b, err := f.rd.Peek(frameHeader)
	if err != nil {
		return err
	}
	h := parseHeader(b)
	if err := f.weigh(h); err != nil {
		return err
	}
	size := frameHeader + h.length
	looks := h.kind == http2.FrameSettings || h.kind == http2.FrameHeaders || h.kind == http2.FrameContinuation
	switch {
	case !looks || h.length > maxFrame: // longer ones the library refuses
		f.left = size
		return nil
	case size <= http1.SmallBuffer:
		f.left = size
		b, err = f.rd.Peek(size)
	default:
		f.ahead = make([]byte, size)
		b = f.ahead
		_, err = io.ReadFull(f.rd, b)
	}
	if err != nil {
		return err
	}
	if h.kind == http2.FrameSettings {
		dropOverridden(b[frameHeader:])
		return nil
	}
	f.expectRest(!h.flags.Has(http2.FlagHeadersEndHeaders))
	if bad := f.heads.look(h, b[frameHeader:]); bad {
		f.gate.answered(header{kind: http2.FrameRSTStream, code: http2.ErrCodeProtocol}, mono.Now())
		f.say(appendReset(nil, h.stream, http2.ErrCodeProtocol))
		f.ahead = appendReset(f.ahead, h.stream, http2.ErrCodeProtocol)
	}
	return nil
}

// weigh counts the frame that begins here.
func (f *frames) weigh(h header) error {
	barren, awaited := false, false
	switch h.kind {
	case http2.FrameData:
		var err error
		if barren, err = f.barren(h); err != nil {
			return err
		}
	case http2.FramePing:
		awaited = h.flags.Has(http2.FlagPingAck) && f.acknowledged()
	case http2.FrameHeaders, http2.FrameContinuation:
		f.expectRest(!h.flags.Has(http2.FlagHeadersEndHeaders) || f.rd.Buffered() < frameHeader+h.length)
	}
	f.gate.sent(h, barren, awaited, mono.Now())
	return f.refuseFlood()
}

// barren reports whether DATA holds nothing, or padding alone, and ends nothing.
func (f *frames) barren(h header) (bool, error) {
	if h.flags.Has(http2.FlagDataEndStream) {
		return false, nil
	}
	if h.length == 0 || !h.flags.Has(http2.FlagDataPadded) {
		return h.length == 0, nil
	}
	b, err := f.rd.Peek(frameHeader + 1)
	return err == nil && int(b[frameHeader])+1 >= h.length, err
}

// expectRest bounds the time until the end of a head that is not here yet.
func (f *frames) expectRest(more bool) {
	if more == f.opening {
		return
	}
	f.opening = more
	var due time.Time
	if more {
		due = time.Now().Add(f.patience)
	}
	f.Conn.SetReadDeadline(due) //nolint:errcheck // a connection that is closed fails its next read
}

// Write writes what the library has to send, and what else must go, between its frames.
func (f *frames) Write(p []byte) (int, error) {
	n, err := f.write(p)
	if flood := f.refuseFlood(); flood != nil {
		return n, flood
	}
	return n, err
}

func (f *frames) write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	done := 0
	for len(f.urgent) > 0 && done < len(p) {
		if f.out.started && f.out.between() {
			if err := f.sendUrgentLocked(); err != nil {
				return done, err
			}
			break
		}
		n := f.out.frame(p[done:])
		m, err := f.Conn.Write(p[done : done+n])
		if done += m; err != nil {
			return done, err
		}
	}
	f.out.pass(p[done:])
	n, err := f.Conn.Write(p[done:])
	if err == nil && len(f.urgent) > 0 && f.out.between() {
		err = f.sendUrgentLocked()
	}
	return done + n, err
}

func (f *frames) sendUrgentLocked() error {
	_, err := f.Conn.Write(f.urgent)
	f.urgent = nil
	return err
}

// say sends frames as soon as it can be done.
func (f *frames) say(b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.urgent = append(f.urgent, b...)
	if f.out.between() && f.out.started {
		f.sendUrgentLocked() //nolint:errcheck // the next write meets it too
	}
}

// goAwayPing is what a ping says that asks whether the client has read the GOAWAY before it.
var goAwayPing = [8]byte{'w', 'e', 'i', 'r', 'g', 'o', 'n', 'e'}

const (
	goAwayWait = 300 * time.Millisecond // for the answer: about a round trip on earth
	goAwayLag  = 50 * time.Millisecond  // that a client may be slower to stop asking than to answer
)

// sayGoAway tells the client to open no more streams, without refusing any yet (RFC 9113, section 6.8), and waits until it has heard it,
// for goAwayWait at most.
func (f *frames) sayGoAway(over <-chan struct{}) {
	b := appendGoAway(nil, 1<<31-1, http2.ErrCodeNo)
	b = append(appendFrameHeader(b, 8, http2.FramePing), goAwayPing[:]...)
	f.mu.Lock()
	f.asked = true
	f.mu.Unlock()
	f.say(b)
	t := time.NewTimer(goAwayWait)
	defer t.Stop()
	select {
	case <-f.heard:
		t.Reset(goAwayLag)
	case <-over:
		return
	case <-t.C:
		return
	}
	select {
	case <-over:
	case <-t.C:
	}
}

// acknowledged takes a ping's answer for that to goAwayPing: there is no other ping of ours.
func (f *frames) acknowledged() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.asked {
		return false
	}
	f.asked = false
	close(f.heard)
	return true
}

// refuseFlood ends the connection if there is a flood, and says why.
func (f *frames) refuseFlood() error {
	if floodKind(f.gate.over.Load()) == noFlood {
		return nil
	}
	f.Conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) //nolint:errcheck // it is being closed anyway
	f.say(appendGoAway(nil, 0, http2.ErrCodeEnhanceYourCalm))
	f.Conn.Close() //nolint:errcheck // it is of no more use
	return errFlood
}

// appendReset appends a RST_STREAM.
func appendReset(b []byte, stream uint32, code http2.ErrCode) []byte {
	b = append(b, 0, 0, 4, byte(http2.FrameRSTStream), 0)
	b = binary.BigEndian.AppendUint32(b, stream)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

func appendGoAway(b []byte, last uint32, code http2.ErrCode) []byte {
	b = appendFrameHeader(b, 8, http2.FrameGoAway)
	b = binary.BigEndian.AppendUint32(b, last)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

// appendFrameHeader appends the header of a frame for the connection, without flags.
func appendFrameHeader(b []byte, length int, kind http2.FrameType) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), byte(kind), 0, 0, 0, 0, 0)
}
