package gateway

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// TestHeads: what HTTP/1 refuses is refused by HTTP/2. A head that would be another one in HTTP/1's words is none.
func TestHeads(t *testing.T) {
	k := dialH2(t, newGateway(t, textRoute+"policies: [{name: none, limit: 1000000, window: 1h}]\n"))
	k.ReadMetaHeaders = newDecoder()
	id := uint32(1)
	f := func(want string, fields ...string) {
		t.Helper()
		if got := k.fate(id, fields...); !strings.Contains(want, got) {
			t.Errorf("%q: %s, want %s", fields, got, want)
		}
		id += 2
	}
	f("203", ":method", "GET", ":path", "/text")
	f("203", ":method", "GET", ":path", "/a/../text")
	f("203", ":method", "GET", ":path", "/text?")
	f("203", ":method", "GET", ":path", "/text", "x-a", "1", "x-a", "2", "cookie", "a=1", "cookie", "b=2")
	f("203", ":method", "GET", ":path", "/text", "te", "trailers")
	f("404", ":method", "GET", ":path", "/other")
	f("404", ":method", "OPTIONS", ":path", "*")
	f("400", ":method", "get", ":path", "/text")
	f("400", ":method", "GET /text HTTP/1.1", ":path", "/text")
	f("400", ":method", "GET /text", ":path", "/text")
	f("400 PROTOCOL_ERROR", ":method", "GE(T", ":path", "/text")
	f("405", ":method", "TRACE", ":path", "/text")
	f("PROTOCOL_ERROR", ":method", "", ":path", "/text")
	f("PROTOCOL_ERROR", ":method", "CONNECT", ":path", "/text")
	f("400 PROTOCOL_ERROR", ":method", "GET", ":path", "/te xt")
	f("400 PROTOCOL_ERROR", ":method", "GET", ":path", "/text HTTP/1.1")
	f("400 PROTOCOL_ERROR", ":method", "GET", ":path", "/text\x7f")
	f("400 PROTOCOL_ERROR", ":method", "GET", ":path", "/te\xffxt")
	f("400 PROTOCOL_ERROR", ":method", "GET", ":path", "/text#here")
	f("400", ":method", "GET", ":path", "/a%2Ftext")
	f("PROTOCOL_ERROR", ":method", "GET", ":path", "text")
	f("PROTOCOL_ERROR", ":method", "GET", ":path", "http://other.example/text")
	f("400 PROTOCOL_ERROR", ":method", "GET", ":path", "/text", ":authority", "a b")
	f("400 PROTOCOL_ERROR", ":method", "GET", ":path", "/text", ":authority", "user@a")
	f("400 PROTOCOL_ERROR", ":method", "GET", ":path", "/text", "host", "other")
	f("400", ":method", "GET", ":path", "/text", "content-length", "0", "content-length", "0")
	f("400", ":method", "GET", ":path", "/text", "content-length", "+0")
	f("400", ":method", "GET", ":path", "/text", "content-length", "0, 0")
	f("417", ":method", "GET", ":path", "/text", "expect", "more")
	f("431", append([]string{":method", "GET", ":path", "/text"}, strings.Split(strings.Repeat("x-a,1,", 100)+"x-a,1", ",")...)...)
	f("431", ":method", "GET", ":path", "/text", "x-long", strings.Repeat("x", 17<<10))
	f("414 431", ":method", "GET", ":path", "/"+strings.Repeat("x", 17<<10))
	f("203", ":method", "GET", ":path", "/text")
}

// fate is what becomes of a request without a body: its status, or the code that its stream is reset with.
func (k *rawH2) fate(id uint32, fields ...string) string {
	k.t.Helper()
	k.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: k.head2(fields...), EndHeaders: true, EndStream: true}) //nolint:errcheck // the read tells
	for {
		frame, err := k.ReadFrame()
		if err != nil {
			k.t.Fatalf("%q: %v", fields, err)
		}
		if frame.Header().StreamID != id {
			continue
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			return frame.PseudoValue("status")
		case *http2.RSTStreamFrame:
			return fmt.Sprint(frame.ErrCode)
		}
	}
}
