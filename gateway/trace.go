package gateway

import (
	"strings"

	"weir/telemetry"
)

// identify sets the request id and the trace context: those of a trusted proxy, else new ones.
func (x *Exchange) identify() {
	if x.trusted {
		if id, ok := x.car.Field("x-request-id"); ok && len(id) <= len(x.requestID) && plainID(id) {
			x.idLen = copy(x.requestID[:], id)
		}
	}
	if x.idLen == 0 {
		x.idLen = len(telemetry.AppendRequestID(x.requestID[:0]))
	}
	if tp, ok := x.car.Field("traceparent"); ok {
		x.traceID, x.parent, x.flags, x.traced = telemetry.ParseTraceparent(tp)
	}
	if !x.traced {
		x.traceID = telemetry.NewTraceID()
	}
}

// appendTrace appends the trace context for the upstream: the client's trace, or a new one that is not sampled here.
func (x *Exchange) appendTrace(b []byte) []byte {
	return telemetry.AppendTraceparent(b, x.traceID, telemetry.NewSpanID(), x.flags)
}

func plainID(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"\\;,", c) >= 0 {
			return false
		}
	}
	return s != ""
}
