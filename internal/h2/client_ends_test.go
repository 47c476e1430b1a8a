package h2

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// TestServerFloods: a server that makes work for nothing loses its connection.
func TestServerFloods(t *testing.T) {
	f := func(name string, flood func(p *far, i int) error) {
		t.Run(name, func(t *testing.T) {
			p := newFar(t, clientOptions())
			k := asks(t, p.c, "POST", false)
			over := make(chan string)
			go func() { over <- p.fate(1 << 30) }()
			p.say(1, false, ":status", "200")
			for i := range 100_000 {
				if flood(p, i) != nil {
					break
				}
			}
			if got := <-over; got != "goaway ENHANCE_YOUR_CALM" && got != "closed" {
				t.Error(got)
			}
			k.Close()
		})
	}
	f("pings", func(p *far, i int) error { return p.WritePing(false, [8]byte{byte(i)}) })
	f("answers to no ping", func(p *far, i int) error { return p.WritePing(true, [8]byte{byte(i)}) })
	f("settings", func(p *far, _ int) error { return p.WriteSettings() })
	f("priorities", func(p *far, i int) error { return p.WritePriority(1, http2.PriorityParam{Weight: 1}) })
	f("unknown frames", func(p *far, _ int) error { return p.WriteRawFrame(0xbb, 0, 0, nil) })
	f("empty data", func(p *far, _ int) error { return p.WriteData(1, false, nil) })
	f("padding", func(p *far, _ int) error { return p.WriteDataPadded(1, false, nil, []byte{0}) })
	f("windows", func(p *far, _ int) error { return p.WriteWindowUpdate(0, 1) })
	f("empty continuations", func(p *far, i int) error {
		if i == 0 {
			return p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true})
		}
		return p.WriteContinuation(1, false, nil)
	})
	f("resets of what is over", func(p *far, _ int) error { return p.WriteRSTStream(1, http2.ErrCodeCancel) })
	f("data of what is over", func(p *far, i int) error {
		if i == 0 {
			p.WriteRSTStream(1, http2.ErrCodeCancel)
		}
		return p.WriteData(1, false, []byte("x"))
	})
	f("heads of what is over", func(p *far, i int) error {
		if i == 0 {
			p.WriteRSTStream(1, http2.ErrCodeCancel)
		}
		p.say(1, false, ":status", "103")
		return p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x88}, EndHeaders: true})
	})
}

// TestLateCrumbs: data that was under way when a call was cancelled is no flood, in frames however small.
func TestLateCrumbs(t *testing.T) {
	o := clientOptions()
	o.ControlFrames = 100
	p := newFar(t, o)
	k, other := asks(t, p.c, "GET", true), asks(t, p.c, "GET", true)
	p.say(1, false, ":status", "200")
	if _, err := k.ReadHead(); err != nil {
		t.Fatal(err)
	}
	k.Close()
	for range streamWindow / 64 {
		if p.WriteData(1, false, make([]byte, 64)) != nil {
			break
		}
	}
	p.say(3, true, ":status", "200")
	if got := answered(other); got != "200" {
		t.Errorf("another call: %s", got)
	}
	other.Close()
	over := make(chan string)
	go func() { over <- p.fate(1 << 30) }()
	for range 2*lateHead + 1000 { // beyond the window
		if p.WriteRawFrame(http2.FrameData, 0, 1, []byte("x")) != nil {
			break
		}
	}
	if got := <-over; got != "goaway ENHANCE_YOUR_CALM" && got != "closed" {
		t.Error(got)
	}
}

// TestMeasuring: a server that pings for all that it gets, as gRPC's do to measure the connection, keeps it.
func TestMeasuring(t *testing.T) {
	o := clientOptions()
	o.ControlFrames = 30
	p := newFar(t, o)
	for id := uint32(1); id < 400; id += 2 {
		k := asks(t, p.c, "POST", false)
		k.WriteData([]byte("hello"), true)
		k.Flush()
		p.WritePing(false, [8]byte{1})
		p.WriteWindowUpdate(0, 5)
		p.say(id, true, ":status", "200")
		if got := answered(k); got != "200" {
			t.Fatal(id, got)
		}
		k.Close()
		for !next[*http2.PingFrame](p.peer).IsAck() {
		}
	}
}

// talker is a server over a pipe that takes and answers what it likes.
type talker struct {
	*http2.Framer
	nc net.Conn
}

// TestKeepAlive: a server is asked whether it is there when streams are open and nothing comes, more and more seldom while it only says that it is;
// and is taken for dead if it does not.
func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		o := &ClientOptions{Streams: 1, HeadBytes: 4 << 10, HeadTimeout: time.Minute, IdleTimeout: time.Hour, Quiet: 15 * time.Second, Dead: 5 * time.Second, ControlFrames: 100}
		c := NewClient(client, o)
		over := make(chan struct{})
		go func() {
			defer close(over)
			c.Serve()
		}()
		p := &talker{http2.NewFramer(server, server), server}
		pings := make(chan time.Time, 100)
		answers := 5
		go func() {
			io.ReadFull(server, make([]byte, len(Preface)))
			p.WriteSettings()
			for {
				f, err := p.ReadFrame()
				if err != nil {
					return
				}
				if f, ok := f.(*http2.PingFrame); ok {
					if pings <- time.Now(); answers > 0 {
						answers--
						p.WritePing(true, f.Data)
					}
				}
			}
		}()
		if err := c.Ready(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute) // without streams it is left alone
		k := asks(t, c, "GET", true)
		begin := time.Now()
		_, err := k.ReadHead()
		if !errors.Is(err, errDead) {
			t.Error(err)
		}
		k.Close()
		at := time.Duration(0)
		for i, wait := range []time.Duration{15 * time.Second, time.Minute, 4 * time.Minute, 6 * time.Minute, 6 * time.Minute, 6 * time.Minute} {
			if at += wait; len(pings) == 0 {
				t.Fatalf("%d pings", i)
			}
			if got := (<-pings).Sub(begin).Round(time.Second); got != at {
				t.Errorf("ping %d after %v, want %v", i+1, got, at)
			}
		}
		if took := time.Since(begin).Round(time.Second); took != at+5*time.Second {
			t.Errorf("dead after %v", took)
		}
		<-over
		server.Close()
	})
}

