package gateway

import (
	"net/http"
	"strings"
	_ "unsafe" // for go:linkname
)

// The library knows extended CONNECT (RFC 8441), by which WebSocket goes over HTTP/2, but offers it only if the environment of the process
// has GODEBUG=http2xconnect=1 at its start. A later version of the library without this variable does not link.
//
//go:linkname disableExtendedConnectProtocol golang.org/x/net/http2.disableExtendedConnectProtocol
var disableExtendedConnectProtocol bool

func init() { disableExtendedConnectProtocol = false }

// connects reports whether the request is an extended CONNECT.
func (s *stream) connects() bool {
	return s.r.Method == http.MethodConnect && s.r.Header.Get(":protocol") != ""
}

// appendUpgrade writes the fields of an extended CONNECT as those of the HTTP/1 request for the same protocol.
func (s *stream) appendUpgrade(b []byte) []byte {
	s.body.src = s.r.Body
	protocol := s.r.Header.Get(":protocol")
	b = appendHTTPFields(b, s.r.Header, ":protocol")
	b = append(b, "Connection: Upgrade\r\nUpgrade: "...)
	b = append(b, protocol...)
	b = append(b, '\r', '\n')
	if strings.EqualFold(protocol, "websocket") { // which asks for one; what the endpoint makes of it is not passed on
		b = append(b, "Sec-WebSocket-Key: d2VpciBrbm93cyBub25lIQ==\r\n"...)
	}
	return b
}

// switches reports whether the answer opens the tunnel that the client asked for.
func (s *stream) switches() bool {
	return s.buffers.answer.Status == http.StatusSwitchingProtocols && s.connects()
}

// tunnelStatus is the status that an extended CONNECT is answered with: a 2xx says that the tunnel is open, whatever it says in HTTP/1.
func (s *stream) tunnelStatus() int {
	switch status := s.buffers.answer.Status; {
	case s.tunnel:
		return http.StatusOK
	case status < 300:
		return http.StatusBadGateway
	default:
		return status
	}
}
