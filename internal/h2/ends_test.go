package h2

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestLeaving: a client that resets a stream, or leaves, ends whatever waits in it.
func TestLeaving(t *testing.T) {
	var told atomic.Int32
	why := make(chan error, 100)
	o := options()
	o.Gone = func(*Stream) { told.Add(1) }
	o.Handle = func(s *Stream) {
		if string(s.Path()) == "/read" {
			_, err := s.Read(make([]byte, 10))
			why <- err
			return
		}
		s.WriteHead(200, nil, false)
		why <- s.WriteData(make([]byte, 1<<20), true)
	}
	for _, how := range []string{"reset", "close"} {
		p := dial(t, o)
		p.ask(1, false, ":path", "/read")
		p.ask(3, true)
		next[*http2.DataFrame](p)
		if how == "reset" {
			p.WriteRSTStream(1, http2.ErrCodeCancel)
			p.WriteRSTStream(3, http2.ErrCodeCancel)
		} else {
			p.nc.Close()
		}
		for range 2 {
			if err := <-why; err != errReset && err != errConnOver {
				t.Errorf("%s: %v", how, err)
			}
		}
	}
	if n := told.Load(); n != 4 {
		t.Errorf("told %d times", n)
	}
}

// TestCuts: what others end of a stream ends at once, and the client is told.
func TestCuts(t *testing.T) {
	o := options()
	o.Handle = func(s *Stream) {
		switch string(s.Path()) {
		case "/read":
			go s.CloseRead()
			if _, err := s.Read(make([]byte, 1)); err != errCut {
				t.Error(err)
			}
			s.WriteHead(200, nil, true)
		case "/write":
			s.WriteHead(200, nil, false)
			go s.Reset()
			if err := s.WriteData(make([]byte, 1<<20), true); err != errCut {
				t.Error(err)
			}
			if s.IsGone() {
				t.Error("it was not the client")
			}
		case "/half":
			s.WriteHead(200, nil, false)
		case "/more":
			s.WriteHead(200, nil, true)
			if err := s.WriteData([]byte("x"), true); err != errEnded {
				t.Error(err)
			}
		}
	}
	p := dial(t, o)
	for i, c := range []struct{ path, want string }{{"/read", "end"}, {"/write", "reset INTERNAL_ERROR"}, {"/half", "reset INTERNAL_ERROR"}, {"/more", "end"}} {
		p.ask(uint32(2*i+1), false, ":path", c.path)
		if got := p.fate(uint32(2*i + 1)); got != c.want {
			t.Errorf("%s: %s", c.path, got)
		}
	}
	if f := next[*http2.RSTStreamFrame](p); f.ErrCode != http2.ErrCodeNo {
		t.Errorf("an answer before the request's end: %v", f.ErrCode)
	}
}

// TestStreams: no more handlers run than may, even of streams that were reset.
func TestStreams(t *testing.T) {
	var running, most atomic.Int32
	release := make(chan struct{})
	o := options()
	o.Streams = 3
	o.Handle = func(s *Stream) {
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-release
		running.Add(-1)
		s.WriteHead(200, nil, true)
	}
	p := dial(t, o)
	for id := uint32(1); id < 40; id += 2 {
		p.ask(id, true)
		p.WriteRSTStream(id, http2.ErrCodeCancel)
	}
	if got := p.fate(39); got != "reset REFUSED_STREAM" {
		t.Error(got)
	}
	close(release)
	p.sync()
	if most.Load() != 3 {
		t.Errorf("%d at once", most.Load())
	}
}

// TestSettling: a client that has as many streams open as it may can open another as soon as one is answered, whatever its handler does behind that.
func TestSettling(t *testing.T) {
	o := options()
	o.Streams = 1
	release := make(chan struct{})
	o.Handle = func(s *Stream) {
		s.WriteHead(200, nil, true)
		s.Flush()
		<-release
	}
	p := dial(t, o)
	for i, want := range []string{"end", "end", "reset REFUSED_STREAM"} {
		id := uint32(2*i + 1)
		p.ask(id, true)
		if got := p.fate(id); got != want {
			t.Errorf("stream %d: %s", id, got)
		}
	}
	p.WriteWindowUpdate(3, 1)
	p.WriteRSTStream(3, http2.ErrCodeCancel)
	p.WriteData(3, false, []byte("x"))
	if got := p.fate(3); got != "reset STREAM_CLOSED" {
		t.Errorf("data behind an exchange that is whole: %s", got)
	}
	p.ask(1, true)
	if got := p.fate(1); got != "goaway STREAM_CLOSED" {
		t.Errorf("a head behind an exchange that is whole: %s", got)
	}
	close(release)
}

