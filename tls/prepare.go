package tls

import (
	stdtls "crypto/tls"
	"errors"
	"io"
	"net/netip"
	"time"

	"golang.org/x/crypto/acme"
)

// prepare reads the PROXY header and makes the TLS handshake under one deadline, and reports whether the connection is to
// be handled. It counts what it refuses, and sets key to the client it counted the connection for.
func (m *Mux) prepare(c *Conn, o *MuxOptions, key *netip.Addr) bool {
	c.SetDeadline(time.Now().Add(o.HandshakeTimeout))
	if o.ProxyProtocol && !m.unwrap(c, o, key) {
		return false
	}
	if o.TLS != nil && !m.shake(c, o) {
		return false
	}
	c.SetDeadline(time.Time{})
	return true
}

// unwrap takes the PROXY header of a trusted peer, and looks that others send none.
func (m *Mux) unwrap(c *Conn, o *MuxOptions, key *netip.Addr) bool {
	peer := c.Remote
	if !o.trusts(peer.Addr()) {
		return m.refuseHeader(c, o)
	}
	p, err := readProxyHeader(c.Conn)
	if err != nil {
		m.proxy.Add(1)
		o.Log.Debug("connection refused", "peer", peer, "reason", "proxy_protocol", "error", err)
		return false
	}
	if !p.local {
		c.Remote, c.Local = p.source, p.destination
	}
	client := clientKey(c.Remote.Addr(), o.IPv6Prefix)
	if !m.clients.enter(client, o.PerIP) {
		m.perIP.Add(1)
		return false
	}
	*key = client
	return true
}

// refuseHeader reports whether the first bytes of a peer that is not trusted are no PROXY header. It takes none of them.
func (m *Mux) refuseHeader(c *Conn, o *MuxOptions) bool {
	if c.Raw == nil {
		return true
	}
	var first [12]byte
	n, err := peek(c.Raw, first[:])
	if err != nil {
		m.handshake.Add(1)
		return false
	}
	if opensProxyHeader(first[:n]) {
		m.proxy.Add(1)
		o.Log.Debug("connection refused", "peer", c.Remote, "reason", "proxy_protocol", "error", "PROXY header from a peer that is not trusted")
		return false
	}
	return true
}

const httpOnHTTPS = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 23\r\nConnection: close\r\n\r\n" +
	"this port speaks HTTPS\n"

// shake makes the TLS handshake. A TLS-ALPN-01 challenge ends here: its handshake is the answer.
func (m *Mux) shake(c *Conn, o *MuxOptions) bool {
	conf := o.TLS.view.Load().server
	if o.HTTP2 {
		conf = o.TLS.view.Load().serverH2
	}
	t := stdtls.Server(c.Conn, conf)
	if err := t.Handshake(); err != nil {
		m.handshake.Add(1)
		o.Log.Debug("connection refused", "peer", c.Remote, "reason", "handshake", "error", err)
		var record stdtls.RecordHeaderError
		if errors.As(err, &record) && record.Conn != nil && looksLikeHTTP(record.RecordHeader) {
			io.WriteString(record.Conn, httpOnHTTPS)
		}
		return false
	}
	c.secure(t)
	return c.Protocol != acme.ALPNProto
}

func looksLikeHTTP(first [5]byte) bool {
	switch string(first[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH":
		return true
	}
	return false
}
