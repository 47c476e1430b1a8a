package gateway

import (
	"time"

	"weir/internal/mono"
	"weir/internal/websocket"
)

// ending is what of ours ended a tunnel or an event stream.
type ending uint8

const (
	notEnded ending = iota // its own sides did
	endedIdle
	endedLifetime
	endedShutdown
	endedReload
)

// endings are their words in the log, and in a Close.
var endings = [...]struct{ word, reason string }{
	endedIdle:     {"idle", "idle for too long"},
	endedLifetime: {"lifetime", "open for as long as may be"},
	endedShutdown: {"shutdown", "going away"},
	endedReload:   {"reload", "no longer here"},
}

func (e ending) String() string { return endings[e].word }
func (e ending) reason() string { return endings[e].reason }

// How long it may take a WebSocket to end.
const (
	closeWait = 2 * time.Second        // from our Close to the client's
	closeLast = 500 * time.Millisecond // from the client's, which the endpoint gets, to that one's
)

// leaveBy has the tunnel end at that instant, if it does not before.
func (t *tunnel) leaveBy(at mono.Time, why ending) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || t.leaveAt != 0 && t.leaveAt <= at {
		return
	}
	t.leaveAt, t.because = at, why
	t.armLocked(mono.Now())
}

// tick is called when there may be something to do.
func (t *tunnel) tick() {
	defer t.gw.shield("tunnel", func() { t.client.Close(); t.endpoint.Close() })
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	now := mono.Now()
	if at, why := t.dueLocked(); now >= at {
		if t.cutAt != 0 {
			t.cutLocked()
			return
		}
		t.beginEndLocked(why, now)
	}
	t.armLocked(now)
}

// dueLocked is when something is to be done, and, if its end has not begun, what for.
func (t *tunnel) dueLocked() (at mono.Time, why ending) {
	if t.cutAt != 0 {
		return t.cutAt, t.why
	}
	at = mono.Never
	if t.leaveAt != 0 {
		at, why = t.leaveAt, t.because
	}
	if end := t.began.Add(t.lifetime); t.lifetime > 0 && end < at {
		at, why = end, endedLifetime
	}
	if end := mono.Time(max(t.in.last.Load(), t.out.last.Load())).Add(t.idle); t.idle > 0 && end < at {
		at, why = end, endedIdle
	}
	return at, why
}

func (t *tunnel) armLocked(now mono.Time) {
	if at, _ := t.dueLocked(); at != mono.Never && !t.cut.Load() {
		t.clock.Reset(at.Sub(now))
	} else {
		t.clock.Stop()
	}
}

// beginEndLocked sends the client of a WebSocket a Close, whose answer ends the endpoint's side; any other tunnel is cut.
func (t *tunnel) beginEndLocked(why ending, now mono.Time) {
	t.why = why
	if !t.websocket || t.out.broken() {
		t.cutLocked()
		return
	}
	t.cutAt = now.Add(closeWait)
	t.leaving.Store(true)
	t.out.closing.Store(true)
	t.out.sayClose()
}

// broken reports whether what passes are no frames.
func (w *way) broken() bool {
	if !w.mu.TryLock() {
		return false // it is writing
	}
	defer w.mu.Unlock()
	return w.frames.Broken()
}

// hurry says that the client has answered our Close.
func (t *tunnel) hurry() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at := mono.Now().Add(closeLast); !t.over && at < t.cutAt {
		t.cutAt = at
		t.armLocked(mono.Now())
	}
}

// end cuts the tunnel, as it is broken or done.
func (t *tunnel) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.over {
		t.cutLocked()
	}
}

// cutLocked ends both ways. The endpoint of a WebSocket that we end is told why, if it was not by the client.
func (t *tunnel) cutLocked() {
	if t.cut.Swap(true) {
		return
	}
	if t.websocket && t.why != notEnded {
		t.in.closing.Store(true)
		t.in.sayClose()
	}
	t.in.src.aborted.Store(true) // a stream's reads end as one that is late does, which would be begun again
	t.out.src.aborted.Store(true)
	if t.out.mu.TryLock() {
		t.out.mu.Unlock()
	} else {
		t.carrier.kill() // a write to the client is under way
	}
	t.client.Close()   //nolint:errcheck // both ways end by it
	t.endpoint.Close() //nolint:errcheck // as above
}

// status is how a WebSocket was closed, for the log; 0 if it is none. Both ways have ended.
func (t *tunnel) status() int {
	if !t.websocket || t.in.frames.Broken() || t.out.frames.Broken() {
		return 0
	}
	if t.out.said {
		return websocket.GoingAway
	}
	for _, w := range [...]*way{&t.in, &t.out} {
		if code, closed := w.frames.Closed(); closed {
			return code
		}
	}
	return websocket.Abnormal
}
