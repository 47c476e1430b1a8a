package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pires/go-proxyproto"
	"pgregory.net/rapid"
)

const (
	v2  = "\r\n\r\n\x00\r\nQUIT\n"
	ip4 = "\xc0\x00\x02\x01" + "\xc6\x33\x64\x01" + "\x30\x39" + "\x01\xbb" // 192.0.2.1:12345 to 198.51.100.1:443
	ip6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" + "\x30\x39" + "\x01\xbb"
)

// headers are well-formed; want is the source, "local" if the header names none.
var headers = []struct{ text, want string }{
	{"PROXY TCP4 192.0.2.1 198.51.100.1 12345 443\r\n", "192.0.2.1:12345"},
	{"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", "1.1.1.1:1"},
	{"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"},
	{"PROXY TCP6 2001:db8::1 2001:db8::2 12345 443\r\n", "[2001:db8::1]:12345"},
	{"PROXY TCP6 :: :: 0 0\r\n", "[::]:0"},
	{"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.1 12345 443\r\n", "192.0.2.1:12345"},
	{"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
	{"PROXY UNKNOWN\r\n", "local"},
	{"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", "local"},
	{v2 + "\x21\x11\x00\x0c" + ip4, "192.0.2.1:12345"},
	{v2 + "\x21\x21\x00\x24" + ip6, "[2001:db8::1]:12345"},
	{v2 + "\x21\x11\x00\x13" + ip4 + "\x04\x00\x04abcd", "192.0.2.1:12345"}, // with a TLV
	{v2 + "\x20\x00\x00\x00", "local"},
	{v2 + "\x20\x11\x00\x0c" + ip4, "local"},
	{v2 + "\x20\x00\x00\x07" + "\x04\x00\x04abcd", "local"},
}

var badHeaders = []string{
	"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a client hello",
	"PROXY \r\n padding to be long enough",
	"PROXY TCP4\r\n more bytes than the shortest header",
	"PROXY TCP5 192.0.2.1 198.51.100.1 12345 443\r\n",
	"proxy TCP4 192.0.2.1 198.51.100.1 12345 443\r\n",
	"PROXY tcp4 192.0.2.1 198.51.100.1 12345 443\r\n",
	"PROXYX TCP4 192.0.2.1 198.51.100.1 12345 443\r\n",
	"PROXY  TCP4 192.0.2.1 198.51.100.1 12345 443\r\n",
	"PROXY TCP4 192.0.2.1  198.51.100.1 12345 443\r\n",
	"PROXY TCP4 192.0.2.1 198.51.100.1 12345 443 7\r\n",
	"PROXY TCP4 192.0.2.1 198.51.100.1 12345 443\n..",
	"PROXY TCP4 192.0.2.1 198.51.100.1 12345 65536\r\n",
	"PROXY TCP4 192.0.2.1 198.51.100.1 -1 443\r\n..",
	"PROXY TCP4 2001:db8::1 2001:db8::2 12345 443\r\n",
	"PROXY TCP4 192.0.2.256 198.51.100.1 12345 443\r\n",
	"PROXY TCP4 192.0.2.1 198.51.100.1 12345\r\n....",
	"PROXY UNKNOWN\n........",
	"PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n",
	"PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n",
	v2 + "\x21\x11\x00\x0b" + ip4,                                         // too short for its family
	v2 + "\x21\x21\x00\x0c" + ip4 + strings.Repeat("x", 30),               // the same
	v2 + "\x22\x11\x00\x0c" + ip4,                                         // no such command
	v2 + "\x11\x11\x00\x0c" + ip4,                                         // no such version
	v2 + "\x21\x00\x00\x00",                                               // PROXY for nobody
	v2 + "\x21\x12\x00\x0c" + ip4,                                         // UDP
	v2 + "\x21\x31\x00\xd8" + strings.Repeat("/tmp/sock\x00\x00\x00", 18), // UNIX
	v2 + "\x21\x41\x00\x0c" + ip4,                                         // no such family
	v2 + "\x21\x11\xff\xff" + ip4 + strings.Repeat("x", 70000),            // longer than any header needs
	"\r\n\r\n\x00\r\nQUIT\r\x21\x11\x00\x0c" + ip4,                        // signature off by one byte
}

const after = "GET / HTTP/1.1\r\n" // follows every header and must not be touched

func TestReadProxyHeader(t *testing.T) {
	for _, h := range headers {
		for name, chop := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader} {
			r := strings.NewReader(h.text + after)
			p, err := readProxyHeader(chop(r))
			got := p.source.String()
			if p.local {
				got = "local"
			}
			if err != nil || got != h.want {
				t.Errorf("%s %q: %s, %v; want %s", name, h.text, got, err, h.want)
			}
			if rest, _ := io.ReadAll(r); string(rest) != after {
				t.Errorf("%s %q: %q left, want %q", name, h.text, rest, after)
			}
		}
		for n := range len(h.text) {
			if p, err := readProxyHeader(strings.NewReader(h.text[:n])); err == nil {
				t.Errorf("%q cut at %d: %+v", h.text, n, p)
			}
		}
	}
	for _, h := range badHeaders {
		if p, err := readProxyHeader(strings.NewReader(h + after)); err == nil {
			t.Errorf("%q was taken: %+v", h, p)
		}
	}
}

