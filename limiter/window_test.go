package limiter

import (
	"testing"
	"time"

	"weir/internal/mono"
)

func TestTableOfWindows(t *testing.T) {
	const s = time.Second
	fixed := Spec{Algorithm: FixedWindow, Rate: Rate{N: 3, Per: 10 * s}}
	table(t, "fixed window", fixed, Options{}, []moment{
		{3 * s, 0, allowed(3, 0)},
		{3 * s, 2, allowed(1, 7*s)},
		{9 * s, 2, refuse(1, 1*s, 1*s)},
		{10*s - 1, 1, allowed(0, 1)},
		{10*s - 1, 1, refuse(0, 1, 1)},
		{10*s - 1, 4, refuse(0, Never, 1)},
		{10 * s, 3, allowed(0, 10*s)},     // 4 units in 1 ns: as doc.go says
		{9 * s, 1, refuse(0, 11*s, 11*s)}, // counts as 10 s
		{0, 0, allowed(0, 20*s)},
		{11 * s, -2, allowed(2, 9*s)},
		{20 * s, -1, allowed(3, 0)},
		{25 * s, 1, allowed(2, 5*s)},
	})
	table(t, "fixed window by the wall clock", fixed, Options{Epoch: int64(7 * s)}, []moment{
		{0, 3, allowed(0, 3*s)},
		{3*s - 1, 1, refuse(0, 1, 1)},
		{3 * s, 1, allowed(2, 10*s)},
	})
	table(t, "concurrency", Spec{Algorithm: Concurrency, Rate: Rate{N: 3}}, Options{}, []moment{
		{0, 0, allowed(3, 0)},
		{0, 2, allowed(1, Unknown)},
		{1000 * s, 2, refuse(1, Unknown, Unknown)},
		{0, 4, refuse(1, Never, Unknown)},
		{0, 1, allowed(0, Unknown)},
		{0, -1, allowed(1, Unknown)},
		{0, 1, allowed(0, Unknown)},
	})
}

func TestTableOfQuotas(t *testing.T) {
	const h, day = time.Hour, 24 * time.Hour
	f := func(name, period, place, start string, n int64, lines []moment) {
		t.Helper()
		loc := location(t, place)
		at, err := time.ParseInLocation("2006-01-02 15:04:05", start, loc)
		if err != nil {
			t.Fatal(err)
		}
		spec := Spec{Algorithm: Quota, Rate: Rate{N: n}, Calendar: Calendar{Period: period, Location: loc}}
		table(t, name, spec, Options{Epoch: at.UnixNano()}, lines)
	}
	f("a month of 29 days", "month", "UTC", "2024-02-01 00:00:00", 2, []moment{
		{0, 1, allowed(1, 29*day)},
		{29*day - 1, 1, allowed(0, 1)},
		{29*day - 1, 1, refuse(0, 1, 1)},
		{29 * day, 2, allowed(0, 31*day)},
		{0, 1, refuse(0, 60*day, 60*day)},
	})
	f("the year ends", "month", "Asia/Tokyo", "2026-12-31 23:00:00", 1, []moment{
		{0, 1, allowed(0, 1*h)},
		{1 * h, 1, allowed(0, 31*day)},
	})
	f("a day of 23 hours", "day", "America/New_York", "2026-03-08 00:00:00", 1, []moment{
		{0, 1, allowed(0, 23*h)},
		{23 * h, 1, allowed(0, 24*h)},
	})
	f("a day of 25 hours", "day", "America/New_York", "2026-11-01 00:00:00", 1, []moment{
		{0, 1, allowed(0, 25*h)},
		{25*h - 1, 1, refuse(0, 1, 1)},
		{25 * h, 1, allowed(0, 24*h)},
	})
	f("a week starts on Monday", "week", "UTC", "2026-11-29 23:00:00", 1, []moment{ // a Sunday
		{0, 1, allowed(0, 1*h)},
		{1 * h, 1, allowed(0, 7*day)},
	})
	f("an hour of India", "hour", "Asia/Kolkata", "2026-11-29 23:30:00", 1, []moment{
		{0, 1, allowed(0, h/2)},
		{h / 2, 1, allowed(0, 1*h)},
	})
}

