package gateway

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/http1"
	"weir/internal/mono"
	"weir/internal/websocket"
	"weir/telemetry"
)

// tunnel is an exchange after its 101: bytes go both ways until both sides are done, one breaks, or something ends it. Its seat
// is given back at the 101, as a tunnel lasts for hours and says nothing about how busy the endpoint is with requests; what it holds until
// its end are a slot among its pool's tunnels and its lease, one of the endpoint's, and the seats that policies count.
//
// It has two goroutines, one for each way, and between bytes no buffer. Both ways of a WebSocket are followed frame by frame, so that a Close
// can be put behind one.
type tunnel struct {
	place
	gw        *Gateway
	carrier   *h1conn
	client    net.Conn
	endpoint  net.Conn
	in, out   way
	sum       *telemetry.Lasting
	websocket bool
	payer     *Exchange  // charged by its messages as they pass; nil: it is not
	paying    sync.Mutex // held by the way that charges it: nobody else touches payer while both ways last
	began     mono.Time
	idle      time.Duration // 0: no end
	lifetime  time.Duration // 0: no end
	cut       atomic.Bool   // both connections are closed, or about to be
	leaving   atomic.Bool   // its end has begun

	mu      sync.Mutex
	clock   *time.Timer
	leaveAt mono.Time // 0: never
	because ending    // of leaveAt
	why     ending
	cutAt   mono.Time // when the end has begun
	over    bool
}

// tunnel sends the 101, and then passes bytes until the end.
func (x *h1) tunnel() {
	c, u := x.conn, x.u
	x.persist = false
	x.answered = 101
	x.startSettling()
	x.lease.Tunnel()
	x.leaveSeat(x.headAt)
	x.out = x.appendSwitch(x.out[:0])
	if _, err := c.Write(x.out); err != nil {
		x.clientLost(err)
		return
	}
	t := x.newTunnel(u)
	fromClient, fromEndpoint := bytes.Clone(c.rd.Bytes()), bytes.Clone(u.rd.Bytes()) // either may have spoken first
	x.compact()
	t.run(fromClient, fromEndpoint)
	x.out = make([]byte, 0, http1.SmallBuffer)
	x.bytesIn, x.bytesOut = t.in.bytes, t.out.bytes
	x.messagesIn, x.messagesOut = t.in.frames.Messages(), t.out.frames.Messages()
	x.closeCode, x.ended = t.status(), t.why
	x.settleCost()
	u.up.drop(u)
	x.u = nil
}

// appendSwitch appends the 101 as the client gets it.
func (x *h1) appendSwitch(b []byte) []byte {
	b = appendStatus(b, 101, x.resp.Reason())
	for i := range x.resp.Fields {
		if f := &x.resp.Fields[i]; f.Hop {
			continue
		}
		b = append(b, x.resp.Name(i)...)
		b = append(b, ": "...)
		b = append(b, x.resp.Value(i)...)
		b = append(b, '\r', '\n')
	}
	v, _ := x.req.Lookup("upgrade")
	b = append(b, "Connection: Upgrade\r\nUpgrade: "...)
	b = append(b, v...)
	return append(b, "\r\n\r\n"...)
}

func (x *h1) newTunnel(u *upconn) *tunnel {
	c, r := x.conn, x.Exchange.route
	t := &tunnel{place: place{c.listener, r.name}, gw: x.gw, sum: &r.cell.Tunnels, carrier: c, client: c.Conn, endpoint: u.Conn, idle: c.conf.IdleTimeout, lifetime: r.lifetime, began: x.begun}
	if r.idle >= 0 {
		t.idle = r.idle
	}
	if most := x.conf.total; most > 0 && (t.lifetime == 0 || most < t.lifetime) {
		t.lifetime = most
	}
	v, _ := x.req.Get(http1.Upgrade)
	t.websocket = strings.EqualFold(view(v), "websocket")
	t.in = way{t: t, src: &c.wire, dst: &u.wire, by: &x.upload, sum: &r.cell.Tunnels.In, frames: websocket.Frames{Masked: true}}
	t.out = way{t: t, src: &u.wire, dst: &c.wire, by: &x.download, sum: &r.cell.Tunnels.Out}
	if t.websocket && x.messages.wanted {
		x.messages.on = true
		t.payer, t.in.counted, t.out.counted = &x.Exchange, &x.messages.in, &x.messages.out
	}
	if c.idler != nil {
		t.in.idler = newIdleRead(c.idler.raw, t.in.room, t.in.free)
	}
	if u.idler != nil {
		t.out.idler = newIdleRead(u.raw, t.out.room, t.out.free)
	}
	now := int64(mono.Now())
	t.in.last.Store(now)
	t.out.last.Store(now)
	return t
}

// run passes bytes until the end. What was read already comes first.
func (t *tunnel) run(fromClient, fromEndpoint []byte) {
	for _, w := range [...]*wire{t.in.src, t.out.src} {
		w.readBy(0)
	}
	t.sum.Begin()
	t.mu.Lock()
	t.clock = time.AfterFunc(time.Hour, t.tick)
	t.armLocked(mono.Now())
	t.mu.Unlock()
	t.gw.enrollTunnel(t)
	var in sync.WaitGroup
	in.Go(func() { t.in.run(fromClient) })
	t.out.run(fromEndpoint)
	in.Wait()
	t.gw.leaveTunnel(t)
	t.mu.Lock() // a tick that is under way ends first
	t.over = true
	t.clock.Stop()
	t.mu.Unlock()
	t.sum.End()
}

// compact lets go of what served to begin: a tunnel may live for days and needs of its request only what the log shows. Where policies
// correct their cost at the end, both heads are still needed.
func (x *h1) compact() {
	x.out = nil
	if x.settles {
		return
	}
	old := x.req.Buf
	x.req.Buf = bytes.Clone(old)
	for _, s := range [...]*string{&x.host, &x.authority, &x.path, &x.query} {
		*s = rebase(*s, old, x.req.Buf)
	}
	x.dims.reset()
	x.token = bearer{}
	x.resp.Reset()
	x.conn.rd.Release()
	x.u.rd.Release()
}

// openSlot takes one of the tunnels that the pool may have.
func (x *Exchange) openSlot() Verdict {
	x.closeSlot()
	p := x.conf
	if n := p.maxTunnels; p.pool.tunnels.Add(1) > int64(n) {
		p.pool.tunnels.Add(-1)
		return Verdict{Reason: QueueFull, Detail: "the pool has all the tunnels that it may (connections.tunnels)"}
	}
	x.slot = p.pool
	return Verdict{}
}

func (x *Exchange) closeSlot() {
	if p := x.slot; p != nil {
		p.tunnels.Add(-1)
		x.slot = nil
	}
}
