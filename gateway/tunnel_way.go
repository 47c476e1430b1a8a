package gateway

import (
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/http1"
	"weir/internal/mono"
	"weir/internal/websocket"
	"weir/telemetry"
)

// way is one direction of a tunnel. One goroutine reads and writes; any may put a Close behind a frame.
type way struct {
	t        *tunnel
	src, dst *wire
	idler    *idleRead // src is a socket in clear text: waits without a buffer; nil: it is not
	by       *paced
	sum      *telemetry.Flow
	counted  *oneWay      // nil: no policy goes by its messages
	last     atomic.Int64 // mono.Time of the last bytes
	closing  atomic.Bool  // a Close is to be said

	bytes int64  // passed
	buf   []byte // between a read and its write
	few   []byte // where src is no socket in clear text: to wait in
	many  bool   // the last read filled its buffer

	mu     sync.Mutex // held while something is written to dst
	frames websocket.Frames
	said   bool // the last was a Close of ours
}

// Where bytes cannot be waited for without a buffer, it is one of fewBytes.
const (
	fewBytes   = 1 << 10
	closeStall = time.Second // how long somebody may take no Close
)

// run passes bytes until one side ends, which the other one is told. A tunnel of which one way breaks ends.
func (w *way) run(early []byte) {
	defer w.t.gw.shield("tunnel", w.t.end)
	err := w.pass(early)
	for err == nil {
		var p []byte
		if p, err = w.read(); len(p) > 0 {
			if broken := w.pass(p); broken != nil {
				err = broken
			}
			if w.t.payer != nil {
				w.t.pay(mono.Now())
			}
		}
		w.free()
		if err == nil && w.answered() {
			w.t.hurry()
			err = io.EOF
		}
	}
	if errors.Is(err, io.EOF) && w.endWrites() {
		return
	}
	w.t.end()
}

// pay charges for what has passed both ways, once in a while; whichever way bytes go.
func (t *tunnel) pay(now mono.Time) {
	if !t.paying.TryLock() {
		return // the other way is at it
	}
	defer t.paying.Unlock()
	t.payer.settleAsItGoes(now)
}

// answered reports whether the client has answered the Close that it was sent. The endpoint got that answer.
func (w *way) answered() bool {
	if w != &w.t.in || !w.t.leaving.Load() {
		return false
	}
	_, closed := w.frames.Closed()
	return closed
}

// endWrites passes the end of src on, if dst knows such a thing.
func (w *way) endWrites() bool {
	c, ok := w.dst.Conn.(interface{ CloseWrite() error })
	return ok && c.CloseWrite() == nil
}

// read waits for bytes.
func (w *way) read() ([]byte, error) {
	var n int
	var err error
	if w.idler != nil {
		n, err = w.idler.read(w.src)
		w.many = n > 0 && n == len(w.buf)
	} else {
		if w.many {
			w.buf = http1.AcquireBuffer(http1.LargeBuffer)
		} else if w.few == nil {
			w.few = make([]byte, fewBytes)
		}
		b := w.buf
		if b == nil {
			b = w.few
		}
		n, err = w.src.Read(b)
		w.many = !w.many && n == len(b)
		if n > 0 {
			w.last.Store(int64(mono.Now()))
		}
		return b[:n], err
	}
	if n == 0 {
		if err == nil {
			err = io.EOF
		}
		return nil, err
	}
	w.last.Store(int64(mono.Now()))
	return w.buf[:n], err
}

// room is the buffer to read into.
func (w *way) room() []byte {
	if w.buf == nil {
		n := http1.SmallBuffer
		if w.many {
			n = http1.LargeBuffer
		}
		w.buf = http1.AcquireBuffer(n)
	}
	return w.buf
}

// free gives it back.
func (w *way) free() {
	if w.buf != nil {
		http1.ReleaseBuffer(w.buf)
		w.buf = nil
	}
}

// pass writes p as its flow allows.
func (w *way) pass(p []byte) error {
	for len(p) > 0 {
		n := w.by.next(len(p), always, w.t.cut.Load)
		if n == 0 {
			return errAborted
		}
		if err := w.write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func (w *way) write(p []byte) error {
	w.mu.Lock()
	err := w.writeLocked(p)
	w.mu.Unlock()
	if w.closing.Load() {
		w.sayClose()
	}
	return err
}

// writeLocked writes p; behind a Close of ours it drops it. While a Close is to be said it writes no further than to the end of a frame.
func (w *way) writeLocked(p []byte) error {
	if w.said {
		return nil
	}
	n := len(p)
	if w.t.websocket {
		before := w.frames.Messages()
		if w.closing.Load() {
			if n = w.frames.FeedFrame(p); !w.frames.Between() {
				w.frames.Feed(p[n:])
				n = len(p)
			}
		} else {
			w.frames.Feed(p)
		}
		passed := w.frames.Messages() - before
		w.sum.Messages.Add(uint64(passed))
		if w.counted != nil {
			w.counted.n.Add(passed)
		}
	}
	now := mono.Now()
	stall := w.t.idle
	if stall <= 0 {
		stall = longStall
	}
	w.dst.writeBy(now.Add(stall))
	if _, err := w.dst.Write(p[:n]); err != nil {
		return err
	}
	w.last.Store(int64(now))
	w.bytes += int64(n)
	w.sum.Bytes.Add(uint64(n))
	if n < len(p) {
		w.sayCloseLocked()
	}
	return nil
}

// sayClose says the Close that is to be said, if the last frame has passed to its end; else whoever writes does that then.
func (w *way) sayClose() {
	if w.mu.TryLock() { // who holds it looks afterwards
		w.sayCloseLocked()
		w.mu.Unlock()
	}
}

func (w *way) sayCloseLocked() {
	if w.said || !w.frames.Between() {
		return
	}
	w.said = true
	var mask *[4]byte
	if w.frames.Masked {
		r := rand.Uint32()
		mask = &[4]byte{byte(r), byte(r >> 8), byte(r >> 16), byte(r >> 24)}
	}
	w.dst.writeBy(mono.Now().Add(closeStall))
	w.dst.Write(websocket.AppendClose(nil, websocket.GoingAway, w.t.why.reason(), mask)) //nolint:errcheck // nothing to be done about it
}
