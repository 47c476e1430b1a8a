package gateway

import (
	"io"
	"testing"

	"golang.org/x/net/http2"
)

// TestStreamAllocates holds a request by HTTP/2 that the gateway answers itself to no allocation of its own.
func TestStreamAllocates(t *testing.T) {
	once := asker(t, newGateway(t, textRoute))
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

// asker returns what asks g by HTTP/2 over and over for the same, without allocating.
func asker(t *testing.T, g *Gateway) (once func() error) {
	k := dialH2(t, g)
	k.ask(1) //nolint:errcheck // the read tells
	for {
		f, err := k.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if f.Header().Flags&1 != 0 && f.Header().StreamID == 1 {
			break
		}
	}
	head := k.request()
	frame := append([]byte{0, 0, byte(len(head)), byte(http2.FrameHeaders), byte(http2.FlagHeadersEndHeaders | http2.FlagHeadersEndStream), 0, 0, 0, 0}, head...)
	frame = append(frame, 0, 0, 4, byte(http2.FrameWindowUpdate), 0, 0, 0, 0, 0, 0, 0, 0, 5)
	id := uint32(1)
	in, have := make([]byte, 4096), 0
	return func() error {
		id += 2
		frame[5], frame[6], frame[7], frame[8] = byte(id>>24), byte(id>>16), byte(id>>8), byte(id)
		if _, err := k.c.Write(frame); err != nil {
			return err
		}
		for {
			for have >= 9 {
				size, kind, flags, stream := 9+(int(in[1])<<8|int(in[2])), http2.FrameType(in[3]), in[4], in[8]
				if have < size {
					break
				}
				have = copy(in, in[size:have])
				if (kind == http2.FrameData || kind == http2.FrameHeaders) && flags&1 != 0 && stream == byte(id) {
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
}
