// Package limiter decides whether a key may spend n units now, and what remains.
//
// A [Limiter] is one policy: a [Spec] and one bucket per [Key]. A [Charge] spends at several limiters at once, all or
// nothing. Time is an argument; the package reads no clock.
//
// # Token bucket, leaky bucket, adaptive
//
// These are kept as GCRA (ITU-T I.371, Annex A, virtual scheduling). With the rate N/Per, one unit refills in
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
//   - Refunds. The bound is over what was spent and kept; Refunds, below, says how much of a refund comes back. What is charged
//     afterwards ([Charge.Correct]) is charged whatever is left: the bucket then owes more than its burst, and the bound holds with
//     that much more.
//   - A changed rate. See [Limiter.SetSpec]: what is owed stays owed, in units.
//
// With MaxWait, a request that finds too little is let in ahead of time if TAT' − B·I − now ≤ MaxWait, and told to Wait that long.
// Requests then go on in the order in which they came, each at the instant at which it would have been admitted, so that the bound
// holds over the instants at which they go on (by a clock: to the nanosecond, up to which Wait is rounded). Retry is when a request would be let in, to wait or not.
//
// Refunds. What is owed is a line of places, one a spending, of ni·I each; the last ends at TAT, the first is worn down by time. Let gi be
// the instant at which request i goes on and ei where its place ends. All of the above follows from ej ≥ gi + (ni + … + nj)·I for all
// i ≤ j, of what is kept. To take r off place i moves it and all behind up by r, and so keeps this if
//
//	r ≤ ei − now          what has refilled is not given again; then it holds for all j behind that have gone on, as gj ≤ now
//	r ≤ B·I − nj·I − Dj   for all j behind that still wait: gj = ej − B·I when it came, and it has moved up by Dj since
//	r = 0                 if one behind waits in a leaky bucket: there gj = ej − nj·I
//
// A spending remembers TAT after it, its mark M, and how many units G the bucket had counted as given back; the bucket adds to G what is
// given to a place that is not the last, or to part of the last that still waits, rounded up to a unit, or to more where the fraction of
// TAT leaves few bits: to 1/512 of the burst at most, if N has up to 52 bits. With D the growth of G since, in time: ei ≥ M − D, and ei ≥ ti + ni·I as a place
// begins no sooner than now; e, the later of both, stands for ei. TAT − e is at least what was spent behind, so r ≤ B·I − (TAT − e) − D does for
// those that wait, and none does if TAT + D ≤ now + B·I or MaxWait is 0. This is
// exact for the last of the line: who leaves the end of a queue leaves nothing behind. It is exact for a refund at the instant of the
// spending where nobody waits, and so for refused chains, however they overlap. Else less may come back than could, but nothing too much: of n units let in
// at t at least n − (now − t)·N/Per come back where nobody waits; of one with others waiting behind it nothing does with a burst of 1, the
// slot passes unused. A change of rate voids all marks: what is in flight then gives nothing back.
// A bucket that gave way to another's passes on its G, to the bucket of unknown keys.
//
// The leaky bucket is the same meter, so with MaxWait 0 it gives the same answers. With MaxWait it makes the output smooth: a
// request goes on when all that came before it has leaked out, at max(TAT, now), so two of them never go on within n·I of each
// other, whatever the burst; B bounds what the bucket holds, and who finds it full, or would wait too long, is refused.
//
// Adaptive is a token bucket whose rate somebody sets again and again to [Rate.Scaled] by the Factor of an [Adaptation]. With
// x = ln Factor, one step is x' = x + g·(aim(p) − x), g ≤ 0.1, and p, the pressure, grows with x: where p is in proportion to the
// limit, dp/dx = p ≤ 1. The steepest part of aim is ln 4/0.3 per unit of p, so the loop's gain is k ≤ 4.62. A fixed point is stable
// if |1 − g(1+k)| < 1, that is g < 0.35; if p is seen one interval late (z² − (1−g)z + gk), if g·k < 1, that is g < 0.21; if two
// late (z³ − (1−g)z² + gk), if gk·(1−g+gk) < 1, that is g < 0.14. With 0.1 noise is damped too, at the price of 10 intervals
// to go ⅔ of the way.
//
// # Sliding window
//
// Time is cut into sub-windows of Per/Parts, counted from 1970 (in exact 128-bit arithmetic, they need not be whole ns). What counts at
// an instant is what was spent in its sub-window and in the Parts before it, n units are admitted if that and n is at most N. So
//
//   - in no interval of length Per is more than N admitted: it touches Parts+1 sub-windows at most. There is no error upwards.
//   - a unit comes back between Per and Per·(1 + 1/Parts) after it was spent: this is the error of the granularity. A key
//     that asks all the time for more than it may have is given N in each Per·(1 + 1/Parts) at least: with 60 parts 1.6 % less than
//     N in each Per, with 1000 parts 0.1 %.
//
// A refund goes back to the sub-window it was spent in, and does nothing when that is over.
//
// # Fixed window and quota
//
// At most N units in each window: of Per, counted from 1970, or the hour, day, week or month of a [Calendar]. Over an interval that is
// no window, up to 2·N. The wall clock is taken once, at the start, and goes on monotonically: setting it moves no window.
// [Limiter.Changed] and [Limiter.Restore] let a quota outlive the process.
//
// # Concurrency
//
// At most N units at once. A [Charge] gives them back when it is settled. Retry is Unknown; [Limiter.Await] tells when to ask again.
//
// # Shared limits
//
// A [Fleet] keeps one limit at many nodes, and no request waits for the network. Terms:
//
//   - count: the units that a node charged to a key since it has a cell for it. It only grows in one life of a cell.
//   - line: what a node tells of a key, P(t) = C + S·(t − t0): its count, the rate at which it expects to go on, and its demand D.
//   - level K: what is left for all, as far as the lines tell: dK/dt = R − ΣS, with jumps by what new lines correct, from least to B.
//   - share w: of a positive level by what each node needs until shares are next looked at, m + 2√m + 1 with m the mean demand of
//     50 ms and two delays; of the rate, and of a debt, by demand, but for 2 % that are everybody's. Σw ≤ 1.
//   - drift: what a node charged and has not told, U − P. It may be negative.
//   - entitlement: what a node may spend now, e = w·K − drift, and the slack of max(1, 1 % of (B+R) / N), so that parts of a unit
//     add up to requests; 2 at least if B is less than 4·N, but not small itself. It is only used as far as more is left than the
//     others may be asked for before they hear of it.
//   - hot, cold: a cold key has no cell. Its bucket is 1/N of the limit, and nobody hears of it until half of that is spent.
//
// Algorithm. A request looks at e and adds to U. Step tells the others of a key at once (but 2 ms apart) if half of the node's entitlement is
// spent while more is to be had, if what it foretold goes unused, or if its demand changed much; else at regular steps, ever more rarely
// while nothing changes. What a node tells in its own favour counts for itself two delays and 2 ms later, when the others have it and what
// they had not told has come back, and then as if it had counted when they had it; what is to its loss at once. A full bucket lets what
// overflows pay for drifts, w of it for each, and takes away what was foretold and not used. A refund takes off U, told or not: what was told
// stays charged to the fleet and is its node's to spend.
//
// Bound. Where all nodes hold the same lines, Σe = ΣwK − Σ(U − P) is no more than K − Σ(U − P), the true level L. A request moves U and L
// alike; telling moves drift into K, and L stays; overflow pays for Σw·waste at most. So L is no higher than that of one bucket, and as no
// node goes below −(slack + ½), the excess is N·(slack + ½). Lines differ by what is under way: a node may go on spending what another
// has just been given, V·(2·delay + 2 ms) each way, where V is R or what the key is asked for, if that is more, and no more than B in all; a lost frame is made up for by the next, R·Interval/2 in the mean; and levels that came to
// differ, at joins and splits, are left alone within max(3, 1 % of B). Together, what [Limiter.Excess] returns:
//
//	N·(slack + ½) + min(2V·(2·delay + 2 ms), B) + R·Interval/2 + max(3, B/100)
//
// The first term is the largest where many nodes share few units, and more than B if there are fewer than 2½ for each (docs/bench, zipf with
// 30 nodes). With half the slack, two to three times as much would be refused of a demand just below the limit: what is left is parts of
// units at all nodes.
//
// Loss. A full bucket overflows until the others hear who needs it: a burst at one node loses (1 − w)·R a second until half of its share is
// spent and a frame has come (docs/bench, coldburst).
//
// Levels. Nodes that join, or come back, worked out different levels. Each goes towards the median of its peers', up no further than
// the counts allow if only one peer speaks. Of several, most are honest by assumption: then the median is no higher than an honest node's. A peer that
// lies can take all of a limit. It cannot raise it: counts only grow, no more comes back of what was foretold than was charged for it since the
// bucket was last full, nor of what was presumed, and levels are believed downwards.
//
// Silence. A peer not heard for four intervals may be spending all of its share: that is set aside, by the demands in the mean of as long
// before it was last heard, so that both sides set aside alike, to a percent or two, and together spend R. A node which most of those it
// hears do not hear does the same. A side of less than half keeps a tenth of its share from 4.5 s on, before the majority may divide the
// rest: 2 s after the failure detector has spoken. It takes up its share again when it hears everybody, or more than half for 2 s: while some
// do not hear it yet they divide its share, and what a node that hears both leaves to either would be spent twice. So a split costs R·(1 +
// w/10) with w the minority's share, from when the majority divides the rest until the heal, less the B that nobody takes before (docs/bench:
// most of what is beyond 1 % there); exact halves keep theirs for 10 s and then take all, as does everybody after a minute: R for each part.
// When a split heals buckets start from empty. A crashed node's share is lost until it is divided.
//
// # Memory
//
// A limiter's buckets are in shards (4 per processor, at least 64), each a compact hash table under a mutex: entries of 48 bytes (key,
// three words of state, two counters) are dense and never move, an index of 4-byte cells with an 8-bit tag is open addressing over them. A
// key costs 53 to 60 bytes, and when cold two cache misses, in a very large table three. A key of a sliding window that
// spends in three or more sub-windows within one window has a ring of 4·(Parts+1) bytes more, until it pauses for a window. When there
// is no room for a ring, sub-windows are put together, the older one counting as long as the newer.
//
// A mutex, not a compare-and-swap of the TAT: exact state is two words, and converting a shard to a new rate is one
// critical section. A waiter sleeps rather than spin on a holder that the system took off its processor. That there are many shards also keeps
// short the pauses in which one fills a grown index or changes its rate: under 1 ms at 1 M keys. They are not padded to
// cache lines: that showed no gain.
//
// The bound of bytes is hard, per limiter and, with a [Budget], for several together. A bucket that owes nothing is the same as none,
// so its slot goes to the next newcomer; 16 entries are looked at, in turn, before a shard grows. A bucket that owes anything is never
// evicted. A newcomer that finds no room spends from a bucket that the shard's unknown keys share, of the same numbers: conservative,
// for they may refuse each other (Stats.Overflow counts how often it paid). When room appears, a newcomer's own bucket starts as full
// as the shared one is, so that what it spent there is not forgotten and the bounds above hold for every key, always, in a
// flood too. (Seats are different: what is in use comes back to the bucket it was taken from, so newcomers share until all of it has.)
// The price: after a flood newcomers start with less than a full bucket until the shared one has refilled.
// Keys are keyed hashes, so that a client can neither aim at a shard nor at another's bucket.
//
// # What this package deliberately does not do
//
// It knows no HTTP, configuration, metrics or clock, and no names of keys. It opens no socket: a Fleet's owner
// carries its frames. A fleet does not vote, keep a log or know how large it should be: a node that starts in a split with nobody takes
// itself for the whole. One that most others hear is not cut off from the few that do not hear it, and these set its share aside: if it then
// takes more, the limit is exceeded by that. It does not find out liars. It knows no levels: a hierarchy is the order of a Charge's steps. It gives no memory back when keys
// fall idle; the slots are used again. It has no queue: who must wait is told how long, and waits elsewhere.
package limiter
