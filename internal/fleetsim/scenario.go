package fleetsim

import "math"

// Params are the settings of a scenario. [Defaults] has sensible ones.
type Params struct {
	N    int  // nodes
	Kind Kind // of the limit

	// Rate is what the limit gives in the long run, tokens per second. Demand is a multiple of it.
	Rate    float64
	Burst   float64 // tokens, TokenBucket only
	Window  Time    // SlidingWindow, FixedWindow: Rate*Window tokens in each
	Service Time    // Concurrency: how long a request holds its seats, exponential, mean; there are Rate*Service seats

	MaxCost int     // a request costs 1 to MaxCost tokens, evenly; 0 is 1
	Keys    int     // keys, each with the limit; 0 is 1
	Zipf    float64 // how popular they are: exponent of the Zipf law, above 1
	Demand  float64 // requests per second of all keys and nodes together, scenario zipf only
	Sticky  bool    // the key chooses the node

	Delta  Time    // interval of Tick, unless the node is a Ticker
	Delay  Time    // one-way delay, mean: half of it is constant, half exponential
	Loss   float64 // share of the messages that get lost, 0 to 1
	Detect Time    // until the death of a node or a cut is noticed, mean, give or take a fifth
	Skew   Time    // clocks are off by up to this, either way
	Drift  float64 // clocks run fast or slow by up to this, parts per million

	Duration Time // scenarios with failures have their own
	Warm     Time // the start that Acc1s and Jain leave out
}

// Defaults are the settings that design figures are quoted for: 10 nodes, 1,000 per second, burst 100, a data-centre
// network. Nodes agree on the time to 5 s, or to 5 ms for windows, whose ends they must agree on.
func Defaults(k Kind) Params {
	p := Params{
		N: 10, Kind: k, Rate: 1000, Burst: 100, Window: Second, Service: 100 * Millisecond, Zipf: 1.1,
		Delta: 100 * Millisecond, Delay: Millisecond / 2, Detect: 4 * Second, Skew: 5 * Second, Drift: 50,
		Duration: 20 * Second, Warm: 2 * Second,
	}
	if k == SlidingWindow || k == FixedWindow {
		p.Skew = 5 * Millisecond
	}
	return p
}

// Limit returns the limit of a key.
func (p *Params) Limit() Limit {
	switch p.Kind {
	case TokenBucket:
		return Limit{Kind: p.Kind, Rate: p.Rate, Burst: p.Burst}
	case Concurrency:
		return Limit{Kind: p.Kind, Max: math.Max(1, math.Round(p.Rate*seconds(p.Service)))}
	default:
		return Limit{Kind: p.Kind, Max: math.Max(1, math.Round(p.Rate*seconds(p.Window))), Window: p.Window}
	}
}

// Scenario is one experiment. It is not changed by running it.
type Scenario struct {
	Name string
	Params

	Load    func(sec float64, node int) float64 // requests per second that reach a node
	MaxLoad float64                             // no less than the sum of Load over the nodes, at any time

	Down   []int // nodes that are not there at first
	Events []Event
	Shifts []Shift // for ConvMs
}

// Shift says that a node becomes the busy one.
type Shift struct {
	At   Time
	Node int
}

// Event is something that happens to the fleet.
type Event struct {
	At    Time
	What  What
	Nodes []int
	To    []int // CutTo only
}

// What happens in an event.
type What int

// Kinds of events.
const (
	Cut   What = iota // no message passes between Nodes and the others, until Heal
	CutTo             // messages from Nodes to the nodes To are lost, those the other way are not; empty To: all others
	Heal              // all cuts end
	Crash             // Nodes are gone without a word; requests that reach them are no demand
	Join              // Nodes start, with no memory of an earlier life
	Leave             // Nodes say goodbye and are gone
)
