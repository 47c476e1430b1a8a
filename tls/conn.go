package tls

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
)

// Conn is a connection that is ready for its first request. The handler that got it must close it.
type Conn struct {
	// Conn is a *net.TCPConn in clear text or a *crypto/tls.Conn, never a wrapper, if the listener is TCP's.
	net.Conn
	// Remote is the client and Local the address it connected to: what a trusted PROXY header says, or else the
	// connection's own. IPv4-mapped IPv6 is IPv4 here, and zones are left out. Invalid if the listener is not TCP's.
	Remote, Local netip.AddrPort

	Secure     bool              // TLS ends here
	Protocol   string            // by ALPN: "", "http/1.1" or "h2"
	ServerName string            // by SNI, as sent; "" if none or in clear text
	ClientCert *x509.Certificate // verified leaf, or nil
	Raw        *net.TCPConn      // the TCP connection below; nil if the listener is not TCP's
}

func newConn(c net.Conn) *Conn {
	raw, _ := c.(*net.TCPConn)
	return &Conn{Conn: c, Raw: raw, Remote: addrPort(c.RemoteAddr()), Local: addrPort(c.LocalAddr())}
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return plain(t.AddrPort())
}

// plain gives an address the one spelling that it is compared and counted by.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// secure fills in what the handshake told.
func (c *Conn) secure(t *stdtls.Conn) {
	s := t.ConnectionState()
	c.Conn, c.Secure, c.Protocol, c.ServerName = t, true, s.NegotiatedProtocol, s.ServerName
	if len(s.VerifiedChains) > 0 {
		c.ClientCert = s.VerifiedChains[0][0]
	}
}
