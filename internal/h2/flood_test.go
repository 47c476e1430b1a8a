package h2

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"weir/internal/mono"
)

// TestFloods: a client that makes work for nothing, or has the server reset its streams (CVE-2025-8671), loses its connection.
func TestFloods(t *testing.T) {
	f := func(name string, flood func(p *peer, i int, id uint32) error) {
		t.Run(name, func(t *testing.T) {
			o := options()
			o.Streams = 100
			p := dial(t, o)
			over := make(chan string)
			go func() { over <- p.fate(1 << 30) }()
			for i := range 100_000 {
				if flood(p, i, uint32(2*i+1)) != nil {
					break
				}
			}
			if got := <-over; got != "goaway ENHANCE_YOUR_CALM" && got != "closed" {
				t.Error(got)
			}
		})
	}
	hangs := func(p *peer, id uint32, end bool) error { return p.ask(id, end, ":path", "/hang") }
	f("resets", func(p *peer, _ int, id uint32) error {
		hangs(p, id, true)
		return p.WriteRSTStream(id, http2.ErrCodeCancel)
	})
	f("pings", func(p *peer, i int, _ uint32) error { return p.WritePing(false, [8]byte{byte(i)}) })
	f("answers to no ping", func(p *peer, i int, _ uint32) error { return p.WritePing(true, [8]byte{byte(i)}) })
	f("settings", func(p *peer, _ int, _ uint32) error { return p.WriteSettings() })
	f("priorities", func(p *peer, i int, id uint32) error { return p.WritePriority(id, http2.PriorityParam{Weight: 1}) })
	f("unknown frames", func(p *peer, _ int, _ uint32) error { return p.WriteRawFrame(0xbb, 0, 0, nil) })
	f("empty continuations", func(p *peer, i int, _ uint32) error {
		if i == 0 {
			return p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields()})
		}
		return p.WriteContinuation(1, false, nil)
	})
	f("a head without end", func(p *peer, i int, _ uint32) error {
		b := p.fields("x-long", string(bytes.Repeat([]byte{1}, 8000)))
		if i == 0 {
			return p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b})
		}
		return p.WriteContinuation(1, false, b)
	})
	f("empty data", func(p *peer, i int, _ uint32) error {
		if i == 0 {
			return p.ask(1, false)
		}
		return p.WriteData(1, false, nil)
	})
	f("padding", func(p *peer, i int, _ uint32) error {
		if i == 0 {
			return p.ask(1, false)
		}
		return p.WriteDataPadded(1, false, nil, make([]byte, 5))
	})
	f("windows", func(p *peer, _ int, _ uint32) error { return p.WriteWindowUpdate(0, 1) })
	f("windows of what is over", func(p *peer, i int, _ uint32) error {
		if i == 0 {
			return p.ask(1, true)
		}
		return p.WriteWindowUpdate(1, 1)
	})
	f("data of what is over", func(p *peer, i int, _ uint32) error {
		if i == 0 {
			return p.ask(1, true)
		}
		return p.WriteData(1, false, []byte("x"))
	})
	f("heads of what was reset", func(p *peer, i int, _ uint32) error { return p.ask(1, true, "connection", "x") })
	f("malformed heads", func(p *peer, _ int, id uint32) error { return p.ask(id, true, "connection", "close") })
	f("refused streams", func(p *peer, _ int, id uint32) error { return hangs(p, id, true) })
	for name, do := range map[string]func(p *peer, id uint32) error{
		"windows of nothing":      func(p *peer, id uint32) error { return p.WriteWindowUpdate(id, 0) },
		"windows too large":       func(p *peer, id uint32) error { return p.WriteWindowUpdate(id, 1<<31-1) },
		"priorities on itself":    func(p *peer, id uint32) error { return p.WritePriority(id, http2.PriorityParam{StreamDep: id}) },
		"data behind the end":     func(p *peer, id uint32) error { return p.WriteData(id, false, []byte("x")) },
		"heads behind the end":    func(p *peer, id uint32) error { return p.ask(id, true) },
		"more than was declared":  func(p *peer, id uint32) error { return p.WriteData(id, true, []byte("x")) },
		"trailers without an end": func(p *peer, id uint32) error { return p.ask(id, false) },
	} {
		f(name, func(p *peer, _ int, id uint32) error {
			if err := hangs(p, id, name != "trailers without an end"); err != nil {
				return err
			}
			return do(p, id)
		})
	}
}

// TestNoFlood: a client that asks, pings and cancels now and then keeps its connection.
func TestNoFlood(t *testing.T) {
	p := dial(t, options())
	id := uint32(1)
	for i := range 2000 {
		p.ask(id, true)
		if got := p.fate(id); got != "end" {
			t.Fatalf("request %d: %s", i, got)
		}
		p.WriteWindowUpdate(0, 10)
		if i%4 == 0 {
			p.WriteRSTStream(id, http2.ErrCodeStreamClosed)
			p.ask(id+2, true, ":path", "/hang")
			p.WriteRSTStream(id+2, http2.ErrCodeCancel)
			p.WritePing(false, [8]byte{})
		}
		id += 4
	}
}

