package gateway

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir/internal/http1"
	"weir/internal/mono"
	"weir/tls"
)

// phase is what a connection is doing, for those who look at it from outside.
type phase uint64

const (
	phaseIdle    phase = iota // between requests
	phaseActive               // a request is being served
	phaseWaiting              // for an upstream, with nothing to be read from the client
	phaseEnded                // somebody outside has ended it
	phaseHead                 // a request's header is on its way
	phaseBits    = 3
)

// h1conn is one HTTP/1 connection of a client. One goroutine serves it; the atomics are for sweep and drain.
type h1conn struct {
	wire
	gw       *Gateway
	nc       *tls.Conn
	rd       http1.Reader
	idler    *idleRead // cleartext: waits without a buffer
	listener string
	conf     *Listener // of snap
	snap     *Snapshot
	text     peerText

	state   atomic.Uint64 // request number << phaseBits | phase
	stream  *stream       // of HTTP/2; nil: it is a connection of HTTP/1
	up      atomic.Pointer[upconn]
	ending  sync.Mutex  // held by who ends a wait, until it is done with c and up
	leaving atomic.Bool // no more requests after this one
	seen    uint64      // the sweep's own: state at its last look
	number  uint64
}

// ServeConn serves the requests of one connection and closes it. listener is the name in the configuration.
func (g *Gateway) ServeConn(nc *tls.Conn, listener string) {
	if nc.Protocol == "h2" {
		g.serveH2(nc, listener, nil)
		return
	}
	c := &h1conn{gw: g, nc: nc, listener: listener}
	c.Conn, c.final = nc.Conn, nc.Secure
	c.rd = http1.NewReader(&c.wire)
	if !nc.Secure {
		if raw, ok := nc.Conn.(syscall.Conn); ok {
			if rc, err := raw.SyscallConn(); err == nil {
				c.writer = newRawWriter(rc)
				c.idler = newIdleRead(rc, c.rd.Room, c.rd.Release)
				c.idler.pause = 1 // else those that the network poller holds would wait while others keep going first
			}
		}
	}
	g.enroll(c)
	if c.await() {
		if c.speaksH2() {
			c.becomeH2()
			return
		}
		for c.serveOne() && c.await() {
		}
	}
	c.rd.Release()
	c.Close() //nolint:errcheck // it is of no more use
	g.leave(c)
}

// await waits for the first bytes of the next request, without a buffer, and takes the configuration then in force.
func (c *h1conn) await() bool {
	if !c.configure() {
		return false
	}
	if b := c.rd.Bytes(); len(b) == 2 && b[0] == '\r' && b[1] == '\n' && c.number > 0 {
		c.rd.Discard(2) // an empty line behind a request is not the start of another (RFC 9112, section 2.2)
	}
	c.number++
	if c.rd.Buffered() > 0 {
		c.state.Store(c.number<<phaseBits | uint64(phaseHead))
		return true
	}
	idle := c.number << phaseBits
	c.state.Store(idle)
	wait := c.conf.IdleTimeout
	if c.closing() {
		wait = min(wait, lastRequest(c.number))
	}
	c.readBy(mono.Now().Add(wait))
	c.between = !c.closing()
	n, err := c.firstBytes()
	c.between = false
	if err == errRoused { // a request that is already here is served
		c.readBy(mono.Now().Add(lastRequest(c.number)))
		n, err = c.firstBytes()
	}
	c.state.Store(c.number<<phaseBits | uint64(phaseHead))
	return err == nil && n > 0 && c.configure()
}

// lastRequest is how long a connection that is to close may still bring a request: one that has been served hardly any, as
// it is only asked for what has come already; a new one, which some client has just been given, a little.
func lastRequest(number uint64) time.Duration {
	if number > 1 {
		return time.Millisecond
	}
	return drainHead
}

// drainHead is how long a request may take to arrive when the gateway is draining.
const drainHead = time.Second

