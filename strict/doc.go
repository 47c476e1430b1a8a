// Package strict decides limits that must be exact across a fleet: in Redis, by its clock, one script for a whole chain.
//
// A [Store] is one Redis: a server, one that sentinels watch, or a cluster; it asks the servers which. A [Policy] is a limiter.Spec made
// ready. [Store.Take] spends the steps of a chain, all or none, and answers as package limiter does; [Store.Correct] and [Store.Release]
// settle later. With Redis away, Take fails at once with [ErrAway], and what happens then is the caller's.
//
// # The script
//
// chain.lua reads the bucket of every step, decides them in order on what it has read, and writes only if none but soft ones refused.
// Redis runs one script at a time, so the chain is atomic, and there is no moment at which others see half of it. Everything that can
// fail, reading a key of a foreign type or running out of memory, does so before the first write. The script leaves to the gateway
// what is not the decision: it returns the buckets as it found them, and Left, Wait, Retry and Reset are worked out of that here, in 128-bit
// arithmetic, by the same formulas as in package limiter. The tests hold both against each other.
//
// Time is the server's, in whole microseconds. If it steps back by d, what is owed is moved back by d: the step neither gives anything
// away nor locks anybody out. A step forward by d refills d's worth, as there is no monotonic clock to tell it from time. Failing over to a
// server with another clock is such a step.
//
// # Token and leaky bucket: why nothing is lost in float64
//
// The numbers of Lua are float64: whole ones are exact up to 2^53 = 9.007e15, and nothing else is relied on. A unit costs
// Per/N, which is per/num microseconds in lowest terms. An instant is the pair of whole microseconds and a fraction in ticks of 1/num:
//
//	us < 2^53      now is 1.8e15 (until 2055: 2.7e15); the bucket owes 2^61 ns = 2.31e15 at most, and a burst costs no more
//	               than that, so that now + owed + cost ≤ 7.3e15
//	frac < num     num ≤ 2^52, so that the sum of two fractions is below 2^53; NewPolicy refuses finer rates
//
// The script adds, subtracts and compares such pairs, and no more: the cost of n units and of the burst come from the gateway, exact. So the
// arrival time is the exact rational number that GCRA says (doc.go of package limiter derives it), whatever the rate and however long: in every
// interval T, by the server's clock, at most Burst + T·N/Per units are kept, and a key that always asks is given no unit less than that.
//
// When the numbers of a policy change, the units owed stay owed: multiplied by the ratio of the rates, rounded up by a relative 2^-40 and to a
// microsecond. They are not cut to a smaller burst, as package limiter does, for while gateways are being reloaded those of the old
// and of the new numbers take turns, and would give a burst away at each. A bucket that owes more than a much smaller limit
// is refused until that has worn down; [Store.Forget] ends it.
//
// A refund follows package limiter's derivation, with what was given back in all kept exactly, as a time: of what has refilled since, nothing
// comes back, and nothing that others who wait rely on. The Mark says under what the units were spent; after a change of the numbers, of the
// clock, or once the bucket was idle and forgotten, it means nothing and gives nothing back.
//
// # Windows, quotas, seats
//
// A fixed window and a quota keep the period's start and end with the count; windows are counted from 1970. The periods of a quota
// are a matter of calendars, so the gateway passes two that follow each other, by what it knows of the server's clock, and the
// server takes the one that is current. If neither is, it says so and how late it is, and is asked once more. Where a count is in a period
// that overlaps the current one without being it (the numbers changed, or the clock was set back) it is carried over.
//
// A sliding window is that of package limiter: Parts sub-windows, never more than N in any interval of Per, a unit is back Per to
// Per·(1 + 1/Parts) after it was spent. Instant t is in sub-window ⌊t·p/q⌋, in exact integers, which is why windows are of whole
// microseconds. A decision costs one HMGET, and one more of the cells that became old since the last; a refusal also looks for the
// sub-window whose end helps, Parts cells at worst. If the numbers change or the clock steps back, all that counts does so as spent now.
//
// A seat has a holder's name and expires with a lease, a minute by default, that its gateway renews three times as often. Seats of a gateway that
// crashed are free a lease later at the latest. If Redis forgets everything, the renewals tell it what is held. If it is away for longer
// than a lease, and comes back with what it knew, seats that are in use may be taken for free until the next renewal.
//
// Counts are below 2^52. Every key has an expiry: a bucket when it is full again, a window when it is over, seats with their lease; and a second.
//
// # Redis Cluster
//
// Keys are prefix:{group}:kind+policy:key, and the group chooses the slot. Without one the key itself does. Chains whose steps name one group, a
// user within a tenant within a plan that all name the tenant, stay one script; then the tenant's load is one node's.
//
// Steps in different slots are taken slot by slot, in the order of their first steps, each atomic in itself. Where one refuses, the
// earlier ones are given back before Take returns, under the marks they were spent with: exactly, but for what refilled for
// others in between. What this costs: until then, others see those units as spent, and may be refused for a chain that was refused
// itself; nothing is ever admitted too much. Plan what the fewest share first. If a node gives no answer, or the refund gets lost with it,
// the units of the earlier slots stay spent (Stats.Dropped counts it); for seats, until their lease is over. Each slot goes by its own node's clock.
//
// This package routes by itself, on clients of single servers, as the cluster client of go-redis sends a command again after a network
// error, when nobody knows whether it was spent. It follows MOVED and ASK, which are sent instead of an execution. While a node is down only its
// slots are; with cluster-require-full-coverage yes, the default of Redis, all are until the failover.
//
// # Under load, and away
//
// A call goes into its server's queue, from which four senders take what waits: one call when idle, with no delay, or up to 128 in one
// pipeline. Nothing is sent twice but to who said that it did not run it (NOSCRIPT, MOVED, ASK). The timeout covers queue and way.
// A queue holds 4096 calls, and one of corrections 8192; who finds it full fails, or is dropped, and counted.
//
// A breaker per server opens at three failures of batches in a row, or at the first if nobody listens or the server says that it cannot
// serve (LOADING, READONLY, OOM, NOAUTH, …). From then on calls fail without touching the network, and those in the queue too. One
// probe at a time, every 100 to 500 ms, runs the script for a write that changes nothing; when it succeeds the breaker closes. So an outage
// costs who is on the way one timeout at most, where few are on the way three in a row, and nobody else anything.
//
// ErrAway does not say that nothing was spent: the answer may be what got lost. At most the chain was, once. Seats of an answer that came too late
// are given back, and other units are not: the request may have been let in.
//
// What the user of the server needs: +evalsha +script|load +info +cluster|slots +del +get +set +time +hmget +hincrby +hset +hdel +pexpire
// +zscore +zrangebyscore +zadd +zrem on prefix:*, with sentinels +sentinel|masters there. Redis is 5 or newer, or Valkey.
//
// # What this package deliberately does not do
//
// It has no limit of its own for when Redis is away, no cache of refusals, and leases no tokens to gateways: every decision is a round trip. It
// does not wait for replicas: what a master had accepted and not passed on is spent anew after a failover, as Redis is
// configured. It has no adaptive limits, since every gateway finds its own rate. Corrections are best effort, lost ones are not sent
// again, since they may have arrived: a server that is away forgets some refunds and some late charges. It does not lock out who
// does not use it: who may write to the keys may change the limits. It knows no HTTP, configuration or metrics.
package strict
