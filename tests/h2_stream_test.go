package tests

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// serveBoth serves h by HTTP/1 and by HTTP/2 in clear text.
func serveBoth(t testing.TB, h http.HandlerFunc) (addr string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	go s.Serve(ln) //nolint:errcheck // it ends with Close
	t.Cleanup(func() { s.Close() })
	return ln.Addr().String()
}

const h2Streams = base + `
listeners: [{name: web, address: "@web", limits: {body: 0}}]
pools:
  - {name: one, endpoints: [{address: "@up"}]}
  - {name: two, protocol: h2c, endpoints: [{address: "@up"}]}
routes:
  - {name: one, match: {path: "/one/*"}, pool: one, timeout: 60s}
  - {name: two, match: {path: "/two/*"}, pool: two, timeout: 60s}
`

// TestStreamsH2 moves a quarter of a GiB each way by HTTP/2, to endpoints of either kind, in bounded memory.
func TestStreamsH2(t *testing.T) {
	if testing.Short() {
		t.Skip("1 GiB")
	}
	const size = gib / 4
	up := serveBoth(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			io.Copy(w, &zeros{size}) //nolint:errcheck // the client tells
			return
		}
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d %v", n, err)
	})
	w := startWeir(t, h2Streams, map[string]string{"up": up})
	c := h2(t)
	c.Timeout = 60 * time.Second
	for _, pool := range []string{"one", "two"} {
		grew := w.peak(func() {
			resp, err := c.Get(w.url("/" + pool + "/x"))
			if err != nil {
				t.Error(err)
				return
			}
			if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
				t.Errorf("down from %s: %d %v", pool, n, err)
			}
			resp.Body.Close()
			resp, err = c.Post(w.url("/"+pool+"/x"), "", &zeros{size})
			if err != nil {
				t.Error(err)
				return
			}
			if b, err := io.ReadAll(resp.Body); string(b) != fmt.Sprint(int64(size), " <nil>") || err != nil {
				t.Errorf("up to %s: %s %v", pool, b, err)
			}
			resp.Body.Close()
		})
		t.Logf("%s: resident memory grew by %d KiB to %d KiB", pool, grew>>10, w.rss()>>10)
		if grew > 64<<20 && !raced {
			t.Errorf("%s: resident memory grew by %d MiB", pool, grew>>20)
		}
	}
}

// TestStalledH2: clients that read nothing of what they ask for hold no more than windows, and do not stop others on their connection.
func TestStalledH2(t *testing.T) {
	up := serveBoth(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/one/small" || r.URL.Path == "/two/small" {
			io.WriteString(w, "ok") //nolint:errcheck // the client tells
			return
		}
		io.Copy(w, &zeros{gib}) //nolint:errcheck // it is cut
	})
	w := startWeir(t, h2Streams, map[string]string{"up": up})
	c := h2(t)
	for _, pool := range []string{"one", "two"} {
		grew := w.peak(func() {
			for range 40 {
				resp, err := c.Get(w.url("/" + pool + "/large"))
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
			}
			time.Sleep(500 * time.Millisecond)
			resp, err := c.Get(w.url("/" + pool + "/small"))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if b, err := io.ReadAll(resp.Body); string(b) != "ok" || err != nil {
				t.Errorf("%s: beside stalled streams: %q %v", pool, b, err)
			}
		})
		t.Logf("%s: resident memory grew by %d KiB", pool, grew>>10)
		if grew > 64<<20 && !raced {
			t.Errorf("%s: resident memory grew by %d MiB", pool, grew>>20)
		}
	}
}

// TestSlowH2: a client that sends or reads below the minimum rate loses its stream, and keeps its connection.
func TestSlowH2(t *testing.T) {
	t.Parallel()
	up := serveBoth(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		if r.Method == "GET" && r.URL.Path != "/one/ok" {
			io.Copy(w, &zeros{gib}) //nolint:errcheck // it is cut
			return
		}
		fmt.Fprint(w, n)
	})
	w := startWeir(t, strings.Replace(h2Streams, "body: 0", "body: 0, body_min_rate: 64KiB", 1), map[string]string{"up": up})
	c := h2(t)
	c.Timeout = 0
	var wg sync.WaitGroup
	for _, pool := range []string{"one", "two"} {
		wg.Go(func() {
			body, in := io.Pipe()
			defer in.Close()
			go func() {
				for {
					if _, err := io.WriteString(in, strings.Repeat("x", 1000)); err != nil {
						return
					}
					time.Sleep(100 * time.Millisecond)
				}
			}()
			start := time.Now()
			resp, err := c.Post(w.url("/"+pool+"/slow"), "", body)
			if err != nil {
				t.Errorf("%s: %v", pool, err)
				return
			}
			resp.Body.Close()
			if took := time.Since(start); resp.StatusCode != 408 || took < 4*time.Second || took > 12*time.Second {
				t.Errorf("%s: a slow body: %d after %v", pool, resp.StatusCode, took)
			}
		})
		wg.Go(func() {
			resp, err := c.Get(w.url("/" + pool + "/large"))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			time.Sleep(patience(10 * time.Second)) // it reads nothing
			if n, err := io.Copy(io.Discard, resp.Body); err == nil || n > 64<<20 {
				t.Errorf("%s: a client that read nothing for 10 s got %d bytes: %v", pool, n, err)
			}
		})
	}
	wg.Wait()
	resp, err := c.Get(w.url("/one/ok"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if n := w.metric("weir_connections"); n != 1 {
		t.Errorf("%v connections, want the one", n)
	}
}
