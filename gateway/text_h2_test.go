package gateway

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"weir/internal/http1"
)

// TestChunker: what chunker frames, the codec reads as the same body and trailers, however either is read; and so does unframer from whole
// writes.
func TestChunker(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(rt, "body")
		var src io.Reader = bytes.NewReader(body)
		if rapid.Bool().Draw(rt, "half") {
			src = iotest.HalfReader(src)
		}
		if rapid.Bool().Draw(rt, "early") {
			src = iotest.DataErrReader(src)
		}
		c := &chunker{src: src, chunked: true, trailers: func(b []byte) []byte { return append(b, "X-Sum: 1\r\nX-Sum: 2\r\n"...) }}
		var framed bytes.Buffer
		for p := make([]byte, 4096); ; {
			n, err := c.Read(p[:rapid.SampledFrom([]int{1, 7, 100, chunkRoom, 1000, 4096}).Draw(rt, "room")])
			framed.Write(p[:n])
			if err == io.EOF {
				break
			}
			if err != nil {
				rt.Fatal(err)
			}
		}
		head := http1.Head{Chunked: true, Status: 200}
		rd := http1.NewReader(bytes.NewReader(framed.Bytes()))
		var decoder http1.Body
		decoder.Response(&head, &rd, http1.Limits{Bytes: 1000, Fields: 10}, false)
		var got []byte
		for {
			p, err := decoder.Next()
			if got = append(got, p...); err == io.EOF {
				break
			}
			if err != nil {
				rt.Fatal(err)
			}
		}
		if !bytes.Equal(got, body) || len(decoder.Trailers.Fields) != 2 {
			rt.Fatalf("%d of %d bytes, %d trailers", len(got), len(body), len(decoder.Trailers.Fields))
		}
		rd.Release()
		var u unframer
		var again []byte
		trailers := 0
		u.begin(&head, false)
		err := u.feed(framed.Bytes(), func(p []byte) error { again = append(again, p...); return nil }, func(_, _ []byte) { trailers++ })
		if err != nil || !u.done || !bytes.Equal(again, body) || trailers != 2 {
			rt.Fatalf("%v: %d bytes, %d trailers, done %v", err, len(again), trailers, u.done)
		}
	})
}

// TestUnframer: what is not framed as the gateway frames it is an error, never a guess.
func TestUnframer(t *testing.T) {
	f := func(chunked bool, length int64, in string, ok, done bool) {
		t.Helper()
		u := unframer{chunked: chunked, left: length}
		err := u.feed([]byte(in), func([]byte) error { return nil }, func(_, _ []byte) {})
		if (err == nil) != ok || u.done != done {
			t.Errorf("%q: %v, done %v", in, err, u.done)
		}
	}
	f(false, 3, "abc", true, true)
	f(false, 3, "ab", true, false)
	f(false, 3, "abcd", false, false)
	f(true, 0, "3\r\nabc\r\n", true, false)
	f(true, 0, "3\r\nabc\r\n0\r\n\r\n", true, true)
	f(true, 0, "0\r\nx-a: b\r\n\r\n", true, true)
	f(true, 0, "3\r\nab", false, false)
	f(true, 0, "3\r\nabc", false, false)
	f(true, 0, "x\r\nabc\r\n", false, false)
	f(true, 0, "3", false, false)
	f(true, 0, "0\r\n\r\nmore", false, true)
	f(true, 0, "0\r\n", false, true)
}
