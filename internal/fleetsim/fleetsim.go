// Package fleetsim judges how well a fleet of nodes keeps one limit. It is a deterministic discrete-event simulator:
// virtual time, seeded chance, one goroutine, so that the same scenario and seed give the same figures to the last bit.
//
// A limiter takes part through [Node], with messages that are opaque bytes. The simulator gives it requests, a network
// (delay, jitter, loss, cuts in one direction or both), membership as a SWIM protocol would report it, and a clock
// with an offset and a drift of its own. What the nodes admit is held against an [Oracle], one limiter that sees every
// request at once and in true order; [Metrics] says how far they are from it.
//
// Not modelled: congestion (a message is lost or delayed whatever the load), time spent deciding, false suspicion of
// members, suspension of a process, and work that goes on at a node that left or crashed.
package fleetsim

import "math/rand"

// Time is an instant or a time span in virtual nanoseconds.
type Time = int64

// Spans of virtual time.
const (
	Microsecond Time = 1e3
	Millisecond Time = 1e6
	Second      Time = 1e9
)

func seconds(t Time) float64 { return float64(t) / 1e9 }

// Broadcast as the receiver of a message means every other member that the sender knows to be alive. Each copy has its
// own delay and loss, and counts as a message.
const Broadcast = -1

// Message is a datagram. Data is what would be on the wire; receivers share it and must not change it.
type Message struct {
	From, To int // From is filled in by the simulator
	Data     []byte
}

// Node is one limiter of the fleet. It is called from one goroutine; now is the node's own clock.
type Node interface {
	// Allow decides a request of cost n.
	Allow(now Time, key uint64, n int) bool
	// Tick is called at the node's interval, give or take a tenth, and when it asked to be woken. It returns what to send.
	Tick(now Time) []Message
	// Receive delivers a message.
	Receive(now Time, m Message)
}

// What a Node may have besides.
type (
	// Ticker has an interval other than Params.Delta.
	Ticker interface{ TickEvery() Time }

	// Waker wants a Tick at WakeAt, by its own clock, if that is before the next one; 0 is no wish. It is asked after
	// every other call, and gets its Tick 20 us later at the earliest.
	Waker interface{ WakeAt() Time }

	// Member learns the ids of the nodes that are alive, itself included, and of those that said goodbye just now. The
	// slices are its own.
	Member interface {
		SetMembers(now Time, alive, left []int)
	}

	// Snapshotter gives its state to a node that joins, and takes that of others when it joins itself.
	Snapshotter interface {
		Snapshot(now Time) []byte
		Restore(now Time, data []byte)
	}

	// Leaver has something to send before it leaves.
	Leaver interface{ Leave(now Time) []Message }

	// Finisher learns that a request it admitted gave its seats back (Concurrency only).
	Finisher interface {
		Done(now Time, key uint64, n int)
	}
)

// Env is what a node starts with.
type Env struct {
	ID          int
	Incarnation uint32 // 1 at first, one more with each restart
	Alive       []int  // ids of the nodes that are alive, itself included
	Fresh       bool   // the whole fleet starts now; false when it joins a running one
	Limit       Limit  // of every key
	Delta       Time   // Params.Delta
	Delay       Time   // mean one-way delay, as it would be known from probes
	Now         Time   // the node's own clock
	Rand        *rand.Rand
}

// Factory makes a node.
type Factory func(Env) Node

// Kind of limit.
type Kind int

// Kinds of limits.
const (
	TokenBucket   Kind = iota // Rate tokens per second, at most Burst at once
	SlidingWindow             // Max in a Window: what the last one held fades evenly during the next
	FixedWindow               // Max in a Window, windows aligned to the clock: a quota
	Concurrency               // Max in use at once
)

// Limit is what all nodes together may admit of a key.
type Limit struct {
	Kind   Kind
	Rate   float64 // tokens per second, TokenBucket
	Burst  float64 // tokens, TokenBucket
	Max    float64 // tokens in a window, or seats
	Window Time    // SlidingWindow, FixedWindow
}
