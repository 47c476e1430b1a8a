package tests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// upstream is a TCP server that records every byte it is sent and answers each request with scripted bytes. It parses what
// comes more strictly than any server must: what it cannot parse is kept as a fault, which fails the test.
type upstream struct {
	t    testing.TB
	l    net.Listener
	addr string
	wg   sync.WaitGroup

	mu       sync.Mutex
	script   func(r *upRequest) answer // nil: echoAnswer
	conns    []*upConn
	requests []*upRequest // in order of arrival
	faults   []string
	closed   bool
}

// upConn is one connection that was accepted.
type upConn struct {
	id int
	c  net.Conn

	mu   sync.Mutex
	seen bytes.Buffer // every byte received
	gone bool         // the peer has closed it
}

// upRequest is one request as it arrived.
type upRequest struct {
	conn    *upConn
	n       int // 0 is the first since the last reset
	method  string
	target  string
	fields  [][2]string
	raw     []byte // head, body and trailers as received; complete once the body was read
	body    []byte
	trailer [][2]string
}

// get is the value of the first field of that name, in any case.
func (r *upRequest) get(name string) string {
	for _, f := range r.fields {
		if strings.EqualFold(f[0], name) {
			return f[1]
		}
	}
	return ""
}

// answer is what the upstream does with a request.
type answer struct {
	early bool   // before the body was read
	steps []step // in order
}

// step is one thing the upstream does.
type step struct {
	kind string // write, wait, hang, close, reset, drip, call
	data []byte // write, drip
	wait time.Duration
	call func(br io.Reader) bool // is given what follows; says whether the connection goes on
}

// newUpstream listens on a free loopback address until the test ends.
func newUpstream(t testing.TB) *upstream {
	t.Helper()
	l := listenFree(t)
	u := &upstream{t: t, l: l, addr: l.Addr().String()}
	u.wg.Go(u.accept)
	t.Cleanup(u.stop)
	return u
}

// stop closes the listener and every connection with a reset.
func (u *upstream) stop() {
	u.mu.Lock()
	u.closed = true
	conns := u.conns
	u.mu.Unlock()
	u.l.Close()
	for _, c := range conns {
		reset(c.c)
	}
	u.wg.Wait()
}

// reset closes a connection so that the peer sees ECONNRESET.
func reset(c net.Conn) {
	if tc, ok := c.(*net.TCPConn); ok {
		tc.SetLinger(0)
	}
	c.Close()
}

func (u *upstream) accept() {
	for {
		c, err := u.l.Accept()
		if err != nil {
			return
		}
		u.mu.Lock()
		if u.closed {
			u.mu.Unlock()
			c.Close()
			return
		}
		uc := &upConn{id: len(u.conns), c: c}
		u.conns = append(u.conns, uc)
		u.mu.Unlock()
		u.wg.Go(func() { u.serve(uc) })
	}
}

// begin forgets the requests and faults so far and sets the script of what follows.
func (u *upstream) begin(script func(r *upRequest) answer) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.script, u.requests, u.faults = script, nil, nil
}

// got is the requests that have arrived since begin, and what was wrong with them.
func (u *upstream) got() (reqs []*upRequest, faults []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]*upRequest(nil), u.requests...), append([]string(nil), u.faults...)
}

// open is the number of connections that the peer has not closed.
func (u *upstream) open() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for _, c := range u.conns {
		c.mu.Lock()
		if !c.gone {
			n++
		}
		c.mu.Unlock()
	}
	return n
}

// everything is all bytes received on all connections.
func (u *upstream) everything() []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []byte
	for _, c := range u.conns {
		c.mu.Lock()
		all = append(all, c.seen.Bytes()...)
		c.mu.Unlock()
	}
	return all
}

// Read keeps a copy of what the connection gives.
func (c *upConn) Read(p []byte) (int, error) {
	n, err := c.c.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen.Write(p[:n])
	if err != nil {
		c.gone = true
	}
	return n, err
}

func (u *upstream) serve(c *upConn) {
	defer c.c.Close()
	br := bufio.NewReader(c)
	for {
		r, err := readHead(br)
		if err != nil {
			if !errors.Is(err, errNothing) {
				u.fault(fmt.Sprintf("conn %d: %v", c.id, err))
			}
			return
		}
		r.conn = c
		u.mu.Lock()
		r.n = len(u.requests)
		started := *r // readers see the head until the body is whole
		u.requests = append(u.requests, &started)
		a := echoAnswer(r)
		if u.script != nil {
			a = u.script(r)
		}
		u.mu.Unlock()
		if a.early {
			if !u.play(c, br, a.steps) {
				return
			}
		}
		if strings.EqualFold(r.get("Expect"), "100-continue") {
			io.WriteString(c.c, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		if err := r.readBody(br); err != nil {
			if !isGone(err) {
				u.fault(fmt.Sprintf("conn %d: body of %s %s: %v", c.id, r.method, r.target, err))
			}
			return
		}
		u.mu.Lock()
		if r.n < len(u.requests) && u.requests[r.n] == &started {
			u.requests[r.n] = r
		}
		u.mu.Unlock()
		if !a.early && !u.play(c, br, a.steps) {
			return
		}
	}
}

func (u *upstream) fault(s string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.faults = append(u.faults, s)
}

// play does the steps and tells whether the connection may go on.
func (u *upstream) play(c *upConn, br *bufio.Reader, steps []step) bool {
	for _, s := range steps {
		switch s.kind {
		case "write":
			if _, err := c.c.Write(s.data); err != nil {
				return false
			}
		case "drip":
			for i := range s.data {
				time.Sleep(s.wait)
				if _, err := c.c.Write(s.data[i : i+1]); err != nil {
					return false
				}
			}
		case "wait":
			time.Sleep(s.wait)
		case "hang": // until the peer has had enough
			io.Copy(io.Discard, c)
			return false
		case "close":
			return false
		case "call":
			if !s.call(br) {
				return false
			}
		case "reset":
			time.Sleep(20 * time.Millisecond) // let what was written arrive before the reset overtakes it
			reset(c.c)
			return false
		}
	}
	return true
}

// echoAnswer tells the client which request this is the answer of.
func echoAnswer(r *upRequest) answer {
	body := r.method + " " + r.target
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Conn: %d\r\n\r\n", len(body), r.conn.id)
	if r.method == "HEAD" {
		body = ""
	}
	return answer{steps: []step{{kind: "write", data: []byte(head + body)}}}
}
