package balancer

import (
	"time"

	"weir/internal/mono"
)

// Outcome is how an attempt went.
type Outcome uint8

const (
	Success Outcome = iota
	Failure         // it answered, badly (5xx)
	Fault           // it did not answer: connect, reset, timeout
	Ignore          // nothing can be said about the endpoint: the client went away
)

// Miss is why there is no lease.
type Miss uint8

const (
	OK          Miss = iota
	NoEndpoint       // none is healthy, or there is none at all
	BreakerOpen      // all that are healthy have their breaker open
	NoRoom           // those whose breaker is not open have MaxConnections in flight
)

// String returns ok, no_endpoint, breaker_open or no_room.
func (m Miss) String() string {
	return [...]string{"ok", "no_endpoint", "breaker_open", "no_room"}[m]
}

// Lease is an endpoint held for one attempt. The zero value holds none, and all its methods do nothing. It belongs to one
// exchange: not safe for concurrent use, and a copy is the same lease, of which only one may be Done.
type Lease struct {
	e        *Endpoint
	gen      uint32
	reported bool
	good     bool // as a Success that did not break yet
	tunnel   bool
	done     bool
}

// Endpoint returns what is leased, also after Done; nil for none.
func (l *Lease) Endpoint() *Endpoint { return l.e }

// Report tells how the attempt went, when the response header is there or it is clear that it won't be. ttfb is the time from
// sending to the first byte, or to the fault. It moves the breaker, latency and passive health. A second call, or one after
// Done, does nothing. It does not allocate unless it ejects.
func (l *Lease) Report(o Outcome, ttfb time.Duration, now mono.Time) {
	if l.e == nil || l.reported || l.done {
		return
	}
	l.reported = true
	e := l.e
	if o == Ignore {
		e.breaker.Cancel(l.gen)
		return
	}
	l.good = o == Success
	e.breaker.Report(l.gen, l.good, now)
	e.latency.observe(ttfb, !l.good, now)
	if o == Failure {
		e.failures.Add(1)
	} else if o == Fault {
		e.faults.Add(1)
		e.hurry()
	}
	e.judge(l.good, now)
}

// Broke tells that an attempt that was reported as a Success came to a bad end, as some protocols say with their last words only. It
// counts as a Failure beside that success: it moves the breaker, if that is still in the lease's generation, and passive health, but not
// latency. A second call, or one after Done or any other report, does nothing.
func (l *Lease) Broke(now mono.Time) {
	if l.e == nil || !l.good || l.done {
		return
	}
	l.good = false
	l.e.breaker.Report(l.gen, false, now)
	l.e.failures.Add(1)
	l.e.judge(false, now)
}

// Tunnel tells that the attempt has become a tunnel, which may last for days: until Done it counts as one of the endpoint's tunnels, for
// balancing by load too, and no more as in flight. A second call, or one after Done, does nothing.
func (l *Lease) Tunnel() {
	if l.e == nil || l.tunnel || l.done {
		return
	}
	l.tunnel = true
	l.e.tunnels.Add(1)
	l.e.inflight.Add(-1)
}

// Done gives the lease back, at the last byte. Without a Report the breaker gets its permit back with no verdict. A second
// call does nothing.
func (l *Lease) Done(now mono.Time) {
	if l.e == nil || l.done {
		return
	}
	l.done = true
	if !l.reported {
		l.e.breaker.Cancel(l.gen)
	}
	if l.tunnel {
		l.e.tunnels.Add(-1)
	} else {
		l.e.inflight.Add(-1)
	}
}
