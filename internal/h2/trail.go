package h2

import (
	"slices"
	"time"

	"weir/internal/mono"
)

// trailWait is how long a server may take to end a stream on which it has sent all that it has announced. Many end it in a frame of its own, and
// the call is often closed before that is here: to reset such streams would be an attack to the server, and it would end the connection.
const trailWait = time.Second

// trail is a stream whose call was closed, and whose end has not come.
type trail struct {
	Call
	since mono.Time
}

// trailLocked leaves the call's stream to the connection.
func (k *Call) trailLocked() {
	c := k.conn
	t := &trail{since: mono.Now()}
	t.Call.Begin(c)
	t.reserved, t.opened, t.final = false, true, true
	t.id, t.left, t.headed, t.localEnd, t.readErr = k.id, 0, true, true, errCut
	t.recvWindow, t.sendWindow = k.recvWindow, k.sendWindow
	c.streams[k.id] = &t.stream
	k.err = errCut
	if len(c.trails) == cap(c.trails) {
		c.forgetTrailsLocked()
	}
	c.trails = append(c.trails, t)
	c.readByLocked(t.since.Add(trailWait))
}

func (t *trail) over() bool { return t.whole || t.err != nil }

// forgetTrailsLocked forgets those that have ended.
func (c *Client) forgetTrailsLocked() {
	c.trails = slices.DeleteFunc(c.trails, (*trail).over)
}

// endTrailsLocked cancels streams that have not ended in time, and returns when the next one must have.
func (c *Client) endTrailsLocked(now mono.Time) mono.Time {
	if len(c.trails) == 0 {
		return mono.Never
	}
	for _, t := range c.trails {
		if !t.over() && now >= t.since.Add(trailWait) {
			t.cancelLocked()
		}
	}
	c.kickLocked()
	if c.forgetTrailsLocked(); len(c.trails) == 0 {
		return mono.Never
	}
	return c.trails[0].since.Add(trailWait)
}