func TestProxyHeaderIsReadInFewReads(t *testing.T) {
	for _, h := range headers[:7] {
		r := &counter{r: strings.NewReader(h.text + after)}
		if _, err := readProxyHeader(r); err != nil {
			t.Fatal(err)
		}
		if bound := 6 + len(h.text)/4; r.n > bound {
			t.Errorf("%q: %d reads, want %d at most", h.text, r.n, bound)
		}
	}
}

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(b []byte) (int, error) { c.n++; return c.r.Read(b) }

// Whatever the library writes is read back, and nothing of what follows is taken.
func TestProxyHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := []int{4, 16}[rapid.IntRange(0, 1).Draw(t, "family")]
		addr := func(label string) *net.TCPAddr {
			ip := rapid.SliceOfN(rapid.Byte(), bits, bits).Draw(t, label)
			return &net.TCPAddr{IP: ip, Port: rapid.IntRange(0, 65535).Draw(t, label+" port")}
		}
		src, dst := addr("source"), addr("destination")
		if bits == 16 && (src.IP.To4() != nil || dst.IP.To4() != nil) {
			return
		}
		h := proxyproto.HeaderProxyFromAddrs(byte(rapid.IntRange(1, 2).Draw(t, "version")), src, dst)
		text, err := h.Format()
		if err != nil {
			t.Fatal(err)
		}
		tail := rapid.SliceOf(rapid.Byte()).Draw(t, "tail")
		r := bytes.NewReader(append(text, tail...))
		p, err := readProxyHeader(r)
		if err != nil || p.source != plain(src.AddrPort()) || p.destination != plain(dst.AddrPort()) {
			t.Fatalf("%q: %+v, %v", text, p, err)
		}
		if rest, _ := io.ReadAll(r); !bytes.Equal(rest, tail) {
			t.Fatalf("%q: %q left, want %q", text, rest, tail)
		}
	})
}

func FuzzProxyHeader(f *testing.F) {
	for _, h := range headers {
		f.Add([]byte(h.text + after))
	}
	for _, h := range badHeaders {
		f.Add([]byte(h))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		p, err := readProxyHeader(r)
		if err != nil {
			return
		}
		taken := b[:len(b)-r.Len()]
		if !opensProxyHeader(taken) {
			t.Fatalf("%q was taken for a header", taken)
		}
		if bytes.HasPrefix(taken, []byte("PROXY ")) && bytes.IndexByte(taken, '\n') != len(taken)-1 {
			t.Fatalf("%q reaches over the line", taken)
		}
		if !p.local && (!p.source.IsValid() || p.source.Addr().Is4In6() || p.source.Addr().Zone() != "") {
			t.Fatalf("%q: source %v", taken, p.source)
		}
		again, err := readProxyHeader(bytes.NewReader(taken))
		if err != nil || again != p {
			t.Fatalf("%q alone: %+v, %v; want %+v", taken, again, err, p)
		}
	})
}

func trustAll(netip.Addr) bool { return true }

// echo says who the client is and repeats the first line it sent.
func echo(c *Conn) {
	defer c.Close()
	b := make([]byte, len(after))
	n, err := io.ReadFull(c, b)
	_, bare := c.Conn.(*net.TCPConn)
	fmt.Fprintf(c, "%v>%v bare=%v %q %v", c.Remote, c.Local, bare, b[:n], err)
}

func TestProxyProtocolFromTrustedPeers(t *testing.T) {
	m, addr := serve(t, MuxOptions{ProxyProtocol: true, Trusted: trustAll, HandshakeTimeout: 5 * time.Second}, echo)
	f := func(sent, want string) {
		t.Helper()
		c := dial(t, addr)
		c.Write([]byte(sent))
		if got := read(t, c); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %q, want %q", sent, got, want)
		}
	}
	f(headers[0].text+after, `192.0.2.1:12345>198.51.100.1:443 bare=true "GET / HTTP/1.1\r\n" <nil>`)
	f(headers[10].text+after, `[2001:db8::1]:12345>[2001:db8::2]:443 bare=true "GET / HTTP/1.1\r\n" <nil>`)
	f("PROXY UNKNOWN\r\n"+after, "127.0.0.1:")
	f(v2+"\x20\x00\x00\x00"+after, "127.0.0.1:")
	if n := m.Stats().RefusedProxyProtocol; n != 0 {
		t.Errorf("%d refused", n)
	}
	for _, h := range badHeaders {
		f(h, "refused")
	}
	if n := m.Stats().RefusedProxyProtocol; n != uint64(len(badHeaders)) {
		t.Errorf("%d refused, want %d", n, len(badHeaders))
	}
}

