package gateway

import (
	"net/http"
	"strconv"
	"time"
)

// rest leaves the endpoint alone for as long as its 503, or its unavailable of gRPC, asks for. A 429 asks its client, not us.
func (x *Exchange) rest() {
	if x.result.code != noCode {
		if d, ok := x.endpointsPushback(); ok && d > 0 {
			x.lease.Rest(d, x.headAt)
			x.result.Rest = true
		}
		return
	}
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

// parsePushback parses the milliseconds of a grpc-retry-pushback-ms. What is negative or no number is never (gRFC A6).
func parsePushback(v string) time.Duration {
	ms, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return never
	}
	return time.Duration(ms) * time.Millisecond
}