// TestClientTimeouts: a connection ends that is of no use, or on which a head does not end.
func TestClientTimeouts(t *testing.T) {
	const short = 50 * time.Millisecond
	o := clientOptions()
	o.IdleTimeout = short
	p := newFar(t, o)
	if got := p.fate(99); got != "goaway NO_ERROR" {
		t.Error(got)
	}
	o = clientOptions()
	o.HeadTimeout = short
	p = newFar(t, o)
	k := asks(t, p.c, "GET", true)
	p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x88}})
	if _, err := k.ReadHead(); !errors.Is(err, errLate) {
		t.Error(err)
	}
	k.Close()
}

// TestDeafServer: one that reads nothing ends the connection; until then what waits can be ended, and heads do not wait at all.
func TestDeafServer(t *testing.T) {
	o := clientOptions()
	o.Dead, o.Streams = 300*time.Millisecond, 1<<20
	p := newFar(t, o, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	p.WriteWindowUpdate(0, 1<<30)
	k, cut := asks(t, p.c, "POST", false), asks(t, p.c, "POST", false)
	time.AfterFunc(50*time.Millisecond, cut.Cancel)
	over := make(chan error)
	go func() { over <- cut.WriteData(make([]byte, 64<<20), true) }()
	err := k.WriteData(make([]byte, 64<<20), true)
	if !errors.Is(err, errConnOver) {
		t.Error(err)
	}
	if err := <-over; err != errCut {
		t.Error(err)
	}
	k.Close()
	cut.Close()
	if k := new(Call); p.c.Reserve() {
		k.Begin(p.c)
		t.Error("it takes more")
	}
}

// TestBurst: heads of many requests at once do not wait, and what waits for a server that does not read has an end.
func TestBurst(t *testing.T) {
	o := clientOptions()
	o.Streams = 1 << 20
	p := newFar(t, o)
	r := request("GET", true, "authorization", strings.Repeat("x", 4000))
	var calls []*Call
	defer func() {
		for _, k := range calls {
			k.Close()
		}
	}()
	for range 200 {
		k := newCall(t, p.c)
		if err := k.Ask(r); err != nil {
			t.Fatal(err)
		}
		calls = append(calls, k)
	}
	p.WritePing(false, [8]byte{1}) // which has the connection look at what waits
	for range calls {
		next[*http2.HeadersFrame](p.peer)
	}
	for p.c.Reserve() {
		k := new(Call)
		k.Begin(p.c)
		if err := k.Ask(r); err != nil {
			t.Fatal(err)
		}
		if calls = append(calls, k); len(calls) > 10_000 {
			t.Fatal("it has no end")
		}
	}
}

// FuzzServer: whatever a server sends, the connection ends with it, all calls too, and the windows still add up.
func FuzzServer(f *testing.F) {
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for _, s := range []string{
		"", settings,
		settings + "\x00\x00\x01\x01\x05\x00\x00\x00\x01\x88",
		settings + "\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88\x00\x00\x03\x00\x01\x00\x00\x00\x01abc",
		settings + "\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88\x00\x00\x03\x00\x00\x00\x00\x00\x01abc\x00\x00\x00\x01\x05\x00\x00\x00\x01",
		settings + "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x7f\xff\xff\xff\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\x00\x00\x00",
		settings + "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x07\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678",
		settings + "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01\x01\x05\x00\x00\x00\x01\x88",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		nc := &script{}
		nc.in.Reset(sent)
		o := clientOptions()
		c := NewClient(nc, o)
		var calls [3]Call
		for i := range calls {
			if !c.Reserve() {
				t.Fatal("no stream")
			}
			calls[i].Begin(c)
			if err := calls[i].Ask(request("POST", i == 0)); err != nil {
				t.Fatal(err)
			}
			calls[i].Flush()
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Serve()
		}()
		for i := range calls {
			answered(&calls[i])
		}
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("it goes on")
		}
		for i := range calls {
			calls[i].Close()
		}
		if c.running != 0 || c.reserved != 0 || len(c.streams) != 0 || len(c.turns) != 0 || c.out != nil {
			t.Fatalf("%d run, %d are reserved, %d streams, %d turns, %d bytes", c.running, c.reserved, len(c.streams), len(c.turns), len(c.out))
		}
		if c.recvWindow+c.owed > clientWindow || c.recvWindow < 0 || c.owed < 0 {
			t.Fatalf("window %d, owed %d", c.recvWindow, c.owed)
		}
	})
}
