package limiter

import (
	"math/rand"
	"slices"
	"testing"
	"time"

	"weir/internal/mono"
)

// passes is when requests of one node go on.
type passes struct{ at []mono.Time }

// queueAt asks three nodes by demand, requests of one unit, and returns when they go on.
func queueAt(t *testing.T, s Spec, demand [3]float64, length time.Duration) (c *crew, went [3]passes) {
	c = newCrew(t, 3, s, Options{})
	random := rand.New(rand.NewSource(1))
	k := simKey(1)
	var next [3]mono.Time
	for now := mono.Time(0); now < mono.Time(length); now = now.Add(time.Millisecond) {
		for i := range 3 {
			for demand[i] > 0 && next[i] <= now {
				next[i] = next[i].Add(time.Duration(random.ExpFloat64() / demand[i] * 1e9))
				if d := c.limiters[i].Take(k, 1, now); d.OK {
					if d.Wait > s.MaxWait || d.Wait < 0 {
						t.Fatalf("a wait of %v", d.Wait)
					}
					went[i].at = append(went[i].at, now.Add(d.Wait))
				} else if d.Retry <= 0 && d.Retry != Unknown {
					t.Fatalf("refused, and retry in %v", d.Retry)
				}
			}
		}
		c.talk(now)
	}
	return c, went
}

// over is the worst of what goes on in any interval beyond the burst and the rate.
func over(rate, burst float64, went [3]passes) (worst float64) {
	var all []mono.Time
	for _, w := range went {
		all = append(all, w.at...)
	}
	slices.Sort(all)
	level, last := 0.0, mono.Time(0)
	for _, at := range all {
		level = max(0, level-rate*sec(at.Sub(last))) + 1
		last = at
		worst = max(worst, level-burst)
	}
	return worst
}

func TestSharedQueue(t *testing.T) {
	const rate, burst = 300, 30
	for _, s := range []Spec{
		{Rate: Rate{N: rate, Per: time.Second, Burst: burst}, MaxWait: 200 * time.Millisecond},
		{Algorithm: LeakyBucket, Rate: Rate{N: rate, Per: time.Second, Burst: burst}, MaxWait: 200 * time.Millisecond},
	} {
		for _, demand := range [][3]float64{{300, 300, 300}, {800, 50, 50}, {900, 0, 0}, {90, 90, 90}} {
			c, went := queueAt(t, s, demand, 10*time.Second)
			n := 0
			for _, w := range went {
				n += len(w.at)
			}
			bound, _ := c.limiters[0].Excess()
			ideal := min(rate*10+burst+rate/5, 10*(demand[0]+demand[1]+demand[2]))
			if x := over(rate, burst, went); x > bound {
				t.Errorf("%v, demand %v: %.1f beyond rate and burst, bound %.1f", s.Algorithm, demand, x, bound)
			}
			if float64(n) < 0.93*ideal {
				t.Errorf("%v, demand %v: %d of %.0f went on", s.Algorithm, demand, n, ideal)
			}
			t.Logf("%v, demand %v: %d of %.0f went on, %.1f beyond, bound %.1f", s.Algorithm, demand, n, ideal, over(rate, burst, went), bound)
		}
	}
}

// TestSharedSmooth: requests of one node that go one by one keep a distance by its share of the rate.
func TestSharedSmooth(t *testing.T) {
	s := Spec{Algorithm: LeakyBucket, Rate: Rate{N: 300, Per: time.Second, Burst: 30}, MaxWait: 200 * time.Millisecond}
	_, went := queueAt(t, s, [3]float64{900, 300, 300}, 10*time.Second)
	for i, w := range went {
		late := w.at[slices.IndexFunc(w.at, func(at mono.Time) bool { return at > mono.Time(2*time.Second) }):]
		least, rate := time.Hour, float64(len(late))/8
		for j := 1; j < len(late); j++ {
			least = min(least, late[j].Sub(late[j-1]))
		}
		if even := 1 / rate; sec(least) < even/2 {
			t.Errorf("node %d at %.0f/s: two requests within %v, evenly %.1f ms", i, rate, least, 1000*even)
		}
		t.Logf("node %d: %.0f/s, %v apart at least", i, rate, least)
	}
}

// TestSharedAdaptive: a rate that is set anew every half second keeps what is spent.
func TestSharedAdaptive(t *testing.T) {
	rate := Rate{N: 300, Per: time.Second, Burst: 30}
	c, k := newCrew(t, 3, Spec{Algorithm: Adaptive, Rate: rate}, Options{}), simKey(1)
	n, level, refill, burst, worst := 0, 30.0, 300.0, 30.0, 0.0
	for now := mono.Time(0); now < mono.Time(10*time.Second); now = now.Add(time.Millisecond) {
		if ms := now / 1e6; ms%500 == 250 {
			f := []float64{0.5, 1, 1.7, 0.8}[ms/500%4]
			level += float64(rate.Scaled(f).Burst) - burst // what is owed stays owed
			refill, burst = 300*f, float64(rate.Scaled(f).Burst)
			for _, l := range c.limiters {
				if err := l.SetSpec(Spec{Algorithm: Adaptive, Rate: rate.Scaled(f)}, now); err != nil {
					t.Fatal(err)
				}
			}
		}
		level = min(burst, level+refill/1000)
		for i, l := range c.limiters {
			if (int(now/1e6)+i)%2 == 0 && l.Take(k, 1, now).OK {
				n++
				level--
				worst = max(worst, -level)
			}
		}
		c.talk(now)
	}
	if bound, _ := c.limiters[0].Excess(); worst > bound || n < 2900 {
		t.Errorf("%d went on, %.1f beyond the limit", n, worst)
	}
	t.Logf("%d went on, %.1f beyond the limit", n, worst)
}
