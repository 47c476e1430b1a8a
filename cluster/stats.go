package cluster

import (
	"sync/atomic"

	"weir/internal/mono"
)

// Traffic is a number of things and the bytes in them.
type Traffic struct{ Count, Bytes uint64 }

// KindStats is what was sent and received of one kind of frame, without headers. A frame to n nodes counts n times.
type KindStats struct{ Sent, Received Traffic }

// Stats counts since Start, but for the four numbers of nodes.
type Stats struct {
	Alive, Suspect, Dead, Left int // nodes by state; Alive counts this one. Dead and left ones are forgotten after ten minutes

	Kinds                      map[Kind]KindStats
	StatesSent, StatesReceived Traffic // by push/pull

	// On the wire, with all that memberlist sends for itself.
	PacketsSent, PacketsReceived         Traffic
	StreamBytesSent, StreamBytesReceived uint64

	Dropped      uint64 // frames that were received and had to go because Receive was too slow
	SendErrors   uint64 // frames that could not be sent to a node
	Oversized    uint64 // calls of Broadcast with more than MaxFrame bytes or a kind that does not exist
	BadFrames    uint64 // received: too short or too long
	Unknown      uint64 // received: of a kind or version that this node does not know
	Strangers    uint64 // frames and states of nodes that are no members, for example of a second one with a member's name
	BigStates    uint64 // states of this node that were longer than MaxState and not sent
	BadStates    uint64 // received: of another version, or longer than MaxState
	Refused      uint64 // announcements of nodes that were refused, for example of another cluster
	Conflicts    uint64 // announcements of a living member's name with another address
	RefusedConns uint64 // connections over the bounds, and packets too long
	Rejoins      uint64 // attempts to join a node, and those of them that failed
	RejoinErrors uint64
	LogDropped   uint64 // lines that were not logged
}

type traffic struct{ n, bytes atomic.Uint64 }

func (t *traffic) add(bytes int) {
	t.n.Add(1)
	t.bytes.Add(uint64(bytes))
}

func (t *traffic) load() Traffic { return Traffic{t.n.Load(), t.bytes.Load()} }

type counters struct {
	sent, received             [kinds]traffic
	statesSent, statesReceived traffic

	dropped, sendErrors, oversized, badFrames, unknown, strangers atomic.Uint64
	bigStates, badStates, refused, conflicts                      atomic.Uint64
	rejoins, rejoinErrors                                         atomic.Uint64
}

// Stats returns the counters. They are read one after the other.
func (c *Cluster) Stats() Stats {
	s := Stats{
		Alive:      1,
		Kinds:      map[Kind]KindStats{},
		StatesSent: c.count.statesSent.load(), StatesReceived: c.count.statesReceived.load(),
		PacketsSent: c.transport.sent.load(), PacketsReceived: c.transport.received.load(),
		StreamBytesSent: c.transport.streamOut.Load(), StreamBytesReceived: c.transport.inBytes.Load(),
		Dropped: c.count.dropped.Load(), SendErrors: c.count.sendErrors.Load(), Oversized: c.count.oversized.Load(),
		BadFrames: c.count.badFrames.Load(), Unknown: c.count.unknown.Load(), Strangers: c.count.strangers.Load(),
		BigStates: c.count.bigStates.Load(), BadStates: c.count.badStates.Load(), Refused: c.count.refused.Load(),
		Conflicts: c.count.conflicts.Load(), RefusedConns: c.transport.refused.Load(),
		Rejoins: c.count.rejoins.Load(), RejoinErrors: c.count.rejoinErrors.Load(), LogDropped: c.log.dropped.Load(),
	}
	for k := KindSpending; k < kinds; k++ {
		s.Kinds[k] = KindStats{c.count.sent[k].load(), c.count.received[k].load()}
	}
	for _, m := range c.table.members(mono.Now()) {
		switch m.State {
		case Alive:
			s.Alive++
		case Suspect:
			s.Suspect++
		case Dead:
			s.Dead++
		case Left:
			s.Left++
		}
	}
	return s
}
