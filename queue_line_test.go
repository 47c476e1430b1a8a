package main

import (
	"testing"

	"weir/gateway"
)

func TestQueueLine(t *testing.T) {
	f := func(q gateway.ExplainedQueue, want string) {
		t.Helper()
		if got := queueLine(&q); got != want {
			t.Errorf("%+v: %q, want %q", q, got, want)
		}
	}
	f(gateway.ExplainedQueue{AtOnce: true}, "")
	f(gateway.ExplainedQueue{AtOnce: true, Shed: 0.25}, "25% of its priority are shed")
	f(gateway.ExplainedQueue{Before: 3, WaitMS: 41}, "would wait about 41 ms: 3 are served before it")
	f(gateway.ExplainedQueue{Before: 3, WaitMS: -1, Shed: 1}, "would wait: 3 are served before it; 100% of its priority are shed")
	f(gateway.ExplainedQueue{Before: 9, Refused: "queue_full"}, "would be refused: queue_full, 9 are served before it")
}
