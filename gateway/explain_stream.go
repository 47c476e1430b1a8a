package gateway

import (
	"fmt"
	"time"
)

// ExplainedStream is what becomes of answers and tunnels that go on for long.
type ExplainedStream struct {
	Seat     string `json:"seat"`         // until when a request has one
	Idle     string `json:"idle_timeout"` // without a byte
	Lifetime string `json:"max_lifetime"`
}

// stream says what the route and its pool say of answers that go on for long; of a request that asks for a tunnel, what they and the
// listener say of that.
func (e *Explanation) stream(x *Exchange) {
	r := x.route
	if len(r.targets) == 0 {
		return
	}
	tunnel := x.car.Upgrades()
	s := &ExplainedStream{Seat: "until the answer is sent", Lifetime: orNone(r.lifetime)}
	switch {
	case tunnel:
		s.Seat = "until the 101; then one of the pool's tunnels"
	case !r.hold:
		s.Seat = "until the answer begins"
	}
	switch {
	case r.idle >= 0:
		s.Idle = orNone(r.idle)
	case tunnel:
		s.Idle = "as its listener's limits.idle_timeout"
	default:
		s.Idle = fmt.Sprintf("%s, as its pool says", orNone(r.targets[0].pool.idle))
	}
	e.Stream = s
}

// orNone is d in words.
func orNone(d time.Duration) string {
	if d <= 0 {
		return "none"
	}
	return d.String()
}
