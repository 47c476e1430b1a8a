package config

import (
	"math"
	"math/bits"
	"reflect"
	"slices"
	"time"
)

// Policy is a limit. Its values are those in force: what the file does not give has the parent's value, or the default.
type Policy struct {
	Name        string     `yaml:"name" required:"true" doc:"unique; letters, digits, _ . -"`
	Dimensions  []string   `yaml:"dimensions" doc:"one bucket per distinct combination of values; none: one bucket for everybody"`
	Algorithm   string     `yaml:"algorithm" default:"token_bucket" enum:"token_bucket,sliding_window,leaky_bucket,fixed_window,concurrency,adaptive,quota" doc:"token_bucket: bursts, then steadily; leaky_bucket: the same, evenly spaced with action: queue; sliding_window: no burst over the window's edge, limits up to 1000000000; fixed_window: cheapest, up to twice the limit around the edge; concurrency: in progress at once; adaptive: a token bucket that follows how the pools fare; quota: per period of the calendar"`
	Limit       Amount     `yaml:"limit" required:"unless parent" min:"1" max:"1000000000000000" doc:"units per window, or a share such as 5% of the parent's; with a parent the default is 100%"`
	Window      Window     `yaml:"window" default:"1s" min:"1ms" max:"8760h" doc:"what limit is per: a duration, or hour, day, week or month for a quota; of no meaning for concurrency"`
	Burst       Amount     `yaml:"burst" min:"1" max:"1000000000000000" doc:"units that may come at once, or a share of the parent's, for token_bucket, leaky_bucket and adaptive; default as limit: more forgives bursts, fewer evens them out"`
	Scope       string     `yaml:"scope" default:"local" enum:"local,cluster,strict" doc:"local: each gateway counts by itself; cluster: one limit for all gateways, within a small bound that the API shows, nothing is waited for; strict: one limit, exact, every request asks Redis"`
	OnOutage    string     `yaml:"on_outage" default:"cluster" enum:"cluster,local,open,closed" doc:"what scope: strict does while its store does not answer. cluster: as scope: cluster (without a cluster: local); local: each gateway by itself; open: everything passes; closed: everything is refused, with 503"`
	Routes      []string   `yaml:"routes" doc:"names; none: every route"`
	When        string     `yaml:"when" doc:"CEL giving a bool: only requests for which it holds"`
	Mode        string     `yaml:"mode" default:"enforce" enum:"enforce,shadow,off" doc:"shadow: counted and reported, never refused"`
	Parent      string     `yaml:"parent" doc:"a policy charged together with this one, all or nothing; what is not given here is as there, but burst goes with limit"`
	Overrides   []Override `yaml:"overrides" doc:"other limits for some requests; the first whose when holds counts; not inherited"`
	Granularity int        `yaml:"granularity" default:"60" min:"1" max:"1000" doc:"sub-windows of a sliding window: more is more exact and takes more memory per bucket"`
	Priority    string     `yaml:"priority" enum:"critical,high,normal,low" doc:"of requests under this policy; it is what queues go by"`
	Cost        string     `yaml:"cost" default:"1" doc:"CEL giving an integer of 0 or more: the units that a request spends"`
	Settle      string     `yaml:"settle" doc:"CEL on request and response giving what the request did cost; the difference is charged or given back"`
	Action      string     `yaml:"action" default:"reject" enum:"reject,queue,tag" doc:"reject: 429; queue: wait up to max_wait, then 429; tag: pass with Weir-Limited to the upstream"`
	MaxWait     Duration   `yaml:"max_wait" default:"0s" max:"1m" doc:"longest wait of action: queue: longer refuses fewer and holds more requests"`
	Timezone    string     `yaml:"timezone" default:"UTC" doc:"whose calendar a quota follows: a name such as Europe/Berlin"`

	Depth int // how many ancestors it has: 0 for a policy without parent

	api bool // it came by the API
}

// Override is another limit of a policy for the requests for which When holds.
type Override struct {
	When  string `yaml:"when" required:"true" doc:"CEL giving a bool"`
	Limit Amount `yaml:"limit" required:"true" min:"1" max:"1000000000000000" doc:"units per window, or a share of the parent's"`
	Burst Amount `yaml:"burst" min:"1" max:"1000000000000000" doc:"units that may come at once, or a share of the parent's; default as limit"`
}

// Amount is a number of units, written 1000, or a share of the parent's number, written 5%. At most one is not zero; both are
// zero where it is not given.
type Amount struct {
	Units int64
	Share Percent
}

// Window is what a limit is per: a length of time, written 1m, or a period of the calendar: hour, day, week or month. Exactly
// one of the two is given.
type Window struct {
	Every    time.Duration
	Calendar string
}

// Numbers are a limit and a burst in units.
type Numbers struct{ Limit, Burst int64 }

// Numbers returns what the policy allows by the override of that index (-1: none of them) where its parent allows parent,
// which is of no effect where nothing is a share. A share is rounded down, to 1 at least. Without a burst of its own the burst
// goes as the limit does: the same units, or the same share of the parent's burst. An algorithm that has no burst has its
// limit for one.
func (p *Policy) Numbers(override int, parent Numbers) Numbers {
	limit, burst := p.amounts(override)
	n := Numbers{Limit: limit.of(parent.Limit)}
	n.Burst = n.Limit
	if p.bursts() {
		n.Burst = burst.of(parent.Burst)
	}
	return n
}

// Relative reports whether what the policy allows by that override (-1: none) depends on what its parent does.
func (p *Policy) Relative(override int) bool {
	limit, burst := p.amounts(override)
	return limit.Share > 0 || (burst.Share > 0 && p.bursts())
}

// FromAPI reports whether the policy came by the API, rather than from the file.
func (p *Policy) FromAPI() bool { return p.api }

// View returns the policy as it is in force, for showing to people: keys and values as in the file and in its order. It
// marshals as JSON and as YAML.
func (p *Policy) View() any { return plainly.dump(reflect.ValueOf(p).Elem()) }

// amounts returns the limit and burst by that override, -1: none.
func (p *Policy) amounts(override int) (limit, burst Amount) {
	limit, burst = p.Limit, p.Burst
	if override >= 0 {
		limit, burst = p.Overrides[override].Limit, p.Overrides[override].Burst
	}
	if burst == (Amount{}) {
		burst = limit
	}
	return limit, burst
}

// bursts reports whether the algorithm has a burst.
func (p *Policy) bursts() bool {
	return !slices.Contains([]string{"sliding_window", "fixed_window", "concurrency", "quota"}, p.Algorithm)
}

// shareUnit is the finest share that is told apart: a billionth of a percent, as Percent prints.
const shareUnit = 1e11

// of returns the units that a stands for where the parent has n. It is exact: 29% of 100 is 29, though 0.29×100 is less.
func (a Amount) of(n int64) int64 {
	if a.Share == 0 {
		return a.Units
	}
	share := min(uint64(math.Round(float64(a.Share)*shareUnit)), shareUnit)
	hi, lo := bits.Mul64(uint64(max(n, 0)), share)
	units, _ := bits.Div64(hi, lo, shareUnit)
	return max(int64(units), 1)
}
