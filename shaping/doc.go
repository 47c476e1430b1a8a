// Package shaping decides how many requests run at once.
//
// A [Gate] has a fixed number of seats. Who finds one free takes it with a single compare-and-swap; who does not waits in
// a bounded queue, first come first served, for a bounded time, and is refused otherwise. A [Seat] is held as long as the
// caller says, across goroutines and call frames, and left exactly once.
//
// # How it works
//
// One word holds the limit, the seats in use, and whether anybody waits. While nobody waits, entering and leaving change
// the word and nothing else. The first waiter sets its bit with the same compare-and-swap that sees no room, under the
// mutex; from then on every change of the word takes the mutex, until the queue is empty again. So a seat that is left
// either is seen by the newcomer or sees the waiter: no wake-up is lost. A seat that falls free goes to the head of the
// queue without being free in between, so that nobody overtakes.
//
// # What this package deliberately does not do
//
// It has no fairness between flows, no priorities, no shedding by pressure, no limit that adapts to latency and no pacing
// of bytes: the queue is one FIFO and the limit a number from the configuration. It does not notice a client that goes
// away while it waits; the wait is bounded by its due time. It knows no HTTP, and reads no clock but for the timer that
// bounds a wait.
package shaping
