package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"runtime"
	"strings"
	"testing"
	"time"

	"weir/tls"
)

// front serves g on a loopback port until the test ends.
func front(t testing.TB, g *Gateway) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := tls.NewMux(ln, tls.MuxOptions{})
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		g.Run(ctx)
	}()
	go func() {
		defer close(done)
		mux.Serve(func(c *tls.Conn) { g.ServeConn(c, "web") }) //nolint:errcheck // it ends with Close
	}()
	t.Cleanup(func() {
		cancel()
		<-swept
		mux.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if left := g.Drain(ctx); left > 0 || mux.Wait(ctx) != nil {
			buf := make([]byte, 1<<20)
			t.Errorf("connections are left\n%s", buf[:runtime.Stack(buf, true)])
		}
		<-done
	})
	return ln.Addr().String()
}

// protocols returns those of one name: http1 or h2c.
func protocols(name string) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(name == "http1")
	p.SetUnencryptedHTTP2(name == "h2c")
	return p
}

// endpoint serves h by one protocol until the test ends.
func endpoint(t testing.TB, protocol string, h http.HandlerFunc) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, Protocols: protocols(protocol), ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(ln) //nolint:errcheck // it ends with Close
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return ln.Addr().String()
}

// pair is a way through the gateway.
type pair struct {
	client *http.Client
	url    string
}

// eachPair runs f for all ways there are between clients and endpoints of HTTP/1 and HTTP/2.
func eachPair(t *testing.T, pool, route string, h http.HandlerFunc, f func(t *testing.T, p pair)) {
	for _, edge := range []string{"http1", "h2c"} {
		for _, up := range []string{"http1", "h2c"} {
			t.Run(edge+" to "+up, func(t *testing.T) {
				yaml := poolYAML("    protocol: "+up+"\n"+pool, endpoint(t, up, h)) + "routes: [{name: all, match: {path: /*}, pool: api" + route + "}]\n"
				tr := &http.Transport{Protocols: protocols(edge), DisableCompression: true, ExpectContinueTimeout: time.Minute}
				g := newGateway(t, yaml)
				p := pair{&http.Client{Transport: tr}, "http://" + front(t, g)}
				t.Cleanup(tr.CloseIdleConnections)
				f(t, p)
			})
		}
	}
}

func (p pair) do(t *testing.T, ctx context.Context, method, path string, body io.Reader) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// talk answers each line with the same line, as it comes.
func talk(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	c.EnableFullDuplex() //nolint:errcheck // HTTP/2 is
	c.Flush()            //nolint:errcheck // the copy meets it
	in := bufio.NewReader(r.Body)
	for {
		line, err := in.ReadString('\n')
		io.WriteString(w, line) //nolint:errcheck // as above
		c.Flush()               //nolint:errcheck // as above
		if err != nil {
			return
		}
	}
}

// TestPairsStream: requests and answers flow at the same time, each piece as it comes.
func TestPairsStream(t *testing.T) {
	eachPair(t, "", "", talk, func(t *testing.T, p pair) {
		out, in := io.Pipe()
		go io.WriteString(in, "line 0\n") //nolint:errcheck // the read meets it
		resp := p.do(t, t.Context(), "POST", "/", out)
		defer resp.Body.Close()
		lines := bufio.NewReader(resp.Body)
		for i := range 20 {
			got, err := lines.ReadString('\n')
			if want := fmt.Sprintf("line %d\n", i); got != want || err != nil {
				t.Fatalf("got %q, want %q: %v", got, want, err)
			}
			fmt.Fprintf(in, "line %d\n", i+1)
		}
		in.Close()
		if rest, err := io.ReadAll(lines); string(rest) != "line 20\n" || err != nil {
			t.Errorf("rest %q: %v", rest, err)
		}
	})
}

// TestPairsWhole: bodies of all sizes, of known length and of none, come as they went.
func TestPairsWhole(t *testing.T) {
	eachPair(t, "", "", func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if r.URL.Path == "/sized" {
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		}
		w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
		w.Write(b) //nolint:errcheck // the client tells
	}, func(t *testing.T, p pair) {
		for _, n := range []int{0, 1, 500, 16 << 10, 16<<10 + 1, 100_000, 3 << 20} {
			for _, path := range []string{"/sized", "/"} {
				b := bytes.Repeat([]byte("0123456789abcde\n"), n/16+1)[:n]
				var body io.Reader = bytes.NewReader(b)
				if path == "/" {
					body = struct{ io.Reader }{body}
				}
				resp := p.do(t, t.Context(), "PUT", path, body)
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || sha256.Sum256(got) != sha256.Sum256(b) {
					t.Errorf("%s %d: got %d bytes: %v", path, n, len(got), err)
				}
				if want := fmt.Sprint(n); path == "/sized" && resp.Header.Get("X-Length") != want {
					t.Errorf("%d: the endpoint was told a length of %s", n, resp.Header.Get("X-Length"))
				}
			}
		}
	})
}

