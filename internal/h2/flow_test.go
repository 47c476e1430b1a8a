package h2

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

//lint:file-ignore SA1019 the client of the tests is x/net's

// client is x/net's.
func client(t *testing.T, o *Options) *http2.ClientConn {
	t.Helper()
	server, c := pair(t)
	start(t, o, server)
	cc, err := (&http2.Transport{AllowHTTP: true, DisableCompression: true}).NewClientConn(c)
	if err != nil {
		t.Fatal(err)
	}
	return cc
}

// TestEcho: bodies of all sizes go both ways, many at once.
func TestEcho(t *testing.T) {
	cc := client(t, options())
	var wg sync.WaitGroup
	for i, size := range []int{0, 1, 1000, maxFrame, maxFrame + 1, 200_000, 1 << 20, 3 << 20} {
		wg.Go(func() {
			body := bytes.Repeat([]byte{byte(i), 7, 9}, size)[:size]
			req, _ := http.NewRequest("POST", "http://a.example/x", struct{ io.Reader }{bytes.NewReader(body)})
			req.Trailer = http.Header{"X-Sum": {"42"}}
			resp, err := cc.RoundTrip(req)
			if err != nil {
				t.Error(err)
				return
			}
			b, err := io.ReadAll(resp.Body)
			if resp.StatusCode != 200 || !bytes.Equal(b, body) || err != nil {
				t.Errorf("%d: %d bytes, %v", size, len(b), err)
			}
			if got := resp.Trailer.Get("X-Trailers"); got != "x-sum: 42" {
				t.Errorf("%d: trailers %q", size, got)
			}
		})
	}
	wg.Wait()
}

// TestWindows: no more is sent than the client's windows allow, whatever it makes of them meanwhile.
func TestWindows(t *testing.T) {
	o := options()
	o.Handle = func(s *Stream) {
		s.WriteHead(200, nil, false)
		s.WriteData(make([]byte, 100_000), true)
		s.Flush()
	}
	p := dial(t, o)
	p.sync()
	p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
	p.sync()
	got := map[uint32]int{}
	take := func() {
		t.Helper()
		p.WritePing(false, [8]byte{9})
		for {
			f, err := p.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			switch f := f.(type) {
			case *http2.DataFrame:
				got[f.StreamID] += len(f.Data())
			case *http2.PingFrame:
				if f.Data == [8]byte{9} {
					return
				}
			}
		}
	}
	until := func(id uint32, n int) {
		t.Helper()
		for got[id] < n {
			take()
		}
		take()
		if got[id] != n {
			t.Errorf("stream %d: %d bytes, want %d", id, got[id], n)
		}
	}
	p.ask(1, true)
	until(1, 1000)
	p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 500}) // 500 below zero now
	p.WriteWindowUpdate(1, 500)
	until(1, 1000)
	p.WriteWindowUpdate(1, 7)
	until(1, 1007)
	p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 70_500}) // the connection's is the least now
	until(1, initialWindow)
	p.ask(3, true)
	take()
	if got[3] > 0 {
		t.Errorf("%d bytes beyond the connection's window", got[3])
	}
	p.WriteWindowUpdate(0, 10_000)
	for got[1]+got[3] < initialWindow+10_000 {
		take()
	}
	p.WriteWindowUpdate(0, 1<<20)
	p.WriteWindowUpdate(1, 1<<20)
	p.WriteWindowUpdate(3, 1<<20)
	until(1, 100_000)
	until(3, 100_000)
}

// TestFair: streams that share a client's window take turns.
func TestFair(t *testing.T) {
	o := options()
	var begun sync.WaitGroup
	begun.Add(4)
	body := make([]byte, 10<<20)
	o.Handle = func(s *Stream) {
		begun.Done()
		begun.Wait() // none has a start
		s.WriteHead(200, nil, false)
		s.WriteData(body, true)
	}
	p := dial(t, o)
	p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	p.sync()
	for id := uint32(1); id <= 7; id += 2 {
		p.ask(id, true)
	}
	got := map[uint32]int{}
	for total := 0; total < 8<<20; {
		n := next[*http2.DataFrame](p)
		total += len(n.Data())
		got[n.StreamID] += len(n.Data())
		p.WriteWindowUpdate(0, uint32(len(n.Data())))
	}
	for id, n := range got {
		if n < 1<<20 {
			t.Errorf("stream %d got %d of 8 MiB", id, n)
		}
	}
	if len(got) < 4 {
		t.Errorf("%d of 4 streams got something", len(got))
	}
}

// partial is a socket that takes three bytes at once, while somebody else adds some.
type partial struct {
	syscall.RawConn
	c *Conn
}

func (p partial) Write(func(uintptr) bool) error {
	p.c.rest = p.c.rest[3:]
	p.c.mu.Lock()
	p.c.out = append(p.c.roomLocked(), "ghi"...)
	p.c.mu.Unlock()
	return nil
}

