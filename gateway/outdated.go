package gateway

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"weir/gateway/cache"
)

// maxOutdated bounds in bytes what waits to be told to other gateways. What is more is not told, and counted: clients that change much decide how
// much that is.
const maxOutdated = 32 << 10

// An outbox gathers what requests that change something made out of date, for the other gateways (RFC 9111, section 4.4).
type outbox struct {
	wanted  atomic.Bool
	untold  atomic.Uint64
	waiting chan struct{} // has one if there is something

	mu    sync.Mutex
	size  int
	known map[cache.Purge]struct{}
}

// Outdated has requests that change something gathered for other gateways from now on, and returns what is readable when there is something for
// [Gateway.TakeOutdated].
func (g *Gateway) Outdated() <-chan struct{} {
	g.outdated.wanted.Store(true)
	return g.outdated.waiting
}

// TakeOutdated returns what has gathered, in frames for [Gateway.HearPurge], each of MaxPurge bytes and a few. To forget again does no harm.
func (g *Gateway) TakeOutdated() (frames [][]byte) {
	o := &g.outdated
	o.mu.Lock()
	known := o.known
	o.known, o.size = nil, 0
	o.mu.Unlock()
	var last []byte
	inOrder := slices.SortedFunc(maps.Keys(known), func(a, b cache.Purge) int { return strings.Compare(a.Value, b.Value) })
	for _, p := range inOrder { // so that the same is always told in the same frames
		if last != nil && len(last)+len(p.Value) > MaxPurge {
			frames, last = append(frames, last), nil
		}
		last = p.Append(last)
	}
	if last != nil {
		frames = append(frames, last)
	}
	return frames
}

// add notes what is to be told. Of a URL that is too long for a frame its beginning is, with all that begins so.
func (o *outbox) add(orders []cache.Purge) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil {
		o.known = make(map[cache.Purge]struct{})
	}
	for _, p := range orders {
		if len(p.Value) > MaxPurge {
			p = cache.Purge{Kind: cache.PurgePrefix, Value: p.Value[:MaxPurge]}
		}
		if _, twice := o.known[p]; twice {
			continue
		}
		if o.size += len(p.Value) + orderCost; o.size > maxOutdated {
			o.size -= len(p.Value) + orderCost
			o.untold.Add(1)
			continue
		}
		o.known[p] = struct{}{}
	}
	select {
	case o.waiting <- struct{}{}:
	default:
	}
}

// orderCost is what an order takes beside its value.
const orderCost = 4
