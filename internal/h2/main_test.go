package h2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// options are those of a server that answers every request with its body, and with what became of it.
func options() *Options {
	return &Options{
		Handle: echo, Streams: 10, HeadBytes: 4 << 10, HeadList: 8 << 10, HeadTimeout: 5 * time.Second, IdleTimeout: 10 * time.Second, Stall: 10 * time.Second,
		Resets: 500, ControlFrames: 2000,
	}
}

// echo answers with the request's body, and its trailers' length.
func echo(s *Stream) {
	if string(s.Path()) == "/hang" {
		hang(s)
		return
	}
	defer s.Flush()
	if s.WriteHead(200, []Field{{[]byte("X-Path"), s.Path()}, {[]byte("x-fields"), []byte(strings.ReplaceAll(string(s.Fields()), "\r\n", "|"))}}, false) != nil {
		return
	}
	b := make([]byte, 5000)
	for {
		n, err := s.Read(b)
		if n > 0 && s.WriteData(b[:n], false) != nil {
			return
		}
		if s.Flush(); err == io.EOF {
			break
		}
		if err != nil {
			return
		}
	}
	if t := s.Trailers(); len(t) > 0 {
		s.WriteTrailers([]Field{{[]byte("X-Trailers"), []byte(strings.TrimSpace(string(t)))}}) //nolint:errcheck // the client tells
		return
	}
	s.WriteData(nil, true) //nolint:errcheck // as above
}

// pair is a connection of TCP.
func pair(t testing.TB) (server, client net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return server, client
}

// start serves a connection until the test ends.
func start(t testing.TB, o *Options, nc net.Conn) *Conn {
	t.Helper()
	c := New(nc, nil, o)
	serving(t, c, nc)
	return c
}

// serving has either end of a connection over nc served until the test ends.
func serving(t testing.TB, c interface{ Serve() (Flood, FrameType) }, nc net.Conn) {
	over := make(chan struct{})
	go func() {
		defer close(over)
		c.Serve()
	}()
	t.Cleanup(func() {
		nc.Close()
		<-over
	})
}

// peer is a client that sends what it likes.
type peer struct {
	*http2.Framer
	t    testing.TB
	nc   net.Conn
	conn *Conn
	head bytes.Buffer
	enc  *hpack.Encoder
}

// greetless starts a connection of which nothing was sent.
func greetless(t testing.TB, o *Options) *peer {
	t.Helper()
	server, client := pair(t)
	p := newPeer(t, client)
	p.conn = start(t, o, server)
	return p
}

// newPeer is what sends what it likes over nc, to a server or a client.
func newPeer(t testing.TB, nc net.Conn) *peer {
	p := &peer{Framer: http2.NewFramer(nc, nc), t: t, nc: nc}
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	p.enc = hpack.NewEncoder(&p.head)
	p.AllowIllegalWrites, p.AllowIllegalReads = true, true
	return p
}

func dial(t testing.TB, o *Options) *peer {
	t.Helper()
	p := greetless(t, o)
	io.WriteString(p.nc, Preface)
	p.WriteSettings()
	return p
}

// fields encodes a head; those of every request come first, unless one is given.
func (p *peer) fields(fields ...string) []byte {
	p.head.Reset()
	for _, f := range [...][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "a.example"}, {":path", "/x"}} {
		given := false
		for i := 0; i < len(fields); i += 2 {
			given = given || fields[i] == f[0] || fields[i] == "-"+f[0]
		}
		if !given {
			p.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
	}
	return p.only(fields...)
}

// only encodes these fields.
func (p *peer) only(fields ...string) []byte {
	for i := 0; i < len(fields); i += 2 {
		if !strings.HasPrefix(fields[i], "-") {
			p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
	}
	return bytes.Clone(p.head.Bytes())
}

// ask opens a stream.
func (p *peer) ask(id uint32, end bool, fields ...string) error {
	return p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.fields(fields...), EndHeaders: true, EndStream: end})
}

func (p *peer) trailers(id uint32, fields ...string) error {
	p.head.Reset()
	return p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.only(fields...), EndHeaders: true, EndStream: true})
}

// fate reads until a stream or the connection ends, and says how: "end", "reset CODE", "goaway CODE", "closed".
func (p *peer) fate(id uint32) string {
	p.t.Helper()
	away := ""
	for {
		f, err := p.ReadFrame()
		switch {
		case err != nil && away != "":
			return away
		case err == io.EOF || err != nil && strings.Contains(err.Error(), "reset by peer"):
			return "closed"
		case err != nil:
			p.t.Fatal(err)
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			away = fmt.Sprint("goaway ", f.ErrCode)
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return fmt.Sprint("reset ", f.ErrCode)
			}
		case *http2.DataFrame:
			if f.StreamID == id && f.StreamEnded() {
				return "end"
			}
		case *http2.HeadersFrame:
			if f.StreamID == id && f.StreamEnded() {
				return "end"
			}
		}
	}
}

// next reads on to a frame of that kind.
func next[F http2.Frame](p *peer) F {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatal(err)
		}
		if f, ok := f.(F); ok {
			return f
		}
	}
}

// sync waits until all that was sent was taken.
func (p *peer) sync() {
	p.t.Helper()
	p.WritePing(false, [8]byte{1, 2, 3})
	for {
		if f := next[*http2.PingFrame](p); f.IsAck() && f.Data == [8]byte{1, 2, 3} {
			return
		}
	}
}

func late(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}
