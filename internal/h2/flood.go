package h2

import (
	"time"

	"weir/internal/mono"
)

// floodgate counts what a client has the server do on one connection for nothing, and says when that is a flood. It has two allowances, at once
// and for each second:
//
//   - requests given up: the client has left a request before it was answered. How it did that is all one: it reset the stream itself
//     (CVE-2023-44487), or sent what the server must reset it for (CVE-2025-8671). A request that was answered to its end gives one back:
//     who cancels half of what he asks for is no flood.
//   - frames that ask for nothing: pings, settings, priorities, resets, what is unknown or empty, further pieces of heads, and what the
//     server must answer with a reset. Updates of windows, and data for a request that was answered early, are free as far as
//     there is cause for them.
//
// A client has one against its server, where requests are the client's own, and cause for frames: pings too, by which servers of gRPC measure
// the connection whenever data comes, and resets.
//
// Not safe for concurrent use.
type floodgate struct {
	client  bool
	givenUp allowance
	frames  allowance
	windows int // updates of windows (of a client, some others too) that there is cause for
	late    int // frames of data that may be under way for requests that were answered before they were sent whole; of a client, bytes, for those that were cancelled
	over    Flood
	by      FrameType
}

// Flood is the limit that a client has passed.
type Flood uint8

// The limits, and none.
const (
	NoFlood       Flood = iota
	TooManyResets       // Options.Resets
	TooManyFrames       // Options.ControlFrames
)

// What comes back of the allowances in a second is a part of what they are at once.
const (
	resetsRefill = 10
	framesRefill = 2
)

const (
	settingsCost    = 20
	windowsPerHead  = 4       // updates of windows: what a client may say of a new stream,
	windowsPerFrame = 2       // of each frame of data that it gets,
	windowEvery     = 512     // and of so many bytes of it
	latePerBody     = 256     // frames of data: a stream's window in pieces of 1 KiB
	mostCredit      = 1 << 16 // of either
	mostLate        = 1 << 30 // bytes, of a client
	lateHead        = 1 << 10 // bytes that a head counts for
)

func newFloodgate(resets, frames int, now mono.Time) floodgate {
	return floodgate{
		givenUp: newAllowance(int64(resets), max(1, int64(resets)/resetsRefill), now),
		frames:  newAllowance(int64(frames), max(1, int64(frames)/framesRefill), now),
	}
}

// sent counts a frame of the client's but DATA, of which barren says what is to be counted.
func (g *floodgate) sent(h header, now func() mono.Time) {
	switch h.kind {
	case frameData:
	case frameHeaders:
		if !g.client {
			g.asked()
		}
		if h.length == 0 {
			g.take(1, h.kind, now())
		}
	case framePing, frameRSTStream:
		if g.client && g.windows > 0 {
			g.windows--
			return
		}
		g.take(1, h.kind, now())
	case frameWindowUpdate:
		if g.windows > 0 {
			g.windows--
			return
		}
		g.take(1, h.kind, now())
	case frameSettings:
		if !h.has(flagAck) {
			g.take(settingsCost, h.kind, now())
		}
	default:
		g.take(1, h.kind, now())
	}
}

// asked counts a request.
func (g *floodgate) asked() { g.windows = min(g.windows+windowsPerHead, mostCredit) }

// barren counts DATA that holds nothing, or padding alone, and ends nothing.
func (g *floodgate) barren(now mono.Time) { g.take(1, frameData, now) }

// awaited takes back what a frame has cost: it is what the server has asked for.
func (g *floodgate) awaited() { g.frames.give(1) }

// said counts a frame of data that was sent, of n bytes.
func (g *floodgate) said(n int) {
	g.windows = min(g.windows+windowsPerFrame+n/windowEvery, mostCredit)
}

// provoked counts a reset that the client has caused.
func (g *floodgate) provoked(now mono.Time) { g.take(1, frameRSTStream, now) }

// behind counts a frame of n bytes for a stream that is over.
func (g *floodgate) behind(n int, now mono.Time) {
	cost := 1
	if g.client { // a server may cut what its window takes as small as it likes
		cost = max(1, n)
	}
	if g.late >= cost {
		g.late -= cost
		return
	}
	g.take(1, frameData, now)
}

// cancelled counts a stream that was reset, and may be bringing data yet.
func (g *floodgate) cancelled() { g.late = min(g.late+latePerBody, mostCredit) }

// cancelledOf counts one of a client, of which the server may send so much yet, and a head before and behind it.
func (g *floodgate) cancelledOf(window int64) { g.late = min(g.late+int(window)+2*lateHead, mostLate) }

// served counts a request that was answered to its end. unread: it may be bringing a body yet.
func (g *floodgate) served(unread bool) {
	if g.givenUp.give(1); unread {
		g.cancelled()
	}
}

// left counts a request that its client has given up.
func (g *floodgate) left(now mono.Time) {
	if !g.givenUp.take(1, now) {
		g.end(TooManyResets, frameRSTStream)
	}
}

func (g *floodgate) take(cost int64, kind FrameType, now mono.Time) {
	if !g.frames.take(cost, now) {
		g.end(TooManyFrames, kind)
	}
}

func (g *floodgate) end(why Flood, by FrameType) {
	if g.over == NoFlood {
		g.over, g.by = why, by
	}
}

// allowance is so much at once, and so much a second.
type allowance struct {
	left, most, perSecond int64
	at                    mono.Time // of the last second that was added
}

func newAllowance(most, perSecond int64, now mono.Time) allowance {
	return allowance{left: most, most: most, perSecond: perSecond, at: now}
}

// take takes n, if there is so much.
func (a *allowance) take(n int64, now mono.Time) bool {
	if s := int64(now.Sub(a.at) / time.Second); s > 0 {
		a.at = a.at.Add(time.Duration(s) * time.Second)
		a.left = min(a.most, a.left+s*a.perSecond)
	}
	if a.left < n {
		return false
	}
	a.left -= n
	return true
}

// give gives n back.
func (a *allowance) give(n int64) { a.left = min(a.most, a.left+n) }
