package config

import (
	"reflect"
	"time"
)

// Ratio is a number from 0 to 1, written 0.8 or 80%.
type Ratio float64

// Backpressure is what the gateway does when there is more to do than can be done.
type Backpressure struct {
	LoadThreshold  Ratio          `yaml:"load_threshold" default:"0.8" min:"0.01" max:"1" doc:"load from which on requests are shed. Load is the worst of the signals, each divided by its own limit: a lower threshold keeps delays shorter, a higher one refuses fewer"`
	Signals        Signals        `yaml:"signals" doc:"what load is made of: the value of each that is too much"`
	LoadShedding   *LoadShedding  `yaml:"load_shedding" doc:"refuses some requests before they wait, those that matter least first; left out: nothing is shed"`
	Concurrency    Concurrency    `yaml:"concurrency" doc:"how many requests a pool has in progress"`
	Queue          Queue          `yaml:"queue" doc:"where requests wait for a pool, by priority, and fairly among those of one priority"`
	Degrade        []DegradeLevel `yaml:"degrade" doc:"what is done without when load is high, and comes back when it is not"`
	Global         bool           `yaml:"global" default:"true" doc:"the load of the other gateways counts too; without cluster: there are none"`
	CircuitBreaker *Breaker       `yaml:"circuit_breaker" doc:"breaker of every pool, but for what a pool's own breaker gives"`
}

// Signals are what counts as too much. Zero is off for all but InFlight.
type Signals struct {
	CPU        Percent  `yaml:"cpu" default:"90%" min:"1%" max:"100%" words:"off=0" doc:"processor time in use, of what this process may have"`
	Memory     Percent  `yaml:"memory" default:"90%" min:"1%" max:"100%" words:"off=0" doc:"memory in use, of what this process may have"`
	QueueDelay Duration `yaml:"queue_delay" default:"50ms" min:"1ms" max:"1m" words:"off=0" doc:"the least time that requests waited for a pool lately: a queue that stands. Longer forgives bursts and adds delay"`
	InFlight   int      `yaml:"inflight" default:"auto" min:"1" max:"10000000" words:"auto=0,off=-1" doc:"requests in progress and waiting; auto: all that pools and their queues hold"`
}

// LoadShedding is how requests are shed.
type LoadShedding struct {
	SheddingRate   Ratio           `yaml:"shedding_rate" default:"0.1" min:"0" max:"1" doc:"how fast the shed share grows above the threshold, and shrinks below: higher reacts sooner, lower swings less; 0 is off"`
	PriorityLevels []PriorityLevel `yaml:"priority_levels" doc:"how much of the shed share a priority takes; a level that is not listed is not shed; none: 0.1 of high, 0.5 of normal and 1 of low"`
}

// PriorityLevel is how much of the shed share a priority takes.
type PriorityLevel struct {
	Level      int   `yaml:"level" write:"1 (high), 2 (normal) or 3 (low)" doc:"1 (high), 2 (normal) or 3 (low); critical requests are never shed"`
	Multiplier Ratio `yaml:"multiplier" min:"0" max:"1" doc:"of the shed share: 0 is never shed, 1 first"`
}

// Concurrency is how many requests a pool has in progress. Initial is 0 for auto.
type Concurrency struct {
	Algorithm string `yaml:"algorithm" default:"fixed" enum:"gradient,vegas,aimd,fixed" doc:"fixed: connections.max for each endpoint; gradient: follows what the pool takes without its answers slowing down; vegas: the same by the length of its queue; aimd: by its failures alone"`
	Min       int    `yaml:"min" default:"8" min:"1" max:"1000000" doc:"never fewer; of no meaning for fixed"`
	Max       int    `yaml:"max" default:"4096" min:"1" max:"1000000" doc:"never more, nor more than connections.max for each endpoint; of no meaning for fixed"`
	Initial   int    `yaml:"initial" default:"auto" min:"1" max:"1000000" words:"auto=0" doc:"to begin with, from min to max; of no meaning for fixed"`
}

// Queue is where requests wait for a pool.
type Queue struct {
	By            string        `yaml:"by" doc:"a dimension: each value has its fair share of what is served; empty: all are one"`
	Weights       []QueueWeight `yaml:"weights" doc:"values of by with another share"`
	DefaultWeight int           `yaml:"default_weight" default:"1" min:"1" max:"1000" doc:"share of the other values, and of requests without one"`
	MaxWait       Duration      `yaml:"max_wait" default:"500ms" max:"10m" doc:"how long a request waits: longer refuses fewer and adds delay; 0s: nobody waits"`
	MaxLength     int           `yaml:"max_length" default:"1024" min:"0" max:"1000000" doc:"how many may wait for a pool; 0: nobody waits"`
	Aging         *Duration     `yaml:"aging" max:"10m" doc:"a priority below critical in which somebody has waited this long has a part of one seat in 16, whatever comes above it: less than max_wait and than queue_timeout of pools; 0s: never; default 125ms, or a quarter of the wait where that is less"`
}

