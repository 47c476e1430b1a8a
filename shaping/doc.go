// Package shaping decides how many requests run at once, in what order, which of them not at all, and how fast bytes flow.
//
// A [Gate] has seats. Who finds one free while nobody waits takes it with a single compare-and-swap; who does not waits in a bounded
// queue for a bounded time, and is refused otherwise. A [Seat] is held as long as the caller says, across goroutines and call frames,
// and left exactly once. An [Estimator] works out how many seats an upstream is good for, a [Load] how loaded the machine is, a
// [Shedder] which requests that costs, a [Degrader] which features, and a [Pacer] says when bytes may go on; their comments derive them.
//
// # No wake-up is lost
//
// One word holds the limit, the seats in use, and whether anybody waits. While nobody waits, entering and leaving change
// the word and nothing else. The first waiter sets its bit with the same compare-and-swap that sees no room, under the
// mutex; from then on every change of the word takes the mutex, until the queue is empty again. So a seat that is left
// either is seen by the newcomer or sees the waiter. Whenever the mutex is free, somebody waits only if there is no room: every
// change that makes room (a seat left, a limit raised) lets waiters in before it ends. A seat that falls free goes to who is next
// without being free in between, so that nobody overtakes. A waiter is taken out of the queue under the mutex, once, by whoever
// answers it or by itself; its answer has a slot of its own, so that to answer never blocks. One that gives up and finds itself taken
// out has an answer, and takes it: a seat is never dropped. The estimator has a mutex of its own, taken before the gate's.
//
// # The order of those who wait
//
// Each band has a lane, and who waits stays in the lane of its band. A seat goes to the highest band in which anybody waits, if it is not
// open; within the band to whoever is next in its lane, open or not. So what waits elsewhere, and for how long, changes when a lane is given
// seats, and never in what order.
//
// Within a lane it is start-time fair queueing (Goyal, Vin and Cheng 1996), in which a request is one unit of service, however long it
// holds its seat. With w the weight of a flow and S its start, in the virtual time v of the lane (each request brings w; it is charged by
// its own):
//
//	a flow begins to wait      S = max(v − k/w, S)
//	a seat is given            to the flow with the least S, of which who came first;  v = max(v, S), then S = S + 1/w
//
// The k is credit, of 32 requests. Goyal has none; then what arrives at random, at less than its share but now and then several at once, waits for a
// turn of everybody with each, as if it had asked for too much. So a flow that was away may have up to k requests served as if they had come while it
// was. It costs the others that: each flow may delay those that wait all the time by k requests of its own, again when v has gone on by as much.
//
// A request that leaves the queue without a seat changes neither. While a flow waits, v − k/w ≤ S ≤ v + 1/w: the least start is served, so v
// passes none that waits, and a start is only ever 1/w beyond what v was then. Once S ≥ v, it stays so while the flow waits: who waits all the time
// has no credit. S is remembered while the flow does not wait until v has reached S + k, for then it is as good as new. Were it not, a flow that
// comes back all the time would be served as soon as it came.
//
// Bound. Over an interval in which v goes from v1 to v2, a flow that waits all the time is served W times, and any flow at all, with w the
// least weight it brings, with
//
//	W/w  ≥  v2 − v1 − 1/w          if it waits all the time
//	W/w  ≤  v2 − v1 + 1/w + k/w    whatever it does; without k/w if it waits all the time and has S ≥ v1
//
// as S moves by 1/w each time, from v1 − k/w or later to v2 + 1/w or earlier; and if S < v at the end, v has not moved, and the first holds too. So for
// f, which waits all the time, and any other g
//
//	Wg/wg − Wf/wf  ≤  1/wf + 1/wg + k/wg
//
// that is: nobody gets more for its weight than who waits all the time, but for one request of each and its credit. Those that do wait all the time
// are equal but for one request of each, and the others get all they ask for: the weighted max-min fair division of the seats given in the lane. And a
// request with j of its flow f before it starts at v + (j+1)/wf at most, so it is among the next
//
//	N = 1 + j + Σ (1 + k + ⌈(j+1)·wg/wf⌉)   over the other flows g that wait meanwhile
//
// seats of its lane.
//
// Memory. At most MaxLength flows wait, and a lane remembers at most MaxLength that do not, or 64 if that is more. When there are more, the least
// start is forgotten, and from then on no flow that is not known starts earlier: so nobody gets back what it owed, and who is new has less credit, or
// none, until v has gone on; at worst it starts after v, by 1/w of the lightest flow, and its bounds are wider by that. A flood of flows that come
// once leaves one that waits all the time, after k requests of each of as many as are remembered, the share it had if so many waited.
//
// # Ageing: the open seat
//
// Seats are counted that are given while more than one band waits. After 15 of them the next is open: it goes to a band below Critical in which
// somebody has waited for Aging or longer. While there is none seats go the usual way, and the open one is kept: it, and no second. With
// Aging 0 there are none. Bands share open seats as flows share a lane, at a cost of 1 (High), 2 (Normal) and 4 (Low) each.
//
// For what is above: of any n counted seats in a row at most ⌈n/16⌉ are open. So the highest band that waits has
//
//	at least 15/16 of the seats, and all but one of any 16
//
// and critical requests that ask for no more than that are served before all else, but for one seat in 16.
//
// For what is below: of the open seats a band of cost c, in which somebody has aged all the time, is given its next N among
//
//	M = N + Σ (1 + ⌊N·c/d⌋)   over the other bands below Critical, d what each costs
//
// as in a lane: its N-th start is at most N·c beyond that of the last open seat. So a request has its seat, once it has waited for Aging, within
// 16·M seats, with N as above. For a low one that is 16·(7N+2), so 144 if it is alone in its lane; and in the long run its band has 1 seat in
// 112 at least, Normal 1 in 56, High 1 in 28. That holds whatever comes from above, but for a queue that is full of it, and is nothing to those
// whose time ends before.
//
// Why not the oldest of all? Then what can wait for longest, or floods, would have them all.
//
// # A full queue
//
// A newcomer takes the place of another: in the lowest band that waits, if that is below its own, else in its own, of the flow that has
// most waiting for its weight, who is to be served last. In its own only if that flow has more for its weight than the newcomer's would
// have with it. So the room is shared as the seats are (longest-queue drop, Suter et al. 1998), and a flow that asks for a hundred times
// its share fills no more than what others leave. A critical newcomer displaces anybody who is not critical, however old: in a queue that is
// filled by what is above nobody below lives to age.
//
// # Too late
//
// A request is refused at once if its turn would come after its due time, or MaxWait, even if seats were given at twice the rate of
// late, counting only those who are certain to be served before it: its own flow, of each other flow in its lane what starts before it, and
// of the bands above all, or with Aging no more than 15 for each of these and for itself, as if all open seats were its band's. The rate is
// that of the last spell of 100 ms or more in which every seat was given twice on average while somebody waited all the time. No such spell
// since the queue was empty: nobody is refused early. It is a guess in one respect: that those before it stay.
//
// # What this package deliberately does not do
//
// The gate counts requests, not the time they hold a seat: a flow of slow requests holds more seats than its share. It is fair among
// those who wait, and does not charge who finds a seat free. It takes no seat back and keeps none free for anybody: what is critical
// may wait until one is left. It does not believe a flow's name: who can make up names can have as many shares, each with its credit. It knows no HTTP, calls
// no clock, and has no goroutine; a wait is bounded by a timer, and a client that went away is noticed within 50 ms and only while it waits.
package shaping
