package gateway

import (
	"testing"
	"time"
)

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := func(v string, want time.Duration, ok bool) {
		t.Helper()
		if got, is := parseRetryAfter(v, now); got != want || is != ok {
			t.Errorf("%q: %v %v, want %v %v", v, got, is, want, ok)
		}
	}
	f("0", 0, true)
	f("120", 2*time.Minute, true)
	f("Fri, 02 Jan 2026 03:04:15 GMT", 10*time.Second, true)
	f("Fri, 02 Jan 2026 03:00:00 GMT", 0, true)
	f("", 0, false)
	f("-1", 0, false)
	f("1.5", 0, false)
	f("99999999999", 0, false)
	f("soon", 0, false)
}
