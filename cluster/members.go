package cluster

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"weir/internal/mono"
)

const (
	maxMembers  = 1024                         // known nodes, the gone ones included
	forgetAfter = 600 * mono.Time(time.Second) // gone nodes are shown, and dead ones tried again, for ten minutes
	probeEvery  = time.Second                  // memberlist's LAN default: it probes one node each
	welcomers   = 3                            // members that exchange states with a node that came back
)

// ID is the same number for a name on every node and in every version: the start of its SHA-256.
func ID(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	return binary.BigEndian.Uint64(sum[:])
}

// State is what a node knows of another one.
type State uint8

const (
	Alive   State = iota
	Suspect       // a member still, but long silent; see Member.Silent
	Dead          // memberlist gave it up: it crashed, or the network between is cut
	Left          // it said that it goes
)

func (s State) String() string {
	return [...]string{"alive", "suspect", "dead", "left"}[min(s, Left)]
}

// Member is one node as another one sees it.
type Member struct {
	Name    string
	ID      uint64 // ID(Name)
	Self    bool
	Address netip.AddrPort // that it advertises
	Zone    string
	Version string // of its program
	State   State
	Since   time.Time // when it became a member, died or left, on this node's wall clock; suspicion does not count

	// RTT is the last round trip of memberlist's probe; 0: none yet. Each second one member is probed in turn.
	RTT time.Duration
	// Lag is the time since its last frame, or since it became a member if there was none: what it told is at least so old. It
	// is 0 of nodes that are gone. How much is normal depends on how often the nodes call Broadcast.
	Lag time.Duration
	// Silent is the time since its last frame or answer to a probe. After two rounds of probes and 3 s a member is Suspect.
	// (memberlist has such a state of its own, but does not tell it.)
	Silent time.Duration

	Frames uint64 // received of it
	Lost   uint64 // frames that it sent and that did not arrive in order of sending: an estimate, from gaps in their numbers
}

// peer is another node. Fields are under table.mu, but for the atomics.
type peer struct {
	node  memberlist.Node // our own copy: memberlist changes its one
	meta  meta
	state State // Alive, Dead or Left
	since mono.Time

	rtt          time.Duration
	heard, frame mono.Time // the last sign of life, the last frame
	frames, lost uint64
	seq          uint32
	numbered     bool // seq is set
}

func (p *peer) address() netip.AddrPort { return addrPort(p.node.Addr, p.node.Port) }

func addrPort(ip []byte, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}

// table is who is there. memberlist's events keep it; they come with memberlist's lock held, so nothing is called out here.
type table struct {
	mu       sync.Mutex
	byName   map[string]*peer
	instance map[uint64]*peer
	left     []uint64         // gone gracefully since the last take
	meet     []netip.AddrPort // of nodes that came back, to exchange states with

	targets atomic.Pointer[[]memberlist.Node] // the alive ones; neither the slice nor its nodes ever change
}

func newTable() *table {
	t := &table{byName: map[string]*peer{}, instance: map[uint64]*peer{}}
	t.targets.Store(new([]memberlist.Node))
	return t
}

// put records what memberlist says of a node: it came (joined), or changed what it tells about itself. It reports whether the node
// has come back: it was known before, and has died, left or restarted since.
func (t *table) put(n *memberlist.Node, m meta, joined bool, now mono.Time) (back bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.byName[n.Name]
	back = p != nil && (joined || p.meta.instance != m.instance)
	if p == nil {
		p = &peer{}
		t.byName[n.Name] = p
		joined = true
	}
	if joined || back {
		t.disown(p)
		*p = peer{state: p.state, since: now, heard: now}
	}
	if joined {
		p.state = Alive
	}
	p.node, p.meta = copyNode(n), m
	t.instance[m.instance] = p
	t.aim()
	return back
}

// plan notes a node that came back for an exchange of states if self is one of the few members, the same in the eyes of all,
// whose task it is. Gossip alone can bring it back without its knowing anybody, and nobody's frames of the meantime got to it.
func (t *table) plan(self uint64, name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, before := ID(name), 0
	weight := func(member uint64) uint64 { return (member ^ id) * 0x9e3779b97f4a7c15 }
	for n, p := range t.byName {
		if p.state == Alive && n != name && weight(ID(n)) < weight(self) {
			before++
		}
	}
	if before >= welcomers || len(t.meet) >= maxMembers {
		return false
	}
	t.meet = append(t.meet, t.byName[name].address())
	return true
}

