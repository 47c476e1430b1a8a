package gateway

import (
	"net/http"

	"weir/internal/http1"
)

// connects reports whether the request is an extended CONNECT (RFC 8441), by which WebSocket goes over HTTP/2.
func (s *stream) connects() bool { return len(s.own.Protocol()) > 0 }

// appendUpgrade writes what an extended CONNECT asks for as the HTTP/1 request for the same protocol does.
func (s *stream) appendUpgrade(b []byte) []byte {
	b = append(b, "Connection: Upgrade\r\nUpgrade: "...)
	b = append(b, s.own.Protocol()...)
	b = append(b, '\r', '\n')
	if http1.EqualFold(s.own.Protocol(), "websocket") { // which asks for one; what the endpoint makes of it is not passed on
		b = append(b, "Sec-WebSocket-Key: d2VpciBrbm93cyBub25lIQ==\r\n"...)
	}
	return b
}

// switches reports whether the answer opens the tunnel that the client asked for.
func (s *stream) switches() bool {
	return s.answer.Status == http.StatusSwitchingProtocols && s.connects()
}

// tunnelStatus is the status that an extended CONNECT is answered with: a 2xx says that the tunnel is open, whatever it says in HTTP/1.
func (s *stream) tunnelStatus() int {
	switch status := s.answer.Status; {
	case s.tunnel:
		return http.StatusOK
	case status < 300:
		return http.StatusBadGateway
	default:
		return status
	}
}
