package h2

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// quietly reads what the client says until it has answered a ping, and reports whether a stream was reset.
func (p *far) quietly() (reset bool) {
	p.t.Helper()
	p.WritePing(false, [8]byte{7})
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatal(err)
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			reset = true
		case *http2.PingFrame:
			if f.IsAck() {
				return reset
			}
		}
	}
}

// TestTrail: a stream that the server ends in a frame of its own is not reset by a call that is closed before that, and is one of those that are
// open until then.
func TestTrail(t *testing.T) {
	f := func(name, method string, want bool, head []string, body string, end func(p *far)) {
		t.Run(name, func(t *testing.T) {
			o := clientOptions()
			o.Streams = 1
			p := newFar(t, o)
			k := asks(t, p.c, method, true)
			next[*http2.HeadersFrame](p.peer)
			p.say(1, false, head...)
			if body != "" {
				p.WriteData(1, false, []byte(body))
			}
			if _, err := k.ReadHead(); err != nil {
				t.Fatal(err)
			}
			if body != "" {
				if n, err := k.Read(make([]byte, 10)); n != len(body) || err != nil {
					t.Fatal(n, err)
				}
			}
			k.Close()
			if reset := p.quietly(); reset {
				t.Fatal("it is reset at once")
			}
			if p.c.Reserve() {
				t.Error("it does not count")
			}
			end(p)
			if reset := p.quietly(); reset != want {
				t.Errorf("reset: %v", reset)
			}
			if !want && !p.c.Reserve() {
				t.Error("it counts")
			}
		})
	}
	data := func(text string) func(*far) { return func(p *far) { p.WriteData(1, true, []byte(text)) } }
	length := []string{":status", "200", "content-length", "5"}
	f("a length", "GET", false, length, "hello", data(""))
	f("trailers", "GET", false, length, "hello", func(p *far) { p.say(1, true, "a", "b") })
	f("a reset", "GET", false, length, "hello", func(p *far) { p.WriteRSTStream(1, http2.ErrCodeNo) })
	f("HEAD", "HEAD", false, length, "", data(""))
	f("no content", "GET", false, []string{":status", "204"}, "", data(""))
	f("nothing", "GET", false, []string{":status", "200", "content-length", "0"}, "", data(""))
	f("more than was announced", "GET", true, length, "hello", data("!"))
}

// TestTrailEnds: a stream that the server does not end is reset then.
func TestTrailEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPiped(t, clientOptions())
		k := asks(t, p.c, "GET", true)
		synctest.Wait()
		p.say("\x00\x00\x01\x01\x04\x00\x00\x00\x01\x89") // 204
		if _, err := k.ReadHead(); err != nil {
			t.Fatal(err)
		}
		k.Close()
		time.Sleep(trailWait - 1)
		if synctest.Wait(); p.resets.Load() > 0 {
			t.Error("it is reset early")
		}
		time.Sleep(2 * time.Nanosecond)
		if synctest.Wait(); p.resets.Load() != 1 {
			t.Error("it is not reset")
		}
		p.c.Retire()
		<-p.over
	})
}

// piped is a server over a pipe that counts what a client says.
type piped struct {
	c             *Client
	nc            net.Conn
	resets, pings atomic.Int32
	answers       atomic.Bool // pings
	over          chan struct{}
}

func newPiped(t *testing.T, o *ClientOptions) *piped {
	t.Helper()
	server, client := net.Pipe()
	p := &piped{c: NewClient(client, o), nc: server, over: make(chan struct{})}
	p.answers.Store(true)
	go func() {
		defer close(p.over)
		p.c.Serve()
	}()
	go func() {
		defer server.Close()
		io.ReadFull(server, make([]byte, len(Preface)))
		f := http2.NewFramer(server, server)
		f.WriteSettings()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *http2.RSTStreamFrame:
				p.resets.Add(1)
			case *http2.PingFrame:
				if p.pings.Add(1); p.answers.Load() {
					f.WritePing(true, frame.Data)
				}
			}
		}
	}()
	if err := p.c.Ready(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	return p
}

// say sends bytes.
func (p *piped) say(b string) { io.WriteString(p.nc, b) }
