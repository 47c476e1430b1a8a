package limiter

import (
	"testing"
	"time"
)

func waits(left int64, wait, reset time.Duration) Decision {
	return Decision{OK: true, Left: left, Wait: wait, Reset: reset}
}

func TestTableOfWaits(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	f := func(name string, spec Spec, lines []moment) {
		t.Helper()
		table(t, name, spec, Options{}, lines)
	}
	f("token bucket: in order, each when it would be admitted", Spec{Rate: Rate{1, s, 2}, MaxWait: 3 * s}, []moment{
		{0, 2, allowed(0, 2*s)},
		{0, 1, waits(0, 1*s, 3*s)},
		{100 * ms, 1, waits(0, 1900*ms, 3900*ms)},
		{100 * ms, 2, refuse(0, 900*ms, 3900*ms)}, // at 4 s, which is 3 s from 1 s on
		{1*s - 1, 2, refuse(0, 1, 3*s+1)},
		{1 * s, 2, waits(0, 3*s, 5*s)},
		{1 * s, 3, refuse(0, Never, 5*s)},
		{1 * s, -2, allowed(0, 3*s)},
		{4 * s, 2, allowed(0, 2*s)},
	})
	f("token bucket: thirds of a second", Spec{Rate: Rate{3, s, 1}, MaxWait: 1 * s}, []moment{
		{0, 1, allowed(0, 333_333_334)},
		{0, 1, waits(0, 333_333_334, 666_666_667)},
		{0, 1, waits(0, 666_666_667, 1*s)},
		{0, 1, waits(0, 1*s, 1_333_333_334)},
		{0, 1, refuse(0, 333_333_334, 1_333_333_334)},
	})
	f("token bucket: time goes back", Spec{Rate: Rate{1, s, 1}, MaxWait: 2 * s}, []moment{
		{10 * s, 1, allowed(0, 1*s)},
		{9 * s, 1, waits(0, 2*s, 3*s)}, // at 11 s
		{9 * s, 1, waits(0, 3*s, 4*s)}, // as from 10 s on
		{9 * s, 1, refuse(0, 2*s, 4*s)},
	})
	f("leaky bucket as a meter is a token bucket", Spec{Algorithm: LeakyBucket, Rate: Rate{1, s, 3}}, []moment{
		{0, 2, allowed(1, 2*s)},
		{0, 2, refuse(1, 1*s, 2*s)},
		{1 * s, 2, allowed(0, 3*s)},
	})
	f("leaky bucket: one by one", Spec{Algorithm: LeakyBucket, Rate: Rate{10, s, 5}, MaxWait: 1 * s}, []moment{
		{0, 1, allowed(4, 100*ms)},
		{0, 1, waits(3, 100*ms, 200*ms)},
		{0, 2, waits(1, 200*ms, 400*ms)},
		{0, 1, waits(0, 400*ms, 500*ms)},
		{0, 1, refuse(0, 100*ms, 500*ms)}, // the bucket is full
		{50 * ms, 6, refuse(0, Never, 450*ms)},
		{100 * ms, 1, waits(0, 400*ms, 500*ms)},
		{500 * ms, 1, waits(3, 100*ms, 200*ms)},
		{2 * s, 5, allowed(0, 500*ms)},
	})
	f("leaky bucket: a short wait, whatever room there is", Spec{Algorithm: LeakyBucket, Rate: Rate{1, s, 10}, MaxWait: 2 * s}, []moment{
		{0, 1, allowed(9, 1*s)},
		{0, 1, waits(8, 1*s, 2*s)},
		{0, 1, waits(0, 2*s, 3*s)}, // who comes next would wait 3 s
		{0, 1, refuse(0, 1*s, 3*s)},
		{1*s - 1, 1, refuse(0, 1, 2*s+1)},
		{1 * s, 1, waits(0, 2*s, 3*s)},
		{3 * s, 4, waits(0, 1*s, 5*s)},
	})
	f("adaptive is a token bucket", Spec{Algorithm: Adaptive, Rate: Rate{1, s, 1}, MaxWait: 1 * s}, []moment{
		{0, 1, allowed(0, 1*s)},
		{0, 1, waits(0, 1*s, 2*s)},
	})
}
