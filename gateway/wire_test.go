package gateway

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// inBubble runs f with both ends of a pipe, in fake time.
func inBubble(t *testing.T, f func(t *testing.T, w *wire, peer net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		f(t, &wire{Conn: a}, b)
	})
}

func in(d time.Duration) mono.Time { return mono.Now().Add(d) }

// after runs f in d, beside the test.
func after(d time.Duration, f func()) {
	go func() {
		time.Sleep(d)
		f()
	}()
}

// wantRead reads one byte and says how it must end and when.
func wantRead(t *testing.T, w *wire, wait time.Duration, want error) {
	t.Helper()
	var b [1]byte
	from := time.Now()
	_, err := w.Read(b[:])
	if took := time.Since(from); !errors.Is(err, want) || took != wait {
		t.Errorf("read gave %v after %v, want %v after %v", err, took, want, wait)
	}
}

func sendIn(peer net.Conn, d time.Duration) {
	after(d, func() { peer.Write([]byte{1}) }) //nolint:errcheck // the reader says what is missing
}

const ms = time.Millisecond

var late = os.ErrDeadlineExceeded

func TestReadEndsAtTheDueInstant(t *testing.T) {
	f := func(name string, steps func(t *testing.T, w *wire, peer net.Conn)) {
		t.Run(name, func(t *testing.T) { inBubble(t, steps) })
	}
	f("nothing comes", func(t *testing.T, w *wire, _ net.Conn) {
		w.readBy(in(10 * ms))
		wantRead(t, w, 10*ms, late)
		w.readBy(in(20 * ms))
		wantRead(t, w, 20*ms, late)
	})
	f("moved later between reads", func(t *testing.T, w *wire, peer net.Conn) {
		w.readBy(in(10 * ms))
		sendIn(peer, 5*ms)
		wantRead(t, w, 5*ms, nil)
		w.readBy(in(100 * ms)) // the socket is armed at 10 ms and fires early
		sendIn(peer, 50*ms)
		wantRead(t, w, 50*ms, nil)
	})
	f("moved later while a read waits", func(t *testing.T, w *wire, _ net.Conn) {
		w.readBy(in(10 * ms))
		after(5*ms, func() { w.readBy(in(95 * ms)) })
		wantRead(t, w, 100*ms, late)
	})
	f("moved earlier between reads", func(t *testing.T, w *wire, peer net.Conn) {
		w.readBy(in(100 * ms))
		sendIn(peer, 5*ms)
		wantRead(t, w, 5*ms, nil)
		w.readBy(in(10 * ms))
		wantRead(t, w, 10*ms, late)
	})
	f("hastened while a read waits", func(t *testing.T, w *wire, _ net.Conn) {
		w.readBy(in(100 * ms))
		after(5*ms, func() { w.hastenRead(in(10 * ms)) })
		wantRead(t, w, 15*ms, late)
	})
	f("hastened while a read waits for ever", func(t *testing.T, w *wire, _ net.Conn) {
		after(5*ms, func() { w.hastenRead(in(10 * ms)) })
		wantRead(t, w, 15*ms, late)
	})
	f("none any more", func(t *testing.T, w *wire, peer net.Conn) {
		w.readBy(in(10 * ms))
		sendIn(peer, 5*ms)
		wantRead(t, w, 5*ms, nil)
		w.readBy(0)
		sendIn(peer, time.Hour)
		wantRead(t, w, time.Hour, nil)
		w.readBy(in(10 * ms))
		wantRead(t, w, 10*ms, late)
	})
	f("the peer ends first", func(t *testing.T, w *wire, peer net.Conn) {
		w.readBy(in(10 * ms))
		after(5*ms, func() { peer.Close() })
		wantRead(t, w, 5*ms, io.EOF)
	})
}

// TestReadOfAnyDueInstants holds reads against what a deadline per read would do.
func TestReadOfAnyDueInstants(t *testing.T) {
	type step struct{ due, gap int } // milliseconds until the read must end, 0 never, and until a byte comes
	gen := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{rapid.IntRange(0, 40).Draw(t, "due"), rapid.IntRange(1, 40).Draw(t, "gap")}
	}), 1, 12)
	rapid.Check(t, func(rt *rapid.T) {
		steps := gen.Draw(rt, "steps")
		inBubble(t, func(t *testing.T, w *wire, peer net.Conn) {
			for _, s := range steps {
				due, gap := time.Duration(s.due)*ms, time.Duration(s.gap)*ms
				if due == gap {
					continue // either is right
				}
				w.readBy(0)
				if due > 0 {
					w.readBy(in(due))
				}
				sendIn(peer, gap)
				if due == 0 || gap < due {
					wantRead(t, w, gap, nil)
					continue
				}
				wantRead(t, w, due, late)
				w.readBy(0)
				wantRead(t, w, gap-due, nil)
			}
		})
		if t.Failed() {
			rt.Fatal(steps)
		}
	})
}

