package gateway

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/http1"
)

// leftMeanwhile is an endpoint's connection whose bytes come just when the client leaves.
type leftMeanwhile struct {
	net.Conn
	from   io.Reader
	client *h1conn
}

func (l leftMeanwhile) Read(p []byte) (int, error) {
	defer l.client.endWait()
	return l.from.Read(p)
}

func (l leftMeanwhile) SetReadDeadline(time.Time) error { return nil }
func (l leftMeanwhile) Close() error                    { return nil }

// TestLeftWithTheAnswerHere: a connection whose exchange was ended from outside serves no other, though its answer came whole.
func TestLeftWithTheAnswerHere(t *testing.T) {
	g := newGateway(t, poolYAML("", "127.0.0.1:1")+"routes: [{name: all, pool: api}]\n")
	route := g.snap.Load().routes[0]
	pool := route.pick(0)
	up := &upstream{pool: pool.pool}
	c := &h1conn{gw: g, number: 1}
	u := &upconn{up: up}
	u.Conn = leftMeanwhile{from: strings.NewReader("{}"), client: c}
	u.rd = http1.NewReader(&u.wire)
	x := &h1{conn: c, u: u}
	x.Exchange.route, x.conf = route, pool
	head := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
	if n, _ := x.resp.ParseResponse(head, upstreamLimits); n != len(head) {
		t.Fatal("the head is malformed")
	}
	x.answer.Response(&x.resp, &u.rd, upstreamLimits, false)
	if _, err := x.nextPiece(); err != errAborted || !x.answer.Here() {
		t.Fatalf("%v; all here: %v", err, x.answer.Here())
	}
	if x.reusable() {
		t.Error("it is reusable")
	}
	x.Discard()
	up.put(u, 1)
	if len(up.idle) > 0 {
		t.Error("it waits for another exchange")
	}
}

// TestNoRoomMidwayGoesNowhere: a body that was begun with and finds no room is in no shape to go to a fallback's pool.
func TestNoRoomMidwayGoesNowhere(t *testing.T) {
	n := new(atomic.Int64)
	spare := endpoint(t, "http1", func(http.ResponseWriter, *http.Request) { n.Add(1) })
	g := newGateway(t, poolYAML("", "127.0.0.1:1")+"  - {name: spare, endpoints: [{address: '"+spare+"'}]}\nroutes: [{name: all, pool: api, fallback: {on: [queue_full], pool: spare}"+changeYAML+"}]\n")
	p := pair{&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://" + front(t, g)}
	for _, chunked := range []bool{false, true} {
		refused := 0
		for room := int64(3); ; room += 16 + room/4 { // for a part of it; for it, and not for what becomes of it; for all but the copy that is sent
			g.documents.Store(maxDocuments - room)
			resp, got := p.ask(t, sent{method: "PUT", path: "/", body: `{"a":"` + strings.Repeat("x", 1000) + `"}`, chunked: chunked, fields: []string{asJSON}})
			if n.Load() != 0 {
				t.Fatalf("room for %d, chunked %v: %d came through", room, chunked, n.Load())
			}
			nothingHeldBeyond(t, g, maxDocuments-room)
			if !strings.Contains(got, "being changed") { // it was changed, and its pool is not there
				break
			}
			if refused++; resp.StatusCode != 503 {
				t.Fatalf("room for %d, chunked %v: %d %s", room, chunked, resp.StatusCode, got)
			}
		}
		if refused < 10 {
			t.Errorf("chunked %v: refused %d times", chunked, refused)
		}
	}
}

// TestWithheldAnswersCost: what an answer did cost is charged though the client does not get it; unless another pool's comes in its place.
func TestWithheldAnswersCost(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	bill := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch body := `{"tokens":7,"a":"` + long + `"}`; r.URL.Path {
		case "/whole":
			io.WriteString(w, `{"tokens":7}`)
		case "/part":
			w.WriteHeader(206)
			io.WriteString(w, `{"tokens":7}`)
		case "/broken":
			io.WriteString(w, body[:100])
		case "/long":
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			io.WriteString(w, body)
		case "/longer":
			io.WriteString(w, body[:50])
			w.(http.Flusher).Flush()
			io.WriteString(w, body[50:])
		}
	}
	bad, good := endpoint(t, "http1", bill), endpoint(t, "http1", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"tokens":3}`)
	})
	f := func(fallback, settle, path string, status int, left string) {
		t.Helper()
		g := newGateway(t, poolYAML("    retry: {attempts: 1}\n", bad)+"  - {name: spare, endpoints: [{address: '"+good+"'}]}\nroutes: [{name: all, pool: api"+fallback+answerYAML+"}]\n"+
			"policies: [{name: p, limit: 100, window: 1h, settle: '"+settle+"'}]\n")
		get(t, g, path)
		resp, _ := get(t, g, path, "Accept: x")
		if got := resp.Header.Get("RateLimit"); resp.StatusCode != status || !strings.HasPrefix(got, `"p";r=`+left+";") {
			t.Errorf("%s by %s: %d, %s, want %s", path, settle, resp.StatusCode, got, left)
		}
	}
	const tokens, fallback = "int(response.json.tokens)", ", fallback: {on: [upstream_error], pool: spare}"
	f("", tokens, "/whole", 200, "92")
	f("", tokens, "/long", 502, "92")
	f("", tokens, "/longer", 502, "92")
	f("", tokens, "/part", 502, "92")
	f("", tokens, "/broken", 502, "98")
	f("", "response.status == 200 ? 9 : 2", "/broken", 502, "90")
	f(fallback, tokens, "/long", 200, "96")
	f(fallback, tokens, "/broken", 200, "96")
}

// TestVaryOfRoutesThatChangeIt: what a route says of Vary takes nothing from what the gateway must say, of hits as of misses.
func TestVaryOfRoutesThatChangeIt(t *testing.T) {
	f := func(response string, vary ...string) {
		t.Helper()
		for _, caches := range []string{"false", "true"} {
			g, n := cachedOrigin(t, "cache: {enabled: "+caches+"}"+compressYAML+", response: "+response, "", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				w.Header().Set("Content-Type", "text/plain")
				w.Header().Set("Vary", "X-Old")
				io.WriteString(w, strings.Repeat(text, 200))
			})
			for range 2 {
				resp, got := get(t, g, "/", "Accept-Encoding: gzip")
				values := resp.Header.Values("Vary")
				slices.Sort(values)
				if !slices.Equal(values, vary) || resp.Header.Get("Content-Encoding") != "gzip" || plain(t, resp, got) != strings.Repeat(text, 200) {
					t.Errorf("%s, cache %s, asked %d times: %v", response, caches, n.Load(), resp.Header)
				}
			}
		}
	}
	f("{set: [{name: vary, value: Origin}]}", "Accept-Encoding", "Origin")
	f("{add: [{name: vary, value: Origin}]}", "Origin", "X-Old, Accept-Encoding")
	f("{remove: [Vary]}", "Accept-Encoding")
}
