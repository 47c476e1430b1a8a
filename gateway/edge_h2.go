package gateway

import (
	"bytes"
	"time"

	"weir/internal/h2"
	"weir/internal/mono"
	"weir/tls"
)

// session is one HTTP/2 connection of a client. Framing, header compression and flow control are internal/h2's; each stream is
// then served as a connection of HTTP/1 with one request is (stream), in the goroutine that it gets.
type session struct {
	gw       *Gateway
	nc       *tls.Conn
	listener string
	conf     *Listener // when it began: what a stream keeps to once the listener is gone
	conn     *h2.Conn
}

// serveH2 serves the streams of nc until its end, and closes it. already is what was read of it.
func (g *Gateway) serveH2(nc *tls.Conn, listener string, already []byte) {
	conf := g.snap.Load().listeners[listener]
	if conf == nil {
		nc.Close() //nolint:errcheck // it is of no more use
		return
	}
	s := &session{gw: g, nc: nc, listener: listener, conf: conf}
	s.conn = h2.New(nc.Conn, already, &h2.Options{
		Handle: s.serve, Gone: func(o *h2.Stream) { o.Owner.(*stream).carrier.endWait() }, Acquire: acquireStream, Release: releaseStream,
		Streams: conf.Streams, HeadBytes: conf.Limits.Bytes, HeadList: conf.Limits.Bytes + 32*conf.Limits.Fields, // the codec says 431, as it does to HTTP/1
		HeadTimeout: conf.HeaderTimeout, IdleTimeout: conf.IdleTimeout, Stall: clientStall, Resets: conf.Resets, ControlFrames: conf.ControlFrames,
	})
	g.enrollSession(s)
	defer g.leaveSession(s)
	s.tellFlood(s.conn.Serve())
}

// serve serves one stream. What is not answered to its end is reset behind it.
func (s *session) serve(o *h2.Stream) {
	st := o.Owner.(*stream)
	defer s.gw.shield("stream", o.Reset)
	st.begin(s)
	c := &st.carrier
	if o.IsGone() || !c.configure() {
		return
	}
	if !c.conf.HTTP2 {
		s.conn.Drain() // a reload has switched it off
	}
	c.state.Store(c.number<<phaseBits | uint64(phaseHead))
	s.gw.enroll(c)
	defer s.gw.leave(c)
	c.serveOne()
	c.rd.Release()
	st.finish()
}

// speaksH2 reports whether the first bytes of a cleartext connection are those of an HTTP/2 client. It reads on as long as they may be.
func (c *h1conn) speaksH2() bool {
	if c.nc.Secure || !c.conf.HTTP2 {
		return false
	}
	c.readBy(mono.Now().Add(c.conf.HeaderTimeout))
	for {
		b := c.rd.Bytes()
		n := min(len(b), len(h2.Preface))
		if string(b[:n]) != h2.Preface[:n] {
			return false
		}
		if n == len(h2.Preface) {
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

// drain has the client open no more streams here, and lets those that there are end.
func (s *session) drain() { s.conn.Drain() }

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
