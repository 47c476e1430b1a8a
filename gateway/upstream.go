package gateway

import (
	"context"
	cryptotls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"weir/balancer"
	"weir/config"
	"weir/internal/http1"
	"weir/internal/mono"
	"weir/telemetry"
	"weir/tls"
)

// dialConf is how connections to a pool's endpoints are made. It is replaced whole at a reload.
type dialConf struct {
	timeout     time.Duration
	idle        int
	idleTimeout time.Duration
	tls         *cryptotls.Config // nil: cleartext
	serverName  string            // "": the endpoint's host
	protocol    string            // as configured
	identity    string            // connections of another identity are not used again
}

func newDialConf(c *config.Pool, log *slog.Logger) (*dialConf, error) {
	d := &dialConf{timeout: c.Connections.DialTimeout, idle: c.Connections.Idle, idleTimeout: c.Connections.IdleTimeout, serverName: c.TLS.ServerName, protocol: c.Protocol}
	d.identity = identity(c.TLS, c.Protocol)
	if c.TLS.Enabled {
		t, err := tls.ClientConfig(tls.ClientOptions{CA: c.TLS.CA, ServerName: c.TLS.ServerName, Insecure: c.TLS.InsecureSkipVerify, Log: log, Cert: c.TLS.Cert, Key: c.TLS.Key})
		if err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		switch d.tls = t; c.Protocol {
		case "h2":
			t.NextProtos = []string{"h2"}
		case "auto":
			t.NextProtos = []string{"h2", "http/1.1"}
		}
	}
	return d, nil
}

// upstream keeps the connections to one endpoint. Balancer leases bound how many are in use.
type upstream struct {
	pool     *pool
	endpoint *balancer.Endpoint
	host     string // as configured, without port: the name in its certificate
	cell     *telemetry.Endpoint

	mu     sync.Mutex
	idle   []*upconn // last used last
	closed bool

	links links // of HTTP/2
}

func newUpstream(p *pool, e *balancer.Endpoint) *upstream {
	host, _, err := net.SplitHostPort(e.Name())
	if err != nil {
		host = e.Name()
	}
	return &upstream{pool: p, endpoint: e, host: host, cell: p.gw.hub.Endpoint(p.name, e.Address())}
}

// upconn is one connection to an endpoint. It belongs to one exchange at a time.
type upconn struct {
	wire
	rd       http1.Reader
	up       *upstream
	raw      syscall.RawConn
	peeker   *peeker
	idler    *idleRead // cleartext: waits for an answer without a buffer
	round    *round    // a stream of a link; nil: it is a connection
	identity string
	idleAt   mono.Time
	used     int // exchanges before this one
}

// peekAfter is how long a connection may have been idle before it is looked at for having ended or holding bytes that
// nobody asked for, which would be taken for the next answer. A busy one has hardly the time for either, and is spared the
// system call, unless the request is careful: one that cannot be sent again.
const peekAfter = time.Millisecond

// get returns an idle connection, or a new one.
func (u *upstream) get(now mono.Time, fresh, careful bool) (*upconn, error) {
	d := u.pool.dial.Load()
	if d.multiplexes() {
		if c, err := u.stream(now, d); c != nil || err != nil {
			return c, err
		}
	}
	for !fresh {
		u.mu.Lock()
		n := len(u.idle)
		if n == 0 {
			u.mu.Unlock()
			break
		}
		c := u.idle[n-1]
		u.idle[n-1] = nil
		u.idle = u.idle[:n-1]
		u.mu.Unlock()
		idle := now.Sub(c.idleAt)
		if idle > d.idleTimeout || c.identity != d.identity || (careful || idle > peekAfter) && c.peeker.stale() {
			c.Close() //nolint:errcheck // it is of no more use
			continue
		}
		return c, nil
	}
	return u.dial(d)
}

func (u *upstream) dial(d *dialConf) (*upconn, error) {
	nc, secure, err := u.connect(d, nil)
	if err != nil {
		return nil, err
	}
	if secure != nil && secure.ConnectionState().NegotiatedProtocol == "h2" { // an endpoint that did not offer it a moment ago
		l, err := u.adopt(d, secure, time.Now().Add(d.timeout))
		if err != nil {
			return nil, err
		}
		return acquireRound(u, l), nil
	}
	return u.plainConn(d, nc, secure)
}

