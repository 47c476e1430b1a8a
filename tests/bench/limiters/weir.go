package main

import (
	"fmt"
	"time"

	"weir/internal/mono"
	"weir/limiter"
)

// primed is what a key owes when a measurement starts, in units: a bucket that is full would be a special case.
const primed = 1000

// longAgo is the period of limits that refuse: longer than any measurement.
const longAgo = 360 * time.Hour

// epoch is the wall clock at the start of the benchmark's time, in the middle of a month.
var epoch = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC).UnixNano()

// bucketRate refills one unit, and a little less, in the time in which each key is asked for once. 19,999,999 has no divisor
// in common with a second: the arithmetic is not spared its fractions.
func bucketRate(s *scene) limiter.Rate {
	if s.refuse {
		return limiter.Rate{N: 1, Per: longAgo, Burst: 1}
	}
	return limiter.Rate{N: 19_999_999, Per: time.Duration(s.keys) * time.Second, Burst: 1_000_000}
}

// windowRate is a window in which every key is asked for 20,000,000 times and is never refused.
func windowRate(s *scene) limiter.Rate {
	if s.refuse {
		return limiter.Rate{N: 1, Per: longAgo}
	}
	return limiter.Rate{N: 1 << 31, Per: time.Duration(s.keys) * time.Second}
}

func bucketOf(a limiter.Algorithm, wait time.Duration) func(s *scene) limiter.Spec {
	return func(s *scene) limiter.Spec {
		spec := limiter.Spec{Algorithm: a, Rate: bucketRate(s), MaxWait: wait}
		if s.refuse {
			spec.MaxWait = min(wait, 1)
		}
		return spec
	}
}

func slidingOf(s *scene) limiter.Spec {
	return limiter.Spec{Algorithm: limiter.SlidingWindow, Rate: windowRate(s), Parts: 60}
}

// ringsOf has every key spend in another sub-window each time it is asked for.
func ringsOf(s *scene) limiter.Spec {
	spec := slidingOf(s)
	spec.Rate.Per = time.Duration(spec.Parts) * time.Duration(s.turn())
	return spec
}

func fixedOf(s *scene) limiter.Spec {
	return limiter.Spec{Algorithm: limiter.FixedWindow, Rate: windowRate(s)}
}

func quotaOf(s *scene) limiter.Spec {
	return limiter.Spec{Algorithm: limiter.Quota, Rate: limiter.Rate{N: windowRate(s).N}, Calendar: limiter.Calendar{Period: "month"}}
}

func seatsOf(s *scene) limiter.Spec {
	n := windowRate(s).N
	return limiter.Spec{Algorithm: limiter.Concurrency, Rate: limiter.Rate{N: n}}
}

func weirs() []*contender {
	return []*contender{
		{name: "weir token_bucket", weir: true, open: take(bucketOf(limiter.TokenBucket, 0), limiter.Options{})},
		{name: "weir token_bucket, key hashed from text", weir: true, open: takeHashed},
		{name: "weir leaky_bucket that lets wait", weir: true, open: take(bucketOf(limiter.LeakyBucket, time.Minute), limiter.Options{})},
		{name: "weir adaptive", weir: true, open: take(bucketOf(limiter.Adaptive, 0), limiter.Options{})},
		{name: "weir sliding_window of 60 parts", weir: true, open: take(slidingOf, limiter.Options{})},
		{name: "weir sliding_window, each time another part", weir: true, ring: true, open: take(ringsOf, limiter.Options{MaxBytes: 1 << 30})},
		{name: "weir fixed_window", weir: true, open: take(fixedOf, limiter.Options{})},
		{name: "weir quota of a month", weir: true, open: take(quotaOf, limiter.Options{Track: true})},
		{name: "weir concurrency, taken and given back", weir: true, open: takeSeat},
		{name: "weir Charge of three token buckets", weir: true, chain: true, open: takeChain},
	}
}

// opened makes a limiter whose keys owe something.
func opened(s *scene, spec limiter.Spec, o limiter.Options) (*limiter.Limiter, error) {
	o.Epoch = epoch
	l, err := limiter.New("bench", spec, o)
	if err != nil {
		return nil, err
	}
	n, passes := int64(primed), 1
	if s.refuse {
		n = 1
	}
	if spec.Algorithm == limiter.SlidingWindow {
		passes = 4 // from three sub-windows on a key has a ring
	}
	s.fill(passes, func(i int, at int64) { l.Take(s.hashed[i], n, mono.Time(at)) })
	if st := l.Stats(); st.Keys != int64(s.keys) || st.Overflow > 0 {
		return nil, fmt.Errorf("%d of %d keys have a bucket", st.Keys, s.keys)
	}
	return l, nil
}

// take is Limiter.Take.
func take(spec func(s *scene) limiter.Spec, o limiter.Options) func(s *scene) (func() decide, error) {
	return func(s *scene) (func() decide, error) {
		l, err := opened(s, spec(s), o)
		return func() decide {
			return func(i int, at int64) outcome { return outcomeOf(l.Take(s.hashed[i], 1, mono.Time(at)).OK) }
		}, err
	}
}

// takeHashed is what the gateway does for a policy of one dimension: frame the value, hash it, Take.
func takeHashed(s *scene) (func() decide, error) {
	l, err := opened(s, bucketOf(limiter.TokenBucket, 0)(s), limiter.Options{})
	return func() decide {
		frame := make([]byte, 0, 64)
		return func(i int, at int64) outcome {
			frame = limiter.AppendPart(frame[:0], s.names[i])
			return outcomeOf(l.Take(s.hasher.Sum(frame), 1, mono.Time(at)).OK)
		}
	}, err
}

// takeSeat is a Charge of one step that is settled: it gives its seat back. Others of every key stay in use.
func takeSeat(s *scene) (func() decide, error) {
	l, err := opened(s, seatsOf(s), limiter.Options{})
	return func() decide {
		c := new(limiter.Charge)
		return func(i int, at int64) outcome {
			c.Add(l, s.hashed[i], 1)
			ok := c.Take(mono.Time(at)) < 0
			c.Settle(mono.Time(at))
			c.Reset()
			return outcomeOf(ok)
		}
	}, err
}

// takeChain is a Charge at three levels, from the narrow one to that of everybody: a key, its group of 100, all. Where it is refused,
// the last level does it, so that the others give back: the dearest case.
func takeChain(s *scene) (func() decide, error) {
	sizes := [3]int{s.keys, max(1, s.keys/100), 1}
	levels := [3]*limiter.Limiter{}
	for i, keys := range sizes {
		level := *s
		level.keys, level.refuse = keys, s.refuse && i == len(sizes)-1
		l, err := opened(&level, bucketOf(limiter.TokenBucket, 0)(&level), limiter.Options{})
		if err != nil {
			return nil, err
		}
		levels[i] = l
	}
	return func() decide {
		c := new(limiter.Charge)
		return func(i int, at int64) outcome {
			c.Add(levels[0], s.hashed[i], 1)
			c.Add(levels[1], s.hashed[i%sizes[1]], 1)
			c.Add(levels[2], s.hashed[0], 1)
			ok := c.Take(mono.Time(at)) < 0
			c.Settle(mono.Time(at))
			c.Reset()
			return outcomeOf(ok)
		}
	}, nil
}
