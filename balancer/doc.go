// Package balancer picks an endpoint that is well, and learns from what happened.
//
// A [Pool] holds endpoints. An exchange takes a [Lease] of one for one attempt, reports at the response's header how it went,
// and gives it back at the last byte. Of what began well it may still tell that it broke. Reports move three things, each with
// its own reach: the latency average that P2C compares, passive health, which ejects an endpoint, and the [Breaker], which
// refuses it.
//
// # What is picked from
//
// Leases read an immutable view behind one atomic pointer. It is replaced when membership or health changes, and holds two
// tiers: the endpoints that are preferred and the others that are well. Our zone is preferred while at least 70 % of its
// endpoints are usable; otherwise, or in panic, all are one tier. A lease looks for an endpoint that the exchange has not
// tried, that has room and whose breaker would permit, in the first tier, then in the second, and then again among the tried.
// Consistent hashing works on all members, well or not, with health as a filter, so that an endpoint's illness moves only its
// own keys.
//
// # Who is well
//
// An endpoint is in one of five states. Draining: an operator said so. Unhealthy: probes said so. Ejected: requests said so,
// for a while. Resting: it asked for it itself, for a while. Healthy: none of these.
//
// A new endpoint counts as healthy and is probed at once. As in Envoy and HAProxy, the first probe decides alone: one failure
// with no history makes it unhealthy. From then on Fall bad probes in a row make it unhealthy and Rise good ones healthy.
// While a state is in doubt (a count has begun, or it went down less than five intervals ago) probes come at a tenth of the
// interval, like HAProxy's fastinter; a Fault of a request asks for a probe at that pace, too. So with an interval of 2 s and
// Fall 3 an endpoint that refuses connections is out 0.4 to 0.6 s after the first request that met it, and one that comes
// back is in use within one interval. Otherwise the interval is jittered to 70 to 90 %, which leaves room for the Rise.
//
// Passive health ejects after ConsecutiveFailures, or when ErrorRate of at least MinRequests reports of the last 10 s are
// bad. Ejections in a row (back for less time than the last one lasted) last Eject × 1, 2, 4, 8, 10. At most MaxEject of the
// pool is out at once, but always one may be, and never the last healthy one: a pool of one endpoint is left to its breaker.
// If probes or an operator take the rest away, the ejected are used.
//
// An endpoint that asks for a rest (an answer with Retry-After) is not ill: it is left alone for as long as it asks, 10 s at most,
// within what MaxEject leaves beside the ejected. One that is well and awake always remains, and a rest yields to need: it ends if
// none would remain, or in panic, and while the breakers of all others are open those that rest are leased.
//
// Panic begins when fewer than the Panic share, but some, are healthy: then all that are not draining are used, since too
// few would drown in the load of all. When probes find none healthy there is nothing to gain from trying, and Lease
// says NoEndpoint at once, with or without Panic.
//
// A failed probe followed by Rise good ones is a recovery: it ends an ejection and half opens an open breaker, so that a long
// breaker timeout does not outlast a short fault. Good probes alone do not: what fails requests but not probes keeps its
// timeout.
//
// # What peers say
//
// Gateways may tell each other whose breaker is open ([Pool.AppendBreakers], [Pool.Hear]). While one says so, a quarter of
// FailureThreshold opens ours, so that a fleet does not pay the threshold once a node. It is a hint, never a command: a breaker
// opens by failures that it saw itself, and ends its waiting by its own trials, whatever peers say. A liar gains no more than that
// a quarter suffices; with a threshold under 8 that is one failure.
//
// # Slow start
//
// An endpoint that joins, or returns from ill health, ejection or draining, has 10 % of its weight at first and all of it
// after SlowStart, linear in time. A pool's first endpoints begin at full weight. P2C and LeastRequests divide their cost by
// the ramp; RoundRobin, Weighted and Random accept a pick with that probability. RingHash and Maglev ignore it: moving keys
// twice would cost more than it saves.
//
// # Algorithms
//
// P2C: Mitzenmacher's two choices by Finagle's PeakEwma. Weighted: the static stride scheduler of gRPC. RingHash: bounded
// loads of Mirrokni, Thorup and Zadimoghaddam. Maglev: Eisenbud et al. Retry budget: Finagle's RetryBudget. Each is described
// where it is written. Hashes of addresses are the same in every process, so gateways of one configuration agree.
//
// # Time and locks
//
// Instants are arguments; only [Pool.Run], [Pool.Drain] and [Pool.Ready] read Hooks.Now. Ejections and rests end by the clock of
// leases, without Run. Membership is changed under one mutex and health under another; both are cold. No hook but Attach is
// called with either held.
//
// # What it does not do
//
// It opens no connections, sends no probes and resolves no names itself: hooks do. It does not queue a lease that finds no
// room, decide whether an attempt may be repeated, or know what a status code means. Of health only open breakers are told to
// other gateways, by whoever carries the words: there is no wire format here. SRV records and weights by DNS are not read.
package balancer
