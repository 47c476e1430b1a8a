package http1

import "unsafe"

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
	Underscore  bool // the name has a _, which many upstreams read as a -
	valueLen    uint32
}

// known classifies a header name, in any case.
func known(name []byte) Known {
	var k Known
	var s string
	switch len(name) {
	case 2:
		k, s = TE, "te"
	case 4:
		switch name[0] | 0x20 {
		case 'h':
			k, s = Host, "host"
		case 'd':
			k, s = Date, "date"
		}
	case 6:
		switch name[0] | 0x20 {
		case 'e':
			k, s = Expect, "expect"
		case 'a':
			k, s = Accept, "accept"
		}
	case 7:
		switch name[0] | 0x20 {
		case 'u':
			k, s = Upgrade, "upgrade"
		case 't':
			k, s = Trailer, "trailer"
		}
	case 9:
		switch name[0] | 0x20 {
		case 'f':
			k, s = Forwarded, "forwarded"
		case 'x':
			k, s = XForwardedOther, "x-real-ip"
		}
	case 10:
		switch name[0] | 0x20 {
		case 'c':
			k, s = Connection, "connection"
		case 'k':
			k, s = KeepAlive, "keep-alive"
		}
	case 0:
		return Other
	case 11:
		k, s = Traceparent, "traceparent"
	case 12:
		k, s = XRequestID, "x-request-id"
	case 14:
		switch name[0] | 0x20 {
		case 'c':
			k, s = ContentLength, "content-length"
		case 'h':
			k, s = HTTP2Settings, "http2-settings"
		}
	case 15:
		k, s = XForwardedFor, "x-forwarded-for"
	case 16:
		switch name[0] | 0x20 {
		case 'x':
			k, s = XForwardedHost, "x-forwarded-host"
		case 'p':
			k, s = ProxyConnection, "proxy-connection"
		}
	case 17:
		switch name[0] | 0x20 {
		case 't':
			k, s = TransferEncoding, "transfer-encoding"
		case 'x':
			k, s = XForwardedProto, "x-forwarded-proto"
		}
	case 18:
		k, s = ProxyAuthenticate, "proxy-authenticate"
	case 19:
		k, s = ProxyAuthorization, "proxy-authorization"
	}
	if k != Other && EqualFold(name, s) {
		return k
	}
	if len(name) > 12 && name[0]|0x20 == 'x' && EqualFold(name[:12], "x-forwarded-") {
		return XForwardedOther
	}
	return Other
}

// KnownName classifies a header name, in any case.
func KnownName(name string) Known { return known(unsafe.Slice(unsafe.StringData(name), len(name))) }

// EqualFold reports whether b equals the lower-case ASCII string s, in any case.
func EqualFold[T []byte | string](b T, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := 0; i < len(b); i++ {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != s[i] {
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
)

var class = func() (t [256]uint8) {
	for c := '0'; c <= '9'; c++ {
		t[c] |= isToken | isHost
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= isToken | isHost
		t[c-0x20] |= isToken | isHost
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
