package gateway

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"weir/internal/mono"
)

// messages counts those of both directions, for policies whose cost goes by them. The zero value counts none.
type messages struct {
	wanted  bool // some policy's cost goes by messages
	on      bool // and the request is of a kind that has some
	in, out oneWay
	last    mono.Time // when cost was last corrected on the way
}

func (m *messages) reset() {
	if m.wanted {
		m.wanted, m.on, m.last = false, false, 0
		m.in.reset()
		m.out.reset()
	}
}

// oneWay counts the messages of one direction. One that has begun counts: leaving in the middle of it is no way to pay less. pass belongs to one
// goroutine; n may be read by any, and added to by who counts in another way.
type oneWay struct {
	n      atomic.Int64
	prefix [grpcPrefix]byte
	have   int    // of prefix
	left   uint32 // bytes of the message under way
}

// grpcPrefix stands before every message of gRPC: a byte that says whether it is compressed, and four of its length.
const grpcPrefix = 5

func (m *oneWay) reset() {
	m.n.Store(0)
	m.have, m.left = 0, 0
}

// pass takes the next piece of a body of gRPC.
func (m *oneWay) pass(p []byte) {
	for len(p) > 0 {
		if m.left > 0 {
			n := min(uint64(m.left), uint64(len(p)))
			m.left -= uint32(n)
			p = p[n:]
			continue
		}
		n := copy(m.prefix[m.have:], p)
		m.have += n
		p = p[n:]
		if m.have == grpcPrefix {
			m.left = binary.BigEndian.Uint32(m.prefix[1:])
			m.have = 0
			m.n.Add(1)
		}
	}
}

// settleEvery is how often the cost of a call that goes on is corrected.
const settleEvery = time.Second

// settleAsItGoes charges what a call has cost so far by its messages, once in a while: one that runs for hours does not spend on credit.
func (x *Exchange) settleAsItGoes(now mono.Time) {
	switch last := x.messages.last; {
	case !x.settles:
	case last == 0:
		x.messages.last = now
	case now.Sub(last) >= settleEvery:
		x.settleMessages(now, true)
		x.messages.last = now
	}
}

// settleMessages corrects the costs that go by messages; only upwards, if the call goes on.
func (x *Exchange) settleMessages(now mono.Time, goesOn bool) {
	for i := range x.uses {
		s := x.uses[i].p.settle
		if s == nil || !s.Needs().Messages {
			continue
		}
		n, err := s.Cost(x, (*answered)(x))
		if err != nil && !goesOn {
			x.gw.exprErrors.Inc()
		}
		if err != nil || goesOn && n <= x.uses[i].n {
			continue
		}
		x.uses[i].n = n
		x.charge.Correct(i, n, now)
	}
}

// settleUnanswered corrects costs that go by messages of a call that has no answer of an endpoint's: what passed of it is paid. There must be
// no head of one any more.
func (x *Exchange) settleUnanswered() {
	if x.settles && x.sent {
		x.settles = false
		x.settleMessages(mono.Now(), false)
	}
}
