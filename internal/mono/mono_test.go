package mono

import (
	"testing"
	"time"
)

func TestAddSaturates(t *testing.T) {
	f := func(at Time, d time.Duration, want Time) {
		t.Helper()
		if got := at.Add(d); got != want {
			t.Errorf("%d.Add(%v) = %d, want %d", at, d, got, want)
		}
	}
	f(0, time.Second, 1e9)
	f(5, -3, 2)
	f(Never-1, time.Hour, Never)
	f(Never, time.Hour, Never)
	f(Never, 0, Never)
}

func TestNowNeverGoesBack(t *testing.T) {
	last := Now()
	for range 10_000 {
		now := Now()
		if now < last {
			t.Fatalf("went from %d to %d", last, now)
		}
		last = now
	}
}

func TestWallAgreesWithTheClock(t *testing.T) {
	if d := time.Since(Now().Wall()).Abs(); d > time.Minute {
		t.Errorf("off by %v", d)
	}
}
