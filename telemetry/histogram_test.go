package telemetry

import (
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// bucketOf is the plain search that observe must agree with.
func bucketOf(d time.Duration) int {
	for i, b := range bounds {
		if d <= b {
			return i
		}
	}
	return len(bounds)
}

func TestHistogramPutsADurationInItsBucket(t *testing.T) {
	f := func(d time.Duration, want int) {
		t.Helper()
		var h histogram
		h.observe(d)
		for i := range h.counts {
			if n := h.counts[i].Load(); (n == 1) != (i == want) {
				t.Errorf("%v: bucket %d has %d, want it in %d", d, i, n, want)
			}
		}
	}
	f(math.MinInt64, 0)
	f(-1, 0)
	f(0, 0)
	f(1, 0)
	f(50*time.Microsecond, 0)
	f(50*time.Microsecond+1, 1)
	f(time.Millisecond, 4)
	f(60*time.Second, len(bounds)-1)
	f(60*time.Second+1, len(bounds))
	f(math.MaxInt64, len(bounds))
	for _, b := range bounds {
		f(b-1, bucketOf(b))
		f(b, bucketOf(b))
		f(b+1, bucketOf(b)+1)
	}
}

func TestHistogramEqualsThePlainSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h histogram
		var want [len(bounds) + 1]uint64
		var micros uint64
		for _, n := range rapid.SliceOfN(rapid.Int64Range(0, int64(2*time.Minute)), 1, 50).Draw(t, "durations") {
			d := time.Duration(n) >> rapid.IntRange(0, 36).Draw(t, "shift")
			h.observe(d)
			want[bucketOf(d)]++
			micros += uint64(math.Round(float64(d) / 1000))
		}
		var sum uint64
		r, ok := h.read()
		for i, b := range bounds {
			sum += want[i]
			if r.upTo[b.Seconds()] != sum {
				t.Fatalf("up to %v: %d, want %d", b, r.upTo[b.Seconds()], sum)
			}
		}
		if !ok || r.count != sum+want[len(bounds)] || math.Abs(r.seconds-float64(micros)/1e6) > 1e-9 {
			t.Fatalf("read %+v", r)
		}
	})
}

func TestHistogramLosesNothingUnderConcurrency(t *testing.T) {
	var h histogram
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 10_000 {
				h.observe(time.Duration(i) * time.Microsecond)
				if i%1000 == 0 {
					if r, ok := h.read(); ok && r.upTo[60] > r.count {
						t.Error("a scrape contradicts itself")
					}
				}
			}
		})
	}
	wg.Wait()
	if r, _ := h.read(); r.count != 40_000 || r.seconds != 4*0.000001*float64(9999*10000/2) {
		t.Errorf("count %d, sum %v", r.count, r.seconds)
	}
}
