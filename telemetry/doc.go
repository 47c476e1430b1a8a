// Package telemetry shows what a gateway does: metrics, the access log, trace context, the gateway's own log.
//
// # Metrics
//
// A [Hub] interns cells. A [Route], [Endpoint] or [PolicyCell] is looked up by name once, when a configuration is
// compiled, and then written with plain atomic additions: no label is resolved and nothing is allocated per request. The
// same name gives the same cell for as long as the configuration names it, so counters survive a reload; the Retain
// methods drop the cells of names that are gone, which bounds the number of series. What other packages count
// already is not counted again: [Sources] asks them at scrape.
//
// A duration is counted in one of 20 fixed buckets (50 µs to 60 s and beyond, in steps of 2 to 2.5, wider at the end) and
// added to a sum in whole microseconds, rounded: 64 bits of them last 58 years with 10,000 requests always in progress,
// where nanoseconds would wrap in three weeks. A histogram's count is the sum of the buckets as read, so a scrape is
// consistent in itself while writers go on.
//
// Series without an observation are not shown: a route has 60 pairs of method and class, and few of them happen.
//
// # Access log
//
// [AccessLog.Log] formats one JSON object into a scratch buffer and copies it into a bounded one; a goroutine swaps
// that for an empty one and writes it out, 100 ms after its first line or when it is half full. A request never waits for a disk or a pipe: when
// the writer can't keep up, lines are dropped and counted. Everything a client sent is escaped and cut to length, so that
// a line is one line, valid JSON and safe to show on a terminal.
//
// What this package deliberately does not do: export spans, keep series per key or client, rotate files (logrotate does,
// then [AccessLog.Reopen]), decide what a request meant.
package telemetry
