package strict

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
	"weir/limiter"
)

// start of the tests' clock: 2026-01-30 23:59:59 UTC, so that hours, days and months end soon.
const start = 1769817599_000_000

// upTo rounds what the model says in nanoseconds up to the microseconds of the server's clock.
func upTo(d time.Duration) time.Duration {
	if d == limiter.Never || d == limiter.Unknown {
		return d
	}
	return (d + time.Microsecond - 1) / time.Microsecond * time.Microsecond
}

func rounded(d limiter.Decision) limiter.Decision {
	d.Wait, d.Retry, d.Reset = upTo(d.Wait), upTo(d.Retry), upTo(d.Reset)
	return d
}

// specs draws one of an algorithm.
func specs(t *rapid.T, a limiter.Algorithm) limiter.Spec {
	s := limiter.Spec{Algorithm: a}
	per := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 7 * time.Second, time.Minute, time.Hour, 30 * 24 * time.Hour, 61 * time.Microsecond}).Draw(t, "per")
	switch a {
	case limiter.TokenBucket, limiter.LeakyBucket:
		s.Rate = limiter.Rate{N: rapid.SampledFrom([]int64{1, 2, 3, 7, 10, 1000, 999_983, 10_000_000}).Draw(t, "n"), Per: per,
			Burst: rapid.SampledFrom([]int64{1, 2, 3, 10, 1000, 2_000_003}).Draw(t, "burst")}
		if rapid.Bool().Draw(t, "waits") {
			s.MaxWait = rapid.SampledFrom([]time.Duration{time.Microsecond, time.Millisecond, time.Second, time.Hour}).Draw(t, "wait")
		}
		if s.Validate() != nil { // more than 73 years
			s.Rate.Burst = 1
		}
	case limiter.SlidingWindow:
		s.Rate = limiter.Rate{N: rapid.Int64Range(1, 30).Draw(t, "n"), Per: per}
		s.Parts = rapid.SampledFrom([]int{1, 2, 3, 10, 60}).Draw(t, "parts")
	case limiter.FixedWindow:
		s.Rate = limiter.Rate{N: rapid.Int64Range(1, 30).Draw(t, "n"), Per: per}
	case limiter.Quota:
		s.Rate.N = rapid.Int64Range(1, 30).Draw(t, "n")
		s.Calendar.Period = rapid.SampledFrom([]string{"hour", "day", "week", "month"}).Draw(t, "period")
	case limiter.Concurrency:
		s.Rate.N = rapid.Int64Range(1, 30).Draw(t, "n")
	}
	return s
}

// model holds a store and the limiters that must say the same, on one clock.
type model struct {
	s        *Store
	clock    *atomic.Int64
	limiters []*limiter.Limiter
	policies []*Policy
	keys     []limiter.Key
}

var runs atomic.Uint64

func newModel(t *rapid.T, s *Store, clock *atomic.Int64, list []limiter.Spec) *model {
	m := &model{s: s, clock: clock}
	clock.Store(start)
	for i, spec := range list {
		l, err := limiter.New(fmt.Sprint(i), spec, limiter.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPolicy(uint64(i), spec)
		if err != nil {
			t.Fatal(err)
		}
		m.limiters, m.policies = append(m.limiters, l), append(m.policies, p)
		m.keys = append(m.keys, key(runs.Add(1)))
	}
	return m
}

func (m *model) now() mono.Time { return mono.Time(m.clock.Load() * 1000) }

// chain takes (or peeks) a chain at both, compares the answers, and returns the charge if it was spent.
func (m *model) chain(t *rapid.T, units []int64, soft []bool, mode string) (*limiter.Charge, []Ask, []Answer) {
	var c limiter.Charge
	asks, answers := make([]Ask, len(units)), make([]Answer, len(units))
	for i, n := range units {
		asks[i] = Ask{Policy: m.policies[i], Key: m.keys[i], N: n, Soft: soft[i], Group: m.keys[0]}
		if soft[i] {
			c.AddSoft(m.limiters[i], m.keys[i], n)
		} else {
			c.Add(m.limiters[i], m.keys[i], n)
		}
	}
	want := c.Take(m.now())
	got, err := m.s.ask(context.Background(), mode, asks, answers)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("at %d %v: refused by %d, want %d: %+v, want %+v", m.clock.Load(), units, got, want, answers, c.Decisions())
	}
	for i, d := range c.Decisions() {
		if answers[i].Decision != rounded(d) {
			t.Fatalf("at %d %v step %d (%+v): got %+v, want %+v", m.clock.Load(), units, i, m.limiters[i].Spec(), answers[i].Decision, rounded(d))
		}
	}
	if want >= 0 {
		return nil, nil, nil
	}
	if mode == modePeek {
		c.Refund(m.now())
		return nil, nil, nil
	}
	return &c, asks, answers
}

// settled runs f, which queues n corrections, and waits until they are written.
func settled(t testing.TB, s *Store, n uint64, f func()) {
	t.Helper()
	want := s.Stats().Settled + n
	f()
	for end := time.Now().Add(5 * time.Second); s.Stats().Settled < want; time.Sleep(20 * time.Microsecond) {
		if st := s.Stats(); st.Dropped > 0 || time.Now().After(end) {
			t.Fatalf("corrections are not written: %+v", st)
		}
	}
}

