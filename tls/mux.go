package tls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const defaultHandshakeTimeout = 10 * time.Second

// MuxOptions is how a [Mux] treats new connections.
type MuxOptions struct {
	TLS   *Store // nil: clear text
	HTTP2 bool   // offer h2 by ALPN

	// ProxyProtocol requires a PROXY header, v1 or v2, from peers that are Trusted. Others are served as they come, under
	// their own address, but for those that send a header: they are refused. Trusted nil trusts nobody.
	ProxyProtocol bool
	Trusted       func(netip.Addr) bool

	// HandshakeTimeout bounds PROXY header and TLS handshake together; 0 is 10 s.
	HandshakeTimeout time.Duration

	// Bounds of open connections; 0 is none. Connections holds for the listener. PerIP holds for a client: an IPv4
	// address, or the first IPv6Prefix bits (0: 64) of an IPv6 address, after a trusted PROXY header.
	Connections, PerIP, IPv6Prefix int

	Log *slog.Logger
}

func (o MuxOptions) normalize() *MuxOptions {
	if o.HandshakeTimeout <= 0 {
		o.HandshakeTimeout = defaultHandshakeTimeout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &o
}

// MuxStats counts connections since the Mux was made. Accepted holds the refused ones too.
type MuxStats struct {
	Open     int64
	Accepted uint64

	RefusedLimit, RefusedPerIP, RefusedHandshake, RefusedProxyProtocol uint64
}

// Mux accepts connections and hands them on when a request can be read. Safe for concurrent use.
type Mux struct {
	ln      net.Listener
	opts    atomic.Pointer[MuxOptions]
	clients clients

	closing   sync.Once
	closed    chan struct{}
	closeErr  error
	tasks     atomic.Int64  // Serve and handlers
	idle      chan struct{} // a token when tasks came to nought; capacity 1
	open      atomic.Int64
	accepted  atomic.Uint64
	limit     atomic.Uint64
	perIP     atomic.Uint64
	handshake atomic.Uint64
	proxy     atomic.Uint64
}

// NewMux returns a Mux for ln, which it owns from now on. It accepts nothing before [Mux.Serve].
func NewMux(ln net.Listener, o MuxOptions) *Mux {
	m := &Mux{ln: ln, closed: make(chan struct{}), idle: make(chan struct{}, 1), clients: clients{open: map[netip.Addr]int{}}}
	m.opts.Store(o.normalize())
	return m
}

// Reconfigure puts o in force for connections accepted from now on.
func (m *Mux) Reconfigure(o MuxOptions) { m.opts.Store(o.normalize()) }

// Stats returns the counters; each is exact, together they may be a moment apart.
func (m *Mux) Stats() MuxStats {
	return MuxStats{Open: m.open.Load(), Accepted: m.accepted.Load(), RefusedLimit: m.limit.Load(), RefusedPerIP: m.perIP.Load(),
		RefusedHandshake: m.handshake.Load(), RefusedProxyProtocol: m.proxy.Load()}
}

// Close stops accepting. Open connections, and those in their handshake, live on.
func (m *Mux) Close() error {
	m.closing.Do(func() {
		close(m.closed)
		m.closeErr = m.ln.Close()
	})
	return m.closeErr
}

// Wait returns when Serve and all handlers have returned, or with ctx's error when ctx is done.
func (m *Mux) Wait(ctx context.Context) error {
	for m.tasks.Load() > 0 {
		select {
		case <-m.idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.wake() // the token may have been for another Wait as well
	return nil
}

func (m *Mux) wake() {
	select {
	case m.idle <- struct{}{}:
	default:
	}
}

func (m *Mux) endTask() {
	if m.tasks.Add(-1) == 0 {
		m.wake()
	}
}

// Serve accepts connections until [Mux.Close], and then returns nil; any other return is an error that no patience mends.
// Each connection has one goroutine, in which PROXY header, TLS handshake and then handle run; handle owns the Conn and
// must close it. A panic in handle is logged and costs that connection alone.
//
// When the process is out of descriptors or memory, Serve waits from 5 ms up to 1 s between attempts and logs once per
// burst.
func (m *Mux) Serve(handle func(*Conn)) error {
	m.tasks.Add(1)
	defer m.endTask()
	var pause time.Duration
	for failures := 0; ; {
		c, err := m.ln.Accept()
		if err == nil {
			if failures > 0 {
				m.opts.Load().Log.Info("accepting again", "address", m.ln.Addr(), "failures", failures)
				failures, pause = 0, 0
			}
			m.admit(c, handle)
			continue
		}
		if m.isClosed() {
			return nil
		}
		if !transient(err) {
			return fmt.Errorf("accept on %s: %w", m.ln.Addr(), err)
		}
		if failures++; failures == 1 {
			m.opts.Load().Log.Error("accept: trying again until it works", "address", m.ln.Addr(), "error", err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-m.closed:
			t.Stop()
		}
	}
}

func (m *Mux) isClosed() bool {
	select {
	case <-m.closed:
		return true
	default:
		return false
	}
}

// transient reports whether accept may work again: lack of resources, or an error of the connection that was pending,
// which accept(2) reports as its own.
func transient(err error) bool {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return true
	}
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EINTR,
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EPROTO, syscall.EPERM, syscall.ENETDOWN, syscall.ENETUNREACH,
		syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENOPROTOOPT, syscall.EOPNOTSUPP} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// admit checks the bounds that can be checked before a byte is read, and starts the connection's goroutine.
func (m *Mux) admit(nc net.Conn, handle func(*Conn)) {
	o := m.opts.Load()
	m.accepted.Add(1)
	if n := m.open.Add(1); o.Connections > 0 && n > int64(o.Connections) {
		m.open.Add(-1)
		m.limit.Add(1)
		nc.Close()
		return
	}
	c := newConn(nc)
	var key netip.Addr // stays invalid for a trusted proxy, whose header names the client
	if !o.trusts(c.Remote.Addr()) {
		key = clientKey(c.Remote.Addr(), o.IPv6Prefix)
		if !m.clients.enter(key, o.PerIP) {
			m.open.Add(-1)
			m.perIP.Add(1)
			nc.Close()
			return
		}
	}
	m.tasks.Add(1)
	go m.run(c, o, key, handle)
}

// trusts reports whether a must send a PROXY header and is believed.
func (o *MuxOptions) trusts(a netip.Addr) bool {
	return o.ProxyProtocol && o.Trusted != nil && a.IsValid() && o.Trusted(a)
}

// run is the life of a connection. Its frame lives as long as an idle connection does: what needs stack is in prepare.
func (m *Mux) run(c *Conn, o *MuxOptions, key netip.Addr, handle func(*Conn)) {
	defer func() {
		if p := recover(); p != nil {
			c.Close()
			o.Log.Error("panic in a connection", "panic", p, "stack", string(debug.Stack()))
		}
		m.clients.leave(key)
		m.open.Add(-1)
		m.endTask()
	}()
	if (o.ProxyProtocol || o.TLS != nil) && !m.prepare(c, o, &key) {
		c.Close()
		return
	}
	handle(c)
}