func TestAbortEndsReads(t *testing.T) {
	inBubble(t, func(t *testing.T, w *wire, peer net.Conn) {
		w.readBy(in(time.Hour))
		after(5*ms, w.abort)
		wantRead(t, w, 5*ms, errAborted)
		wantRead(t, w, 0, errAborted)
		w.readBy(in(time.Hour)) // moves nothing
		wantRead(t, w, 0, errAborted)
		w.readBy(0)
		wantRead(t, w, 0, errAborted)
	})
	inBubble(t, func(t *testing.T, w *wire, _ net.Conn) { // before any read, and without a due instant
		w.abort()
		wantRead(t, w, 0, errAborted)
	})
	inBubble(t, func(t *testing.T, w *wire, _ net.Conn) {
		after(5*ms, w.abort)
		wantRead(t, w, 5*ms, errAborted)
	})
}

// take reads n bytes from peer, each d after the one before, and returns what came.
func take(peer net.Conn, n int, d time.Duration) chan []byte {
	got := make(chan []byte, 1)
	go func() {
		var all []byte
		for len(all) < n {
			time.Sleep(d)
			b := make([]byte, 1)
			m, err := peer.Read(b)
			all = append(all, b[:m]...)
			if err != nil {
				break
			}
		}
		got <- all
	}()
	return got
}

func wantWrite(t *testing.T, w *wire, p []byte, n int, wait time.Duration, want error) {
	t.Helper()
	from := time.Now()
	m, err := w.Write(p)
	if took := time.Since(from); m != n || !errors.Is(err, want) || took != wait {
		t.Errorf("write of %d bytes gave %d, %v after %v; want %d, %v after %v", len(p), m, err, took, n, want, wait)
	}
}

func TestWriteEndsAtTheDueInstant(t *testing.T) {
	hello := []byte("hello")
	inBubble(t, func(t *testing.T, w *wire, peer net.Conn) { // nobody reads
		w.writeBy(in(10 * ms))
		wantWrite(t, w, hello, 0, 10*ms, late)
		w.writeBy(in(20 * ms))
		wantWrite(t, w, hello, 0, 20*ms, late)
	})
	inBubble(t, func(t *testing.T, w *wire, peer net.Conn) { // too slowly
		w.writeBy(in(25 * ms))
		take(peer, 2, 10*ms)
		wantWrite(t, w, hello, 2, 25*ms, late)
	})
	inBubble(t, func(t *testing.T, w *wire, peer net.Conn) { // an early deadline in the middle of a write neither ends nor repeats it
		got := take(peer, 1, 0)
		w.writeBy(in(15 * ms))
		wantWrite(t, w, hello[:1], 1, 0, nil)
		<-got
		w.writeBy(in(time.Second))
		got = take(peer, 5, 10*ms)
		wantWrite(t, w, hello, 5, 50*ms, nil)
		if b := <-got; !bytes.Equal(b, hello) {
			t.Errorf("peer got %q", b)
		}
	})
	inBubble(t, func(t *testing.T, w *wire, peer net.Conn) { // moved earlier
		got := take(peer, 1, 0)
		w.writeBy(in(time.Second))
		wantWrite(t, w, hello[:1], 1, 0, nil)
		<-got
		w.writeBy(in(10 * ms))
		wantWrite(t, w, hello, 0, 10*ms, late)
	})
	inBubble(t, func(t *testing.T, w *wire, peer net.Conn) { // none any more
		got := take(peer, 1, 0)
		w.writeBy(in(10 * ms))
		wantWrite(t, w, hello[:1], 1, 0, nil)
		<-got
		w.writeBy(0)
		take(peer, 5, time.Hour)
		wantWrite(t, w, hello, 5, 5*time.Hour, nil)
	})
}

func TestWriteGoesOnWithEnoughProgress(t *testing.T) {
	const grace = rateGrace
	hundred := bytes.Repeat([]byte("x"), 100)
	inBubble(t, func(t *testing.T, w *wire, peer net.Conn) { // ten bytes a second, and five are enough
		w.least = 5 * int64(grace/time.Second)
		w.writeBy(in(grace))
		got := take(peer, 100, 100*ms)
		wantWrite(t, w, hundred, 100, 10*time.Second, nil)
		if b := <-got; !bytes.Equal(b, hundred) {
			t.Errorf("peer got %d bytes", len(b))
		}
	})
	inBubble(t, func(t *testing.T, w *wire, peer net.Conn) { // it began well, then stopped
		w.least = 5 * int64(grace/time.Second)
		w.writeBy(in(grace))
		take(peer, 60, 100*ms)
		wantWrite(t, w, hundred, 60, 2*grace, late)
	})
	inBubble(t, func(t *testing.T, w *wire, peer net.Conn) { // one byte too few
		w.least = 11
		w.writeBy(in(grace))
		take(peer, 10, 100*ms)
		wantWrite(t, w, hundred, 10, grace, late)
	})
	inBubble(t, func(t *testing.T, w *wire, peer net.Conn) { // TLS cannot go on after a write that timed out
		w.least, w.final = 1, true
		w.writeBy(in(grace))
		take(peer, 10, 100*ms)
		wantWrite(t, w, hundred, 10, grace, late)
	})
}
