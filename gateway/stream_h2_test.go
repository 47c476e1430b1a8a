package gateway

import (
	"io"
	"net"
	"net/http"
	"testing"

	"golang.org/x/net/http2"

	"weir/tls"
)

//lint:file-ignore SA1019 the client of the tests is x/net's

// h2Client returns a client that speaks HTTP/2 in clear text to g, over one connection.
func h2Client(t testing.TB, g *Gateway) *http2.ClientConn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := tls.NewMux(ln, tls.MuxOptions{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		mux.Serve(func(c *tls.Conn) { g.ServeConn(c, "web") }) //nolint:errcheck // it ends with Close
	}()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		mux.Close()
		mux.Wait(t.Context()) //nolint:errcheck // it has no end
		<-done
	})
	tr := &http2.Transport{AllowHTTP: true}
	cc, err := tr.NewClientConn(nc)
	if err != nil {
		t.Fatal(err)
	}
	return cc
}

func TestStreamIsServed(t *testing.T) {
	g := newGateway(t, "routes: [{name: text, match: {path: /text}, respond: {status: 203, body: hello}}]\n")
	cc := h2Client(t, g)
	req, _ := http.NewRequest("GET", "http://a.example/text", nil)
	resp, err := cc.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil || string(b) != "hello" || resp.StatusCode != 203 {
		t.Fatal(resp.Status, string(b), err)
	}
}

// BenchmarkStream is one request after the other over HTTP/2, answered by the gateway itself; the client is a goroutine of the same process.
func BenchmarkStream(b *testing.B) {
	g := newGateway(b, "routes: [{name: text, match: {path: /text}, respond: {status: 200, body: hello}}]\n")
	cc := h2Client(b, g)
	b.ReportAllocs()
	for b.Loop() {
		req, _ := http.NewRequest("GET", "http://a.example/text", nil)
		resp, err := cc.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body) //nolint:errcheck // it is five bytes
		resp.Body.Close()
	}
}
