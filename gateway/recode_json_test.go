package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// sent is a request with a body of its own framing, and its fields as NAME: VALUE.
type sent struct {
	method, path, body string
	chunked            bool
	trailer            string // NAME: VALUE
	fields             []string
}

// ask sends s, and returns the answer and its body. The transport decodes nothing.
func (p pair) ask(t testing.TB, s sent) (*http.Response, string) {
	t.Helper()
	var body io.Reader
	if s.body != "" || s.chunked {
		body = strings.NewReader(s.body)
		if s.chunked {
			body = io.MultiReader(body)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, s.method, p.url+s.path, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range s.fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Add(name, value)
	}
	if name, value, ok := strings.Cut(s.trailer, ": "); ok {
		req.Trailer = http.Header{name: {value}}
	}
	resp, err := p.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%+v: %v after %q", s, err, got)
	}
	return resp, string(got)
}

// nothingHeld checks that no exchange holds memory for changed bodies.
func nothingHeld(t testing.TB, g *Gateway) {
	t.Helper()
	nothingHeldBeyond(t, g, 0)
}

// nothingHeldBeyond is nothingHeld where a test holds some for documents itself.
func nothingHeldBeyond(t testing.TB, g *Gateway, documents int64) {
	t.Helper()
	for i := 0; g.documents.Load() != documents || g.encoding.Load() != 0; i++ {
		if i == 1000 {
			t.Fatalf("%d bytes of documents and %d of encoders are held", g.documents.Load(), g.encoding.Load())
		}
		time.Sleep(time.Millisecond) // an exchange ends a moment after its client has all of the answer
	}
}

const asJSON = "Content-Type: application/json"

const changeYAML = `, request: {json: {max: 2KiB, remove: [secret], rename: [{path: user, to: account}], set: [{path: by.path, value: "${path}"}, {path: n, json: "1"}]}}`

// TestRequestJSON: endpoints get the changed body, framed as it came, with what follows it, and not what was true of the old one.
func TestRequestJSON(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d %s %s %s", r.ContentLength, b, r.Header.Get("Content-Digest")+r.Trailer.Get("Content-Digest"), r.Trailer.Get("X-End"))
	}
	eachPair(t, "", changeYAML, h, func(t *testing.T, p pair) {
		f := func(s sent, want string) {
			t.Helper()
			s.method, s.path = "POST", "/a"
			s.fields = append(s.fields, "Content-Digest: sha-256=:x:")
			if _, got := p.ask(t, s); got != want {
				t.Errorf("%+v: %s, want %s", s, got, want)
			}
		}
		const body, want = `{"secret":1,"user":{"id":7}}`, `{"account":{"id":7},"by":{"path":"/a"},"n":1}`
		f(sent{body: body, fields: []string{asJSON}}, "45 "+want+"  ")
		f(sent{body: body, fields: []string{"Content-Type: application/problem+JSON; charset=utf-8"}}, "45 "+want+"  ")
		f(sent{body: body, chunked: true, fields: []string{asJSON}}, "-1 "+want+"  ")
		f(sent{body: body, chunked: true, trailer: "X-End: yes", fields: []string{asJSON}}, "-1 "+want+"  yes")
		f(sent{body: body, chunked: true, trailer: "Content-Digest: y", fields: []string{asJSON}}, "-1 "+want+"  ")
		f(sent{body: body, fields: []string{"Content-Type: text/plain"}}, "28 "+body+" sha-256=:x: ")
		f(sent{body: body, fields: []string{"Content-Type: text/plain", asJSON}}, "45 "+want+"  ") // a server may read the last
		f(sent{body: body, fields: []string{"Content-Type: application/grpc+json"}}, "28 "+body+" sha-256=:x: ")
		f(sent{chunked: true, fields: []string{asJSON}}, "-1  sha-256=:x: ")
	})
}

