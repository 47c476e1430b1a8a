package gateway

import (
	"bufio"
	"context"
	cryptotls "crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	_ "unsafe" // for go:linkname

	"golang.org/x/net/http2"
)

//lint:file-ignore SA1019 the endpoint of the tests is x/net's, which knows extended CONNECT

// The library's server, of which the tests' endpoints are made, offers extended CONNECT only if the environment has GODEBUG=http2xconnect=1 at its start.
//
//go:linkname disableExtendedConnectProtocol golang.org/x/net/http2.disableExtendedConnectProtocol
var disableExtendedConnectProtocol bool

func init() { disableExtendedConnectProtocol = false }

// connectEndpoint serves h by HTTP/2 in clear text until the test ends, and takes extended CONNECT.
func connectEndpoint(t testing.TB, h http.HandlerFunc) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var conns []chan struct{}
		for {
			c, err := ln.Accept()
			if err != nil {
				break
			}
			over := make(chan struct{})
			conns = append(conns, over)
			stop := context.AfterFunc(ctx, func() { c.Close() })
			go func() {
				defer close(over)
				defer stop()
				new(http2.Server).ServeConn(c, &http2.ServeConnOpts{Handler: h})
			}()
		}
		for _, over := range conns {
			<-over
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		cancel()
		<-done
	})
	return ln.Addr().String()
}

// echoConnect is echoSocket by extended CONNECT.
func echoConnect(closed chan<- string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "CONNECT" || r.Header.Get(":protocol") != "websocket" || r.Header.Get("Sec-Websocket-Key") != "" || r.Header.Get("Upgrade") != "" || r.URL.RequestURI() != "/chat?a=b" {
			w.WriteHeader(400)
			return
		}
		w.Header().Set("Sec-WebSocket-Protocol", "chat")
		w.WriteHeader(200)
		ctl := http.NewResponseController(w)
		ctl.Flush() //nolint:errcheck // the client tells
		for {
			op, payload, err := readFrame(r.Body)
			if err != nil {
				closed <- "cut"
				return
			}
			io.WriteString(w, frameOf(op, payload, false)) //nolint:errcheck // as above
			ctl.Flush()                                    //nolint:errcheck // as above
			if op == 8 {
				closed <- fmt.Sprintf("%d %s", binary.BigEndian.Uint16([]byte(payload)), payload[2:])
				return
			}
		}
	}
}

// connected opens a WebSocket over HTTP/2.
func connected(t testing.TB, addr, path string) (in *io.PipeWriter, out *bufio.Reader, h http.Header) {
	t.Helper()
	tr := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, addr string, _ *cryptotls.Config) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	body, in := io.Pipe()
	req, _ := http.NewRequest("CONNECT", "http://"+addr+path, body)
	req.Header = http.Header{":protocol": {"websocket"}, "Sec-Websocket-Version": {"13"}}
	resp, err := tr.RoundTrip(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v %v", resp, err)
	}
	t.Cleanup(func() { in.Close(); resp.Body.Close() })
	return in, bufio.NewReader(resp.Body), resp.Header
}

