package shaping

// aimd raises the limit by one per round trip until something is dropped, and takes a tenth away then: additive increase,
// multiplicative decrease.
//
// Good for an upstream that says itself when it has enough: by a fast 503, a full backlog, or a timeout that is short for its
// latency. It needs no latency at all, and several of them share an upstream fairly. Where it fails: an upstream that queues
// without dropping is filled up to Max; one that drops for other reasons, with probability p, is held at about sqrt(10/p)
// in flight, however much it could do; and it takes as many round trips to grow as it has seats to gain.
//
// Source: Chiu and Jain, Analysis of the Increase and Decrease Algorithms, 1989; the form is that of TCP Reno with a milder cut.
type aimd struct {
	bounds
	limit   int
	won     int // answers since the limit last moved
	backoff int // answers until the next Drop may count
}

func newAIMD(b bounds, initial int) *aimd { return &aimd{bounds: b, limit: initial} }

func (a *aimd) Limit() int { return a.limit }

// Observe does not allocate. A Success counts only if at least half of the limit was in use; as many as the limit raise it by one.
// One Drop counts per round trip, until as much as was in flight with it has ended.
func (a *aimd) Observe(o Observation) int {
	if o.Sample == Ignore {
		return a.limit
	}
	if a.backoff > 0 {
		a.backoff--
	}
	switch {
	case o.Sample == Drop && a.backoff == 0:
		a.limit, a.won = max(a.limit-(a.limit+9)/10, a.min), 0
		a.backoff = min(max(o.InFlight, 1), 2*a.max)
	case o.Sample == Success && o.InFlight >= (a.limit+1)/2:
		a.won++
		if a.won >= a.limit && a.limit < a.max {
			a.limit, a.won = a.limit+1, 0
		}
	}
	return a.limit
}

// Reshape is that of Reshaper.
func (a *aimd) Reshape(min, max int) error {
	b, err := newBounds(min, max)
	if err == nil {
		a.bounds = b
		a.limit, a.won = int(b.within(float64(a.limit))), 0
	}
	return err
}
