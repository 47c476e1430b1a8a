package balancer

// EventKind says what happened to a pool or endpoint.
type EventKind uint8

const (
	BecameHealthy     EventKind = iota // by probes
	BecameUnhealthy                    // by probes; Detail has the last probe's error
	Ejected                            // by what requests met; Detail has the reason and for how long
	Returned                           // the ejection is over
	BreakerOpened                      // Detail has for how long, and whether a peer's hastened it
	BreakerHalfOpened                  //
	BreakerClosed                      //
	PanicBegan                         // too few are healthy: all are used. No endpoint
	PanicEnded                         // no endpoint
	DrainBegan                         // by the operator
	DrainEnded                         // by the operator
	ResolveFailed                      // Name is the host; the last answer is kept. Once until it is well again
	ResolveRecovered                   // Name is the host
	RestBegan                          // the endpoint asked for it; Detail has for how long
)

var eventNames = [...]string{"healthy", "unhealthy", "ejected", "returned", "breaker_open", "breaker_half_open",
	"breaker_closed", "panic", "panic_over", "draining", "ready", "resolve_failed", "resolve_recovered", "resting"}

// String returns the kind in a form for logs, such as "breaker_open".
func (k EventKind) String() string { return eventNames[k] }

// Event is a transition worth a log line.
type Event struct {
	Pool    string
	Name    string // the endpoint as configured; "" for the pool's own
	Address string // ip:port
	Kind    EventKind
	Detail  string
}

// noteLocked keeps an event until the lock is given back.
func (p *Pool) noteLocked(k EventKind, e *Endpoint, detail string) {
	if p.hooks.Event == nil {
		return
	}
	ev := Event{Pool: p.name, Kind: k, Detail: detail}
	if e != nil {
		ev.Name, ev.Address = e.Name(), e.address
	}
	p.notes = append(p.notes, ev)
}

// unlock gives the lock back and tells what was noted under it.
func (p *Pool) unlock() {
	notes := p.notes
	p.notes = nil
	p.mu.Unlock()
	for _, ev := range notes {
		p.hooks.Event(ev)
	}
}

func (p *Pool) tell(k EventKind, name, address, detail string) {
	if p.hooks.Event != nil {
		p.hooks.Event(Event{Pool: p.name, Name: name, Address: address, Kind: k, Detail: detail})
	}
}
