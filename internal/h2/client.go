package h2

import (
	"errors"
	"fmt"
	"net"
	"time"

	"weir/internal/mono"
)

// ClientOptions say how a connection to a server is used. All must be there.
type ClientOptions struct {
	Streams       int           // at once, at most, whatever the server allows
	HeadBytes     int           // of all heads of an answer as HTTP/1 writes them; a longer one ends its stream, a much longer one the connection
	HeadTimeout   time.Duration // for a head of which a part has come
	IdleTimeout   time.Duration // without a stream
	Quiet         time.Duration // without a frame while streams are open, after which the server is asked whether it is still there
	Dead          time.Duration // at most, without an answer to that; at least, for a server that takes nothing of what is written
	ControlFrames int           // of the server that ask for nothing, at once; see floodgate
}

// Client is the client's end of one connection. A request is a [Call].
type Client struct {
	base
	o     *ClientOptions
	ready chan struct{} // closed when the server's settings are here, or the connection is over

	quiet   time.Duration // as it is now; of the reading goroutine
	isReady bool          // ready is closed; of the reading goroutine

	// Under the lock.
	silent   mono.Time // since when something was asked of the server and nothing has come; 0: nothing was
	probe    mono.Time // when a ping has asked whether the server is there; 0: it was answered
	next     uint32    // the stream that comes
	reserved int       // streams that were promised
	away     bool      // no more streams are promised
	gone     bool      // the server takes no more
	unheard  int       // streams that were cancelled, and that the server may not know of yet
	asked    bool      // a ping that says that it does is under way
	patient  bool      // no such ping before it says something on a stream
	trails   []*trail  // oldest first
}

// Why a request was not sent. After any of them it can be sent elsewhere, whatever its method.
var (
	ErrNotActedOn = errors.New("the endpoint did not accept the stream")
	ErrTooLong    = errors.New("the head is longer than the endpoint takes")
	ErrNoConnect  = errors.New("the endpoint takes no extended CONNECT")
)

var (
	errDead   = errors.New("the server does not answer")
	errNoHTTP = errors.New("the server does not speak HTTP/2")
)

// Pings of a client: whether the server is there, and whether it has read what was reset.
const (
	probePing = "weirhere"
	resetPing = "weirdone"
)

// quietSteps and quietMost are how much longer each silence may last than the one before it, if nothing came but answers to pings, and how long at
// most: servers of gRPC end connections on which a third ping in vain comes within five minutes of the last.
const (
	quietSteps = 4
	quietMost  = 24
)

// NewClient returns a connection over nc. It is to be served.
func NewClient(nc net.Conn, o *ClientOptions) *Client {
	c := &Client{o: o, ready: make(chan struct{}), next: 1, quiet: o.Quiet}
	c.client, c.most, c.stall, c.queue, c.mostWindow = true, o.HeadBytes, o.Dead, clientQueue, clientWindow
	c.begin(nc, nil, c)
	c.gate = newFloodgate(1, o.ControlFrames, c.began)
	c.gate.client = true
	c.greet(Preface, setting{settingPush, 0}, setting{settingWindow, streamWindow}, setting{settingHeadSize, uint32(o.HeadBytes)})
	return c
}

const (
	clientWindow = 16 << 20           // that a server may send beyond what has been read of the connection; streams that nobody reads do not count
	mostHeads    = 2 << 20            // bytes that wait to be written, behind which no more heads are added: they do not wait for room
	clientQueue  = mostHeads + 64<<10 // with what the connection itself says
)

// Serve reads until the connection's end, and closes it. The flood that has ended it is returned, with the frame that was too much.
func (c *Client) Serve() (Flood, FrameType) {
	var err error
	for err == nil {
		if err = c.frame(); c.greeted && !c.isReady {
			c.tellReady()
		}
	}
	if _, fault := err.(connError); fault && !c.greeted {
		err = errNoHTTP
	}
	c.base.end(err, err == errIdle || err == errDone || err == errDead, 0)
	if !c.isReady {
		c.tellReady()
	}
	c.nc.Close()
	return c.gate.over, c.gate.by
}

func (c *Client) tellReady() {
	c.isReady = true
	close(c.ready)
}

// Ready waits for the server's settings until that instant, and returns why there are none.
func (c *Client) Ready(until time.Time) error {
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-c.ready:
	case <-t.C:
		c.mu.Lock()
		c.failLocked(errDead)
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Reserve promises a stream to the next [Call.Begin], and reports whether there is one.
func (c *Client) Reserve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.usableLocked() || c.running+c.reserved+c.unheard >= c.limitLocked() || len(c.out) > mostHeads {
		return false
	}
	c.reserved++
	return true
}

