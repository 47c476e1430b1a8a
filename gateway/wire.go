package gateway

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir/internal/mono"
	"weir/internal/socket"
)

var (
	errAborted = errors.New("aborted")
	errRoused  = errors.New("roused")
)

// wire is a connection whose deadlines cost a system call only when they come near.
//
// A deadline here is a due instant that may be moved freely. The socket's own deadline is armed at some instant not later
// than it; when that one fires early, it is armed anew and the call goes on. So a connection that serves thousands of
// requests a second arms its socket about once per timeout, and a due instant is never missed.
type wire struct {
	net.Conn
	writer     *rawWriter   // cleartext on a socket; nil: writes go through Conn
	rdue, wdue atomic.Int64 // mono.Time; 0 is none
	warmed     mono.Time    // what the socket has; owned by the writing goroutine
	reads      int          // calls of Read; owned by the reading goroutine
	least      int64        // bytes that a write must make in rateGrace to go on; 0: it ends at its due instant
	final      bool         // TLS, or a stream of HTTP/2: a write that timed out cannot be resumed

	arming sync.Mutex   // arms the socket's read deadline; taken only when that is due
	rarmed atomic.Int64 // what the socket has

	aborted atomic.Bool
	roused  atomic.Bool // the wait between requests is over
	between bool        // that wait is on; owned by the reading goroutine
}

func (w *wire) readBy(t mono.Time)  { w.rdue.Store(int64(t)) }
func (w *wire) writeBy(t mono.Time) { w.wdue.Store(int64(t)) }

// hastenRead sets the read deadline from another goroutine than the reading one, which may be waiting already.
func (w *wire) hastenRead(t mono.Time) {
	w.rdue.Store(int64(t))
	w.arming.Lock()
	defer w.arming.Unlock()
	if armed := mono.Time(w.rarmed.Load()); armed == 0 || armed > t {
		w.armLocked(t)
	}
}

// armLocked sets the socket's read deadline; 0 is none. An error is left to the read to report.
func (w *wire) armLocked(t mono.Time) {
	w.rarmed.Store(int64(t))
	var at time.Time
	if t != 0 {
		at = t.Wall()
	}
	w.Conn.SetReadDeadline(at) //nolint:errcheck // see above
}

// abort makes the pending and all later reads fail with errAborted. From any goroutine.
func (w *wire) abort() { w.stopReads(&w.aborted) }

// rouse makes a wait between requests fail with errRoused, now or when it begins. Other reads are not disturbed. From any
// goroutine.
func (w *wire) rouse() { w.stopReads(&w.roused) }

func (w *wire) stopReads(why *atomic.Bool) {
	why.Store(true)
	w.arming.Lock()
	defer w.arming.Unlock()
	w.rarmed.Store(1)                       // long past: the next read re-arms, or sees why it must not
	w.Conn.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // a closed connection fails its next read anyway
}

// resume takes an abort back.
func (w *wire) resume() { w.aborted.Store(false) }

// armRead arms the socket if its deadline would come later than due. It reports what ends the read before it begins.
func (w *wire) armRead() error {
	due := mono.Time(w.rdue.Load())
	if armed := mono.Time(w.rarmed.Load()); due != 0 && (armed == 0 || armed > due) {
		w.arming.Lock()
		if armed := mono.Time(w.rarmed.Load()); armed == 0 || armed > due {
			w.armLocked(due)
		}
		w.arming.Unlock()
	}
	return w.stopped()
}

// stopped reports why reads are over.
func (w *wire) stopped() error {
	switch {
	case w.aborted.Load():
		return errAborted
	case w.between && w.roused.Load():
		return errRoused
	}
	return nil
}

// lateRead says what a read timeout means: nil to read on, else the error.
func (w *wire) lateRead(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) || err == errCutLate {
		return err
	}
	w.arming.Lock()
	defer w.arming.Unlock()
	if why := w.stopped(); why != nil {
		w.armLocked(0)
		return why
	}
	due := mono.Time(w.rdue.Load())
	if due != 0 && mono.Now() >= due {
		w.armLocked(0)
		return err
	}
	w.armLocked(due)
	return nil
}

