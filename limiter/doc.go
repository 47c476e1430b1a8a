// Package limiter decides whether a key may spend n units now, and what remains.
//
// A [Limiter] is one policy: a [Rate] and one bucket per [Key]. A [Charge] spends at several limiters at once, all or
// nothing. Time is an argument; the package reads no clock. The one algorithm of this version is the token bucket.
//
// # Arithmetic
//
// The token bucket is kept as GCRA (ITU-T I.371, Annex A, virtual scheduling). With the rate N/Per, one unit refills in
// I = Per/N, the burst B in B·I. The state is the theoretical arrival time TAT, the instant at which the bucket is full
// again; what is owed at now is (TAT − now)/I units if TAT is later, else nothing. To spend n units at now:
//
//	TAT' = max(TAT, now) + n·I          refuse if TAT' > now + B·I, else TAT = TAT'
//	Left = ⌊(now + B·I − TAT)/I⌋        Retry = ⌈TAT' − B·I⌉ − now         Reset = ⌈TAT⌉ − now
//
// Nothing is rounded. With N and Per (in ns) divided by their greatest common divisor, I is a whole number of ticks of
// 1/N ns, now is a whole number of ns, and so TAT is ns + f/N with 0 ≤ f < N: two words, products and quotients of 128 bits.
// One word would not do: a bucket of 999,983 per month has 2^71 different states. The results Left, Retry and Reset are
// whole units and nanoseconds, rounded to the side that keeps the promise: Retry is the first nanosecond at which the
// request succeeds, Reset the first at which the bucket is full.
//
// Bound. Let the requests admitted at t1 ≤ … ≤ tk spend n1 … nk. The first leaves TAT ≥ t1 + n1·I, every next one adds
// ni·I at least, and the last left TAT ≤ tk + B·I. So over every interval T = tk − t1
//
//	n1 + … + nk ≤ B + T·N/Per           exactly, with no term of error,
//
// and as nothing is rounded up either, a key that always asks is given ⌊B + T·N/Per⌋ since its bucket was full: not one
// unit less, however long. Three things need a word:
//
//   - Order. Concurrent callers read the clock before they get here, so that now may go back. A bucket remembers the
//     instant of its last change, and an earlier now counts as that one: the bound holds over the instants that count,
//     and a busy key does not lose by a race. (Plain GCRA would refuse at 1 M/s with a small burst.)
//   - Refunds. The bound is over what was spent and kept. A refund takes n·I off TAT, at most down to now. If a bucket was
//     full between a spending and its refund, the refund helps what was spent since.
//   - A changed rate. See [Limiter.SetRate]: what is owed stays owed, in units.
//
// # Memory
//
// A limiter's buckets are in shards (4 per processor, at least 64), each a compact hash table under a mutex: entries of 40 bytes (key,
// last change, TAT) are dense and never move, an index of 4-byte cells with an 8-bit tag is open addressing over them. A
// key costs 46 to 52 bytes, and when cold two cache misses, in a very large table three.
//
// A mutex, not a compare-and-swap of the TAT: exact state is two words, and converting a shard to a new rate is one
// critical section. Measured on 2 processors a decision takes 25 to 35 ns, and 30 to 60 ns with two threads on one key. A
// waiter sleeps rather than spin on a holder that the system took off its processor. That there are many shards also keeps
// short the pauses in which one fills a grown index or changes its rate: under 1 ms at 1 M keys. They are not padded to
// cache lines: that showed no gain.
//
// The bound of bytes is hard. A bucket that is full again is the same as none, so its slot goes to the next newcomer;
// 16 entries are looked at, in turn, before a shard grows. A bucket that owes anything is never evicted. A newcomer that
// finds no room spends from a bucket that the shard's unknown keys share, of the same rate: conservative, for they may
// refuse each other (Stats.Overflow counts how often it paid). When room appears, a newcomer's own bucket starts as full
// as the shared one is, so that what it spent there is not forgotten and the bound above holds for every key, always, in a
// flood too. The price: after a flood newcomers start with less than a full bucket until the shared one has refilled.
// Keys are keyed hashes, so that a client can neither aim at a shard nor at another's bucket.
//
// # What this package deliberately does not do
//
// It knows no HTTP, configuration, metrics or clock. It has no sliding window, fixed window, leaky bucket, quota,
// concurrency or adaptive algorithm: each will be a file beside gcra.go with its own state and decide, and the table will
// hold it as it holds the bucket now. It shares nothing with other processes: a replica will read and merge what shards
// hold. It knows no levels: a hierarchy is the order of a Charge's steps. It gives no memory back when keys fall idle; the
// slots are used again.
package limiter
