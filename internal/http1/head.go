package http1

import "bytes"

// Limits bounds a head.
type Limits struct {
	Bytes  int // of the whole head
	Fields int
}

// Head is the head of one message: start line, fields, and what they say about framing. It is filled by ParseRequest or
// ParseResponse and points into Buf, the caller's read buffer, which must hold still as long as views are in use.
// The zero value is ready; Reset makes it so again. Not safe for concurrent use.
type Head struct {
	Buf    []byte // whole head, from the start line to the empty line
	Fields []Field

	Minor  uint8 // HTTP/1.Minor
	Status int   // response
	method span  // request
	target span  // request
	reason span  // response

	Length     int64 // Content-Length, or -1
	Chunked    bool
	Close      bool // Connection: close
	KeepAlive  bool // Connection: keep-alive
	UpgradeOpt bool // Connection: upgrade
	first      [knowns]uint16
	hopped     bool   // a Connection field names fields
	seen       uint64 // a bit for each name that was there, by a hash

	pos, scan int // resume: start of the next line, end of what was searched for its end
	lines     int // lines parsed, the start line included
	blank     bool
	trailer   bool // fields of a trailer section say nothing about framing
}

type span struct{ off, len uint32 }

// Reset forgets everything but the memory of Fields.
func (h *Head) Reset() {
	f := h.Fields[:0]
	*h = Head{Fields: f, Length: -1}
}

// ParseRequest parses a request head at the start of buf and returns its length in bytes, or 0 if more bytes are needed;
// then the caller calls again with the same bytes and more behind them (the buffer may have moved). After a fault the
// connection is of no use. Reset comes first.
func (h *Head) ParseRequest(buf []byte, lim Limits) (int, Fault) { return h.parse(buf, lim, true) }

// ParseResponse is ParseRequest for a response head.
func (h *Head) ParseResponse(buf []byte, lim Limits) (int, Fault) { return h.parse(buf, lim, false) }

// ParseTrailers is ParseRequest for the fields that end a chunked body, and the empty line behind them.
func (h *Head) ParseTrailers(buf []byte, lim Limits) (int, Fault) {
	h.lines, h.trailer = max(h.lines, 1), true
	return h.parse(buf, lim, false)
}

func (h *Head) parse(buf []byte, lim Limits, request bool) (int, Fault) {
	h.Buf = buf
	for {
		i := bytes.IndexByte(buf[h.scan:], '\n')
		if i < 0 {
			h.scan = len(buf)
			if len(buf) >= lim.Bytes {
				return 0, h.oversize(request)
			}
			return 0, None
		}
		end := h.scan + i
		if end >= lim.Bytes {
			return 0, h.oversize(request)
		}
		if end == h.pos || buf[end-1] != '\r' {
			return 0, BareLF
		}
		line := buf[h.pos : end-1]
		start := h.pos
		h.pos, h.scan = end+1, end+1
		switch {
		case h.lines == 0:
			if len(line) == 0 { // RFC 9112, section 2.2: one empty line before a request is let pass
				if !request || h.blank {
					return 0, BadLine
				}
				h.blank = true
				continue
			}
			var f Fault
			if request {
				f = h.requestLine(line, start)
			} else {
				f = h.statusLine(line, start)
			}
			if f != None {
				return 0, f
			}
		case len(line) == 0:
			return h.end(buf, request)
		default:
			if len(h.Fields) >= lim.Fields {
				return 0, TooManyFields
			}
			if f := h.field(line, start); f != None {
				return 0, f
			}
		}
		h.lines++
	}
}

// end judges the head as a whole: its last line has come.
func (h *Head) end(buf []byte, request bool) (int, Fault) {
	h.Buf = buf[:h.pos:h.pos]
	if h.hopped {
		if f := h.markNamed(); f != None {
			return 0, f
		}
	}
	if f := h.framing(request); f != None && !h.trailer {
		return 0, f
	}
	return h.pos, None
}

func (h *Head) oversize(request bool) Fault {
	if request && h.lines == 0 {
		return TargetTooLong
	}
	return HeadTooLarge
}

func (h *Head) requestLine(line []byte, at int) Fault {
	i := bytes.IndexByte(line, ' ')
	if i <= 0 {
		return BadLine
	}
	if !allOf(line[:i], isToken) {
		return BadMethod
	}
	rest := line[i+1:]
	j := bytes.IndexByte(rest, ' ')
	if j <= 0 {
		return BadLine
	}
	if !allOf(rest[:j], isTarget) {
		return BadTarget
	}
	minor, ok := version(rest[j+1:])
	if !ok {
		return BadVersion
	}
	h.Minor = minor
	h.method = span{uint32(at), uint32(i)}
	h.target = span{uint32(at + i + 1), uint32(j)}
	return None
}