// TestFloodgate: what is free, what costs, and what gives back.
func TestFloodgate(t *testing.T) {
	const resets, control = 10, 100
	at := mono.Time(0)
	now := func() mono.Time { return at }
	f := func(name string, want Flood, dos ...func(g *floodgate)) {
		t.Helper()
		at = 0
		g := newFloodgate(resets, control, 0)
		for _, do := range dos {
			do(&g)
		}
		if g.over != want {
			t.Errorf("%s: %d, want %d", name, g.over, want)
		}
	}
	times := func(n int, do func(g *floodgate)) func(*floodgate) {
		return func(g *floodgate) {
			for range n {
				do(g)
			}
		}
	}
	sends := func(n int, h header) func(*floodgate) { return times(n, func(g *floodgate) { g.sent(h, now) }) }
	later := func(d time.Duration) func(*floodgate) { return func(*floodgate) { at = at.Add(d) } }
	said := func(n int) func(*floodgate) { return times(n, func(g *floodgate) { g.said(windowEvery) }) }
	served := func(n int, body bool) func(*floodgate) {
		return times(n, func(g *floodgate) { g.served(body) })
	}
	left := func(n int) func(*floodgate) { return times(n, func(g *floodgate) { g.left(at) }) }
	provoked := func(n int) func(*floodgate) { return times(n, func(g *floodgate) { g.provoked(at) }) }
	behind := func(n int) func(*floodgate) { return times(n, func(g *floodgate) { g.behind(1, at) }) }
	window, ping, head := header{kind: frameWindowUpdate}, header{kind: framePing}, header{kind: frameHeaders, length: 1}

	f("requests", NoFlood, sends(10_000, head))
	f("data", NoFlood, sends(10_000, header{kind: frameData, length: 1}))
	f("pings", NoFlood, sends(control, ping))
	f("more pings", TooManyFrames, sends(control+1, ping))
	f("pings and half a second", TooManyFrames, sends(control, ping), later(time.Second/2), sends(1, ping))
	f("pings and a second", NoFlood, sends(control, ping), later(time.Second), sends(control/framesRefill, ping))
	f("a ping that was asked for", NoFlood, sends(control, ping), (*floodgate).awaited, sends(1, ping))
	f("settings", TooManyFrames, sends(control/settingsCost+1, header{kind: frameSettings}))
	f("acknowledged settings", NoFlood, sends(10_000, header{kind: frameSettings, flags: flagAck}))
	f("empty data", TooManyFrames, times(control+1, func(g *floodgate) { g.barren(at) }))
	f("empty heads", TooManyFrames, sends(control+1, header{kind: frameHeaders}))
	f("pieces of heads", TooManyFrames, sends(control+1, header{kind: frameContinuation, length: 1}))
	f("windows without cause", TooManyFrames, sends(control+1, window))
	f("windows of answers", NoFlood, said(1000), sends((windowsPerFrame+1)*1000+control, window))
	f("more windows than answers", TooManyFrames, said(1000), sends((windowsPerFrame+1)*1000+control+1, window))
	f("windows of requests", NoFlood, sends(1000, head), sends(windowsPerHead*1000, window))
	f("windows of answers long ago", TooManyFrames, said(10*mostCredit), sends(mostCredit+control+1, window))
	f("provoked resets", TooManyFrames, provoked(control+1))
	f("data behind an early answer", NoFlood, served(10, true), behind(10*latePerBody))
	f("data behind no body", TooManyFrames, served(10, false), behind(control+1))
	f("requests given up", NoFlood, left(resets))
	f("more given up", TooManyResets, left(resets+1))
	f("given up in a second", NoFlood, left(resets), later(time.Second), left(1))
	f("two more given up in a second", TooManyResets, left(resets), later(time.Second), left(2))
	f("given up beside served", NoFlood, left(resets), served(3, false), left(3))
}

func TestAllowance(t *testing.T) {
	a := newAllowance(3, 2, 0)
	f := func(at time.Duration, n int64, want bool) {
		t.Helper()
		if got := a.take(n, mono.Time(at)); got != want {
			t.Errorf("%v: %v", at, got)
		}
	}
	f(0, 2, true)
	f(0, 2, false)
	f(0, 1, true)
	f(999*time.Millisecond, 1, false)
	f(1500*time.Millisecond, 2, true)
	f(1900*time.Millisecond, 1, false)
	f(2*time.Second, 2, true)
	f(time.Hour, 4, false)
	f(time.Hour, 3, true)
	a.give(1)
	f(time.Hour, 1, true)
	f(time.Minute, 1, false)
}
