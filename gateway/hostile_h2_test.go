package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir/internal/h2"
)

// hostile is an endpoint of HTTP/2 whose answer to each head is a script's.
type hostile struct {
	*http2.Framer
	c    net.Conn
	conn int // of its connections
	head bytes.Buffer
	enc  *hpack.Encoder
}

func (h *hostile) fields(fields ...string) []byte {
	h.head.Reset()
	for i := 0; i < len(fields); i += 2 {
		h.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) //nolint:errcheck // a buffer takes everything
	}
	return bytes.Clone(h.head.Bytes())
}

// say sends a head.
func (h *hostile) say(id uint32, end bool, fields ...string) {
	h.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: h.fields(fields...), EndHeaders: true, EndStream: end}) //nolint:errcheck // the client tells
}

// hostileEndpoint serves until the test ends.
func hostileEndpoint(t *testing.T, script func(h *hostile, id uint32)) (address string) {
	t.Helper()
	return eachConn(t, func(c net.Conn, n int) {
		io.ReadFull(c, make([]byte, len(h2.Preface))) //nolint:errcheck // the next read tells
		h := &hostile{Framer: http2.NewFramer(c, c), c: c, conn: n}
		h.enc = hpack.NewEncoder(&h.head)
		h.AllowIllegalWrites = true
		h.WriteSettings() //nolint:errcheck // as above
		for {
			frame, err := h.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				if !frame.IsAck() {
					h.WriteSettingsAck() //nolint:errcheck // as above
				}
			case *http2.HeadersFrame:
				script(h, frame.StreamID)
			}
		}
	})
}

