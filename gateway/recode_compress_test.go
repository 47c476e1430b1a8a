package gateway

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"weir/gateway/compress"
	"weir/internal/http1"
	"weir/internal/mono"
)

// decoder returns a reader of what r has in a coding.
func decoder(t interface{ Fatal(...any) }, coding string, r io.Reader) io.Reader {
	switch coding {
	case "":
		return r
	case "br":
		return brotli.NewReader(r)
	case "gzip":
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		return z
	case "zstd":
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		return z.IOReadCloser()
	}
	t.Fatal("coding " + coding)
	return nil
}

// plain is the body of an answer, decoded.
func plain(t testing.TB, resp *http.Response, body string) string {
	t.Helper()
	got, err := io.ReadAll(decoder(t, resp.Header.Get("Content-Encoding"), strings.NewReader(body)))
	if err != nil {
		t.Fatalf("%v of %s", err, resp.Header.Get("Content-Encoding"))
	}
	return string(got)
}

const text = "a text with text in it. "

// compressible answers as the query says: n bytes, in pieces, with a trailer, with fields.
func compressible(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	n, _ := strconv.Atoi(q.Get("n"))
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("ETag", `"1"`)
	w.Header().Set("Content-Digest", "x")
	w.Header().Set("Accept-Ranges", "bytes")
	for name, values := range q {
		if len(name) > 2 {
			w.Header()[http.CanonicalHeaderKey(name)] = values
		}
	}
	if !q.Has("p") && !q.Has("t") {
		w.Header().Set("Content-Length", strconv.Itoa(n))
	}
	if q.Has("t") {
		w.Header().Set("Trailer", "X-End, Content-Md5")
	}
	if s, err := strconv.Atoi(q.Get("s")); err == nil {
		w.WriteHeader(s)
	}
	body := strings.Repeat(text, n/len(text)+1)[:n]
	for body != "" && r.Method != "HEAD" {
		p := body
		if q.Has("p") {
			p = body[:min(len(body), 5000)]
		}
		io.WriteString(w, p) //nolint:errcheck // the client may go
		if q.Has("p") {
			w.(http.Flusher).Flush()
		}
		body = body[len(p):]
	}
	w.Header().Set("X-End", "yes")
	w.Header().Set("Content-Md5", "z")
}

const compressYAML = ", compress: {enabled: true}"

// TestCompress: clients get what they accept, whole, with a head that fits.
func TestCompress(t *testing.T) {
	eachPair(t, "", compressYAML, compressible, func(t *testing.T, p pair) {
		f := func(method, query, accept, coding string, n int) *http.Response {
			t.Helper()
			resp, got := p.ask(t, sent{method: method, path: "/?" + query, fields: []string{"Accept-Encoding: " + accept}})
			h := resp.Header
			if h.Get("Content-Encoding") != coding || method != "HEAD" && len(plain(t, resp, got)) != n {
				t.Errorf("%s %s for %s: %v, %d bytes", method, query, accept, h, len(got))
			}
			changed := h.Get("ETag") == `W/"1"` && h.Get("Content-Digest")+h.Get("Accept-Ranges")+h.Get("Content-Md5") == ""
			if changed != (coding != "") || coding == "" && h.Get("ETag") != `"1"` {
				t.Errorf("%s %s for %s: %v", method, query, accept, h)
			}
			if length := h.Get("Content-Length"); length != "" && coding != "" && length != strconv.Itoa(len(got)) {
				t.Errorf("%s %s for %s: Content-Length %s of %d bytes", method, query, accept, length, len(got))
			}
			if v := h.Values("Vary"); len(v) != 1 || v[0] != "Accept-Encoding" {
				t.Errorf("%s %s for %s: Vary %q", method, query, accept, v)
			}
			return resp
		}
		for _, coding := range []string{"zstd", "br", "gzip"} {
			for _, query := range []string{"n=1024", "n=3000", "n=3000&p", "n=100000", "n=100000&p", "n=600000&p", "n=600000"} {
				n, _ := strconv.Atoi(strings.TrimSuffix(query[2:], "&p"))
				f("GET", query, coding, coding, n)
			}
			f("HEAD", "n=3000", coding, coding, 0)
		}
		f("GET", "n=3000", "gzip, br;q=0.9, zstd;q=0.9", "gzip", 3000)
		f("GET", "n=3000", "deflate, *", "zstd", 3000)
		f("GET", "n=3000", "", "", 3000)
		f("GET", "n=3000", "br;q=0", "", 3000)
		f("HEAD", "n=3000", "", "", 0)
		resp := f("GET", "n=3000&t", "gzip", "gzip", 3000)
		if resp.Trailer.Get("X-End") != "yes" || resp.Trailer.Get("Content-Md5") != "" {
			t.Errorf("trailers %v", resp.Trailer)
		}
	})
}

