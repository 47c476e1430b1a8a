package gateway

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weir/internal/mono"
)

// tunnel passes bytes both ways after a 101, until both sides are done or one breaks. Its seat and lease are given back at
// the 101: a tunnel lasts for hours and says nothing about how busy the endpoint is with requests.
func (x *h1) tunnel() {
	c, u := x.conn, x.u
	x.persist = false
	x.answered = 101
	x.startSettling()
	b := appendStatus(x.out[:0], 101, x.resp.Reason())
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
	b = append(b, "\r\n\r\n"...)
	b = append(b, u.rd.Bytes()...) // the endpoint may have spoken first
	x.out = b
	if _, err := c.Write(b); err != nil {
		x.clientLost(err)
		return
	}
	if early := c.rd.Bytes(); len(early) > 0 {
		if _, err := u.Write(early); err != nil {
			x.cutAnswer(err)
			return
		}
		c.rd.Discard(len(early))
	}
	x.headAt = mono.Now()
	x.lease.Done(x.headAt)
	x.leaveSeat(x.headAt)
	for _, nc := range []net.Conn{c.Conn, u.Conn} {
		nc.SetDeadline(time.Time{}) //nolint:errcheck // the copy reports it
	}
	c.gw.countTunnel(1)
	x.pump(c.Conn, u.Conn, x.idleTunnel)
	c.gw.countTunnel(-1)
	x.settleCost()
	u.up.drop(u)
	x.u = nil
}

// idleTunnel reports whether nothing has come either way for the listener's idle timeout, or the pool's total time is
// over. The kernel knows when bytes last came: the copies do not have to.
func (x *h1) idleTunnel() bool {
	if t := x.conf.total; t > 0 && mono.Now().Sub(x.headAt) > t {
		return true
	}
	limit := x.conn.conf.IdleTimeout
	a, okA := time.Duration(0), true
	if s := x.conn.stream; s != nil {
		a = s.sinceLast()
	} else {
		a, okA = sinceLastByte(x.conn.nc.Raw.SyscallConn())
	}
	b, okB := sinceLastByte(x.u.raw, nil)
	now := mono.Now()
	return okA && okB && min(a, b, x.download.quietFor(now), x.upload.quietFor(now)) > limit
}

func sinceLastByte(raw syscall.RawConn, err error) (d time.Duration, ok bool) {
	if err != nil {
		return 0, false
	}
	if err := raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if ok = err == nil; ok {
			d = time.Duration(info.Last_data_recv) * time.Millisecond
		}
	}); err != nil {
		return 0, false
	}
	return d, ok
}

// pump copies both ways until expired says so or both are done. The end of one direction is passed on, and the other may
// still finish; an error ends both. TCP to TCP does not pass through this process's memory.
func (x *h1) pump(client, upstream net.Conn, expired func() bool) {
	var both sync.WaitGroup
	var ended atomic.Bool
	cut := func() {
		ended.Store(true)
		client.Close()   //nolint:errcheck // both copies end by it
		upstream.Close() //nolint:errcheck // as above
	}
	copyTo := func(dst, src net.Conn, n *int64, by *paced) {
		defer x.gw.shield("tunnel", cut)
		var err error
		*n, err = by.copy(dst, src, ended.Load)
		if w, ok := dst.(interface{ CloseWrite() error }); err != nil || !ok || w.CloseWrite() != nil {
			cut()
		}
	}
	both.Go(func() { copyTo(upstream, client, &x.bytesIn, &x.upload) })
	both.Go(func() { copyTo(client, upstream, &x.bytesOut, &x.download) })
	done := make(chan struct{})
	go func() {
		both.Wait()
		close(done)
	}()
	tick := time.NewTicker(max(x.conn.conf.IdleTimeout/4, 100*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if expired() {
				cut()
				<-done
				return
			}
		}
	}
}
