package h2

import (
	"bytes"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// script is a connection that brings some bytes and takes all.
type script struct{ in bytes.Reader }

func (s *script) Read(p []byte) (int, error)     { return s.in.Read(p) }
func (*script) Write(p []byte) (int, error)      { return len(p), nil }
func (*script) Close() error                     { return nil }
func (*script) LocalAddr() net.Addr              { return nil }
func (*script) RemoteAddr() net.Addr             { return nil }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

// FuzzFrames: whatever a client sends, the connection ends with it, all handlers too, and the windows still add up.
func FuzzFrames(f *testing.F) {
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for _, s := range []string{
		"", settings,
		settings + "\x00\x00\x04\x01\x05\x00\x00\x00\x01\x83\x86\x84\x41\x00",
		settings + "\x00\x00\x05\x01\x04\x00\x00\x00\x01\x83\x86\x84\x01\x00\x00\x00\x03\x00\x01\x00\x00\x00\x01abc",
		settings + "\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82\x00\x00\x01\x09\x04\x00\x00\x00\x01\x84",
		settings + "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x7f\xff\xff\xff\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\x00\x00\x00",
		settings + "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	fr.WriteSettings()
	p := &peer{Framer: fr}
	p.enc = hpack.NewEncoder(&p.head)
	p.ask(1, false, "content-length", "3")
	p.WriteData(1, false, []byte("ab"))
	p.WriteDataPadded(1, true, []byte("c"), make([]byte, 9))
	p.ask(3, false, ":path", "/hang")
	p.trailers(3, "a", "b")
	p.WriteRSTStream(3, http2.ErrCodeCancel)
	f.Add(b.Bytes(), true)
	f.Fuzz(func(t *testing.T, sent []byte, early bool) {
		nc := &script{}
		all := append([]byte(Preface), sent...)
		already := 0
		if early {
			already = len(all) / 2
		}
		nc.in.Reset(all[already:])
		c := New(nc, all[:already], options())
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Serve()
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("it goes on")
		}
		if c.running != 0 || len(c.streams) != 0 || len(c.turns) != 0 || c.out != nil || c.idle != 0 {
			t.Fatalf("%d handlers, %d streams, %d turns, %d bytes, %d idle", c.running, len(c.streams), len(c.turns), len(c.out), c.idle)
		}
		if c.recvWindow+c.owed > connWindow || c.recvWindow < 0 || c.owed < 0 {
			t.Fatalf("window %d, owed %d", c.recvWindow, c.owed)
		}
	})
}
