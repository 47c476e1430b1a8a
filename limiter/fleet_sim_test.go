package limiter

import (
	"testing"
	"time"

	"weir/internal/fleetsim"
	"weir/internal/mono"
)

// simNode is the real limiter as a node of the simulator.
type simNode struct {
	t       testing.TB
	fleet   *Fleet
	limiter *Limiter
	held    map[uint64][]Charge
	seats   bool
	next    mono.Time
}

func specOf(l fleetsim.Limit) Spec {
	switch l.Kind {
	case fleetsim.SlidingWindow:
		return Spec{Algorithm: SlidingWindow, Rate: Rate{N: int64(l.Max), Per: time.Duration(l.Window)}, Parts: 60}
	case fleetsim.FixedWindow:
		return Spec{Algorithm: FixedWindow, Rate: Rate{N: int64(l.Max), Per: time.Duration(l.Window)}}
	case fleetsim.Concurrency:
		return Spec{Algorithm: Concurrency, Rate: Rate{N: int64(l.Max)}}
	}
	return Spec{Rate: Rate{N: int64(l.Rate), Per: time.Second, Burst: int64(l.Burst)}}
}

func simFactory(t testing.TB, nodes *[]*simNode) fleetsim.Factory {
	return func(env fleetsim.Env) fleetsim.Node {
		f := NewFleet(FleetOptions{Self: nodeID(env.ID), Incarnation: env.Incarnation, Interval: time.Duration(env.Delta), Delay: time.Duration(env.Delay),
			Start: mono.Time(env.Now) + mono.Time(env.Rand.Int63n(int64(env.Delta)))})
		l, err := New("sim", specOf(env.Limit), Options{Fleet: f, Share: 7})
		if err != nil {
			t.Fatal(err)
		}
		l.Join(mono.Time(env.Now))
		n := &simNode{t: t, fleet: f, limiter: l, held: map[uint64][]Charge{}, seats: env.Limit.Kind == fleetsim.Concurrency}
		n.SetMembers(env.Now, env.Alive, nil)
		if nodes != nil {
			*nodes = append(*nodes, n)
		}
		return n
	}
}

func nodeID(i int) uint64 { return uint64(i) + 100 }

func simKey(k uint64) Key { return Key{Hi: k * 0x9e3779b97f4a7c15, Lo: (k + 1) * 0xbf58476d1ce4e5b9} }

func (n *simNode) Allow(now fleetsim.Time, key uint64, cost int) bool {
	var c Charge
	c.Add(n.limiter, simKey(key), int64(cost))
	ok := c.Take(mono.Time(now)) < 0
	if ok && n.seats {
		n.held[key] = append(n.held[key], c)
	}
	return ok
}

func (n *simNode) Done(now fleetsim.Time, key uint64, cost int) {
	for i := range n.held[key] {
		if c := &n.held[key][i]; c.steps[0].n == int64(cost) {
			c.Settle(mono.Time(now))
			n.held[key] = append(n.held[key][:i], n.held[key][i+1:]...)
			return
		}
	}
	n.t.Error("done without a charge")
}

func (n *simNode) Tick(now fleetsim.Time) (list []fleetsim.Message) {
	frames, next := n.fleet.Step(mono.Time(now))
	n.next = next
	for _, b := range frames {
		if len(b) > MaxFrame {
			n.t.Errorf("frame of %d bytes", len(b))
		}
		list = append(list, fleetsim.Message{To: fleetsim.Broadcast, Data: b})
	}
	return list
}

func (n *simNode) TickEvery() fleetsim.Time { return fleetsim.Time(minGap) }

// WakeAt wakes as the gateway's loop does: soon if a key called, else when Step said.
func (n *simNode) WakeAt() fleetsim.Time {
	select {
	case <-n.fleet.Wake():
		return fleetsim.Time(n.fleet.last.Add(minGap))
	default:
	}
	return fleetsim.Time(n.next)
}

func (n *simNode) Receive(now fleetsim.Time, m fleetsim.Message) {
	if err := n.fleet.Receive(m.Data, mono.Time(now)); err != nil && n.fleet.stats.Strangers == 0 {
		n.t.Error(err)
	}
}

func (n *simNode) SetMembers(now fleetsim.Time, alive, left []int) {
	ids := func(list []int) (ids []uint64) {
		for _, i := range list {
			ids = append(ids, nodeID(i))
		}
		return ids
	}
	n.fleet.Members(ids(alive), ids(left), mono.Time(now))
}

func (n *simNode) Snapshot(now fleetsim.Time) []byte { return n.fleet.State(1<<20, mono.Time(now)) }

func (n *simNode) Restore(now fleetsim.Time, b []byte) {
	if err := n.fleet.Merge(b, mono.Time(now)); err != nil && n.fleet.stats.Strangers == 0 {
		n.t.Error(err)
	}
}

func (n *simNode) Leave(now fleetsim.Time) (list []fleetsim.Message) {
	for _, b := range n.fleet.Leave(mono.Time(now)) {
		list = append(list, fleetsim.Message{To: fleetsim.Broadcast, Data: b})
	}
	return list
}
