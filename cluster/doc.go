// Package cluster keeps peers and moves opaque state between them; it never decodes what it carries.
//
// [Start] makes this process a node. Nodes find each other by any one of them (Config.Join), and each learns of all others. What
// they keep alike is a [Replica]: it gets the frames that members send with [Cluster.Broadcast], the whole State of a node when
// two meet, and is told who is there. Membership and failure detection are those of hashicorp/memberlist (SWIM with Lifeguard),
// with its probe timing for a LAN.
//
// # What goes where
//
// A frame goes straight to every member in one datagram each, not through the gossip queue: it arrives after one network delay,
// or not at all. A receiver copies it into one bounded queue, from which one goroutine calls Receive; when Receive is too slow
// the oldest frames go, and are counted. The order is mostly that of arrival, but not for sure: memberlist takes packets that
// wait from the newest. A state goes over TCP in both directions when a node joins, at each re-join, and between random pairs
// about every 30 s, which repairs what lost frames left.
//
//	frame  version (1), kind (1), instance (8), sequence number (4), and at most 1,300 bytes of the Replica's
//	state  version (1), instance (8), and at most 8 MiB of the Replica's
//	meta   version (1), flags (1), instance (8), then cluster, zone, version of the program, each with its length (1)
//
// Numbers are big endian. The instance is drawn at each start. Frames and states whose instance is not that of a member are
// refused, so that a second node of one name, a node of another cluster, or the former self of a node that has restarted are not
// taken for a member. Frames of a new node can therefore be refused for the fraction of a second until it is announced.
//
// # Coming and going
//
//   - Leave: memberlist does not tell its user whether a node left or died. So a leaving node first says in its meta that it
//     goes, waits until that has spread, and then leaves. One that is not heard in time counts as crashed: the safe mistake.
//   - Crash: a node that does not answer is declared dead after 4 to 8 s with three nodes, a little later with more. Until then it is a
//     member.
//   - Restart with the same name and address: at once. With another address: as soon as the old one is declared dead. The new
//     one goes on asking until it is known, since nobody else would tell the members.
//   - Two living nodes of one name: the second one is refused and says so in the log, as the others do.
//   - Split: memberlist gives up the other side for ever. So each node tries every second its seeds that are no members, and
//     for ten minutes the members that it lost. Three members exchange states with each node that comes back.
//   - Another cluster name, or a wrong key: refused by both sides, and logged once a minute.
//
// # Safety
//
// Off loopback a key is required: AES-GCM by memberlist for packets and streams. Who has the key is trusted to be a node, but not
// to be sane: names, meta, frames, states, the number of nodes, of connections, and what is read from one are bounded. Without
// the key at most 24 connections are held at a time, each for 10 s and about 9 MiB. The lines that
// memberlist logs are limited in rate. [Cluster.Update] rotates keys in use.
//
// # What this package deliberately does not do
//
// It does not read a frame or a state, merge, compress, repeat or order anything, or decide who is right after a split: counters
// that merge by maximum need none of it. It does not elect a leader, agree on a configuration, or keep anything on disk. It sends
// no frame by itself: a Replica that wants a peer's silence to mean something has to broadcast regularly. It does not tell one
// holder of the key from another.
package cluster
