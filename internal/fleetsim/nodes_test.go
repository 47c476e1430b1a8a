package fleetsim

import (
	"math"
	"slices"
)

// equal is the plainest limiter: each node keeps its even share of the limit, and says nothing.
type equal struct {
	limit Limit
	n     float64
	keys  map[uint64]*bucket
}

type bucket struct {
	level float64 // tokens, or seats that are free
	at    Time
}

func newEqual(e Env) Node { return &equal{e.Limit, float64(len(e.Alive)), map[uint64]*bucket{}} }

func (q *equal) Allow(now Time, key uint64, n int) bool {
	b := q.keys[key]
	if b == nil {
		b = &bucket{(q.limit.Burst + q.limit.Max) / q.n, now}
		q.keys[key] = b
	}
	if q.limit.Kind == TokenBucket {
		b.level = min(max(1, q.limit.Burst/q.n), b.level+seconds(now-b.at)*q.limit.Rate/q.n)
		b.at = now
	}
	if b.level+1e-9 < float64(n) {
		return false
	}
	b.level -= float64(n)
	return true
}

func (q *equal) Done(_ Time, key uint64, n int)    { q.keys[key].level += float64(n) }
func (q *equal) Tick(Time) []Message               { return nil }
func (q *equal) Receive(Time, Message)             {}
func (q *equal) SetMembers(_ Time, alive, _ []int) { q.n = float64(len(alive)) }

// open admits all.
type open struct{}

func newOpen(Env) Node { return open{} }

func (open) Allow(Time, uint64, int) bool { return true }
func (open) Tick(Time) []Message          { return nil }
func (open) Receive(Time, Message)        {}

// probe is an equal that says hello to all at each tick, and notes what happens to it. Its times are from its start.
type probe struct {
	*equal
	env   Env
	heard map[int][]Time // by sender
	views []view
	ticks []Time
	wake  Time // when it wants to be woken, 0 no more
	took  int  // snapshots
	said  bool // goodbye
}

type view struct {
	at          Time
	alive, left []int
}

// probes makes probes and keeps them: the last one of each id.
type probes map[int]*probe

func (f probes) make(e Env) Node {
	p := &probe{equal: newEqual(e).(*equal), env: e, heard: map[int][]Time{}}
	f[e.ID] = p
	return p
}

func (p *probe) Tick(now Time) []Message {
	p.ticks = append(p.ticks, now-p.env.Now)
	p.wake = 0
	return []Message{{To: Broadcast, Data: []byte{byte(p.env.ID)}}}
}

func (p *probe) Receive(now Time, m Message) {
	if int(m.Data[0]) != m.From || m.To != p.env.ID {
		panic("BUG: a message went astray")
	}
	p.heard[m.From] = append(p.heard[m.From], now-p.env.Now)
}

func (p *probe) SetMembers(now Time, alive, left []int) {
	p.equal.SetMembers(now, alive, left)
	p.views = append(p.views, view{now - p.env.Now, alive, left})
}

func (p *probe) WakeAt() Time         { return p.wake }
func (p *probe) Snapshot(Time) []byte { return []byte{byte(p.env.ID)} }
func (p *probe) Restore(Time, []byte) { p.took++ }
func (p *probe) Leave(Time) []Message {
	p.said = true
	return []Message{{To: Broadcast, Data: []byte{byte(p.env.ID)}}}
}

// hears reports whether anything of a node arrived in a span of seconds.
func (p *probe) hears(from int, after, before float64) bool {
	return slices.ContainsFunc(p.heard[from], func(t Time) bool { return seconds(t) >= after && seconds(t) < before })
}

// sees returns the nodes it takes to be alive at a time in seconds.
func (p *probe) sees(sec float64) (alive []int) {
	for _, v := range p.views {
		if seconds(v.at) <= sec {
			alive = v.alive
		}
	}
	return alive
}

func near(got, want, by float64) bool { return math.Abs(got-want) <= by }