// QueueWeight is the share of one value of the queue's dimension.
type QueueWeight struct {
	Value  string `yaml:"value" required:"true" doc:"of the dimension"`
	Weight int    `yaml:"weight" required:"true" min:"1" max:"1000" doc:"share, in proportion to the others"`
}

// DegradeLevel is what is done without from a load on.
type DegradeLevel struct {
	At         Ratio    `yaml:"at" required:"true" min:"0.01" max:"1" doc:"load from which on; each level has a higher one than that before"`
	Disable    []string `yaml:"disable" doc:"mirror | access_log | retries | ratelimit_headers"`
	ServeStale bool     `yaml:"serve_stale" doc:"answer from the cache what is past its time, for a route's cache.stale_under_load at most, and ask no endpoint about it"`
}

// Shaping is how fast bodies flow, in bytes per second.
type Shaping struct {
	Name          string   `yaml:"name" required:"true" doc:"unique; letters, digits, _ . -"`
	Routes        []string `yaml:"routes" doc:"names; none: every route. No route may be in two rules"`
	By            string   `yaml:"by" doc:"a dimension: each value is a flow; empty: all are one"`
	Download      Size     `yaml:"download" default:"0" max:"64GiB" doc:"response bytes per second of a flow, at least 1KiB; 0 is unlimited"`
	Upload        Size     `yaml:"upload" default:"0" max:"64GiB" doc:"request bytes per second of a flow, at least 1KiB; 0 is unlimited"`
	Burst         *Size    `yaml:"burst" min:"1KiB" max:"1GiB" doc:"bytes that may go at once, either way; default what goes in 100 ms, at least 8KiB"`
	Guarantee     Size     `yaml:"guarantee" default:"0" max:"64GiB" doc:"bytes per second that a flow gets even if all want more than the total"`
	TotalDownload Size     `yaml:"total_download" default:"0" max:"64GiB" doc:"response bytes per second of all flows together; 0 is unlimited"`
	TotalUpload   Size     `yaml:"total_upload" default:"0" max:"64GiB" doc:"request bytes per second of all flows together; 0 is unlimited"`
}

// Priority is how much a route's requests matter: critical, high, normal or low. With From a request says so itself; what it
// leaves out, or says wrong, is Default.
type Priority struct {
	From    string `yaml:"from" required:"true" doc:"header:N | cookie:N | query:N | jwt:CLAIM | cert:cn | expr: CEL giving one of the priorities. A client may write what it likes in a header: let only what you trust set it"`
	Default string `yaml:"default" default:"normal" enum:"critical,high,normal,low" alone:"true" doc:"when the request has none, or another word"`
}

// Queue returns how many requests may wait for p, a pool of c, and how long: what its connections give, or else
// backpressure.queue.
func (c *Config) Queue(p *Pool) (length int, wait time.Duration) {
	q := pressureDefaults().Queue
	if c.Backpressure != nil {
		q = c.Backpressure.Queue
	}
	if p.Connections.Queue != nil {
		q.MaxLength = *p.Connections.Queue
	}
	if p.Connections.QueueTimeout != nil {
		q.MaxWait = *p.Connections.QueueTimeout
	}
	return q.MaxLength, q.MaxWait
}

// usualAging is the longest time after which a priority ages if the file does not say.
const usualAging = 125 * time.Millisecond

// Aging returns the time after which a priority ages in the queue of p, a pool of c: what backpressure.queue gives, or else
// 125ms, or a quarter of what [Config.Queue] says of waiting if that is less; 0 is never.
func (c *Config) Aging(p *Pool) time.Duration {
	_, wait := c.Queue(p)
	if c.Backpressure == nil {
		return (&Queue{}).agingIn(wait)
	}
	return c.Backpressure.Queue.agingIn(wait)
}

func (q *Queue) agingIn(wait time.Duration) time.Duration {
	if q.Aging != nil {
		return *q.Aging
	}
	return min(usualAging, wait/4)
}

// Multiplier returns how much of the shed share the requests of a level take: 0 is critical, 3 low. A nil s sheds nothing.
func (s *LoadShedding) Multiplier(level int) float64 {
	if s == nil || s.SheddingRate == 0 {
		return 0
	}
	for _, l := range s.PriorityLevels {
		if l.Level == level {
			return float64(l.Multiplier)
		}
	}
	return 0
}

// BurstOf returns the bytes that may go at once at a rate, which is the rule's Download or Upload.
func (s *Shaping) BurstOf(rate Size) Size {
	if s.Burst != nil {
		return *s.Burst
	}
	return max(rate/10, 8<<10)
}

// View returns b as it is in force, for showing to people: keys and values as in the file and in its order. It marshals as JSON
// and as YAML, and what it marshals as may be given to [Config.WithBackpressure].
func (b *Backpressure) View() any { return plainly.dump(reflect.ValueOf(b).Elem()) }

// pressureDefaults returns what backpressure is that gives nothing.
func pressureDefaults() Backpressure {
	return layoutOf(reflect.TypeFor[Backpressure]()).defaults.Interface().(Backpressure)
}
