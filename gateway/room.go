package gateway

import (
	"net/http"
	"strings"

	"weir/config"
	"weir/internal/mono"
	"weir/limiter"
	"weir/shaping"
)

// room is how a snapshot's requests wait for pools: whose they are, and how much that counts.
type room struct {
	by      int // dimension, or -1: all are one flow
	weights map[string]uint16
	weight  uint16 // of other values
}

func (p *compiler) compileRoom() error {
	r := &p.snap.room
	r.by, r.weight = -1, 1
	b := p.conf.Backpressure
	if b == nil {
		return nil
	}
	if b.Queue.By != "" {
		r.by = p.dim(b.Queue.By)
	}
	r.weight = uint16(b.Queue.DefaultWeight)
	r.weights = make(map[string]uint16, len(b.Queue.Weights))
	for _, w := range b.Queue.Weights {
		r.weights[w.Value] = uint16(w.Weight)
	}
	return nil
}

// gate says how many of a pool's requests are in progress and wait.
func (p *compiler) gate(pc *poolConf) {
	c := pc.conf
	pc.gateConf = shaping.GateConfig{Limit: c.Connections.Max * max(1, len(c.Endpoints))}
	pc.maxTunnels = c.Connections.Tunnels * max(1, len(c.Endpoints))
	pc.gateConf.MaxLength, pc.gateConf.MaxWait = p.conf.Queue(c)
	pc.gateConf.Aging = p.conf.Aging(c)
	pc.fixed = true
	b := p.conf.Backpressure
	if b == nil {
		return
	}
	if pc.fixed = b.Concurrency.Algorithm == "fixed"; pc.fixed {
		return
	}
	algorithm, err := shaping.ParseAlgorithm(b.Concurrency.Algorithm)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	most := min(b.Concurrency.Max, pc.gateConf.Limit)
	pc.tuningConf = shaping.EstimatorConfig{Algorithm: algorithm, Min: min(b.Concurrency.Min, most), Max: most, Initial: min(b.Concurrency.Initial, most)}
}

// shapeGate gives the live gate the numbers of pc. An estimator of the same algorithm keeps what it has learnt.
func (pc *poolConf) shapeGate(now mono.Time) (err error) {
	p, conf := pc.pool, pc.gateConf
	switch {
	case pc.fixed:
		p.tuner = nil
	case p.tuner != nil && p.tuning.Algorithm == pc.tuningConf.Algorithm:
		p.gate.Tune(func(e shaping.Estimator) { err = e.(shaping.Reshaper).Reshape(pc.tuningConf.Min, pc.tuningConf.Max) }, now)
	default:
		p.tuner, err = shaping.NewEstimator(pc.tuningConf)
	}
	if err != nil {
		return err
	}
	p.tuning, conf.Estimator = pc.tuningConf, p.tuner
	p.gate.Reshape(conf, now)
	return nil
}

// routeRoom compiles what a route says of priority, of how long a seat is held and a stream goes on, and of bandwidth.
func (p *compiler) routeRoom(e *entry, c *config.Route) error {
	e.hold = c.Hold != "headers"
	e.idle, e.lifetime = -1, c.Stream.MaxLifetime
	if d := c.Stream.IdleTimeout; d != nil {
		e.idle = *d
	}
	e.priority = priorityOf(c.Priority.Default)
	if c.Priority.From != "" {
		d, err := compileDimension(&config.Dimension{From: c.Priority.From}, p.env)
		if err != nil {
			return err
		}
		e.urgency = &d
	}
	if e.pacing = p.paced[c.Name]; e.pacing == nil {
		e.pacing = p.pacedEverywhere
	}
	if e.pacing != nil && e.pacing.down.Flows > 0 { // else who downloads slowly, as we have him do, would keep others out
		e.hold = false
	}
	return nil
}

func priorityOf(name string) priority {
	for i, n := range priorityNames {
		if n == name {
			return unspecified + priority(i)
		}
	}
	return normal
}

// band is the priority as queues know it.
func (p priority) band() shaping.Band { return shaping.Band(critical - p) }

