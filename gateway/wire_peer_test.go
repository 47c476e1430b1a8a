package gateway

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"weir/tls"
)

// plainUpstream answers every request that has no body with the same bytes, and allocates nothing for it. It returns its
// address and ends with the test.
func plainUpstream(t testing.TB, answer string) string {
	t.Helper()
	return eachConn(t, func(c net.Conn, _ int) { answerAll(c, []byte(answer)) })
}

// eachConn has every connection to the address that it returns served, each in a goroutine of its own and with its number. They are closed at
// the end of the test, if not before.
func eachConn(t testing.TB, serve func(c net.Conn, n int)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var tasks sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	tasks.Go(func() {
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			tasks.Go(func() {
				defer c.Close()
				serve(c, n)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		tasks.Wait()
	})
	return ln.Addr().String()
}

func answerAll(c net.Conn, answer []byte) {
	end := []byte("\r\n\r\n")
	buf := make([]byte, 16<<10)
	n := 0
	for {
		m, err := c.Read(buf[n:])
		if err != nil {
			return
		}
		if n += m; bytes.HasSuffix(buf[:n], end) {
			n = 0
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	}
}

// client is a connection to a gateway, over loopback TCP.
type client struct {
	t   testing.TB
	c   *net.TCPConn
	buf []byte
	end chan struct{} // closed when the gateway has let go of the connection
}

// dial connects to g's listener "web". The connection ends with the test.
func dial(t testing.TB, g *Gateway) *client {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	k := &client{t: t, c: c.(*net.TCPConn), buf: make([]byte, 16<<10), end: make(chan struct{})}
	go func() {
		defer close(k.end)
		defer s.Close()
		defer func() {
			if p := recover(); p != nil { // as the listener does
				t.Errorf("panic in a connection: %v", p)
			}
		}()
		g.ServeConn(&tls.Conn{Conn: s, Raw: s.(*net.TCPConn), Remote: netip.MustParseAddrPort("192.0.2.7:4711")}, "web")
	}()
	t.Cleanup(func() {
		c.Close()
		<-k.end
	})
	return k
}

// roundTrip sends a request and reads until the answer ends with end. It allocates nothing. The result is valid until the
// next call.
func (k *client) roundTrip(request, end []byte) []byte {
	if _, err := k.c.Write(request); err != nil {
		k.t.Fatal(err)
	}
	n := 0
	for {
		m, err := k.c.Read(k.buf[n:])
		n += m
		if bytes.HasSuffix(k.buf[:n], end) {
			return k.buf[:n]
		}
		if err != nil {
			k.t.Fatalf("%v after %q", err, k.buf[:n])
		}
	}
}

// poolYAML is a configuration with one pool of these endpoints, and a route to it for every path.
func poolYAML(pool string, endpoints ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pools:\n  - name: api\n    health: {panic: 0%%, passive: {consecutive_failures: 0, error_rate: 0%%}}\n    breaker: {failure_threshold: 0}\n%s    endpoints:\n", pool)
	for _, e := range endpoints {
		fmt.Fprintf(&b, "      - {address: '%s'}\n", e)
	}
	return b.String()
}