// Read reads as a net.Conn does, until the due instant.
func (w *wire) Read(p []byte) (int, error) {
	w.reads++
	for {
		if err := w.armRead(); err != nil {
			return 0, err
		}
		n, err := w.Conn.Read(p)
		if n > 0 || err == nil {
			return n, nil
		}
		if err = w.lateRead(err); err != nil {
			return 0, err
		}
	}
}

// Write writes all of p until the due instant. In clear text, if at least w.least bytes went in the time there was, there
// is rateGrace more.
func (w *wire) Write(p []byte) (int, error) {
	done, counted := 0, 0
	for {
		due := mono.Time(w.wdue.Load())
		if due != 0 && (w.warmed == 0 || w.warmed > due || w.final && due.Sub(w.warmed) > time.Second) {
			w.warmed = due
			w.Conn.SetWriteDeadline(due.Wall()) //nolint:errcheck // the write reports it
		}
		n, err := w.put(p[done:])
		done += n
		if err == nil {
			return done, nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || w.final {
			return done, err
		}
		w.warmed = 0
		w.Conn.SetWriteDeadline(time.Time{}) //nolint:errcheck // as above
		now := mono.Now()
		if due == 0 || now < due {
			continue // armed for an earlier write
		}
		if w.least == 0 || int64(done-counted) < w.least {
			return done, err
		}
		counted = done
		w.writeBy(now.Add(rateGrace))
	}
}

func (w *wire) put(p []byte) (int, error) {
	if w.writer != nil {
		return w.writer.Write(p)
	}
	return w.Conn.Write(p)
}

// idleRead is a read into memory that is held only once bytes are there: room is asked for a buffer for each attempt, and
// void takes it back if the socket had nothing. It needs the raw socket.
//
// Before a read that would most likely find nothing yet, other goroutines may go first: what a busy peer sends is there by
// the time it is one's turn again, which saves the read that finds nothing and often the wait for readiness, about a
// tenth of the CPU of a proxied request. Whether that pays shows: after reads that had to wait all the same, fewer and
// fewer yield.
type idleRead struct {
	raw   syscall.RawConn
	room  func() []byte
	void  func()
	n     int
	err   error
	try   func(fd uintptr) bool
	tries int
	skip  int // reads before the next yield
	vain  int // reads left out after the last yield that was in vain; 0: it paid
	pause int // yields to leave out after one that paid
}

// maxVain bounds how many reads do not yield after one whose yield was in vain. The first time it is one, then it doubles.
const maxVain = 32

func newIdleRead(raw syscall.RawConn, room func() []byte, void func()) *idleRead {
	r := &idleRead{raw: raw, room: room, void: void}
	r.try = r.attempt
	return r
}

func (r *idleRead) attempt(fd uintptr) bool {
	r.tries++
	n, err := socket.Recv(fd, r.room(), 0)
	if err == syscall.EAGAIN {
		r.void()
		return false
	}
	r.n, r.err = n, nil
	if err != 0 {
		r.err = err
	}
	return true
}

// read waits for bytes on w and returns how many came; 0 is the end of the stream.
func (r *idleRead) read(w *wire) (int, error) {
	yields := r.skip == 0
	if yields {
		runtime.Gosched()
	} else {
		r.skip--
	}
	r.tries = 0
	w.reads++
	n, err := r.wait(w)
	switch {
	case !yields:
	case r.tries > 1:
		r.vain = min(max(1, 2*r.vain), maxVain)
		r.skip = r.vain
	default:
		r.vain = 0
		r.skip = r.pause
	}
	return n, err
}

func (r *idleRead) wait(w *wire) (int, error) {
	for {
		if err := w.armRead(); err != nil {
			return 0, err
		}
		err := r.raw.Read(r.try)
		if err == nil {
			return r.n, r.err
		}
		if err = w.lateRead(err); err != nil {
			return 0, err
		}
	}
}
