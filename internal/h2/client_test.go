package h2

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestClientEcho: bodies of all sizes go both ways, many at once, to our own server and to net/http's.
func TestClientEcho(t *testing.T) {
	theirs := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Trailers")
		w.WriteHeader(200)
		io.Copy(w, r.Body)
		w.Header().Set("X-Trailers", "x-sum: "+r.Trailer.Get("X-Sum"))
	}
	for name, serve := range map[string]func(t *testing.T) *Client{
		"ours": func(t *testing.T) *Client {
			server, client := pair(t)
			start(t, options(), server)
			return serveFar(t, client, clientOptions())
		},
		"net/http's": func(t *testing.T) *Client {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := &http.Server{Handler: http.HandlerFunc(theirs), Protocols: new(http.Protocols)}
			s.Protocols.SetUnencryptedHTTP2(true)
			done := make(chan struct{})
			go func() {
				defer close(done)
				s.Serve(ln)
			}()
			t.Cleanup(func() {
				s.Close()
				<-done
			})
			nc, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			return serveFar(t, nc, clientOptions())
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := serve(t)
			if err := c.Ready(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for i, size := range []int{0, 1, 1000, maxFrame, maxFrame + 1, 200_000, 1 << 20, 3 << 20} {
				k := asks(t, c, "POST", false, "trailer", "x-sum")
				body := bytes.Repeat([]byte{byte(i), 7, 9}, size)[:size]
				wg.Go(func() {
					k.WriteData(body, false)
					k.WriteTrailers([]Field{{[]byte("X-Sum"), []byte("42")}})
					k.Flush()
				})
				wg.Go(func() {
					defer k.Close()
					a, err := k.ReadHead()
					b, err2 := io.ReadAll(&readerOf{k})
					if a.Status != 200 || !bytes.Equal(b, body) || err != nil || err2 != nil {
						t.Errorf("%d: %d, %d bytes, %v %v", size, a.Status, len(b), err, err2)
					}
					if got := string(k.Trailers()); got != "x-trailers: x-sum: 42\r\n" {
						t.Errorf("%d: trailers %q", size, got)
					}
				})
			}
			wg.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.running != 0 || c.reserved != 0 || c.unheard != 0 || len(c.streams) != 0 {
				t.Errorf("%d run, %d are reserved, %d unheard, %d streams", c.running, c.reserved, c.unheard, len(c.streams))
			}
		})
	}
}

// TestAsking: what the server says about what it takes holds.
func TestAsking(t *testing.T) {
	p := newFar(t, clientOptions(), http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 2}, http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: 300})
	long := newCall(t, p.c)
	if err := long.Ask(request("GET", true, "x", strings.Repeat("x", 200))); err != ErrTooLong {
		t.Error(err)
	}
	long.Close()
	tunnel := newCall(t, p.c)
	r := request("CONNECT", false)
	r.Protocol = []byte("websocket")
	if err := tunnel.Ask(r); err != ErrNoConnect {
		t.Error(err)
	}
	tunnel.Close()
	a, b := asks(t, p.c, "GET", true), newCall(t, p.c)
	if p.c.Reserve() {
		t.Error("a third stream")
	}
	p.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1}, http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
	p.sync()
	if err := b.Ask(request("GET", true)); err != ErrNotActedOn {
		t.Errorf("a second stream: %v", err)
	}
	b.Close()
	p.say(1, true, ":status", "204")
	if got := answered(a); got != "204" {
		t.Error(got)
	}
	a.Close()
	b = newCall(t, p.c)
	if err := b.Ask(r); err != nil {
		t.Error(err)
	}
	b.Flush()
	fields := next[*http2.HeadersFrame](p.peer)
	for fields.StreamID != 3 {
		fields = next[*http2.HeadersFrame](p.peer)
	}
	b.Close()
}

// TestGoAway: streams that a server will not serve can go elsewhere, the others go on, and the connection ends behind them.
func TestGoAway(t *testing.T) {
	p := newFar(t, clientOptions())
	a, b := asks(t, p.c, "GET", true), asks(t, p.c, "GET", true)
	c := newCall(t, p.c)
	p.WriteGoAway(1, http2.ErrCodeNo, nil)
	if _, err := b.ReadHead(); err != ErrNotActedOn {
		t.Error(err)
	}
	b.Close()
	if p.c.Reserve() || p.c.Usable() {
		t.Error("it takes more")
	}
	if err := c.Ask(request("GET", true)); err != ErrNotActedOn {
		t.Error(err)
	}
	c.Close()
	p.say(1, false, ":status", "200")
	p.WriteData(1, true, []byte("hello"))
	if got := answered(a); got != "200 hello" {
		t.Error(got)
	}
	a.Close()
	if got := p.fate(99); got != "goaway NO_ERROR" {
		t.Error(got)
	}
	p = newFar(t, clientOptions())
	a = asks(t, p.c, "GET", true)
	p.WriteRSTStream(1, http2.ErrCodeRefusedStream)
	if _, err := a.ReadHead(); err != ErrNotActedOn {
		t.Errorf("refused: %v", err)
	}
	a.Close()
}