// TestConnectUpstream: a WebSocket over HTTP/1 or HTTP/2 is an extended CONNECT to an endpoint of HTTP/2, and ends as any.
func TestConnectUpstream(t *testing.T) {
	t.Parallel()
	f := func(edge, end, want string) {
		t.Run(edge+" "+end, func(t *testing.T) {
			t.Parallel()
			closed := make(chan string, 1)
			lifetime := "0s"
			if end == "lifetime" {
				lifetime = "200ms"
			}
			g := newGateway(t, poolYAML("    protocol: h2c\n", connectEndpoint(t, echoConnect(closed)))+"routes: [{name: all, match: {path: /*}, pool: api, stream: {max_lifetime: "+lifetime+"}}]\n")
			addr := front(t, g)
			var in io.Writer
			var out *bufio.Reader
			if edge == "http1" {
				in, out = upgradedAs(t, addr, "/chat?a=b")
			} else {
				var h http.Header
				if in, out, h = connected(t, addr, "/chat?a=b"); h.Get("Sec-Websocket-Protocol") != "chat" || h.Get("Sec-Websocket-Accept") != "" {
					t.Errorf("%v", h)
				}
			}
			for _, text := range []string{"hello", "", strings.Repeat("x", 125)} {
				io.WriteString(in, frameOf(1, text, true)) //nolint:errcheck // the read tells
				if op, got, err := readFrame(out); op != 1 || got != text || err != nil {
					t.Fatalf("%d %q %v", op, got, err)
				}
			}
			if end == "client" {
				io.WriteString(in, frameOf(8, "\x03\xe8bye", true)) //nolint:errcheck // as above
			}
			op, payload, err := readFrame(out)
			if op != 8 || err != nil {
				t.Fatalf("%d %q %v", op, payload, err)
			}
			if end != "client" {
				io.WriteString(in, frameOf(8, payload, true)) //nolint:errcheck // as above
			}
			if rest, err := io.ReadAll(out); len(rest) > 0 || err != nil {
				t.Errorf("then %q %v", rest, err)
			}
			if got := <-closed; got != want {
				t.Errorf("the endpoint: %q, want %q", got, want)
			}
		})
	}
	f("http1", "client", "1000 bye")
	f("http2", "client", "1000 bye")
	f("http1", "lifetime", "1001 open for as long as may be")
	f("http2", "lifetime", "1001 open for as long as may be")
}

// upgradedAs is upgraded for a WebSocket, and looks at what the endpoint of HTTP/2 did not say.
func upgradedAs(t testing.TB, addr, path string) (io.Writer, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second)) //nolint:errcheck // the read tells
	r := bufio.NewReader(c)
	io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n") //nolint:errcheck // as above
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || resp.Header.Get("Sec-WebSocket-Protocol") != "chat" {
		t.Fatalf("%v %v", resp, err)
	}
	return c, r
}

// TestConnectNotOffered: an endpoint in clear text that takes no extended CONNECT is not blamed for it, and the answer says what to do.
func TestConnectNotOffered(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "pools: [{name: api, protocol: h2c, breaker: {failure_threshold: 1}, endpoints: [{address: '"+
		endpoint(t, "h2c", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "plain") })+"'}]}]\n"+ //nolint:errcheck // the client tells
		"routes: [{name: all, match: {path: /*}, pool: api}]\n")
	addr := front(t, g)
	for range 3 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n") //nolint:errcheck // the read tells
		r := bufio.NewReader(c)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 502 || !strings.Contains(string(b), "protocol: http1") {
			t.Errorf("%d %s", resp.StatusCode, b)
		}
		if resp, err = http.ReadResponse(r, nil); err != nil || resp.StatusCode != 200 {
			t.Errorf("a request after it: %v %v", resp, err)
		}
		c.Close()
	}
}

// TestConnectFallsBack: over TLS the endpoint may choose HTTP/1 for a WebSocket that it does not take by HTTP/2.
func TestConnectFallsBack(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"h2", "auto"} {
		closed := make(chan string, 1)
		s := httptest.NewUnstartedServer(echoSocket(closed))
		s.EnableHTTP2 = true
		s.StartTLS()
		t.Cleanup(s.Close)
		g := newGateway(t, poolYAML("    protocol: "+protocol+"\n    tls: {enabled: true, insecure_skip_verify: true}\n", s.Listener.Addr().String())+"routes: [{name: all, match: {path: /*}, pool: api}]\n")
		c, r := upgraded(t, front(t, g), "/", "websocket")
		echoed(t, c, r, "hello")
		io.WriteString(c, frameOf(8, "\x03\xe8", true)) //nolint:errcheck // the read tells
		if got := <-closed; got != "1000 " {
			t.Errorf("%s: %q", protocol, got)
		}
	}
}
