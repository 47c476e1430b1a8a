// Package gateway carries one exchange from bytes to bytes: it is the only package that knows HTTP, and the only one that
// knows the limiter, the gate and the balancer together.
//
// # Ledger, not onion
//
// A request passes through one straight-line function, [Gateway.serve]. Every stage is a method that returns a small
// value; whatever was acquired is written into the [Exchange]: the charge (limits), the seat (room in the pool), the
// lease (an endpoint and its breaker permit). One settle gives them back in reverse order, exactly once, from wherever
// the exchange really ends: refusal, end of the body, end of a tunnel, panic. There is no middleware, because the life of a
// permit is a fact about bytes, not about call frames.
//
// # Snapshot and live
//
// [Compile] turns a configuration into an immutable [Snapshot] without side effects; [Gateway.Install] stores one pointer.
// A request loads it once and never sees half of two configurations. What must outlive a reload (buckets, endpoints with
// their health and breakers, connections) stands in the live registry under its full identity: the same identity with new
// numbers is changed in place and keeps its state; a changed meaning is a new identity.
//
// # Carriers
//
// The pipeline speaks to a client through the carrier interface. HTTP/1 is the one carrier there is; the files edge_h1,
// target_h1, head_h1, forward_h1, upload_h1, stream_h1, feed and tunnel* are its; no other file reads or writes a client's
// bytes. A stream of HTTP/2 is to it a connection with one request: the files *_h2 make it one, towards clients and
// towards endpoints. A connection is one goroutine that reads a
// head, runs the pipeline, forwards, and streams the answer; it has no buffer while it is idle, and a second goroutine
// only while a request body streams, or for one way of a tunnel.
//
// # Cache
//
// A route's cache is asked after the limits and before the pool: [Gateway.fromCache] answers, or lets the exchange go on with a flight of
// package cache, which sees the head of the answer (deliver) and each piece of its body (fill), is committed (keep) before the client has the end,
// and aborted by settle in any other case. What it is shown of a request is what an endpoint gets: type outgoing.
//
// What it does not do: HTTP/3, priorities between the streams of one connection; tell other gateways of what a
// request made out of date, but for purges.
package gateway
