package tls

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// read reads all a connection has until it ends, and "refused" if the other side closed without a word.
func read(t testing.TB, c net.Conn) string {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	b, err := io.ReadAll(c)
	if len(b) == 0 && (err == nil || errors.Is(err, syscall.ECONNRESET)) {
		return "refused"
	}
	must(t, err)
	return string(b)
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestClearTextIsTheBareConnection(t *testing.T) {
	type seen struct {
		bare, nodelay bool
		remote        netip.AddrPort
		local         netip.AddrPort
	}
	got := make(chan seen, 1)
	_, addr := serve(t, MuxOptions{}, func(c *Conn) {
		defer c.Close()
		raw, ok := c.Conn.(*net.TCPConn)
		s := seen{bare: ok && raw == c.Raw && !c.Secure && c.Protocol == "", remote: c.Remote, local: c.Local}
		sc, err := raw.SyscallConn()
		if err == nil {
			sc.Control(func(fd uintptr) {
				v, _ := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_NODELAY)
				ka, _ := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
				s.nodelay = v != 0 && ka != 0
			})
		}
		got <- s
	})
	c := dial(t, addr)
	s := <-got
	if !s.bare || !s.nodelay || s.remote.String() != c.LocalAddr().String() || s.local.String() != addr {
		t.Errorf("%+v", s)
	}
}

// holder handles connections by saying "in" and keeping them until they are let go.
type holder struct{ release chan struct{} }

func (h holder) handle(c *Conn) {
	defer c.Close()
	fmt.Fprint(c, "in")
	<-h.release
}

func entered(t *testing.T, c net.Conn) bool {
	t.Helper()
	var b [2]byte
	must(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	n, _ := io.ReadFull(c, b[:])
	return string(b[:n]) == "in"
}

func TestBoundOfConnections(t *testing.T) {
	h := holder{make(chan struct{})}
	m, addr := serve(t, MuxOptions{Connections: 3}, h.handle)
	for range 3 {
		if !entered(t, dial(t, addr)) {
			t.Fatal("refused within the bound")
		}
	}
	for range 2 {
		if entered(t, dial(t, addr)) {
			t.Fatal("admitted over the bound")
		}
	}
	if s := m.Stats(); s.Open != 3 || s.Accepted != 5 || s.RefusedLimit != 2 {
		t.Errorf("%+v", s)
	}
	m.Reconfigure(MuxOptions{Connections: 4})
	if !entered(t, dial(t, addr)) {
		t.Error("refused under a bound that was raised")
	}
	close(h.release)
}

func TestBoundPerClient(t *testing.T) {
	h := holder{make(chan struct{}, 10)}
	m, addr := serve(t, MuxOptions{PerIP: 2}, h.handle)
	from := func(ip string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: 5 * time.Second}
		c, err := d.Dial("tcp", addr)
		must(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	first := from("127.0.0.1")
	if !entered(t, first) || !entered(t, from("127.0.0.1")) {
		t.Fatal("refused within the bound")
	}
	if entered(t, from("127.0.0.1")) {
		t.Error("admitted over the bound")
	}
	if !entered(t, from("127.0.0.2")) {
		t.Error("another client was refused")
	}
	if s := m.Stats(); s.RefusedPerIP != 1 || s.Open != 3 {
		t.Errorf("%+v", s)
	}
	for range 3 {
		h.release <- struct{}{}
	}
	read(t, first)
	must(t, m.Close())
	must(t, m.Wait(context.Background()))
	if n := len(m.clients.open); n != 0 {
		t.Errorf("%d clients are still counted with no connection open", n)
	}
}

func TestClientKey(t *testing.T) {
	f := func(a string, prefix int, want string) {
		t.Helper()
		if got := clientKey(netip.MustParseAddr(a), prefix); got != netip.MustParseAddr(want) {
			t.Errorf("%s/%d: %s, want %s", a, prefix, got, want)
		}
	}
	f("192.0.2.1", 64, "192.0.2.1")
	f("::ffff:192.0.2.1", 64, "192.0.2.1")
	f("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::")
	f("2001:db8:1:2:3:4:5:6", 48, "2001:db8:1::")
	f("2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6")
	f("2001:db8:1:2:3:4:5:6", 0, "2001:db8:1:2::")
	f("2001:db8:1:2:3:4:5:6", 999, "2001:db8:1:2::")
	f("fe80::1%eth0", 128, "fe80::1")
}

// script is a listener that answers Accept from a list and then waits to be closed.
type script struct {
	steps  []any // error or net.Conn
	closed chan struct{}
	once   sync.Once
	calls  []time.Time
}

func (s *script) Accept() (net.Conn, error) {
	s.calls = append(s.calls, time.Now())
	if len(s.steps) == 0 {
		<-s.closed
		return nil, net.ErrClosed
	}
	step := s.steps[0]
	s.steps = s.steps[1:]
	if err, ok := step.(error); ok {
		return nil, &net.OpError{Op: "accept", Err: err}
	}
	return step.(net.Conn), nil
}
func (s *script) Close() error   { s.once.Do(func() { close(s.closed) }); return nil }
func (s *script) Addr() net.Addr { return &net.TCPAddr{} }

func TestOutOfDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newJournal()
		ln := &script{closed: make(chan struct{})}
		near, far := net.Pipe()
		for range 12 {
			ln.steps = append(ln.steps, syscall.EMFILE)
		}
		ln.steps = append(ln.steps, near, syscall.ENFILE)
		m := NewMux(ln, MuxOptions{Log: log.logger()})
		handled := make(chan struct{})
		done := make(chan error, 1)
		go func() {
			done <- m.Serve(func(c *Conn) { c.Close(); close(handled) })
		}()
		<-handled
		far.Close()
		synctest.Wait()
		for i, gap := 0, 5*time.Millisecond; i < 12; i, gap = i+1, min(2*gap, time.Second) {
			if got := ln.calls[i+1].Sub(ln.calls[i]); got != gap {
				t.Errorf("attempt %d after %v, want %v", i+1, got, gap)
			}
		}
		must(t, m.Close())
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		must(t, m.Wait(t.Context()))
		if got := len(log.lines); got != 3 { // trying again, accepting again, trying again
			t.Errorf("%d log lines for two bursts", got)
		}
	})
}