// TestDrain: a client that opens streams until it hears the first GOAWAY loses none, and the connection ends behind the last.
func TestDrain(t *testing.T) {
	p := dial(t, options())
	p.ask(1, false)
	p.sync()
	p.conn.Drain()
	p.conn.Drain()
	if f := next[*http2.GoAwayFrame](p); f.LastStreamID != maxStreamID || f.ErrCode != http2.ErrCodeNo {
		t.Errorf("%v", f)
	}
	ping := next[*http2.PingFrame](p)
	p.ask(3, true) // it was under way
	p.WritePing(true, ping.Data)
	if f := next[*http2.GoAwayFrame](p); f.LastStreamID != 3 || f.ErrCode != http2.ErrCodeNo {
		t.Errorf("%v", f)
	}
	p.ask(5, true) // too late
	p.WriteData(1, true, []byte("x"))
	ended := 0
	for {
		f, err := p.ReadFrame()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.Header().StreamID == 5 {
			t.Error("stream 5 is answered")
		}
		if d, ok := f.(*http2.DataFrame); ok && d.StreamEnded() {
			ended++
		}
	}
	if ended != 1 { // that of 3 came before the GOAWAY
		t.Errorf("%d streams ended", ended)
	}
	q := dial(t, options())
	q.sync()
	q.conn.Drain() // it answers no ping
	next[*http2.GoAwayFrame](q)
	if f := next[*http2.GoAwayFrame](q); f.LastStreamID != 0 {
		t.Errorf("%v", f)
	}
}

// TestTimeouts: a connection ends that brings nothing, or only half of something.
func TestTimeouts(t *testing.T) {
	f := func(name string, idle, head time.Duration, do func(p *peer)) {
		t.Run(name, func(t *testing.T) {
			o := options()
			o.IdleTimeout, o.HeadTimeout = idle, head
			p := greetless(t, o)
			do(p)
			begin := time.Now()
			got := p.fate(99)
			if took := time.Since(begin); got != "goaway NO_ERROR" || took > 5*time.Second || took < 20*time.Millisecond {
				t.Errorf("%s after %v", got, took)
			}
		})
	}
	const short = 100 * time.Millisecond
	greet := func(p *peer) {
		io.WriteString(p.nc, Preface)
		p.WriteSettings()
	}
	f("no preface", time.Hour, short, func(p *peer) {})
	f("no settings", time.Hour, short, func(p *peer) { io.WriteString(p.nc, Preface) })
	f("no stream", short, time.Hour, greet)
	f("no other stream", short, time.Hour, func(p *peer) {
		greet(p)
		p.ask(1, true)
	})
	f("half a head", time.Hour, short, func(p *peer) {
		greet(p)
		p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields()})
	})
	f("half a frame of a head beside a stream", time.Hour, short, func(p *peer) {
		greet(p)
		p.ask(1, true, ":path", "/hang")
		p.nc.Write([]byte("\x00\x00\x50\x01\x05\x00\x00\x00\x03\x82"))
	})
}

// TestQuiet: a stream that lasts keeps its connection, and one without is let go of what it does not need.
func TestQuiet(t *testing.T) {
	o := options()
	o.IdleTimeout = 50 * time.Millisecond
	o.Handle = func(s *Stream) {
		time.Sleep(200 * time.Millisecond)
		s.WriteHead(200, nil, true)
	}
	p := dial(t, o)
	p.ask(1, true)
	if got := p.fate(1); got != "end" {
		t.Error(got)
	}
	o = options()
	p = dial(t, o)
	p.ask(1, true)
	p.fate(1)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		p.conn.mu.Lock()
		quiet, idle, out := p.conn.quiet, p.conn.idle, p.conn.out
		p.conn.mu.Unlock()
		if quiet && idle == 0 && out == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it keeps a goroutine")
		}
	}
	p.ask(3, true)
	if got := p.fate(3); got != "end" {
		t.Error(got)
	}
}

// TestDeaf: a client that reads nothing holds up its own streams alone, which can be cut, and loses its connection in the end.
func TestDeaf(t *testing.T) {
	ended := make(chan error, 10)
	o := options()
	o.Stall = 300 * time.Millisecond
	o.Handle = func(s *Stream) {
		if string(s.Path()) == "/cut" {
			time.AfterFunc(50*time.Millisecond, s.Reset)
		}
		s.WriteHead(200, nil, false)
		for {
			if err := s.WriteData(make([]byte, 1<<20), false); err != nil {
				ended <- err
				return
			}
		}
	}
	p := dial(t, o)
	p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	p.WriteWindowUpdate(0, 1<<30)
	p.ask(1, true)
	p.ask(3, true, ":path", "/cut")
	if err := <-ended; err != errCut {
		t.Error(err)
	}
	if err := <-ended; err != errConnOver {
		t.Error(err)
	}
}

// TestDeafTalker: a client that asks for answers of the connection's own and reads none loses it.
func TestDeafTalker(t *testing.T) {
	o := options()
	o.ControlFrames = 1 << 30
	server, client := net.Pipe()
	start(t, o, server)
	defer client.Close()
	client.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(client, Preface)
	fr := http2.NewFramer(client, client)
	fr.WriteSettings()
	for range 100_000 {
		if err := fr.WritePing(false, [8]byte{}); err != nil {
			if late(err) {
				t.Error("the connection goes on")
			}
			return
		}
	}
	t.Error("100,000 answers wait")
}
