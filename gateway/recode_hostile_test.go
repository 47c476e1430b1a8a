package gateway

import (
	"io"
	"net"
	"strings"
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
