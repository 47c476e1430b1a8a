package strict

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Bounds are the upper ends of the buckets of Stats.Latency but the last, which has none.
var Bounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond,
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
}

// Stats are counters since Open, and the state now.
type Stats struct {
	Calls     uint64 // Takes and Peeks
	Errors    uint64 // those that got no answer
	Failures  uint64 // batches that failed, of corrections too
	Batches   uint64 // round trips for Takes and Peeks: Calls/Batches shared one
	Scripts   uint64 // times a server did not know the script
	Redirects uint64 // times a node of a cluster named another
	Undone    uint64 // slots of a cluster that were given back, for another refused
	Late      uint64 // answers to whoever had given up, that spent
	Settled   uint64 // corrections and renewals that were written
	Dropped   uint64 // those that were not
	Held      int    // seats' holders in this process

	Up      bool
	Mode    string // standalone | sentinel | cluster; empty if not known yet
	Servers []Server

	Latency    [len(Bounds) + 1]uint64 // answers by how long they took
	LatencySum time.Duration
}

// Server is one that takes writes.
type Server struct {
	Address string
	Up      bool   // its breaker is closed
	Trouble string // the last failure since it was up
	Queued  int    // calls that wait
}

type counters struct {
	calls, errors, failures, batches, scripts, redirects, undone, late, settled, dropped atomic.Uint64

	latency    [len(Bounds) + 1]atomic.Uint64
	latencySum atomic.Int64
}

func (c *counters) observe(d time.Duration) {
	i := 0
	for i < len(Bounds) && d > Bounds[i] {
		i++
	}
	c.latency[i].Add(1)
	c.latencySum.Add(int64(d))
}

// Stats reads the counters.
func (s *Store) Stats() Stats {
	c := &s.stats
	st := Stats{
		Calls: c.calls.Load(), Errors: c.errors.Load(), Failures: c.failures.Load(), Batches: c.batches.Load(), Scripts: c.scripts.Load(),
		Redirects: c.redirects.Load(), Undone: c.undone.Load(), Late: c.late.Load(), Settled: c.settled.Load(), Dropped: c.dropped.Load(),
		LatencySum: time.Duration(c.latencySum.Load()),
		Up:         s.Up(),
	}
	for i := range c.latency {
		st.Latency[i] = c.latency[i].Load()
	}
	s.held.mu.Lock()
	st.Held = len(s.held.seats)
	s.held.mu.Unlock()
	if v := s.view.Load(); v != nil {
		st.Mode = v.mode
		for _, n := range v.nodes {
			srv := Server{Address: n.addr, Up: !n.down.Load(), Queued: len(n.queue)}
			if t := n.trouble.Load(); t != nil {
				srv.Trouble = *t
			}
			st.Servers = append(st.Servers, srv)
		}
	}
	return st
}

// quiet keeps go-redis from writing to stderr: what matters is in Trouble and in our log.
func quiet() { redis.SetLogger(silence{}) }

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}
