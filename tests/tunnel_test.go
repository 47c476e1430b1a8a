package tests

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

const upgradeRequest = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// tunnelServer takes one kind of upgrade and then hands the connection over, with what has come on it so far.
func tunnelServer(t *testing.T, serve func(c net.Conn, br io.Reader)) (addr string) {
	t.Helper()
	u := newUpstream(t)
	u.begin(func(r *upRequest) answer {
		sum := sha1.Sum([]byte(r.get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		head := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + r.get("Upgrade") +
			"\r\nSec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"
		c := r.conn
		return answer{steps: []step{{kind: "write", data: []byte(head)}, {kind: "call", call: func(br io.Reader) bool { serve(c.c, br); return false }}}}
	})
	return u.addr
}

// frame is an RFC 6455 binary frame of up to 125 bytes, masked as a client must.
func frame(payload string, masked bool) []byte {
	b := []byte{0x82, byte(len(payload))}
	if !masked {
		return append(b, payload...)
	}
	mask := [4]byte{1, 2, 3, 4}
	b[1] |= 0x80
	b = append(b, mask[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i%4])
	}
	return b
}

// echoFrames answers each masked frame with its payload, unmasked.
func echoFrames(c net.Conn, br io.Reader) {
	for {
		var head [6]byte
		if _, err := io.ReadFull(br, head[:]); err != nil {
			return
		}
		payload := make([]byte, head[1]&0x7f)
		if _, err := io.ReadFull(br, payload); err != nil {
			return
		}
		for i := range payload {
			payload[i] ^= head[2+i%4]
		}
		c.Write(frame(string(payload), false))
	}
}

func openTunnel(t *testing.T, addr, extra string) *raw {
	t.Helper()
	c := dial(t, addr)
	c.send(upgradeRequest + extra)
	r := c.read(3*time.Second, false)
	if r.status != 101 || !strings.EqualFold(r.get("Upgrade"), "websocket") || !strings.EqualFold(r.get("Connection"), "upgrade") {
		t.Fatalf("%s %v %v", r.line, r.fields, r.err)
	}
	if got := r.get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("Sec-WebSocket-Accept %q", got)
	}
	return c
}

func expectBytes(t *testing.T, c *raw, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	c.c.SetReadDeadline(time.Now().Add(3 * time.Second))
	if _, err := io.ReadFull(c.br, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%q, %v; want %q", got, err, want)
	}
}

func TestTunnel(t *testing.T) {
	t.Parallel()
	w := startWeir(t, onePool, map[string]string{"up": tunnelServer(t, echoFrames)})
	t.Run("echo", func(t *testing.T) {
		c := openTunnel(t, w.addr("web"), "")
		for _, s := range []string{"hello", "", strings.Repeat("x", 125)} {
			c.send(string(frame(s, true)))
			expectBytes(t, c, frame(s, false))
		}
	})
	t.Run("bytes-right-behind-the-request", func(t *testing.T) {
		c := openTunnel(t, w.addr("web"), string(frame("early", true)))
		expectBytes(t, c, frame("early", false))
	})
	t.Run("many", func(t *testing.T) {
		var conns []*raw
		for range 50 {
			conns = append(conns, openTunnel(t, w.addr("web"), ""))
		}
		for _, c := range conns {
			c.send(string(frame("hello", true)))
		}
		for _, c := range conns {
			expectBytes(t, c, frame("hello", false))
		}
	})
	t.Run("client-leaves", func(t *testing.T) {
		tunnels := func(n float64) func() bool {
			return func() bool {
				return w.metric("weir_upstream_tunnels") == n && w.metric("weir_upstream_inflight") == 0
			}
		}
		eventually(t, 3*time.Second, "those before are gone", tunnels(0))
		c := openTunnel(t, w.addr("web"), "")
		eventually(t, 3*time.Second, "it counts", tunnels(1))
		c.c.Close()
		eventually(t, 3*time.Second, "it goes", tunnels(0))
	})
}

// TestTunnelUpstreamEnds checks that what the upstream sent last arrives, and then the end.
func TestTunnelUpstreamEnds(t *testing.T) {
	t.Parallel()
	w := startWeir(t, onePool, map[string]string{"up": tunnelServer(t, func(c net.Conn, br io.Reader) {
		c.Write(bytes.Repeat([]byte("a"), 100000))
		c.Close()
	})})
	c := openTunnel(t, w.addr("web"), "")
	c.c.SetReadDeadline(time.Now().Add(3 * time.Second))
	if b, err := io.ReadAll(c.br); len(b) != 100000 || err != nil {
		t.Errorf("%d bytes, %v; want 100000 and the end", len(b), err)
	}
}

// TestTunnelHalfClose checks that the end of one direction leaves the other open.
func TestTunnelHalfClose(t *testing.T) {
	t.Parallel()
	w := startWeir(t, onePool, map[string]string{"up": tunnelServer(t, func(c net.Conn, br io.Reader) {
		b, _ := io.ReadAll(br)
		time.Sleep(50 * time.Millisecond)
		c.Write([]byte("received " + string(b)))
		c.Close()
	})})
	c := openTunnel(t, w.addr("web"), "")
	c.send("ping")
	c.c.(*net.TCPConn).CloseWrite()
	expectBytes(t, c, []byte("received ping"))
}

// TestTunnelIdle checks that a WebSocket with no byte either way for the listener's idle timeout is closed, and a busy one isn't; and that a
// client that does not answer that is cut.
func TestTunnelIdle(t *testing.T) {
	t.Parallel()
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web", limits: {idle_timeout: 2s}}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up, timeout: 1s}]
`, map[string]string{"up": tunnelServer(t, echoFrames)})
	c := openTunnel(t, w.addr("web"), "")
	for range 6 {
		time.Sleep(500 * time.Millisecond)
		c.send(string(frame("hello", true)))
		expectBytes(t, c, frame("hello", false))
	}
	expectBytes(t, c, []byte("\x88\x13\x03\xe9idle for too long"))
	if err := c.closedWithin(4 * time.Second); err != nil {
		t.Errorf("an idle tunnel: %v", err)
	}
}
