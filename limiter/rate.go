package limiter

import (
	"fmt"
	"math"
	"math/bits"
	"time"
)

// Never is the Retry of a request that no wait can help: it asks for more than there ever is.
const Never time.Duration = math.MaxInt64

// Unknown is the Retry and Reset of what comes back when others are done, and nobody knows when that is.
const Unknown time.Duration = -1

// maxRefill is the longest time a bucket may take from empty to full: 2^61 ns, 73 years. It keeps every sum of an
// instant (up to 146 years after the start) and two refills within an int64.
const maxRefill = 1 << 61

// Rate is N units every Per, with up to Burst units at once. It is the exact rational N/Per, never divided beforehand:
// 7 a second stays 7 a second, not one every 142,857,142 ns.
type Rate struct {
	N     int64         // units, at least 1
	Per   time.Duration // at least 1 ns
	Burst int64         // units, at least 1
}

// Validate reports what makes r no rate: a field below 1, or a bucket that would take longer than 73 years to refill.
func (r Rate) Validate() error {
	switch {
	case r.N < 1:
		return fmt.Errorf("rate of %d units: at least 1 is needed", r.N)
	case r.Per < 1:
		return fmt.Errorf("rate per %v: a positive time is needed", r.Per)
	case r.Burst < 1:
		return fmt.Errorf("burst of %d units: at least 1 is needed", r.Burst)
	}
	hi, lo := bits.Mul64(uint64(r.Burst), uint64(r.Per))
	if hi < uint64(r.N) {
		if ns, _ := bits.Div64(hi, lo, uint64(r.N)); ns <= maxRefill {
			return nil
		}
	}
	return fmt.Errorf("burst of %d units at %d per %v takes more than 73 years to refill", r.Burst, r.N, r.Per)
}

// Decision is a limiter's answer.
type Decision struct {
	OK    bool          // the units were (Peek: would be) spent
	Left  int64         // units that could be spent at once after this answer; 0 if more is owed than there is
	Wait  time.Duration // if OK: the request must not go on before; at most Spec.MaxWait
	Retry time.Duration // how long until the same request succeeds if nobody else spends; 0 if OK, Never, or Unknown
	Reset time.Duration // how long until nothing is owed if nobody spends; 0 if so; Unknown for Concurrency in use
}
