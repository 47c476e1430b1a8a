package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/hashicorp/memberlist"

	"weir/internal/mono"
)

// delegate is what memberlist calls. It calls the Notify methods for nodes with its own lock held: they must not block, nor call
// memberlist or the Replica.
type delegate struct{ c *Cluster }

func (d delegate) NodeMeta(int) []byte {
	return d.c.meta.Load().encode()
}

// NotifyMsg takes a frame. The bytes are memberlist's.
func (d delegate) NotifyMsg(b []byte) {
	c := d.c
	h, frame, ok := parseFrame(b)
	switch {
	case !ok:
		c.count.badFrames.Add(1)
	case h.version != wireVersion || !h.kind.known():
		c.count.unknown.Add(1)
	case !c.table.hear(h, mono.Now()):
		c.count.strangers.Add(1)
	default:
		c.count.received[h.kind].add(len(frame))
		if c.queue.push(h.kind, frame) {
			c.count.dropped.Add(1)
		}
	}
}

func (d delegate) GetBroadcasts(int, int) [][]byte { return nil }

func (d delegate) LocalState(bool) []byte {
	c := d.c
	if !c.enter() {
		return nil
	}
	defer c.gate.RUnlock()
	state := c.replica.State()
	if len(state) > MaxState {
		c.count.bigStates.Add(1)
		c.log.once("state", slog.LevelError, "the state is too big to be sent to other nodes", "bytes", len(state), "limit", MaxState)
		state = nil
	}
	if len(state) == 0 {
		return nil
	}
	c.count.statesSent.add(len(state))
	return appendState(c.instance, state)
}

func (d delegate) MergeRemoteState(b []byte, _ bool) {
	c := d.c
	if len(b) == 0 || !c.enter() {
		return
	}
	defer c.gate.RUnlock()
	version, instance, state, ok := parseState(b)
	switch {
	case !ok || version != wireVersion:
		c.count.badStates.Add(1)
		c.log.once("bad state", slog.LevelWarn, "a state of another node is refused", "bytes", len(b), "limit", MaxState)
	case !c.table.knows(instance):
		c.count.strangers.Add(1)
	default:
		c.count.statesReceived.add(len(state))
		c.replica.Merge(state)
	}
}

// NotifyMerge refuses to join the nodes of another cluster, on both sides.
func (d delegate) NotifyMerge(peers []*memberlist.Node) error {
	for _, n := range peers {
		if n.State != memberlist.StateAlive && n.State != memberlist.StateSuspect {
			continue
		}
		if err := d.welcome(n); err != nil {
			return err
		}
	}
	for _, n := range peers {
		if n.Name == d.c.cfg.Name && n.State != memberlist.StateLeft && addrPort(n.Addr, n.Port) != d.c.transport.advertise {
			d.c.contest()
		}
	}
	return nil
}

// NotifyAlive refuses them one by one, however they came to be known.
func (d delegate) NotifyAlive(n *memberlist.Node) error {
	if err := d.welcome(n); err != nil {
		return err
	}
	if n.Name != d.c.cfg.Name && !d.c.table.room(n.Name) {
		d.c.count.refused.Add(1)
		return fmt.Errorf("there are %d nodes already", maxMembers)
	}
	return nil
}

func (d delegate) welcome(n *memberlist.Node) error {
	c := d.c
	m, err := decodeMeta(n.Meta)
	switch {
	case err != nil:
	case m.cluster != c.cfg.Cluster:
		err = fmt.Errorf("it is of cluster %q, this node of %q", m.cluster, c.cfg.Cluster)
	case len(n.Name) > maxName:
		err = errors.New("its name is too long")
	case len(n.Addr) != net.IPv4len && len(n.Addr) != net.IPv6len || n.Port == 0:
		err = errors.New("it has no address")
	default:
		return nil
	}
	c.count.refused.Add(1)
	name := n.Name[:min(len(n.Name), maxName)]
	c.log.once("refused "+name, slog.LevelWarn, "a node is refused", "node", name, "address", net.JoinHostPort(net.IP(n.Addr).String(), fmt.Sprint(n.Port)), "why", err)
	return fmt.Errorf("node %q: %w", name, err)
}

// NotifyConflict is told that a name comes with another address than that of its living bearer. memberlist keeps the old one.
func (d delegate) NotifyConflict(old, other *memberlist.Node) {
	c := d.c
	c.count.conflicts.Add(1)
	if old.Name == c.cfg.Name {
		c.contest()
		c.log.once("conflict "+old.Name, slog.LevelError, "the name of this node is taken: the cluster knows another node of that name, and lets this one in only when that one is gone. Give each node its own name",
			"node", old.Name, "mine", addrPort(old.Addr, old.Port), "other", addrPort(other.Addr, other.Port))
		return
	}
	c.log.once("conflict "+old.Name, slog.LevelError, "two nodes of one name: the second is refused as long as the first one lives",
		"node", old.Name, "first", addrPort(old.Addr, old.Port), "second", addrPort(other.Addr, other.Port))
}

func (d delegate) NotifyJoin(n *memberlist.Node)   { d.put(n, true) }
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.put(n, false) }

func (d delegate) put(n *memberlist.Node, joined bool) {
	if n.Name == d.c.cfg.Name {
		return
	}
	m, err := decodeMeta(n.Meta)
	if err != nil {
		return // NotifyAlive let nothing through that cannot be read
	}
	if d.c.table.put(n, m, joined, mono.Now()) && d.c.table.plan(ID(d.c.cfg.Name), n.Name) {
		d.c.rejoinSoon()
	}
	if joined {
		d.c.log.say(slog.LevelInfo, "node joined the cluster", "node", n.Name, "address", addrPort(n.Addr, n.Port), "zone", m.zone)
	}
	d.c.change()
}

func (d delegate) NotifyLeave(n *memberlist.Node) {
	if n.Name == d.c.cfg.Name {
		return
	}
	state, ok := d.c.table.gone(n.Name, mono.Now())
	if !ok {
		return
	}
	if state == Left {
		d.c.log.say(slog.LevelInfo, "node left the cluster", "node", n.Name)
	} else {
		d.c.deaths.Add(1)
		d.c.log.say(slog.LevelWarn, "node is lost: it crashed, or the network is cut", "node", n.Name, "address", addrPort(n.Addr, n.Port))
	}
	d.c.change()
}

func (d delegate) AckPayload() []byte { return nil }

func (d delegate) NotifyPingComplete(n *memberlist.Node, rtt time.Duration, _ []byte) {
	d.c.table.pinged(n.Name, rtt, mono.Now())
}