func TestAcceptErrorForGood(t *testing.T) {
	m := NewMux(&script{steps: []any{syscall.EBADF}, closed: make(chan struct{})}, MuxOptions{})
	if err := m.Serve(func(*Conn) {}); !errors.Is(err, syscall.EBADF) {
		t.Errorf("Serve: %v", err)
	}
}

func TestCloseLeavesConnectionsOpen(t *testing.T) {
	h := holder{make(chan struct{})}
	m, addr := serve(t, MuxOptions{}, h.handle)
	c := dial(t, addr)
	if !entered(t, c) {
		t.Fatal("refused")
	}
	must(t, m.Close())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := m.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with a connection open: %v", err)
	}
	both := make(chan error, 2)
	for range 2 {
		go func() { both <- m.Wait(context.Background()) }()
	}
	close(h.release)
	must(t, <-both)
	must(t, <-both)
	if _, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
		t.Error("still accepting")
	}
}

func TestPanicCostsOneConnection(t *testing.T) {
	log := newJournal()
	m, addr := serve(t, MuxOptions{Log: log.logger()}, func(c *Conn) {
		var b [1]byte
		c.Read(b[:])
		if b[0] == '!' {
			panic("boom")
		}
		describe(c)
	})
	bad := dial(t, addr)
	bad.Write([]byte("!"))
	if got := read(t, bad); got != "refused" {
		t.Errorf("after a panic: %q", got)
	}
	log.wait(t, "panic", "boom")
	good := dial(t, addr)
	good.Write([]byte("."))
	if got := read(t, good); !strings.Contains(got, "secure=false") {
		t.Errorf("the next connection: %q", got)
	}
	if s := m.Stats(); s.Accepted != 2 {
		t.Errorf("%+v", s)
	}
}

func TestHandshakeFailures(t *testing.T) {
	c := newCA(t, "root")
	store := newStore(t, Options{Certificates: []Pair{c.files("a", ask{names: []string{"a.example"}})}})
	m, addr := serve(t, MuxOptions{TLS: store, HandshakeTimeout: 50 * time.Millisecond}, describe)
	f := func(sent, want string) {
		t.Helper()
		before := m.Stats().RefusedHandshake
		nc := dial(t, addr)
		nc.Write([]byte(sent))
		if got := read(t, nc); !strings.HasPrefix(got, want) {
			t.Errorf("%q: got %q, want %q", sent, got, want)
		}
		if n := m.Stats().RefusedHandshake - before; n != 1 {
			t.Errorf("%q: counted %d times", sent, n)
		}
	}
	f("", "refused")             // silence ends with the timeout
	f("\x16\x03\x01", "refused") // so does half a record
	f("\x16\x03\x01\x00\x05abcde", "")
	f("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "HTTP/1.1 400 Bad Request")
	f("nonsense", "")
}

// noted remembers the last deadline set on a connection.
type noted struct {
	net.Conn
	set      int
	deadline time.Time
}

func (n *noted) SetDeadline(t time.Time) error {
	n.set, n.deadline = n.set+1, t
	return n.Conn.SetDeadline(t)
}

func TestDeadlineIsOffAfterTheHandshake(t *testing.T) {
	c := newCA(t, "root")
	store := newStore(t, Options{Certificates: []Pair{c.files("a", ask{names: []string{"a.example"}})}})
	near, far := net.Pipe()
	n := &noted{Conn: near}
	m := NewMux(&script{steps: []any{n}, closed: make(chan struct{})}, MuxOptions{TLS: store})
	handled := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- m.Serve(func(c *Conn) { close(handled); <-handled; c.Conn.(*stdtls.Conn).NetConn().Close() })
	}()
	must(t, stdtls.Client(far, &stdtls.Config{RootCAs: c.pool(), ServerName: "a.example"}).Handshake())
	<-handled
	if n.set != 2 || !n.deadline.IsZero() {
		t.Errorf("deadline set %d times, last to %v", n.set, n.deadline)
	}
	far.Close()
	must(t, m.Close())
	must(t, <-done)
	must(t, m.Wait(t.Context()))
}

func TestReconfigureBringsTLS(t *testing.T) {
	c := newCA(t, "root")
	m, addr := serve(t, MuxOptions{}, describe)
	if got := read(t, dial(t, addr)); !strings.Contains(got, "secure=false") {
		t.Errorf("%q", got)
	}
	m.Reconfigure(MuxOptions{TLS: newStore(t, Options{Certificates: []Pair{c.files("a", ask{names: []string{"a.example"}})}})})
	if got := visit(t, addr, &stdtls.Config{RootCAs: c.pool(), ServerName: "a.example"}); !strings.Contains(got.text, "secure=true") {
		t.Errorf("%q %v", got.text, got.err)
	}
}
