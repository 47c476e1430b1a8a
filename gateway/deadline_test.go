package gateway

import (
	"math"
	"testing"
	"time"

	"weir/internal/http1"
	"weir/internal/mono"
)

func TestParseTimeouts(t *testing.T) {
	grpc := func(s string, want time.Duration, ok bool) {
		t.Helper()
		if got, is := parseGRPCTimeout(s); got != want || is != ok {
			t.Errorf("grpc-timeout %q: %v %v, want %v %v", s, got, is, want, ok)
		}
	}
	grpc("1S", time.Second, true)
	grpc("250m", 250*time.Millisecond, true)
	grpc("99999999u", 99_999_999*time.Microsecond, true)
	grpc("7n", 7, true)
	grpc("2M", 2*time.Minute, true)
	grpc("99999999H", math.MaxInt64, true)
	for _, bad := range []string{"", "S", "1", "1s", "-1S", "+1S", "123456789S", "1.5S", "1 S", "0x1S"} {
		grpc(bad, 0, false)
	}
	plain := func(s string, want time.Duration, style timeoutStyle, ok bool) {
		t.Helper()
		if got, st, is := parseTimeout(s); got != want || st != style || is != ok {
			t.Errorf("X-Request-Timeout %q: %v %v %v, want %v %v %v", s, got, st, is, want, style, ok)
		}
	}
	plain("5", 5*time.Second, wholeSeconds, true)
	plain("2.5", 2500*time.Millisecond, decimalSeconds, true)
	plain("1.5s", 1500*time.Millisecond, seconds, true)
	plain("250ms", 250*time.Millisecond, millis, true)
	for _, bad := range []string{"", "0", "0s", "s", "ms", ".", "1.2.3", "-1", "1e9", "86401", "NaN", "Inf", "5m", "1h", "99999999999999999"} {
		plain(bad, 0, 0, false)
	}
}

// TestPatience: the sooner of the route's timeout and the client's counts, from the moment that the request came, and what is left is
// written as the client wrote it.
func TestPatience(t *testing.T) {
	f := func(timeout time.Duration, field, value string, waited time.Duration, due time.Duration, hasty bool, sent string) {
		t.Helper()
		x := &Exchange{route: &entry{timeout: timeout}, car: &question{header: map[string][]string{field: {value}}}, start: 1000, begun: mono.Time(1000).Add(waited)}
		x.setDue()
		want := mono.Time(0)
		if due != 0 {
			want = mono.Time(1000).Add(due)
		}
		if x.due != want || x.hasty != hasty {
			t.Errorf("%s: %s: due %v %v, want %v %v", field, value, x.due, x.hasty, want, hasty)
		}
		got := ""
		if x.patience.field != http1.Other {
			got = string(x.appendPatience(nil))
		}
		if got != sent {
			t.Errorf("%s: %s: sent on as %q, want %q", field, value, got, sent)
		}
	}
	f(30*time.Second, "X-Other", "1", 0, 30*time.Second, false, "")
	f(0, "X-Other", "1", 0, 0, false, "")
	f(30*time.Second, "X-Request-Timeout", "2", 500*time.Millisecond, 2*time.Second, true, "X-Request-Timeout: 2\r\n")
	f(30*time.Second, "X-Request-Timeout", "2.0", 500*time.Millisecond, 2*time.Second, true, "X-Request-Timeout: 1.500\r\n")
	f(0, "X-Request-Timeout", "2s", 250*time.Millisecond, 2*time.Second, true, "X-Request-Timeout: 1.750s\r\n")
	f(30*time.Second, "X-Request-Timeout", "200ms", 50*time.Millisecond, 200*time.Millisecond, true, "X-Request-Timeout: 150ms\r\n")
	f(time.Second, "X-Request-Timeout", "20s", 250*time.Millisecond, 1250*time.Millisecond, false, "X-Request-Timeout: 1.000s\r\n")
	f(30*time.Second, "Grpc-Timeout", "200m", 50*time.Millisecond, 200*time.Millisecond, true, "grpc-timeout: 150000u\r\n")
	f(30*time.Second, "Grpc-Timeout", "1S", 2*time.Second, time.Second, true, "grpc-timeout: 1000u\r\n")
	f(30*time.Second, "Grpc-Timeout", "soon", 0, 30*time.Second, false, "")
}
