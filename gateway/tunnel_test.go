package gateway

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// frameOf is a frame of RFC 6455 of up to 125 bytes; masked as a client's if masked says so.
func frameOf(op byte, payload string, masked bool) string {
	if !masked {
		return string([]byte{0x80 | op, byte(len(payload))}) + payload
	}
	b := []byte{0x80 | op, 0x80 | byte(len(payload)), 1, 2, 3, 4}
	for i := range len(payload) {
		b = append(b, payload[i]^byte(1+i%4))
	}
	return string(b)
}

// readFrame reads one such frame, and takes its mask off.
func readFrame(r io.Reader) (op byte, payload string, err error) {
	var head [2]byte
	if _, err = io.ReadFull(r, head[:]); err != nil {
		return 0, "", err
	}
	var mask [4]byte
	if head[1]&0x80 != 0 {
		if _, err = io.ReadFull(r, mask[:]); err != nil {
			return 0, "", err
		}
	}
	b := make([]byte, head[1]&0x7f)
	if _, err = io.ReadFull(r, b); err != nil {
		return 0, "", err
	}
	for i := range b {
		b[i] ^= mask[i%4]
	}
	return head[0] & 15, string(b), nil
}

// echoSocket is an endpoint: it sends every message back, answers a Close, and tells what it was closed with.
func echoSocket(closed chan<- string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+r.Header.Get("Upgrade")+"\r\n\r\n") //nolint:errcheck // the client tells
		for {
			op, payload, err := readFrame(rw)
			if err != nil {
				closed <- "cut"
				return
			}
			io.WriteString(c, frameOf(op, payload, false)) //nolint:errcheck // as above
			if op == 8 {
				closed <- fmt.Sprintf("%d %s", binary.BigEndian.Uint16([]byte(payload)), payload[2:])
				return
			}
		}
	}
}

// upgraded opens a tunnel.
func upgraded(t testing.TB, addr, path, protocol string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second)) //nolint:errcheck // the read tells
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path, protocol)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != protocol {
		t.Fatalf("%v %v", resp, err)
	}
	return c, r
}

// echoed sends a message and expects it back.
func echoed(t testing.TB, c net.Conn, r *bufio.Reader, text string) {
	t.Helper()
	io.WriteString(c, frameOf(1, text, true)) //nolint:errcheck // the read tells
	if op, got, err := readFrame(r); op != 1 || got != text || err != nil {
		t.Fatalf("%d %q %v, want %q", op, got, err, text)
	}
}

// TestTunnelEnds: a WebSocket whose time is over is closed with a Close in both directions, whatever its time was.
func TestTunnelEnds(t *testing.T) {
	t.Parallel()
	f := func(name, stream, reason string, end func(t *testing.T, g *Gateway)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			closed := make(chan string, 1)
			g := newGateway(t, poolYAML("", endpoint(t, "http1", echoSocket(closed)))+"shutdown_timeout: 2s\nroutes: [{name: all, match: {path: /*}, pool: api, stream: {"+stream+"}}]\n")
			c, r := upgraded(t, front(t, g), "/", "websocket")
			echoed(t, c, r, "hello")
			end(t, g)
			op, payload, err := readFrame(r)
			if op != 8 || payload != "\x03\xe9"+reason || err != nil {
				t.Fatalf("%d %q %v", op, payload, err)
			}
			io.WriteString(c, frameOf(1, "still under way", true)+frameOf(8, payload, true)) //nolint:errcheck // the read tells
			if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
				t.Errorf("then %q %v", rest, err)
			}
			if got := <-closed; got != "1001 "+reason {
				t.Errorf("the endpoint: %q", got)
			}
		})
	}
	f("idle", "idle_timeout: 200ms", "idle for too long", func(*testing.T, *Gateway) {})
	f("lifetime", "max_lifetime: 300ms", "open for as long as may be", func(*testing.T, *Gateway) {})
	f("route gone", "", "no longer here", func(t *testing.T, g *Gateway) {
		reload(t, g, "routes: [{name: other, match: {path: /*}, respond: {body: x}}]\nshutdown_timeout: 2s\n")
	})
	f("listener gone", "", "no longer here", func(t *testing.T, g *Gateway) { g.DrainListener("web") })
}