// Usable reports whether there may be more streams, now or when others have ended.
func (c *Client) Usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.usableLocked() && c.limitLocked() > 0
}

func (c *Client) usableLocked() bool {
	return c.err == nil && !c.away && c.next+2*uint32(c.reserved) < lastStream
}

// lastStream is where numbers of streams end, but for those that are promised.
const lastStream = maxStreamID - 2<<16

func (c *Client) limitLocked() int { return int(min(int64(c.allows.streams), int64(c.o.Streams))) }

// Retire has no more streams opened here; the connection ends with the last of those that there are or were promised.
func (c *Client) Retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = true
	c.leaveLocked()
}

// leaveLocked ends a connection that has nothing left to do.
func (c *Client) leaveLocked() {
	if c.doneLocked() && c.err == nil {
		c.wakeReaderLocked()
	}
}

func (c *Client) doneLocked() bool { return c.away && c.running+c.reserved == 0 }

func (c *Client) arm() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.calmLocked(); err != nil {
		return err
	}
	if c.doneLocked() {
		return errDone
	}
	now := mono.Now()
	if c.stirred {
		c.stirred, c.patient, c.quiet = false, false, c.o.Quiet
	}
	if c.in.took {
		if c.in.took, c.silent, c.probe = false, 0, 0; c.running > 0 {
			c.silent = now
		}
	}
	due := min(c.headDueLocked(now, c.o.HeadTimeout), c.endTrailsLocked(now))
	switch {
	case now >= due: // no trail's: that is later
		return errLate
	case c.probe != 0:
		if due = min(due, c.probe.Add(c.o.Dead)); now >= due {
			return errDead
		}
	case c.running == 0:
		end := c.idleSince.Add(c.o.IdleTimeout)
		if c.silent != 0 { // it may be gone, though nobody waits long enough to find out
			end = min(end, c.silent.Add(c.o.Quiet))
		}
		if now >= end {
			return errIdle
		}
		due = min(due, end, now.Add(c.o.Quiet)) // to look again: nobody moves the deadline when a stream begins
	default:
		if end := c.silent.Add(c.quiet); now < end {
			due = min(due, end)
			break
		}
		c.pingLocked(probePing)
		c.probe = now
		c.quiet = min(c.quiet*quietSteps, c.o.Quiet*quietMost)
		due = min(due, now.Add(c.o.Dead))
		c.kickLocked()
	}
	c.readByLocked(due)
	return nil
}

func (c *Client) rang() {
	c.mu.Lock()
	c.readBy = 0
	c.mu.Unlock()
}

func (c *Client) pingLocked(data string) {
	c.out = append(appendHeader(c.roomLocked(), len(data), framePing, 0, 0), data...)
}

func (c *Client) heardLocked(data []byte) bool {
	if string(data) == resetPing && c.asked {
		if c.stirred { // before the ping
			c.stirred, c.quiet = false, c.o.Quiet
		}
		c.asked, c.unheard, c.patient = false, 0, true
		return true
	}
	return string(data) == probePing
}

// goAwayLocked takes note that the server serves no streams beyond last.
func (c *Client) goAwayLocked(last uint32, _ Code) error {
	c.away, c.gone = true, true
	for id, s := range c.streams {
		if id > last {
			c.past.add(id, endedByBoth)
			c.closeLocked(s, ErrNotActedOn, true)
		}
	}
	c.leaveLocked()
	return nil
}

func (c *Client) wholeLocked(*stream) { c.lessLocked() }

func (c *Client) closedLocked(*stream, bool) { c.lessLocked() }

// lessLocked takes note of a stream's end.
func (c *Client) lessLocked() {
	if c.running--; c.running == 0 {
		c.idleSince = mono.Now()
	}
	c.leaveLocked()
}

func (c *Client) overLocked(err error) error { return fmt.Errorf("%w: %w", errConnOver, err) }

// resetError says with what code a stream was reset.
type resetError Code

// Error is for logs.
func (e resetError) Error() string {
	return fmt.Sprintf("the endpoint has reset the stream with code %#x", uint32(e))
}

func (c *Client) resetLocked(s *stream, code Code) error {
	if code == RefusedStream && !s.headed {
		return ErrNotActedOn
	}
	return resetError(code)
}

// faultError says for what a stream was reset here.
type faultError Code

// Error is for logs.
func (e faultError) Error() string {
	return fmt.Sprintf("the endpoint broke the rules of HTTP/2: code %#x", uint32(e))
}

func (c *Client) blamedLocked(code Code) error { return faultError(code) }
