package gateway

import (
	"bytes"
	"context"
	cryptotls "crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"weir/internal/http1"
	"weir/internal/mono"
	"weir/tls"
)

//lint:file-ignore SA1019 why x/net's HTTP/2 and not net/http's: docs/adr/019-http2.md

// Bounds of what a client's connection may have on its way in, unread: of a stream, and of all together.
const (
	streamWindow  = 256 << 10
	sessionWindow = 1 << 20
)

// session is one HTTP/2 connection of a client. Framing, header compression and flow control are golang.org/x/net/http2's; each stream is
// then served as a connection of HTTP/1 with one request is (stream), in the goroutine that the library gives it.
type session struct {
	gw       *Gateway
	nc       *tls.Conn
	listener string
	conf     *Listener // when it began: what a stream keeps to once the listener is gone
	frames   *frames
	base     *http.Server

	leaving  sync.Once
	farewell sync.WaitGroup // what drain has begun
	over     chan struct{}  // closed at the end
}

// tlsState is what the library asks a TLS connection.
type tlsState interface {
	ConnectionState() cryptotls.ConnectionState
}

// preface is what an HTTP/2 client says first.
const preface = http2.ClientPreface

// serveH2 serves the streams of nc until its end, and closes it. already is what was read of it.
func (g *Gateway) serveH2(nc *tls.Conn, listener string, already []byte) {
	conf := g.snap.Load().listeners[listener]
	if conf == nil {
		nc.Close() //nolint:errcheck // it is of no more use
		return
	}
	s := &session{gw: g, nc: nc, listener: listener, conf: conf, over: make(chan struct{})}
	s.frames = newFrames(nc.Conn, already, conf)
	s.base = &http.Server{
		MaxHeaderBytes: conf.Limits.Bytes + 32*conf.Limits.Fields + 4<<10, // the codec says 431 before, as it does to HTTP/1
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	server := &http2.Server{
		MaxConcurrentStreams:         uint32(conf.Streams),
		IdleTimeout:                  conf.IdleTimeout,
		WriteByteTimeout:             clientStall,
		MaxReadFrameSize:             maxFrame,
		MaxUploadBufferPerConnection: sessionWindow,
		MaxUploadBufferPerStream:     streamWindow,
	}
	if err := http2.ConfigureServer(s.base, server); err != nil {
		g.log.Error("HTTP/2 cannot be served", "error", err)
		nc.Close() //nolint:errcheck // as above
		return
	}
	g.enrollSession(s)
	defer g.leaveSession(s)
	server.ServeConn(s.conn(), &http2.ServeConnOpts{BaseConfig: s.base, Handler: s})
	s.tellFlood()
	close(s.over)
	s.leaving.Do(func() {}) // no drain begins any more
	s.farewell.Wait()
	nc.Close() //nolint:errcheck // it is closed already, but for a panic
}

// conn is the connection as the library gets it: it checks what it must of TLS.
func (s *session) conn() net.Conn {
	if t, ok := s.nc.Conn.(tlsState); ok {
		return struct {
			*frames
			tlsState
		}{s.frames, t}
	}
	return s.frames
}

// ServeHTTP serves one stream.
func (s *session) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	st := newStream(s, w, r)
	nc := *s.nc
	nc.Conn, nc.Raw = st, nil
	c := &h1conn{gw: s.gw, nc: &nc, listener: s.listener, conf: s.conf, stream: st, number: 1}
	c.Conn, c.final = st, true
	c.rd = http1.NewReader(&c.wire)
	st.wire = &c.wire
	ok := s.gw.serveStream(c) && st.finished()
	if st.release(); ok {
		s.frames.gate.served(r.ContentLength != 0)
		return
	}
	if st.gone() {
		s.frames.gate.left(mono.Now())
		s.frames.refuseFlood() //nolint:errcheck // the stream ends anyway
	}
	panic(http.ErrAbortHandler) // resets the stream
}

// serveStream serves the one request of c, and reports whether it was served.
func (g *Gateway) serveStream(c *h1conn) bool {
	if c.stream.gone() || !c.configure() {
		return false
	}
	if !c.conf.HTTP2 {
		c.stream.sess.drain() // a reload has switched it off
	}
	c.state.Store(c.number<<phaseBits | uint64(phaseHead))
	g.enroll(c)
	defer g.leave(c)
	stop := c.stream.onGone(c.endWait)
	c.serveOne()
	stop()
	c.rd.Release()
	c.Close() //nolint:errcheck // it only ends timers
	return true
}

// speaksH2 reports whether the first bytes of a cleartext connection are those of an HTTP/2 client. It reads on as long as they may be.
func (c *h1conn) speaksH2() bool {
	if c.nc.Secure || !c.conf.HTTP2 {
		return false
	}
	c.readBy(mono.Now().Add(c.conf.HeaderTimeout))
	for {
		b := c.rd.Bytes()
		n := min(len(b), len(preface))
		if string(b[:n]) != preface[:n] {
			return false
		}
		if n == len(preface) {
			return true
		}
		if c.rd.Fill() != nil {
			return false
		}
	}
}

// foreign reports whether a connection that may bring HTTP/2 began with neither that nor anything like HTTP/1, whose client would not
// understand an answer: neither a path nor a version.
func (c *h1conn) foreign(line []byte) bool {
	_, target, _ := bytes.Cut(line, []byte(" "))
	return c.number == 1 && c.conf.HTTP2 && len(target) > 0 && target[0] != '/' && !bytes.Contains(target, []byte("HTTP/"))
}

// becomeH2 hands the connection over, with what was read of it.
func (c *h1conn) becomeH2() {
	already := bytes.Clone(c.rd.Bytes())
	c.rd.Release()
	c.state.Store(c.number<<phaseBits | uint64(phaseActive)) // a drain leaves it alone
	c.Conn.SetDeadline(time.Time{})                          //nolint:errcheck // the next read reports it
	c.gw.leave(c)
	c.gw.serveH2(c.nc, c.listener, already)
}

// drain has the client open no more streams here, and lets those that there are end. A first GOAWAY says so; the last one, which says
// what will not be served any more, comes when whatever the client sent before it heard the first has arrived.
func (s *session) drain() {
	s.leaving.Do(func() {
		s.farewell.Go(func() {
			s.frames.sayGoAway(s.over)
			s.base.Shutdown(expired) //nolint:errcheck // it only tells the library to say GOAWAY
		})
	})
}

// expired is a context that has ended.
var expired = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// enrollSession lists a session, so that it can be drained.
func (g *Gateway) enrollSession(s *session) {
	g.mu.Lock()
	g.sessions[s] = struct{}{}
	g.mu.Unlock()
	if g.draining.Load() {
		s.drain()
	}
}

func (g *Gateway) leaveSession(s *session) {
	g.mu.Lock()
	delete(g.sessions, s)
	g.drainedLocked()
	g.mu.Unlock()
}

// sessionsOf lists the sessions of a listener; of all of them if it has no name.
func (g *Gateway) sessionsOf(listener string) []*session {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []*session
	for s := range g.sessions {
		if listener == "" || s.listener == listener {
			list = append(list, s)
		}
	}
	return list
}
