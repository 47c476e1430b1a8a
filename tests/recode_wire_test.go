package tests

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

const codedConfig = base + `
listeners: [{name: web, address: "@web"}, {name: safe, address: "@safe", tls: true}]
tls: {certificates: [{cert: "@cert", key: "@key"}]}
dimensions: [{name: flow, from: "header:x-flow", default: none}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes:
  - {name: paced, match: {path: "/paced/*"}, pool: up, cache: {enabled: true}, compress: {enabled: true}}
  - {name: all, pool: up, compress: {enabled: true}}
shaping: [{name: slow, routes: [paced], by: flow, download: 256KiB, burst: 16KiB}]
`

// noise is text that every coding shrinks, but not to nothing: a pace still shows.
var noise = func() string {
	r := rand.New(rand.NewPCG(1, 2))
	var words [4096]string
	for i := range words {
		words[i] = fmt.Sprintf("%08x", r.Uint32())
	}
	var b strings.Builder
	for b.Len() < 600_000 {
		b.WriteString(words[r.IntN(len(words))])
	}
	return b.String()
}()

// codedUpstream answers with as much noise as the query says: whole, or in pieces of which the second waits for next.
func codedUpstream(next <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		n, _ := strconv.Atoi(q.Get("n"))
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Cache-Control", q.Get("cc"))
		body := noise[:n]
		for q.Has("pieces") && len(body) > 5000 {
			io.WriteString(w, body[:5000])
			body = body[5000:]
			w.(http.Flusher).Flush()
			if q.Has("wait") && len(body) == n-5000 {
				<-next
			}
		}
		if !q.Has("pieces") {
			w.Header().Set("Content-Length", strconv.Itoa(n))
		}
		io.WriteString(w, body)
	}
}

// codedWay is one way for a client to ask.
type codedWay struct {
	name   string
	client *http.Client
	url    string
}

// codedWays are those by HTTP/1 and HTTP/2, in clear text and over TLS.
func codedWays(t *testing.T, w *weir) (all []codedWay) {
	for _, listener := range []string{"web", "safe"} {
		for _, h2 := range []bool{false, true} {
			p := new(http.Protocols)
			p.SetHTTP1(!h2)
			p.SetHTTP2(h2)
			p.SetUnencryptedHTTP2(h2)
			tr := &http.Transport{Protocols: p, DisableCompression: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "a.test"}}
			t.Cleanup(tr.CloseIdleConnections)
			scheme := map[string]string{"web": "http://", "safe": "https://"}[listener]
			all = append(all, codedWay{fmt.Sprintf("%s, HTTP/2 %v", scheme, h2), &http.Client{Transport: tr, Timeout: 30 * time.Second}, scheme + w.addr(listener)})
		}
	}
	return all
}

