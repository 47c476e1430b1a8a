package balancer

import (
	"cmp"
	"slices"
	"time"

	"weir/internal/mono"
)

const (
	// hearFor is how long what a peer said counts: three of its messages at one a second.
	hearFor = 3 * time.Second
	// maxHeard bounds the peers remembered for an endpoint. One is enough for the effect; the others are there for when it closes.
	maxHeard = 8
	// maxTold bounds what AppendBreakers adds.
	maxTold = 64
)

// PeerBreaker is what one gateway tells others of an endpoint.
type PeerBreaker struct {
	Address string // ip:port
	State   BreakerState
}

// hearing is a peer that said that its breaker is open, and how long that counts.
type hearing struct {
	node  uint64
	until mono.Time
}

// Hear takes what the peer node says of its breaker of the endpoint at address, an ip:port. A word counts for 3 s. While one
// says open or half open, a quarter of FailureThreshold, but at least one failure, opens our breaker if it is closed. It is a hint:
// whatever peers say, no breaker opens without failures seen here, and one that is open or half open heeds nobody. Closed takes
// back the node's own word. What names no member or no state is ignored. Of more than eight nodes, the oldest word is forgotten.
func (p *Pool) Hear(address string, node uint64, state BreakerState, now mono.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.index[address]
	if e == nil || state > BreakerStateHalfOpen {
		return
	}
	e.heard = slices.DeleteFunc(e.heard, func(h hearing) bool { return h.node == node })
	if state != BreakerStateClosed {
		if len(e.heard) == maxHeard {
			e.heard = slices.Delete(e.heard, 0, 1)
		}
		e.heard = append(e.heard, hearing{node, now.Add(hearFor)})
	}
	e.breaker.Warn(e.heardUntilLocked())
}

// heardUntilLocked returns when the last word of a peer ceases to count; 0 if there is none.
func (e *Endpoint) heardUntilLocked() (until mono.Time) {
	for _, h := range e.heard {
		until = max(until, h.until)
	}
	return until
}

// AppendBreakers appends what this gateway has to tell its peers: the endpoints whose breaker is open or half open, by address, in
// the order of addresses, 64 at most. What it does not name is closed. It takes no lock.
func (p *Pool) AppendBreakers(dst []PeerBreaker) []PeerBreaker {
	had := len(dst)
	for _, e := range p.view.Load().all {
		if s := e.breaker.State(); s != BreakerStateClosed {
			dst = append(dst, PeerBreaker{e.address, s})
		}
	}
	slices.SortFunc(dst[had:], func(x, y PeerBreaker) int { return cmp.Compare(x.Address, y.Address) })
	return dst[:min(len(dst), had+maxTold)]
}
