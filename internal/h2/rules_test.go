package h2

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// TestRules: what RFC 9113 says of frames that must not be, and of some that may.
func TestRules(t *testing.T) {
	f := func(name, want string, do func(p *peer)) {
		t.Run(name, func(t *testing.T) {
			p := dial(t, options())
			do(p)
			got := p.fate(1)
			for w := range strings.SplitSeq(want, " or ") {
				if got == w {
					return
				}
			}
			t.Errorf("%s, want %s", got, want)
		})
	}
	raw := func(kind http2.FrameType, flags http2.Flags, id uint32, payload string) func(*peer) {
		return func(p *peer) { p.WriteRawFrame(kind, flags, id, []byte(payload)) }
	}
	open := func(then func(p *peer)) func(*peer) {
		return func(p *peer) {
			p.ask(1, false)
			then(p)
		}
	}
	done := func(then func(p *peer)) func(*peer) {
		return func(p *peer) {
			p.ask(1, true)
			p.fate(1)
			then(p)
		}
	}
	f("a request", "end", func(p *peer) { p.ask(1, true) })
	f("a request with data", "end", open(func(p *peer) { p.WriteData(1, true, []byte("hello")) }))
	f("padding", "end", open(func(p *peer) { p.WriteDataPadded(1, true, []byte("hello"), make([]byte, 200)) }))
	f("trailers", "end", open(func(p *peer) { p.trailers(1, "x-sum", "1") }))
	f("unknown frames", "end", func(p *peer) {
		raw(0x55, 0xff, 1, "abc")(p)
		raw(0xff, 0, 0, "")(p)
		p.ask(1, true)
	})
	f("unknown settings", "end", func(p *peer) {
		p.WriteSettings(http2.Setting{ID: 0x99, Val: 7}, http2.Setting{ID: http2.SettingEnablePush, Val: 1})
		p.ask(1, true)
	})
	f("goaway of the client's", "end", func(p *peer) {
		p.WriteGoAway(0, http2.ErrCodeNo, nil)
		p.ask(1, true)
	})
	f("continuations", "end", func(p *peer) {
		b := p.fields("x-a", strings.Repeat("x", 300))
		p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:3], EndStream: true, Priority: http2.PriorityParam{StreamDep: 3, Weight: 9}, PadLength: 7})
		p.WriteContinuation(1, false, b[3:100])
		p.WriteContinuation(1, true, b[100:])
	})
	f("priority", "end", func(p *peer) {
		p.WritePriority(7, http2.PriorityParam{StreamDep: 1})
		p.ask(1, true)
	})
	f("windows and a reset of what is over", "goaway PROTOCOL_ERROR", done(func(p *peer) {
		p.WriteWindowUpdate(1, 5)
		p.WriteRSTStream(1, http2.ErrCodeCancel)
		p.ask(3, true)
		if got := p.fate(3); got != "end" {
			p.t.Error(got)
		}
		p.WriteData(0, true, nil)
	}))
	f("data and a head behind a reset of ours", "goaway PROTOCOL_ERROR", func(p *peer) {
		p.ask(1, false, "content-length", "1")
		p.WriteData(1, false, []byte("ab"))
		p.WriteData(1, false, []byte("ab"))
		p.trailers(1, "x", "y")
		p.ask(3, true)
		if got := p.fate(3); got != "end" {
			p.t.Error(got)
		}
		p.WriteData(0, true, nil)
	})

	f("a frame too long", "goaway FRAME_SIZE_ERROR", raw(http2.FrameData, 0, 1, strings.Repeat("x", maxFrame+1)))
	f("an unknown frame too long", "goaway FRAME_SIZE_ERROR", raw(0x44, 0, 1, strings.Repeat("x", maxFrame+1)))
	f("data of the connection", "goaway PROTOCOL_ERROR", raw(http2.FrameData, 0, 0, "x"))
	f("data of an idle stream", "goaway PROTOCOL_ERROR", raw(http2.FrameData, 0, 1, "x"))
	f("data all padding", "goaway PROTOCOL_ERROR", open(raw(http2.FrameData, http2.FlagDataPadded, 1, "\x05abcd")))
	f("data without its pad length", "goaway PROTOCOL_ERROR", open(raw(http2.FrameData, http2.FlagDataPadded, 1, "")))
	f("data behind the end", "reset STREAM_CLOSED", func(p *peer) {
		p.ask(1, true, ":path", "/hang")
		p.WriteData(1, true, []byte("x"))
	})
	f("data behind all", "reset STREAM_CLOSED", done(raw(http2.FrameData, 0, 1, "x")))
	f("a head of the connection", "goaway PROTOCOL_ERROR", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 0, "\x82"))
	f("a head of an even stream", "goaway PROTOCOL_ERROR", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 2, "\x82"))
	f("a head of an earlier stream", "goaway PROTOCOL_ERROR", func(p *peer) {
		p.ask(5, true)
		p.ask(1, true)
	})
	f("a head behind the end", "reset STREAM_CLOSED", func(p *peer) {
		p.ask(1, true, ":path", "/hang")
		p.ask(1, true)
	})
	f("a head behind all", "goaway STREAM_CLOSED", done(func(p *peer) { p.ask(1, true) }))
	f("a head behind a reset", "goaway STREAM_CLOSED", open(func(p *peer) {
		p.WriteRSTStream(1, http2.ErrCodeCancel)
		p.ask(1, true)
	}))
	f("padding of a head", "goaway PROTOCOL_ERROR", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersPadded, 1, "\x02\x82"))
	f("half a priority", "goaway FRAME_SIZE_ERROR", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersPriority, 1, "\x00\x00"))
	f("a head that depends on itself", "reset PROTOCOL_ERROR", func(p *peer) {
		p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields(), EndHeaders: true, EndStream: true, Priority: http2.PriorityParam{StreamDep: 1}})
	})
	f("no HPACK", "goaway COMPRESSION_ERROR", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	f("half of HPACK", "goaway COMPRESSION_ERROR", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\x82\x41"))
	f("another frame within a head", "goaway PROTOCOL_ERROR", func(p *peer) {
		p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields()})
		p.WritePing(false, [8]byte{})
	})
	f("a head within a head", "goaway PROTOCOL_ERROR", func(p *peer) {
		p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields()})
		p.ask(3, true)
	})
	f("another stream's continuation", "goaway PROTOCOL_ERROR", func(p *peer) {
		p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields()})
		p.WriteContinuation(3, true, nil)
	})
	f("a continuation of nothing", "goaway PROTOCOL_ERROR", raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 1, "\x82"))
	f("a priority too short", "goaway FRAME_SIZE_ERROR", raw(http2.FramePriority, 0, 1, "abc"))
	f("a priority of an open stream too short", "reset FRAME_SIZE_ERROR", open(raw(http2.FramePriority, 0, 1, "abc")))
	f("a short priority of what is over", "reset FRAME_SIZE_ERROR", done(raw(http2.FramePriority, 0, 1, "abc")))
	f("a priority of the connection", "goaway PROTOCOL_ERROR", raw(http2.FramePriority, 0, 0, "abcde"))
	f("a priority on itself", "reset PROTOCOL_ERROR", open(raw(http2.FramePriority, 0, 1, "\x00\x00\x00\x01\x00")))
	f("a reset of the connection", "goaway PROTOCOL_ERROR", raw(http2.FrameRSTStream, 0, 0, "abcd"))
	f("a reset of an idle stream", "goaway PROTOCOL_ERROR", raw(http2.FrameRSTStream, 0, 1, "abcd"))
	f("a short reset", "goaway FRAME_SIZE_ERROR", open(raw(http2.FrameRSTStream, 0, 1, "abc")))
	f("settings of a stream", "goaway PROTOCOL_ERROR", raw(http2.FrameSettings, 0, 1, ""))
	f("settings of 5 bytes", "goaway FRAME_SIZE_ERROR", raw(http2.FrameSettings, 0, 0, "abcde"))
	f("acknowledged settings", "goaway FRAME_SIZE_ERROR", raw(http2.FrameSettings, http2.FlagSettingsAck, 0, "abcdef"))
	for _, s := range []struct {
		id    http2.SettingID
		value uint32
		want  string
	}{
		{http2.SettingEnablePush, 2, "PROTOCOL_ERROR"}, {http2.SettingInitialWindowSize, 1 << 31, "FLOW_CONTROL_ERROR"},
		{http2.SettingMaxFrameSize, maxFrame - 1, "PROTOCOL_ERROR"}, {http2.SettingMaxFrameSize, 1 << 24, "PROTOCOL_ERROR"}, {http2.SettingEnableConnectProtocol, 2, "PROTOCOL_ERROR"},
	} {
		f(s.id.String(), "goaway "+s.want, func(p *peer) { p.WriteSettings(http2.Setting{ID: s.id, Val: s.value}) })
	}
	f("a promise", "goaway PROTOCOL_ERROR", open(raw(http2.FramePushPromise, http2.FlagPushPromiseEndHeaders, 1, "\x00\x00\x00\x02\x82")))
	f("a ping of a stream", "goaway PROTOCOL_ERROR", raw(http2.FramePing, 0, 1, "12345678"))
	f("a short ping", "goaway FRAME_SIZE_ERROR", raw(http2.FramePing, 0, 0, "1234567"))
	f("a goaway of a stream", "goaway PROTOCOL_ERROR", raw(http2.FrameGoAway, 0, 1, "12345678"))
	f("a short goaway", "goaway FRAME_SIZE_ERROR", raw(http2.FrameGoAway, 0, 0, "1234567"))
	f("a window of nothing", "goaway PROTOCOL_ERROR", raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00"))
	f("a window of an idle stream", "goaway PROTOCOL_ERROR", raw(http2.FrameWindowUpdate, 0, 1, "\x00\x00\x00\x01"))
	f("a stream's window of nothing", "reset PROTOCOL_ERROR", open(raw(http2.FrameWindowUpdate, 0, 1, "\x00\x00\x00\x00")))
	f("a short window", "goaway FRAME_SIZE_ERROR", open(raw(http2.FrameWindowUpdate, 0, 1, "\x00\x00\x00")))
	f("a window too large", "goaway FLOW_CONTROL_ERROR", raw(http2.FrameWindowUpdate, 0, 0, "\x7f\xff\xff\xff"))
	f("a stream's window too large", "reset FLOW_CONTROL_ERROR", open(raw(http2.FrameWindowUpdate, 0, 1, "\x7f\xff\xff\xff")))
	f("settings that make it too large", "goaway FLOW_CONTROL_ERROR", open(func(p *peer) {
		p.WriteWindowUpdate(1, 1<<31-1-initialWindow)
		p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: initialWindow + 1})
	}))
	f("more than the stream's window", "reset FLOW_CONTROL_ERROR", func(p *peer) {
		p.ask(1, false, ":path", "/hang")
		for range streamWindow/maxFrame + 1 {
			p.WriteData(1, false, make([]byte, maxFrame))
		}
	})
	f("more than declared", "reset PROTOCOL_ERROR", func(p *peer) {
		p.ask(1, false, "content-length", "3")
		p.WriteData(1, true, []byte("abcd"))
	})
	f("less than declared", "reset PROTOCOL_ERROR", func(p *peer) {
		p.ask(1, false, "content-length", "3")
		p.WriteData(1, true, []byte("ab"))
	})
	f("trailers instead of what was declared", "reset PROTOCOL_ERROR", func(p *peer) {
		p.ask(1, false, "content-length", "3")
		p.trailers(1, "x", "y")
	})
	f("nothing of what was declared", "reset PROTOCOL_ERROR", func(p *peer) { p.ask(1, true, "content-length", "3") })
	f("trailers without an end", "reset PROTOCOL_ERROR", open(func(p *peer) {
		p.head.Reset()
		p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.only("x", "y"), EndHeaders: true})
	}))
	f("pseudo-fields in trailers", "reset PROTOCOL_ERROR", open(func(p *peer) { p.trailers(1, ":path", "/") }))
	f("bad trailers", "reset PROTOCOL_ERROR", open(func(p *peer) { p.trailers(1, "X", "y") }))
	f("more than the connection's window", "goaway FLOW_CONTROL_ERROR", func(p *peer) {
		for id := uint32(1); id <= 9; id += 2 {
			p.ask(id, false, ":path", "/hang")
			for range streamWindow / maxFrame {
				p.WriteData(id, false, make([]byte, maxFrame))
			}
		}
	})
}

