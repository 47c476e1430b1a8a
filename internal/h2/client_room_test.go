package h2

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// TestTrailersWait: trailers of many requests at once do not count as a server that does not read.
func TestTrailersWait(t *testing.T) {
	const calls = 400
	o := clientOptions()
	o.Streams = calls
	p := newFar(t, o)
	trailers := []Field{{[]byte("authorization"), []byte(strings.Repeat("x", 30_000))}}
	done := make(chan error, calls)
	var all []*Call
	for range calls {
		all = append(all, asks(t, p.c, "POST", false))
		next[*http2.HeadersFrame](p.peer)
	}
	for _, k := range all {
		defer k.Close()
		go func() {
			err := k.WriteTrailers(trailers)
			k.Flush()
			done <- err
		}()
	}
	p.WritePing(false, [8]byte{1}) // which has the connection look at what waits
	for ended := 0; ended < calls; {
		f, err := p.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			t.Fatal(f.ErrCode)
		case *http2.HeadersFrame:
			if f.StreamEnded() {
				ended++
			}
		}
	}
	for range calls {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestLargeHead: one long head behind many is refused, and no reason to end the connection.
func TestLargeHead(t *testing.T) {
	o := clientOptions()
	o.Streams = 1 << 20
	p := newFar(t, o)
	short := request("GET", true, "authorization", strings.Repeat("x", 15_000))
	long := request("GET", true, "authorization", strings.Repeat("x", 1<<20))
	asked := 0
	for {
		k := newCall(t, p.c)
		defer k.Close()
		p.c.mu.Lock()
		full := len(p.c.out) > mostHeads-64<<10
		p.c.mu.Unlock()
		if full {
			if err := k.Ask(long); err != ErrNotActedOn {
				t.Error(err)
			}
			break
		}
		if err := k.Ask(short); err != nil {
			t.Fatal(err)
		}
		asked++
	}
	p.WritePing(false, [8]byte{1}) // which has the connection look at what waits
	for range asked {
		next[*http2.HeadersFrame](p.peer)
	}
	p.sync()
	k := newCall(t, p.c)
	defer k.Close()
	if err := k.Ask(long); err != nil {
		t.Error(err)
	}
}