// taker is a connection that remembers what was written.
type taker struct {
	script
	bytes.Buffer
}

func (t *taker) Read(p []byte) (int, error)  { return t.script.Read(p) }
func (t *taker) Write(p []byte) (int, error) { return t.Buffer.Write(p) }

// TestSentInPart: what a socket does not take at once comes before what was added meanwhile.
func TestSentInPart(t *testing.T) {
	var nc taker
	c := New(&nc, nil, options())
	c.in.raw = partial{c: c}
	c.out = append(c.roomLocked(), "abcdef"...)
	(&stream{c: &c.base}).Flush()
	c.mu.Lock()
	for c.flushing {
		c.flushed.Wait()
	}
	c.mu.Unlock()
	if got := nc.Buffer.String(); got != "defghi" {
		t.Errorf("%q behind abc", got)
	}
}

// TestFlush: what the socket does not take at once comes in its turn.
func TestFlush(t *testing.T) {
	const pieces, size = 500, 3000
	o := options()
	o.Handle = func(s *Stream) {
		s.WriteHead(200, nil, false)
		for i := range pieces {
			s.WriteData(bytes.Repeat([]byte{byte(i)}, size), i == pieces-1)
			s.Flush()
		}
	}
	p := dial(t, o)
	p.conn.nc.(*net.TCPConn).SetWriteBuffer(16 << 10)
	p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	p.WriteWindowUpdate(0, 1<<30)
	for id := uint32(1); id <= 7; id += 2 {
		p.ask(id, true)
	}
	got := map[uint32]int{}
	for whole := 0; whole < 4; {
		f := next[*http2.DataFrame](p)
		for _, b := range f.Data() {
			if n := got[f.StreamID]; b != byte(n/size) {
				t.Fatalf("stream %d: byte %d is of piece %d", f.StreamID, n, b)
			}
			got[f.StreamID]++
		}
		if f.StreamEnded() {
			whole++
		}
	}
	for id, n := range got {
		if n != pieces*size {
			t.Errorf("stream %d: %d bytes of %d", id, n, pieces*size)
		}
	}
}

// TestSlowReader: a client may send no more than a window of what nobody reads, and the rest when it is read.
func TestSlowReader(t *testing.T) {
	read := make(chan struct{})
	o := options()
	o.Handle = func(s *Stream) {
		<-read
		n, _ := io.Copy(io.Discard, s)
		s.WriteHead(200, []Field{{[]byte("x-read"), []byte{'0' + byte(n>>20)}}}, true)
		s.Flush()
	}
	cc := client(t, o)
	var sent atomic.Int64
	req, _ := http.NewRequest("POST", "http://a.example/x", io.TeeReader(io.LimitReader(zero{}, 5<<20), writer(func(p []byte) { sent.Add(int64(len(p))) })))
	done := make(chan string)
	go func() {
		resp, err := cc.RoundTrip(req)
		if err != nil {
			done <- err.Error()
			return
		}
		done <- resp.Header.Get("X-Read")
	}()
	for sent.Load() < streamWindow {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	if n := sent.Load(); n > streamWindow+64<<10 { // the client reads ahead
		t.Errorf("%d bytes were let in", n)
	}
	close(read)
	if got := <-done; got != "5" {
		t.Error(got)
	}
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { return len(p), nil }

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// TestDropped: what nobody reads any more costs no other stream its window.
func TestDropped(t *testing.T) {
	o := options()
	o.Handle = func(s *Stream) {
		if string(s.Path()) == "/cut" {
			s.CloseRead()
		}
		s.WriteHead(200, nil, true)
		s.Flush()
	}
	p := dial(t, o)
	given := 0
	go func() {
		for i := range 200 {
			id := uint32(2*i + 1)
			p.ask(id, false, ":path", []string{"/x", "/cut"}[i%2])
			p.WriteData(id, false, make([]byte, maxFrame))
			p.WriteData(id, true, make([]byte, maxFrame/2))
		}
		p.WritePing(false, [8]byte{5})
	}()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := f.(type) {
		case *http2.WindowUpdateFrame:
			if f.StreamID == 0 {
				given += int(f.Increment)
			}
		case *http2.PingFrame:
			if want := 200*maxFrame*3/2 + connWindow - initialWindow - connWindow/4; f.Data == [8]byte{5} && given < want {
				t.Errorf("%d bytes were given back, want %d", given, want)
			}
			return
		}
	}
}

// TestBothEnds: TLS and other connections that are no sockets work too.
func TestBothEnds(t *testing.T) {
	server, c := net.Pipe()
	start(t, options(), server)
	cc, err := (&http2.Transport{AllowHTTP: true}).NewClientConn(c)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	for range 3 {
		body := strings.Repeat("hello ", 10_000)
		req, _ := http.NewRequest("POST", "http://a.example/x", strings.NewReader(body))
		resp, err := cc.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); string(b) != body || err != nil {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	}
}
