package h2

import (
	"bytes"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"
)

// asker asks over and over for the same, without allocating.
type asker struct {
	nc   net.Conn
	ask  []byte // of stream id
	id   uint32
	in   [4096]byte
	have int
}

func newAsker(t testing.TB, o *Options) *asker {
	p := dial(t, o)
	p.ask(1, true, "user-agent", "a client of some kind", "accept", "*/*", "cookie", "a=1", "cookie", "b=2")
	if got := p.fate(1); got != "end" {
		t.Fatal(got)
	}
	p.sync()
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	fr.WriteWindowUpdate(0, 5)
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields("user-agent", "a client of some kind", "accept", "*/*", "cookie", "a=1", "cookie", "b=2"), EndHeaders: true, EndStream: true})
	return &asker{nc: p.nc, ask: b.Bytes(), id: 1}
}

// once asks, and reads until the answer ends.
func (a *asker) once() error {
	a.id += 2
	at := frameHeader + 4 + 5
	a.ask[at], a.ask[at+1], a.ask[at+2], a.ask[at+3] = byte(a.id>>24), byte(a.id>>16), byte(a.id>>8), byte(a.id)
	if _, err := a.nc.Write(a.ask); err != nil {
		return err
	}
	for {
		for a.have >= frameHeader {
			h := parseHeader(a.in[:])
			if a.have < frameHeader+h.length {
				break
			}
			a.have = copy(a.in[:], a.in[frameHeader+h.length:a.have])
			if h.kind == frameData && h.has(flagEndStream) && h.stream == a.id {
				return nil
			}
			if h.kind == frameRSTStream || h.kind == frameGoAway {
				return io.ErrUnexpectedEOF
			}
		}
		n, err := a.nc.Read(a.in[a.have:])
		if err != nil {
			return err
		}
		a.have += n
	}
}

// answering are options with an answer that costs nothing.
func answering() *Options {
	o := options()
	fields := []Field{
		{[]byte("Server"), []byte("weir")}, {[]byte("Content-Type"), []byte("text/plain")}, {[]byte("Content-Length"), []byte("5")}, {[]byte("X-Request-Id"), []byte("0123456789")},
	}
	body := []byte("hello")
	o.Handle = func(s *Stream) {
		s.WriteHead(200, fields, false)
		s.WriteData(body, true)
		s.Flush()
	}
	return o
}

// TestNoAllocations: a request and its answer take no new memory.
func TestNoAllocations(t *testing.T) {
	a := newAsker(t, answering())
	var err error
	if n := testing.AllocsPerRun(2000, func() {
		if e := a.once(); e != nil {
			err = e
		}
	}); n > 0 && !raced || err != nil {
		t.Errorf("%v allocations, %v", n, err)
	}
}

// BenchmarkRequest is one request after the other; the client is of the same process.
func BenchmarkRequest(b *testing.B) {
	a := newAsker(b, answering())
	b.ReportAllocs()
	for b.Loop() {
		if err := a.once(); err != nil {
			b.Fatal(err)
		}
	}
}
