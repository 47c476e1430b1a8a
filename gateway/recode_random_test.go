package gateway

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"weir/gateway/compress"
	"weir/internal/http1"
)

// TestRecodeRandom: whatever pieces an answer comes in and whatever is done to it, clients decode what the endpoint sent.
func TestRecodeRandom(t *testing.T) {
	type answer struct {
		pieces [][]byte
		flush  []bool
		sized  bool
	}
	var now atomic.Pointer[answer]
	up := endpoint(t, "http1", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		total, next := 0, now.Load()
		for _, p := range next.pieces {
			total += len(p)
		}
		if next.sized {
			w.Header().Set("Content-Length", strconv.Itoa(total))
		}
		for i, p := range next.pieces {
			w.Write(p) //nolint:errcheck // the client reads all
			if next.flush[i] {
				w.(http.Flusher).Flush()
			}
		}
	})
	g := newGateway(t, poolYAML("", up)+"routes: [{name: all, pool: api, compress: {enabled: true, min_size: 1}}]\n")
	at := "http://" + front(t, g)
	var pairs []pair
	for _, edge := range []string{"http1", "h2c"} {
		tr := &http.Transport{Protocols: protocols(edge), DisableCompression: true}
		defer tr.CloseIdleConnections()
		pairs = append(pairs, pair{&http.Client{Transport: tr}, at})
	}
	rapid.Check(t, func(rt *rapid.T) {
		next := answer{sized: rapid.Bool().Draw(rt, "sized")}
		var want []byte
		for range rapid.IntRange(0, 5).Draw(rt, "pieces") {
			p := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(rt, "piece"), rapid.IntRange(1, 2000).Draw(rt, "times"))
			next.pieces, next.flush = append(next.pieces, p), append(next.flush, rapid.Bool().Draw(rt, "flush"))
			want = append(want, p...)
		}
		now.Store(&next)
		coding := rapid.SampledFrom([]string{"zstd", "br", "gzip", "identity"}).Draw(rt, "coding")
		resp, got := rapid.SampledFrom(pairs).Draw(rt, "edge").ask(t, sent{method: "GET", path: "/", fields: []string{"Accept-Encoding: " + coding}})
		if plain(t, resp, got) != string(want) {
			rt.Fatalf("%d bytes came as %d of %v", len(want), len(got), resp.Header)
		}
	})
	nothingHeld(t, g)
}

// FuzzHeadEdit: an edited head is a head, and says of each thing one.
func FuzzHeadEdit(f *testing.F) {
	f.Add("Vary: a\r\nvary:Accept-Encoding \r\nETag: \"1\"\r\nContent-Length: 3\r\n", true, true, byte(1))
	f.Add("ETag: x\r\nEtag: W/\"\"\r\nContent-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", false, true, byte(2))
	f.Fuzz(func(t *testing.T, lines string, vary, changed bool, coding byte) {
		lim := http1.Limits{Bytes: 1 << 20, Fields: 1 << 12}
		var h http1.Head
		h.Reset()
		buf := []byte("HTTP/1.1 200 OK\r\n" + lines + "\r\n")
		if n, fault := h.ParseResponse(buf, lim); fault != http1.None || n != len(buf) {
			return
		}
		e := headEdit{vary: vary, changed: changed || coding%4 > 0, coding: compress.Coding(coding % 4)}
		x := &h1{re: &recoding{}, resp: h}
		x.Exchange.route = &entry{}
		x.editHead(&e)
		count := map[string]int{}
		for i := range x.resp.Fields {
			count[strings.ToLower(string(x.resp.Name(i)))]++
		}
		if vary && (count["vary"] != 1 || !strings.Contains(strings.ToLower(joinedFields(&x.resp, "vary")), "accept-encoding") && !strings.Contains(joinedFields(&x.resp, "vary"), "*")) {
			t.Errorf("%q became %q", lines, x.resp.Buf)
		}
		if e.changed && (x.resp.Length >= 0 || x.resp.Chunked || count["content-digest"]+count["accept-ranges"] > 0 || count["content-encoding"] > 1) {
			t.Errorf("%q became %q", lines, x.resp.Buf)
		}
		for i := range x.resp.Fields {
			if e.changed && http1.EqualFold(x.resp.Name(i), "etag") && !bytes.HasPrefix(x.resp.Value(i), []byte("W/")) {
				t.Errorf("%q became %q", lines, x.resp.Buf)
			}
		}
	})
}
