package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/http1"
	"weir/telemetry"
)

// events is an endpoint: two events and a half, and then nothing until the client leaves.
func events(typ string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", typ)
		fmt.Fprint(w, "id: 1\ndata: a\n\ndata: b\n\ndata: c\n") //nolint:errcheck // the client tells
		http.NewResponseController(w).Flush()                   //nolint:errcheck // as above
		<-r.Context().Done()
	}
}

// TestFeedLifetime: an event stream whose time is over ends as one that the endpoint ends; anything else of no known length is cut.
func TestFeedLifetime(t *testing.T) {
	for _, typ := range []string{"text/event-stream", "text/event-stream;charset=utf-8", "text/plain"} {
		t.Run(typ, func(t *testing.T) {
			eachPair(t, "", ", stream: {max_lifetime: 100ms}", events(typ), func(t *testing.T, p pair) {
				resp := p.do(t, t.Context(), "GET", "/", nil)
				defer resp.Body.Close()
				b, err := io.ReadAll(resp.Body)
				if string(b) != "id: 1\ndata: a\n\ndata: b\n\ndata: c\n" || (err == nil) != strings.HasPrefix(typ, "text/event-stream") {
					t.Errorf("%q %v", b, err)
				}
			})
		})
	}
}

// TestFeedIdle: a route says how long there may be nothing between two pieces, instead of the pool.
func TestFeedIdle(t *testing.T) {
	slow := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 3 {
			fmt.Fprint(w, "data: a\n\n")          //nolint:errcheck // the client tells
			http.NewResponseController(w).Flush() //nolint:errcheck // as above
			time.Sleep(150 * time.Millisecond)
		}
	}
	f := func(stream string, whole bool) {
		t.Helper()
		g := newGateway(t, poolYAML("    timeout: {idle: 50ms}\n", endpoint(t, "http1", slow))+"routes: [{name: all, match: {path: /*}, pool: api"+stream+"}]\n")
		resp, err := http.Get("http://" + front(t, g))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); (err == nil) != whole || whole && len(b) != 27 {
			t.Errorf("%s: %q %v", stream, b, err)
		}
		http.DefaultClient.CloseIdleConnections()
	}
	f("", false)
	f(", stream: {idle_timeout: 5s}", true)
	f(", stream: {idle_timeout: 0s}", true)
}

// TestFeedDrain: event streams end in the second half of the time that draining has, as if the endpoint had ended them, and they are
// counted while they live.
func TestFeedDrain(t *testing.T) {
	up := endpoint(t, "http1", events("text/event-stream"))
	g := newGateway(t, poolYAML("", up)+"routes: [{name: all, match: {path: /*}, pool: api}]\n")
	p := pair{&http.Client{Transport: &http.Transport{}}, "http://" + front(t, g)}
	t.Cleanup(p.client.CloseIdleConnections)
	resp := p.do(t, t.Context(), "GET", "/", nil)
	defer resp.Body.Close()
	head := make([]byte, 30)
	if _, err := io.ReadFull(resp.Body, head); err != nil {
		t.Fatal(err)
	}
	if s := &g.hub.Route("all").EventStreams; s.Out.Bytes.Value() != 32 || s.Out.Messages.Value() != 2 {
		t.Errorf("%d bytes, %d events", s.Out.Bytes.Value(), s.Out.Messages.Value())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	begin := time.Now()
	if left := g.Drain(ctx); left != 0 || time.Since(begin) < 500*time.Millisecond || time.Since(begin) > 990*time.Millisecond {
		t.Errorf("%d left after %v", left, time.Since(begin))
	}
	if b, err := io.ReadAll(resp.Body); len(b) != 2 || err != nil {
		t.Errorf("%q %v", b, err)
	}
}

// TestFeedHold: an event stream has a seat until its end, unless its route says until its head.
func TestFeedHold(t *testing.T) {
	t.Parallel()
	f := func(hold string, seats int) {
		t.Helper()
		g := newGateway(t, poolYAML("    connections: {max: 1, queue: 0}\n", endpoint(t, "http1", events("text/event-stream")))+"routes: [{name: all, match: {path: /*}, pool: api, hold: "+hold+"}]\n")
		p := pair{&http.Client{Transport: &http.Transport{}}, "http://" + front(t, g)}
		t.Cleanup(p.client.CloseIdleConnections)
		resp := p.do(t, t.Context(), "GET", "/", nil)
		defer resp.Body.Close()
		io.ReadFull(resp.Body, make([]byte, 32)) //nolint:errcheck // what is in use tells
		if n := g.Pools()[0].InUse; n != seats {
			t.Errorf("%s: %d seats in use, want %d", hold, n, seats)
		}
	}
	f("body", 1)
	f("headers", 0)
}

// TestEvents: events are counted by the empty lines that end them, whatever ends lines and however they come in pieces.
func TestEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := ""
		for range rapid.IntRange(0, 12).Draw(t, "parts") {
			text += rapid.SampledFrom([]string{"a", "data: b", "\n", "\r\n", "\r", "\n\n", "\r\n\r\n"}).Draw(t, "part")
		}
		plain := strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
		want, lines := int64(0), strings.Split(plain, "\n")
		for i := 1; i < len(lines)-1; i++ {
			if lines[i] == "" && lines[i-1] != "" {
				want++
			}
		}
		f := feed{sum: new(telemetry.Lasting)}
		got := int64(0)
		for at := 0; at < len(text); {
			n := rapid.IntRange(1, len(text)-at).Draw(t, "piece")
			got += f.passed([]byte(text[at : at+n]))
			at += n
		}
		if got != want || f.sum.Out.Bytes.Value() != uint64(len(text)) || f.sum.Out.Messages.Value() != uint64(want) {
			t.Errorf("%q: %d events, want %d", text, got, want)
		}
	})
}

