package gateway

import (
	"net/http"
	"strconv"
	"time"
)

// rest leaves the endpoint alone for as long as its 503 asks for. A 429 asks its client, not us.
func (x *Exchange) rest() {
	if v, ok := x.car.ResponseField("retry-after"); ok {
		if d, ok := parseRetryAfter(v, time.Now()); ok {
			x.lease.Rest(d, x.headAt)
			x.result.Rest = d > 0
		}
	}
}

// parseRetryAfter parses seconds or a date (RFC 9110, section 10.2.3).
func parseRetryAfter(v string, now time.Time) (time.Duration, bool) {
	if s, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(s) * time.Second, true
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	return max(0, t.Sub(now)), true
}
