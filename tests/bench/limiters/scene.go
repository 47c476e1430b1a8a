package main

import (
	"fmt"

	"weir/limiter"
)

// step is the time that passes between two decisions, in ns.
const step = 50

// start is the instant at which a measurement begins, in ns. Keys are made known before.
const start = 1_000_000_000

// scene is one kind of load.
type scene struct {
	name    string
	keys    int
	threads int
	refuse  bool // every decision is to refuse, else every one is to admit
	memory  bool // measure bytes per key

	names  []string // texts of the keys, in the order in which they are asked for
	hashed []limiter.Key
	hasher limiter.Hasher
}

func scenes() []*scene {
	return []*scene{
		{name: "one key", keys: 1, threads: 1},
		{name: "one key, two threads", keys: 1, threads: 2},
		{name: "10,000 keys", keys: 10_000, threads: 1},
		{name: "1,000,000 keys", keys: 1_000_000, threads: 1, memory: true},
		{name: "refused", keys: 1, threads: 1, refuse: true},
	}
}

// prepare makes the keys. All texts are one after the other in memory, as are the hashed keys: asking in that order, the processor has
// them at hand, like those of a request just parsed, and only the limiter's own memory is met at random.
func (s *scene) prepare() {
	const length = len("user-0000000")
	text := make([]byte, 0, s.keys*length)
	for i := range s.keys {
		text = fmt.Appendf(text, "user-%07d", i)
	}
	all := string(text)
	s.hasher = limiter.NewHasher([16]byte{1})
	s.names = make([]string, s.keys)
	s.hashed = make([]limiter.Key, s.keys)
	for i := range s.keys {
		s.names[i] = all[i*length : (i+1)*length]
		s.hashed[i] = s.hasher.Sum(limiter.AppendPart(nil, s.names[i]))
	}
}

// fill calls spend for every key, passes times, in another order than that of the measurement, ending at its start.
func (s *scene) fill(passes int, spend func(i int, at int64)) {
	const stride = 7919 // prime, and no divisor of a number of keys
	at := start - int64(passes)*s.turn()
	for range passes {
		for i := range s.keys {
			spend(i*stride%s.keys, at)
			at += step
		}
	}
}

// turn is the time in which every key is asked for once.
func (s *scene) turn() int64 { return int64(s.keys) * step }

// outcome is what a decision said.
type outcome uint8

const (
	admitted outcome = iota
	refused
	failed // neither: an error
	outcomes
)

func outcomeOf(ok bool) outcome {
	if ok {
		return admitted
	}
	return refused
}

// decide makes one decision about key i at an instant. It is for one thread; several share the state behind it.
type decide func(i int, at int64) outcome

// contender is a limiter under test.
type contender struct {
	name   string
	weir   bool
	chain  bool // of weir: several decisions, with no budget of their own
	single bool // knows no keys: takes part where there is one
	ring   bool // weir's sliding window at its most expensive
	// open makes what s needs, with every key known and owing something, and returns the maker of the threads' functions.
	open func(s *scene) (func() decide, error)
}

func (c *contender) takesPart(s *scene) bool {
	return (!c.single || s.keys == 1) && (!c.ring || !s.refuse)
}

func contenders() []*contender { return append(weirs(), peers()...) }
