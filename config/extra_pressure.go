package config

import (
	"fmt"
	"reflect"
	"slices"
)

var pressureBody = &body{"backpressure section", `write for example {"load_threshold": 0.8, "load_shedding": {"shedding_rate": 0.1}}`}

// ParseBackpressure reads a backpressure section that came by the API, as JSON or YAML, with the keys of the file's. The error
// is [Faults]: everything that is wrong with it in itself, with "body" for a file. Whether it fits a Config, its dimensions and
// pools, [Config.WithBackpressure] says.
func ParseBackpressure(text []byte) (*Backpressure, error) {
	k := pressureChecker(text)
	b := k.readPressure(nil)
	if err := k.faults.err(); err != nil {
		return nil, err
	}
	return b, nil
}

// WithBackpressure returns c with the backpressure that a text of the API gives, checked as if it stood in the file. A key of
// the section that the text gives is replaced as a whole (null: by its default), the others stay as c has them, and are right already. The error is
// [Faults]: everything wrong with the text at once, each with its place in it and "body" for a file. c does not change.
// Variables in the text are not expanded. Linear in the text and the number of pools.
func (c *Config) WithBackpressure(text []byte) (*Config, error) {
	out, k := *c, pressureChecker(text)
	k.c, k.known = &out, c.known
	out.Backpressure = k.readPressure(c.Backpressure)
	if len(k.faults.list) == 0 {
		k.fitPools()
	}
	if err := k.faults.err(); err != nil {
		return nil, err
	}
	return &out, nil
}

// pressureChecker returns a checker of a text of the API. Its root is nil, and the reason recorded, if there is nothing to check.
func pressureChecker(text []byte) *checker {
	faults := &faultList{file: "body", body: pressureBody}
	return &checker{root: readExtra(text, faults), faults: faults, over: true}
}

// readPressure returns was, or the defaults, with what the text gives.
func (k *checker) readPressure(was *Backpressure) *Backpressure {
	if k.root == nil {
		return nil
	}
	b := pressureDefaults()
	if was != nil {
		b = *was
	}
	v, l := reflect.ValueOf(&b).Elem(), layoutOf(reflect.TypeFor[Backpressure]())
	for i := range l.fields {
		if f := &l.fields[i]; lookup(k.root, f.key, 0) != nil {
			v.Field(f.index).Set(l.defaults.Field(f.index))
		}
	}
	d := &decoder{faults: k.faults, verbatim: true}
	d.value(k.root, v, nil)
	k.checkPressure(&b, "")
	return &b
}

// fitPools gives pools of their own to the checker's Config, with what they take from its backpressure.
func (k *checker) fitPools() {
	k.c.Pools = slices.Clone(k.c.Pools)
	takeBreaker(k.c.Pools, k.c.Backpressure.CircuitBreaker)
	for i := range k.c.Pools {
		p := &k.c.Pools[i]
		if k.c.poolNeverAges(p) {
			k.fault("queue.aging", "%s is not less than the queue_timeout of the pool %s, %s, so that nobody waits long enough: %s", formatDuration(k.c.Aging(p)), quote(p.Name), formatDuration(*p.Connections.QueueTimeout), agingAdvice)
		}
		if problem := p.Breaker.problem(); problem != "" {
			k.fault("circuit_breaker", "%s", fmt.Sprintf("with it and what the pool %s gives itself, its breaker.max_timeout, %s", quote(p.Name), problem))
		}
	}
}
