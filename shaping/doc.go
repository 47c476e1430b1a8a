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
// There are seven places to wait at: those who asked for a band, and below them in the same band those who have aged into it, each from one
// band. The highest place at which anybody waits comes first. But after 31 seats in a row, given at a place while others waited below, one
// goes below, to the highest of those places that is next by the same rule. So a place at which somebody waits all the time has
//
//	at least 31/32 of the seats given at it and below, and all of them if nobody waits below
//
// and what is below it at least 1/32 of them. So critical requests that ask for no more than 31/32 of the seats are served before all
// else, but for one seat in 32. Those that ask for more leave 1/32 to others. With k places above at which somebody waits all the time
// 1/32^k is left.
//
// Within a place it is start-time fair queueing (Goyal, Vin and Cheng 1996), in which a request is one unit of service, however long it
// holds its seat. With w the weight of a flow and S its start, in the virtual time v of the place (each request brings w; it is charged by
// its own):
//
//	a flow begins to wait      S = max(v, S)
//	a seat is given            to the flow with the least S, of which who came first;  v = S, then S = S + 1/w
//
// A request that leaves the queue without a seat changes neither. While a flow waits, v ≤ S ≤ v + 1/w: the least start is served, so v
// passes none that waits, and a start is only ever 1/w beyond what v was then. So S is remembered while the flow does not wait, until v
// has reached it: a debt of less than one request, without which a flow that comes back all the time would be served as soon as it came.
//
// Bound. Over an interval in which v goes from v1 to v2, a flow that waits all the time is served W times, with
//
//	v2 − v1 − 1/w  ≤  W/w  ≤  v2 − v1 + 1/w
//
// as S moves by 1/w each time, from within 1/w of v1 to within 1/w of v2. The right side holds for any flow. So for f, which waits all
// the time, and any other g
//
//	Wg/wg − Wf/wf  ≤  1/wf + 1/wg
//
// that is: nobody gets more for its weight than who waits all the time, but for one request of each. Those that do wait all the time
// are equal, and the others get all they ask for: the weighted max-min fair division of the seats given at the place.
//
// Memory. At most MaxLength flows wait, and a place remembers at most MaxLength debts, or 64 if that is more. When there are more, v
// moves up to where the least of them ends: no debt is lost, but who comes then starts as much later, by 1/w of the lightest flow at
// most, and the bounds are wider by that. A flood of flows that come once leaves one that waits all the time the share it had if as
// many of them as are remembered waited.
//
// # Ageing
//
// Who has counted as of a band for as long as Aging goes on as of the next higher one, up to High, behind all those who asked for that one
// and those who came there from nearer. So it comes before newcomers of the band that it asked for. Were it to come before newcomers of the
// band that it came to, then under an overload that lasts only who has aged would be served, whatever it asked for: in simulation of three
// times the capacity 58 % of normal and 1 % of high.
//
// From band b it is in High after (b-High)·Aging, and then, with j of its flow before it and k places above at which anybody waits
// meanwhile, has its seat among the next
//
//	32^k · ⌈32·N/31⌉,   N = 1 + j + Σ (1 + ⌈(j+1)·wg/wf⌉)   over the other flows g that wait at its place meanwhile
//
// seats: its start is at most v + (j+1)/wf, so at its place it is among the next N; those below have one for 31 of these; and each place
// above takes 31 for one that goes below. With critical requests alone above it k is 1. That is what the lowest band is promised, whatever
// comes from above, while it is not displaced; if MaxWait is less than that time it is nothing.
//
// # A full queue
//
// A newcomer takes the place of another: at the lowest place at which anybody waits, if that is below its own, else at its own, of the
// flow that has most waiting for its weight, who is to be served last. At its own only if that flow has more for its weight than the
// newcomer's would have with it. So the room is shared as the seats are (longest-queue drop, Suter et al. 1998), and a flow that asks
// for a hundred times its share fills no more than what others leave. A critical newcomer displaces anybody who is not critical. Who
// has aged is displaced by newcomers to the band that it has come to, and no more by those to the bands that it has overtaken. In a
// queue full of what is critical the others have less than their 1/32: a seat that falls free before the next critical newcomer comes.
//
// # Too late
//
// A request is refused at once if its turn would come after its due time, or MaxWait, even if seats were given at twice the rate of
// late, counting only those who are certain to be served before it: its own flow, of each other flow at its place what starts before
// it, and at the places above 31 for each of these and for itself. The rate is that of the last spell of 100 ms or more in which every
// seat was given twice on average while somebody waited all the time. No such spell since the queue was empty: nobody is refused
// early. It is a guess in one respect: that those before it stay. A request that ageing could help is never refused early.
//
// # What this package deliberately does not do
//
// The gate counts requests, not the time they hold a seat: a flow of slow requests holds more seats than its share. It is fair among
// those who wait, and does not charge who finds a seat free. It takes no seat back and keeps none free for anybody: what is critical
// may wait until one is left. What is below bands that ask for everything has next to nothing. It does not believe a flow's name: who
// can make up names can have as many shares. It knows no HTTP, calls no clock, and has no goroutine; a wait is bounded by a timer, and
// a client that went away is noticed within 50 ms and only while it waits.
package shaping
