package main

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"
	"golang.org/x/time/rate"
)

func peers() []*contender {
	return []*contender{
		{name: "nothing: the loop itself", open: nothing},
		{name: "x/time/rate, one Limiter, no keys", single: true, open: rateAlone},
		{name: "x/time/rate in a map under a mutex", open: rateInMap},
		{name: "x/time/rate in a sync.Map", open: rateInSyncMap},
		{name: "throttled, memstore", open: gcraOf(0)},
		{name: "throttled, memstore with LRU", open: gcraOf(2)},
	}
}

// base is the start of the benchmark's time for those that take a time.Time.
var base = time.Unix(0, epoch)

func instant(at int64) time.Time { return base.Add(time.Duration(at)) }

// nothing admits, or refuses, everything.
func nothing(s *scene) (func() decide, error) {
	ok := !s.refuse
	return func() decide { return func(int, int64) outcome { return outcomeOf(ok) } }, nil
}

// newRate is a Limiter of the numbers of bucketRate.
func newRate(s *scene) *rate.Limiter {
	if s.refuse {
		return rate.NewLimiter(rate.Every(longAgo), 1)
	}
	return rate.NewLimiter(rate.Limit(19_999_999/float64(s.keys)), 1_000_000)
}

// owing is a Limiter of a key that is known, and owes something.
func owing(s *scene, at int64) *rate.Limiter {
	l := newRate(s)
	n := primed
	if s.refuse {
		n = 1
	}
	l.AllowN(instant(at), n)
	return l
}

func rateAlone(s *scene) (func() decide, error) {
	l := owing(s, start)
	return func() decide {
		return func(_ int, at int64) outcome { return outcomeOf(l.AllowN(instant(at), 1)) }
	}, nil
}

// limiters is what people write around it: the mutex is for the map, a Limiter has its own.
type limiters struct {
	mu sync.Mutex
	of map[string]*rate.Limiter
}

func (m *limiters) get(s *scene, name string) *rate.Limiter {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.of[name]
	if !ok {
		l = newRate(s)
		m.of[strings.Clone(name)] = l
	}
	return l
}

func rateInMap(s *scene) (func() decide, error) {
	m := &limiters{of: map[string]*rate.Limiter{}}
	s.fill(1, func(i int, at int64) { m.of[strings.Clone(s.names[i])] = owing(s, at) })
	return func() decide {
		return func(i int, at int64) outcome { return outcomeOf(m.get(s, s.names[i]).AllowN(instant(at), 1)) }
	}, nil
}

func rateInSyncMap(s *scene) (func() decide, error) {
	m := new(sync.Map)
	s.fill(1, func(i int, at int64) { m.Store(strings.Clone(s.names[i]), owing(s, at)) })
	return func() decide {
		return func(i int, at int64) outcome {
			l, ok := m.Load(s.names[i])
			if !ok {
				l, _ = m.LoadOrStore(strings.Clone(s.names[i]), newRate(s))
			}
			return outcomeOf(l.(*rate.Limiter).AllowN(instant(at), 1))
		}
	}, nil
}

// gcraOf is throttled's limiter over its store in memory, of so many times the keys at most; 0: without a bound. It asks the store
// for the time; the store's clock stands still here, so that reading it costs nothing, and the burst is large enough for that.
func gcraOf(bound int) func(s *scene) (func() decide, error) {
	return func(s *scene) (func() decide, error) {
		store, err := memstore.New(bound * s.keys)
		if err != nil {
			return nil, err
		}
		store.SetTimeNow(func() time.Time { return base })
		quota := throttled.RateQuota{MaxRate: throttled.PerDuration(1, time.Duration(s.turn())), MaxBurst: 1_000_000_000}
		if s.refuse {
			quota = throttled.RateQuota{MaxRate: throttled.PerDuration(1, longAgo)}
		}
		l, err := throttled.NewGCRARateLimiterCtx(throttled.WrapStoreWithContext(store), quota)
		if err != nil {
			return nil, err
		}
		ctx := context.Background()
		s.fill(1, func(i int, _ int64) { _, _, err = l.RateLimitCtx(ctx, strings.Clone(s.names[i]), 1) })
		return func() decide {
			return func(i int, _ int64) outcome {
				limited, _, err := l.RateLimitCtx(ctx, s.names[i], 1)
				if err != nil {
					return failed
				}
				return outcomeOf(!limited)
			}
		}, err
	}
}