// TestHostileEndpoints: whatever an endpoint of HTTP/2 does, the client sees an answer or an error, never half an answer that looks whole.
func TestHostileEndpoints(t *testing.T) {
	t.Parallel()
	f := func(name, want string, script func(h *hostile, id uint32)) {
		for _, edge := range []string{"http1", "h2c"} {
			t.Run(name+"/"+edge, func(t *testing.T) {
				g := newGateway(t, poolYAML("    protocol: h2c\n    retry: {attempts: 1}\n    timeout: {response_header: 2s, idle: 2s}\n", hostileEndpoint(t, script))+"routes: [{name: all, match: {path: /*}, pool: api}]\n")
				tr := &http.Transport{Protocols: protocols(edge), DisableCompression: true}
				t.Cleanup(tr.CloseIdleConnections)
				p := pair{&http.Client{Transport: tr, Timeout: 10 * time.Second}, "http://" + front(t, g)}
				for range 2 {
					if got := p.fate(t, "GET", nil); got != want {
						t.Errorf("%q, want %q", got, want)
					}
				}
			})
		}
	}
	data := func(h *hostile, id uint32, end bool, text string) { h.WriteData(id, end, []byte(text)) } //nolint:errcheck // the client tells
	f("whole", "200 hello", func(h *hostile, id uint32) {
		h.say(id, false, ":status", "200")
		data(h, id, true, "hello")
	})
	f("whole, then a reset that is none", "200 hello", func(h *hostile, id uint32) {
		h.say(id, false, ":status", "200")
		data(h, id, true, "hello")
		h.WriteRSTStream(id, http2.ErrCodeNo) //nolint:errcheck // the client tells
	})
	f("reset that is none, too early", "200 cut", func(h *hostile, id uint32) {
		h.say(id, false, ":status", "200")
		data(h, id, false, "hello")
		h.WriteRSTStream(id, http2.ErrCodeNo) //nolint:errcheck // the client tells
	})
	f("reset before all", "502", func(h *hostile, id uint32) { h.WriteRSTStream(id, http2.ErrCodeNo) }) //nolint:errcheck // the client tells
	f("reset", "200 cut", func(h *hostile, id uint32) {
		h.say(id, false, ":status", "200")
		data(h, id, false, "hello")
		h.WriteRSTStream(id, http2.ErrCodeInternal) //nolint:errcheck // the client tells
	})
	f("closed", "200 cut", func(h *hostile, id uint32) {
		h.say(id, false, ":status", "200")
		data(h, id, false, "hello")
		h.c.Close()
	})
	f("goaway, then closed", "200 cut", func(h *hostile, id uint32) {
		h.say(id, false, ":status", "200")
		data(h, id, false, "hello")
		h.WriteGoAway(id, http2.ErrCodeNo, nil) //nolint:errcheck // the client tells
		h.c.Close()
	})
	f("goaway, then the rest", "200 hello", func(h *hostile, id uint32) {
		h.say(id, false, ":status", "200")
		h.WriteGoAway(id, http2.ErrCodeNo, nil) //nolint:errcheck // the client tells
		data(h, id, true, "hello")
	})
	f("goaway with none", "502", func(h *hostile, id uint32) {
		h.WriteGoAway(0, http2.ErrCodeNo, nil) //nolint:errcheck // the client tells
	})
	f("goaway amid the answer, with none", "200 cut", func(h *hostile, id uint32) {
		h.say(id, false, ":status", "200")
		data(h, id, false, "hello")
		h.WriteGoAway(0, http2.ErrCodeInternal, nil) //nolint:errcheck // the client tells
		h.c.Close()
	})
	f("shorter than declared", "200 cut", func(h *hostile, id uint32) {
		h.say(id, false, ":status", "200", "content-length", "10")
		data(h, id, true, "hello")
	})
	f("declared and none", "200 cut", func(h *hostile, id uint32) { h.say(id, true, ":status", "200", "content-length", "10") })
	f("longer than declared", "200 hello hell", func(h *hostile, id uint32) {
		h.say(id, false, ":status", "200", "content-length", "10")
		data(h, id, true, "hello hello hello")
	})
	f("two lengths", "200 hello", func(h *hostile, id uint32) {
		h.say(id, false, ":status", "200", "content-length", "5", "content-length", "6")
		data(h, id, true, "hello")
	})
	f("odd length", "200 hello", func(h *hostile, id uint32) {
		h.say(id, false, ":status", "200", "content-length", "+5")
		data(h, id, true, "hello")
	})
	f("101", "502", func(h *hostile, id uint32) {
		h.say(id, false, ":status", "101", "upgrade", "websocket")
		data(h, id, true, "hello")
	})
	f("status 1000", "502", func(h *hostile, id uint32) { h.say(id, true, ":status", "1000") })
	f("status 000", "502", func(h *hostile, id uint32) { h.say(id, true, ":status", "000") })
	f("no status", "502", func(h *hostile, id uint32) { h.say(id, true, "a", "b") })
	f("interim and end", "502", func(h *hostile, id uint32) { h.say(id, true, ":status", "103") })
	f("storm of interim answers", "502", func(h *hostile, id uint32) {
		for range 1000 {
			h.say(id, false, ":status", "103", "link", "x")
		}
		h.say(id, true, ":status", "200")
	})
	f("huge head", "502", func(h *hostile, id uint32) {
		p := h.fields(":status", "200", "x-long", strings.Repeat("x", 100<<10))
		h.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p[:16000], EndStream: true}) //nolint:errcheck // the client tells
		for p = p[16000:]; len(p) > 0; {
			n := min(len(p), 16000)
			h.WriteContinuation(id, n == len(p), p[:n]) //nolint:errcheck // the client tells
			p = p[n:]
		}
	})
	f("endless head", "502", func(h *hostile, id uint32) {
		p := h.fields(":status", "200", "x-long", strings.Repeat("\x01", 4000))
		h.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p, EndStream: true}) //nolint:errcheck // the client tells
		for h.WriteContinuation(id, false, p) == nil {
		}
	})
	f("push", "502", func(h *hostile, id uint32) {
		h.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: 2, BlockFragment: h.fields(":method", "GET", ":path", "/", ":scheme", "http", ":authority", "a"), EndHeaders: true}) //nolint:errcheck // the client tells
	})
	f("control in a value", "502", func(h *hostile, id uint32) { h.say(id, true, ":status", "200", "x", "a\r\nset-cookie: b") })
	f("upper case", "502", func(h *hostile, id uint32) { h.say(id, true, ":status", "200", "X-A", "a") })
	f("space in a name", "502", func(h *hostile, id uint32) { h.say(id, true, ":status", "200", "x a", "a") })
	f("pseudo-field in trailers", "200 cut", func(h *hostile, id uint32) {
		h.say(id, false, ":status", "200")
		data(h, id, false, "hello")
		h.say(id, true, ":status", "200")
	})
	f("trailers without end", "200 cut", func(h *hostile, id uint32) {
		h.say(id, false, ":status", "200")
		data(h, id, false, "hello")
		h.say(id, false, "x", "y")
	})
	f("framing in trailers", "200 hello", func(h *hostile, id uint32) {
		h.say(id, false, ":status", "200")
		data(h, id, false, "hello")
		h.say(id, true, "transfer-encoding", "chunked", "content-length", "7", "connection", "close", "set-cookie", "a=b", "x-ok", "1")
	})
	f("window too large", "502", func(h *hostile, id uint32) {
		h.WriteWindowUpdate(id, 1<<31-1) //nolint:errcheck // the client tells
	})
	f("window of nothing", "502", func(h *hostile, id uint32) {
		h.WriteWindowUpdate(id, 0) //nolint:errcheck // the client tells
	})
	f("data before a head", "502", func(h *hostile, id uint32) { data(h, id, true, "hello") })
	f("settings of no streams", "504", func(h *hostile, id uint32) {
		h.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}) //nolint:errcheck // the client tells
	})
	f("bad settings", "502", func(h *hostile, id uint32) {
		h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}) //nolint:errcheck // the client tells
	})
	f("garbage", "502", func(h *hostile, id uint32) { io.WriteString(h.c, strings.Repeat("HTTP/1.1 400 Bad\r\n", 100)) }) //nolint:errcheck // the client tells
	f("nothing", "504", func(h *hostile, id uint32) {})
}