// hang waits until the client has left.
func hang(s *Stream) {
	b := make([]byte, 1)
	for {
		s.c.mu.Lock()
		for s.err == nil {
			s.writable.Wait()
		}
		s.c.mu.Unlock()
		if _, err := s.Read(b); err != nil {
			return
		}
	}
}

// TestPreface: what is no HTTP/2 ends at once.
func TestPreface(t *testing.T) {
	f := func(name, want string, say func(p *peer)) {
		t.Run(name, func(t *testing.T) {
			p := greetless(t, options())
			say(p)
			if got := p.fate(1); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
	f("another protocol", "goaway PROTOCOL_ERROR", func(p *peer) { io.WriteString(p.nc, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") })
	f("no settings", "goaway PROTOCOL_ERROR", func(p *peer) {
		io.WriteString(p.nc, Preface)
		p.WritePing(false, [8]byte{})
	})
	f("an answer to settings", "goaway PROTOCOL_ERROR", func(p *peer) {
		io.WriteString(p.nc, Preface)
		p.WriteSettingsAck()
	})
	f("half of it", "closed", func(p *peer) {
		io.WriteString(p.nc, Preface[:5])
		p.nc.(interface{ CloseWrite() error }).CloseWrite()
	})
}

// TestHeads: which heads are malformed, and how those that are not are told.
func TestHeads(t *testing.T) {
	o := options()
	id := uint32(1)
	heads := make(chan [6]string, 100)
	o.Handle = func(s *Stream) {
		heads <- [6]string{string(s.Method()), string(s.Authority()), string(s.Path()), string(s.Protocol()), string(s.Fields()), string(binary.AppendVarint(nil, s.Length()))}
		s.WriteHead(200, nil, true)
		s.Flush()
	}
	p := dial(t, o)
	good := func(method, authority, path, protocol, text string, length int64, fields ...string) {
		t.Helper()
		end := length <= 0
		p.ask(id, end, fields...)
		want := [6]string{method, authority, path, protocol, text, string(binary.AppendVarint(nil, length))}
		if got := <-heads; got != want {
			t.Errorf("%q: %q, want %q", fields, got, want)
		}
		p.fate(id)
		id += 2
	}
	good("POST", "a.example", "/x", "", "", -1)
	good("GET", "a.example", "/y?z", "", "", -1, ":method", "GET", ":path", "/y?z")
	good("POST", "b", "/x", "", "", -1, "-:authority", "", "host", "b")
	good("POST", "a.example", "/x", "", "", -1, "host", "A.example")
	good("POST", "a.example", "/x", "", "b: 1\r\na: 2\r\nb: 3\r\n", -1, "b", "1", "a", "2", "b", "3")
	good("POST", "a.example", "/x", "", "b: 1\r\ncookie: x=1; y=2\r\n", -1, "cookie", "x=1", "b", "1", "cookie", "y=2")
	good("POST", "a.example", "/x", "", "te: trailers\r\ne: \r\n", -1, "te", "trailers", "e", "")
	good("POST", "a.example", "/x", "", "", 17, "content-length", "17")
	good("POST", "a.example", "/x", "", "", 0, "content-length", "0")
	good("POST", "a.example", "/x", "", "content-length: 1\r\ncontent-length: 1\r\n", -1, "content-length", "1", "content-length", "1")
	good("POST", "a.example", "/x", "", "content-length: +1\r\n", -1, "content-length", "+1")
	good("CONNECT", "c:443", "", "", "", -1, ":method", "CONNECT", ":authority", "c:443", "-:path", "", "-:scheme", "")
	good("CONNECT", "a.example", "/x", "websocket", "", -1, ":method", "CONNECT", ":protocol", "websocket")
	good("OPTIONS", "a.example", "*", "", "", -1, ":method", "OPTIONS", ":path", "*")
	bad := func(fields ...string) {
		t.Helper()
		p.ask(id, true, fields...)
		if got := p.fate(id); got != "reset PROTOCOL_ERROR" {
			t.Errorf("%q: %s", fields, got)
		}
		id += 2
	}
	for _, f := range []string{"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te"} {
		bad(f, "gzip")
	}
	for _, name := range []string{"X", "a b", "", "a:", "a\x00", "ä", ":x", ":status"} {
		bad(name, "a")
	}
	for _, value := range []string{"a\r\nb: c", "a\nb", "a\rb", "a\x00b", " a", "a ", "\ta", "a\x7f"} {
		bad("x", value)
	}
	for _, path := range []string{"/a\r\nb: c", "/\n", "/\x00", "/a "} {
		bad(":path", path)
	}
	bad("-:method", "")
	bad("-:scheme", "")
	bad("-:path", "")
	bad(":method", "")
	bad(":path", "")
	bad(":path", "x")
	bad(":path", "*")
	bad(":scheme", "ftp")
	bad(":path", "/", ":path", "/")
	bad("-:path", "", "a", "b", "-:path", "", ":path2", "/")
	bad("host", "other")
	bad("host", "a.example", "host", "a.example")
	bad(":method", "CONNECT")
	bad(":method", "CONNECT", "-:authority", "", "-:path", "", "-:scheme", "")
	bad(":protocol", "websocket")
	bad(":method", "CONNECT", ":protocol", "websocket", "-:authority", "")
	p.head.Reset()
	late := p.only(":method", "GET", ":scheme", "http", ":authority", "a", "x", "y", ":path", "/")
	p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: late, EndHeaders: true, EndStream: true})
	if got := p.fate(id); got != "reset PROTOCOL_ERROR" {
		t.Errorf("a pseudo-field behind others: %s", got)
	}
}

// TestLongHeads: a head that is too long is cut off where it may be; one that has no end ends the connection.
func TestLongHeads(t *testing.T) {
	lengths := make(chan int, 100)
	o := options()
	o.Handle = func(s *Stream) {
		lengths <- len("POST  HTTP/1.1\r\nHost: \r\n\r\n") + len(s.Path()) + len(s.Authority()) + len(s.Fields())
		s.WriteHead(431, nil, true)
		s.Flush()
	}
	p := dial(t, o)
	p.ask(1, true, "x", strings.Repeat("x", o.HeadBytes+100))
	if n := <-lengths; n <= o.HeadBytes {
		t.Errorf("%d bytes of %d", n, o.HeadBytes)
	}
	many := []string{}
	for range 500 {
		many = append(many, "x-y", "0123456789")
	}
	p.ask(3, true, many...)
	if n := <-lengths; n <= o.HeadBytes || n > o.HeadBytes+100 {
		t.Errorf("%d bytes of %d", n, o.HeadBytes)
	}
	p.fate(3)
	p.ask(5, true) // the table is still right
	<-lengths
	p.fate(5)
	b := p.fields("x", strings.Repeat("\x01\x02", 100<<10))
	p.WriteHeaders(http2.HeadersFrameParam{StreamID: 7, BlockFragment: b[:maxFrame]})
	for rest := b[maxFrame:]; len(rest) > 0; {
		n := min(len(rest), maxFrame)
		if p.WriteContinuation(7, n == len(rest), rest[:n]) != nil {
			break
		}
		rest = rest[n:]
	}
	if got := p.fate(7); got != "goaway ENHANCE_YOUR_CALM" && got != "closed" {
		t.Error(got)
	}
}