// TestTunnelEndsUnheard: a client that does not answer a Close is cut, and its endpoint told.
func TestTunnelEndsUnheard(t *testing.T) {
	t.Parallel()
	closed := make(chan string, 1)
	g := newGateway(t, poolYAML("", endpoint(t, "http1", echoSocket(closed)))+"routes: [{name: all, match: {path: /*}, pool: api, stream: {max_lifetime: 100ms}}]\n")
	c, r := upgraded(t, front(t, g), "/", "websocket")
	begin := time.Now()
	if b, err := io.ReadAll(r); err != nil || !strings.HasPrefix(string(b), "\x88\x1c\x03\xe9") || len(b) != 30 {
		t.Errorf("%q %v", b, err)
	}
	if took := time.Since(begin); took < closeWait || took > closeWait+2*time.Second {
		t.Errorf("it took %v", took)
	}
	if got := <-closed; got != "1001 open for as long as may be" {
		t.Errorf("the endpoint: %q", got)
	}
	c.Close()
}

// TestTunnelEndsBetweenFrames: a Close waits for the end of a frame that is under way, and nothing comes behind it.
func TestTunnelEndsBetweenFrames(t *testing.T) {
	t.Parallel()
	next := make(chan string)
	up := endpoint(t, "http1", func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05he") //nolint:errcheck // the client tells
		for s := range next {
			io.WriteString(c, s) //nolint:errcheck // as above
		}
	})
	g := newGateway(t, poolYAML("", up)+"routes: [{name: all, match: {path: /*}, pool: api, stream: {max_lifetime: 100ms}}]\n")
	_, r := upgraded(t, front(t, g), "/", "websocket")
	b := make([]byte, 4)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	for began := false; !began; { // its time is over
		g.mu.Lock()
		for tu := range g.tunnels {
			began = tu.leaving.Load()
		}
		g.mu.Unlock()
	}
	next <- "llo\x81\x03too"
	close(next)
	if b, err := io.ReadAll(r); !strings.HasPrefix(string(b), "llo\x88\x1c\x03\xe9") || len(b) != 3+30 {
		t.Errorf("%q %v", b, err)
	}
}

// TestTunnelOfSomethingElse: what is no WebSocket, or says it is and sends no frames, is cut plainly.
func TestTunnelOfSomethingElse(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"foo", "websocket"} {
		up := endpoint(t, "http1", func(w http.ResponseWriter, r *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\nSSH-2.0-x\r\n") //nolint:errcheck // the client tells
			io.Copy(io.Discard, c)                                                                                                     //nolint:errcheck // as above
		})
		g := newGateway(t, poolYAML("", up)+"routes: [{name: all, match: {path: /*}, pool: api, stream: {max_lifetime: 100ms}}]\n")
		_, r := upgraded(t, front(t, g), "/", protocol)
		begin := time.Now()
		if b, _ := io.ReadAll(r); string(b) != "SSH-2.0-x\r\n" || time.Since(begin) > closeWait {
			t.Errorf("%s: %q after %v", protocol, b, time.Since(begin))
		}
	}
}

// TestTunnelSlots: a pool has so many tunnels and no more, and one that ends makes room.
func TestTunnelSlots(t *testing.T) {
	t.Parallel()
	closed := make(chan string, 8)
	g := newGateway(t, poolYAML("    connections: {max: 1, tunnels: 2, queue: 0}\n", endpoint(t, "http1", echoSocket(closed)))+"routes: [{name: all, match: {path: /*}, pool: api}]\n")
	addr := front(t, g)
	a, ra := upgraded(t, addr, "/", "websocket")
	_, rb := upgraded(t, addr, "/", "websocket") // the seat came back at the 101
	ask := func() int {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n") //nolint:errcheck // the read tells
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	if status := ask(); status != 503 {
		t.Errorf("a third one: %d", status)
	}
	if p := g.Pools()[0]; p.InUse != 0 || p.Tunnels != 2 || p.MaxTunnels != 2 || p.Endpoints[0].InFlight != 0 || p.Endpoints[0].Tunnels != 2 {
		t.Errorf("%+v", p)
	}
	io.WriteString(a, frameOf(8, "\x03\xe8", true)) //nolint:errcheck // the read tells
	io.ReadAll(ra)                                  //nolint:errcheck // as above
	<-closed
	a.Close()
	for g.Snapshot().pools[0].tunnels.Load() != 1 { // it must; else the test does not end
		time.Sleep(time.Millisecond)
	}
	_, _ = upgraded(t, addr, "/", "websocket")
	_ = rb
}

// TestSpread: ends are spread by how many there are, no longer than there is time.
func TestSpread(t *testing.T) {
	f := func(n int, most, want time.Duration) {
		t.Helper()
		if got := spreadOf(n, most); got != want {
			t.Errorf("%d in %v: %v, want %v", n, most, got, want)
		}
	}
	f(0, time.Second, 1)
	f(5, time.Second, 10*time.Millisecond)
	f(10_000, 18*time.Second, 18*time.Second)
	f(10_000, 30*time.Second, 20*time.Second)
	f(10_000, 0, 1)
}
