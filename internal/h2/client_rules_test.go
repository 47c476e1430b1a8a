package h2

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestClientRules: what RFC 9113 says of frames that a server must not send, and of some that it may.
func TestClientRules(t *testing.T) {
	f := func(name, want, told string, do func(p *far)) {
		t.Run(name, func(t *testing.T) {
			p := newFar(t, clientOptions())
			k := asks(t, p.c, "POST", false)
			next[*http2.HeadersFrame](p.peer)
			do(p)
			if got := answered(k); got != want {
				t.Errorf("%q, want %q", got, want)
			}
			if told == "" {
				p.sync()
				k.WriteData([]byte("x"), true) //nolint:errcheck // the read tells
				k.Flush()
				k.Close()
				if !p.c.Reserve() {
					t.Error("the connection takes no more")
				}
				return
			}
			if got := p.fate(1); got != told {
				t.Errorf("the server hears %s, want %s", got, told)
			}
			k.Close()
		})
	}
	raw := func(kind http2.FrameType, flags http2.Flags, id uint32, payload string) func(*far) {
		return func(p *far) { p.WriteRawFrame(kind, flags, id, []byte(payload)) }
	}
	ok := func(then func(p *far)) func(*far) {
		return func(p *far) {
			p.say(1, false, ":status", "200")
			p.WriteData(1, false, []byte("hello"))
			then(p)
		}
	}
	head := func(fields ...string) func(*far) { return func(p *far) { p.say(1, true, fields...) } }
	end := func(p *far) { p.WriteData(1, true, nil) }
	const proto, flow, size = "goaway PROTOCOL_ERROR", "goaway FLOW_CONTROL_ERROR", "goaway FRAME_SIZE_ERROR"
	f("an answer", "200 hello", "", ok(end))
	f("a head alone", "204", "", head(":status", "204"))
	f("padding", "200 hello", "", func(p *far) {
		p.say(1, false, ":status", "200")
		p.WriteDataPadded(1, true, []byte("hello"), make([]byte, 200))
	})
	f("trailers", "200 hello; x-sum: 1", "", ok(func(p *far) { p.say(1, true, "x-sum", "1") }))
	f("interim answers", "100 103 200", "", func(p *far) {
		p.say(1, false, ":status", "100")
		p.say(1, false, ":status", "103", "link", "x")
		p.say(1, true, ":status", "200")
	})
	f("too many of them", strings.Repeat("103 ", mostInterim)+" error", "reset PROTOCOL_ERROR", func(p *far) {
		for range mostInterim + 1 {
			p.say(1, false, ":status", "103")
		}
	})
	f("too much of them", "103 103 103  error", "reset PROTOCOL_ERROR", func(p *far) {
		for range 4 {
			p.say(1, false, ":status", "103", "x", strings.Repeat("x", 1300))
		}
	})
	f("unknown frames", "200 hello", "", func(p *far) {
		raw(0x55, 0xff, 1, "abc")(p)
		ok(end)(p)
	})
	f("an early answer", "200 hello", "", ok(func(p *far) {
		end(p)
		p.WriteRSTStream(1, http2.ErrCodeNo)
	}))
	f("a reset amid", "200 hello cut", "", ok(func(p *far) { p.WriteRSTStream(1, http2.ErrCodeNo) }))
	f("a reset", "error", "", func(p *far) { p.WriteRSTStream(1, http2.ErrCodeInternal) })
	f("a length", "200 hello", "", func(p *far) {
		p.say(1, false, ":status", "200", "content-length", "5")
		p.WriteData(1, true, []byte("hello"))
	})
	f("a length that two say", "200 hello", "", func(p *far) {
		p.say(1, false, ":status", "200", "content-length", "5", "content-length", "6")
		p.WriteData(1, true, []byte("hello"))
	})
	f("more than it", "200 hell cut", "reset PROTOCOL_ERROR", func(p *far) {
		p.say(1, false, ":status", "200", "content-length", "4")
		p.WriteData(1, true, []byte("hello"))
	})
	f("less than it", "200 hello cut", "reset PROTOCOL_ERROR", func(p *far) {
		p.say(1, false, ":status", "200", "content-length", "6")
		p.WriteData(1, true, []byte("hello"))
	})
	f("less than it, and trailers", "200 hello cut", "reset PROTOCOL_ERROR", func(p *far) {
		p.say(1, false, ":status", "200", "content-length", "6")
		p.WriteData(1, false, []byte("hello"))
		p.say(1, true, "a", "b")
	})
	f("nothing of it", "200  cut", "reset PROTOCOL_ERROR", head(":status", "200", "content-length", "6"))
	f("no body, of some length", "304", "", head(":status", "304", "content-length", "6"))
	f("a body that must not be", "204  cut", "reset PROTOCOL_ERROR", func(p *far) {
		p.say(1, false, ":status", "204")
		p.WriteData(1, true, []byte("hello"))
	})
	for _, bad := range [][]string{
		{"x", "y"}, {":status", "1000"}, {":status", "20"}, {":status", "099"}, {":status", "600"}, {":status", "+20"}, {":status", "101"}, {":status", "103"}, {":status", ""},
		{":status", "200", ":status", "200"}, {"x", "y", ":status", "200"}, {":status", "200", ":path", "/"}, {":method", "GET"}, {":status", "200", "X-A", "b"}, {":status", "200", "", "b"},
		{":status", "200", "a b", "c"}, {":status", "200", "a", "b\r\nc: d"}, {":status", "200", "a", "b\x00"}, {":status", "200", "a", " b"}, {":status", "200", "connection", "close"},
		{":status", "200", "transfer-encoding", "chunked"}, {":status", "200", "upgrade", "x"}, {":status", "200", "keep-alive", "x"}, {":status", "200", "x", strings.Repeat("x", 5000)},
	} {
		f(strings.Join(bad, " "), "error", "reset PROTOCOL_ERROR", head(bad...))
	}
	f("framing in trailers", "200 hello; x: y", "", ok(func(p *far) {
		p.say(1, true, "transfer-encoding", "chunked", "content-length", "7", "connection", "close", "x", "y")
	}))
	f("a status in trailers", "200 hello cut", "reset PROTOCOL_ERROR", ok(func(p *far) { p.say(1, true, ":status", "200") }))
	f("trailers without end", "200 hello cut", "reset PROTOCOL_ERROR", ok(func(p *far) { p.say(1, false, "a", "b") }))
	f("data before a head", "error", "reset PROTOCOL_ERROR", end)
	f("data behind the end", "200 hello", "reset STREAM_CLOSED", ok(func(p *far) {
		end(p)
		p.WriteData(1, false, []byte("more"))
	}))
	f("a head behind the end", "200 hello", "reset STREAM_CLOSED", ok(func(p *far) {
		end(p)
		p.say(1, true, "a", "b")
	}))
	f("a push", "error", proto, func(p *far) {
		p.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: p.fields(), EndHeaders: true})
	})
	f("push is allowed", "error", proto, func(p *far) { p.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 1}) })
	f("data of no stream", "error", proto, raw(http2.FrameData, 0, 0, "a"))
	f("data of a stream that is none", "error", proto, raw(http2.FrameData, 0, 3, "a"))
	f("data of a server's stream", "error", proto, raw(http2.FrameData, 0, 2, "a"))
	f("a head of a stream that is none", "error", proto, func(p *far) { p.say(3, true, ":status", "200") })
	f("a head of a server's stream", "error", proto, func(p *far) { p.say(2, true, ":status", "200") })
	f("a head of no stream", "error", proto, func(p *far) { p.say(0, true, ":status", "200") })
	f("a reset of a stream that is none", "error", proto, raw(http2.FrameRSTStream, 0, 3, "abcd"))
	f("a window of a stream that is none", "error", proto, raw(http2.FrameWindowUpdate, 0, 3, "\x00\x00\x00\x01"))
	f("a short reset", "error", size, raw(http2.FrameRSTStream, 0, 1, "abc"))
	f("a window of nothing", "error", "reset PROTOCOL_ERROR", raw(http2.FrameWindowUpdate, 0, 1, "\x00\x00\x00\x00"))
	f("a window of nothing for all", "error", proto, raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00"))
	f("a window too large", "error", "reset FLOW_CONTROL_ERROR", raw(http2.FrameWindowUpdate, 0, 1, "\x7f\xff\xff\xff"))
	f("a window too large for all", "error", flow, raw(http2.FrameWindowUpdate, 0, 0, "\x7f\xff\xff\xff"))
	f("windows too large at once", "error", flow, func(p *far) {
		p.WriteWindowUpdate(1, 1<<30)
		p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	})
	f("a window larger than there is", "error", flow, func(p *far) { p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}) })
	f("frames too small", "error", proto, func(p *far) { p.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 100}) })
	f("half a setting", "error", size, raw(http2.FrameSettings, 0, 0, "abcd"))
	f("settings of a stream", "error", proto, raw(http2.FrameSettings, 0, 1, ""))
	f("extended CONNECT taken back", "error", proto, func(p *far) {
		p.WriteSettings(http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
		p.WriteSettings(http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 0})
	})
	f("a ping of a stream", "error", proto, raw(http2.FramePing, 0, 1, "12345678"))
	f("a short ping", "error", size, raw(http2.FramePing, 0, 0, "1234"))
	f("a short goaway", "error", size, raw(http2.FrameGoAway, 0, 0, "1234"))
	f("a goaway of a stream", "error", proto, raw(http2.FrameGoAway, 0, 1, "12345678"))
	f("a frame too large", "error", size, raw(http2.FrameData, 0, 1, strings.Repeat("x", maxFrame+1)))
	f("no HPACK", "error", "goaway COMPRESSION_ERROR", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	f("a bomb of HPACK", "error", "goaway ENHANCE_YOUR_CALM", func(p *far) {
		p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: make([]byte, 100)})
		for p.WriteContinuation(1, false, make([]byte, maxFrame)) == nil {
		}
	})
	f("another frame within a head", "error", proto, func(p *far) {
		p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x88}})
		p.WritePing(false, [8]byte{})
	})
	f("a continuation of nothing", "error", proto, raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 1, "\x88"))
}

// TestNotHTTP2: a server of something else is none, and is said to be.
func TestNotHTTP2(t *testing.T) {
	for _, says := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"} {
		p := silentFar(t, clientOptions())
		io.WriteString(p.nc, says)
		if err := p.c.Ready(time.Now().Add(5 * time.Second)); !errors.Is(err, errNoHTTP) {
			t.Errorf("%q: %v", says, err)
		}
		if p.c.Reserve() || p.c.Usable() {
			t.Error("it is used")
		}
	}
	p := silentFar(t, clientOptions())
	if err := p.c.Ready(time.Now().Add(10 * time.Millisecond)); err != errDead {
		t.Errorf("one that says nothing: %v", err)
	}
}
