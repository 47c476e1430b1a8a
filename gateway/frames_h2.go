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
// of a client that makes work without asking for anything: that resets what it has just asked for (CVE-2023-44487), sends settings or
// pings in floods (CVE-2019-9512, 9515), empty frames (CVE-2019-9518), or the head of a request without end. How much memory frames can
// take the library bounds. Where RFC 9113 asks for another answer than the library's, frames gives that.
type frames struct {
	net.Conn
	rd       *bufio.Reader
	patience time.Duration // for a head in several frames

	left    int    // bytes of the frame that is being read
	ahead   []byte // to be read then, before what comes next
	noise   allowance
	opening bool            // a head is not complete
	flooded http2.FrameType // what ended the connection, if ended
	ended   bool
	heads   headGuard

	mu     sync.Mutex
	out    scanner
	urgent []byte // goes out at the next boundary of frames
	asked  bool   // goAwayPing was sent
	resets allowance
	heard  chan struct{} // closed when the client has answered goAwayPing
}

// How much of what is no request a client may send: so much at once, and so much a second. A reset costs one, but each request that was
// answered to its end gives one back: who cancels half of what he asks for is no flood.
const (
	resetsAtOnce    = 500
	resetsPerSecond = 50
	noiseAtOnce     = 2000
	noisePerSecond  = 1000
	settingsCost    = 20
)

var errFlood = errors.New("a flood of frames")

func newFrames(nc net.Conn, already []byte, patience time.Duration) *frames {
	now := mono.Now()
	f := &frames{Conn: nc, patience: patience, left: len(preface), heard: make(chan struct{}),
		noise: newAllowance(noiseAtOnce, noisePerSecond, now), resets: newAllowance(resetsAtOnce, resetsPerSecond, now)}
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
	if !f.allows(h) {
		f.flooded, f.ended = h.kind, true
		f.refuse()
		return errFlood
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
	} else if bad := f.heads.look(h, b[frameHeader:]); bad {
		f.say(appendReset(nil, h.stream, http2.ErrCodeProtocol))
		f.ahead = appendReset(f.ahead, h.stream, http2.ErrCodeProtocol)
	}
	return nil
}

// allows reports whether the client may send one more frame like h.
func (f *frames) allows(h header) bool {
	cost := int64(0)
	switch h.kind {
	case http2.FrameRSTStream:
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.resets.take(1, mono.Now())
	case http2.FrameSettings:
		if !h.flags.Has(http2.FlagSettingsAck) {
			cost = settingsCost
		}
	case http2.FramePing:
		if cost = 1; h.flags.Has(http2.FlagPingAck) && f.acknowledged() {
			cost = 0
		}
	case http2.FrameHeaders, http2.FrameContinuation:
		if h.length == 0 || h.kind == http2.FrameContinuation {
			cost = 1
		}
		f.expectRest(!h.flags.Has(http2.FlagHeadersEndHeaders))
	case http2.FrameData:
		if h.length == 0 && !h.flags.Has(http2.FlagDataEndStream) {
			cost = 1
		}
	case http2.FrameWindowUpdate: // as many as there are pieces of answers
	default:
		cost = 1
	}
	return cost == 0 || f.noise.take(cost, mono.Now())
}

// expectRest bounds the time until the end of a head that comes in several frames.
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

// served says that a request was answered to its end.
func (f *frames) served() {
	f.mu.Lock()
	f.resets.give(1)
	f.mu.Unlock()
}

// Write writes what the library has to send, and what else must go, between its frames.
func (f *frames) Write(p []byte) (int, error) {
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

// refuse says why the connection ends, and ends it.
func (f *frames) refuse() {
	f.Conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) //nolint:errcheck // it is being closed anyway
	f.say(appendGoAway(nil, 0, http2.ErrCodeEnhanceYourCalm))
	f.Conn.Close() //nolint:errcheck // it is of no more use
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
