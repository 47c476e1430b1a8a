package tests

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// proxyV2 is a version 2 PROXY header for TCP over IPv4.
func proxyV2(src, dst netip.AddrPort) string {
	s, d := src.Addr().As4(), dst.Addr().As4()
	b := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c")
	b = append(append(b, s[:]...), d[:]...)
	return string(append(b, byte(src.Port()>>8), byte(src.Port()), byte(dst.Port()>>8), byte(dst.Port())))
}

// TestProxyProtocol checks both versions from a trusted address, what is not a header, and one from an address that is not
// trusted.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web", proxy_protocol: true, limits: {header_timeout: 1s}}]
trusted_proxies: [127.0.0.2/32]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up}]
`, map[string]string{"up": u.addr})
	const request = "GET /x HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n"
	client := netip.MustParseAddrPort("192.0.2.7:1234")
	server := netip.MustParseAddrPort("192.0.2.8:80")
	f := func(name, from string, pieces []string, client string) {
		t.Run(name, func(t *testing.T) {
			u.begin(nil)
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			nc, err := d.Dial("tcp", w.addr("web"))
			if err != nil {
				t.Fatal(err)
			}
			c := newRaw(t, nc)
			for _, p := range pieces {
				c.send(p)
				time.Sleep(10 * time.Millisecond)
			}
			r := c.read(3*time.Second, false)
			reqs, _ := u.got()
			if client == "" {
				if r.status == 200 || len(reqs) > 0 {
					t.Errorf("served: %s, %s", r.line, targets(reqs))
				}
				return
			}
			if r.status != 200 || len(reqs) != 1 {
				t.Fatalf("%s, %v, %s", r.line, r.err, targets(reqs))
			}
			if got := reqs[0].get("X-Forwarded-For"); got != client {
				t.Errorf("X-Forwarded-For %q, want %q", got, client)
			}
			if r := c.ask(request); r.status != 200 { // the header stands once, before the first request
				t.Errorf("second request: %s", r.line)
			}
		})
	}
	v1 := "PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\n"
	trusted, other := "127.0.0.2", "127.0.0.1"
	f("v1", trusted, []string{v1 + request}, "192.0.2.7")
	f("v1-in-pieces", trusted, []string{v1[:9], v1[9:], request}, "192.0.2.7")
	f("v1-ipv6", trusted, []string{"PROXY TCP6 2001:db8::7 2001:db8::8 1234 80\r\n" + request}, "2001:db8::7")
	f("v1-unknown", trusted, []string{"PROXY UNKNOWN\r\n" + request}, "198.51.100.9, "+trusted)
	f("v2", trusted, []string{proxyV2(client, server) + request}, "192.0.2.7")
	f("v2-in-pieces", trusted, []string{proxyV2(client, server)[:10], proxyV2(client, server)[10:], request}, "192.0.2.7")
	f("v2-local", trusted, []string{"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00" + request}, "198.51.100.9, "+trusted)
	f("missing", trusted, []string{request}, "")
	f("nonsense", trusted, []string{"PROXY TCP4 a b c d\r\n" + request}, "")
	f("v2-bad-version", trusted, []string{"\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0c" + strings.Repeat("a", 12) + request}, "")
	f("v1-never-ends", trusted, []string{"PROXY TCP4 " + strings.Repeat("1", 300)}, "")
	f("not-trusted", other, []string{v1 + request}, "")
	f("nothing-comes", trusted, []string{"PRO"}, "")
}

// TestTrustedProxies checks that X-Forwarded-* counts from trusted addresses, and only their part of the chain.
func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
trusted_proxies: [127.0.0.2/32, 10.0.0.0/8]
dimensions: [{name: who, from: client_ip}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up, request: {set: [{name: x-who, value: "${who}"}]}}]
`, map[string]string{"up": u.addr})
	f := func(from, fields, who string) {
		t.Helper()
		u.begin(nil)
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		nc, err := d.Dial("tcp", w.addr("web"))
		if err != nil {
			t.Fatal(err)
		}
		c := newRaw(t, nc)
		c.ask("GET / HTTP/1.1\r\nHost: a.test\r\n" + fields + "\r\n")
		reqs, _ := u.got()
		if len(reqs) != 1 || reqs[0].get("X-Who") != who {
			t.Errorf("from %s with %q: client is %q, want %q", from, fields, fmt.Sprint(reqs[0].fields), who)
		}
	}
	f("127.0.0.2", "", "127.0.0.2")
	f("127.0.0.2", "X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7")
	f("127.0.0.2", "X-Forwarded-For: 192.0.2.7, 10.1.2.3\r\n", "192.0.2.7")
	f("127.0.0.2", "X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n", "192.0.2.7")
	f("127.0.0.2", "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7")
	f("127.0.0.2", "X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1")
	f("127.0.0.1", "X-Forwarded-For: 6.6.6.6\r\n", "127.0.0.1")
	f("127.0.0.3", "Forwarded: for=6.6.6.6\r\n", "127.0.0.3")
}