// TestCompressNot: what must stay as it is does, to the byte and to the field.
func TestCompressNot(t *testing.T) {
	g := newGateway(t, poolYAML("", endpoint(t, "http1", compressible))+"routes: [{name: all, pool: api"+compressYAML+"}]\n")
	p := pair{&http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}, "http://" + front(t, g)}
	f := func(query, vary string, fields ...string) {
		t.Helper()
		resp, got := p.ask(t, sent{method: "GET", path: "/?" + query, fields: append(fields, "Accept-Encoding: gzip")})
		h := resp.Header
		if n := strings.Index(query, "n=3000"); n >= 0 && resp.StatusCode != 304 && resp.StatusCode != 204 && (len(got) != 3000 || h.Get("ETag") != `"1"` || h.Get("Content-Length") != "3000") {
			t.Errorf("%s: %v, %d bytes", query, h, len(got))
		}
		if e := h.Get("Content-Encoding"); e != "" && !strings.Contains(query, "encoding="+e) || strings.Join(h.Values("Vary"), "|") != vary {
			t.Errorf("%s: coding %s, Vary %q", query, e, h.Values("Vary"))
		}
	}
	f("n=1000", "")
	f("n=3000&content-type=image/png", "")
	f("n=3000&content-type=text/event-stream", "")
	f("n=3000&content-type=application/grpc%2Bjson", "")
	f("n=3000&content-encoding=br", "")
	f("n=3000&cache-control=no-transform", "")
	f("n=3000", "Accept-Encoding", "Cache-Control: max-age=0, no-transform")
	f("n=3000&s=206&content-range=bytes%200-2999/9000", "Accept-Encoding")
	f("n=3000&vary=Cookie&vary=Accept-Encoding&s=206", "Cookie, Accept-Encoding")
	f("n=3000&vary=*&s=206", "*")
	f("n=0", "")
}

// TestCompressNotModified: a 304 says what the 200 would.
func TestCompressNotModified(t *testing.T) {
	g := newGateway(t, poolYAML("", endpoint(t, "http1", compressible))+"routes: [{name: all, pool: api"+compressYAML+"}]\n")
	f := func(accept, tag string) {
		t.Helper()
		resp, _ := get(t, g, "/?n=0&s=304", "Accept-Encoding: "+accept)
		if h := resp.Header; resp.StatusCode != 304 || h.Get("ETag") != tag || h.Get("Vary") != "Accept-Encoding" || h.Get("Content-Encoding") != "" {
			t.Errorf("%s: %d %v", accept, resp.StatusCode, h)
		}
	}
	f("gzip", `W/"1"`)
	f("identity", `"1"`)
}

// TestCompressForHTTP10: who knows no chunks gets a length, or the body as it is.
func TestCompressForHTTP10(t *testing.T) {
	g := newGateway(t, poolYAML("", endpoint(t, "http1", compressible))+"routes: [{name: all, pool: api"+compressYAML+"}]\n")
	f := func(query, coding string, n int) {
		t.Helper()
		k := dial(t, g)
		fmt.Fprintf(k.c, "GET /?%s HTTP/1.0\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n", query)
		all, err := io.ReadAll(k.c)
		if err != nil {
			t.Fatal(err)
		}
		var h http1.Head
		h.Reset()
		end, fault := h.ParseResponse(all, http1.Limits{Bytes: 1 << 20, Fields: 100})
		if fault != http1.None || end == 0 || h.Chunked {
			t.Fatalf("%v: %s", fault, all[:min(len(all), 500)])
		}
		got, _ := h.Lookup("content-encoding")
		body, err := io.ReadAll(decoder(t, string(got), bytes.NewReader(all[end:])))
		if string(got) != coding || len(body) != n || err != nil || h.Length >= 0 && int(h.Length) != len(all)-end {
			t.Errorf("%s: coding %s, %d bytes, %v", query, got, len(body), err)
		}
	}
	f("n=2000", "gzip", 2000)
	f("n=100000", "", 100000)
	f("n=100000&p", "", 100000)
}

