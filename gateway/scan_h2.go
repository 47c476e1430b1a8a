package gateway

import (
	"encoding/binary"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir/internal/mono"
)

// header is what the header of a frame says.
type header struct {
	length int
	kind   http2.FrameType
	flags  http2.Flags
	stream uint32
	code   http2.ErrCode // of a RST_STREAM or GOAWAY; scanner alone finds it
}

func parseHeader(b []byte) header {
	return header{length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]), kind: http2.FrameType(b[3]), flags: http2.Flags(b[4]), stream: binary.BigEndian.Uint32(b[5:]) & (1<<31 - 1)}
}

// frameHeader is the length of a frame's header.
const frameHeader = 9

// scanner finds the frames in a stream of bytes that comes in any pieces.
type scanner struct {
	seen    func(header) // told of each
	started bool         // some byte has passed
	skip    int          // bytes up to the next header
	have    int          // of a header that came in pieces
	part    [frameHeader + 8]byte
}

// next takes what p begins with: the rest of a frame, or a header with the code behind it, or a part of either.
func (s *scanner) next(p []byte) (rest []byte) {
	s.started = true
	if s.skip > 0 {
		n := min(s.skip, len(p))
		s.skip -= n
		return p[n:]
	}
	for s.have < s.wants() {
		n := copy(s.part[s.have:s.wants()], p)
		if n == 0 {
			return p
		}
		s.have, p = s.have+n, p[n:]
	}
	h := parseHeader(s.part[:])
	if s.have > frameHeader {
		h.code = http2.ErrCode(binary.BigEndian.Uint32(s.part[s.have-4:]))
	}
	s.skip = h.length - (s.have - frameHeader)
	s.have = 0
	s.seen(h)
	return p
}

// wants is how much of the frame that begins in part is looked at: up to its code, if it has one.
func (s *scanner) wants() int {
	if s.have < frameHeader {
		return frameHeader
	}
	h, code := parseHeader(s.part[:]), 0
	switch h.kind {
	case http2.FrameRSTStream:
		code = 4
	case http2.FrameGoAway:
		code = 8
	}
	if h.length < code {
		return frameHeader
	}
	return frameHeader + code
}

// pass takes all of p.
func (s *scanner) pass(p []byte) {
	for len(p) > 0 {
		p = s.next(p)
	}
}

// between reports whether a frame may begin here.
func (s *scanner) between() bool { return s.skip == 0 && s.have == 0 }

// frame takes the rest of the frame that is under way, or else the next one, and returns how much of p that is.
func (s *scanner) frame(p []byte) int {
	rest := p
	for {
		if rest = s.next(rest); len(rest) == 0 || s.between() {
			return len(p) - len(rest)
		}
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

// dropOverridden makes unknown, which is ignored, what later settings of the same frame override: the library refuses repeats, RFC 9113
// has them processed in order (section 6.5.3).
func dropOverridden(settings []byte) {
	const size, unknown = 6, 0xf000
	if len(settings) > 100*size { // the library refuses so many
		return
	}
	for i := 0; i+size <= len(settings); i += size {
		id := binary.BigEndian.Uint16(settings[i:])
		for j := i + size; j+size <= len(settings); j += size {
			if binary.BigEndian.Uint16(settings[j:]) == id {
				binary.BigEndian.PutUint16(settings[i:], unknown+uint16(i/size))
				break
			}
		}
	}
}

// headGuard reads along the heads of requests for what makes them malformed and the library answers with 400: fields of HTTP/1's
// connections (RFC 9113, section 8.2.2).
type headGuard struct {
	dec   *hpack.Decoder
	bad   bool
	blind bool // what came cannot be decoded: the library ends the connection
}

func (g *headGuard) init() {
	g.dec = hpack.NewDecoder(4096, func(f hpack.HeaderField) { g.bad = g.bad || ofConnection(f.Name, f.Value) })
	g.dec.SetMaxStringLength(1 << 20)
}

func ofConnection(name, value string) bool {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return true
	case "te":
		return value != "trailers"
	}
	return false
}

// look takes a piece of a head, and reports at its end whether the request is malformed.
func (g *headGuard) look(h header, p []byte) (bad bool) {
	if h.kind == http2.FrameHeaders {
		p = fragment(h.flags, p)
	}
	if g.blind {
		return false
	}
	if _, err := g.dec.Write(p); err != nil {
		g.blind = true
		return false
	}
	if !h.flags.Has(http2.FlagHeadersEndHeaders) {
		return false
	}
	g.blind = g.dec.Close() != nil
	bad, g.bad = g.bad && !g.blind, false
	return bad
}

// fragment returns a HEADERS frame's payload without padding and priority; nothing of a malformed one.
func fragment(flags http2.Flags, p []byte) []byte {
	pad := 0
	if flags.Has(http2.FlagHeadersPadded) {
		if len(p) == 0 {
			return nil
		}
		pad, p = int(p[0]), p[1:]
	}
	if flags.Has(http2.FlagHeadersPriority) {
		if len(p) < 5 {
			return nil
		}
		p = p[5:]
	}
	if pad > len(p) {
		return nil
	}
	return p[:len(p)-pad]
}