// ask sends a request and returns the answer with its head read.
func (c *codedWay) ask(path, coding, flow string) (*http.Response, error) {
	req, err := http.NewRequest("GET", c.url+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", coding)
	req.Header.Set("X-Flow", flow)
	resp, err := c.client.Do(req)
	if err == nil && (resp.StatusCode != 200 || resp.Header.Get("Content-Encoding") != coding || (resp.ProtoMajor == 2) != strings.HasSuffix(c.name, "true")) {
		err = fmt.Errorf("%s %s: %s %s %v", c.name, path, resp.Proto, resp.Status, resp.Header)
		resp.Body.Close()
	}
	return resp, err
}

func decoded(coding string, r io.Reader) (io.Reader, error) {
	switch coding {
	case "gzip":
		return gzip.NewReader(r)
	case "br":
		return brotli.NewReader(r), nil
	}
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
}

func startCoded(t *testing.T, next <-chan struct{}) (*weir, *server) {
	cert, key := newAuthority(t).issue("a", "a.test")
	up := serve(t, codedUpstream(next))
	return startWeir(t, codedConfig, map[string]string{"up": up.addr, "cert": cert, "key": key}), up
}

// TestCodedOverTLS: each coding, by HTTP/1 and HTTP/2, in clear text and over TLS: whole bodies, and pieces that go on as they come.
func TestCodedOverTLS(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	w, _ := startCoded(t, next)
	for _, way := range codedWays(t, w) {
		for _, coding := range []string{"gzip", "br", "zstd"} {
			f := func(query string, n int, after func()) {
				t.Helper()
				resp, err := way.ask(fmt.Sprintf("/?n=%d%s", n, query), coding, "")
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				r, err := decoded(coding, resp.Body)
				first := make([]byte, 5000)
				if err == nil && after != nil { // the rest is not sent before this has come
					_, err = io.ReadFull(r, first)
					after()
				} else {
					first = nil
				}
				if err != nil {
					t.Errorf("%s %s %s: %v", way.name, coding, query, err)
					return
				}
				rest, err := io.ReadAll(r)
				if got := string(first) + string(rest); err != nil || got != noise[:n] {
					t.Errorf("%s %s %s: %d bytes, %v", way.name, coding, query, len(got), err)
				}
			}
			f("", 3000, nil)
			f("", 600_000, nil)
			f("&pieces=1", 600_000, nil)
			f("&pieces=1&wait=1", 12_000, func() { next <- struct{}{} })
		}
	}
}

// TestCodedAndPaced: of a body that is compressed, a rule of bandwidth counts the bytes that are sent, whether it comes from an endpoint, whole
// or in pieces, or from the cache.
func TestCodedAndPaced(t *testing.T) {
	t.Parallel()
	w, up := startCoded(t, nil)
	ways := codedWays(t, w)
	paths := []string{"/paced/whole?n=200000", "/paced/pieces?n=200000&pieces=1", "/paced/hit?n=200000&cc=max-age=600", "/paced/long?n=600000&cc=max-age=600"}
	var sent atomic.Int64
	take := func(way *codedWay, path, coding string) error {
		began := time.Now()
		resp, err := way.ask(path, coding, way.name+path+coding)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		took := time.Since(began)
		sent.Add(int64(len(raw)))
		if err != nil {
			return err
		}
		r, err := decoded(coding, bytes.NewReader(raw))
		if err != nil {
			return err
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != noise[:len(got)] || len(raw) > len(got)*2/3 {
			err = errors.Join(err, fmt.Errorf("%d bytes of %d", len(raw), len(got)))
		}
		if least := time.Duration(float64(len(raw)-16*kib) / (256 * kib) * float64(time.Second)); took < least {
			err = errors.Join(err, fmt.Errorf("%d bytes in %v, which takes %v", len(raw), took, least))
		}
		return err
	}
	for _, path := range paths[2:] { // into the cache
		for _, way := range []*codedWay{&ways[0], &ways[2]} { // in clear text and over TLS: the port belongs to the key
			if err := take(way, path, "zstd"); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
		}
	}
	asked := up.hits.Load()
	var wg sync.WaitGroup
	for i := range ways {
		for _, coding := range []string{"gzip", "br", "zstd"} {
			for _, path := range paths {
				wg.Go(func() {
					if err := take(&ways[i], path, coding); err != nil {
						t.Errorf("%s %s %s: %v", ways[i].name, coding, path, err)
					}
				})
			}
		}
	}
	wg.Wait()
	if n := up.hits.Load() - asked; n != 2*3*4 { // what may not be kept
		t.Errorf("the endpoint was asked %d times", n)
	}
	want := fmt.Sprintf("weir_shaping_bytes_total{direction=\"download\",rule=\"slow\"} %v\n", float64(sent.Load()))
	if _, metrics := fetch(t, "GET", w.adminURL("/metrics"), ""); !strings.Contains(metrics, want) {
		i := strings.Index(metrics, "weir_shaping_bytes_total{")
		t.Errorf("want %s, got %.100s", want, metrics[max(0, i):])
	}
}
