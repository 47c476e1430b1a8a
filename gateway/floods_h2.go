package gateway

import (
	"sync"
	"time"

	"weir/internal/h2"
	"weir/internal/mono"
)

// floodNames are what the configuration calls the limits that a client of HTTP/2 may pass.
var floodNames = [...]string{h2.TooManyResets: "resets", h2.TooManyFrames: "control_frames"}

// floodLog tells operators of floods: at once, and then no more often than floodLogEvery.
type floodLog struct {
	mu     sync.Mutex
	next   mono.Time
	unsaid int
}

const floodLogEvery = 10 * time.Second

// may reports whether a line may be written now, and how many were not since the last one.
func (l *floodLog) may(now mono.Time) (unsaid int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now < l.next {
		l.unsaid++
		return 0, false
	}
	unsaid, l.unsaid = l.unsaid, 0
	l.next = now.Add(floodLogEvery)
	return unsaid, true
}

// tellFlood counts and logs the flood that has ended s, if one has.
func (s *session) tellFlood(why h2.Flood, by h2.FrameType) {
	if why == h2.NoFlood {
		return
	}
	s.conf.floods[why].Inc()
	if unsaid, ok := s.gw.floods.may(mono.Now()); ok {
		s.gw.log.Warn("a connection of HTTP/2 was ended for a flood", "peer", s.nc.Remote, "listener", s.listener, "limit", floodNames[why], "frame", by.String(), "unsaid", unsaid)
	}
}
