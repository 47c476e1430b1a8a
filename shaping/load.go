package shaping

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"weir/internal/mono"
)

// Signal is one of the measures of load.
type Signal uint8

const (
	CPU        Signal = iota // share of the CPU this process may use
	Memory                   // share of the memory it may use
	QueueDelay               // seconds that who comes now will wait for a seat, if there is a standing queue: see Backlog
	InFlight                 // requests in progress and waiting; with InFlightAuto, their share of what there is room for
	Peers                    // mean pressure of the fleet
	Signals    = 5
)

var signalNames = [Signals]string{"cpu", "memory", "queue_delay", "inflight", "peers"}

// String is the signal's name in the configuration and in metrics.
func (s Signal) String() string { return signalNames[s] }

// Reading is a signal as read, in its own unit. With an Err the value says nothing.
type Reading struct {
	Value float64
	Err   error
}

// Unread is the reading of a signal that could not be read.
func Unread(err error) Reading { return Reading{Err: err} }

// reading is v, unless there is an error or v is no amount.
func reading(v float64, err error) Reading {
	if err == nil && !(v >= 0 && v <= math.MaxFloat64) {
		err = fmt.Errorf("%v is no reading", v)
	}
	if err != nil {
		return Unread(err)
	}
	return Reading{Value: v}
}

var errFirst = errors.New("a second reading is needed")

// Readings are all signals at one instant.
type Readings [Signals]Reading

// InFlightAuto lets the requests in progress and waiting count against what there is room for.
const InFlightAuto = -1

// LoadConfig says at what a signal is full. 0 turns one off; at least one must be on.
type LoadConfig struct {
	CPU        float64       // share, at most 1
	Memory     float64       // share, at most 1
	QueueDelay time.Duration // 50 ms is what a client hardly notices. Longer: the server never runs dry; shorter: clients wait less
	InFlight   int           // requests, or InFlightAuto
	Global     bool          // the fleet's mean pressure counts
}

// Validate returns what is wrong with c, in the words of the configuration.
func (c LoadConfig) Validate() error {
	var errs []error
	share := func(name string, v float64) {
		if !(v >= 0 && v <= 1) {
			errs = append(errs, fmt.Errorf("%s is %v: a share above 0 %% and up to 100 %%, or off", name, v))
		}
	}
	share("cpu", c.CPU)
	share("memory", c.Memory)
	if c.QueueDelay < 0 {
		errs = append(errs, fmt.Errorf("queue_delay is %v: a time above 0, or off", c.QueueDelay))
	}
	if c.InFlight < InFlightAuto {
		errs = append(errs, fmt.Errorf("inflight is %d: auto, a number of requests from 1, or off", c.InFlight))
	}
	if c == (LoadConfig{Global: c.Global}) {
		errs = append(errs, errors.New("all signals are off: leave one on, or leave backpressure out"))
	}
	return errors.Join(errs...)
}

// full is the value at which the signal's load is 1; 0: the signal is off.
func (c LoadConfig) full(s Signal) float64 {
	switch s {
	case CPU:
		return c.CPU
	case Memory:
		return c.Memory
	case QueueDelay:
		return c.QueueDelay.Seconds()
	case InFlight:
		return math.Abs(float64(c.InFlight)) // auto is a share, full at 1
	}
	if c.Global {
		return 1
	}
	return 0
}

// Part is what one signal makes of the load.
type Part struct {
	Value float64 // in the signal's unit, CPU smoothed
	Load  float64 // Value over what is full
	Raw   float64 // the last good reading over what is full
	On    bool
	Known bool  // false: it does not count
	Err   error // why the last reading failed; for a while the one before still counts
}

// Load is how loaded this node is, and why.
type Load struct {
	Level float64 // the worst of the signals that are known: 1 is full, at most MaxLevel
	Own   float64 // the same without Peers: what is told to the peers
	Worst Signal  // whose level it is
	Known bool    // any signal is
	Parts [Signals]Part
}

// MaxLevel bounds a load: how far it is beyond full tells no more.
const MaxLevel = 2

// Pressure is the load from 0 to 1, for people and for peers.
func (l *Load) Pressure() float64 { return min(1, l.Level) }

const (
	cpuSmoothing = time.Second     // time constant of the CPU's moving average
	staleAfter   = 5 * time.Second // how long the last good reading counts. When descriptors run out, under overload of all times, /proc cannot be opened
)

// Meter makes one load out of all signals: the greatest of what each is over its own limit, for the scarcest resource is the one that fails. It is
// pure and not safe for concurrent use.
//
// CPU is smoothed with a moving average of 1 s; it is what happened to run in a tenth of a second. Nothing else is: memory and in-flight are
// levels, the queue delay is a minimum over 100 ms already.
//
// Of the peers the mean counts, beside what this node itself has. What a fleet can take is the sum of what its nodes can, so for equal nodes the load
// of the whole is the mean; a balancer moves to this node what the others refuse. The greatest would let one sick node have the whole fleet shed what the
// others have room for, and a node that is above the mean sheds by its own load anyway. Nodes must tell Own, not Level, or they would hear an echo.
type Meter struct {
	config LoadConfig
	at     mono.Time
	parts  [Signals]Part
	goodAt [Signals]mono.Time
}