// fate is the status of an answer, and its body if there is one: "cut" if that is not whole.
func (p pair) fate(t *testing.T, method string, body io.Reader) string {
	t.Helper()
	req, _ := http.NewRequest(method, p.url+"/x", body)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	resp, err := p.client.Do(req.WithContext(ctx))
	if err != nil {
		return "error " + err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	for k := range resp.Trailer {
		if k != "X-Ok" {
			t.Errorf("trailer %s", k)
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return resp.Status[:3] + " hangs"
	case err != nil:
		return resp.Status[:3] + " cut"
	case resp.StatusCode != 200:
		return resp.Status[:3]
	}
	return "200 " + string(b)
}

// TestNoSwitch: an endpoint of HTTP/2 cannot turn a stream into a tunnel by HTTP/1's means.
func TestNoSwitch(t *testing.T) {
	up := hostileEndpoint(t, func(h *hostile, id uint32) {
		h.say(id, false, ":status", "101", "upgrade", "websocket", "connection", "upgrade")
		h.WriteData(id, false, []byte("hello")) //nolint:errcheck // the client tells
	})
	g := newGateway(t, poolYAML("    protocol: h2c\n    retry: {attempts: 1}\n", up)+"routes: [{name: all, match: {path: /*}, pool: api}]\n")
	k := dial(t, g)
	got := k.roundTrip([]byte("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: d2VpciBrbm93cyBub25lIQ==\r\n\r\n"), []byte("}\n"))
	if !bytes.HasPrefix(got, []byte("HTTP/1.1 502 ")) {
		t.Errorf("%q", got)
	}
}

// TestEarlyAnswer: an endpoint may answer an upload before it has it, and say that it wants no more of it (RFC 9113, section 8.1).
func TestEarlyAnswer(t *testing.T) {
	up := hostileEndpoint(t, func(h *hostile, id uint32) {
		h.say(id, false, ":status", "200")
		h.WriteData(id, true, []byte("hello")) //nolint:errcheck // the client tells
		h.WriteRSTStream(id, http2.ErrCodeNo)  //nolint:errcheck // as above
	})
	for _, edge := range []string{"http1", "h2c"} {
		g := newGateway(t, poolYAML("    protocol: h2c\n    retry: {attempts: 1}\n", up)+"routes: [{name: all, match: {path: /*}, pool: api}]\n")
		tr := &http.Transport{Protocols: protocols(edge), DisableCompression: true}
		t.Cleanup(tr.CloseIdleConnections)
		p := pair{&http.Client{Transport: tr, Timeout: 10 * time.Second}, "http://" + front(t, g)}
		for i := range 40 {
			var body io.Reader = bytes.NewReader(make([]byte, 1<<20))
			if i%2 == 0 {
				body = struct{ io.Reader }{body} // of no known length
			}
			if got := p.fate(t, "POST", body); got != "200 hello" {
				t.Errorf("%s %d: %s", edge, i, got)
			}
		}
	}
}

// TestSayable: no request makes an endpoint of HTTP/2 look unwell.
func TestSayable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Protocols: protocols("h2c"), MaxHeaderBytes: 1000, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)     //nolint:errcheck // the client tells
		io.WriteString(w, r.RequestURI) //nolint:errcheck // as above
	})}
	go s.Serve(ln) //nolint:errcheck // it ends with Close
	t.Cleanup(func() { s.Close() })
	g := newGateway(t, "pools: [{name: api, protocol: h2c, retry: {attempts: 1}, health: {passive: {consecutive_failures: 1}}, endpoints: [{address: '"+ln.Addr().String()+"'}]}]\n"+
		"routes: [{name: twice, match: {path: /r/*}, pool: api, rewrite: {regex: '^/r(/.*)', to: '/$1'}}, {name: all, match: {path: /*}, pool: api}]\n")
	f := func(want, request string) {
		t.Helper()
		k := dial(t, g)
		io.WriteString(k.c, request) //nolint:errcheck // the read tells
		resp, err := http.ReadResponse(bufio.NewReader(k.c), nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if got := resp.Status[:4] + string(b); err != nil || got != want && !(resp.StatusCode != 200 && resp.Status[:3] == want) {
			t.Errorf("%.60q: %s", request, got)
		}
		k.c.Close()
	}
	f("200 /x", "GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
	f("200 //x", "GET /r/x HTTP/1.1\r\nHost: a\r\n\r\n")
	f("200 //x?y", "GET /r/x?y HTTP/1.0\r\n\r\n")
	f("200 ", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
	f("200 /x?", "GET /x? HTTP/1.1\r\nHost: [::1]:80\r\n\r\n")
	f("200 /x", "GET /x HTTP/1.1\r\nHost: a;b,(c)!$&'*+=~_\r\n\r\n")
	f("200 /x", "!#$ /x HTTP/1.1\r\nHost: a\r\n\r\n")
	f("200 /x", "GET /x HTTP/1.1\r\nHost: a\r\nX-A: \x80\xff\r\nUser-Agent: \r\nTe: trailers\r\nCookie: ;;\r\n\r\n")
	for _, name := range []string{"Transfer-Encoding", "Content-Length", "Trailer", "x y", "X-Ok"} {
		f("200 /x", "POST /x HTTP/1.1\r\nHost: a\r\nTrailer: "+name+"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")
	}
	f("431", "GET /x HTTP/1.1\r\nHost: a\r\nX-Long: "+strings.Repeat("x", 10_000)+"\r\n\r\n")
	f("200 /x", "GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
}
