package gateway

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
)

// TestTunnelBulk: every byte passes both ways, in pieces of any size, whatever the protocols are and whether bandwidth is shaped.
func TestTunnelBulk(t *testing.T) {
	plain := func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n") //nolint:errcheck // the client tells
		io.Copy(c, rw)                                                                                                                                                                                   //nolint:errcheck // as above
	}
	connect := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Sec-WebSocket-Protocol", "chat")
		w.WriteHeader(200)
		ctl := http.NewResponseController(w)
		b := make([]byte, 3000)
		for err := ctl.Flush(); err == nil; {
			var n int
			n, err = r.Body.Read(b)
			w.Write(b[:n]) //nolint:errcheck // as above
			ctl.Flush()    //nolint:errcheck // as above
		}
	}
	f := func(edge, up, shaping string) {
		t.Run(edge+" to "+up+shaping, func(t *testing.T) {
			addr, protocol := "", "http1"
			if up == "h2c" {
				addr, protocol = connectEndpoint(t, connect), "h2c"
			} else {
				addr = endpoint(t, "http1", plain)
			}
			g := newGateway(t, poolYAML("    protocol: "+protocol+"\n", addr)+"routes: [{name: all, match: {path: /*}, pool: api}]\n"+shaping)
			var in io.Writer
			var out io.Reader
			if edge == "http1" {
				in, out = upgradedAs(t, front(t, g), "/")
			} else {
				in, out, _ = connected(t, front(t, g), "/")
			}
			const size = 1 << 20
			sent := make([]byte, size)
			src := rand.NewChaCha8([32]byte{})
			src.Read(sent) //nolint:errcheck // it has none
			done := make(chan struct{})
			go func() {
				defer close(done)
				for rest := sent; len(rest) > 0; {
					n := min(1+int(src.Uint64()%5000), len(rest))
					in.Write(rest[:n]) //nolint:errcheck // the read tells
					rest = rest[n:]
				}
			}()
			got := make([]byte, size)
			if n, err := io.ReadFull(out, got); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes, %v", n, err)
			}
			<-done
			s := &g.hub.Route("all").Tunnels // counted when they are written, which the client may see first
			eventually(t, func() bool { return s.In.Bytes.Value() == size && s.Out.Bytes.Value() == size })
		})
	}
	for _, edge := range []string{"http1", "http2"} {
		for _, up := range []string{"http1", "h2c"} {
			f(edge, up, "")
			f(edge, up, "shaping: [{name: all, download: 100MiB, upload: 100MiB}]\n")
		}
	}
}
