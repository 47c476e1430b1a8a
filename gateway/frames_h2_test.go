package gateway

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir/internal/h2"
)

// rawH2 is a client that sends what it likes.
type rawH2 struct {
	*http2.Framer
	t    *testing.T
	c    net.Conn
	head bytes.Buffer
	enc  *hpack.Encoder
}

// dialH2 opens a connection to g with the preface and empty settings sent.
func dialH2(t *testing.T, g *Gateway) *rawH2 {
	t.Helper()
	c, err := net.Dial("tcp", front(t, g))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	k := &rawH2{Framer: http2.NewFramer(c, c), t: t, c: c}
	k.enc = hpack.NewEncoder(&k.head)
	io.WriteString(c, h2.Preface) //nolint:errcheck // the next read tells
	k.WriteSettings()             //nolint:errcheck // as above
	return k
}

// request encodes a head.
func (k *rawH2) request(fields ...string) []byte {
	k.head.Reset()
	all := append([]string{":method", "GET", ":scheme", "http", ":authority", "a.example", ":path", "/text"}, fields...)
	for i := 0; i < len(all); i += 2 {
		k.enc.WriteField(hpack.HeaderField{Name: all[i], Value: all[i+1]}) //nolint:errcheck // a buffer takes everything
	}
	return k.head.Bytes()
}

// ask opens a stream.
func (k *rawH2) ask(id uint32) error {
	return k.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: k.request(), EndHeaders: true, EndStream: true})
}

// ended reads until the connection ends, and returns the code of the last GOAWAY, if one came.
func (k *rawH2) ended() (code http2.ErrCode, told bool) {
	for {
		f, err := k.ReadFrame()
		if err != nil {
			if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
				k.t.Error("the connection goes on")
			}
			return code, told
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			code, told = g.ErrCode, true
		}
	}
}

const textRoute = "routes: [{name: text, match: {path: /text}, respond: {status: 203, body: hello}}]\n"

// TestFloods: a client that makes work for nothing loses its connection, and is told why if it reads.
func TestFloods(t *testing.T) {
	up := endpoint(t, "http1", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	f := func(name string, flood func(k *rawH2, i int) error) {
		t.Helper()
		k := dialH2(t, newGateway(t, poolYAML("", up)+"routes: [{name: all, match: {path: /*}, pool: api}]\n"))
		read := make(chan struct{})
		var code http2.ErrCode
		var told bool
		go func() {
			defer close(read)
			code, told = k.ended()
		}()
		for i := range 200_000 {
			if flood(k, i) != nil {
				break
			}
		}
		<-read
		if t.Failed() {
			t.Fatal(name)
		}
		if told && code == http2.ErrCodeNo {
			t.Errorf("%s: ended with %v", name, code)
		}
	}
	f("resets", func(k *rawH2, i int) error {
		id := uint32(2*i + 1)
		if err := k.ask(id); err != nil {
			return err
		}
		return k.WriteRSTStream(id, http2.ErrCodeCancel)
	})
	f("pings", func(k *rawH2, i int) error { return k.WritePing(false, [8]byte{byte(i)}) })
	f("answers to no ping", func(k *rawH2, i int) error { return k.WritePing(true, [8]byte{byte(i)}) })
	f("settings", func(k *rawH2, _ int) error { return k.WriteSettings() })
	f("priorities", func(k *rawH2, i int) error {
		return k.WritePriority(uint32(2*i+1), http2.PriorityParam{Weight: 1})
	})
	f("unknown frames", func(k *rawH2, _ int) error { return k.WriteRawFrame(0xbb, 0, 0, nil) })
	f("empty continuations", func(k *rawH2, i int) error {
		if i == 0 {
			return k.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: k.request()})
		}
		return k.WriteContinuation(1, false, nil)
	})
	f("long continuations", func(k *rawH2, i int) error {
		p := k.request("x-long", string(bytes.Repeat([]byte{'x'}, 8000)))
		if i == 0 {
			return k.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p})
		}
		return k.WriteContinuation(1, false, p)
	})
	f("empty data", func(k *rawH2, i int) error {
		if i == 0 {
			return k.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: k.request("content-length", "5"), EndHeaders: true})
		}
		return k.WriteData(1, false, nil)
	})
}