// plainConn makes a connection of HTTP/1.
func (u *upstream) plainConn(d *dialConf, nc *net.TCPConn, secure *cryptotls.Conn) (*upconn, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		nc.Close() //nolint:errcheck // the error to report is the other
		return nil, err
	}
	c := &upconn{up: u, raw: raw, peeker: newPeeker(raw), identity: d.identity}
	if c.Conn = nc; secure != nil {
		c.Conn, c.final = secure, true
	}
	c.rd = http1.NewReader(&c.wire)
	if d.tls == nil {
		c.writer = newRawWriter(raw)
		c.idler = newIdleRead(raw, c.rd.Room, c.rd.Release)
	}
	return c, nil
}

// connect opens a connection; secure is it with TLS, if the pool wants that. offer is what it offers by ALPN; nil: what the pool says.
func (u *upstream) connect(d *dialConf, offer []string) (nc *net.TCPConn, secure *cryptotls.Conn, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), d.timeout)
	defer cancel()
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", u.endpoint.Address())
	if err != nil {
		return nil, nil, err
	}
	nc = c.(*net.TCPConn)
	if d.tls == nil {
		return nc, nil, nil
	}
	cfg := d.tls.Clone()
	if d.serverName == "" {
		cfg.ServerName = u.host
	}
	if offer != nil {
		cfg.NextProtos = offer
	}
	secure = cryptotls.Client(nc, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		nc.Close() //nolint:errcheck // the error to report is the other
		return nil, nil, fmt.Errorf("%w: %w", errHandshake, err)
	}
	return nc, secure, nil
}

// firstBytes waits for an answer's first bytes, where that can be done without a buffer.
func (c *upconn) firstBytes() error {
	if c.idler == nil || c.rd.Buffered() > 0 {
		return nil
	}
	n, err := c.idler.read(&c.wire)
	c.rd.Grew(n)
	if n == 0 && err == nil {
		return io.EOF
	}
	return err
}

var errHandshake = errors.New("tls handshake")

// put keeps c for another exchange, if its reads were not ended from outside. Nobody else may know it any more. Its reader must be at the end of a message with nothing behind
// it.
func (u *upstream) put(c *upconn, now mono.Time) {
	c.rd.Release()
	switch {
	case c.aborted.Load():
		c.Close() //nolint:errcheck // it is of no more use
		return
	case c.round != nil: // its link stays
		c.round.release()
		return
	}
	c.readBy(0)
	c.writeBy(0)
	c.idleAt = now
	c.used++
	u.mu.Lock()
	if u.closed || len(u.idle) >= u.pool.dial.Load().idle {
		u.mu.Unlock()
		c.Close() //nolint:errcheck // it is of no more use
		return
	}
	u.idle = append(u.idle, c)
	u.mu.Unlock()
}

// drop closes c instead.
func (u *upstream) drop(c *upconn) {
	c.rd.Release()
	c.Close() //nolint:errcheck // it is of no more use
}

// expire closes connections that were idle for too long. The longest idle stand first.
func (u *upstream) expire(now mono.Time) {
	limit := u.pool.dial.Load().idleTimeout
	u.mu.Lock()
	n := 0
	for n < len(u.idle) && now.Sub(u.idle[n].idleAt) > limit {
		n++
	}
	old := append([]*upconn(nil), u.idle[:n]...)
	if n > 0 {
		u.idle = append(u.idle[:0], u.idle[n:]...)
	}
	u.mu.Unlock()
	for _, c := range old {
		c.Close() //nolint:errcheck // it is of no more use
	}
}

func (u *upstream) close() {
	u.mu.Lock()
	u.closed = true
	idle := u.idle
	u.idle = nil
	u.mu.Unlock()
	u.links.close()
	for _, c := range idle {
		c.Close() //nolint:errcheck // it is of no more use
	}
}

// idleCount returns how many connections wait for use.
func (u *upstream) idleCount() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.idle)
}
