package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
	"weir/internal/websocket"
	"weir/telemetry"
)

// TestMessages: however a body is cut into pieces, each of its messages counts once, when it has begun.
func TestMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b []byte
		var starts []int // ends of prefixes
		for _, n := range rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(0, 3000)), 0, 20).Draw(t, "sizes") {
			b = append(b, byte(n&1))
			b = binary.BigEndian.AppendUint32(b, uint32(n))
			starts = append(starts, len(b))
			b = append(b, make([]byte, n)...)
		}
		b = b[:rapid.IntRange(0, len(b)).Draw(t, "cut")]
		want := int64(0)
		for _, s := range starts {
			if s <= len(b) {
				want++
			}
		}
		var m oneWay
		for len(b) > 0 {
			n := rapid.IntRange(1, min(len(b), 700)).Draw(t, "piece")
			m.pass(b[:n])
			b = b[n:]
		}
		if got := m.n.Load(); got != want {
			t.Fatalf("%d messages, want %d", got, want)
		}
	})
	var m oneWay
	m.pass([]byte{0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	if m.n.Load() != 1 || m.left != 1<<32-11 {
		t.Errorf("the longest message: %d, %d left", m.n.Load(), m.left)
	}
}

const byMessages = `policies: [{name: by-message, algorithm: fixed_window, limit: 1000000, window: 8760h, cost: 10, settle: "request.messages + 100 * response.messages"}]
`

// spent is what a policy of 1000000 has charged.
func (g *Gateway) spent(now mono.Time) int64 {
	x := g.exchange(request("GET", "/"))
	x.start = now
	x.use(g.snap.Load().policies[0], true)
	return 1_000_000 - x.peek(&x.uses[0], 0).Left
}

// counting is a gateway that charges calls by their messages, before an endpoint that answers as many as their path has letters m. cost checks
// what has been charged since the last time; read is closed when the endpoint has read three messages of 7 bytes at /silent.
func counting(t *testing.T) (p pair, cost func(name string, want int64), read chan struct{}) {
	read = make(chan struct{})
	g, p := calls(t, "    retry: {attempts: 2, budget: 100%, on: [grpc-unavailable]}\n", byMessages, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		if r.URL.Path == "/failing" {
			w.Header().Set("Grpc-Status", "14")
			return
		}
		if r.URL.Path == "/silent" {
			io.ReadFull(r.Body, make([]byte, len(message(7))*3)) //nolint:errcheck // the cost tells
			close(read)
			<-r.Context().Done()
			return
		}
		if r.URL.Path == "/long" {
			io.ReadFull(r.Body, make([]byte, len(message(3))))     //nolint:errcheck // as above
			io.WriteString(w, message(4)+message(50_000)[:30_000]) //nolint:errcheck // the client tells
			c.Flush()                                              //nolint:errcheck // as above
			<-r.Context().Done()
			return
		}
		io.Copy(io.Discard, r.Body) //nolint:errcheck // as above
		for range strings.Count(r.URL.Path, "m") {
			io.WriteString(w, message(20_000)) //nolint:errcheck // as above
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	})
	before := int64(0)
	return p, func(name string, want int64) {
		t.Helper()
		settled(t, g)
		now := g.spent(mono.Now())
		if got := now - before; got != want {
			t.Errorf("%s: cost %d, want %d", name, got, want)
		}
		before = now
	}, read
}

// TestMessagesAsCost: a call costs what messages passed, however its request came; what is no call costs what was charged before.
func TestMessagesAsCost(t *testing.T) {
	p, f, _ := counting(t)
	f("nothing", 0)
	p.call(t, "/m", strings.NewReader(message(10)))
	f("unary", 101)
	p.call(t, "/", strings.NewReader(""))
	f("empty", 0)
	p.call(t, "/mmm", strings.NewReader(message(100)+message(0)+message(60_000)+message(5)))
	f("streams", 304)
	p.call(t, "/failing", strings.NewReader(message(10)))
	f("tried twice", 1)
	sized, _ := http.NewRequest("POST", p.url+"/m", bytes.NewReader([]byte(message(10)+message(11))))
	sized.Header.Set("Content-Type", "application/grpc+proto")
	resp, err := p.client.Do(sized)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body) //nolint:errcheck // the cost tells
	resp.Body.Close()
	f("of known length", 102)
	plain, _ := http.NewRequest("POST", p.url+"/m", strings.NewReader(message(10)))
	if resp, err = p.client.Do(plain); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	f("no call", 10)
	nc, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	body := message(10) + message(20)
	fmt.Fprintf(nc, "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	if resp, err = http.ReadResponse(bufio.NewReader(nc), nil); err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body) //nolint:errcheck // the cost tells
	f("by HTTP/1", 2)
}

// TestMessagesCut: who leaves pays for what passed.
func TestMessagesCut(t *testing.T) {
	p, f, read := counting(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cut, in := io.Pipe()
	ask := func(path string) (*http.Response, error) {
		req, _ := http.NewRequestWithContext(ctx, "POST", p.url+path, cut)
		req.Header.Set("Content-Type", "application/grpc")
		return p.client.Do(req)
	}
	go io.WriteString(in, message(3)) //nolint:errcheck // the cost tells
	resp, err := ask("/long")
	if err != nil {
		t.Fatal(err)
	}
	io.ReadFull(resp.Body, make([]byte, 20_000)) //nolint:errcheck // as above
	cancel()
	resp.Body.Close()
	f("left in the middle of the second answer", 201)
	ctx, cancel = context.WithCancel(t.Context())
	cut, in = io.Pipe()
	go io.WriteString(in, message(7)+message(7)+message(7)) //nolint:errcheck // as above
	go func() {
		<-read
		cancel()
	}()
	if _, err := ask("/silent"); err == nil {
		t.Error("there is an answer")
	}
	f("left before there was an answer", 3)
}

// TestSettleAsItGoes: a call that goes on pays once in a while for what has passed, and at its end no more than that in all.
func TestSettleAsItGoes(t *testing.T) {
	g := newGateway(t, "pools: [{name: api, endpoints: [{address: '127.0.0.1:1'}]}]\nroutes: [{name: all, pool: api}]\n"+byMessages)
	c := request("POST", "/")
	c.fields = map[string]string{"content-type": "application/grpc"}
	x := g.exchange(c)
	var now mono.Time
	f := func(pass int, later time.Duration, want int64) {
		t.Helper()
		for range pass {
			x.messages.out.pass([]byte(message(0)))
		}
		x.settleAsItGoes(now.Add(later))
		if got := g.spent(mono.Now()); got != want {
			t.Errorf("after %v: %d is spent, want %d", later, got, want)
		}
	}
	c.deliver = func() {
		now = mono.Now()
		f(0, 0, 10)
		f(0, 1100*time.Millisecond, 10) // nothing is given back while it goes on
		f(3, 1500*time.Millisecond, 10)
		f(0, 2200*time.Millisecond, 300)
		f(2, 2300*time.Millisecond, 300)
		f(0, 3300*time.Millisecond, 500)
		f(0, 5*time.Second, 500)
		x.messages.out.pass([]byte(message(0)))
		x.settleLimits()
	}
	g.serve(x)
	if got := g.spent(mono.Now()); got != 600 || c.done != 1 {
		t.Errorf("in the end %d is spent, want 600", got)
	}
}

// TestMessagesOfSockets: the messages of a WebSocket are charged once it has ended; those of another tunnel are not known.
func TestMessagesOfSockets(t *testing.T) {
	closed := make(chan string, 1)
	g := newGateway(t, poolYAML("", endpoint(t, "http1", echoSocket(closed)))+byMessages+"routes: [{name: all, match: {path: /*}, pool: api}]\n")
	addr := front(t, g)
	c, r := upgraded(t, addr, "/", "websocket")
	for range 3 {
		echoed(t, c, r, "hello")
	}
	io.WriteString(c, frameOf(8, "\x03\xe8", true)) //nolint:errcheck // the read tells
	io.Copy(io.Discard, r)                          //nolint:errcheck // as above
	c.Close()
	<-closed
	ended := func() bool { return g.snap.Load().pools[0].tunnels.Load() == 0 }
	eventually(t, ended)
	if got := g.spent(mono.Now()); got != 303 {
		t.Errorf("three messages each way cost %d, want 303", got)
	}
	c, r = upgraded(t, addr, "/", "other")
	echoed(t, c, r, "hello")
	c.Close()
	<-closed
	eventually(t, ended)
	if got := g.spent(mono.Now()); got != 303+10 {
		t.Errorf("and a tunnel of something else %d, want 10", got-303)
	}
}

// TestSettleSocketAsItGoes: a WebSocket pays as it goes whichever way its messages go, though the other side is silent.
func TestSettleSocketAsItGoes(t *testing.T) {
	for _, masked := range []bool{true, false} {
		g := newGateway(t, "pools: [{name: api, endpoints: [{address: '127.0.0.1:1'}]}]\nroutes: [{name: all, pool: api}]\n"+byMessages)
		c := request("GET", "/")
		x := g.exchange(c)
		want := int64(120)
		c.deliver = func() {
			x.messages.on = true
			x.messages.in.n.Store(20)
			x.messages.last = mono.Now().Add(-2 * settleEvery)
			client, a := net.Pipe()
			endpoint, b := net.Pipe()
			tun := &tunnel{gw: g, websocket: true, payer: x, client: a, endpoint: b}
			var flow telemetry.Flow
			from, to := &wire{Conn: a}, &wire{Conn: b}
			tun.in = way{t: tun, src: from, dst: to, by: &x.upload, sum: &flow, counted: &x.messages.in, frames: websocket.Frames{Masked: true}}
			tun.out = way{t: tun, src: to, dst: from, by: &x.download, sum: &flow, counted: &x.messages.out}
			w, sender, receiver := &tun.out, endpoint, client
			if masked {
				w, sender, receiver, want = &tun.in, client, endpoint, 21
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				w.run(nil)
			}()
			go func() {
				io.WriteString(sender, frameOf(2, "x", masked)) //nolint:errcheck // the cost tells
				sender.Close()
			}()
			io.Copy(io.Discard, receiver) //nolint:errcheck // as above
			<-done
			if got := g.spent(mono.Now()); got != want {
				t.Errorf("masked %v: %d is spent as it goes, want %d", masked, got, want)
			}
		}
		g.serve(x)
	}
}
