package fleetsim

import (
	"fmt"
	"math"
)

// named are the scenarios by name.
var named = []struct {
	name  string
	build func(*Scenario)
}{
	// Demand. Three times the rate if nothing else is said.
	{"balanced", func(s *Scenario) { s.steady(3) }},
	{"skew90", func(s *Scenario) { s.skewed(3, 0.9) }}, // one node has 90 %
	{"single", func(s *Scenario) { s.skewed(3, 1) }},   // one node has all
	{"shift1", (*Scenario).moving},                     // a node has 90 %, each second another
	{"onoff", (*Scenario).onOff},
	{"flash", (*Scenario).flash},
	{"coldburst", (*Scenario).coldBurst},
	{"sub95", func(s *Scenario) { s.steady(.95) }}, // below the limit
	{"sub99", func(s *Scenario) { s.steady(.99) }},
	{"subskew95", func(s *Scenario) { s.skewed(.95, .9) }},
	{"costs", func(s *Scenario) { s.MaxCost = 19; s.steady(2. / 10) }}, // cost 1 to 19, twice the rate
	{"zipf", (*Scenario).manyKeys},

	// Failures.
	{"partition", func(s *Scenario) { s.steady(3); s.outage(Cut, s.last(s.N-s.N/2), nil) }}, // half and half
	{"partition-shift", (*Scenario).partitionShift},
	{"minority", func(s *Scenario) { s.steady(3); s.outage(Cut, s.last((s.N*3+9)/10), nil) }}, // 30 % cut off
	{"split21", func(s *Scenario) { s.N = 3; s.steady(3); s.outage(Cut, s.last(1), nil) }},    // 2 | 1
	{"oneway", func(s *Scenario) { s.steady(3); s.outage(CutTo, s.last((s.N*3+9)/10), nil) }}, // 30 % hear, but are not heard
	{"onelink", func(s *Scenario) { s.steady(3); s.outage(CutTo, []int{0}, []int{1}) }},       // node 1 does not hear node 0; others know both
	{"crash", (*Scenario).crash},
	{"rolling", (*Scenario).rolling},
	{"scaleout", (*Scenario).scaleOut},
}

// Names lists the scenarios that Make knows.
func Names() (names []string) {
	for _, n := range named {
		names = append(names, n.name)
	}
	return names
}

// Make builds a scenario. It panics if there is none of that name.
func Make(name string, p Params) *Scenario {
	s := &Scenario{Name: name, Params: p}
	for _, n := range named {
		if n.name == name {
			n.build(s)
			return s
		}
	}
	panic(fmt.Sprintf("BUG: no scenario %q", name))
}

// last returns the last n nodes.
func (s *Scenario) last(n int) (list []int) {
	for i := s.N - n; i < s.N; i++ {
		list = append(list, i)
	}
	return list
}

// steady is a constant load times the rate, the same at every node.
func (s *Scenario) steady(load float64) {
	s.MaxLoad = load * s.Rate
	s.Load = func(float64, int) float64 { return load * s.Rate / float64(s.N) }
}

func (s *Scenario) skewed(load, share float64) {
	s.MaxLoad = load * s.Rate
	s.Load = func(_ float64, i int) float64 { return s.hot(load, share, i == 0) }
}

// hot is the load of a node if one of them has a share of all and the others the rest.
func (s *Scenario) hot(load, share float64, this bool) float64 {
	switch {
	case this:
		return load * s.Rate * share
	case s.N == 1:
		return 0
	default:
		return load * s.Rate * (1 - share) / float64(s.N-1)
	}
}

func (s *Scenario) moving() {
	s.MaxLoad = 3 * s.Rate
	s.Load = func(t float64, i int) float64 { return s.hot(3, 0.9, int(t)%s.N == i) }
	for k := 1; Time(k)*Second < s.Duration; k++ {
		s.Shifts = append(s.Shifts, Shift{Time(k) * Second, k % s.N})
	}
}

// pulses is ten times the rate during part of each period, else nothing.
func (s *Scenario) pulses(period, from, to float64) {
	s.MaxLoad = 10 * s.Rate
	s.Load = func(t float64, _ int) float64 {
		if at := math.Mod(t, period); at >= from && at < to {
			return 10 * s.Rate / float64(s.N)
		}
		return 0
	}
}

// onOff is bursts of 200 ms each second at all nodes at once.
func (s *Scenario) onOff() { s.pulses(1, 0, 0.2) }

// flash is a crowd that finds a full bucket, for 2 s in every 5.
func (s *Scenario) flash() { s.pulses(5, 2, 4) }

// coldBurst is ten times the rate for 50 ms at one node, each 2 s another, and nothing else.
func (s *Scenario) coldBurst() {
	s.Warm = 0
	s.MaxLoad = 10 * s.Rate
	s.Load = func(t float64, i int) float64 {
		if k := int(t / 2); t > 1 && k%s.N == i && t-2*float64(k) < 0.05 {
			return 10 * s.Rate
		}
		return 0
	}
}

func (s *Scenario) manyKeys() {
	s.MaxLoad = s.Demand
	s.Load = func(float64, int) float64 { return s.Demand / float64(s.N) }
}

// outage is a cut from 10 s to 20 s.
func (s *Scenario) outage(what What, nodes, to []int) {
	s.Duration = 30 * Second
	s.Events = []Event{{At: 10 * Second, What: what, Nodes: nodes, To: to}, {At: 20 * Second, What: Heal}}
}

// partitionShift is a partition in which all demand goes to one half.
func (s *Scenario) partitionShift() {
	half := s.N / 2
	s.outage(Cut, s.last(s.N-half), nil)
	s.spread(3, func(t float64, i int) bool { return t < 10 || t >= 20 || i < half })
}

// spread is a constant load times the rate, even over the nodes that serve at that time.
func (s *Scenario) spread(load float64, serves func(t float64, node int) bool) {
	s.MaxLoad = load * s.Rate
	s.Load = func(t float64, i int) float64 {
		if !serves(t, i) {
			return 0
		}
		n := 0
		for j := range s.N {
			if serves(t, j) {
				n++
			}
		}
		return load * s.Rate / float64(n)
	}
}

// crash is a node that dies, loses its demand to the others after a second, and is back later.
func (s *Scenario) crash() {
	s.Duration = 30 * Second
	s.Events = []Event{{At: 8 * Second, What: Crash, Nodes: []int{1}}, {At: 18 * Second, What: Join, Nodes: []int{1}}}
	s.spread(3, func(t float64, i int) bool { return i != 1 || t < 9 || t >= 18 })
}

// rolling is a restart of one node after the other, each 2 s one, which is away for a second.
func (s *Scenario) rolling() {
	s.Duration = min(Time(4+2*s.N), 44) * Second
	for i := range s.N {
		at := Time(2+2*i) * Second
		s.Events = append(s.Events, Event{At: at, What: Leave, Nodes: []int{i}}, Event{At: at + Second, What: Join, Nodes: []int{i}})
	}
	s.spread(3, func(t float64, i int) bool { at := float64(2 + 2*i); return t < at || t >= at+1 })
}

// scaleOut is a fleet that doubles at 10 s.
func (s *Scenario) scaleOut() {
	half := s.N / 2
	s.Duration = 20 * Second
	s.Down = s.last(s.N - half)
	s.Events = []Event{{At: 10 * Second, What: Join, Nodes: s.Down}}
	s.spread(3, func(t float64, i int) bool { return t >= 10 || i < half })
}