// configure takes over the snapshot in force. A listener that is gone keeps its last limits while it drains.
func (c *h1conn) configure() bool {
	snap := c.gw.snap.Load()
	if snap == c.snap && c.conf != nil {
		return true
	}
	c.snap = snap
	if l := c.snap.listeners[c.listener]; l != nil {
		c.conf = l
	}
	if c.conf == nil {
		return false
	}
	c.least = c.conf.MinRate * int64(rateGrace/time.Second)
	return true
}

func (c *h1conn) firstBytes() (int, error) {
	if c.idler != nil {
		n, err := c.idler.read(&c.wire)
		c.rd.Grew(n)
		return n, err
	}
	c.rd.Release()
	var first [1]byte
	n, err := c.Read(first[:])
	if n > 0 {
		c.rd.Room()[0] = first[0]
		c.rd.Grew(1)
	}
	return n, err
}

func (c *h1conn) closing() bool { return c.leaving.Load() || c.gw.draining.Load() }

var exchanges = sync.Pool{New: func() any {
	x := new(h1)
	x.car = x
	x.out = make([]byte, 0, http1.SmallBuffer)
	x.reply.Head = make([]byte, 0, 512)
	x.text = make([]byte, 0, 512)
	x.frame = make([]byte, 0, 256)
	return x
}}

// serveOne serves one request and reports whether another may follow on the connection.
func (c *h1conn) serveOne() bool {
	x := exchanges.Get().(*h1)
	x.conn = c
	x.gw, x.secure = c.gw, c.nc.Secure
	again := x.run()
	x.release()
	exchanges.Put(x)
	return again
}

// run reads a request's head, serves it, and leaves the connection ready for the next one.
func (x *h1) run() bool {
	c := x.conn
	x.snap, x.start = c.snap, mono.Now()
	if c.readBy(x.start.Add(c.conf.HeaderTimeout)); c.closing() {
		c.readBy(x.start.Add(min(c.conf.HeaderTimeout, drainHead)))
	}
	reads := c.reads
	if err := c.rd.ReadRequest(&x.req, c.conf.Limits); err != nil {
		return x.badHead(err)
	}
	if c.reads != reads {
		x.start = mono.Now()
	}
	c.readBy(0)
	c.state.Store(c.number<<phaseBits | uint64(phaseActive))
	x.persist = !x.req.Close && (x.req.Minor == 1 || x.req.KeepAlive) && !c.closing() && c.stream == nil
	x.body.Request(&x.req, &c.rd, c.conf.Limits)
	x.upgrade = x.req.UpgradeOpt && x.wantsTunnel()
	x.addresses()
	x.identify()
	if v := x.parseTarget(); v.Reason != Pass {
		x.persist = false
		c.gw.refuseEarly(&x.Exchange, v)
		return x.end()
	}
	if x.expects() {
		return x.end()
	}
	if !x.secure && x.shortcut() {
		return x.end()
	}
	c.gw.serve(&x.Exchange)
	return x.end()
}

// end closes what must be closed after an exchange, and reports whether the connection goes on.
func (x *h1) end() bool {
	c := x.conn
	if x.persist && x.body.Done() {
		c.rd.Unpin()
		return true
	}
	if x.linger {
		c.lingerAndClose()
	}
	return false
}

