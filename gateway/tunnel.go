package gateway

import (
	"io"
	"net"
	"sync"
	"time"

	"weir/internal/mono"
)

// tunnel passes bytes both ways after a 101, until both sides are done or one breaks. Its seat and lease are given back at
// the 101: a tunnel lasts for hours and says nothing about how busy the endpoint is with requests.
func (x *h1) tunnel() {
	c, u := x.conn, x.u
	x.persist = false
	x.answered = 101
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
	x.seat.Leave()
	for _, nc := range []net.Conn{c.Conn, u.Conn} {
		nc.SetDeadline(time.Time{}) //nolint:errcheck // the copy reports it
	}
	var stop <-chan time.Time
	if x.conf.total > 0 {
		t := time.NewTimer(x.conf.total)
		defer t.Stop()
		stop = t.C
	}
	x.pump(c.Conn, u.Conn, stop)
	u.up.drop(u)
	x.u = nil
}

// pump copies both ways. The end of one direction is passed on, and the other may still finish; an error ends both. TCP to
// TCP does not pass through this process's memory.
func (x *h1) pump(client, upstream net.Conn, stop <-chan time.Time) {
	var both sync.WaitGroup
	cut := func() {
		client.Close()   //nolint:errcheck // both copies end by it
		upstream.Close() //nolint:errcheck // as above
	}
	copyTo := func(dst, src net.Conn, n *int64) {
		var err error
		*n, err = io.Copy(dst, src)
		if w, ok := dst.(interface{ CloseWrite() error }); err != nil || !ok || w.CloseWrite() != nil {
			cut()
		}
	}
	both.Go(func() { copyTo(upstream, client, &x.bytesIn) })
	both.Go(func() { copyTo(client, upstream, &x.bytesOut) })
	done := make(chan struct{})
	go func() {
		both.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-stop:
		cut()
		<-done
	}
}
