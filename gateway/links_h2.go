package gateway

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"weir/internal/h2"
	"weir/internal/mono"
)

// links are the HTTP/2 connections to one endpoint. There is one, and another when that has all the streams it may. The zero value has none.
type links struct {
	mu      sync.Mutex
	open    []*link
	dialing *linkDial // the connection that is being made
	plain   mono.Time // until when protocol auto takes the endpoint for one of HTTP/1
	closed  bool
}

var errNoStreams = errors.New("the endpoint allows no streams")

// linkDial is a connection that is being made for all who need one.
type linkDial struct {
	identity string
	done     chan struct{} // closed when it is there, or is not
	err      error         // after done
}

// link is one of them.
type link struct {
	conn     *h2.Client
	identity string
	scheme   []byte
}

// How a link is looked after, and what it may take.
const (
	linkQuiet   = 15 * time.Second // without a frame, after which the endpoint is asked whether it is still there
	linkDead    = 5 * time.Second  // without an answer to that, or while a write waits
	linkHead    = 30 * time.Second // for the rest of a head, which all other streams wait for
	linkStreams = 1000             // at once, whatever the endpoint allows
	linkFrames  = 2000             // of the endpoint that ask for nothing, at once
	plainFor    = time.Minute      // an endpoint that chose HTTP/1 is offered HTTP/2 again
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
	return acquireRound(u, l), nil
}

// link returns a link with a stream reserved. Only one at a time is made: who needs it waits for it, and fails with it.
func (u *upstream) link(now mono.Time, d *dialConf) (*link, error) {
	s := &u.links
	for {
		s.mu.Lock()
		if d.protocol == "auto" && now < s.plain {
			s.mu.Unlock()
			return nil, nil
		}
		for _, l := range s.open {
			if l.identity == d.identity && l.conn.Reserve() {
				s.mu.Unlock()
				return l, nil
			}
		}
		s.pruneLocked(d.identity)
		if made := s.dialing; made != nil {
			s.mu.Unlock()
			if <-made.done; made.err != nil && made.identity == d.identity { // no longer than a dial may take
				return nil, made.err
			}
			continue
		}
		made := &linkDial{identity: d.identity, done: make(chan struct{})}
		s.dialing = made
		s.mu.Unlock()
		l, err := u.dialLink(d)
		s.mu.Lock()
		s.dialing, made.err = nil, err
		if l == nil && err == nil {
			s.plain = mono.Now().Add(plainFor)
			now = mono.Now()
		}
		s.mu.Unlock()
		close(made.done)
		if l != nil || err != nil {
			return l, err
		}
	}
}

// dialLink makes a link, as adopt does; nil if the endpoint chose HTTP/1.
func (u *upstream) dialLink(d *dialConf) (*link, error) {
	until := time.Now().Add(d.timeout)
	nc, secure, err := u.connect(d, nil)
	if err != nil {
		return nil, err
	}
	if secure == nil {
		return u.adopt(d, nc, until)
	}
	if secure.ConnectionState().NegotiatedProtocol == "h2" {
		return u.adopt(d, secure, until)
	}
	secure.Close() //nolint:errcheck // it is of no more use
	if d.protocol == "auto" {
		return nil, nil
	}
	return nil, errors.Join(errHandshake, errors.New("the endpoint does not speak HTTP/2"))
}

// adopt makes a link of a connection whose endpoint says until then how much it takes, lists it, and reserves a stream. A link that is asked before
// that may be asked for too much, or for what the endpoint does not know. One of an endpoint that was taken away is for that stream alone.
func (u *upstream) adopt(d *dialConf, nc net.Conn, until time.Time) (*link, error) {
	l := &link{identity: d.identity, scheme: []byte("http")}
	if d.tls != nil {
		l.scheme = []byte("https")
	}
	l.conn = h2.NewClient(nc, &h2.ClientOptions{
		Streams: linkStreams, HeadBytes: upstreamLimits.Bytes, HeadTimeout: linkHead, IdleTimeout: d.idleTimeout, Quiet: linkQuiet, Dead: linkDead, ControlFrames: linkFrames,
	})
	go u.serveLink(l)
	if err := l.conn.Ready(until); err != nil {
		return nil, fmt.Errorf("settings of HTTP/2 are waited for: %w", err)
	}
	if !l.conn.Reserve() {
		l.conn.Retire()
		return nil, errNoStreams
	}
	s := &u.links
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plain = 0; s.closed {
		l.conn.Retire()
	} else {
		s.open = append(s.open, l)
	}
	return l, nil
}

// serveLink reads what the endpoint says, to the link's end.
func (u *upstream) serveLink(l *link) {
	if why, by := l.conn.Serve(); why != h2.NoFlood {
		if unsaid, ok := u.pool.gw.floods.may(mono.Now()); ok {
			u.pool.gw.log.Warn("a connection of HTTP/2 was ended for a flood", "pool", u.pool.name, "endpoint", u.endpoint.Address(), "frame", by.String(), "unsaid", unsaid)
		}
	}
}

// pruneLocked retires links that take no more streams, and those of another identity: each ends when the last of its streams does.
func (s *links) pruneLocked(identity string) {
	s.open = slices.DeleteFunc(s.open, func(l *link) bool {
		if l.identity == identity && l.conn.Usable() {
			return false
		}
		l.conn.Retire()
		return true
	})
}

func (s *links) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.open {
		l.conn.Retire()
	}
	s.closed, s.open = true, nil
}
