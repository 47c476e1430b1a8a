package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"weir/internal/http1"
	"weir/internal/mono"
)

//lint:file-ignore SA1019 why x/net's HTTP/2 and not net/http's: docs/adr/019-http2.md

// errNotActedOn says that an endpoint has not begun with a request: it refused the stream, or was going away. It can be sent again
// whatever its method is (RFC 9113, section 8.7).
var errNotActedOn = errors.New("the endpoint did not accept the stream")

// links are the HTTP/2 connections to one endpoint. There is one, and another when that has all the streams it may. The zero value has none.
type links struct {
	mu      sync.Mutex
	open    []*link
	dialing *linkDial // the connection that is being made
	plain   mono.Time // until when protocol auto takes the endpoint for one of HTTP/1
	closed  bool
}

// linkTries is how many links are made for one request: those that wait for them may be faster, or the endpoint may allow none.
const linkTries = 3

var errNoStreams = errors.New("the endpoint allows no streams")

// linkDial is a connection that is being made for all who need one.
type linkDial struct {
	identity string
	done     chan struct{} // closed when it is there, or is not
	err      error         // after done
}

// link is one of them.
type link struct {
	cc        *http2.ClientConn
	transport *http2.Transport
	identity  string
	scheme    string
	dead      atomic.Bool // it takes no more streams
}

// How a link is looked after. A write that waits holds up all others on the link, whatever their deadlines are.
const (
	linkQuiet = 15 * time.Second // without a frame, after which the endpoint is asked whether it is still there
	linkDead  = 5 * time.Second  // without an answer to that, or while a write waits
	plainFor  = time.Minute      // an endpoint that chose HTTP/1 is offered HTTP/2 again
)

// multiplexes reports whether the endpoint may speak HTTP/2.
func (d *dialConf) multiplexes() bool {
	switch d.protocol {
	case "h2", "h2c":
		return true
	case "auto":
		return d.tls != nil
	}
	return false
}

// stream returns a connection that is a stream of a link; nil if the endpoint speaks HTTP/1.
func (u *upstream) stream(now mono.Time, d *dialConf) (*upconn, error) {
	l, err := u.link(now, d)
	if l == nil {
		return nil, err
	}
	c := &upconn{up: u, identity: d.identity, round: newRound(l)}
	c.Conn, c.final = c.round, true
	c.round.wire = &c.wire
	c.rd = http1.NewReader(&c.wire)
	return c, nil
}

// link returns a link with a stream reserved. Only one at a time is made: who needs it waits for it, and fails with it.
func (u *upstream) link(now mono.Time, d *dialConf) (*link, error) {
	s := &u.links
	for dials := 0; ; {
		s.mu.Lock()
		if d.protocol == "auto" && now < s.plain {
			s.mu.Unlock()
			return nil, nil
		}
		old := s.pruneLocked(d.identity)
		for _, l := range s.open {
			if l.cc.ReserveNewRequest() {
				s.mu.Unlock()
				retire(old)
				return l, nil
			}
		}
		if made := s.dialing; made != nil {
			s.mu.Unlock()
			retire(old)
			if <-made.done; made.err != nil && made.identity == d.identity { // no longer than a dial may take
				return nil, made.err
			}
			continue
		}
		if dials++; dials > linkTries {
			s.mu.Unlock()
			retire(old)
			return nil, errNoStreams
		}
		made := &linkDial{identity: d.identity, done: make(chan struct{})}
		s.dialing = made
		s.mu.Unlock()
		retire(old)
		l, err := u.dialLink(d)
		s.mu.Lock()
		s.dialing, made.err = nil, err
		if l == nil && err == nil {
			s.plain = mono.Now().Add(plainFor)
			now = mono.Now()
		}
		s.mu.Unlock()
		close(made.done)
		if err != nil {
			return nil, err
		}
	}
}

// dialLink makes a link and lists it; nil if the endpoint chose HTTP/1.
func (u *upstream) dialLink(d *dialConf) (*link, error) {
	nc, secure, err := u.connect(d, nil)
	if err != nil {
		return nil, err
	}
	if secure == nil {
		return u.adopt(d, nc)
	}
	if secure.ConnectionState().NegotiatedProtocol == "h2" {
		return u.adopt(d, secure)
	}
	secure.Close() //nolint:errcheck // it is of no more use
	if d.protocol == "auto" {
		return nil, nil
	}
	return nil, errors.Join(errHandshake, errors.New("the endpoint does not speak HTTP/2"))
}

// streamWindow is what an endpoint may send of an answer before a client has taken it.
const streamWindow = 256 << 10

// adopt makes a link of a connection. What an endpoint has sent and no client has taken yet is at most streamWindow for each stream; all
// streams together have no window of their own, or clients that do not read would stop the others.
func (u *upstream) adopt(d *dialConf, nc net.Conn) (*link, error) {
	l := &link{identity: d.identity, scheme: "http"}
	if d.tls != nil {
		l.scheme = "https"
	}
	t, err := http2.ConfigureTransports(&http.Transport{HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: streamWindow}})
	if err != nil {
		nc.Close() //nolint:errcheck // the error to report is the other
		return nil, err
	}
	t.ConnPool, t.AllowHTTP, t.DisableCompression, t.MaxHeaderListSize = l, true, true, uint32(upstreamLimits.Bytes)
	t.IdleConnTimeout, t.ReadIdleTimeout, t.PingTimeout, t.WriteByteTimeout = d.idleTimeout, linkQuiet, linkDead, linkDead
	l.transport = t
	cc, err := l.transport.NewClientConn(nc)
	if err != nil {
		nc.Close() //nolint:errcheck // the error to report is the other
		return nil, err
	}
	l.cc = cc
	s := &u.links
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.open = append(s.open, l)
	}
	s.mu.Unlock()
	if closed {
		l.retire()
		return nil, net.ErrClosed
	}
	return l, nil
}

// pruneLocked forgets links that take no more streams, and returns those of another identity, which are to be retired.
func (s *links) pruneLocked(identity string) (old []*link) {
	s.open = slices.DeleteFunc(s.open, func(l *link) bool {
		if l.identity != identity {
			old = append(old, l)
			return true
		}
		return l.dead.Load()
	})
	return old
}

// retire closes links, each when the last of its streams has ended. It may have to wait for a write, and is called without a lock.
func retire(old []*link) {
	for _, l := range old {
		l.retire()
	}
}

func (l *link) retire() {
	l.cc.SetDoNotReuse()
	if st := l.cc.State(); st.StreamsActive+st.StreamsReserved == 0 {
		l.cc.Close() //nolint:errcheck // it is of no more use
	}
}

func (s *links) close() {
	s.mu.Lock()
	old := s.open
	s.closed, s.open = true, nil
	s.mu.Unlock()
	retire(old)
}

// taken is in the context of a request that was given its link.
type taken struct{}

// GetClientConn gives the library the link for a request, once: it asks again for one that was not acted on, and what becomes of that is
// not its to decide.
func (l *link) GetClientConn(req *http.Request, _ string) (*http2.ClientConn, error) {
	given := req.Context().Value(taken{}).(*bool)
	if *given {
		return nil, errNotActedOn
	}
	*given = true
	return l.cc, nil
}

// MarkDead is told by the library that the connection has ended, or is about to.
func (l *link) MarkDead(*http2.ClientConn) { l.dead.Store(true) }

// release gives back the reservation of a stream that was not used.
func (l *link) release() {
	req := (&http.Request{}).WithContext(context.Background())
	l.cc.RoundTrip(req) //nolint:errcheck // it is no request
}
