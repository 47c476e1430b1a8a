package gateway

import (
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/mono"
	"weir/shaping"
)

// Features that are done without under load.
const (
	noMirror uint32 = 1 << iota
	noAccessLog
	noRetries
	noLimitFields
	noRevalidation // what is stale is served
	features       = iota
)

// featureNames are those of the configuration, in the order of their bits.
var featureNames = [features]string{"mirror", "access_log", "retries", "ratelimit_headers", "revalidation"}

// degradedHeader tells an endpoint what is done without.
const degradedHeader = "weir-degraded"

// pressureEvery is how often the signals are read.
const pressureEvery = 100 * time.Millisecond

// pressure is how loaded this gateway is and its pools are, and what follows from it. Tick is called by one goroutine, every tenth of a second.
type pressure struct {
	gw    *Gateway
	peers peers
	node  control       // goes by CPU, memory and what is in flight in all
	off   atomic.Uint32 // features
	worst atomic.Uint64 // load of the node and all pools, as bits

	mu       sync.Mutex // of what follows, and of the pools' controls
	conf     *pressureConf
	machine  *shaping.Machine
	degrader *shaping.Degrader
}

// pressureConf is what a snapshot says of it.
type pressureConf struct {
	node, pool controlConf
	levels     []shaping.DegradeLevel
}

// compilePressure makes ready what goes by load; nothing does without a backpressure section.
func (p *compiler) compilePressure() error {
	b := p.conf.Backpressure
	if b == nil {
		p.snap.hints = true
		return nil
	}
	p.snap.hints = b.Global
	s, global := &b.Signals, b.Global && p.conf.Cluster.Enabled
	c := &pressureConf{
		node: controlConf{load: shaping.LoadConfig{CPU: float64(s.CPU), Memory: float64(s.Memory), Global: global}},
		pool: controlConf{load: shaping.LoadConfig{QueueDelay: s.QueueDelay, Global: global}},
	}
	switch {
	case s.InFlight == 0:
		c.pool.load.InFlight = shaping.InFlightAuto
	case s.InFlight > 0:
		c.node.load.InFlight = s.InFlight
	}
	if l := b.LoadShedding; l != nil {
		shed := shaping.ShedConfig{Threshold: float64(b.LoadThreshold), Rate: float64(l.SheddingRate)}
		for band := shaping.High; band <= shaping.Low; band++ {
			shed.Multipliers[band] = l.Multiplier(int(band))
		}
		if err := shed.Validate(); err != nil {
			return err
		}
		c.node.shed, c.pool.shed = shed, shed
	}
	for _, d := range b.Degrade {
		level := shaping.DegradeLevel{At: float64(d.At)}
		for _, name := range d.Disable {
			level.Features |= 1 << slices.Index(featureNames[:], name)
		}
		if d.ServeStale {
			level.Features |= noRevalidation
		}
		c.levels = append(c.levels, level)
	}
	p.snap.pressure = c
	return shaping.ValidateDegrade(c.levels)
}

// install puts what s says in force; what is known of the load, and how much is shed, stays.
func (p *pressure) install(s *Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conf = s.pressure
	c := p.conf
	if c == nil {
		c = &pressureConf{}
		p.off.Store(0)
		p.worst.Store(0)
		p.degrader, p.machine = nil, nil
	}
	err := p.node.install(&c.node)
	for _, pc := range s.pools {
		err = errors.Join(err, pc.control.install(&c.pool))
	}
	if p.conf != nil {
		if p.degrader == nil {
			p.machine = shaping.NewMachine(nil)
			p.degrader, _ = shaping.NewDegrader(nil)
		}
		err = errors.Join(err, p.degrader.Reshape(c.levels))
	}
	if err != nil {
		p.gw.log.Error("BUG: backpressure passed validation and cannot be used", "error", err)
	}
}

// tick reads the signals and lets what goes by them follow.
func (p *pressure) tick(now mono.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.gw.Snapshot()
	if s == nil {
		return
	}
	heard := p.peers.heard(now)
	for _, pc := range s.pools {
		pc.balancer.Budget().Share(1 + heard)
	}
	if p.conf == nil {
		return
	}
	all, worst, what := 0, 0.0, ""
	for _, pc := range s.pools {
		st := pc.gate.Stats()
		all += st.InFlight + st.Waiting
		if load := p.tickPool(pc, &st, now); load.Level > worst {
			worst, what = load.Level, load.Worst.String()+" of "+pc.name
		}
	}
	var r shaping.Readings
	r[shaping.CPU], r[shaping.Memory] = p.machine.Read(now)
	r[shaping.InFlight] = shaping.Reading{Value: float64(all)}
	r[shaping.Peers] = shaping.Reading{Value: p.peers.mean("", p.node.own(), now)}
	if load := p.node.tick(now, &r); load.Level > worst {
		worst, what = load.Level, load.Worst.String()
	}
	p.worst.Store(math.Float64bits(worst))
	change := p.degrader.Tick(now, worst)
	p.off.Store(p.degrader.Active())
	if change.From != change.To {
		p.gw.log.Warn("load changed what is done without", "load", math.Round(100*worst)/100, "signal", what, "levels", change.To, "without", string(appendFeatures(nil, p.degrader.Active())))
	}
}

// tickPool does that for a pool: by how long its queue delays newcomers, and how full gate and queue are. A pool without a queue is never full: it
// refuses by itself.
func (p *pressure) tickPool(pc *poolConf, st *shaping.GateStats, now mono.Time) shaping.Load {
	var r shaping.Readings
	r[shaping.QueueDelay] = pc.backlog.Tick(now, shaping.QueueState{Standing: pc.gate.Delay(now), Waiting: st.Waiting, Waited: st.Waited})
	if st.Limit > 0 && st.MaxLength > 0 {
		r[shaping.InFlight] = shaping.Reading{Value: float64(st.InFlight+st.Waiting) / float64(st.Limit+st.MaxLength)}
	}
	r[shaping.Peers] = shaping.Reading{Value: p.peers.mean(pc.name, pc.control.own(), now)}
	return pc.control.tick(now, &r)
}

// level is the load of the gateway and its pools, the worst of them.
func (p *pressure) level() float64 { return math.Float64frombits(p.worst.Load()) }

// shed refuses a request for load, or lets it pass. For the gateway's, whoever it falls to; for a pool's only those whose flow makes the queue long.
// Others would pay for a crowd that they do not belong to.
func (x *Exchange) shed(pool *pool) (v Verdict, refused bool) {
	node, band := &x.gw.pressure.node, x.priority.band()
	by := node
	switch {
	case node.sheds(band):
	case pool.control.sheds(band) && pool.gate.Crowds(x.class()):
		by = &pool.control
	default:
		return v, false
	}
	pool.shed[band].Add(1)
	return by.refusal(), true
}

// appendFeatures appends the names of features, with commas.
func appendFeatures(b []byte, off uint32) []byte {
	had := len(b)
	for i, name := range featureNames {
		if off&(1<<i) != 0 {
			if len(b) > had {
				b = append(b, ", "...)
			}
			b = append(b, name...)
		}
	}
	return b
}