// TestLikeTheLimiter: the answers are those of package limiter, on one clock, for chains of all algorithms, with refunds at once, seats
// given back, and corrections.
func TestLikeTheLimiter(t *testing.T) {
	r := newServer(t)
	var clock atomic.Int64
	s := opened(t, Config{Addresses: []string{r.addr()}}, clock.Load)
	algorithms := []limiter.Algorithm{limiter.TokenBucket, limiter.LeakyBucket, limiter.SlidingWindow, limiter.FixedWindow, limiter.Quota, limiter.Concurrency}
	for _, a := range algorithms {
		t.Run(a.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { run(t, s, &clock, []limiter.Spec{specs(t, a)}) })
		})
	}
	t.Run("chains", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			var list []limiter.Spec
			for range rapid.IntRange(2, 4).Draw(t, "steps") {
				list = append(list, specs(t, rapid.SampledFrom(algorithms).Draw(t, "algorithm")))
			}
			run(t, s, &clock, list)
		})
	})
}

// spent is a chain that may be corrected or given back.
type spent struct {
	c       *limiter.Charge
	asks    []Ask
	answers []Answer
	at      int64
}

func run(t *rapid.T, s *Store, clock *atomic.Int64, list []limiter.Spec) {
	m := newModel(t, s, clock, list)
	var open []spent
	for range rapid.IntRange(1, 25).Draw(t, "turns") {
		clock.Add(steps(t, list))
		if len(open) > 0 && rapid.IntRange(0, 3).Draw(t, "act") == 0 {
			i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
			m.end(t, open[i])
			open = append(open[:i], open[i+1:]...)
			continue
		}
		units, soft := make([]int64, len(list)), make([]bool, len(list))
		for i, spec := range list {
			most := max(spec.Rate.N, spec.Rate.Burst)
			if spec.Rate.Burst > 0 {
				most = spec.Rate.Burst
			}
			units[i] = rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(0, most+most/8+1)).Draw(t, "units")
			soft[i] = rapid.IntRange(0, 4).Draw(t, "soft") == 0
		}
		mode := modeTake
		if rapid.IntRange(0, 5).Draw(t, "look") == 0 {
			mode = modePeek
		}
		if c, asks, answers := m.chain(t, units, soft, mode); c != nil {
			open = append(open, spent{c, asks, answers, clock.Load()})
		}
	}
}

// steps draws how far the clock goes: nothing, a little, or about as long as what is spent takes to come back.
func steps(t *rapid.T, list []limiter.Spec) int64 {
	spec := list[rapid.IntRange(0, len(list)-1).Draw(t, "whose")]
	for _, spec := range list {
		if spec.Algorithm == limiter.Concurrency { // no longer than the lease
			return rapid.Int64Range(0, 1_000_000).Draw(t, "us")
		}
	}
	long := spec.Rate.Per.Microseconds()
	if spec.Rate.Burst > 0 {
		long = int64(float64(spec.Rate.Burst)*float64(long)/float64(spec.Rate.N)) + 1
	}
	if long == 0 {
		long = 3600_000_000
	}
	switch rapid.IntRange(0, 3).Draw(t, "step") {
	case 0:
		return 0
	case 1:
		return rapid.Int64Range(0, 3).Draw(t, "us")
	case 2:
		return rapid.Int64Range(0, min(long/4+1, 40*24*3600_000_000)).Draw(t, "us")
	}
	return rapid.Int64Range(0, min(long+long/4+1, 40*24*3600_000_000)).Draw(t, "us")
}

// end gives back or corrects a chain at both, in the order of its steps: refunds of buckets only at the instant of the spending, for
// there package limiter rounds what it remembers of them.
func (m *model) end(t *rapid.T, sp spent) {
	n := uint64(0)
	var acts []func()
	for i := range sp.asks {
		a, got := &sp.asks[i], &sp.answers[i]
		if !got.OK {
			continue
		}
		if a.Policy.kind == 'c' {
			if a.N > 0 {
				n++
				acts = append(acts, func() { m.s.Release(a, &got.Mark) })
			}
			continue
		}
		to := rapid.Int64Range(0, 2*a.N+1).Draw(t, "to")
		if to == a.N || to < a.N && a.Policy.kind == 't' && (m.clock.Load() != sp.at || a.Policy.wait > 0) {
			continue
		}
		n++
		sp.c.Correct(i, to, m.now())
		acts = append(acts, func() { m.s.Correct(a, &got.Mark, to-a.N) })
	}
	sp.c.Settle(m.now())
	want := m.s.Stats().Settled + n
	for _, f := range acts {
		f()
	}
	for end := time.Now().Add(5 * time.Second); m.s.Stats().Settled < want; time.Sleep(20 * time.Microsecond) {
		if st := m.s.Stats(); st.Dropped > 0 || time.Now().After(end) {
			t.Fatalf("corrections are not written: %+v", st)
		}
	}
}