// badHead answers a request that cannot be parsed, if there is anybody to answer.
func (x *h1) badHead(err error) bool {
	v := Verdict{Reason: BadRequest, Close: true}
	var f http1.Fault
	switch {
	case errors.As(err, &f):
		if f == http1.BadVersion && x.conn.foreign(x.req.Buf) {
			return false
		}
		v.Detail = f.Error()
		if f.TooLarge() {
			v.Reason, v.Status = TooLarge, 431
			if f == http1.TargetTooLong {
				v.Status = 414
			}
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		v.Reason, v.Detail = RequestTimeout, "the header did not arrive in time"
	default:
		return false // the client is gone
	}
	x.persist = false
	x.req.Reset() // nothing of it is to be trusted
	x.addresses()
	x.identify()
	x.conn.gw.refuseEarly(&x.Exchange, v)
	return x.end()
}

// refuseEarly answers what never was a request of the pipeline's, and accounts for it.
func (g *Gateway) refuseEarly(x *Exchange, v Verdict) {
	g.answer(x, v)
	g.settle(x)
}

// addresses finds out who speaks.
func (x *h1) addresses() {
	c := x.conn
	x.peerText = &c.text
	x.peer = c.nc.Remote.Addr().Unmap()
	x.trusted = len(x.snap.trusted) > 0 && x.snap.isTrusted(x.peer)
	if x.trusted {
		x.peer = x.snap.clientAddr(x.peer, x.forwardedFor)
	}
}

// forwardedFor yields the X-Forwarded-For fields from last to first.
func (x *h1) forwardedFor(yield func(string) bool) {
	for i := len(x.req.Fields) - 1; i >= 0; i-- {
		if x.req.Fields[i].Known == http1.XForwardedFor && !yield(view(x.req.Value(i))) {
			return
		}
	}
}

// shortcut answers ACME challenges and redirects to HTTPS before any route is asked.
func (x *h1) shortcut() bool {
	g := x.conn.gw
	const acme = "/.well-known/acme-challenge/"
	if p := x.path; g.http01 != nil && len(p) > len(acme) && p[:len(acme)] == acme {
		if body, ok := g.http01(p, x.host); ok {
			r := x.blankReply()
			r.Status, r.Body = 200, body
			x.Answer(&x.Exchange, r)
			g.settle(&x.Exchange)
			return true
		}
	}
	if !x.conn.conf.RedirectHTTPS {
		return false
	}
	to := append([]byte("https://"), x.host...)
	to = append(append(to, x.path...), x.RawQuerySuffix()...)
	x.redirectReply(x.blankReply(), 308, to)
	x.Answer(&x.Exchange, &x.reply)
	g.settle(&x.Exchange)
	return true
}

// expects deals with Expect: 100-continue is remembered and answered when the body is wanted, all else is refused.
func (x *h1) expects() (answered bool) {
	v, ok := x.req.Get(http1.Expect)
	if !ok || x.req.Minor == 0 {
		return false
	}
	if !http1.EqualFold(v, "100-continue") {
		x.persist = false
		x.conn.gw.refuseEarly(&x.Exchange, Verdict{Reason: BadRequest, Status: 417, Detail: "only Expect: 100-continue is known"})
		return true
	}
	x.expect = !x.body.Done() && x.conn.rd.Buffered() == 0
	return false
}

// Bounds of waiting for clients beside the minimum rate.
const (
	rateGrace   = 5 * time.Second // before a minimum rate is asked for
	lingerBytes = 1 << 20         // read and dropped after a refusal, so that the client gets to see it
	lingerTime  = 2 * time.Second
	drainBytes  = 64 << 10 // of an unread body, for the sake of keeping the connection
)

// slack is how long n bytes may take.
func (c *h1conn) slack(n int64) time.Duration {
	if c.conf.MinRate <= 0 {
		return c.conf.IdleTimeout
	}
	return rateGrace + time.Duration(float64(n)/float64(c.conf.MinRate)*float64(time.Second))
}

// writeGrace is how long a write may make too little progress.
func (c *h1conn) writeGrace() time.Duration {
	switch {
	case c.conf.MinRate <= 0:
		return clientStall
	case c.final: // a write that was interrupted cannot go on, so it gets time for a whole buffer
		return c.slack(2 * http1.LargeBuffer)
	}
	return rateGrace
}

// writeSoon sets the deadline of a write that begins now.
func (c *h1conn) writeSoon() { c.writeBy(mono.Now().Add(c.writeGrace())) }

// lingerAndClose ends the sending side and reads what is still coming, for a while: to close with unread bytes would reset
// the connection, and the client might never see the answer.
func (c *h1conn) lingerAndClose() {
	if c.stream != nil {
		return // what comes for a stream that has ended is no harm
	}
	c.resume()
	if err := c.nc.Raw.CloseWrite(); err != nil {
		return
	}
	c.readBy(mono.Now().Add(lingerTime))
	c.rd.Unpin()
	for n := 0; n < lingerBytes; {
		c.rd.Discard(c.rd.Buffered())
		if c.rd.Fill() != nil {
			return
		}
		n += c.rd.Buffered()
	}
}