// TestNoFlood: a client that asks, pings and cancels now and then keeps its connection.
func TestNoFlood(t *testing.T) {
	k := dialH2(t, newGateway(t, textRoute))
	const requests = 2000
	done := make(chan int)
	k.ask(1) //nolint:errcheck // the next read tells
	go func() {
		answered := 0
		defer func() { done <- answered }()
		for answered < requests {
			f, err := k.ReadFrame()
			if err != nil {
				return
			}
			if d, ok := f.(*http2.DataFrame); ok && d.StreamEnded() {
				answered++
				k.ask(uint32(2*answered + 1)) //nolint:errcheck // the next read tells
				if answered%4 == 0 {
					k.WritePing(false, [8]byte{})                                     //nolint:errcheck // as above
					k.WriteRSTStream(uint32(2*answered-1), http2.ErrCodeStreamClosed) //nolint:errcheck // as above
				}
			}
		}
	}()
	if n := <-done; n < requests {
		t.Errorf("the connection ended after %d requests", n)
	}
}

// TestSlowHead: the pieces of a head must come in time, even beside a stream that lives.
func TestSlowHead(t *testing.T) {
	g := newGateway(t, "routes: [{name: text, match: {path: /text}, respond: {status: 203, body: hello}}]\n")
	g.snap.Load().listeners["web"].HeaderTimeout = 50 * time.Millisecond
	k := dialH2(t, g)
	p := k.request()
	k.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p[:3], EndStream: true}) //nolint:errcheck // the read tells
	if k.ended(); t.Failed() {
		t.Error("half a head is waited for")
	}
	k = dialH2(t, g)
	k.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: k.request(), EndHeaders: true})          //nolint:errcheck // the read tells
	k.c.Write([]byte{0, 0, 100, byte(http2.FrameHeaders), byte(http2.FlagHeadersEndHeaders), 0, 0, 0, 3, 0x82}) //nolint:errcheck // as above
	if k.ended(); t.Failed() {
		t.Error("half a frame is waited for")
	}
}

// TestMalformed: what RFC 9113 calls malformed is reset, and the connection goes on.
func TestMalformed(t *testing.T) {
	f := func(fields ...string) {
		t.Helper()
		k := dialH2(t, newGateway(t, textRoute))
		k.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: k.request(fields...), EndHeaders: true, EndStream: true}) //nolint:errcheck // the read tells
		k.ask(3)                                                                                                                     //nolint:errcheck // as above
		reset := false
		for {
			f, err := k.ReadFrame()
			if err != nil {
				t.Fatalf("%q: %v", fields, err)
			}
			switch f := f.(type) {
			case *http2.RSTStreamFrame:
				reset = reset || f.StreamID == 1 && f.ErrCode == http2.ErrCodeProtocol
			case *http2.DataFrame:
				if f.StreamID == 3 {
					if !reset {
						t.Errorf("%q was not reset", fields)
					}
					return
				}
			}
		}
	}
	f("connection", "close")
	f("transfer-encoding", "chunked")
	f("upgrade", "h2c")
	f("te", "gzip")
	f("X-Upper", "a")
	f("a b", "c")
	f("x", "a\r\nb: c")
	f("x", "a\x00")
	f("host", "other.example")
	f(":path", "/text")
	f("x-long", string(bytes.Repeat([]byte{'x'}, 5000)), "connection", "close")
}

// head2 encodes a head of its own pseudo-fields; scheme, and authority if it is not given, are added.
func (k *rawH2) head2(fields ...string) []byte {
	k.head.Reset()
	all := append([]string{":scheme", "http"}, fields...)
	if !slices.Contains(fields, ":authority") {
		all = append([]string{":authority", "a.example"}, all...)
	}
	for _, pseudo := range []bool{true, false} {
		for i := 0; i < len(all); i += 2 {
			if (all[i][0] == ':') == pseudo {
				k.enc.WriteField(hpack.HeaderField{Name: all[i], Value: all[i+1]}) //nolint:errcheck // a buffer takes everything
			}
		}
	}
	return k.head.Bytes()
}

func newDecoder() *hpack.Decoder { return hpack.NewDecoder(4096, nil) }

func newEncoder(w io.Writer) *hpack.Encoder { return hpack.NewEncoder(w) }
