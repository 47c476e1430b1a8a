package gateway

import (
	"bytes"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"weir/internal/h2"
	"weir/internal/mono"
)

// soleUpstream is the one endpoint's of the gateway's one pool.
func soleUpstream(t *testing.T, g *Gateway) *upstream {
	t.Helper()
	g.live.mu.Lock()
	defer g.live.mu.Unlock()
	for _, p := range g.live.pools {
		p.mu.Lock()
		defer p.mu.Unlock()
		for u := range p.upstreams {
			return u
		}
	}
	t.Fatal("no endpoint")
	return nil
}

// TestALPNChanges: an endpoint that chose HTTP/1, and HTTP/2 a moment later, as one that is replaced does, is asked by HTTP/2.
func TestALPNChanges(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto) //nolint:errcheck // the client tells
	}))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	var modern atomic.Bool
	var conns atomic.Int32
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		conns.Add(1)
		c := s.TLS.Clone()
		if c.GetConfigForClient = nil; !modern.Load() {
			c.NextProtos = []string{"http/1.1"}
		}
		return c, nil
	}}
	s.StartTLS()
	defer s.Close()
	g := newGateway(t, poolYAML("    protocol: auto\n    tls: {enabled: true, insecure_skip_verify: true}\n    retry: {attempts: 1}\n", s.Listener.Addr().String())+"routes: [{name: all, match: {path: /*}, pool: api}]\n")
	ask := func(want string) {
		t.Helper()
		k := dial(t, g)
		defer k.c.Close()
		if got := k.roundTrip([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), []byte(want)); !bytes.HasSuffix(got, []byte(want)) {
			t.Errorf("%q, want %s", got, want)
		}
	}
	ask("HTTP/1.1")
	modern.Store(true)
	s.CloseClientConnections()
	ask("HTTP/2.0")
	before := conns.Load()
	for range 3 {
		ask("HTTP/2.0")
	}
	if n := conns.Load() - before; n > 0 {
		t.Errorf("%d more connections", n)
	}
}

// TestLastRequest: a request that had its endpoint when a reload took that away is served.
func TestLastRequest(t *testing.T) {
	for _, protocol := range []string{"http1", "h2c"} {
		g := newGateway(t, poolYAML("    protocol: "+protocol+"\n", indexedEndpoint(t))+"routes: [{name: all, match: {path: /*}, pool: api}]\n")
		u := soleUpstream(t, g)
		u.close()
		c, err := u.get(mono.Now(), false, false)
		if err != nil {
			t.Errorf("%s: %v", protocol, err)
			continue
		}
		u.drop(c)
	}
}

// TestNoStreams: an endpoint that allows none is not buried in connections.
func TestNoStreams(t *testing.T) {
	var conns atomic.Int32
	g := newGateway(t, poolYAML("    protocol: h2c\n    retry: {attempts: 1}\n", eachConn(t, func(c net.Conn, _ int) {
		conns.Add(1)
		defer conns.Add(-1)
		io.ReadFull(c, make([]byte, len(h2.Preface))) //nolint:errcheck // the next read tells
		f := http2.NewFramer(c, c)
		f.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0}) //nolint:errcheck // as above
		for {
			if _, err := f.ReadFrame(); err != nil {
				return
			}
		}
	}))+"routes: [{name: all, match: {path: /*}, pool: api}]\n")
	u := soleUpstream(t, g)
	for range 20 {
		if _, err := u.get(mono.Now(), false, false); err == nil {
			t.Fatal("a stream")
		}
	}
	for end := time.Now().Add(2 * time.Second); conns.Load() > 1; {
		if time.Now().After(end) {
			t.Fatalf("%d connections", conns.Load())
		}
		time.Sleep(time.Millisecond)
	}
}