// TestRetire: a connection that is of no more use ends with its last stream, and one that was promised may still be had.
func TestRetire(t *testing.T) {
	p := newFar(t, clientOptions())
	k := newCall(t, p.c)
	p.c.Retire()
	if p.c.Reserve() {
		t.Error("it takes more")
	}
	if err := k.Ask(request("GET", true)); err != nil {
		t.Error(err)
	}
	k.Flush()
	p.say(1, true, ":status", "200")
	if got := answered(k); got != "200" {
		t.Error(got)
	}
	k.Close()
	if got := p.fate(99); got != "goaway NO_ERROR" {
		t.Error(got)
	}
	p = newFar(t, clientOptions())
	p.c.mu.Lock()
	p.c.next = lastStream
	p.c.mu.Unlock()
	if p.c.Reserve() || p.c.Usable() {
		t.Error("numbers have no end")
	}
}

// TestCancelled: a stream that was cancelled counts until the server has heard of it, and no longer; servers of gRPC are asked but once between
// what they say.
func TestCancelled(t *testing.T) {
	o := clientOptions()
	o.Streams = 2
	p := newFar(t, o)
	a, b := asks(t, p.c, "GET", true), asks(t, p.c, "POST", false)
	go a.Cancel()
	if _, err := a.ReadHead(); err != errCut {
		t.Error(err)
	}
	a.Close()
	if p.c.Reserve() {
		t.Error("a stream in place of one that the server may be busy with")
	}
	if f := next[*http2.RSTStreamFrame](p.peer); f.StreamID != 1 || f.ErrCode != http2.ErrCodeCancel {
		t.Errorf("%v", f)
	}
	ping := next[*http2.PingFrame](p.peer)
	p.say(1, false, ":status", "200")
	p.WriteData(1, true, make([]byte, 5000)) // it was under way
	p.WritePing(true, ping.Data)
	p.say(3, false, ":status", "200")
	p.sync()
	p.sync() // which is read after the connection has looked at what came before
	if b.Cancel(); !p.c.Reserve() {
		t.Error("it counts for ever")
	}
	b.Close()
	if f := next[*http2.PingFrame](p.peer); string(f.Data[:]) != resetPing { // data has come since
		t.Errorf("%v", f)
	}
}

// TestUnread: an answer that nobody reads takes a bounded part of memory, and does not hold up the others.
func TestUnread(t *testing.T) {
	p := newFar(t, clientOptions())
	a, b := asks(t, p.c, "GET", true), asks(t, p.c, "GET", true)
	piece := make([]byte, 16_000)
	fill := func(id uint32, n int) {
		for ; n > 0; n -= len(piece) {
			p.WriteData(id, false, piece[:min(n, len(piece))])
		}
	}
	p.say(1, false, ":status", "200")
	p.say(3, false, ":status", "200")
	fill(1, streamWindow)
	read := make([]byte, 100_000)
	if _, err := b.ReadHead(); err != nil {
		t.Fatal(err)
	}
	for range 200 { // more than the connection's window by far
		fill(3, 100_000)
		for n := 0; n < 100_000; {
			m, err := b.Read(read)
			if n += m; err != nil {
				t.Fatal(err)
			}
		}
	}
	p.WriteData(1, false, []byte("x"))
	p.sync()
	if _, err := a.ReadHead(); err != nil {
		t.Error(err)
	}
	n, err := io.Copy(io.Discard, &readerOf{a})
	if n != streamWindow || err != faultError(FlowControlError) {
		t.Errorf("%d bytes, %v", n, err)
	}
	a.Close()
	b.Close()
}

// TestAddData: what there is no window for is left, without waiting.
func TestAddData(t *testing.T) {
	p := newFar(t, clientOptions(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 7})
	k := asks(t, p.c, "POST", false)
	if n, err := k.AddData([]byte("0123456789"), true); n != 7 || err != nil {
		t.Error(n, err)
	}
	if n, err := k.AddData([]byte("789"), true); n != 0 || err != nil {
		t.Error(n, err)
	}
	k.Flush()
	if f := next[*http2.DataFrame](p.peer); string(f.Data()) != "0123456" || f.StreamEnded() {
		t.Errorf("%v", f)
	}
	p.WriteWindowUpdate(1, 100)
	p.sync()
	if n, err := k.AddData([]byte("789"), true); n != 3 || err != nil {
		t.Error(n, err)
	}
	k.Flush()
	if f := next[*http2.DataFrame](p.peer); string(f.Data()) != "789" || !f.StreamEnded() {
		t.Errorf("%v", f)
	}
	if _, err := k.AddData([]byte("x"), true); err != errEnded {
		t.Error(err)
	}
	k.Close()
}
