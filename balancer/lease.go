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
	good := o == Success
	e.breaker.Report(l.gen, good, now)
	e.latency.observe(ttfb, !good, now)
	if o == Failure {
		e.failures.Add(1)
	} else if o == Fault {
		e.faults.Add(1)
		e.hurry()
	}
	e.judge(good, now)
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
	l.e.inflight.Add(-1)
}
