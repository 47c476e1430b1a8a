package gateway

import (
	"math"
	"strconv"
	"strings"
	"time"

	"weir/internal/http1"
	"weir/internal/mono"
)

// How long a client waits, as it says itself, in one of two fields. What is left of that is told the endpoint in the same one.
const (
	grpcTimeout    = "grpc-timeout"      // gRPC over HTTP/2: up to eight digits and a unit
	requestTimeout = "x-request-timeout" // seconds, or a number with ms or s
)

// patience is how a client said how long it waits.
type patience struct {
	field http1.Known // Other: it did not
	style timeoutStyle
}

// timeoutStyle is how the number is written.
type timeoutStyle uint8

const (
	wholeSeconds timeoutStyle = iota
	decimalSeconds
	millis  // 250ms
	seconds // 1.5s
)

// setDue works out when the response's head must be there: by the route's timeout, or by what the client says if that is sooner.
func (x *Exchange) setDue() {
	x.due, x.hasty = 0, false
	if x.route.timeout > 0 {
		x.due = x.begun.Add(x.route.timeout)
	}
	d, ok := x.readPatience()
	if !ok {
		return
	}
	if due := x.start.Add(d); x.due == 0 || due < x.due {
		x.due, x.hasty = due, true
	}
}

// readPatience reads how long the client waits: the least, if it says so in both fields. What cannot be read is not there.
func (x *Exchange) readPatience() (d time.Duration, ok bool) {
	if v, has := x.car.Field(grpcTimeout); has {
		if d, ok = parseGRPCTimeout(v); ok {
			x.patience = patience{field: http1.GRPCTimeout}
		}
	}
	if v, has := x.car.Field(requestTimeout); has {
		if e, s, good := parseTimeout(v); good && (!ok || e < d) {
			d, ok = e, true
			x.patience = patience{http1.XRequestTimeout, s}
		}
	}
	return d, ok
}

// impatient reports whether an attempt ended in vain because the client waits for less than the route allows: that says nothing about the
// endpoint. An endpoint that was told when may say so itself, or reset the stream.
func (x *Exchange) impatient(r *Result) bool {
	if !x.hasty {
		return false
	}
	switch r.Fault {
	case NoFault:
		return r.code == codeDeadlineExceeded
	case FaultReset:
		return x.patience.field == http1.GRPCTimeout && x.headAt >= x.due
	}
	return r.Fault == FaultTimeout && x.headAt >= x.due
}

// overdue reports that it is too late to begin.
func (x *Exchange) overdue() bool { return x.hasty && x.due <= x.begun }

// tooLate is the verdict then.
var tooLate = Verdict{Reason: UpstreamTimeout, Detail: "the time that the client waits was over before an endpoint was asked"}

var grpcUnits = map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond}

// parseGRPCTimeout parses a grpc-timeout. More than a Duration holds is the longest one.
func parseGRPCTimeout(s string) (time.Duration, bool) {
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	unit, ok := grpcUnits[s[len(s)-1]]
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if err != nil || !ok {
		return 0, false
	}
	if n > uint64(math.MaxInt64/unit) {
		return math.MaxInt64, true
	}
	return time.Duration(n) * unit, true
}

// parseTimeout parses an X-Request-Timeout: 5, 2.5, 2.5s, 250ms; a day at most.
func parseTimeout(s string) (time.Duration, timeoutStyle, bool) {
	unit, style := float64(time.Second), wholeSeconds
	number := s
	if rest, ok := strings.CutSuffix(s, "ms"); ok {
		number, unit, style = rest, float64(time.Millisecond), millis
	} else if rest, ok := strings.CutSuffix(s, "s"); ok {
		number, style = rest, seconds
	} else if strings.IndexByte(s, '.') >= 0 {
		style = decimalSeconds
	}
	if len(number) == 0 || len(number) > 16 || strings.Trim(number, "0123456789.") != "" {
		return 0, 0, false
	}
	f, err := strconv.ParseFloat(number, 64)
	d := time.Duration(f * unit)
	if err != nil || f*unit > float64(24*time.Hour) || d == 0 { // which is no limit to some, and none to us
		return 0, 0, false
	}
	return d, style, true
}

// appendPatience appends the field with what is left, a millisecond at least, unless the route removes or sets it.
func (x *Exchange) appendPatience(b []byte) []byte {
	left := max(time.Millisecond, x.due.Sub(x.begun)) // none is no limit to some
	if x.patience.field == http1.GRPCTimeout {
		if x.route.request.drops([]byte(grpcTimeout)) {
			return b
		}
		b = appendGRPCTimeout(append(b, "grpc-timeout: "...), left)
	} else {
		if x.route.request.drops([]byte(requestTimeout)) {
			return b
		}
		b = appendTimeout(append(b, "X-Request-Timeout: "...), left, x.patience.style)
	}
	return append(b, "\r\n"...)
}

func appendGRPCTimeout(b []byte, d time.Duration) []byte {
	const most = 99_999_999
	for _, u := range [...]struct {
		sign byte
		unit time.Duration
	}{{'u', time.Microsecond}, {'m', time.Millisecond}, {'S', time.Second}, {'M', time.Minute}} {
		if n := d / u.unit; n <= most {
			return append(strconv.AppendInt(b, int64(n), 10), u.sign)
		}
	}
	return append(strconv.AppendInt(b, int64(d/time.Hour), 10), 'H')
}

// appendTimeout writes d as the client wrote its own: endpoints that understand that understand this.
func appendTimeout(b []byte, d time.Duration, style timeoutStyle) []byte {
	switch style {
	case wholeSeconds: // up: a request of 1 s must not become one of none
		return strconv.AppendInt(b, int64((d+time.Second-1)/time.Second), 10)
	case millis:
		return append(strconv.AppendInt(b, d.Milliseconds(), 10), "ms"...)
	}
	b = strconv.AppendFloat(b, float64(d.Milliseconds())/1000, 'f', 3, 64)
	if style == seconds {
		b = append(b, 's')
	}
	return b
}

// waitUntil is until when a request may wait for a seat.
func (x *Exchange) waitUntil() mono.Time {
	if x.due == 0 {
		return mono.Never
	}
	return x.due
}
