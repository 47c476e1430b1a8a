package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// manyPasses are changes of which each sees what the one before it made.
const manyPasses = `{max: 1MiB, rename: [{path: "rows[].b", to: c}, {path: "rows[].c", to: d}], set: [{path: "rows[].d", json: "1"}]}`

// rows is a document of n bytes or little less.
func rows(n int) []byte {
	return []byte(`{"rows":[{}` + strings.Repeat(`,{"b":2}`, (n-20)/8) + `]}`)
}

// TestDocumentsAreBounded: exchanges that change bodies of the longest kind hold no more memory than is left for them, and then one is refused.
func TestDocumentsAreBounded(t *testing.T) {
	if raceEnabled {
		t.Skip("counts memory")
	}
	g := newGateway(t, poolYAML("", "127.0.0.1:1")+"routes: [{name: all, match: {path: /*}, pool: api, response: {json: "+manyPasses+"}}]\n")
	d := g.snap.Load().routes[0].recode.answer
	x := &Exchange{}
	doc := rows(700 << 10)
	const room = 24 << 20
	g.documents.Store(maxDocuments - room)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var all []*recoding
	for refused := false; !refused; {
		re := &recoding{gw: g}
		all = append(all, re)
		for p := doc; len(p) > 0 && !refused; p = p[min(len(p), 32<<10):] {
			refused = !re.take(p[:min(len(p), 32<<10)], d.limit)
		}
		if v := re.change(d, x, re.plain); !refused && v.Reason != Pass {
			if refused = true; v != noRoomToChange {
				t.Fatal(v.Detail)
			}
		}
		if n := g.documents.Load(); n > maxDocuments || len(all) > room/len(doc) {
			t.Fatalf("%d bytes are counted for %d documents", n, len(all))
		}
	}
	runtime.ReadMemStats(&after)
	if took := int64(after.TotalAlloc - before.TotalAlloc); len(all) < 4 || took > 2*room {
		t.Errorf("%d bytes were allocated for %d documents", took, len(all))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if live := int64(after.HeapAlloc) - int64(before.HeapAlloc); live > room+room/16 {
		t.Errorf("%d bytes are held, there was room for %d", live, room)
	}
	for _, re := range all {
		re.release()
	}
	if n := g.documents.Load(); n != maxDocuments-room {
		t.Errorf("%d bytes too many are counted when all is over", n-(maxDocuments-room))
	}
}

// TestNoRoomNothingPasses: whatever room there is, a body is changed or refused, of a request and of an answer, fresh and stored.
func TestNoRoomNothingPasses(t *testing.T) {
	doc := rows(50 << 10)
	made := fmt.Sprintf(`{"rows":[{"d":1}%s]}`, strings.Repeat(`,{"d":1}`, (50<<10-20)/8))
	var of atomic.Pointer[Gateway]
	up := endpoint(t, "http1", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			// As it came, as it goes, and behind its head.
			if n := of.Load().documents.Load(); n < int64(len(doc)+2*len(made)) {
				t.Errorf("%d bytes are held for %d that become %d", n, len(doc), len(made))
			}
			b, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%v", string(b) == made)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", r.URL.Query().Get("cc"))
		w.Write(doc)
	})
	g := newGateway(t, poolYAML("", up)+"routes:\n  - {name: sent, match: {path: /sent}, pool: api, request: {json: "+manyPasses+"}}\n"+
		"  - {name: got, match: {path: /*}, pool: api, cache: {enabled: true}, response: {json: "+manyPasses+"}}\n")
	of.Store(g)
	p := pair{&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://" + front(t, g)}
	if _, got := p.ask(t, sent{method: "POST", path: "/sent", body: string(doc), fields: []string{asJSON}}); got != "true" {
		t.Error(got)
	}
	p.ask(t, sent{method: "GET", path: "/stored?cc=max-age=600"}) // into the cache
	nothingHeld(t, g)
	f := func(s sent, want string) {
		t.Helper()
		refused := 0
		for room := int64(1 << 10); ; room += room / 2 {
			g.documents.Add(maxDocuments - room)
			resp, got := p.ask(t, s)
			nothingHeldBeyond(t, g, maxDocuments-room)
			g.documents.Add(room - maxDocuments)
			if resp.StatusCode == 200 {
				if got != want {
					t.Errorf("%s %s: room for %d: %.100s", s.method, s.path, room, got)
				}
				break
			}
			if refused++; resp.StatusCode != 503 || !strings.Contains(got, "being changed") {
				t.Fatalf("%s %s: room for %d: %d %.100s", s.method, s.path, room, resp.StatusCode, got)
			}
		}
		if refused == 0 {
			t.Errorf("%s %s was never refused", s.method, s.path)
		}
	}
	f(sent{method: "POST", path: "/sent", body: string(doc), fields: []string{asJSON}}, "true")
	f(sent{method: "POST", path: "/sent", body: string(doc), chunked: true, fields: []string{asJSON}}, "true")
	f(sent{method: "GET", path: "/fresh?cc=no-store"}, made)
	f(sent{method: "GET", path: "/stored?cc=max-age=600"}, made)
	if bytes.Equal(doc, []byte(made)) {
		t.Error("nothing is changed here")
	}
}

// TestMirroredDocumentCounts: a long body that was changed counts for as long as its copy is under way.
func TestMirroredDocumentCounts(t *testing.T) {
	got, next := make(chan int), make(chan struct{})
	copied := endpoint(t, "http1", func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- len(b)
		<-next
	})
	up := endpoint(t, "http1", func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }) //nolint:errcheck // the length of the copy tells
	g := newGateway(t, poolYAML("", up)+"  - {name: spare, endpoints: [{address: '"+copied+"'}]}\nroutes: [{name: all, pool: api, mirror: {pool: spare, percent: 100%}, request: {json: "+manyPasses+"}}]\n")
	p := pair{&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://" + front(t, g)}
	s := sent{method: "POST", path: "/", body: string(rows(50 << 10)), fields: []string{asJSON}}
	p.ask(t, s)
	n := <-got
	nothingHeldBeyond(t, g, int64(n))
	if n <= smallBody {
		t.Errorf("a copy of %d bytes", n)
	}
	close(next)
	nothingHeld(t, g)
}
