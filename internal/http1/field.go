package http1

import (
	"encoding/binary"
	"unsafe"
)

// Known is a header field that the codec or a proxy treats by name. Zero is any other field.
type Known uint8

// The known fields. Those from Connection to ProxyAuthorization are hop-by-hop (RFC 9110, section 7.6.1).
const (
	Other Known = iota
	Host
	ContentLength
	Expect
	XForwardedFor
	XForwardedProto
	XForwardedHost
	XForwardedOther // any other X-Forwarded-… and X-Real-Ip
	Forwarded
	XRequestID
	Traceparent
	GRPCTimeout
	XRequestTimeout
	WeirLimited
	WeirDegraded
	Accept
	Date
	Connection
	KeepAlive
	ProxyConnection
	TE
	Trailer
	TransferEncoding
	Upgrade
	ProxyAuthenticate
	ProxyAuthorization
	HTTP2Settings
	knowns
)

// HopByHop reports whether k belongs to one connection and must not be sent on.
func (k Known) HopByHop() bool { return k >= Connection && k < knowns }

// Field is a header field as offsets into [Head.Buf].
type Field struct {
	name, value uint32
	nameLen     uint16
	Known       Known
	Hop         bool // hop-by-hop by name, or named by Connection
	Underscore  bool // the name has a _ or another sign that upstreams may read as a -
	Again       bool // a field of the same name may have come before; if false, none has
	neat        bool // the line is name, colon, one space, value
	valueLen    uint32
}

var names = [...]struct {
	name  string
	known Known
}{
	{"te", TE}, {"host", Host}, {"date", Date}, {"expect", Expect}, {"accept", Accept}, {"upgrade", Upgrade}, {"trailer", Trailer},
	{"forwarded", Forwarded}, {"x-real-ip", XForwardedOther}, {"connection", Connection}, {"keep-alive", KeepAlive},
	{"traceparent", Traceparent}, {"x-request-id", XRequestID}, {"content-length", ContentLength}, {"http2-settings", HTTP2Settings},
	{"x-forwarded-for", XForwardedFor}, {"x-forwarded-host", XForwardedHost}, {"proxy-connection", ProxyConnection},
	{"transfer-encoding", TransferEncoding}, {"x-forwarded-proto", XForwardedProto}, {"proxy-authenticate", ProxyAuthenticate},
	{"proxy-authorization", ProxyAuthorization}, {"grpc-timeout", GRPCTimeout}, {"x-request-timeout", XRequestTimeout},
	{"weir-limited", WeirLimited}, {"weir-degraded", WeirDegraded},
}

const longestName = len("proxy-authorization")

// nameAt leads from a length and the ends of a name to an index into names, plus one. No two names share both.
var nameAt = func() (at [longestName + 1][32]uint8) {
	for i, n := range names {
		p := &at[len(n.name)][ends([]byte(n.name))]
		if *p != 0 {
			panic("BUG: http1: two names of one length and like ends")
		}
		*p = uint8(i + 1)
	}
	return at
}()

// ends is the same for a letter in either case.
func ends(name []byte) byte { return (name[0] + 2*name[len(name)-1]) & 31 }

// known classifies a header name, in any case. It must be a token.
func known(name []byte) Known {
	n := len(name)
	if n == 0 {
		return Other
	}
	if n <= longestName {
		if i := nameAt[n][ends(name)]; i != 0 && words[i-1] == wordsOf(name) {
			return names[i-1].known
		}
	}
	if name[0]|0x20 == 'x' && n > len(forwardedPrefix) && EqualFold(name[:len(forwardedPrefix)], forwardedPrefix) {
		return XForwardedOther
	}
	return Other
}

// words are the names as wordsOf gives them.
var words = func() (w [len(names)][3]uint64) {
	for i, n := range names {
		w[i] = wordsOf([]byte(n.name))
	}
	return w
}()

// wordsOf returns all bytes of a name of at most 24, with bit 0x20 set, in words that overlap: two tokens of the same length with equal
// words are equal in lower case, if one of them has only letters, digits and dashes. (No token has the control bytes that a digit and a
// dash have in common with others then.)
func wordsOf(name []byte) (w [3]uint64) {
	const lower = ones * 0x20
	switch n := len(name); {
	case n >= 8:
		w[0] = binary.LittleEndian.Uint64(name) | lower
		w[1] = binary.LittleEndian.Uint64(name[n-8:]) | lower
		if n > 16 {
			w[2] = binary.LittleEndian.Uint64(name[8:]) | lower
		}
	case n >= 4:
		w[0] = uint64(binary.LittleEndian.Uint32(name)|lower&(1<<32-1))<<32 | uint64(binary.LittleEndian.Uint32(name[n-4:])|lower&(1<<32-1))
	default:
		for _, c := range name {
			w[0] = w[0]<<8 | uint64(c) | 0x20
		}
	}
	return w
}

const forwardedPrefix = "x-forwarded-"

// KnownName classifies a header name, in any case.
func KnownName(name string) Known { return known(unsafe.Slice(unsafe.StringData(name), len(name))) }

// EqualFold reports whether b equals the lower-case ASCII string s, in any case.
func EqualFold[T []byte | string](b T, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := 0; i < len(b); i++ {
		if c := b[i]; c != s[i] && (c|0x20 != s[i] || c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// byte classes of RFC 9110 and RFC 3986.
const (
	isToken = 1 << iota
	isTarget
	isHost
	isPlain // in a header name, the same to everybody
)

var class = func() (t [256]uint8) {
	t['-'] |= isPlain
	for c := '0'; c <= '9'; c++ {
		t[c] |= isToken | isHost | isPlain
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= isToken | isHost | isPlain
		t[c-0x20] |= isToken | isHost | isPlain
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] |= isToken
	}
	for _, c := range "-._~!$&'()*+,;=%" { // reg-name of RFC 3986
		t[c] |= isHost
	}
	for c := 0x21; c < 0x7f; c++ {
		t[c] |= isTarget
	}
	for _, c := range "#\"<>\\^`{|}" { // not in a URI (RFC 3986); browsers do send some of these unescaped in a query
		t[c] &^= isTarget
	}
	for _, c := range "\"<>\\^`{|}" {
		t[c] |= isTarget // the path is checked where it is normalised; a query is sent on byte for byte
	}
	return t
}()

func allOf(b []byte, mask uint8) bool {
	for _, c := range b {
		if class[c]&mask == 0 {
			return false
		}
	}
	return len(b) > 0
}

// Token reports whether s is a token (RFC 9110, section 5.6.2).
func Token[T []byte | string](s T) bool { return allOf([]byte(s), isToken) }

// HostName reports whether b may be the host of an authority: a registered name or an IPv4 address (RFC 3986).
func HostName(b []byte) bool { return allOf(b, isHost) }

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// cleanValue reports whether b has no control byte but tab. Bytes from 0x80 up (obs-text) are let pass.
func cleanValue(b []byte) bool {
	last := len(b) - 8
	if last < 0 {
		return cleanSlow(b)
	}
	for i := 0; ; i = min(i+8, last) { // the last word overlaps the one before
		v := binary.LittleEndian.Uint64(b[i:])
		low := (v - ones*0x20) & ^v & highs // some byte is below 0x20
		x := v ^ ones*0x7f
		del := (x - ones) & ^x & highs // some byte is 0x7f
		if low|del != 0 && !cleanSlow(b[i:i+8]) {
			return false
		}
		if i == last {
			return true
		}
	}
}

func cleanSlow(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
