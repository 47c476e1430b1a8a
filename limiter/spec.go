package limiter

import (
	"fmt"
	"time"

	"weir/internal/mono"
)

// Algorithm is how a policy counts. doc.go defines each and derives its bound.
type Algorithm uint8

// The algorithms.
const (
	TokenBucket   Algorithm = iota // a burst at once, refilled steadily
	LeakyBucket                    // the same as a meter; with MaxWait it lets requests go one by one, evenly
	SlidingWindow                  // at most Rate.N in every interval of Rate.Per
	FixedWindow                    // at most Rate.N in each interval of Rate.Per, counted from 1970
	Concurrency                    // at most Rate.N at once; given back when done
	Adaptive                       // a token bucket whose rate a controller moves: see Adaptation
	Quota                          // at most Rate.N in each period of a calendar
)

var algorithmNames = [...]string{"token_bucket", "leaky_bucket", "sliding_window", "fixed_window", "concurrency", "adaptive", "quota"}

// String returns the name that the configuration uses.
func (a Algorithm) String() string { return algorithmNames[a] }

// AlgorithmOf returns the algorithm of that name.
func AlgorithmOf(name string) (a Algorithm, ok bool) {
	for i, n := range algorithmNames {
		if n == name {
			return Algorithm(i), true
		}
	}
	return 0, false
}

// MaxParts is the most sub-windows of a sliding window.
const MaxParts = 1000

// maxLimit is the most units of windows, quotas and seats: sums of two stay in 64 bits.
const maxLimit = 1 << 62

// maxWindowed is the most units of a sliding window: sub-windows are counted in 32 bits, and what is settled late may exceed the limit.
const maxWindowed = 1 << 31

// Spec is what a limiter counts by. The zero value of Algorithm is the token bucket.
type Spec struct {
	Algorithm Algorithm
	Rate      Rate          // windows and quotas go by N (and Per), Concurrency by N alone
	Parts     int           // SlidingWindow: sub-windows, 1 to MaxParts
	Calendar  Calendar      // Quota
	MaxWait   time.Duration // TokenBucket, LeakyBucket, Adaptive: how long a Take may tell to wait; 0: it refuses at once
}

// Validate reports what makes s no spec.
func (s Spec) Validate() error {
	switch s.Algorithm {
	case TokenBucket, LeakyBucket, Adaptive:
		if s.MaxWait < 0 || s.MaxWait > maxWait {
			return fmt.Errorf("wait of %v: 0 to %v is possible", s.MaxWait, maxWait)
		}
		return s.Rate.Validate()
	case SlidingWindow:
		if s.Parts < 1 || s.Parts > MaxParts {
			return fmt.Errorf("%d sub-windows: 1 to %d are possible", s.Parts, MaxParts)
		}
		if s.Rate.Per < time.Duration(s.Parts) {
			return fmt.Errorf("window of %v: too short for %d sub-windows", s.Rate.Per, s.Parts)
		}
		fallthrough
	case FixedWindow:
		if s.Rate.Per < 1 || s.Rate.Per > maxRefill/2 {
			return fmt.Errorf("window of %v: more than 0 and less than 36 years are possible", s.Rate.Per)
		}
	case Quota:
		if err := s.Calendar.validate(); err != nil {
			return err
		}
	case Concurrency:
	default:
		return fmt.Errorf("algorithm %d is unknown", s.Algorithm)
	}
	most := int64(maxLimit)
	if s.Algorithm == SlidingWindow {
		most = maxWindowed
	}
	if s.Rate.N < 1 || s.Rate.N > most {
		return fmt.Errorf("limit of %d units: 1 to %d are possible", s.Rate.N, most)
	}
	return nil
}

// maxWait keeps what is spent ahead of time in the range of the arithmetic.
const maxWait = time.Hour

// A meter is an algorithm with its numbers. It is immutable; the state of one key is in a bucket, and what does not fit there in
// the shard's rings. Its caller holds the shard's mutex.
type meter interface {
	// decide answers for n ≥ 0 units at now and changes nothing.
	decide(m *rings, b *bucket, n int64, now mono.Time) Decision
	// spend charges n > 0 units, whatever is left, and returns the mark under which they can be given back.
	spend(m *rings, b *bucket, n int64, now mono.Time) mark
	// give gives back n > 0 units that were spent under of, which then stands for the rest of them. What came back by itself since is
	// not given twice. It reports whether every mark made so far, of whatever bucket, is void from now on.
	give(m *rings, b *bucket, n int64, of *mark, now mono.Time) (void bool)
	// idle reports whether b is at now as good as the bucket of a key never seen.
	idle(b *bucket, now mono.Time) bool
	// forward makes b count every instant before now as now.
	forward(m *rings, b *bucket, now mono.Time)
	// convert carries b over from old, a meter of the same algorithm: what was spent stays spent, or more.
	convert(m *rings, old meter, b *bucket, now mono.Time)
	// inherit has marks of gone, which is idle, give nothing where they are taken for marks of b.
	inherit(b, gone *bucket)
	// fresh is the bucket of a key never seen.
	fresh() bucket
	// clone is a bucket of its own that owes what b does, or a little longer.
	clone(b *bucket) bucket
	// drop frees what b has of the rings.
	drop(m *rings, b *bucket)
}

// plain is what meters do that need no rings.
type plain struct{}

func (plain) clone(b *bucket) bucket   { return *b }
func (plain) drop(*rings, *bucket)     {}
func (plain) inherit(*bucket, *bucket) {}

// mark tells a spending from others of its bucket.
type mark struct {
	at          int64     // the window or sub-window it was spent in; of a gcra, with frac, the bucket's arrival time after it
	frac, given uint64    // of a gcra; given is the bucket's count then
	from        mono.Time // of a gcra: the instant that counted
	left        int64     // of a gcra: units not given back
}

// bucket is the state of one key: three words whose meaning is the meter's.
type bucket struct {
	last mono.Time
	x    int64
	y    uint64
}

// newMeter prepares s, which must be valid. epoch is the wall clock at mono.Time(0), in nanoseconds since 1970.
func newMeter(s Spec, epoch int64) meter {
	switch s.Algorithm {
	case SlidingWindow:
		return newSliding(s.Rate, s.Parts, epoch)
	case FixedWindow:
		return &windows{limit: s.Rate.N, periods: fixedPeriods{int64(s.Rate.Per), epoch}}
	case Quota:
		return &windows{limit: s.Rate.N, periods: newCalendarPeriods(s.Calendar, epoch)}
	case Concurrency:
		return seats{limit: s.Rate.N}
	}
	g := newGCRA(s.Rate)
	g.wait, g.smooth = int64(s.MaxWait), s.Algorithm == LeakyBucket && s.MaxWait > 0
	return g
}
