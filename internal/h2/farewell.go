package h2

import (
	"time"
)

// farewell is how a connection takes its leave (RFC 9113, section 6.8): a first GOAWAY says that no more streams are to be opened, and refuses
// none; the last one, which says what will not be served any more, comes when whatever the client sent before it heard the first has arrived.
type farewell struct {
	asked, heard bool
	served       uint32 // after told: the last stream that is served
	timer        *time.Timer
}

// goAwayPing is what a ping says that asks whether the client has read the GOAWAY before it. There is no other ping of ours.
const goAwayPing = "weirgone"

const (
	goAwayWait = 300 * time.Millisecond // for the answer: about a round trip on earth
	goAwayLag  = 50 * time.Millisecond  // that a client may be slower to stop asking than to answer
)

// Drain has the client open no more streams here, and lets those that there are end. Then the connection ends. It does not wait.
func (c *Conn) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked || c.err != nil {
		return
	}
	c.asked = true
	c.out = appendGoAway(c.roomLocked(), maxStreamID, NoError)
	c.out = append(appendHeader(c.out, len(goAwayPing), framePing, 0, 0), goAwayPing...)
	c.timer = time.AfterFunc(goAwayWait, c.sayLast)
	c.kickLocked()
}

// heardLocked takes a ping's answer, and reports whether it was waited for.
func (c *Conn) heardLocked(data []byte) bool {
	if !c.asked || c.heard || string(data) != goAwayPing {
		return false
	}
	c.heard = true
	if c.timer.Stop() {
		c.timer.Reset(goAwayLag)
	}
	return true
}

// sayLast says which stream is the last.
func (c *Conn) sayLast() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.told {
		return
	}
	c.told, c.served = true, c.last
	c.out = appendGoAway(c.roomLocked(), c.served, NoError)
	c.kickLocked()
	if c.doneLocked() {
		c.wakeReaderLocked()
	}
}

// lastLocked is what a GOAWAY says was or will be served.
func (c *Conn) lastLocked() uint32 {
	if c.told {
		return c.served
	}
	return c.last
}

// doneLocked reports whether nothing is left to be done.
func (c *Conn) doneLocked() bool { return c.told && c.running == 0 }

func (c *Conn) endFarewellLocked() {
	if c.timer != nil {
		c.timer.Stop()
	}
}
