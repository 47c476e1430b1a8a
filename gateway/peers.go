package gateway

import (
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"time"

	"weir/balancer"
	"weir/internal/mono"
)

// What gateways of a cluster tell each other besides what they spent: how loaded they are, and which endpoints' breakers are open. It is
// a hint: no peer can make this gateway refuse what it has room for alone, but by the mean of all, nor open a breaker.

const (
	pressureVersion = 1
	peerPatience    = 3 * time.Second // how long what a peer said counts
	maxPeers        = 1024            // remembered
	maxPressure     = 1200            // bytes of a frame
)

// PressureEvery is how often a gateway tells its pressure.
const PressureEvery = 500 * time.Millisecond

var errPressureFrame = errors.New("no frame of pressure that this version knows")

// peers are the other gateways as they were heard last.
type peers struct {
	mu   sync.Mutex
	said map[uint64]peerLoad
}

type peerLoad struct {
	load float64
	at   mono.Time
}

// hear takes what a node said.
func (p *peers) hear(node uint64, load float64, now mono.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.said == nil {
		p.said = map[uint64]peerLoad{}
	}
	if _, known := p.said[node]; !known && len(p.said) >= maxPeers {
		return
	}
	p.said[node] = peerLoad{load, now}
}

// heard is how many other gateways were heard lately. The others are forgotten.
func (p *peers) heard(now mono.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for node, l := range p.said {
		if now.Sub(l.at) > peerPatience {
			delete(p.said, node)
		}
	}
	return len(p.said)
}

// mean is the mean load of all gateways, this one included.
func (p *peers) mean(own float64, now mono.Time) float64 {
	n := 1 + p.heard(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := own
	for _, l := range p.said {
		sum += l.load
	}
	return sum / float64(n)
}

// AppendPressure appends a frame of what this gateway, which is called self, has to tell: version, node (8 bytes), load in hundredths (2), and of each pool
// with open breakers its name and their addresses, as length and text, with a byte of state; a pool ends with an empty address.
func (g *Gateway) AppendPressure(b []byte, self uint64) []byte {
	b = append(b, pressureVersion)
	b = binary.BigEndian.AppendUint64(b, self)
	load := 0.0
	if l := g.pressure.load.Load(); l != nil {
		load = l.Own
	}
	b = binary.BigEndian.AppendUint16(b, uint16(min(100*load, math.MaxUint16)))
	s := g.Snapshot()
	if s == nil {
		return b
	}
	var open []balancer.PeerBreaker
	for _, p := range s.pools {
		if open = p.balancer.AppendBreakers(open[:0]); len(open) == 0 {
			continue
		}
		named := false
		for _, o := range open {
			if len(b)+2*len(p.name)+len(o.Address)+8 > maxPressure || len(p.name) > 255 || len(o.Address) > 255 {
				break // the next frame has room when fewer are open
			}
			if !named {
				b = appendText(b, p.name)
				named = true
			}
			b = append(appendText(b, o.Address), byte(o.State))
		}
		if named {
			b = append(b, 0)
		}
	}
	return b
}

func appendText(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

// HearPressure takes a frame that another gateway sent. What it says of pools that are not here is passed over.
func (g *Gateway) HearPressure(frame []byte, now mono.Time) error {
	if len(frame) < 11 || frame[0] != pressureVersion {
		return errPressureFrame
	}
	node, load := binary.BigEndian.Uint64(frame[1:]), float64(binary.BigEndian.Uint16(frame[9:]))/100
	words, err := parseBreakers(frame[11:])
	if err != nil {
		return err
	}
	g.pressure.peers.hear(node, load, now)
	s := g.Snapshot()
	if s == nil {
		return nil
	}
	for _, w := range words {
		for _, p := range s.pools {
			if p.name == w.pool {
				p.balancer.Hear(w.Address, node, w.State, now)
			}
		}
	}
	return nil
}

// breakerWord is what a peer says of one endpoint.
type breakerWord struct {
	pool string
	balancer.PeerBreaker
}

func parseBreakers(b []byte) (words []breakerWord, err error) {
	for len(b) > 0 {
		var pool string
		if pool, b, err = cutText(b); err != nil || pool == "" {
			return nil, errPressureFrame
		}
		for {
			var address string
			if address, b, err = cutText(b); err != nil {
				return nil, err
			}
			if address == "" {
				break
			}
			if len(b) == 0 {
				return nil, errPressureFrame
			}
			words = append(words, breakerWord{pool, balancer.PeerBreaker{Address: address, State: balancer.BreakerState(b[0])}})
			b = b[1:]
		}
	}
	return words, nil
}

func cutText(b []byte) (text string, rest []byte, err error) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, errPressureFrame
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], nil
}
