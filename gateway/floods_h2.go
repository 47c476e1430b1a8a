package gateway

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"weir/internal/mono"
)

// floodgate counts what a client of HTTP/2 has the gateway do on one connection for nothing, and says when that is a flood. It has two
// allowances, at once and for each second:
//
//   - requests given up: the client has left a request before it was answered. How it did that is all one: it reset the stream itself
//     (CVE-2023-44487), or sent what the gateway must reset it for (CVE-2025-8671). A request that was answered to its end gives one back:
//     who cancels half of what he asks for is no flood.
//   - frames that ask for nothing: pings, settings, priorities, resets, what is unknown or empty, further pieces of heads, and what the
//     gateway must answer with a reset. Updates of windows, and data for a request that was answered early, are free as far as
//     there is cause for them.
//
// Safe for concurrent use.
type floodgate struct {
	mu      sync.Mutex
	givenUp allowance
	frames  allowance
	windows int // updates of windows that there is cause for
	late    int // frames of data that may be under way for requests that were answered before they were sent whole
	by      http2.FrameType

	over atomic.Uint32 // a floodKind
}

// floodKind is the limit that a client has passed.
type floodKind uint32

// The kinds of floods.
const (
	noFlood floodKind = iota
	tooManyResets
	tooManyFrames
	floodKinds
)

// floodNames are what the configuration calls the limits.
var floodNames = [floodKinds]string{tooManyResets: "resets", tooManyFrames: "control_frames"}

// What comes back of the allowances in a second is a part of what they are at once.
const (
	resetsRefill = 10
	framesRefill = 2
)

const (
	settingsCost    = 20
	windowsPerHead  = 4       // updates of windows: what a client may say of a new stream,
	windowsPerFrame = 2       // and of each frame of data that it gets
	latePerBody     = 256     // frames of data: a stream's window in pieces of 1 KiB
	mostCredit      = 1 << 16 // of either
)

func newFloodgate(resets, frames int, now mono.Time) floodgate {
	return floodgate{
		givenUp: newAllowance(int64(resets), max(1, int64(resets)/resetsRefill), now),
		frames:  newAllowance(int64(frames), max(1, int64(frames)/framesRefill), now),
	}
}

// sent counts a frame of the client's. barren: it is DATA that holds nothing and ends nothing; awaited: it is what the gateway has asked for.
func (g *floodgate) sent(h header, barren, awaited bool, now mono.Time) {
	cost := int64(1)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch h.kind {
	case http2.FrameSettings:
		if cost = settingsCost; h.flags.Has(http2.FlagSettingsAck) {
			cost = 0
		}
	case http2.FrameHeaders:
		if g.windows = min(g.windows+windowsPerHead, mostCredit); h.length > 0 {
			cost = 0
		}
	case http2.FrameData:
		if !barren {
			cost = 0
		}
	case http2.FrameWindowUpdate:
		if g.windows > 0 {
			g.windows--
			cost = 0
		}
	case http2.FramePing:
		if awaited {
			cost = 0
		}
	}
	g.takeLocked(cost, h.kind, now)
}

// answered counts a frame of the gateway's.
func (g *floodgate) answered(h header, now mono.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch h.kind {
	case http2.FrameData:
		g.windows = min(g.windows+windowsPerFrame, mostCredit)
	case http2.FrameGoAway:
		if h.code == http2.ErrCodeEnhanceYourCalm { // the library: too many that wait were given up
			g.endLocked(tooManyResets, http2.FrameRSTStream)
		}
	case http2.FrameRSTStream:
		switch {
		case h.code == http2.ErrCodeNo || h.code == http2.ErrCodeInternal: // it is not the client's doing
		case h.code == http2.ErrCodeStreamClosed && g.late > 0:
			g.late--
		default:
			g.takeLocked(1, h.kind, now)
		}
	}
}

func (g *floodgate) takeLocked(cost int64, kind http2.FrameType, now mono.Time) {
	if cost > 0 && !g.frames.take(cost, now) {
		g.endLocked(tooManyFrames, kind)
	}
}

func (g *floodgate) endLocked(why floodKind, by http2.FrameType) {
	if g.over.CompareAndSwap(uint32(noFlood), uint32(why)) {
		g.by = by
	}
}

// served counts a request that was answered to its end. body: it brought one, or may be bringing it yet.
func (g *floodgate) served(body bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.givenUp.give(1); body {
		g.late = min(g.late+latePerBody, mostCredit)
	}
}

// left counts a request that its client has given up.
func (g *floodgate) left(now mono.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.givenUp.take(1, now) {
		g.endLocked(tooManyResets, http2.FrameRSTStream)
	}
}

// flood says which it is, and the frame that was too much.
func (g *floodgate) flood() (why floodKind, by http2.FrameType) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return floodKind(g.over.Load()), g.by
}

// floodLog tells operators of floods: at once, and then no more often than floodLogEvery.
type floodLog struct {
	mu     sync.Mutex
	next   mono.Time
	unsaid int
}

const floodLogEvery = 10 * time.Second

// may reports whether a line may be written now, and how many were not since the last one.
func (l *floodLog) may(now mono.Time) (unsaid int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now < l.next {
		l.unsaid++
		return 0, false
	}
	unsaid, l.unsaid = l.unsaid, 0
	l.next = now.Add(floodLogEvery)
	return unsaid, true
}

// tellFlood counts and logs the flood that has ended s, if one has.
func (s *session) tellFlood() {
	why, by := s.frames.gate.flood()
	if why == noFlood {
		return
	}
	s.conf.floods[why].Inc()
	if unsaid, ok := s.gw.floods.may(mono.Now()); ok {
		s.gw.log.Warn("a connection of HTTP/2 was ended for a flood", "peer", s.nc.Remote, "listener", s.listener, "limit", floodNames[why], "frame", by.String(), "unsaid", unsaid)
	}
}
