package gateway

import (
	"fmt"
	"time"

	"weir/config"
	"weir/internal/http1"
	"weir/internal/mono"
	"weir/limiter"
	"weir/shaping"
)

// pacing is a rule of how fast bodies flow, with the flows of either direction. It outlives reloads.
type pacing struct {
	name     string
	identity string
	down, up *shaping.Pacers // nil: as fast as it goes
}

// pacingConf is a rule as one snapshot sees it.
type pacingConf struct {
	*pacing
	by       int // dimension, or -1: all are one flow
	down, up shaping.PacersConfig
}

// lookEvery is how often somebody who waits for his turn looks whether the bytes are still wanted.
const lookEvery = 50 * time.Millisecond

// maxFlows is how many flows of a rule are told apart at once; about 15 MB of them.
const maxFlows = 1 << 16

func (p *compiler) compileShaping() error {
	for i := range p.conf.Shaping {
		c := &p.conf.Shaping[i]
		pc := &pacingConf{by: -1, down: pacersConfig(c, c.Download, c.TotalDownload), up: pacersConfig(c, c.Upload, c.TotalUpload)}
		meaning := ""
		if c.By != "" {
			pc.by = p.dim(c.By)
			meaning = p.dimensionMeaning([]string{c.By})
		}
		id := identity("shaping", c.Name, meaning, pc.down.Flows > 0, pc.up.Flows > 0)
		if pc.pacing = p.gw.live.pacing(id); pc.pacing == nil {
			made, err := newPacing(c.Name, id, pc)
			if err != nil {
				return fmt.Errorf("shaping %s: %w", c.Name, err)
			}
			pc.pacing = made
		}
		p.snap.pacings = append(p.snap.pacings, pc)
		if len(c.Routes) == 0 {
			p.pacedEverywhere = pc
		}
		for _, r := range c.Routes {
			p.paced[r] = pc
		}
	}
	return nil
}

// pacersConfig is the shape of a direction; no flows if it has no bounds.
func pacersConfig(c *config.Shaping, rate, total config.Size) shaping.PacersConfig {
	if rate == 0 && total == 0 {
		return shaping.PacersConfig{}
	}
	t := shaping.Tier{Rate: int64(rate), Burst: int64(c.BurstOf(max(rate, total)))}
	if rate > 0 {
		t.Burst = int64(c.BurstOf(rate))
	}
	if total > 0 {
		t.Guarantee = int64(c.Guarantee)
	}
	return shaping.PacersConfig{Tiers: []shaping.Tier{t}, Total: int64(total), Flows: maxFlows}
}

func newPacing(name, id string, c *pacingConf) (m *pacing, err error) {
	m = &pacing{name: name, identity: id}
	if c.down.Flows > 0 {
		if m.down, err = shaping.NewPacers(c.down); err != nil {
			return nil, err
		}
	}
	if c.up.Flows > 0 {
		m.up, err = shaping.NewPacers(c.up)
	}
	return m, err
}

// reshape gives a rule that lives the numbers of c.
func (c *pacingConf) reshape(now mono.Time) (err error) {
	if c.pacing.down != nil {
		err = c.pacing.down.Reshape(c.down, now)
	}
	if c.pacing.up != nil && err == nil {
		err = c.pacing.up.Reshape(c.up, now)
	}
	return err
}

// paced is a body that flows under a rule. The zero value flows as fast as it goes.
type paced struct {
	flow   *shaping.Flow
	turn   shaping.Turn
	waited time.Duration
}

// pace puts the bodies of x under its route's rule.
func (x *Exchange) pace() {
	c := x.route.pacing
	if c == nil || x.download.flow != nil || x.upload.flow != nil {
		return
	}
	var k shaping.Key
	if c.by >= 0 {
		if v, ok := x.Dimension(c.by); ok {
			x.frame = limiter.AppendPart(x.frame[:0], v)
			h := x.gw.hasher.Sum(x.frame)
			k = shaping.Key{Hi: h.Hi, Lo: h.Lo}
		}
	}
	if c.pacing.down != nil {
		x.download.flow = c.pacing.down.Hold(k, 0, x.begun)
	}
	if c.pacing.up != nil {
		x.upload.flow = c.pacing.up.Hold(k, 0, x.begun)
	}
}

// end lets go of the flow.
func (p *paced) end(now mono.Time) {
	if p.flow != nil {
		p.turn.Cancel(0, now)
		p.flow.Release(now)
		p.flow, p.turn, p.waited = nil, shaping.Turn{}, 0
	}
}

// next waits until some of n bytes may go, and says how many; fewer if ever so many are asked for. before is called once if there is a
// wait. It returns 0 if gone says meanwhile that nobody wants them any more.
func (p *paced) next(n int, before func() bool, gone func() bool) int {
	if p.flow == nil {
		return n
	}
	now := mono.Now()
	n = min(n, p.flow.Chunk(now))
	wait := p.flow.Reserve(&p.turn, n, now)
	if wait > 0 && !before() {
		p.turn.Cancel(n, mono.Now())
		return 0
	}
	for began := now; wait > 0; {
		time.Sleep(min(wait, lookEvery))
		now = mono.Now()
		p.waited, began = p.waited+now.Sub(began), now
		if wait > lookEvery && gone() {
			p.turn.Cancel(n, now)
			return 0
		}
		wait = p.turn.Wait(now)
	}
	return n
}

// deliverPaced appends a piece of the answer and sends it as its flow allows. It reports false if the client is lost.
func (x *h1) deliverPaced(p []byte, chunked bool) bool {
	lost := false
	flush := func() bool {
		lost = len(x.out) > 0 && !x.flush()
		return !lost
	}
	for len(p) > 0 {
		n := x.download.next(len(p), flush, x.conn.gone)
		if n == 0 {
			if !lost {
				x.clientLost(errAborted)
			}
			return false
		}
		if chunked {
			x.out = appendChunk(x.out, p[:n])
		} else {
			x.out = append(x.out, p[:n]...)
		}
		p = p[n:]
		if len(x.out) >= http1.LargeBuffer && !x.flush() {
			return false
		}
	}
	return true
}

// sendPaced passes a piece of the request on as its flow allows.
func (p *upload) sendPaced(x *h1, u *upconn, piece []byte, chunked bool) error {
	for len(piece) > 0 {
		n := x.upload.next(len(piece), always, x.conn.unwanted)
		if n == 0 {
			return errAborted
		}
		if err := p.send(x, u, piece[:n], chunked); err != nil {
			return err
		}
		piece = piece[n:]
	}
	return nil
}

func always() bool { return true }

// unwanted reports whether nobody waits for the rest of the client's body.
func (c *h1conn) unwanted() bool { return c.aborted.Load() || c.gone() }

// takeTurn waits until a body that is whole in memory may go, no longer than the request has time.
func (x *Exchange) takeTurn() Verdict {
	n := x.car.Held()
	if x.upload.flow == nil || n == 0 {
		return Verdict{}
	}
	inTime := func() bool { return x.due == 0 || mono.Now() < x.due }
	for n > 0 {
		sent := x.upload.next(int(n), inTime, func() bool { return !inTime() || x.car.Gone() })
		if sent == 0 && !inTime() {
			return Verdict{Reason: QueueTimeout, Detail: "its body would not pass in time: shaping lets so many bytes of its flow go and no more"}
		} else if sent == 0 {
			return Verdict{Reason: ClientGone, Close: true}
		}
		n -= int64(sent)
	}
	x.begun = mono.Now()
	return Verdict{}
}
