package gateway

import (
	"context"
	cryptotls "crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"

	"golang.org/x/net/http2"
)

//lint:file-ignore SA1019 the client of the tests is x/net's, which knows extended CONNECT

// webSocket greets, and says everything once more until it is told to stop, but for /no.
func webSocket(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/no" {
		w.Write([]byte("no WebSocket")) //nolint:errcheck // the client tells
		return
	}
	if r.Method != "GET" || r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Sec-WebSocket-Key") == "" || r.Header.Get("Sec-WebSocket-Version") != "13" {
		w.WriteHeader(400)
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer c.Close()
	io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\nhi ") //nolint:errcheck // as above
	for {
		b, err := rw.ReadByte()
		if err != nil || b == 'q' {
			return
		}
		c.Write([]byte{b}) //nolint:errcheck // as above
	}
}

// TestExtendedConnect: a WebSocket over HTTP/2 is one over HTTP/1 to the endpoint, and ends from either side.
func TestExtendedConnect(t *testing.T) {
	up := endpoint(t, "http1", webSocket)
	g := newGateway(t, poolYAML("", up)+"routes: [{name: all, match: {path: /*}, pool: api}]\n")
	tr := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, addr string, _ *cryptotls.Config) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}}
	url := "http://" + front(t, g)
	t.Cleanup(tr.CloseIdleConnections)
	open := func(path string) (in *io.PipeWriter, resp *http.Response) {
		t.Helper()
		body, in := io.Pipe()
		req, _ := http.NewRequest("CONNECT", url+path, body)
		req.Header = http.Header{":protocol": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Protocol": {"chat"}}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		return in, resp
	}
	for _, end := range []string{"client", "endpoint"} {
		in, resp := open("/chat")
		if resp.StatusCode != 200 || resp.Header.Get("Sec-WebSocket-Protocol") != "chat" || resp.Header.Get("Sec-WebSocket-Accept") != "" {
			t.Fatalf("%s: %d %v", end, resp.StatusCode, resp.Header)
		}
		got := make([]byte, 8)
		io.WriteString(in, "hello") //nolint:errcheck // the read tells
		if _, err := io.ReadFull(resp.Body, got); string(got) != "hi hello" || err != nil {
			t.Errorf("%s: %q %v", end, got, err)
		}
		if end == "client" {
			in.Close()
		} else {
			io.WriteString(in, "q") //nolint:errcheck // as above
		}
		if b, err := io.ReadAll(resp.Body); len(b) > 0 || err != nil {
			t.Errorf("%s: then %q %v", end, b, err)
		}
		in.Close()
		resp.Body.Close()
	}
	in, resp := open("/no")
	in.Close()
	if resp.StatusCode != 502 {
		t.Errorf("an answer that opens no tunnel: %d", resp.StatusCode)
	}
	resp.Body.Close()
}
