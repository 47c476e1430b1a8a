package gateway

import (
	"encoding/hex"

	"weir/internal/mono"
	"weir/telemetry"
)

// account counts a settled exchange and writes its log line.
func (g *Gateway) account(x *Exchange, end mono.Time) {
	took := end.Sub(x.start)
	cell := x.snap.noRoute
	if x.route != nil {
		cell = x.route.cell
	}
	cell.Observe(telemetry.MethodOf(x.car.Method()), x.answered, took, x.bytesIn, x.bytesOut)
	reason := x.verdict.Reason
	if reason != Pass {
		g.refusals[reason].Inc()
	}
	failed := reason != Pass
	if x.code.known() {
		cell.ObserveGRPC(x.code.number())
		failed = failed || x.code.fails()
	}
	if log := g.access.Load(); log != nil && (x.off&noAccessLog == 0 || failed || x.answered >= 500) && log.Wants(x.answered, failed || x.responseFailed != "") {
		g.logLine(x, end, log)
	}
}

func (g *Gateway) logLine(x *Exchange, end mono.Time, log *telemetry.AccessLog) {
	e := telemetry.Entry{
		Start: x.start.Wall(), Duration: end.Sub(x.start),
		Method: x.car.Method(), Host: x.car.Host(), Path: x.car.Path(), Query: x.car.RawQuery(), Proto: x.car.Proto(),
		Status: x.answered, Route: x.routeName(), Endpoint: x.endpoint, Reason: x.verdict.Reason.String(),
		Client: x.peer, BytesIn: x.bytesIn, BytesOut: x.bytesOut, Attempts: x.tries, TLS: x.secure,
		Error: x.result.Error,
	}
	if x.headAt > 0 && x.result.Fault == NoFault {
		e.Upstream = x.headAt.Sub(x.start)
	}
	if e.GRPC = x.code.known(); e.GRPC {
		e.GRPCStatus = x.code.number()
	}
	e.Queue, e.Limit = x.queued, x.waited
	if x.priority != normal {
		e.Priority = x.priority.String()
	}
	if x.cached != nil {
		e.Cache = cacheResultNames[x.cached.result]
	}
	if x.conf != nil {
		e.Pool = x.conf.name
	}
	if x.verdict.Policy != nil {
		e.Policy = x.verdict.Policy.name
	}
	e.MessagesIn, e.MessagesOut, e.CloseCode, e.Ended = x.messagesIn, x.messagesOut, x.closeCode, x.ended.String()
	if x.responseFailed != "" {
		e.Error = x.responseFailed
	}
	e.UserAgent, _ = x.car.Field("user-agent")
	e.Referer, _ = x.car.Field("referer")
	var trace [32]byte
	if x.idLen > 0 {
		hex.Encode(trace[:], x.traceID[:])
		e.TraceID = view(trace[:])
		e.RequestID = view(x.requestID[:x.idLen])
	}
	log.Log(&e)
}