func TestProxyHeaderInPieces(t *testing.T) {
	_, addr := serve(t, MuxOptions{ProxyProtocol: true, Trusted: trustAll}, echo)
	c := dial(t, addr)
	for _, b := range []byte(headers[0].text + after) {
		c.Write([]byte{b})
	}
	if got := read(t, c); !strings.HasPrefix(got, "192.0.2.1:12345>") {
		t.Errorf("%q", got)
	}
}

func TestSlowProxyHeaderIsCutOff(t *testing.T) {
	m, addr := serve(t, MuxOptions{ProxyProtocol: true, Trusted: trustAll, HandshakeTimeout: 50 * time.Millisecond}, echo)
	for _, sent := range []string{"", "PRO", "PROXY TCP4 192.0.2.1", v2, v2 + "\x21\x11\x00\x0c\xc0"} {
		c := dial(t, addr)
		c.Write([]byte(sent))
		if got := read(t, c); got != "refused" {
			t.Errorf("%q: %q", sent, got)
		}
	}
	if n := m.Stats().RefusedProxyProtocol; n != 5 {
		t.Errorf("%d counted", n)
	}
}

func TestProxyProtocolFromOthers(t *testing.T) {
	nobody := func(netip.Addr) bool { return false }
	for _, trusted := range []func(netip.Addr) bool{nil, nobody} {
		m, addr := serve(t, MuxOptions{ProxyProtocol: true, Trusted: trusted, HandshakeTimeout: 50 * time.Millisecond}, echo)
		f := func(sent, want string) {
			t.Helper()
			c := dial(t, addr)
			c.Write([]byte(sent))
			if got := read(t, c); !strings.HasPrefix(got, want) {
				t.Errorf("%q: %q, want %q", sent, got, want)
			}
		}
		for _, h := range headers {
			f(h.text+after, "refused")
		}
		f(after, "127.0.0.1:") // plain requests are served under their own address
		f("", "refused")       // silence is a handshake that never came
		if s := m.Stats(); s.RefusedProxyProtocol != uint64(len(headers)) || s.RefusedHandshake != 1 {
			t.Errorf("%+v", s)
		}
	}
}

func TestProxyProtocolThenTLS(t *testing.T) {
	c := newCA(t, "root")
	store := newStore(t, Options{Certificates: []Pair{c.files("a", ask{names: []string{"a.example"}})}})
	_, addr := serve(t, MuxOptions{TLS: store, ProxyProtocol: true, Trusted: trustAll}, describe)
	nc := dial(t, addr)
	nc.Write([]byte(headers[0].text))
	secured := stdtls.Client(nc, &stdtls.Config{RootCAs: c.pool(), ServerName: "a.example"})
	if got, err := io.ReadAll(secured); err != nil || !strings.HasSuffix(string(got), "remote=192.0.2.1") {
		t.Errorf("%q, %v", got, err)
	}
}

func TestClientsBehindAProxyAreCountedByTheirAddress(t *testing.T) {
	h := holder{make(chan struct{})}
	m, addr := serve(t, MuxOptions{ProxyProtocol: true, Trusted: trustAll, PerIP: 1}, h.handle)
	in := func(header string) bool {
		c := dial(t, addr)
		c.Write([]byte(header))
		return entered(t, c)
	}
	if !in("PROXY TCP4 192.0.2.1 198.51.100.1 1 443\r\n") || !in("PROXY TCP4 192.0.2.2 198.51.100.1 1 443\r\n") ||
		!in("PROXY TCP6 2001:db8::1 2001:db8::2 1 443\r\n") {
		t.Error("a first connection was refused")
	}
	if in("PROXY TCP4 192.0.2.1 198.51.100.1 2 443\r\n") || in("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.1 3 443\r\n") ||
		in("PROXY TCP6 2001:db8::ffff 2001:db8::2 1 443\r\n") {
		t.Error("a second connection of one client was admitted")
	}
	if n := m.Stats().RefusedPerIP; n != 3 {
		t.Errorf("%d refused", n)
	}
	close(h.release)
	must(t, m.Close())
	must(t, m.Wait(t.Context()))
	if len(m.clients.open) != 0 {
		t.Errorf("left over: %v", m.clients.open)
	}
}

func TestPeekTakesNothing(t *testing.T) {
	got := make(chan string, 1)
	_, addr := serve(t, MuxOptions{}, func(c *Conn) {
		defer c.Close()
		var b [12]byte
		n, err := peek(c.Raw, b[:])
		rest, _ := io.ReadAll(c)
		_, end := peek(c.Raw, b[:])
		got <- fmt.Sprintf("%q %v %q %v", b[:n], err, rest, errors.Is(end, io.EOF))
	})
	c := dial(t, addr)
	c.Write([]byte("hello"))
	must(t, c.(*net.TCPConn).CloseWrite())
	if s := <-got; s != `"hello" <nil> "hello" true` {
		t.Error(s)
	}
}
