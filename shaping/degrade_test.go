package shaping

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

func degrader(t *testing.T, levels ...DegradeLevel) *Degrader {
	t.Helper()
	d, err := NewDegrader(levels)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDegradeInTime is a table of time: every 100 ms the load, and the features that are off then.
func TestDegradeInTime(t *testing.T) {
	d := degrader(t, DegradeLevel{0.8, 1}, DegradeLevel{0.9, 2}, DegradeLevel{1, 4})
	now := mono.Time(0)
	f := func(ticks int, load float64, want uint32, from, to int) {
		t.Helper()
		for i := range ticks {
			now += tenth
			c := d.Tick(now, load)
			switch last := i == ticks-1; {
			case last && (d.Active() != want || c != (DegradeChange{from, to})):
				t.Fatalf("at %d: features %b, change %+v; want %b, %d to %d", now/tenth, d.Active(), c, want, from, to)
			case !last && c.From != c.To:
				t.Fatalf("at %d, too early: %+v", now/tenth, c)
			}
		}
	}
	f(2, 0.85, 0, 0, 0)
	f(1, 0.79, 0, 0, 0) // not 200 ms long
	f(3, 0.85, 1, 0, 1)
	f(20, 0.72, 1, 1, 1) // within the hysteresis
	f(3, 0.95, 3, 1, 2)
	f(10, 0.75, 3, 2, 2)
	f(1, 0.85, 3, 2, 2) // not a second long
	f(11, 0.75, 1, 2, 1)
	f(20, 0.75, 1, 1, 1)
	f(3, 1.2, 7, 1, 3) // both at once
	f(11, 0, 3, 3, 2)
	f(10, 0, 1, 2, 1) // one by one
	f(10, 0, 0, 1, 0)
	f(50, 0, 0, 0, 0)
	f(3, 0.85, 1, 0, 1)
	f(10, 0, 1, 1, 1) // what was before does not count
}

func TestDegradeAfterAPause(t *testing.T) {
	d := degrader(t, DegradeLevel{0.8, 1})
	d.Tick(0, 1)
	if c := d.Tick(mono.Time(time.Hour), 1); c.To != 0 {
		t.Error("nobody knows what the load was for an hour")
	}
	d.Tick(mono.Time(time.Hour)+tenth, 1)
	if c := d.Tick(mono.Time(time.Hour)+2*tenth, 1); c.To != 1 {
		t.Error("still off")
	}
}

func TestDegradeReshape(t *testing.T) {
	d := degrader(t, DegradeLevel{0.5, 1}, DegradeLevel{0.8, 2}, DegradeLevel{0.9, 4})
	for i := range mono.Time(4) {
		d.Tick(i*tenth, 0.85)
	}
	f := func(want uint32, levels ...DegradeLevel) {
		t.Helper()
		if err := d.Reshape(levels); err != nil || d.Active() != want {
			t.Errorf("%v: features %b, %v; want %b", levels, d.Active(), err, want)
		}
	}
	f(1|2, DegradeLevel{0.5, 1}, DegradeLevel{0.8, 2}, DegradeLevel{0.9, 4}) // the same
	f(1|8, DegradeLevel{0.4, 1}, DegradeLevel{0.7, 8}, DegradeLevel{0.85, 2})
	f(1, DegradeLevel{0.6, 1}, DegradeLevel{0.75, 2})
	f(0)
	if c := d.Tick(5*tenth, 1); c != (DegradeChange{}) {
		t.Errorf("%+v without levels", c)
	}
}

func TestDegradeFaults(t *testing.T) {
	f := func(want string, levels ...DegradeLevel) {
		t.Helper()
		if _, err := NewDegrader(levels); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", levels, err, want)
		}
	}
	f("degrade[0].at is 0", DegradeLevel{0, 1})
	f("degrade[1].at is 1.5", DegradeLevel{0.5, 1}, DegradeLevel{1.5, 1})
	f("degrade[1].at is 0.5 after 0.5", DegradeLevel{0.5, 1}, DegradeLevel{0.5, 2})
	f("degrade[0] does without nothing", DegradeLevel{0.5, 0})
	d := degrader(t, DegradeLevel{0.5, 1})
	if d.Reshape([]DegradeLevel{{2, 2}}) == nil || d.levels[0].At != 0.5 {
		t.Error("faulty levels were taken")
	}
}

// TestDegradeNeverFlaps: whatever the load does, a level is off for 200 ms before it is on and on for a second before it is off; levels go off one by one, a
// second apart; the highest that is on has seen its load.
func TestDegradeNeverFlaps(t *testing.T) {
	levels := []DegradeLevel{{0.5, 1}, {0.6, 2}, {0.95, 4}}
	rapid.Check(t, func(t *rapid.T) {
		d, err := NewDegrader(levels)
		if err != nil {
			t.Fatal(err)
		}
		now, restored := mono.Time(0), mono.Time(-1e10)
		var on, off [3]mono.Time
		for i := range off {
			off[i] = 0
		}
		on0, peak := 0, 0.0
		for range rapid.IntRange(1, 200).Draw(t, "ticks") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 4e8).Draw(t, "elapsed")))
			load := rapid.SampledFrom([]float64{0, 0.45, 0.51, 0.59, 0.7, 0.9, 1, 2}).Draw(t, "load")
			peak = max(peak, load)
			c := d.Tick(now, load)
			if c.From != on0 || c.To < c.From-1 || c.To > 0 && levels[c.To-1].At > peak {
				t.Fatalf("%+v", c)
			}
			for i := c.From; i < c.To; i++ {
				if on[i] = now; now.Sub(off[i]) < degradeAfter {
					t.Fatalf("level %d is on %v after it was off", i, now.Sub(off[i]))
				}
			}
			if c.To < c.From {
				if now.Sub(on[c.To]) < restoreAfter || now.Sub(restored) < restoreAfter {
					t.Fatalf("level %d is off too soon", c.To)
				}
				off[c.To], restored = now, now
			}
			on0 = c.To
		}
	})
}
