package gateway

import (
	"io"
	"testing"

	"golang.org/x/net/http2"
)

// TestStreamAllocates holds a request by HTTP/2 that the gateway answers itself to no allocation of its own.
func TestStreamAllocates(t *testing.T) {
	k := dialH2(t, newGateway(t, textRoute))
	k.ask(1) //nolint:errcheck // the read tells
	for {
		f, err := k.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := f.(*http2.DataFrame); ok && d.StreamEnded() {
			break
		}
	}
	head := k.request()
	frame := append([]byte{0, 0, byte(len(head)), byte(http2.FrameHeaders), byte(http2.FlagHeadersEndHeaders | http2.FlagHeadersEndStream), 0, 0, 0, 0}, head...)
	id := uint32(1)
	in, have := make([]byte, 4096), 0
	once := func() error {
		id += 2
		frame[5], frame[6], frame[7], frame[8] = byte(id>>24), byte(id>>16), byte(id>>8), byte(id)
		if _, err := k.c.Write(frame); err != nil {
			return err
		}
		for {
			for have >= 9 {
				size, kind, flags := 9+(int(in[1])<<8|int(in[2])), http2.FrameType(in[3]), in[4]
				if have < size {
					break
				}
				have = copy(in, in[size:have])
				if kind == http2.FrameData && flags&1 != 0 {
					return nil
				}
				if kind == http2.FrameRSTStream || kind == http2.FrameGoAway {
					return io.ErrUnexpectedEOF
				}
			}
			n, err := k.c.Read(in[have:])
			if err != nil {
				return err
			}
			have += n
		}
	}
	var err error
	n := testing.AllocsPerRun(2000, func() {
		if e := once(); e != nil {
			err = e
		}
	})
	if n > 0 && !raceEnabled || err != nil {
		t.Errorf("%v allocations per request, %v", n, err)
	}
}