// TestPairsTrailers: fields after a body pass, both ways.
func TestPairsTrailers(t *testing.T) {
	eachPair(t, "", "", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Announced")
		fmt.Fprintf(w, "%d", n)
		w.Header().Set("X-Announced", r.Trailer.Get("X-Sum"))
		w.Header().Set(http.TrailerPrefix+"X-Other", "more")
	}, func(t *testing.T, p pair) {
		req, _ := http.NewRequest("POST", p.url, struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 40_000))})
		req.Trailer = http.Header{"X-Sum": {"s1"}}
		resp, err := p.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if string(b) != "40000" || err != nil || resp.Trailer.Get("X-Announced") != "s1" || resp.Trailer.Get("X-Other") != "more" {
			t.Errorf("%q %v, trailers %v", b, err, resp.Trailer)
		}
	})
}

// TestPairsInterim: 103 comes before the answer does.
func TestPairsInterim(t *testing.T) {
	go1xx := make(chan struct{}, 1)
	eachPair(t, "", "", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		<-go1xx
		w.Header().Del("Link")
		w.WriteHeader(204)
	}, func(t *testing.T, p pair) {
		link := ""
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == 103 {
				link = h.Get("Link")
				go1xx <- struct{}{}
			}
			return nil
		}})
		resp := p.do(t, ctx, "GET", "/", nil)
		resp.Body.Close()
		if resp.StatusCode != 204 || link != "</a.css>; rel=preload" || resp.Header.Get("Link") != "" {
			t.Errorf("%d, early %q, late %q", resp.StatusCode, link, resp.Header.Get("Link"))
		}
	})
}

// TestPairsCancel: what the client gives up is given up at the endpoint, before its answer and during it.
func TestPairsCancel(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{}, 1)
	eachPair(t, "", "", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/waiting" {
			http.NewResponseController(w).EnableFullDuplex() //nolint:errcheck // HTTP/2 is
			io.WriteString(w, "so far")                      //nolint:errcheck // the client tells
			http.NewResponseController(w).Flush()            //nolint:errcheck // as above
		} else {
			ended <- struct{}{} // it has begun
		}
		io.Copy(io.Discard, r.Body) //nolint:errcheck // a server of HTTP/1 hears that it is cut when it has read it all
		<-r.Context().Done()
		ended <- struct{}{}
	}, func(t *testing.T, p pair) {
		for _, path := range []string{"/answered", "/talking", "/waiting"} {
			ctx, cancel := context.WithCancel(t.Context())
			if path != "/waiting" {
				var body io.Reader
				if path == "/talking" { // its request has no end
					var in *io.PipeWriter
					body, in = io.Pipe()
					go io.WriteString(in, "hello") //nolint:errcheck // it is read
					defer in.Close()
				}
				resp := p.do(t, ctx, "POST", path, body)
				io.ReadFull(resp.Body, make([]byte, 6)) //nolint:errcheck // it is cut anyway
				cancel()
				resp.Body.Close()
			} else {
				go func() {
					<-ended
					cancel()
				}()
				req, _ := http.NewRequestWithContext(ctx, "GET", p.url+path, nil)
				if _, err := p.client.Do(req); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
				t.Errorf("%s: the endpoint was not told", path)
			}
		}
	})
}

// TestPairsCut: an answer that breaks off is never taken for a whole one.
func TestPairsCut(t *testing.T) {
	eachPair(t, "", "", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sized" {
			w.Header().Set("Content-Length", "1000")
		}
		io.WriteString(w, strings.Repeat("x", 500)) //nolint:errcheck // the client tells
		http.NewResponseController(w).Flush()       //nolint:errcheck // as above
		panic(http.ErrAbortHandler)
	}, func(t *testing.T, p pair) {
		for _, path := range []string{"/sized", "/chunked"} {
			resp := p.do(t, t.Context(), "POST", path, nil)
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil || len(b) > 500 {
				t.Errorf("%s: %d bytes and no error", path, len(b))
			}
		}
	})
}

// TestPairsTimeout: an endpoint that does not answer in time costs the client no more than that.
func TestPairsTimeout(t *testing.T) {
	eachPair(t, "    timeout: {response_header: 20ms}\n    retry: {attempts: 1}\n", "", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // a server of HTTP/1 hears that it is cut when it has read it all
		<-r.Context().Done()
	}, func(t *testing.T, p pair) {
		for _, size := range []int{0, 50_000} {
			resp := p.do(t, t.Context(), "POST", "/", struct{ io.Reader }{strings.NewReader(strings.Repeat("x", size))})
			resp.Body.Close()
			if resp.StatusCode != 504 || resp.Header.Get("Weir-Reason") != "upstream_timeout" {
				t.Errorf("%d: %d %q", size, resp.StatusCode, resp.Header.Get("Weir-Reason"))
			}
		}
	})
}

// TestPairsRefuse: a body that is too long is refused, whoever asks.
func TestPairsRefuse(t *testing.T) {
	eachPair(t, "", ", body: 1KiB", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) //nolint:errcheck // it is cut
	}, func(t *testing.T, p pair) {
		for _, body := range []io.Reader{strings.NewReader(strings.Repeat("x", 5000)), struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 500_000))}} {
			resp := p.do(t, t.Context(), "POST", "/", body)
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 413 || err != nil || !strings.Contains(string(b), `"reason":"too_large"`) {
				t.Errorf("%d %s %v", resp.StatusCode, b, err)
			}
		}
	})
}
