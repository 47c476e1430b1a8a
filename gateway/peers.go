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
	load  float64            // of the node
	pools map[string]float64 // those that have any
	at    mono.Time
}

// hear takes what a node said.
func (p *peers) hear(node uint64, load float64, pools map[string]float64, now mono.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.said == nil {
		p.said = map[uint64]peerLoad{}
	}
	if _, known := p.said[node]; !known && len(p.said) >= maxPeers {
		return
	}
	p.said[node] = peerLoad{load, pools, now}
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

// mean is the mean load of all gateways, this one included, or of their pools of that name.
func (p *peers) mean(pool string, own float64, now mono.Time) float64 {
	n := 1 + p.heard(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := own
	for _, l := range p.said {
		if pool == "" {
			sum += l.load
		} else {
			sum += l.pools[pool]
		}
	}
	return sum / float64(n)
}

// AppendPressure appends a frame of what this gateway, which is called self, has to tell: version, node (8 bytes), load in hundredths (2), and of each pool
// that has a load or open breakers its name, its load and the addresses of those breakers, each with a byte of state. Texts are length and bytes; a pool
// ends with an empty address. What does not fit is left out.
func (g *Gateway) AppendPressure(b []byte, self uint64) []byte {
	b = append(b, pressureVersion)
	b = binary.BigEndian.AppendUint64(b, self)
	s := g.Snapshot()
	if s == nil || !s.hints {
		return appendLoad(b, 0)
	}
	b = appendLoad(b, g.pressure.node.own())
	var open []balancer.PeerBreaker
	for _, p := range s.pools {
		load := p.control.own()
		if open = p.balancer.AppendBreakers(open[:0]); load < 0.01 && len(open) == 0 || len(p.name) > 255 || len(b)+len(p.name)+4 > maxPressure {
			continue
		}
		b = appendLoad(appendText(b, p.name), load)
		for _, o := range open {
			if len(b)+len(o.Address)+3 <= maxPressure && len(o.Address) <= 255 {
				b = append(appendText(b, o.Address), byte(o.State))
			}
		}
		b = append(b, 0)
	}
	return b
}

func appendLoad(b []byte, load float64) []byte {
	return binary.BigEndian.AppendUint16(b, uint16(min(100*load, math.MaxUint16)))
}

func appendText(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

// HearPressure takes a frame that another gateway sent. What it says of pools that are not here is passed over.
func (g *Gateway) HearPressure(frame []byte, now mono.Time) error {
	if len(frame) < 11 || frame[0] != pressureVersion {
		return errPressureFrame
	}
	node := binary.BigEndian.Uint64(frame[1:])
	load, rest, err := cutLoad(frame[9:])
	if err != nil {
		return err
	}
	said, err := parsePools(rest)
	if err != nil {
		return err
	}
	s := g.Snapshot()
	if s == nil || !s.hints {
		g.pressure.peers.hear(node, 0, nil, now)
		return nil
	}
	loads := make(map[string]float64, len(said))
	for _, w := range said {
		for _, p := range s.pools {
			if p.name != w.pool {
				continue
			}
			loads[p.name] = w.load
			for _, o := range w.open {
				p.balancer.Hear(o.Address, node, o.State, now)
			}
		}
	}
	g.pressure.peers.hear(node, load, loads, now)
	return nil
}

// poolWord is what a peer says of one pool.
type poolWord struct {
	pool string
	load float64
	open []balancer.PeerBreaker
}

func parsePools(b []byte) (words []poolWord, err error) {
	for len(b) > 0 {
		var w poolWord
		if w.pool, b, err = cutText(b); err != nil || w.pool == "" {
			return nil, errPressureFrame
		}
		if w.load, b, err = cutLoad(b); err != nil {
			return nil, err
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
			w.open = append(w.open, balancer.PeerBreaker{Address: address, State: balancer.BreakerState(b[0])})
			b = b[1:]
		}
		words = append(words, w)
	}
	return words, nil
}

func cutLoad(b []byte) (load float64, rest []byte, err error) {
	if len(b) < 2 {
		return 0, nil, errPressureFrame
	}
	return float64(binary.BigEndian.Uint16(b)) / 100, b[2:], nil
}

func cutText(b []byte) (text string, rest []byte, err error) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, errPressureFrame
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], nil
}