// TestRequestJSONRefused: what cannot be changed reaches no endpoint.
func TestRequestJSONRefused(t *testing.T) {
	n := new(atomic.Int64)
	g := newGateway(t, poolYAML("", endpoint(t, "http1", func(http.ResponseWriter, *http.Request) { n.Add(1) }))+"routes: [{name: all, pool: api"+changeYAML+"}]\n")
	p := pair{&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://" + front(t, g)}
	f := func(s sent, status int, why string) {
		t.Helper()
		for _, s.chunked = range []bool{false, true} {
			s.method, s.path, s.fields = "POST", "/a", append(s.fields, asJSON)
			if resp, got := p.ask(t, s); resp.StatusCode != status || !strings.Contains(got, why) || n.Load() != 0 {
				t.Errorf("%+v: %d %s; %d came through", s, resp.StatusCode, got, n.Load())
			}
		}
		nothingHeld(t, g)
	}
	f(sent{body: `{"a":`}, 400, "not a JSON document")
	f(sent{body: `{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}"}, 400, "nested too deep")
	f(sent{body: `{"a":1}`, fields: []string{"Content-Encoding: gzip"}}, 415, "Content-Encoding")
	f(sent{body: `{"a":"` + strings.Repeat("x", 2048) + `"}`}, 413, "2048 bytes")
	f(sent{body: `{"a":"` + strings.Repeat("x", 2030) + `"}`}, 413, "2048 bytes") // once changed
	g.documents.Store(maxDocuments - 3)
	if resp, got := p.ask(t, sent{method: "POST", path: "/", body: `{"a":1}`, fields: []string{asJSON}}); resp.StatusCode != 503 || !strings.Contains(got, "being changed") {
		t.Errorf("without memory: %d %s", resp.StatusCode, got)
	}
	if g.documents.Load() != maxDocuments-3 {
		t.Error("what was refused is counted")
	}
}

// TestRequestJSONAgain: a retry sends the changed body, and so does a mirror.
func TestRequestJSONAgain(t *testing.T) {
	got := make(chan string, 3)
	h := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			got <- string(b)
			w.WriteHeader(status)
		}
	}
	yaml := poolYAML("    balance: round_robin\n    retry: {budget: 100%}\n", endpoint(t, "http1", h(503)), endpoint(t, "http1", h(503))) +
		"  - {name: copy, endpoints: [{address: '" + endpoint(t, "http1", h(200)) + "'}]}\n" +
		"routes: [{name: all, pool: api, mirror: {pool: copy, percent: 100%}" + changeYAML + "}]\n"
	g := newGateway(t, yaml)
	p := pair{&http.Client{}, "http://" + front(t, g)}
	defer p.client.CloseIdleConnections()
	p.ask(t, sent{method: "PUT", path: "/a", body: `{"user":1}`, fields: []string{asJSON}})
	for range 3 {
		if b := <-got; b != `{"account":1,"by":{"path":"/a"},"n":1}` {
			t.Errorf("an endpoint got %s", b)
		}
	}
}

const answerYAML = `, response: {json: {max: 2KiB, remove: [secret], set: [{path: for, value: "${path}"}]}}`

// TestAnswerJSON: clients get the changed body, and nothing that was true of the old one; endpoints are asked for a whole one, not encoded.
func TestAnswerJSON(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range")+r.Header.Get("If-Range") != "" || r.Header.Get("Accept-Encoding") != "identity" {
			w.WriteHeader(500)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Content-Digest", "sha-256=:x:")
		w.Header().Set("Accept-Ranges", "bytes")
		const body = `{"secret":1,"a":[1, 2]}`
		switch r.URL.Path {
		case "/304":
			w.WriteHeader(304)
		case "/204":
			w.WriteHeader(204)
		case "/text":
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, body)
		case "/empty":
		case "/pieces":
			for i := range body {
				io.WriteString(w, body[i:i+1])
				w.(http.Flusher).Flush()
			}
		case "/trailers":
			w.Header().Set("Trailer", "X-End, Content-Digest")
			io.WriteString(w, body)
			w.(http.Flusher).Flush()
			w.Header().Set("X-End", "yes")
			w.Header().Set("Content-Digest", "sha-256=:y:")
		case "/error":
			w.WriteHeader(418)
			fallthrough
		default:
			io.WriteString(w, body)
		}
	}
	eachPair(t, "", answerYAML, h, func(t *testing.T, p pair) {
		f := func(method, path string, status int, body, length, tag string) *http.Response {
			t.Helper()
			resp, got := p.ask(t, sent{method: method, path: path, fields: []string{"Range: bytes=0-1", "If-Range: x", "Accept-Encoding: gzip"}})
			h := resp.Header
			if resp.StatusCode != status || got != body || length != "any" && h.Get("Content-Length") != length || h.Get("ETag") != tag {
				t.Errorf("%s %s: %d %s, %v", method, path, resp.StatusCode, got, h)
			}
			if old := h.Get("Content-Digest") + h.Get("Accept-Ranges"); (old != "") != (tag == `"1"`) {
				t.Errorf("%s %s: still says %s", method, path, old)
			}
			return resp
		}
		want := func(path string) string { return `{"a":[1, 2],"for":"` + path + `"}` }
		f("GET", "/", 200, want("/"), "22", `W/"1"`)
		f("GET", "/pieces", 200, want("/pieces"), "28", `W/"1"`)
		f("GET", "/error", 418, want("/error"), "27", `W/"1"`)
		f("HEAD", "/", 200, "", "", `W/"1"`)
		f("GET", "/304", 304, "", "", `W/"1"`)
		f("GET", "/204", 204, "", "", `"1"`)
		f("GET", "/empty", 200, "", "0", `"1"`)
		f("GET", "/text", 200, `{"secret":1,"a":[1, 2]}`, "23", `"1"`)
		resp := f("GET", "/trailers", 200, want("/trailers"), "any", `W/"1"`)
		if resp.Trailer.Get("X-End") != "yes" || resp.Trailer.Get("Content-Digest") != "" {
			t.Errorf("trailers %v", resp.Trailer)
		}
	})
}

// TestAnswerJSONEmpty: an answer with nothing to change says where it ends, however the endpoint did.
func TestAnswerJSONEmpty(t *testing.T) {
	f := func(route, framing, want string) {
		t.Helper()
		up := rawUpstream(t, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"+framing)
		g := newGateway(t, poolYAML("    retry: {attempts: 1}\n", up)+"routes: [{name: all, pool: api"+route+"}]\n")
		k := dial(t, g)
		k.c.SetDeadline(time.Now().Add(5 * time.Second)) //nolint:errcheck // its use reports it
		for range 2 {
			got := string(k.roundTrip([]byte("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), []byte(want)))
			if strings.Contains(got, "Connection: close") {
				t.Errorf("%q: %q", framing, got)
			}
		}
	}
	for _, route := range []string{answerYAML, answerYAML + ", compress: {enabled: true}"} {
		f(route, "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n")
		f(route, "Connection: close\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n")
		f(route, "Transfer-Encoding: chunked\r\n\r\n0\r\nX-End: yes\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-End: yes\r\n\r\n")
	}
	empty := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.(http.Flusher).Flush()
	}
	eachPair(t, "", answerYAML, empty, func(t *testing.T, p pair) {
		for range 2 {
			if resp, got := p.ask(t, sent{method: "GET", path: "/"}); got != "" || resp.ContentLength != 0 || resp.Close {
				t.Errorf("%q, %d bytes, %v", got, resp.ContentLength, resp.Header)
			}
		}
	})
}

// TestAnswerJSONRefused: of an answer that cannot be changed nothing is shown.
func TestAnswerJSONRefused(t *testing.T) {
	f := func(why, answer string) {
		t.Helper()
		up := rawUpstream(t, answer)
		g := newGateway(t, poolYAML("    retry: {attempts: 1}\n", up)+"routes: [{name: all, pool: api"+answerYAML+"}]\n")
		resp, got := get(t, g, "/")
		if resp.StatusCode != 502 || !strings.Contains(got, why) || strings.Contains(got, "hush") || resp.Header.Get("X-Hush") != "" {
			t.Errorf("%q: %d %s", answer, resp.StatusCode, got)
		}
		nothingHeld(t, g)
	}
	const head = "HTTP/1.1 200 OK\r\nX-Hush: 1\r\nContent-Type: application/json\r\n"
	long := `{"secret":"hush","a":"` + strings.Repeat("x", 3000) + `"}`
	f("not a JSON document", head+"Content-Length: 17\r\n\r\n{\"secret\":\"hush\",")
	f("2048 bytes", head+fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(long), long))
	f("2048 bytes", head+fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(long), long))
	f("2048 bytes", head+"Connection: close\r\n\r\n"+long)
	f("Content-Encoding", head+"Content-Encoding: gzip\r\nContent-Length: 17\r\n\r\n{\"secret\":\"hush\"}")
	f("Content-Encoding", head+"Content-Encoding: identity\r\nContent-Encoding: br\r\nContent-Length: 17\r\n\r\n{\"secret\":\"hush\"}")
	f("a part", "HTTP/1.1 206 Partial\r\nContent-Type: application/json\r\nContent-Range: bytes 0-16/30\r\nContent-Length: 17\r\n\r\n{\"secret\":\"hush\"}")
	f("did not finish", head+"Content-Length: 27\r\n\r\n{\"secret\":\"hush\"}")
	f("did not finish", head+"Transfer-Encoding: chunked\r\n\r\n11\r\n{\"secret\":\"hush\"}\r\n")
	f("not a JSON document", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\nhush")
	f("not a JSON document", "HTTP/1.1 200 OK\r\nContent-Type: text/html, application/json\r\nContent-Length: 4\r\n\r\nhush")
}

// rawUpstream sends the same bytes to everybody, and closes.
func rawUpstream(t testing.TB, answer string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			bufio.NewReader(c).ReadString('\n')            //nolint:errcheck // the client's matter
			io.WriteString(c, answer)                      //nolint:errcheck // as above
			c.(*net.TCPConn).CloseWrite()                  //nolint:errcheck // as above
			c.SetDeadline(time.Now().Add(5 * time.Second)) //nolint:errcheck // as above
			io.Copy(io.Discard, c)                         //nolint:errcheck // as above
			c.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return ln.Addr().String()
}

// TestAnswerJSONFallsBack: an answer that cannot be shown is a failed one.
func TestAnswerJSONFallsBack(t *testing.T) {
	bad := endpoint(t, "http1", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"secret":`)
	})
	good := endpoint(t, "http1", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"secret":1,"a":2}`)
	})
	g := newGateway(t, poolYAML("", bad)+"  - {name: spare, endpoints: [{address: '"+good+"'}]}\nroutes: [{name: all, pool: api, fallback: {on: [upstream_error], pool: spare}"+answerYAML+"}]\n")
	if resp, got := get(t, g, "/x"); resp.StatusCode != 200 || got != `{"a":2,"for":"/x"}` {
		t.Errorf("%d %s", resp.StatusCode, got)
	}
	nothingHeld(t, g)
}

// TestSettleSeesWhatTheEndpointSaid: a cost that clients are not shown is charged, for what is stored too.
func TestSettleSeesWhatTheEndpointSaid(t *testing.T) {
	up := endpoint(t, "http1", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "max-age=60")
		if e := r.Header.Values("Accept-Encoding"); len(e) != 1 || e[0] != "identity" {
			w.WriteHeader(500)
		}
		io.WriteString(w, `{"usage":{"tokens":7},"a":1}`)
	})
	g := newGateway(t, poolYAML("", up)+`routes: [{name: all, pool: api, response: {json: {remove: [usage]}}, cache: {enabled: true}, compress: {enabled: true, min_size: 1}}]
policies: [{name: tokens, limit: 100, window: 1h, settle: "int(response.json.usage.tokens)"}]
`)
	for i, accept := range []string{"identity", "gzip"} {
		resp, _ := get(t, g, "/", "Accept-Encoding: "+accept)
		if limit := g.LimiterStats(); resp.StatusCode != 200 || len(limit) != 1 {
			t.Fatalf("%d, %v", resp.StatusCode, limit)
		}
		want := fmt.Sprintf("\"tokens\";r=%d", 99-7*i)
		if got := resp.Header.Get("RateLimit"); !strings.HasPrefix(got, want) {
			t.Errorf("answer %d: %s, want %s", i+1, got, want)
		}
	}
}