// leaving is a connection that says when it is given up.
type leaving struct {
	net.Conn
	left func()
}

func (l leaving) Close() error {
	l.left()
	return l.Conn.Close()
}

// TestFeedEndsFirst: who could tell an event stream to end cannot reach the endpoint's connection any more when that is given up, however
// that comes, and nothing of one is left in an exchange that is used again.
func TestFeedEndsFirst(t *testing.T) {
	g := newGateway(t, poolYAML("", "127.0.0.1:1")+"routes: [{name: all, pool: api}]\n")
	f := func(name string, leave func(*h1)) {
		t.Helper()
		a, b := net.Pipe()
		defer b.Close()
		x := &h1{conn: &h1conn{}, u: &upconn{up: &upstream{closed: true}}}
		x.gw = g
		fd := &feed{u: x.u, sum: &g.hub.Route("all").EventStreams}
		x.u.Conn = leaving{a, func() {
			if !fd.over || len(g.feeds) != 0 {
				t.Errorf("%s: the connection is given up before the event stream", name)
			}
		}}
		x.u.rd, x.conn.rd, x.feed = http1.NewReader(&x.u.wire), http1.NewReader(&x.conn.wire), fd
		fd.sum.Begin()
		g.enrollFeed(fd)
		leave(x)
		if !fd.over || x.feed != nil || len(g.feeds) != 0 {
			t.Errorf("%s: an event stream is left", name)
		}
	}
	f("kept", (*h1).keepUpstream)
	f("dropped", (*h1).dropUpstream)
	f("released", (*h1).release)
}

// TestFeedOnChangingRoute: an event stream is one whatever its route does to bodies, and whether or not that is done to it.
func TestFeedOnChangingRoute(t *testing.T) {
	t.Parallel()
	const want = "id: 1\ndata: a\n\ndata: b\n\ndata: c\n"
	for route, coding := range map[string]string{
		"compress: {enabled: true}": "", "compress: {enabled: true, types: ['text/*'], min_size: 1}": "gzip",
		"request: {json: {remove: [a]}}": "", "response: {json: {remove: [a]}}": "",
	} {
		t.Run(route, func(t *testing.T) {
			eachPair(t, "", ", stream: {max_lifetime: 100ms}, "+route, events("text/event-stream"), func(t *testing.T, p pair) {
				resp, b := p.ask(t, sent{method: "GET", path: "/", fields: []string{"Accept-Encoding: gzip"}})
				if got := plain(t, resp, b); got != want || resp.Header.Get("Content-Encoding") != coding {
					t.Errorf("%v %q", resp.Header, got)
				}
			})
			g := newGateway(t, poolYAML("", endpoint(t, "http1", events("text/event-stream")))+"routes: [{name: all, match: {path: /*}, pool: api, "+route+"}]\n")
			p := pair{&http.Client{Transport: &http.Transport{DisableCompression: true}}, "http://" + front(t, g)}
			t.Cleanup(p.client.CloseIdleConnections)
			drained := make(chan int)
			s := &g.hub.Route("all").EventStreams
			go func() {
				eventually(t, func() bool { return s.Out.Bytes.Value() == uint64(len(want)) && s.Out.Messages.Value() == 2 })
				ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
				defer cancel()
				drained <- g.Drain(ctx)
			}()
			resp, b := p.ask(t, sent{method: "GET", path: "/", fields: []string{"Accept-Encoding: gzip"}})
			if got := plain(t, resp, b); got != want || <-drained != 0 {
				t.Errorf("drained: %q", got)
			}
		})
	}
}
