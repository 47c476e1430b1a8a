package gateway

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// TestStoredJSON: the cache keeps what the endpoint said, and each client gets its own change of it.
func TestStoredJSON(t *testing.T) {
	g, n := cachedOrigin(t, "match: {path: /*}, cache: {enabled: true, key: []}, response: {json: {remove: [secret], set: [{path: for, value: '${who}'}]}}",
		"dimensions: [{name: who, from: 'header:x-who'}]\n", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			if r.URL.Path == "/old" {
				w.Header().Set("Cache-Control", "max-age=0")
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("ETag", `"1"`)
			if r.Header.Get("If-None-Match") == `"1"` {
				w.WriteHeader(304)
				return
			}
			io.WriteString(w, `{"secret":1,"a":2}`)
		})
	f := func(path, who string, asked int64, status int, want string, fields ...string) {
		t.Helper()
		resp, got := get(t, g, path, append(fields, "X-Who: "+who)...)
		if resp.StatusCode != status || got != want || n.Load() != asked || resp.Header.Get("ETag") != `W/"1"` {
			t.Errorf("%s for %s: %d %s, %v, asked %d times", path, who, resp.StatusCode, got, resp.Header, n.Load())
		}
	}
	f("/", "ann", 1, 200, `{"a":2,"for":"ann"}`)
	f("/", "bob", 1, 200, `{"a":2,"for":"bob"}`)
	f("/", "bob", 1, 200, `{"a":2,"for":"bob"}`, "Range: bytes=2-9") // of the bytes that are stored
	f("/", "bob", 1, 304, ``, `If-None-Match: W/"1"`)
	f("/old", "ann", 2, 200, `{"a":2,"for":"ann"}`)
	f("/old", "bob", 3, 200, `{"a":2,"for":"bob"}`) // validated
	nothingHeld(t, g)
}

// TestQueryOfDimensionsIsInTheKey: an answer to what was asked for one is not another's.
func TestQueryOfDimensionsIsInTheKey(t *testing.T) {
	g, n := cachedOrigin(t, "match: {path: /*}, cache: {enabled: true}, rewrite: {query: {set: [{name: who, value: '${who}'}]}}",
		"dimensions: [{name: who, from: 'header:x-who'}]\n", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			io.WriteString(w, r.URL.RawQuery)
		})
	for i, who := range []string{"ann", "bob", "ann"} {
		if _, got := get(t, g, "/", "X-Who: "+who); got != "who="+who || n.Load() != min(int64(i+1), 2) {
			t.Errorf("%s got %s, asked %d times", who, got, n.Load())
		}
	}
}

// TestRefilledJSON: an answer that is fetched behind a stale one, and cannot be changed, does not take its place.
func TestRefilledJSON(t *testing.T) {
	for name, second := range map[string]func(w http.ResponseWriter){
		"broken": func(w http.ResponseWriter) { io.WriteString(w, `{"a":`) },
		"long":   func(w http.ResponseWriter) { io.WriteString(w, `"`+strings.Repeat("x", 3000)+`"`) },
		"long, and no length": func(w http.ResponseWriter) {
			w.(http.Flusher).Flush()
			io.WriteString(w, `"`+strings.Repeat("x", 3000)+`"`)
		},
		"encoded": func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "br")
			io.WriteString(w, `{}`)
		},
		"part": func(w http.ResponseWriter) {
			w.WriteHeader(206)
			io.WriteString(w, `{}`)
		},
		"good": func(w http.ResponseWriter) { io.WriteString(w, `{"a":3}`) },
	} {
		n := new(atomic.Int64)
		g, _ := cachedOrigin(t, "match: {path: /*}, cache: {enabled: true, stale_while_revalidate: 1h}, response: {json: {max: 2KiB, remove: [secret]}}", "",
			func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if n.Add(1) == 1 {
					w.Header().Set("Cache-Control", "max-age=1")
					w.Header().Set("Age", "1")
					io.WriteString(w, `{"secret":1,"a":2}`)
					return
				}
				w.Header().Set("Cache-Control", "max-age=60")
				second(w)
			})
		f := func(want string) {
			t.Helper()
			if resp, got := get(t, g, "/"); resp.StatusCode != 200 || got != want {
				t.Errorf("%s: %d %s", name, resp.StatusCode, got)
			}
		}
		f(`{"a":2}`)
		f(`{"a":2}`)
		eventually(t, func() bool { return n.Load() == 2 && g.behind.Load() == 0 })
		if name == "good" {
			f(`{"a":3}`)
		} else {
			f(`{"a":2}`)
		}
		eventually(t, func() bool { return g.behind.Load() == 0 })
		nothingHeld(t, g)
	}
}

// TestStoredBeforeJSON: what was stored before its route changed JSON, or changed as much of it, is not looked at any more.
func TestStoredBeforeJSON(t *testing.T) {
	n := new(atomic.Int64)
	up := endpoint(t, "http1", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Content-Type", "application/json")
		if n.Add(1) == 1 {
			w.Header().Set("Content-Encoding", "br")
		}
		io.WriteString(w, `{"secret":1,"a":2}`)
	})
	yaml := func(json string) string {
		return poolYAML("", up) + "routes: [{name: all, pool: api, cache: {enabled: true}" + json + "}]\n"
	}
	g := newGateway(t, yaml(""))
	get(t, g, "/")
	f := func(json string, asked int64) {
		t.Helper()
		reload(t, g, yaml(json))
		if resp, got := get(t, g, "/"); resp.StatusCode != 200 || got != `{"a":2}` || n.Load() != asked {
			t.Errorf("%s: %d %s, asked %d times", json, resp.StatusCode, got, n.Load())
		}
	}
	f(", response: {json: {remove: [secret]}}", 2)
	f(", response: {json: {remove: [secret], set: []}}", 2)
	f(", response: {json: {remove: [secret], max: 1KiB}}", 3)
}
