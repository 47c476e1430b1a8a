package h2

import (
	"net"
	"testing"
	"time"
)

// answerer answers every request with the same, without allocating: a head, data, and trailers.
type answerer struct {
	nc     net.Conn
	answer []byte
	at     [3]int // of its frames
	in     [4096]byte
	have   int
}

func (a *answerer) run() {
	for {
		for a.have >= frameHeader {
			h := parseHeader(a.in[:])
			if a.have < frameHeader+h.length {
				break
			}
			a.have = copy(a.in[:], a.in[frameHeader+h.length:a.have])
			if !h.has(flagEndStream) || h.kind != frameData {
				continue
			}
			for _, at := range a.at {
				copy(a.answer[at+5:], []byte{byte(h.stream >> 24), byte(h.stream >> 16), byte(h.stream >> 8), byte(h.stream)})
			}
			if _, err := a.nc.Write(a.answer); err != nil {
				return
			}
		}
		n, err := a.nc.Read(a.in[a.have:])
		if err != nil {
			return
		}
		a.have += n
	}
}

// caller asks over and over for the same.
func caller(t testing.TB) (once func() error) {
	p := newFar(t, clientOptions())
	var e encoder
	e.reset()
	frame := func(b []byte, kind FrameType, flags uint8, fields ...string) []byte {
		at := len(b)
		b = appendHeader(b, 0, kind, flags, 1)
		for i := 0; i < len(fields); i += 2 {
			b = e.field(b, []byte(fields[i]), []byte(fields[i+1]))
		}
		return endHead(b, at)
	}
	answer := func() (b []byte, at [3]int) {
		b = e.status(appendHeader(nil, 0, frameHeaders, flagEndHeaders, 1), 200)
		b = endHead(e.field(b, []byte("content-type"), []byte("application/grpc")), 0)
		at[1] = len(b)
		b = append(appendHeader(b, 5, frameData, 0, 1), "hello"...)
		at[2] = len(b)
		return appendWindowUpdate(frame(b, frameHeaders, flagEndHeaders|flagEndStream, "grpc-status", "0"), 0, 5), at
	}
	k := new(Call)
	r := request("POST", false, "content-type", "application/grpc", "te", "trailers", "user-agent", "a client", "x-request-id", "0123456789")
	body, read := []byte("hello"), make([]byte, 100)
	ask := func() error {
		if !p.c.Reserve() {
			return ErrNotActedOn
		}
		k.Begin(p.c)
		if err := k.Ask(r); err != nil {
			return err
		}
		if err := k.WriteData(body, true); err != nil {
			return err
		}
		k.Flush()
		return nil
	}
	once = func() error {
		if err := ask(); err != nil {
			return err
		}
		defer k.Close()
		if _, err := k.ReadHead(); err != nil {
			return err
		}
		for {
			if _, err := k.Read(read); err != nil {
				if len(k.Trailers()) == 0 {
					return err
				}
				return nil
			}
		}
	}
	for range 2 { // what comes again is in the tables then
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		b, at := answer()
		for _, i := range at {
			copy(b[i+5:], []byte{0, 0, 0, byte(k.id)})
		}
		p.nc.Write(b)
		k.ReadHead()
		k.Close()
	}
	a := &answerer{nc: p.nc}
	a.answer, a.at = answer()
	p.nc.SetDeadline(time.Time{})
	p.sync()
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.run()
	}()
	t.Cleanup(func() {
		p.nc.Close()
		<-done
	})
	return once
}

// TestClientAllocates: a request to a server and its answer take no new memory.
func TestClientAllocates(t *testing.T) {
	once := caller(t)
	var err error
	if n := testing.AllocsPerRun(2000, func() {
		if e := once(); e != nil {
			err = e
		}
	}); n > 0 && !raced || err != nil {
		t.Errorf("%v allocations, %v", n, err)
	}
}

// BenchmarkCall is one request after the other; the server is of the same process.
func BenchmarkCall(b *testing.B) {
	once := caller(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := once(); err != nil {
			b.Fatal(err)
		}
	}
}