// NewMeter returns a meter that knows nothing yet.
func NewMeter(c LoadConfig) (*Meter, error) {
	m := &Meter{}
	return m, m.Reshape(c)
}

// Reshape changes the limits; what is known stays. It changes nothing on an error.
func (m *Meter) Reshape(c LoadConfig) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if (c.InFlight == InFlightAuto) != (m.config.InFlight == InFlightAuto) {
		m.parts[InFlight] = Part{} // another unit
	}
	m.config = c
	return nil
}

// Tick takes the readings at now into account and returns the load. It is meant for every 100 ms.
func (m *Meter) Tick(now mono.Time, r *Readings) Load {
	elapsed := max(0, now.Sub(m.at))
	m.at = now
	var l Load
	worst := 0.0
	for s := range Signal(Signals) {
		p := &m.parts[s]
		full := m.config.full(s)
		if full == 0 {
			*p = Part{}
			continue
		}
		p.On = true
		m.take(s, r[s], elapsed)
		p.Load, p.Raw = p.Value/full, p.Raw/full
		if !p.Known {
			continue
		}
		l.Known = true
		if p.Load > worst {
			worst, l.Worst = p.Load, s
		}
		l.Level = min(worst, MaxLevel)
		if s != Peers {
			l.Own = l.Level // Peers is the last
		}
	}
	l.Parts = m.parts
	return l
}

// take brings a signal up to date.
func (m *Meter) take(s Signal, r Reading, elapsed time.Duration) {
	p := &m.parts[s]
	r = reading(r.Value, r.Err)
	p.Err = r.Err
	if r.Err != nil {
		if m.at.Sub(m.goodAt[s]) > staleAfter {
			p.Known, p.Value = false, 0
		}
		p.Raw = p.Value
		return
	}
	p.Raw = r.Value
	if s == CPU && p.Known {
		r.Value = p.Value + (r.Value-p.Value)*-math.Expm1(-elapsed.Seconds()/cpuSmoothing.Seconds())
	}
	p.Value, p.Known, m.goodAt[s] = r.Value, true, m.at
}

// QueueState is what a gate says about its queue.
type QueueState struct {
	Standing time.Duration // the least time that any seat given lately was waited for (RFC 8289); 0: a seat was to be had at once
	Waiting  int           // requests in the queue
	Waited   uint64        // seats given after a wait, ever
}

// Backlog tells how long the queue of one gate makes a newcomer wait. What those who leave the queue have waited tells how long it was when they came: a
// control loop around that delay cannot see what it does until the queue has drained once, and swings. Little's law gives the same figure at once: what
// waits now over the rate at which seats are given. It is pure and not safe for concurrent use; the zero value is ready.
type Backlog struct {
	started bool
	at      mono.Time
	waited  uint64
	seats   float64 // given a second, moving average while there is a queue
}

// Tick returns the reading of QueueDelay: 0 if there is no standing queue, for bursts are what a queue is for. It is meant for every 100 ms; a node takes
// the greatest over its gates.
func (b *Backlog) Tick(now mono.Time, q QueueState) Reading {
	elapsed := now.Sub(b.at).Seconds()
	given := float64(q.Waited - b.waited)
	first := !b.started || q.Waited < b.waited
	b.started, b.at, b.waited = true, now, q.Waited
	if q.Standing <= 0 || q.Waiting <= 0 {
		b.seats = 0
		return Reading{}
	}
	if first || elapsed <= 0 {
		return Reading{Value: q.Standing.Seconds()}
	}
	rate := given / elapsed
	if b.seats > 0 {
		rate = (rate + b.seats) / 2
	}
	b.seats = rate
	if rate == 0 {
		return Reading{Value: q.Standing.Seconds()} // nobody gets a seat
	}
	return Reading{Value: float64(q.Waiting) / rate}
}

// goMemory is what the Go runtime says about its memory, in bytes.
type goMemory struct {
	limit   uint64 // GOMEMLIMIT, 0: none
	needed  uint64 // what the garbage collector cannot free
	garbage uint64 // what it could; 0 without a limit, for then it does not care how much is there
}

// goMemoryNames are of the figures that goMemoryOf takes, in its order.
var goMemoryNames = [...]string{"/memory/classes/total:bytes", "/memory/classes/heap/released:bytes", "/memory/classes/heap/objects:bytes",
	"/memory/classes/heap/unused:bytes", "/memory/classes/heap/free:bytes", "/gc/heap/live:bytes"}

func readGoMemory() goMemory {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return goMemory{}
	}
	var samples [len(goMemoryNames)]metrics.Sample
	for i, name := range goMemoryNames {
		samples[i].Name = name
	}
	metrics.Read(samples[:])
	var v [len(goMemoryNames)]uint64
	for i, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			v[i] = s.Value.Uint64()
		}
	}
	return goMemoryOf(limit, v)
}

// goMemoryOf takes what lived at the last collection for what lives.
func goMemoryOf(limit int64, v [len(goMemoryNames)]uint64) goMemory {
	mapped, heap, live := v[0]-min(v[0], v[1]), v[2]+v[3]+v[4], v[5]
	garbage := heap - min(heap, live)
	return goMemory{limit: max(1, uint64(limit)), needed: mapped - min(mapped, garbage), garbage: garbage}
}
