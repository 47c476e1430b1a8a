package tests

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const gib = 1 << 30

// zeros reads as n zero bytes.
type zeros struct{ left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := int64(len(p))
	if n > z.left {
		n = z.left
	}
	clear(p[:n])
	z.left -= n
	return int(n), nil
}

// streamServer answers GET /down with a GiB, with a length or chunked, and POST with the number of bytes it was sent.
func streamServer(w http.ResponseWriter, r *http.Request) {
	if r.Method == "POST" {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d %v", n, err)
		return
	}
	if r.URL.RawQuery != "chunked" {
		w.Header().Set("Content-Length", fmt.Sprint(gib))
	}
	buf := make([]byte, 256<<10)
	for sent := 0; sent < gib; sent += len(buf) {
		if _, err := w.Write(buf); err != nil {
			return
		}
	}
}

// peak runs f and returns by how much the resident memory of the process grew at its highest.
func (w *weir) peak(f func()) int64 {
	before, highest := w.rss(), atomic.Int64{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	for {
		select {
		case <-done:
			return highest.Load() - before
		case <-time.After(20 * time.Millisecond):
			highest.Store(max(highest.Load(), w.rss()))
		}
	}
}

// TestStreams moves a GiB each way, with a length and chunked, in bounded memory.
func TestStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("4 GiB")
	}
	up := serve(t, streamServer)
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web", limits: {body: 0}}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up, timeout: 60s}]
`, map[string]string{"up": up.addr})
	client := &http.Client{Timeout: 100 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	fetch(t, "POST", w.url("/up"), "warm")
	f := func(name string, req func() *http.Request, want string) {
		t.Run(name, func(t *testing.T) {
			grew := w.peak(func() {
				resp, err := client.Do(req())
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				head := make([]byte, 64)
				n, _ := io.ReadFull(resp.Body, head)
				rest, err := io.Copy(io.Discard, resp.Body)
				got := fmt.Sprint(int64(n) + rest)
				if req().Method == "POST" {
					got = string(head[:n])
				}
				if err != nil || resp.StatusCode != 200 || got != want {
					t.Errorf("%d, %q, %v; want %q", resp.StatusCode, got, err, want)
				}
			})
			t.Logf("resident memory grew by %d KiB to %d KiB", grew>>10, w.rss()>>10)
			if grew > 64<<20 && !raced {
				t.Errorf("resident memory grew by %d MiB, want less than 64", grew>>20)
			}
		})
	}
	request := func(method, path string, body io.Reader, n int64) *http.Request {
		r, _ := http.NewRequest(method, w.url(path), body)
		r.ContentLength = n
		return r
	}
	f("down", func() *http.Request { return request("GET", "/down", nil, 0) }, fmt.Sprint(gib))
	f("down-chunked", func() *http.Request { return request("GET", "/down?chunked", nil, 0) }, fmt.Sprint(gib))
	f("up", func() *http.Request { return request("POST", "/up", &zeros{gib}, gib) }, fmt.Sprintf("%d <nil>", gib))
	f("up-chunked", func() *http.Request { return request("POST", "/up", &zeros{gib}, -1) }, fmt.Sprintf("%d <nil>", gib))
}

// TestStreamsFlow checks that bytes are passed on as they come, not when a body is whole.
func TestStreamsFlow(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		if r.Method == "POST" { // echo each line as it comes
			rc.Flush()
			for sc := bufio.NewScanner(r.Body); sc.Scan(); {
				fmt.Fprintln(w, sc.Text())
				rc.Flush()
			}
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			rc.Flush()
			<-next
		}
	})
	w := startWeir(t, onePool, map[string]string{"up": up.addr})
	t.Run("events", func(t *testing.T) {
		resp, err := http.Get(w.url("/events"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		br := bufio.NewReader(resp.Body)
		for i := range 3 { // the upstream goes on only when the event has arrived
			line, err := br.ReadString('\n')
			if want := fmt.Sprintf("data: %d\n", i); err != nil || line != want {
				t.Fatalf("%q, %v; want %q", line, err, want)
			}
			br.ReadString('\n')
			next <- struct{}{}
		}
	})
	t.Run("upload", func(t *testing.T) {
		c := dial(t, w.addr("web"))
		c.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
		c.c.SetReadDeadline(time.Now().Add(5 * time.Second))
		for i := range 3 { // the echo of a line comes back before the next is sent
			line := fmt.Sprintf("line %d", i)
			c.send(fmt.Sprintf("%x\r\n%s\n\r\n", len(line)+1, line))
			for !strings.Contains(c.got.String(), line) {
				if _, err := c.br.ReadByte(); err != nil {
					t.Fatalf("waiting for %q: %v; received %q", line, err, c.got.String())
				}
			}
		}
		c.send("0\r\n\r\n")
	})
}

// TestNginx checks methods, ranges, errors and large bodies through a real server.
func TestNginx(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	dir := t.TempDir()
	file := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	if err := os.WriteFile(dir+"/file.txt", []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/index.html", []byte("<p>hello</p>"), 0o644); err != nil {
		t.Fatal(err)
	}
	startNginx(t, addr, `server { listen `+addr+`; root `+dir+`; gzip on; gzip_min_length 1; gzip_types text/plain;
location /echo { add_header X-Method $request_method; client_body_buffer_size 8m; return 200 "$http_host|$http_x_forwarded_for|$http_x_forwarded_proto"; }
location /missing { return 404 "none"; } }`)
	w := startWeir(t, onePool, map[string]string{"up": addr})
	f := func(method, path, body string, status int, check func(*http.Response, string) bool, fields ...string) {
		t.Helper()
		resp, text := fetch(t, method, w.url(path), body, fields...)
		if resp.StatusCode != status || !check(resp, text) {
			t.Errorf("%s %s: %d %v %.100q", method, path, resp.StatusCode, resp.Header, text)
		}
	}
	is := func(want string) func(*http.Response, string) bool {
		return func(_ *http.Response, text string) bool { return text == want }
	}
	f("GET", "/file.txt", "", 200, is(file))
	f("HEAD", "/file.txt", "", 200, func(r *http.Response, s string) bool { return r.ContentLength == 1<<20 && s == "" })
	f("GET", "/file.txt", "", 206, is("123"), "Range: bytes=1-3")
	f("GET", "/file.txt", "", 200, func(r *http.Response, s string) bool {
		return r.Header.Get("Content-Encoding") == "gzip" && len(s) < 1<<20
	}, "Accept-Encoding: gzip")
	f("GET", "/echo", "", 200, is("a.test|127.0.0.1|http"), "Host: a.test")
	f("POST", "/echo", file, 200, func(r *http.Response, _ string) bool { return r.Header.Get("X-Method") == "POST" })
	f("PUT", "/echo", "x", 200, func(r *http.Response, _ string) bool { return r.Header.Get("X-Method") == "PUT" })
	f("GET", "/missing", "", 404, is("none"))
	f("GET", "/", "", 200, is("<p>hello</p>"))
	resp, _ := fetch(t, "GET", w.url("/file.txt"), "")
	f("GET", "/file.txt", "", 304, is(""), "If-None-Match: "+resp.Header.Get("ETag"))

	c := dial(t, w.addr("web"))
	for range 100 { // one connection all along
		if r := c.ask("GET /echo HTTP/1.1\r\nHost: a.test\r\n\r\n"); !bytes.Contains(r.body, []byte("a.test|")) {
			t.Fatalf("%s %q", r.line, r.body)
		}
	}
}

// TestClientGone checks that a client that hangs up while it waits frees the upstream.
func TestClientGone(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	u.begin(func(r *upRequest) answer { return answer{steps: []step{{kind: "hang"}}} })
	w := startWeir(t, onePool, map[string]string{"up": u.addr})
	f := func(name, request string, leave func(net.Conn)) {
		t.Run(name, func(t *testing.T) {
			c := dial(t, w.addr("web"))
			c.send(request)
			eventually(t, 3*time.Second, "the request reaches the upstream", func() bool { return u.open() == 1 })
			leave(c.c)
			eventually(t, 3*time.Second, "the upstream's connection is closed", func() bool { return u.open() == 0 })
		})
	}
	f("closed", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", func(c net.Conn) { c.Close() })
	f("reset", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", reset)
	f("reset-in-the-body", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\nhello", reset)
}
