package gateway

import (
	"io"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"weir/internal/mono"
)

// TestFloodsProvoked: a client that has the gateway reset its streams (CVE-2025-8671), or has it work at what is no request in other ways, loses its connection as
// one that resets them itself.
func TestFloodsProvoked(t *testing.T) {
	up := endpoint(t, "http1", func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			<-r.Context().Done()
		}
	})
	f := func(name string, flood func(k *rawH2, i int, id uint32) error) {
		t.Run(name, func(t *testing.T) {
			k := dialH2(t, newGateway(t, poolYAML("", up)+"routes: [{name: all, match: {path: /*}, pool: api}]\n"))
			read := make(chan struct{})
			var code http2.ErrCode
			var told bool
			go func() {
				defer close(read)
				code, told = k.ended()
			}()
			k.AllowIllegalWrites = true
			for i := range 100_000 {
				if flood(k, i, uint32(2*i+1)) != nil {
					break
				}
			}
			<-read
			if told && code == http2.ErrCodeNo {
				t.Errorf("ended with %v", code)
			}
		})
	}
	open := func(k *rawH2, id uint32, end bool, fields ...string) error {
		return k.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: k.request(fields...), EndHeaders: true, EndStream: end})
	}
	provoke := func(name string, end bool, how func(k *rawH2, id uint32) error) {
		f(name, func(k *rawH2, i int, id uint32) error {
			if err := open(k, id, end); err != nil {
				return err
			}
			return how(k, id)
		})
	}
	provoke("window update of nothing", true, func(k *rawH2, id uint32) error { return k.WriteWindowUpdate(id, 0) })
	provoke("window too large", true, func(k *rawH2, id uint32) error { return k.WriteWindowUpdate(id, 1<<31-1) })
	provoke("priority on itself", true, func(k *rawH2, id uint32) error {
		return k.WritePriority(id, http2.PriorityParam{StreamDep: id})
	})
	provoke("data behind the end", true, func(k *rawH2, id uint32) error { return k.WriteData(id, false, []byte("x")) })
	provoke("a head behind the end", true, func(k *rawH2, id uint32) error { return open(k, id, true) })
	provoke("trailers without an end", false, func(k *rawH2, id uint32) error { return open(k, id, false) })
	f("more than declared", func(k *rawH2, i int, id uint32) error {
		if err := open(k, id, false, "content-length", "1"); err != nil {
			return err
		}
		return k.WriteData(id, false, []byte("xx"))
	})
	f("malformed heads", func(k *rawH2, i int, id uint32) error { return open(k, id, true, "x-a", "a\x00b") })
	f("fields of connections", func(k *rawH2, i int, id uint32) error { return open(k, id, true, "connection", "close") })
	f("data of streams that are over", func(k *rawH2, i int, id uint32) error {
		if i == 0 {
			return open(k, 1, true, "connection", "close")
		}
		return k.WriteData(1, false, []byte("x"))
	})
	f("padding", func(k *rawH2, i int, id uint32) error {
		if i == 0 {
			return open(k, 1, false)
		}
		return k.WriteDataPadded(1, false, nil, []byte{})
	})
	f("window updates", func(k *rawH2, i int, id uint32) error { return k.WriteWindowUpdate(0, 1) })
	f("window updates of streams that are over", func(k *rawH2, i int, id uint32) error {
		if i == 0 {
			return open(k, 1, true, "connection", "close")
		}
		return k.WriteWindowUpdate(1, 1)
	})
}

