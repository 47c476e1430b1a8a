package gateway

import (
	"errors"
	"math"
	"math/rand/v2"
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
	features = iota
)

// featureNames are those of the configuration, in the order of their bits.
var featureNames = [features]string{"mirror", "access_log", "retries", "ratelimit_headers"}

// degradedHeader tells an endpoint what is done without.
const degradedHeader = "weir-degraded"

// pressureEvery is how often the signals are read.
const pressureEvery = 100 * time.Millisecond

// pressure is how loaded this gateway is, and what follows from it. Tick is called by one goroutine, every tenth of a second.
type pressure struct {
	gw      *Gateway
	peers   peers
	machine *shaping.Machine
	shedder atomic.Pointer[shaping.Shedder] // nil: nothing is shed
	off     atomic.Uint32                   // features
	load    atomic.Pointer[shaping.Load]    // nil: nobody wants to know

	mu       sync.Mutex // of what follows
	conf     *pressureConf
	meter    *shaping.Meter
	shed     *shaping.Shedder
	degrader *shaping.Degrader
}

// pressureConf is what a snapshot says of it.
type pressureConf struct {
	load   shaping.LoadConfig
	shed   shaping.ShedConfig // Rate 0: nothing is shed
	levels []shaping.DegradeLevel
}

// compilePressure makes ready what goes by load; nothing does without a backpressure section.
func (p *compiler) compilePressure() error {
	b := p.conf.Backpressure
	if b == nil {
		return nil
	}
	s := &b.Signals
	c := &pressureConf{load: shaping.LoadConfig{CPU: float64(s.CPU), Memory: float64(s.Memory), QueueDelay: s.QueueDelay, Global: b.Global && p.conf.Cluster.Enabled}}
	switch {
	case s.InFlight == 0:
		c.load.InFlight = shaping.InFlightAuto
	case s.InFlight > 0:
		c.load.InFlight = s.InFlight
	}
	if l := b.LoadShedding; l != nil {
		c.shed = shaping.ShedConfig{Threshold: float64(b.LoadThreshold), Rate: float64(l.SheddingRate)}
		for band := shaping.High; band <= shaping.Low; band++ {
			c.shed.Multipliers[band] = l.Multiplier(int(band))
		}
	}
	for _, d := range b.Degrade {
		level := shaping.DegradeLevel{At: float64(d.At)}
		for _, name := range d.Disable {
			level.Features |= 1 << slices.Index(featureNames[:], name)
		}
		c.levels = append(c.levels, level)
	}
	p.snap.pressure = c
	err := errors.Join(c.load.Validate(), shaping.ValidateDegrade(c.levels))
	if c.shed.Rate > 0 {
		err = errors.Join(err, c.shed.Validate())
	}
	return err
}

// install puts c in force; what is known of the load, and how much is shed, stays.
func (p *pressure) install(c *pressureConf) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conf = c
	if c == nil {
		p.shedder.Store(nil)
		p.off.Store(0)
		p.load.Store(nil)
		p.meter, p.shed, p.degrader, p.machine = nil, nil, nil, nil
		return
	}
	var err error
	if p.meter == nil {
		var problem error
		p.meter, err = shaping.NewMeter(c.load)
		p.degrader, problem = shaping.NewDegrader(c.levels)
		p.machine = shaping.NewMachine(nil)
		err = errors.Join(err, problem)
	} else {
		err = errors.Join(p.meter.Reshape(c.load), p.degrader.Reshape(c.levels))
	}
	switch {
	case c.shed.Rate == 0:
		p.shed = nil
	case p.shed == nil:
		var problem error
		p.shed, problem = shaping.NewShedder(c.shed)
		err = errors.Join(err, problem)
	default:
		err = errors.Join(err, p.shed.Reshape(c.shed))
	}
	p.shedder.Store(p.shed)
	if err != nil {
		p.gw.log.Error("BUG: backpressure passed validation and cannot be used", "error", err)
	}
}

// tick reads the signals and lets what goes by them follow.
func (p *pressure) tick(now mono.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.share(now)
	if p.conf == nil {
		return
	}
	var r shaping.Readings
	r[shaping.CPU], r[shaping.Memory] = p.machine.Read(now)
	r[shaping.QueueDelay], r[shaping.InFlight] = p.gw.queues(p.conf.load.InFlight == shaping.InFlightAuto, now)
	own := 0.0
	if l := p.load.Load(); l != nil {
		own = l.Own
	}
	r[shaping.Peers] = shaping.Reading{Value: p.peers.mean(own, now)}
	load := p.meter.Tick(now, &r)
	p.load.Store(&load)
	if p.shed != nil {
		p.shed.Tick(now, &load)
	}
	change := p.degrader.Tick(now, load.Level)
	p.off.Store(p.degrader.Active())
	if change.From != change.To {
		p.gw.log.Warn("load changed what is done without", "load", math.Round(100*load.Level)/100, "signal", load.Worst.String(), "levels", change.To, "without", appendFeatures(nil, p.degrader.Active()))
	}
}

// share divides the least of the retry budgets by the gateways there are.
func (p *pressure) share(now mono.Time) {
	n := 1 + p.peers.heard(now)
	if s := p.gw.Snapshot(); s != nil {
		for _, pc := range s.pools {
			pc.balancer.Budget().Share(n)
		}
	}
}

// queues reads what stands before the pools: the longest delay, and how full the fullest is, or how much there is in all.
func (g *Gateway) queues(share bool, now mono.Time) (delay, inFlight shaping.Reading) {
	for _, p := range g.Snapshot().pools {
		s := p.gate.Stats()
		d := p.backlog.Tick(now, shaping.QueueState{Standing: p.gate.Delay(now), Waiting: s.Waiting, Waited: s.Waited})
		delay.Value = max(delay.Value, d.Value)
		n := float64(s.InFlight + s.Waiting)
		if !share {
			inFlight.Value += n
		} else if s.Limit > 0 {
			inFlight.Value = max(inFlight.Value, n/float64(s.Limit+s.MaxLength))
		}
	}
	return delay, inFlight
}

// sheds reports whether to refuse a request of that band.
func (p *pressure) sheds(b shaping.Band) bool {
	s := p.shedder.Load()
	return s != nil && s.Shed(b, rand.Uint32())
}

// refusal is the verdict on a request that is shed.
func (p *pressure) refusal() Verdict {
	v := Verdict{Reason: Shed, Detail: "there is more to do than can be done, and what matters more goes first"}
	if s := p.shedder.Load(); s != nil {
		v.Retry = s.RetryAfter()
	}
	return v
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
