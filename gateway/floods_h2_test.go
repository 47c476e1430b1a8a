package gateway

import (
	"io"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"weir/internal/h2"
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
	for end := time.Now().Add(5 * time.Second); c[h2.TooManyFrames].Value() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if frames, resets := c[h2.TooManyFrames].Value(), c[h2.TooManyResets].Value(); frames != 1 || resets != 0 {
		t.Errorf("%d and %d", frames, resets)
	}
}