// TestFloodgate: what is free, what costs, and what gives back.
func TestFloodgate(t *testing.T) {
	const resets, control = 10, 100
	f := func(name string, want floodKind, do func(g *floodgate)) {
		t.Helper()
		g := newFloodgate(resets, control, 0)
		do(&g)
		if got, _ := g.flood(); got != want {
			t.Errorf("%s: %q, want %q", name, floodNames[got], floodNames[want])
		}
	}
	sends := func(n int, h header) func(*floodgate) {
		return func(g *floodgate) {
			for range n {
				g.sent(h, h.kind == http2.FrameData && h.length == 0, false, 0)
			}
		}
	}
	answers := func(n int, h header) func(*floodgate) {
		return func(g *floodgate) {
			for range n {
				g.answered(h, 0)
			}
		}
	}
	all := func(dos ...func(*floodgate)) func(*floodgate) {
		return func(g *floodgate) {
			for _, do := range dos {
				do(g)
			}
		}
	}
	served := func(n int, body bool) func(*floodgate) {
		return func(g *floodgate) {
			for range n {
				g.served(body)
			}
		}
	}
	left := func(n int, at mono.Time) func(*floodgate) {
		return func(g *floodgate) {
			for range n {
				g.left(at)
			}
		}
	}
	window, ping := header{kind: http2.FrameWindowUpdate}, header{kind: http2.FramePing}
	head, data := header{kind: http2.FrameHeaders, length: 1}, header{kind: http2.FrameData, length: 1}
	reset := func(code http2.ErrCode) header { return header{kind: http2.FrameRSTStream, code: code} }

	f("requests", noFlood, sends(10_000, head))
	f("data", noFlood, sends(10_000, data))
	f("pings", noFlood, sends(control, ping))
	f("more pings", tooManyFrames, sends(control+1, ping))
	f("pings and half a second", tooManyFrames, all(sends(control, ping), func(g *floodgate) { g.sent(ping, false, false, mono.Time(time.Second/2)) }))
	f("pings and a second", noFlood, all(sends(control, ping), func(g *floodgate) { g.sent(ping, false, false, mono.Time(time.Second)) }))
	f("a ping that was asked for", noFlood, all(sends(control, ping), func(g *floodgate) { g.sent(ping, false, true, 0) }))
	f("settings", tooManyFrames, sends(control/settingsCost+1, header{kind: http2.FrameSettings}))
	f("acknowledged settings", noFlood, sends(10_000, header{kind: http2.FrameSettings, flags: http2.FlagSettingsAck}))
	f("empty data", tooManyFrames, sends(control+1, header{kind: http2.FrameData}))
	f("pieces of heads", tooManyFrames, sends(control+1, header{kind: http2.FrameContinuation, length: 1}))
	f("windows without cause", tooManyFrames, sends(control+1, window))
	f("windows of answers", noFlood, all(answers(1000, data), sends(windowsPerFrame*1000+control, window)))
	f("more windows than answers", tooManyFrames, all(answers(1000, data), sends(windowsPerFrame*1000+control+1, window)))
	f("windows of requests", noFlood, all(sends(1000, head), sends(windowsPerHead*1000, window)))
	f("windows of answers long ago", tooManyFrames, all(answers(10*mostCredit, data), sends(mostCredit+control+1, window)))
	f("resets of the gateway's own", noFlood, all(answers(1000, reset(http2.ErrCodeNo)), answers(1000, reset(http2.ErrCodeInternal))))
	f("provoked resets", tooManyFrames, answers(control+1, reset(http2.ErrCodeProtocol)))
	f("data behind an early answer", noFlood, all(served(10, true), answers(10*latePerBody, reset(http2.ErrCodeStreamClosed))))
	f("data behind no body", tooManyFrames, all(served(10, false), answers(control+1, reset(http2.ErrCodeStreamClosed))))
	f("what the library ends", tooManyResets, answers(1, header{kind: http2.FrameGoAway, code: http2.ErrCodeEnhanceYourCalm}))
	f("a farewell", noFlood, answers(1, header{kind: http2.FrameGoAway, code: http2.ErrCodeNo}))
	f("requests given up", noFlood, left(resets, 0))
	f("more given up", tooManyResets, left(resets+1, 0))
	f("given up in a second", noFlood, all(left(resets, 0), left(1, mono.Time(time.Second))))
	f("two more given up in a second", tooManyResets, all(left(resets, 0), left(2, mono.Time(time.Second))))
	f("given up beside served", noFlood, all(left(resets, 0), served(3, false), left(3, 0)))
}

// TestFloodLog: the first flood is told at once, others together.
func TestFloodLog(t *testing.T) {
	var l floodLog
	f := func(at time.Duration, ok bool, unsaid int) {
		t.Helper()
		if n, may := l.may(mono.Time(at)); may != ok || n != unsaid {
			t.Errorf("%v: %v, %d unsaid", at, may, n)
		}
	}
	f(time.Second, true, 0)
	f(2*time.Second, false, 0)
	f(time.Second+floodLogEvery-1, false, 0)
	f(time.Second+floodLogEvery, true, 2)
	f(time.Hour, true, 0)
}

// TestFloodIsCounted: operators see which limit was passed, and on which listener.
func TestFloodIsCounted(t *testing.T) {
	g := newGateway(t, textRoute)
	k := dialH2(t, g)
	for range 10_000 {
		if k.WritePing(false, [8]byte{}) != nil {
			break
		}
	}
	k.ended()
	c := g.snap.Load().listeners["web"].floods
	for end := time.Now().Add(5 * time.Second); c[tooManyFrames].Value() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if frames, resets := c[tooManyFrames].Value(), c[tooManyResets].Value(); frames != 1 || resets != 0 {
		t.Errorf("%d and %d", frames, resets)
	}
}
