package shaping

import (
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

func shedder(t testing.TB, c ShedConfig) *Shedder {
	t.Helper()
	s, err := NewShedder(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// level is a load of which only memory is known.
func level(v float64) *Load {
	l := &Load{Level: v, Own: v, Known: true}
	l.Parts[Memory] = Part{Value: v, Load: v, Raw: v, On: true, Known: true}
	return l
}

// TestShareInTime is a table of time: the load for so many ticks, and what is to be shed then.
func TestShareInTime(t *testing.T) {
	s, now := shedder(t, defaults), mono.Time(0)
	f := func(ticks int, load, share float64, retry time.Duration) {
		t.Helper()
		for range ticks {
			now += tenth
			s.Tick(now, level(load))
		}
		if math.Abs(s.Share()-share) > 0.001 || s.RetryAfter() != retry {
			t.Errorf("at %d: share %.4f, retry after %v; want %v, %v", now/tenth, s.Share(), s.RetryAfter(), share, retry)
		}
	}
	f(10, 0.8, 0, time.Second)
	f(1, 1, 0.0648, 2*time.Second) // 1-(0.8/1)^0.3
	f(1, 0.5, 0, time.Second)      // 0.5/0.813 takes back more than that
	f(60, 1, 0.792, 5*time.Second) // ever slower, for the aim rises to 1 with the share: about 1-1/(1+0.06·60)
	f(50, 2, 0.99, 30*time.Second)
	f(1, 2, 0.99, 30*time.Second)
	f(8, 0, 0.9472, 19*time.Second) // 0.01·2^(0.3·8) passes
	f(2, 0, 0.8787, 9*time.Second)  // and twice as fast from then on
	f(20, 0, 0, time.Second)
}

// TestLoadThatStays: a load that does not follow ends at a share in proportion.
func TestLoadThatStays(t *testing.T) {
	f := func(load, share float64) {
		t.Helper()
		s := shedder(t, defaults)
		for i := range mono.Time(1200) {
			s.Tick(i*tenth, level(load))
		}
		if math.Abs(s.Share()-share) > 0.01 {
			t.Errorf("load %v: share %v, want %v", load, s.Share(), share)
		}
	}
	f(0.8, 0)
	f(0.85, 0.25)
	f(0.95, 0.75)
	f(1.1, maxOdds)
}

// TestLateTicks: a tick that comes late counts for those that did not come, up to three.
func TestLateTicks(t *testing.T) {
	f := func(elapsed mono.Time, ticks float64) {
		t.Helper()
		s := shedder(t, ShedConfig{Threshold: 1, Rate: 0.1, Multipliers: defaults.Multipliers}) // the aim is 1 throughout
		s.Tick(tenth, level(1))
		s.Tick(tenth+elapsed, level(1.5))
		if want := 1 - math.Pow(1.5, -0.3*ticks); math.Abs(s.Share()-want) > 1e-9 {
			t.Errorf("%d later: share %v, want %v", elapsed, s.Share(), want)
		}
	}
	f(tenth, 1)
	f(2*tenth, 2)
	f(tenth/2, 0.5)
	f(100*tenth, 3)
	f(0, 0)
	f(-tenth, 0)
}

// TestOddsFollowMultipliers: in their ratio up to 0.99; together as much as asked for.
func TestOddsFollowMultipliers(t *testing.T) {
	f := func(m [Bands]float64, share float64, want ...float64) {
		t.Helper()
		s := shedder(t, ShedConfig{Threshold: 0.8, Rate: 0.1, Multipliers: m})
		s.depth = -math.Log(1 - share)
		s.publishLocked()
		for b, w := range want {
			if got := s.Stats().Odds[b]; math.Abs(got-w) > 1e-6 {
				t.Errorf("%v, share %v, band %d: odds %v, want %v", m, share, b, got, w)
			}
		}
	}
	f([Bands]float64{0, 0.1, 0.5, 1}, 0.16, 0, 0.03, 0.15, 0.3)
	f([Bands]float64{0, 0.1, 0.5, 1}, 1.59/3, 0, 0.1, 0.5, 0.99)
	f([Bands]float64{0, 0.1, 0.5, 1}, 2.18/3, 0, 0.2, 0.99, 0.99)
	f([Bands]float64{0, 0.1, 0.5, 1}, 2.48/3, 0, 0.5, 0.99, 0.99)
	f([Bands]float64{0, 0.1, 0.5, 1}, 0.99, 0, 0.99, 0.99, 0.99)
	f([Bands]float64{0, 0, 0, 1}, 0.25, 0, 0, 0, 0.25)
	f([Bands]float64{0, 0, 0.2, 0.2}, 0.5, 0, 0, 0.5, 0.5)
}

// TestMixIsLearnt: if only one band comes, its share is the share.
func TestMixIsLearnt(t *testing.T) {
	for b := High; b <= Low; b++ {
		s, roll := shedder(t, defaults), uint32(1)
		for i := range mono.Time(100) {
			for range 1000 {
				roll = roll*1664525 + 1013904223
				s.Shed(b, roll)
			}
			s.Tick(i*tenth, level(0.8+0.2*s.Share())) // as it should be
			if i == 5 {
				s.depth = math.Ln2
			}
		}
		if got := s.Stats().Odds[b]; math.Abs(got-0.5) > 0.05 {
			t.Errorf("band %d: odds %v, want 0.5", b, got)
		}
	}
}

func TestReshapeShedder(t *testing.T) {
	s := shedder(t, defaults)
	for i := range mono.Time(20) {
		s.Tick(i*tenth, level(1))
	}
	before := s.Share()
	if s.Reshape(ShedConfig{}) == nil || s.Share() != before || s.config != defaults {
		t.Error("a faulty configuration was taken")
	}
	c := defaults
	c.Multipliers[High] = 0
	if err := s.Reshape(c); err != nil || s.Share() != before || s.Stats().Odds[High] != 0 || s.Stats().Odds[Low] == 0 {
		t.Errorf("%v, %+v", err, s.Stats())
	}
	c.Rate = 0
	if err := s.Reshape(c); err != nil || s.Stats() != (ShedStats{}) {
		t.Errorf("off: %v, %+v", err, s.Stats())
	}
	s.Tick(100*tenth, level(2))
	if s.Share() != 0 || s.Shed(Low, 0) {
		t.Error("off, and sheds")
	}
}

// TestShedBlind: when nothing is known it opens.
func TestShedBlind(t *testing.T) {
	s := shedder(t, defaults)
	for i := range mono.Time(20) {
		s.Tick(i*tenth, level(2))
	}
	before := s.Share()
	s.Tick(20*tenth, &Load{})
	if got := s.Share(); got >= before || got == 0 {
		t.Errorf("%v after %v", got, before)
	}
	for i := range mono.Time(200) {
		s.Tick((21+i)*tenth, &Load{})
	}
	if s.Share() != 0 {
		t.Errorf("still %v", s.Share())
	}
}

func TestShedFaults(t *testing.T) {
	f := func(want string, change func(*ShedConfig)) {
		t.Helper()
		c := defaults
		change(&c)
		if _, err := NewShedder(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", c, err, want)
		}
	}
	f("load_threshold is 0", func(c *ShedConfig) { c.Threshold = 0 })
	f("load_threshold is 1.1", func(c *ShedConfig) { c.Threshold = 1.1 })
	f("load_threshold is NaN", func(c *ShedConfig) { c.Threshold = math.NaN() })
	f("shedding_rate is -1", func(c *ShedConfig) { c.Rate = -1 })
	f("multiplier of level 2 is 1.5", func(c *ShedConfig) { c.Multipliers[Normal] = 1.5 })
	f("critical", func(c *ShedConfig) { c.Multipliers[Critical] = 0.1 })
	f("no priority level", func(c *ShedConfig) { c.Multipliers = [Bands]float64{} })
	g := func(want string, levels ...PriorityLevel) {
		t.Helper()
		if _, err := MultipliersOf(levels); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", levels, err, want)
		}
	}
	g("never shed", PriorityLevel{0, 0.5})
	g("level 4: 1 (high)", PriorityLevel{4, 0.5})
	g("level -1", PriorityLevel{-1, 0.5})
	g("level 2 is there twice", PriorityLevel{2, 0.5}, PriorityLevel{2, 0.6})
	m, err := MultipliersOf([]PriorityLevel{{3, 1}, {1, 0.1}})
	if err != nil || m != [Bands]float64{0, 0.1, 0, 1} {
		t.Errorf("%v, %v", m, err)
	}
}

// TestShedInvariants: whatever the load does, shares and odds are probabilities, critical is never shed, and who matters more is shed no more, and no band is
// shed whole.
func TestShedInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.Float64Range(0, 1)
		c := ShedConfig{Threshold: rapid.Float64Range(0.05, 1).Draw(t, "threshold"), Rate: unit.Draw(t, "rate")}
		c.Multipliers[High] = unit.Draw(t, "high")
		c.Multipliers[Normal] = max(c.Multipliers[High], unit.Draw(t, "normal"))
		c.Multipliers[Low] = max(c.Multipliers[Normal], rapid.Float64Range(0.001, 1).Draw(t, "low"))
		s, err := NewShedder(c)
		if err != nil {
			t.Fatal(err)
		}
		now := mono.Time(0)
		for range rapid.IntRange(1, 60).Draw(t, "ticks") {
			now = now.Add(time.Duration(rapid.Int64Range(-1e8, 5e8).Draw(t, "elapsed")))
			l := level(rapid.Float64Range(0, 3).Draw(t, "load"))
			if d := rapid.Float64Range(-1, 2).Draw(t, "delay"); d >= 0 {
				l.Parts[QueueDelay] = Part{Value: d, Load: d * 20, Raw: d * 20, On: true, Known: true}
			}
			for range rapid.IntRange(0, 50).Draw(t, "requests") {
				b := Band(rapid.IntRange(0, Bands-1).Draw(t, "band"))
				if s.Shed(b, rapid.Uint32().Draw(t, "roll")) && (b == Critical || c.Rate == 0) {
					t.Fatal("shed, of all")
				}
			}
			s.Tick(now, l)
			st := s.Stats()
			if !(st.Share >= 0 && st.Share <= maxOdds+1e-9) || st.Odds[Critical] != 0 || s.RetryAfter() < time.Second || s.RetryAfter() > maxRetry {
				t.Fatalf("%+v", st)
			}
			for b := High; b < Bands; b++ {
				if !(st.Odds[b] >= st.Odds[b-1] && st.Odds[b] <= maxOdds) || st.Share == 0 && st.Odds[b] != 0 {
					t.Fatalf("%+v with %v", st, c.Multipliers)
				}
			}
		}
	})
}

