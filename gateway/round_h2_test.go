package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"weir/internal/h2"
	"weir/internal/mono"
)

// narrowEndpoint is one of HTTP/2 whose window for a body is 3 bytes. It opens it by one byte at a time as long as open says so, and answers with
// what it got, trailers too.
func narrowEndpoint(t *testing.T, open bool) (address string) {
	return eachConn(t, func(c net.Conn, _ int) {
		io.ReadFull(c, make([]byte, len(h2.Preface))) //nolint:errcheck // the next read tells
		h := &hostile{Framer: http2.NewFramer(c, c), c: c}
		h.enc = newEncoder(&h.head)
		h.ReadMetaHeaders = newDecoder()
		h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3}) //nolint:errcheck // as above
		var got strings.Builder
		answer := func(id uint32) {
			h.say(id, false, ":status", "200")
			h.WriteData(id, true, []byte(got.String())) //nolint:errcheck // the client tells
		}
		for {
			frame, err := h.ReadFrame()
			if err != nil {
				return
			}
			id := frame.Header().StreamID
			switch frame := frame.(type) {
			case *http2.MetaHeadersFrame:
				for _, f := range frame.RegularFields() {
					if f.Name == "x-a" || f.Name == "x-sum" {
						fmt.Fprintf(&got, "%s: %s;", f.Name, f.Value)
					}
				}
				if frame.StreamEnded() || !open {
					answer(id)
				}
			case *http2.DataFrame:
				if got.Write(frame.Data()); frame.StreamEnded() {
					answer(id)
				} else if open {
					h.WriteWindowUpdate(id, 1) //nolint:errcheck // as above
				}
			}
		}
	})
}

// TestNarrowEndpoint: a body for which there is no window does not hold up the answer, and goes on as there is one, with its trailers behind it.
func TestNarrowEndpoint(t *testing.T) {
	f := func(open bool, request, want string) {
		t.Helper()
		g := newGateway(t, poolYAML("    protocol: h2c\n    retry: {attempts: 1}\n    timeout: {response_header: 5s}\n", narrowEndpoint(t, open))+"routes: [{name: all, match: {path: /*}, pool: api}]\n")
		k := dial(t, g)
		if got := k.roundTrip([]byte("POST / HTTP/1.1\r\nHost: a\r\n"+request), []byte("0\r\n\r\n")); !bytes.Contains(got, []byte("\r\n"+want+"\r\n0\r\n")) {
			t.Errorf("%q: %q, want %s", request, got, want)
		}
		k.c.Close()
	}
	f(true, "Content-Length: 26\r\n\r\nabcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz")
	f(true, "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5\r\nfghij\r\n0\r\n\r\n", "abcdefghij")
	f(true, "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5\r\nfghij\r\n0\r\nX-Sum: 1\r\n\r\n", "abcdefghijx-sum: 1;")
	f(true, "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", "abcx-sum: 1;")
	f(true, "X-A: b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "x-a: b;")
	f(false, "X-A: b\r\nContent-Length: 26\r\n\r\nabcdefghijklmnopqrstuvwxyz", "x-a: b;")
}

// TestTrailersKept: what was written is the writer's again, though the rest of it waits for a window.
func TestTrailersKept(t *testing.T) {
	g := newGateway(t, poolYAML("    protocol: h2c\n", narrowEndpoint(t, true))+"routes: [{name: all, match: {path: /*}, pool: api}]\n")
	u := soleUpstream(t, g)
	for range 20 {
		c, err := u.get(mono.Now(), false, false)
		if err != nil {
			t.Fatal(err)
		}
		request := []byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\nX-Sum: 1\r\n\r\n")
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for i := range request {
			request[i] = '!'
		}
		var got []byte
		for p := make([]byte, 4096); !bytes.HasSuffix(got, []byte("0\r\n\r\n")); {
			n, err := c.Read(p)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p[:n]...)
		}
		if !bytes.Contains(got, []byte("abcdex-sum: 1;")) {
			t.Fatalf("%q", got)
		}
		u.put(c, mono.Now())
	}
}

// indexedEndpoint answers every request with the same, without a look at it and without allocating: a head, data and trailers, which are
// indices of HPACK's tables after the first time.
func indexedEndpoint(t *testing.T) (address string) {
	return eachConn(t, func(c net.Conn, _ int) {
		io.ReadFull(c, make([]byte, len(h2.Preface)))             //nolint:errcheck // the next read tells
		io.WriteString(c, "\x00\x00\x00\x04\x00\x00\x00\x00\x00") //nolint:errcheck // as above
		head, trailers := "\x88\x5f\x10application/grpc", "\x40\x0bgrpc-status\x010"
		in, out := make([]byte, 1<<15), make([]byte, 0, 200)
		frame := func(kind http2.FrameType, flags byte, id []byte, payload string) {
			out = append(out, 0, 0, byte(len(payload)), byte(kind), flags)
			out = append(append(out, id...), payload...)
		}
		for have := 0; ; {
			n, err := c.Read(in[have:])
			if err != nil {
				return
			}
			have += n
			for have >= 9 && have >= 9+int(in[1])<<8+int(in[2]) {
				size := 9 + int(in[1])<<8 + int(in[2])
				if in[3] == byte(http2.FrameHeaders) {
					out = out[:0]
					frame(http2.FrameHeaders, 4, in[5:9], head)
					frame(http2.FrameData, 0, in[5:9], "hello")
					frame(http2.FrameHeaders, 5, in[5:9], trailers)
					c.Write(out) //nolint:errcheck // the read tells
					head, trailers = "\x88\xbf", "\xbe"
				}
				have = copy(in, in[size:have])
			}
		}
	})
}

// TestRoundAllocates holds a request by HTTP/2 that an endpoint of HTTP/2 answers to no allocation of its own.
func TestRoundAllocates(t *testing.T) {
	once := asker(t, newGateway(t, poolYAML("    protocol: h2c\n", indexedEndpoint(t))+"routes: [{name: all, match: {path: /*}, pool: api}]\n"))
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