// planned returns the addresses that plan noted since the last call.
func (t *table) planned() []netip.AddrPort {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.meet
	t.meet = nil
	return m
}

func copyNode(n *memberlist.Node) memberlist.Node {
	c := *n
	c.Addr, c.Meta = slices.Clone(n.Addr), nil
	return c
}

// gone records that a node left or died, and returns which; ok is false if it was not known.
func (t *table) gone(name string, now mono.Time) (s State, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.byName[name]
	if p == nil {
		return 0, false
	}
	p.state, p.since = Dead, now
	if p.meta.leaving {
		p.state = Left
		t.left = append(t.left, ID(name))
	}
	t.aim()
	return p.state, true
}

// aim makes targets anew. The caller holds mu.
func (t *table) aim() {
	nodes := make([]memberlist.Node, 0, len(t.byName))
	for _, p := range t.byName {
		if p.state == Alive {
			nodes = append(nodes, p.node)
		}
	}
	t.targets.Store(&nodes)
}

// room reports whether a node of this name may be added. When the table is full, the one that is gone longest makes room.
func (t *table) room(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byName[name] != nil || len(t.byName) < maxMembers {
		return true
	}
	oldest := ""
	for n, p := range t.byName {
		if p.state != Alive && (oldest == "" || p.since < t.byName[oldest].since) {
			oldest = n
		}
	}
	if oldest == "" {
		return false
	}
	t.drop(oldest)
	return true
}

func (t *table) drop(name string) {
	t.disown(t.byName[name])
	delete(t.byName, name)
}

func (t *table) disown(p *peer) {
	if t.instance[p.meta.instance] == p {
		delete(t.instance, p.meta.instance)
	}
}

// prune drops nodes that are gone for long.
func (t *table) prune(now mono.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n, p := range t.byName {
		if p.state != Alive && now-p.since > forgetAfter {
			t.drop(n)
		}
	}
}

// take returns the ids of the alive nodes, self among them, and of those that left since the last call, in order.
func (t *table) take(self uint64) (alive, left []uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	alive = []uint64{self}
	for n, p := range t.byName {
		if p.state == Alive {
			alive = append(alive, ID(n))
		}
	}
	slices.Sort(alive)
	left, t.left = t.left, nil
	slices.Sort(left)
	return alive, slices.Compact(left)
}

// hear notes a frame. It reports whether its sender is a node that is known, with that very instance.
func (t *table) hear(h header, now mono.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.instance[h.instance]
	if p == nil {
		return false
	}
	p.heard, p.frame = now, now
	p.frames++
	step := int32(h.seq - p.seq)
	switch {
	case !p.numbered:
		p.seq, p.numbered = h.seq, true
	case step > 0:
		p.lost += uint64(step - 1)
		p.seq = h.seq
	case p.lost > 0:
		p.lost-- // late, not lost
	}
	return true
}

func (t *table) knows(instance uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.instance[instance] != nil
}

func (t *table) pinged(name string, rtt time.Duration, now mono.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.byName[name]; p != nil {
		p.rtt, p.heard = rtt, now
	}
}

// addresses returns those of the members, and those of the nodes that died without having left.
func (t *table) addresses() (alive, dead []netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.byName {
		switch p.state {
		case Alive:
			alive = append(alive, p.address())
		case Dead:
			dead = append(dead, p.address())
		}
	}
	return alive, dead
}

// members lists the other nodes.
func (t *table) members(now mono.Time) []Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	patience := 3*time.Second + 2*time.Duration(len(*t.targets.Load()))*probeEvery
	all := make([]Member, 0, len(t.byName)+1)
	for name, p := range t.byName {
		m := Member{
			Name: name, ID: ID(name), Address: p.address(), Zone: p.meta.zone, Version: p.meta.version,
			State: p.state, Since: p.since.Wall(), RTT: p.rtt,
			Silent: now.Sub(p.heard), Frames: p.frames, Lost: p.lost,
		}
		if p.state == Alive {
			m.Lag = now.Sub(max(p.frame, p.since))
			if m.Silent > patience {
				m.State = Suspect
			}
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