// TestShedConcurrently: what is shed is counted, while others tick, reshape and look.
func TestShedConcurrently(t *testing.T) {
	s := shedder(t, defaults)
	s.Tick(0, level(2))
	var shed atomic.Uint64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range uint32(20_000) {
				if s.Shed(Low, i*214_013) {
					shed.Add(1)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range mono.Time(200) {
			s.Tick(i*tenth, level(1))
			if err := s.Reshape(defaults); err != nil {
				t.Error(err)
			}
			_, _ = s.Stats(), s.RetryAfter()
		}
	})
	wg.Wait()
	if got := s.Stats().Shed; got != [Bands]uint64{Low: shed.Load()} || shed.Load() == 0 {
		t.Errorf("counted %v, was %d", got, shed.Load())
	}
}

func TestLoadAllocations(t *testing.T) {
	s, d, m, r := shedder(t, defaults), degrader(t, DegradeLevel{0.5, 1}), meter(t, LoadConfig{CPU: 1}), &Readings{}
	now := mono.Time(0)
	if n := testing.AllocsPerRun(100, func() {
		now += tenth
		l := m.Tick(now, r)
		s.Tick(now, &l)
		s.Shed(Low, 1)
		d.Tick(now, l.Pressure())
		_ = d.Active()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkShed(b *testing.B) {
	s := shedder(b, defaults)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for roll := uint32(0); pb.Next(); roll += 214_013 {
			s.Shed(Normal, roll)
		}
	})
}
