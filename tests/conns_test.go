package tests

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// held opens n connections and says on how many of them a request is answered; all stay open until the test ends.
func held(t testing.TB, addr string, n int, local string) (conns []*raw, answered int) {
	t.Helper()
	d := net.Dialer{Timeout: 3 * time.Second}
	if local != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(local)}
	}
	for range n {
		nc, err := d.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c := newRaw(t, nc)
		conns = append(conns, c)
		c.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		if r := c.read(3*time.Second, false); r.err == nil && r.status == 200 {
			answered++
		}
	}
	return conns, answered
}

const fixedRoute = `
routes: [{name: fixed, respond: {body: fixed}}]
`

// TestConnectionLimits checks that more connections than a listener or an address may have are closed at once, and that
// the room comes back.
func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	w := startWeir(t, base+`
listeners:
  - {name: web, address: "@web", limits: {connections: 20, connections_per_ip: 10}}
  - {name: other, address: "@other", limits: {connections: 5}}
`+fixedRoute, nil)
	first, n := held(t, w.addr("web"), 15, "127.0.0.1")
	if n != 10 {
		t.Errorf("%d of 15 connections of one address are served, want 10", n)
	}
	_, n = held(t, w.addr("web"), 15, "127.0.0.2")
	if n != 10 {
		t.Errorf("%d of 15 connections of a second address are served, want 10", n)
	}
	if _, n = held(t, w.addr("web"), 3, "127.0.0.3"); n != 0 {
		t.Errorf("%d connections over the listener's limit are served", n)
	}
	if _, n = held(t, w.addr("other"), 8, ""); n != 5 {
		t.Errorf("%d of 8 connections of the other listener are served, want 5", n)
	}
	for _, c := range first {
		c.c.Close()
	}
	eventually(t, 3*time.Second, "a closed connection's room comes back", func() bool {
		cs, n := held(t, w.addr("web"), 1, "127.0.0.1")
		cs[0].c.Close()
		return n == 1
	})
}

// TestConnectionLimitsIPv6 checks that addresses of one /64 are one client.
func TestConnectionLimitsIPv6(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here")
	}
	l.Close()
	_, port, _ := net.SplitHostPort(freeAddr(t))
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web6", limits: {connections_per_ip: 4}}]
`+fixedRoute, map[string]string{"web6": "[::1]:" + port})
	if _, n := held(t, w.addr("web6"), 6, "::1"); n != 4 {
		t.Errorf("%d of 6 connections are served, want 4", n)
	}
}

// TestIdleTimeout checks that an idle connection is closed, and not before its time.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web", limits: {idle_timeout: 1s}}]
`+fixedRoute, nil)
	c := dial(t, w.addr("web"))
	for range 3 {
		c.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		time.Sleep(500 * time.Millisecond)
	}
	if err := c.closedWithin(4 * time.Second); err != nil {
		t.Error(err)
	}
}

// TestDescriptorsRunOut gives the gateway 256 descriptors and opens 600 connections: it must not die or spin, the admin
// address must answer, and it must recover when the connections go.
func TestDescriptorsRunOut(t *testing.T) {
	t.Parallel()
	up := serve(t, say("ok"))
	w := startWeirAs(t, base+`
listeners: [{name: web, address: "@web", limits: {idle_timeout: 60s, header_timeout: 60s}}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up}]
`, map[string]string{"up": up.addr}, "sh", "-c", `ulimit -n 256; exec "$0" "$@"`, weirBin)
	var conns []net.Conn
	for range 600 {
		c, err := net.DialTimeout("tcp", w.addr("web"), time.Second)
		if err != nil {
			break // the listen queue may be full
		}
		conns = append(conns, c)
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\n")
	}
	if len(conns) < 300 {
		t.Fatalf("only %d connections could be opened", len(conns))
	}
	time.Sleep(200 * time.Millisecond)
	before := w.cpu()
	time.Sleep(time.Second)
	if used := w.cpu() - before; used > 300*time.Millisecond && !raced {
		t.Errorf("%v of CPU in 1 s while nothing can be done: it spins", used)
	}
	if status, _ := w.admin("GET", "/livez", ""); status != 200 {
		t.Errorf("/livez answers %d", status)
	}
	for _, c := range conns {
		c.Close()
	}
	eventually(t, 2*time.Second, "requests are served again", func() bool {
		resp, body, err := tryFetch(plainClient, "GET", w.url("/"), "")
		return err == nil && resp.StatusCode == 200 && body == "ok"
	})
}

// TestIdleConnections holds 10,000 idle keep-alive connections: none takes more than 8 KiB or an upstream connection.
func TestIdleConnections(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("10,000 connections")
	}
	const n = 10000
	u := newUpstream(t)
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web", limits: {connections: 20000, connections_per_ip: 20000, idle_timeout: 120s}}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up}]
`, map[string]string{"up": u.addr})
	const request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
	for range 50 {
		dial(t, w.addr("web")).ask(request)
	}
	before := w.rss()
	conns := make([]net.Conn, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			buf := make([]byte, 4096)
			for j := i; j < n; j += 8 {
				c, err := net.DialTimeout("tcp", w.addr("web"), 5*time.Second)
				if err != nil {
					t.Error(err)
					return
				}
				conns[j] = c
				io.WriteString(c, request)
				c.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, err := c.Read(buf); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	each := int64(1 << 62)
	for range 10 { // the collector gives back over some seconds
		each = min(each, (w.rss()-before)/n)
		if each <= 8<<10 {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	t.Logf("%d bytes of resident memory per idle connection; %d upstream connections", each, u.open())
	if each > 8<<10 {
		t.Errorf("%d bytes per idle connection, want at most %d", each, 8<<10)
	}
	if open := u.open(); open > 100 {
		t.Errorf("%d idle clients hold %d upstream connections", n, open)
	}
	for i := 0; i < n; i += 1000 { // they still work
		c := newRaw(t, conns[i])
		if r := c.ask(request); r.status != 200 || string(r.body) != "GET /" {
			t.Errorf("connection %d: %s %q", i, r.line, r.body)
		}
	}
	if got := w.metric("weir_connections"); got < n {
		t.Errorf("weir_connections is %v, want at least %d", fmt.Sprint(got), n)
	}
}
