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
