package gateway

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455 wants it
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"weir/internal/h2"
	"weir/internal/http1"
)

// asked is a tunnel that was asked for: an upgrade of HTTP/1, which goes to an endpoint of HTTP/2 as an extended CONNECT (RFC 8441).
type asked struct {
	protocol string
	key      string // of a WebSocket: what the endpoint of HTTP/1 would have answered
}

// askTunnel makes an extended CONNECT of a request that asks for an upgrade.
func (r *round) askTunnel(h *http1.Head) {
	v, ok := h.Get(http1.Upgrade)
	if !ok || !h.UpgradeOpt {
		return
	}
	key, _ := h.Lookup("sec-websocket-key")
	r.tunnel = &asked{protocol: string(v), key: string(key)}
	r.asked.Method, r.asked.Protocol = []byte(http.MethodConnect), v
}

// appendSwitch writes the answer that opens the tunnel as HTTP/1 does.
func (r *round) appendSwitch(b []byte, a *h2.Answer) []byte {
	b = appendStatus(b, http.StatusSwitchingProtocols, "Switching Protocols")
	for line := range bytes.Lines(a.Fields) {
		if !bytes.HasPrefix(line, []byte("sec-websocket-accept:")) {
			b = append(b, line...)
		}
	}
	b = append(b, "Connection: Upgrade\r\nUpgrade: "...)
	b = append(append(b, r.tunnel.protocol...), '\r', '\n')
	if strings.EqualFold(r.tunnel.protocol, "websocket") {
		sum := sha1.Sum([]byte(r.tunnel.key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
		b = append(b, "Sec-WebSocket-Accept: "...)
		b = append(base64.StdEncoding.AppendEncode(b, sum[:]), '\r', '\n')
	}
	return append(b, '\r', '\n')
}

// CloseWrite ends what is sent; what is received may go on.
func (r *round) CloseWrite() error {
	if r.tunnel == nil {
		return errFraming
	}
	err := r.own.WriteData(nil, true)
	r.own.Flush()
	return err
}

// refusedTunnel reports whether the endpoint could not even be asked for a tunnel.
func (u *upconn) refusedTunnel() bool {
	return u.round != nil && errors.Is(u.round.failed, h2.ErrNoConnect)
}

// plainTunnel asks by HTTP/1 for a tunnel that the endpoint does not take by HTTP/2. Over TLS it may choose that; in clear text it was said
// to speak HTTP/2.
func (x *h1) plainTunnel(up *upstream) Result {
	refused := Result{Fault: FaultTunnel, Error: faultDetail[FaultTunnel]}
	d := up.pool.dial.Load()
	if d.tls == nil {
		return refused
	}
	nc, secure, err := up.connect(d, []string{"http/1.1"})
	if err != nil {
		refused.Error += " (" + err.Error() + ")"
		return refused
	}
	if secure.ConnectionState().NegotiatedProtocol == "h2" {
		secure.Close() //nolint:errcheck // it is of no use
		return refused
	}
	if x.u, err = up.plainConn(d, nc, secure); err != nil {
		return Result{Fault: FaultConnect, Error: err.Error()}
	}
	r := x.exchange(x.u)
	if r.Fault != NoFault {
		x.dropUpstream()
	}
	return r
}
