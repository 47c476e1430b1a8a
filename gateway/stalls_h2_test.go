package gateway

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestDialedOnce: requests that wait for a connection to an endpoint that does not answer fail when that fails, not one after the other.
func TestDialedOnce(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	g := newGateway(t, poolYAML("    protocol: h2\n    tls: {enabled: true, insecure_skip_verify: true}\n    retry: {attempts: 1}\n    connections: {dial_timeout: 300ms}\n", silent.Addr().String())+
		"routes: [{name: all, match: {path: /*}, pool: api}]\n")
	p := pair{&http.Client{Transport: &http.Transport{Protocols: protocols("h2c"), DisableCompression: true}}, "http://" + front(t, g)}
	t.Cleanup(p.client.CloseIdleConnections)
	start := time.Now()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got := p.fate(t, "GET", nil); got != "502" && got != "503" {
				t.Error(got)
			}
		})
	}
	wg.Wait()
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("20 requests failed after %v", took)
	}
}

// TestDeafEndpoint: an endpoint that lets the gateway send without end, and then reads no more, holds a request no longer than its time, and
// no others at all.
func TestDeafEndpoint(t *testing.T) {
	t.Parallel()
	deaf := make(chan struct{})
	up := hostileEndpoint(t, func(h *hostile, id uint32) {
		h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1}) //nolint:errcheck // the client tells
		h.WriteWindowUpdate(0, 1<<30)                                                      //nolint:errcheck // as above
		<-deaf
	})
	well := endpoint(t, "h2c", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "well") }) //nolint:errcheck // the client tells
	t.Cleanup(func() { close(deaf) })
	g := newGateway(t, poolYAML("    protocol: h2c\n    balance: round_robin\n    retry: {attempts: 1}\n    timeout: {response_header: 1s, idle: 1s}\n", up, well)+"routes: [{name: all, match: {path: /*}, pool: api}]\n")
	p := pair{&http.Client{Transport: &http.Transport{Protocols: protocols("h2c"), DisableCompression: true}}, "http://" + front(t, g)}
	t.Cleanup(p.client.CloseIdleConnections)
	var wg sync.WaitGroup
	for range 2 {
		for range 10 {
			wg.Go(func() {
				start := time.Now()
				got := p.fate(t, "POST", bytes.NewReader(make([]byte, 8<<20)))
				if took := time.Since(start); took > 6*time.Second {
					t.Errorf("%s after %v", got, took)
				}
			})
		}
		wg.Wait()
	}
}

// TestBeyondWindow: an endpoint that sends more than it may, as the client does not take what there is, has its stream reset and no memory of
// the gateway's; the client does not take what it got for all.
func TestBeyondWindow(t *testing.T) {
	t.Parallel()
	for _, edge := range []string{"http1", "h2c"} {
		reset := make(chan http2.ErrCode, 1)
		up := hostileEndpoint(t, func(h *hostile, id uint32) {
			h.say(id, false, ":status", "200")
			for range 1000 {
				h.WriteData(id, false, make([]byte, 16000)) //nolint:errcheck // the client tells
			}
			for {
				switch f, err := h.ReadFrame(); f := f.(type) {
				case *http2.RSTStreamFrame:
					reset <- f.ErrCode
					return
				default:
					if err != nil {
						return
					}
				}
			}
		})
		g := newGateway(t, poolYAML("    protocol: h2c\n    retry: {attempts: 1}\n", up)+"routes: [{name: all, match: {path: /*}, pool: api}]\n")
		p := pair{&http.Client{Transport: &http.Transport{Protocols: protocols(edge), DisableCompression: true}}, "http://" + front(t, g)}
		t.Cleanup(p.client.CloseIdleConnections)
		resp := p.do(t, t.Context(), "GET", "/", nil)
		select {
		case code := <-reset:
			if code != http2.ErrCodeFlowControl {
				t.Errorf("%s: reset with %v", edge, code)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: nothing was reset", edge)
		}
		if b, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: %d bytes are taken for all", edge, len(b))
		}
		resp.Body.Close()
	}
}

// TestDrip: a client that opens its window by a byte at a time loses the stream.
func TestDrip(t *testing.T) {
	t.Parallel()
	up := endpoint(t, "http1", func(w http.ResponseWriter, r *http.Request) {
		for range 1000 {
			if _, err := w.Write(make([]byte, 1<<15)); err != nil {
				return
			}
		}
	})
	g := newGateway(t, poolYAML("", up)+"routes: [{name: all, match: {path: /*}, pool: api}]\n")
	g.snap.Load().listeners["web"].MinRate = 1 << 20
	k := dialH2(t, g)
	k.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}) //nolint:errcheck // the read tells
	for id := uint32(1); id < 20; id += 2 {
		k.ask(id) //nolint:errcheck // as above
	}
	stop := make(chan struct{})
	var drip sync.WaitGroup
	defer drip.Wait()
	defer close(stop)
	drip.Go(func() {
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
				k.WriteWindowUpdate(1, 1) //nolint:errcheck // as above
			}
		}
	})
	start := time.Now()
	for resets := 0; resets < 10; {
		frame, err := k.ReadFrame()
		if err != nil {
			t.Fatal(err, time.Since(start))
		}
		if _, ok := frame.(*http2.RSTStreamFrame); ok {
			resets++
		}
	}
	if took := time.Since(start); took < rateGrace {
		t.Errorf("cut after %v", took)
	}
}