// TestCompressFlushes: each piece comes as it is sent, though the encoder would rather wait for more.
func TestCompressFlushes(t *testing.T) {
	eachPair(t, "", ", compress: {enabled: true, types: [text/event-stream], min_size: 1}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		talk(w, r)
	}, func(t *testing.T, p pair) {
		for _, coding := range []string{"zstd", "br", "gzip"} {
			out, in := io.Pipe()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			req, _ := http.NewRequestWithContext(ctx, "POST", p.url, out)
			req.Header.Set("Accept-Encoding", coding)
			go io.WriteString(in, "line 0\n") //nolint:errcheck // the read meets it
			resp, err := p.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			d := decoder(t, resp.Header.Get("Content-Encoding"), resp.Body)
			for i := range 5 {
				var line [7]byte
				if _, err := io.ReadFull(d, line[:]); err != nil || string(line[:]) != fmt.Sprintf("line %d\n", i) {
					t.Fatalf("%s: %q, %v", coding, line, err)
				}
				fmt.Fprintf(in, "line %d\n", i+1)
			}
			in.Close()
			if rest, err := io.ReadAll(d); err != nil || string(rest) != "line 5\n" || resp.Header.Get("Content-Encoding") != coding {
				t.Errorf("%s: %q, %v", coding, rest, err)
			}
			resp.Body.Close()
			cancel()
		}
	})
}

