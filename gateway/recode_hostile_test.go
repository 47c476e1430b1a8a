package gateway

import (
	"io"
	"net"
	"net/http"
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
	const body = `{"a":1}`
	for _, room := range []int64{3, int64(len(body)) + 3} { // for a part of it; for it, and not for what becomes of it
		for _, chunked := range []bool{false, true} {
			g.documents.Store(maxDocuments - room)
			resp, got := p.ask(t, sent{method: "PUT", path: "/", body: body, chunked: chunked, fields: []string{asJSON}})
			if resp.StatusCode != 503 || !strings.Contains(got, "being changed") || n.Load() != 0 {
				t.Errorf("room for %d, chunked %v: %d %s; %d came through", room, chunked, resp.StatusCode, got, n.Load())
			}
		}
	}
}
