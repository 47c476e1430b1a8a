package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// usualLevels are the priority levels of a file that gives none.
var usualLevels = []PriorityLevel{{1, 0.1}, {2, 0.5}, {3, 1}}

// Bounds on backpressure.
const (
	maxQueueWeights = 10_000 // values of a dimension with a weight of their own
	maxDegrade      = 32     // levels
)

// under returns the path of a key in the value at path, which may be the whole text.
func under(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// checkBackpressure checks backpressure, and gives pools what they take from it.
func (k *checker) checkBackpressure() {
	for i := range k.c.Pools {
		k.c.Pools[i].own = k.ownBreaker(fmt.Sprintf("pools[%d].breaker", i))
	}
	if b := k.c.Backpressure; b != nil {
		k.checkPressure(b, "backpressure")
		takeBreaker(k.c.Pools, b.CircuitBreaker)
	}
}

// checkPressure checks the backpressure at path, of a section that is laid over another what it gives itself, and fills in what is
// left to us.
func (k *checker) checkPressure(b *Backpressure, path string) {
	k.checkSignals(b, path)
	if b.LoadShedding != nil && k.gives("load_shedding") {
		k.checkLevels(b.LoadShedding, under(path, "load_shedding.priority_levels"))
	}
	if k.gives("concurrency") {
		k.checkConcurrency(&b.Concurrency, under(path, "concurrency"))
	}
	if k.gives("queue") {
		k.checkQueue(&b.Queue, under(path, "queue"))
	}
	if k.gives("degrade") {
		k.checkDegrade(b.Degrade, under(path, "degrade"))
	}
	if b.CircuitBreaker != nil && k.gives("circuit_breaker") {
		if problem := b.CircuitBreaker.problem(); problem != "" {
			k.fault(under(path, "circuit_breaker.max_timeout"), "%s", problem)
		}
	}
}

// gives says whether a key of backpressure is to be checked: always in a file, and in a section laid over another if it is there.
func (k *checker) gives(key string) bool { return !k.over || lookup(k.root, key, 0) != nil }

// checkSignals checks that there is a signal if something goes by load. The fault is of the key that brought it about.
func (k *checker) checkSignals(b *Backpressure, path string) {
	s := &b.Signals
	sheds := b.LoadShedding != nil && b.LoadShedding.SheddingRate > 0
	if s.CPU != 0 || s.Memory != 0 || s.QueueDelay != 0 || s.InFlight >= 0 || (!sheds && len(b.Degrade) == 0) || k.faultyBelow(under(path, "signals")) {
		return
	}
	const alone = "every signal is off, so load is always 0 and it never begins: give signals too, with one of them on"
	switch {
	case k.gives("signals"):
		k.fault(under(path, "signals"), "every signal is off, so load is always 0 and load_shedding and degrade never begin: leave one of them on")
	case sheds && k.gives("load_shedding"):
		k.fault(under(path, "load_shedding"), alone)
	default:
		k.fault(under(path, "degrade"), alone)
	}
}

func (k *checker) checkLevels(s *LoadShedding, path string) {
	if len(s.PriorityLevels) == 0 {
		s.PriorityLevels = slices.Clone(usualLevels)
		return
	}
	const levels = "write 1 (high), 2 (normal) or 3 (low)"
	first, most := map[int]int{}, Ratio(0)
	for i, l := range s.PriorityLevels {
		at := fmt.Sprintf("%s[%d]", path, i)
		most = max(most, l.Multiplier)
		if !k.given(at + ".multiplier") {
			k.fault(at+".multiplier", "is missing: write multiplier: 0 (never shed) to 1 (first)")
		}
		j, twice := first[l.Level]
		switch level := at + ".level"; {
		case !k.given(level):
			k.fault(level, "is missing: %s", levels)
		case k.faults.paths[level]:
		case l.Level == 0:
			k.fault(level, "0 is critical, which is never shed: %s, or leave the level out", levels)
		case l.Level < 0 || l.Level > 3:
			k.fault(level, "%d is no priority level: %s", l.Level, levels)
		case twice:
			k.fault(level, "level %d is given twice, first in line %d: remove one", l.Level, k.line(fmt.Sprintf("%s[%d].level", path, j)))
		default:
			first[l.Level] = i
		}
	}
	if most == 0 && s.SheddingRate > 0 && !k.faultyBelow(path) {
		k.fault(path, "every multiplier is 0, so nothing is ever shed: write one above 0, or shedding_rate: 0")
	}
}

func (k *checker) checkConcurrency(c *Concurrency, path string) {
	usual := pressureDefaults().Concurrency
	if c.Algorithm == "fixed" && !k.faults.paths[path+".algorithm"] {
		for _, f := range []struct {
			key       string
			is, usual int
		}{{"min", c.Min, usual.Min}, {"max", c.Max, usual.Max}, {"initial", c.Initial, usual.Initial}} {
			if f.is != f.usual {
				k.fault(under(path, f.key), "with algorithm: fixed a pool has connections.max requests in progress for each endpoint: write algorithm: gradient, vegas or aimd too, or leave %s out", f.key)
			}
		}
		return
	}
	switch {
	case c.Min > c.Max && k.given(path+".max"):
		k.fault(path+".max", "%d is less than min, %d: write as much or more, or a lower min", c.Max, c.Min)
	case c.Min > c.Max:
		k.fault(path+".min", "%d is more than max, %d: write as much or less, or a higher max", c.Min, c.Max)
	case c.Initial != 0 && (c.Initial < c.Min || c.Initial > c.Max):
		k.fault(path+".initial", "%d is out of range: write min to max, which are %d to %d", c.Initial, c.Min, c.Max)
	}
}

func (k *checker) checkQueue(q *Queue, path string) {
	if q.By != "" && k.known != nil {
		k.checkReference(path+".by", "dimension", q.By, &k.known.dimensions)
	} else if q.By == "" && len(q.Weights) > 0 {
		k.fault(path+".by", "is missing: weights are of the values of a dimension: write for example by: tenant")
	}
	if at := path + ".aging"; q.Aging != nil && neverAges(*q.Aging, q.MaxWait) && !k.faults.paths[path+".max_wait"] {
		k.fault(at, "%s is not less than max_wait, %s, so that nobody waits long enough: %s", formatDuration(*q.Aging), formatDuration(q.MaxWait), agingAdvice)
	}
	if len(q.Weights) > maxQueueWeights {
		k.fault(path+".weights", "there are %d, at most %d can be: leave out those that default_weight does for", len(q.Weights), maxQueueWeights)
		return
	}
	first := make(map[string]int, len(q.Weights))
	for i, w := range q.Weights {
		if w.Value == "" {
			continue // recorded as missing
		}
		if j, twice := first[w.Value]; twice {
			k.fault(fmt.Sprintf("%s.weights[%d].value", path, i), "the value %s is given twice, first in line %d: remove one", quote(w.Value), k.line(fmt.Sprintf("%s.weights[%d].value", path, j)))
			continue
		}
		first[w.Value] = i
	}
}

const agingAdvice = "write less, 0s for never, or leave aging out for a quarter of the wait"

// neverAges says whether nobody who waits that long at most lives to age, though somebody waits and is to age.
func neverAges(aging, wait time.Duration) bool { return aging > 0 && wait > 0 && aging >= wait }

// poolNeverAges says whether nobody in the queue of p lives to age because of what p gives itself.
func (c *Config) poolNeverAges(p *Pool) bool {
	if p.Connections.QueueTimeout == nil || c.Backpressure == nil || c.Backpressure.Queue.Aging == nil {
		return false
	}
	length, wait := c.Queue(p)
	return length > 0 && neverAges(c.Aging(p), wait)
}

// degradable is what can be done without.
var degradable = []string{"mirror", "access_log", "retries", "ratelimit_headers"}

func (k *checker) checkDegrade(levels []DegradeLevel, path string) {
	if len(levels) > maxDegrade {
		k.fault(path, "there are %d levels, at most %d can be: write fewer", len(levels), maxDegrade)
		return
	}
	last, off := -1, map[string]int{}
	for i, l := range levels {
		at := fmt.Sprintf("%s[%d]", path, i)
		if l.At != 0 && last >= 0 && l.At <= levels[last].At {
			k.fault(at+".at", "%v is not more than that of the level before, %v: write the levels from the lowest load to the highest", float64(l.At), float64(levels[last].At))
		} else if l.At != 0 {
			last = i
		}
		if l.ServeStale && !k.caches() {
			k.fault(at+".serve_stale", "no route keeps answers, so there is nothing stale to serve: give a route cache: {enabled: true}, or leave serve_stale out")
		}
		if len(l.Disable) == 0 && !l.ServeStale && !k.faultyBelow(at+".disable") && !k.faultyBelow(at+".serve_stale") {
			k.fault(at+".disable", "is missing, so the level does nothing: write one or more of %s, or serve_stale: true", strings.Join(degradable, ", "))
		}
		for j, what := range l.Disable {
			key := fmt.Sprintf("%s.disable[%d]", at, j)
			before, twice := off[what]
			switch {
			case what == "tracing":
				k.fault(key, "spans are not exported in this version: leave tracing out")
			case !slices.Contains(degradable, what):
				advice := didYouMean(what, degradable)
				if advice == "" {
					advice = ": write one of " + strings.Join(degradable, ", ")
				}
				k.fault(key, "%s is nothing that can be disabled%s", quote(what), advice)
			case twice:
				k.fault(key, "%s is disabled already by %s[%d]: remove one", what, path, before)
			default:
				off[what] = i
			}
		}
	}
}

// problem returns what is wrong with the values of b together, or "".
func (b *Breaker) problem() string {
	if b.MaxTimeout >= b.Timeout {
		return ""
	}
	return fmt.Sprintf("%s is less than timeout, %s: write as much or more", formatDuration(b.MaxTimeout), formatDuration(b.Timeout))
}

var breakerLayout = layoutOf(reflect.TypeFor[Breaker]())

// breakerTimes are the bits of Breaker's fields that its problem is about.
var breakerTimes = uint64(1)<<breakerLayout.byKey["timeout"].index | 1<<breakerLayout.byKey["max_timeout"].index

// ownBreaker returns the bits of Breaker's fields that the file gives in the one at path.
func (k *checker) ownBreaker(path string) (own uint64) {
	if !k.given(path) {
		return 0
	}
	for _, f := range breakerLayout.fields {
		if k.given(path + "." + f.key) {
			own |= 1 << f.index
		}
	}
	return own
}

// takeBreaker gives pools the values of b, or the defaults if it is nil, that their own breakers do not give.
func takeBreaker(pools []Pool, b *Breaker) {
	from := breakerLayout.defaults
	if b != nil {
		from = reflect.ValueOf(b).Elem()
	}
	for i := range pools {
		to := reflect.ValueOf(&pools[i].Breaker).Elem()
		for _, f := range breakerLayout.fields {
			if pools[i].own&(1<<f.index) == 0 {
				to.Field(f.index).Set(from.Field(f.index))
			}
		}
	}
}
