package gateway

import (
	"math"
	"time"

	"weir/internal/mono"
	"weir/shaping"
	"weir/telemetry"
)

// LoadView is the load of this gateway and what follows from it, for people.
type LoadView struct {
	Known    bool                  `json:"known"` // some signal is read; false without a backpressure section
	Level    float64               `json:"level"` // the worst of all; 1 is full
	Worst    string                `json:"worst,omitempty"`
	Pool     string                `json:"worst_pool,omitempty"` // whose that is; none: the gateway's
	Signals  map[string]SignalView `json:"signals,omitempty"`    // of pools the worst
	Peers    int                   `json:"peers_heard"`
	Shed     map[string]ShedView   `json:"shed,omitempty"` // for the gateway's load, whatever the pool; what a pool's queue costs stands there
	Degraded []string              `json:"degraded"`
}

// SignalView is one signal of load.
type SignalView struct {
	Value float64 `json:"value"` // share, seconds of queue_delay, or requests of inflight
	Load  float64 `json:"load"`  // Value over what is full
	Known bool    `json:"known"`
	Error string  `json:"error,omitempty"`
}

// ShedView is what is shed of a priority.
type ShedView struct {
	Probability float64 `json:"probability"`
	Requests    uint64  `json:"requests"`
}

// QueueView is the gate of a pool and the queue before it, for people.
type QueueView struct {
	Pool      string                       `json:"pool"`
	Algorithm string                       `json:"algorithm"`
	Limit     int                          `json:"limit"` // requests in progress at most, now
	HardLimit int                          `json:"hard_limit"`
	InFlight  int                          `json:"in_flight"`
	Waiting   int                          `json:"waiting"`
	Depth     map[string]int               `json:"waiting_by_priority"`
	MaxLength int                          `json:"max_length"`
	Flows     int                          `json:"flows"`
	DelayMS   float64                      `json:"delay_ms"` // the least that anybody has waited lately
	Waited    uint64                       `json:"waited"`
	Refused   map[string]map[string]uint64 `json:"refused,omitempty"` // by reason and priority
	Load      float64                      `json:"load"`
	Shed      map[string]ShedView          `json:"shed,omitempty"` // of those who ask for more than their share
}

// PacingView is a direction of a shaping rule, for people.
type PacingView struct {
	Rule      string `json:"rule"`
	Direction string `json:"direction"`
	Flows     int    `json:"flows"`
	Waiting   int    `json:"waiting"`
	Bytes     uint64 `json:"bytes"`
}

// bandName is what a band is called in the configuration.
func bandName(b shaping.Band) string { return (critical - priority(b)).String() }

// Load returns the load as it was measured last.
func (g *Gateway) Load() LoadView {
	v := LoadView{Peers: g.pressure.peers.heard(mono.Now()), Degraded: names(g.pressure.off.Load()), Level: round3(g.pressure.level())}
	v.add(g.pressure.node.load.Load(), "")
	pools := g.Snapshot().pools
	for _, p := range pools {
		v.add(p.control.load.Load(), p.name)
	}
	if s := g.pressure.node.shedder.Load(); s != nil {
		v.Shed = shedViews(s.Stats(), func(b shaping.Band) (n uint64) {
			for _, p := range pools {
				n += p.shed[b].Load()
			}
			return n
		})
	}
	return v
}

// add takes a load into the view, a pool's where it is the worst so far.
func (v *LoadView) add(l *shaping.Load, pool string) {
	if l == nil {
		return
	}
	if v.Signals == nil {
		v.Signals = map[string]SignalView{}
	}
	v.Known = v.Known || l.Known
	if l.Known && l.Level > 0 && round3(l.Level) >= v.Level {
		v.Worst, v.Pool = l.Worst.String(), pool
	}
	for s := range shaping.Signal(shaping.Signals) {
		p := l.Parts[s]
		if !p.On || s == shaping.Peers && pool != "" {
			continue
		}
		one := SignalView{Value: round3(p.Value), Load: round3(p.Load), Known: p.Known}
		if p.Err != nil && !p.Known {
			one.Error = p.Err.Error()
		}
		if old, seen := v.Signals[s.String()]; !seen || one.Load > old.Load {
			v.Signals[s.String()] = one
		}
	}
}

func shedViews(st shaping.ShedStats, requests func(shaping.Band) uint64) map[string]ShedView {
	views := map[string]ShedView{}
	for b := shaping.High; b <= shaping.Low; b++ {
		views[bandName(b)] = ShedView{round3(st.Odds[b]), requests(b)}
	}
	return views
}

func round3(x float64) float64 { return math.Round(1000*x) / 1000 }

// names are those of features, at least an empty list.
func names(off uint32) []string {
	list := []string{}
	for i, n := range featureNames {
		if off&(1<<i) != 0 {
			list = append(list, n)
		}
	}
	return list
}

