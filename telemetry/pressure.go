package telemetry

import "weir/shaping"

// bandNames are priorities as labels.
var bandNames = [shaping.Bands]string{"critical", "high", "normal", "low"}

// GateStats is the gate before a pool.
type GateStats struct {
	Pool string
	shaping.GateStats
}

// LoadStats is the load, and what follows from it.
type LoadStats struct {
	Level    float64 // the worst of the gateway's and all pools'
	Node     shaping.Load
	Pools    []PoolLoad
	Features []string // that may be done without
	Off      []string // those that are
}

// PoolLoad is the load of a pool's queue, and the requests that were shed, for that or for the gateway's.
type PoolLoad struct {
	Pool string
	shaping.Load
	Shed [shaping.Bands]uint64
}

// PacingStats is one direction of a shaping rule.
type PacingStats struct {
	Rule, Direction string
	shaping.PacersStats
}

func (s sink) gates(all []GateStats) {
	for _, g := range all {
		s.gauge(concurrencyLimit, float64(g.Limit), g.Pool)
		s.gauge(concurrencyInflight, float64(g.InFlight), g.Pool)
		s.gauge(queueFlows, float64(g.Flows), g.Pool)
		s.gauge(queueDelay, g.Delay.Seconds(), g.Pool)
		for b, name := range bandNames {
			s.gauge(queueDepth, float64(g.Depth[b]), g.Pool, name)
			for r := shaping.Refusal(1); r < shaping.Refusals; r++ {
				s.counter(queueRefused, g.Refused[r][b], g.Pool, name, r.String())
			}
		}
	}
}

func (s sink) load(l LoadStats, ok bool) {
	if !ok {
		return
	}
	s.gauge(loadLevel, l.Level, "all")
	for i, p := range l.Node.Parts {
		if p.On && p.Known {
			s.gauge(loadLevel, p.Load, shaping.Signal(i).String())
		}
	}
	for _, p := range l.Pools {
		if p.Known {
			s.gauge(poolLoad, p.Level, p.Pool)
		}
		for b, name := range bandNames {
			s.counter(shedTotal, p.Shed[b], p.Pool, name)
		}
	}
	off := map[string]bool{}
	for _, f := range l.Off {
		off[f] = true
	}
	for _, f := range l.Features {
		s.gauge(degradedOff, oneIf(off[f]), f)
	}
}

func (s sink) pacings(all []PacingStats) {
	for _, p := range all {
		s.counter(shapingBytes, p.Bytes, p.Rule, p.Direction)
		s.counter(shapingWaits, p.Waits, p.Rule, p.Direction)
		s.gauge(shapingFlows, float64(p.Flows), p.Rule, p.Direction)
	}
}