// What was spent in a window or sub-window that is over comes back by itself, and a refund then takes nothing off what others spent;
// one in time takes it off where it was spent.
func TestLateRefund(t *testing.T) {
	f := func(a Algorithm, at [3]mono.Time, refund mono.Time, want int64, later mono.Time, wantLater int64) {
		t.Helper()
		l := newSpec(t, Spec{Algorithm: a, Rate: Rate{N: 10, Per: 60}, Parts: 6}, Options{})
		var c Charge
		c.Add(l, key(1), 3)
		c.Take(at[0])
		l.Take(key(1), 2, at[1])
		l.Take(key(1), 1, at[2])
		c.Refund(refund)
		if got, gotLater := l.Peek(key(1), 0, refund).Left, l.Peek(key(1), 0, later).Left; got != want || gotLater != wantLater {
			t.Errorf("%v: %d left, later %d; want %d, %d", a, got, gotLater, want, wantLater)
		}
	}
	f(FixedWindow, [3]mono.Time{0, 0, 59}, 59, 7, 60, 10)
	f(FixedWindow, [3]mono.Time{0, 60, 60}, 60, 7, 120, 10)
	f(FixedWindow, [3]mono.Time{0, 0, 60}, 61, 9, 120, 10)
	f(SlidingWindow, [3]mono.Time{0, 0, 5}, 60, 7, 70, 10)    // one sub-window
	f(SlidingWindow, [3]mono.Time{0, 10, 10}, 60, 7, 70, 7)   // the older of two
	f(SlidingWindow, [3]mono.Time{10, 0, 10}, 60, 7, 80, 10)  // counts as 10: the newer
	f(SlidingWindow, [3]mono.Time{0, 10, 20}, 60, 7, 80, 9)   // of a ring
	f(SlidingWindow, [3]mono.Time{0, 10, 20}, 70, 7, 80, 9)   // too late
	f(SlidingWindow, [3]mono.Time{0, 60, 60}, 70, 7, 130, 10) // too late
}

// A quota whose limit is raised keeps its window, even if the clock of who raised it was read before the window began.
func TestQuotaKeepsItsWindow(t *testing.T) {
	day := Calendar{Period: "day"}
	l := newSpec(t, Spec{Algorithm: Quota, Rate: Rate{N: 5}, Calendar: day}, Options{})
	midnight := mono.Time(24 * time.Hour)
	l.Take(key(1), 5, midnight)
	if err := l.SetSpec(Spec{Algorithm: Quota, Rate: Rate{N: 6}, Calendar: day}, midnight-5); err != nil {
		t.Fatal(err)
	}
	if d := l.Take(key(1), 2, midnight+1); d.OK || d.Left != 1 {
		t.Errorf("%+v", d)
	}
}

// What is given back in windows of another length comes back to nobody: it cannot be told from what others spent.
func TestRefundAfterWindowsChanged(t *testing.T) {
	f := func(a, b Spec, then mono.Time) {
		t.Helper()
		l := newSpec(t, a, Options{})
		var c Charge
		c.Add(l, key(1), 3)
		c.Take(50)
		if err := l.SetSpec(b, then); err != nil {
			t.Fatal(err)
		}
		l.Take(key(1), 3, then)
		was := l.Peek(key(1), 0, then)
		c.Refund(then)
		if is := l.Peek(key(1), 0, then); is != was {
			t.Errorf("%+v became %+v", was, is)
		}
	}
	window := func(a Algorithm, per time.Duration) Spec {
		return Spec{Algorithm: a, Rate: Rate{N: 10, Per: per}, Parts: 5}
	}
	f(window(FixedWindow, 10), window(FixedWindow, 12), 61) // both are window 5
	f(window(SlidingWindow, 10), window(SlidingWindow, 15), 62)
	quota := func(period string) Spec {
		return Spec{Algorithm: Quota, Rate: Rate{N: 10}, Calendar: Calendar{Period: period}}
	}
	f(quota("hour"), quota("day"), mono.Time(90*time.Minute)) // both start at 0
}
