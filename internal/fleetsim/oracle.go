package fleetsim

import "math"

// Oracle is the ideal: one limiter that sees every request when it happens.
type Oracle struct {
	limit     Limit
	level     float64 // TokenBucket: tokens at t
	at        Time
	epoch     int64   // windows: the current one
	cur, prev float64 // windows: used in it and in the one before. Concurrency: cur is in use
}

// NewOracle returns an oracle with nothing used at instant 0.
func NewOracle(l Limit) *Oracle { return &Oracle{limit: l, level: l.Burst} }

// Avail returns what may be admitted at t. Time must not go back between calls.
func (o *Oracle) Avail(t Time) float64 {
	switch o.limit.Kind {
	case TokenBucket:
		o.level = math.Min(o.limit.Burst, o.level+seconds(t-o.at)*o.limit.Rate)
		o.at = t
		return o.level
	case SlidingWindow, FixedWindow:
		o.roll(t / o.limit.Window)
	case Concurrency:
	}
	used := o.cur
	if o.limit.Kind == SlidingWindow {
		used += o.prev * (1 - float64(t%o.limit.Window)/float64(o.limit.Window))
	}
	return o.limit.Max - used
}

func (o *Oracle) roll(epoch int64) {
	if epoch > o.epoch {
		o.prev = 0
		if epoch == o.epoch+1 {
			o.prev = o.cur
		}
		o.cur, o.epoch = 0, epoch
	}
}

// Allow decides a request.
func (o *Oracle) Allow(t Time, n int) bool {
	if o.Avail(t)+1e-9 < float64(n) {
		return false
	}
	o.Force(t, n)
	return true
}

// Force admits a request whatever is available, and returns what is available then. That is negative when what has
// been forced so far goes against the limit: by so much it exceeds what the limit allows in the worst window of any
// length that ends now.
func (o *Oracle) Force(t Time, n int) float64 {
	left := o.Avail(t) - float64(n)
	if o.limit.Kind == TokenBucket {
		o.level = left
	} else {
		o.cur += float64(n)
	}
	return left
}

// Release gives n seats back.
func (o *Oracle) Release(n int) { o.cur -= float64(n) }
