package gateway

import (
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"

	"weir/internal/mono"
)

// Bounds of the response bodies that are kept for policies whose cost stands in them.
const (
	maxCaptured    = 1 << 20  // bytes of one
	maxAllCaptured = 64 << 20 // bytes of all that are under way
)

// capture is the JSON body of a response, for policies whose cost stands in it.
type capture struct {
	on       bool
	tooMuch  bool
	body     []byte
	reserved *atomic.Int64 // where body's bytes are counted
}

// add keeps a piece of the body.
func (c *capture) add(p []byte) {
	if !c.on || c.tooMuch {
		return
	}
	if len(c.body)+len(p) > maxCaptured {
		c.tooMuch = true
		return
	}
	if c.reserved.Add(int64(len(p))) > maxAllCaptured {
		c.reserved.Add(-int64(len(p)))
		c.tooMuch = true
		return
	}
	c.body = append(c.body, p...)
}

// reset lets go of what was kept.
func (c *capture) reset() {
	if len(c.body) > 0 {
		c.reserved.Add(-int64(len(c.body)))
	}
	if cap(c.body) > 64<<10 {
		c.body = nil
	}
	*c = capture{body: c.body[:0]}
}

// startSettling decides, when the head of the answer is there, whether its body must be kept, or looked at.
func (x *Exchange) startSettling() {
	x.code = x.result.code
	x.watched = x.code == codeAwaited || x.messages.on
	if x.wantsJSON {
		typ, _ := x.car.ResponseField("content-type")
		x.capture.on, x.capture.reserved = strings.Contains(strings.ToLower(typ), "json"), &x.gw.captured
	}
}

// settleCost corrects what policies charged to what the response says that it cost. It must be called while the head of the answer is
// still there, at the end of its body or when the body was cut. What cannot be evaluated keeps what was charged before, and is counted.
func (x *Exchange) settleCost() {
	if !x.settles {
		return
	}
	x.settles = false
	now := mono.Now()
	for i := range x.uses {
		s := x.uses[i].p.settle
		if s == nil {
			continue
		}
		n, err := s.Cost(x, (*answered)(x))
		if err != nil {
			x.gw.exprErrors.Inc()
			continue
		}
		x.uses[i].n = n
		x.charge.Correct(i, n, now)
	}
}

// settleLimits corrects costs and gives back the seats that policies count. It comes when the answer is complete, and before the
// client can have the end of it: the client's next request must find things as this one leaves them.
func (x *Exchange) settleLimits() {
	x.settleCost()
	x.leaveSeats()
}

// leaveSeats gives back the seats that policies count.
func (x *Exchange) leaveSeats() {
	if x.seated {
		x.charge.Settle(mono.Now())
	}
}

// settleCut corrects costs by an answer that broke off. What came of its body is no JSON, even if it looks like it.
func (x *Exchange) settleCut() {
	x.capture.on = false
	x.settleCost()
}

// answered is an exchange's answer as settle expressions see it.
type answered Exchange

func (a *answered) Status() int  { return a.answered }
func (a *answered) Bytes() int64 { return a.bytesOut }

func (a *answered) ResponseHeader(name string) (string, bool) { return a.car.ResponseField(name) }

func (a *answered) Messages() (in, out int64, ok bool) {
	return a.messages.in.n.Load(), a.messages.out.n.Load(), a.messages.on
}

var errNoJSON = errors.New("the response has no JSON body, or one that is too long")

func (a *answered) JSON() (v any, err error) {
	if !a.capture.on || a.capture.tooMuch || len(a.capture.body) == 0 {
		return nil, errNoJSON
	}
	if err := json.Unmarshal(a.capture.body, &v); err != nil {
		return nil, errNoJSON
	}
	return v, nil
}