// Queues returns the gates of all pools in force.
func (g *Gateway) Queues() []QueueView {
	views := []QueueView{}
	for _, p := range g.Snapshot().pools {
		views = append(views, p.queueView())
	}
	return views
}

func (p *poolConf) queueView() QueueView {
	s := p.gate.Stats()
	v := QueueView{Pool: p.name, Algorithm: "fixed", Limit: s.Limit, HardLimit: s.HardLimit, InFlight: s.InFlight, Waiting: s.Waiting, Depth: map[string]int{},
		MaxLength: s.MaxLength, Flows: s.Flows, DelayMS: float64(s.Delay.Microseconds()) / 1000, Waited: s.Waited}
	if !p.fixed {
		v.Algorithm = p.tuningConf.Algorithm.String()
	}
	if l := p.control.load.Load(); l != nil {
		v.Load = round3(l.Level)
	}
	if s := p.control.shedder.Load(); s != nil {
		v.Shed = shedViews(s.Stats(), func(b shaping.Band) uint64 { return p.shed[b].Load() })
	}
	for b := range shaping.Band(shaping.Bands) {
		v.Depth[bandName(b)] = s.Depth[b]
		for r := shaping.OK + 1; r < shaping.Refusals; r++ {
			if n := s.Refused[r][b]; n > 0 {
				if v.Refused == nil {
					v.Refused = map[string]map[string]uint64{}
				}
				if v.Refused[r.String()] == nil {
					v.Refused[r.String()] = map[string]uint64{}
				}
				v.Refused[r.String()][bandName(b)] = n
			}
		}
	}
	return v
}

// Pacings returns the shaping rules in force, each direction by itself.
func (g *Gateway) Pacings() []PacingView {
	views := []PacingView{}
	for _, s := range g.PacingStats() {
		views = append(views, PacingView{s.Rule, s.Direction, s.Flows, s.Waiting, s.Bytes})
	}
	return views
}

// PacingStats is what metrics show of the shaping rules.
func (g *Gateway) PacingStats() (all []telemetry.PacingStats) {
	for _, c := range g.Snapshot().pacings {
		if d := c.pacing.down; d != nil {
			all = append(all, telemetry.PacingStats{Rule: c.name, Direction: "download", PacersStats: d.Stats()})
		}
		if u := c.pacing.up; u != nil {
			all = append(all, telemetry.PacingStats{Rule: c.name, Direction: "upload", PacersStats: u.Stats()})
		}
	}
	return all
}

// GateStats is what metrics show of the pools' gates.
func (g *Gateway) GateStats() (all []telemetry.GateStats) {
	for _, p := range g.Snapshot().pools {
		all = append(all, telemetry.GateStats{Pool: p.name, GateStats: p.gate.Stats()})
	}
	return all
}

// LoadStats is what metrics show of the load; false without a backpressure section.
func (g *Gateway) LoadStats() (telemetry.LoadStats, bool) {
	s := g.Snapshot()
	if s.pressure == nil {
		return telemetry.LoadStats{}, false
	}
	st := telemetry.LoadStats{Level: g.pressure.level(), Features: featureNames[:], Off: names(g.pressure.off.Load())}
	if l := g.pressure.node.load.Load(); l != nil {
		st.Node = *l
	}
	for _, p := range s.pools {
		one := telemetry.PoolLoad{Pool: p.name}
		if l := p.control.load.Load(); l != nil {
			one.Load = *l
		}
		for b := range p.shed {
			one.Shed[b] = p.shed[b].Load()
		}
		st.Pools = append(st.Pools, one)
	}
	return st, true
}

// ExplainedQueue is what would become of a request before a pool.
type ExplainedQueue struct {
	Priority string  `json:"priority"`
	Shed     float64 `json:"shed_probability,omitempty"`
	AtOnce   bool    `json:"at_once"`
	Before   int     `json:"before,omitempty"`           // requests that are served first
	WaitMS   float64 `json:"expected_wait_ms,omitempty"` // -1: not known
	Refused  string  `json:"refused,omitempty"`
}

// explainQueue says what would become of x before p, without effect.
func (x *Exchange) explainQueue(p *poolConf) ExplainedQueue {
	f := p.gate.Peek(x.class(), x.start)
	q := ExplainedQueue{Priority: x.priority.String(), AtOnce: f.AtOnce, Before: f.Position}
	band := x.priority.band()
	q.Shed = x.gw.pressure.node.odds(band)
	if p.gate.Crowds(x.class()) {
		q.Shed += (1 - q.Shed) * p.control.odds(band)
	}
	q.Shed = round3(q.Shed)
	switch {
	case f.AtOnce:
	case f.Wait < 0:
		q.WaitMS = -1
	default:
		q.WaitMS = float64(f.Wait / time.Microsecond / 1000)
	}
	if f.Refusal != shaping.OK {
		q.Refused = queueVerdict(f.Refusal).Reason.String()
	}
	return q
}