// TestCompressWithoutMemory: when as many encoders are at work as may be, answers go as they are; and what ends early gives its encoder back.
func TestCompressWithoutMemory(t *testing.T) {
	g := newGateway(t, poolYAML("", endpoint(t, "http1", compressible))+"routes: [{name: all, pool: api"+compressYAML+"}]\n")
	g.encoding.Store(128<<20 - 1000)
	resp, got := get(t, g, "/?n=3000", "Accept-Encoding: gzip")
	if resp.Header.Get("Content-Encoding") != "" || len(got) != 3000 || resp.Header.Get("Vary") != "Accept-Encoding" || resp.Header.Get("ETag") != `"1"` || g.hub.CompressSkipped("all").Value() != 1 {
		t.Errorf("%v", resp.Header)
	}
	g.encoding.Store(0)
	k := dial(t, g)
	io.WriteString(k.c, "GET /?n=90000000&p HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
	io.ReadFull(k.c, k.buf[:1000])
	if g.encoding.Load() != int64(compress.Footprint(compress.Gzip, compress.Fast)) {
		t.Errorf("%d bytes of encoders", g.encoding.Load())
	}
	k.c.Close()
	<-k.end
	nothingHeld(t, g)
}

// TestCompressCut: an answer that breaks off is seen to.
func TestCompressCut(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	body := strings.Repeat(text, 2000)
	f := func(answer string) {
		t.Helper()
		g := newGateway(t, poolYAML("    retry: {attempts: 1}\n", rawUpstream(t, answer))+"routes: [{name: all, pool: api"+compressYAML+"}]\n")
		k := dial(t, g)
		req := "GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n"
		io.WriteString(k.c, req)
		all, err := io.ReadAll(k.c)
		if !bytes.Contains(all, []byte("Content-Encoding: gzip")) || err == nil && bytes.HasSuffix(all, []byte("0\r\n\r\n")) {
			t.Errorf("%v, ends in %q", err, all[max(0, len(all)-20):])
		}
		nothingHeld(t, g)
	}
	f(head + "Content-Length: 90000\r\n\r\n" + body)
	f(head + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s", len(body)+1, body))
}

// TestStoredCompressed: the cache keeps answers as they are, and compresses them for who likes that.
func TestStoredCompressed(t *testing.T) {
	g, n := cachedOrigin(t, "match: {path: /*}, cache: {enabled: true}"+compressYAML, "", compressible)
	k := pair{&http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}, "http://" + front(t, g)}
	f := func(method, query, accept string, status int, coding, tag string, size int, fields ...string) {
		t.Helper()
		resp, got := k.ask(t, sent{method: method, path: "/?cache-control=max-age%3D60&" + query, fields: append(fields, "Accept-Encoding: "+accept)})
		h := resp.Header
		if resp.StatusCode != status || h.Get("Content-Encoding") != coding || h.Get("Etag") != tag || h.Get("Vary") != "Accept-Encoding" || n.Load() != 1 {
			t.Errorf("%s %s for %s: %d %v, asked %d times", method, query, accept, resp.StatusCode, h, n.Load())
		}
		if method != "HEAD" && len(plain(t, resp, got)) != size {
			t.Errorf("%s %s for %s: %d bytes", method, query, accept, len(got))
		}
	}
	for _, size := range []int{3000, 600000} {
		n.Store(0)
		query := fmt.Sprintf("n=%d", size)
		f("GET", query, "gzip", 200, "gzip", `W/"1"`, size)
		f("GET", query, "gzip", 200, "gzip", `W/"1"`, size)
		f("GET", query, "br", 200, "br", `W/"1"`, size)
		f("GET", query, "identity", 200, "", `"1"`, size)
		f("HEAD", query, "zstd", 200, "zstd", `W/"1"`, 0)
		f("GET", query, "zstd", 304, "", `W/"1"`, 0, `If-None-Match: W/"1"`)
		f("GET", query, "gzip", 206, "", `"1"`, 100, "Range: bytes=100-199")
	}
	nothingHeld(t, g)
}

// TestSettleSeesTheHeadThatCame: costs go by what the endpoint said, whatever of it the client gets to see.
func TestSettleSeesTheHeadThatCame(t *testing.T) {
	f := func(query, accept, field string, want int64) {
		t.Helper()
		g := newGateway(t, poolYAML("", endpoint(t, "http1", compressible))+"routes: [{name: all, pool: api"+compressYAML+"}]\n"+
			"policies: [{name: size, algorithm: fixed_window, limit: 1000000, window: 8760h, settle: \"int(response.headers['"+field+"'])\"}]\n")
		resp, got := get(t, g, "/?"+query, "Accept-Encoding: "+accept)
		settled(t, g)
		if spent := g.spent(mono.Now()); plain(t, resp, got) != strings.Repeat(text, 125) || spent != want {
			t.Errorf("%s for %s by %s: %d, want %d", query, accept, field, spent, want)
		}
	}
	f("n=3000", "identity", "content-length", 3000)
	f("n=3000", "gzip", "content-length", 3000)
	f("n=3000&p&content-digest=70", "gzip", "content-digest", 70)
	f("n=3000", "gzip", "etag", 1) // no number: what was charged before stays
}

// TestMessagesOfChangedAnswers: what a call's answer has of messages is counted as it came, whatever its route does to bodies.
func TestMessagesOfChangedAnswers(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		body := message(1000) + message(2000)
		if r.URL.Path == "/whole" {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		io.WriteString(w, body) //nolint:errcheck // the client tells
	}
	for _, route := range []string{compressYAML, answerYAML} {
		g := newGateway(t, poolYAML("", endpoint(t, "http1", h))+"routes: [{name: all, match: {path: /*}, pool: api"+route+"}]\n"+byMessages)
		p := pair{&http.Client{Transport: &http.Transport{DisableCompression: true}}, "http://" + front(t, g)}
		t.Cleanup(p.client.CloseIdleConnections)
		before := int64(0)
		for _, path := range []string{"/whole", "/pieces"} {
			for _, accept := range []string{"identity", "gzip"} {
				resp, got := p.ask(t, sent{method: "POST", path: path, body: message(5), fields: []string{"Content-Type: application/grpc", "Accept-Encoding: " + accept}})
				settled(t, g)
				now := g.spent(mono.Now())
				if plain(t, resp, got) != message(1000)+message(2000) || now-before != 201 {
					t.Errorf("%s %s for %s: %d, want 201", route, path, accept, now-before)
				}
				before = now
			}
		}
	}
}
