// Package mono has monotonic instants, so that a jump of the wall clock changes no decision.
//
// A [Time] counts nanoseconds since this process started. It never crosses the wire and never reaches a disk: another
// process has another origin. Floor-1 packages (limiter, shaping, balancer) take one as an argument and read no clock.
package mono

import "time"

// Time is an instant in nanoseconds since the process started. The zero value is the start itself.
type Time int64

// Never is later than every instant that Now returns.
const Never Time = 1<<63 - 1

var origin = time.Now()

// Now reads the monotonic clock. It costs about 20 ns and does not allocate.
func Now() Time { return Time(time.Since(origin)) }

// Add returns t+d, or Never if that overflows.
func (t Time) Add(d time.Duration) Time {
	s := t + Time(d)
	if d > 0 && s < t {
		return Never
	}
	return s
}

// Sub returns the time elapsed from u to t; negative if u is later.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Wall returns t as wall-clock time, for logs and for people only.
func (t Time) Wall() time.Time { return origin.Add(time.Duration(t)) }