func (h *Head) statusLine(line []byte, at int) Fault {
	if len(line) < 12 || line[8] != ' ' {
		return BadStatus
	}
	minor, ok := version(line[:8])
	if !ok {
		return BadVersion
	}
	h.Minor = minor
	code := 0
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return BadStatus
		}
		code = code*10 + int(c-'0')
	}
	if code < 100 || code > 599 {
		return BadStatus
	}
	h.Status = code
	if len(line) > 12 {
		if line[12] != ' ' || !cleanValue(line[13:]) {
			return BadStatus
		}
		h.reason = span{uint32(at + 13), uint32(len(line) - 13)}
	}
	return None
}

func version(b []byte) (minor uint8, ok bool) {
	if len(b) != 8 || string(b[:7]) != "HTTP/1." || b[7] != '0' && b[7] != '1' {
		return 0, false
	}
	return b[7] - '0', true
}

func (h *Head) field(line []byte, at int) Fault {
	if line[0] == ' ' || line[0] == '\t' {
		return Folded
	}
	n, all := 0, byte(isPlain)
	for n < len(line) {
		c := class[line[n]]
		if c&isToken == 0 {
			break
		}
		all &= c
		n++
	}
	if n == 0 || n == len(line) || line[n] != ':' || n > 1<<15 {
		return BadName
	}
	v, end := n+1, len(line)
	for v < end && (line[v] == ' ' || line[v] == '\t') {
		v++
	}
	for end > v && (line[end-1] == ' ' || line[end-1] == '\t') {
		end--
	}
	value := line[v:end]
	if !cleanValue(value) {
		if bytes.IndexByte(value, '\r') >= 0 {
			return BareCR
		}
		return BadValue
	}
	name := line[:n]
	k, bit := known(name), uint64(1)<<(uint(11*n+int(ends(name)))&63)
	h.Fields = append(h.Fields, Field{name: uint32(at), nameLen: uint16(n), value: uint32(at + v), valueLen: uint32(end - v), Known: k, Hop: k.HopByHop(),
		Underscore: all == 0, Again: h.seen&bit != 0, neat: v == n+2 && line[n+1] == ' ' && end == len(line)})
	h.seen |= bit
	if k != Other && !h.trailer {
		return h.note(k, value)
	}
	return None
}

// note takes in what a known field says. Repeats that could be read two ways are faults.
func (h *Head) note(k Known, value []byte) Fault {
	again := h.first[k] != 0
	if !again {
		h.first[k] = uint16(len(h.Fields))
	}
	switch k {
	case Host:
		if again {
			return BadHost
		}
	case ContentLength:
		if again || len(value) == 0 || len(value) > 18 {
			return BadLength
		}
		n := int64(0)
		for _, c := range value {
			if c < '0' || c > '9' {
				return BadLength
			}
			n = n*10 + int64(c-'0')
		}
		h.Length = n
	case TransferEncoding:
		if again || !EqualFold(value, "chunked") {
			return BadCoding
		}
		h.Chunked = true
	case Connection:
		return h.connection(value)
	}
	return None
}

func (h *Head) connection(value []byte) Fault {
	for opt := range tokens(value) {
		switch {
		case !allOf(opt, isToken):
			return BadConnection
		case EqualFold(opt, "close"):
			h.Close = true
		case EqualFold(opt, "keep-alive"):
			h.KeepAlive = true
		case EqualFold(opt, "upgrade"):
			h.UpgradeOpt = true
		default:
			h.hopped = true
		}
	}
	return None
}

// markNamed marks the fields that Connection names as hop-by-hop, but never those that frame or address the message, nor
// those by which proxies vouch for the client: else a client could have a proxy behind us forget it (CVE-2024-45410).
func (h *Head) markNamed() Fault {
	for i := range h.Fields {
		if h.Fields[i].Known != Connection {
			continue
		}
		for opt := range tokens(h.Value(i)) {
			for j := range h.Fields {
				f := &h.Fields[j]
				if f.Known == Host || f.Known == ContentLength || f.Known >= XForwardedFor && f.Known <= Forwarded {
					continue
				}
				if int(f.nameLen) == len(opt) && bytes.EqualFold(h.Name(j), opt) {
					f.Hop = true
				}
			}
		}
	}
	return None
}

func (h *Head) framing(request bool) Fault {
	if h.Chunked {
		if h.Length >= 0 {
			return LengthAndCoding
		}
		if h.Minor == 0 {
			return CodingIn10
		}
	}
	if request && h.first[Host] == 0 && h.Minor == 1 {
		return BadHost
	}
	return None
}

// tokens yields the non-empty elements of a comma-separated list, without the space around them.
func tokens(list []byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(list) > 0 {
			var t []byte
			if i := bytes.IndexByte(list, ','); i >= 0 {
				t, list = list[:i], list[i+1:]
			} else {
				t, list = list, nil
			}
			t = bytes.Trim(t, " \t")
			if len(t) > 0 && !yield(t) {
				return
			}
		}
	}
}