// ownPriority is what the route, and the request if it may, say of its priority. Policies may raise it.
func (x *Exchange) ownPriority() priority {
	if d := x.route.urgency; d != nil {
		if v, ok := d.value(x); ok {
			for i := low - unspecified; i <= critical-unspecified; i++ {
				if strings.EqualFold(v, priorityNames[i]) {
					return unspecified + i
				}
			}
		}
	}
	return x.route.priority
}

// class is whose the request is, for the queue of a pool.
func (x *Exchange) class() shaping.Class {
	r := &x.snap.room
	c := shaping.Class{Band: x.priority.band(), Weight: r.weight}
	if r.by < 0 {
		return c
	}
	v, ok := x.Dimension(r.by)
	if !ok {
		return c
	}
	if w, ok := r.weights[v]; ok {
		c.Weight = w
	}
	x.frame = limiter.AppendPart(x.frame[:0], v)
	c.Flow = x.gw.hasher.Sum(x.frame).Lo
	return c
}

// enter chooses the pool and takes a seat in it.
func (g *Gateway) enter(x *Exchange, p *poolConf) Verdict {
	x.pool, x.conf = p.pool, p
	if !x.fellBack {
		if v, refused := x.shed(p.pool); refused {
			return v
		}
	}
	x.hint = x.hintFor(p)
	if x.begun = x.start; x.fellBack || x.waited > 0 || x.cached != nil {
		x.begun = mono.Now()
	}
	if v := x.car.Prepare(x); v.Reason != Pass {
		return v
	}
	if x.setDue(); x.overdue() {
		return tooLate
	}
	x.pace()
	if v := x.takeTurn(); v.Reason != Pass {
		return v
	}
	return x.sit()
}

// sit takes a seat in the pool, or waits for one.
func (x *Exchange) sit() Verdict {
	var free bool
	if x.seat, free = x.pool.gate.TryEnter(); free {
		return Verdict{}
	}
	return x.queue(x.pool.gate)
}

// queue waits for a seat.
func (x *Exchange) queue(gate *shaping.Gate) Verdict {
	since := mono.Now()
	var refusal shaping.Refusal
	x.seat, refusal = gate.Enter(shaping.Ask{Class: x.class(), Due: x.waitUntil(), Client: x.car}, since)
	x.begun = mono.Now()
	waited := x.begun.Sub(since)
	x.queued += waited
	x.pool.queue.Waited(waited)
	return queueVerdict(refusal)
}

// queueVerdict says what a gate's refusal means.
func queueVerdict(r shaping.Refusal) Verdict {
	switch r {
	case shaping.OK:
		return Verdict{}
	case shaping.QueueFull:
		return Verdict{Reason: QueueFull, Detail: "the pool has all it can take in progress, and as many wait as may"}
	case shaping.Displaced:
		return Verdict{Reason: QueueFull, Detail: "the pool's queue is full, and a request that comes before this one in it took its place"}
	case shaping.TooLate:
		return Verdict{Reason: QueueTimeout, Detail: "its turn would not come in time: the pool has more waiting than it can take until then"}
	case shaping.Gone:
		return Verdict{Reason: ClientGone, Close: true}
	}
	return Verdict{Reason: QueueTimeout, Detail: "its turn did not come in time: the pool has more to do than it can"}
}

// leaveSeat gives the seat back, and tells what its request says of the endpoints' load.
func (x *Exchange) leaveSeat(now mono.Time) {
	x.seat.Leave(x.sample(), x.headAt.Sub(x.begun), now)
}

// sample is what the last attempt says of the endpoints' load. A 503 does if it asks to be left alone; others may be about the request. Of a body that
// was sent on as it came, the client made much of the time.
func (x *Exchange) sample() shaping.Sample {
	r := &x.result
	switch {
	case x.headAt == 0 || !r.Sent || x.impatient(r) || !x.car.Replayable():
		return shaping.Ignore
	case r.Fault == FaultTimeout || r.Fault == FaultReset || r.Rest:
		return shaping.Drop
	case r.Fault != NoFault || r.Status == http.StatusServiceUnavailable || r.code.unserved():
		return shaping.Ignore
	}
	return shaping.Success
}
