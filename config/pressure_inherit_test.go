package config

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// TestWithBackpressureKeepsWhatIsInForce: what the text does not name is not checked against the text, and stays.
func TestWithBackpressureKeepsWhatIsInForce(t *testing.T) {
	c := mustParse(t, `
dimensions: [{name: tenant, from: header:x-tenant}]
pools: [{name: a, demo: {}}, {name: b, demo: {}, connections: {queue_timeout: 900ms}}]
backpressure:
  signals: {cpu: off, inflight: off}
  load_shedding: {priority_levels: [{level: 1, multiplier: 0.2}, {level: 3, multiplier: 1}]}
  concurrency: {algorithm: gradient, min: 5000, max: 6000, initial: 5500}
  queue: {by: tenant, weights: [{value: gold, weight: 4}], max_wait: 1s, aging: 800ms}
  degrade: [{at: 0.5, disable: [mirror]}, {at: 0.9, disable: [retries]}]
  circuit_breaker: {timeout: 10m, max_timeout: 1h}
`)
	f := func(text string) {
		t.Helper()
		out, err := c.WithBackpressure([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		want, got := c.Backpressure, out.Backpressure
		if fmt.Sprint(got.LoadShedding.PriorityLevels) != fmt.Sprint(want.LoadShedding.PriorityLevels) || fmt.Sprint(got.Degrade) != fmt.Sprint(want.Degrade) ||
			got.Concurrency != want.Concurrency || got.Queue.MaxWait != time.Second || got.CircuitBreaker.Timeout != want.CircuitBreaker.Timeout || got.Signals.CPU != 0 {
			t.Errorf("%s: got %+v", text, got)
		}
	}
	f(`{"load_threshold":0.7}`)
	f(`{"global":false}`)
	f(`{}`)
}

// TestWithBackpressureAcrossKeys: a text that does not fit what stays is told so, at its key.
func TestWithBackpressureAcrossKeys(t *testing.T) {
	f := func(base, text, want string) {
		t.Helper()
		c := mustParse(t, "pools: [{name: a, demo: {}, connections: {queue_timeout: 100ms}}, {name: b, demo: {}}]\nbackpressure: "+base)
		got := ""
		if _, err := c.WithBackpressure([]byte(text)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s on %s: got\n%s\nwant\n%s", text, base, got, want)
		}
	}
	const off = "signals: {cpu: off, memory: off, queue_delay: off, inflight: off}"
	const never = "every signal is off, so load is always 0 and load_shedding and degrade never begin: leave one of them on"
	f("{load_shedding: {}}", "{"+off+"}", "body:1:11: signals: "+never)
	f("{degrade: [{at: 0.5, disable: [mirror]}]}", "{global: true, "+off+"}", "body:1:25: signals: "+never)
	f("{"+off+"}", "{load_shedding: {}}", "body:1:17: load_shedding: every signal is off, so load is always 0 and it never begins: give signals too, with one of them on")
	f("{"+off+"}", "{degrade: [{at: 0.5, disable: [mirror]}]}", "body:1:11: degrade: every signal is off, so load is always 0 and it never begins: give signals too, with one of them on")
	f("{"+off+"}", "{load_shedding: {}, signals: {}}", "")
	f("{"+off+"}", "{load_shedding: {shedding_rate: 0}}", "")
	f("{"+off+"}", "{load_threshold: 0.5}", "")
	f("{load_shedding: {}}", "{load_shedding: , "+off+"}", "")
	f("{}", "{"+off+"}", "")
	f("{load_shedding: {shedding_rate: 0, priority_levels: [{level: 1, multiplier: 0}]}}", "{load_threshold: 0.5}", "")
	f("{}", "{load_shedding: {priority_levels: [{level: 1, multiplier: 0}]}}",
		"body:1:35: load_shedding.priority_levels: every multiplier is 0, so nothing is ever shed: write one above 0, or shedding_rate: 0")
	f("{}", "{queue: {aging: 100ms}}",
		`body:1:17: queue.aging: 100ms is not less than the queue_timeout of the pool "a", 100ms, so that nobody waits long enough: write less, 0s for never, or leave aging out for a quarter of the wait`)
	f("{}", "{queue: {max_wait: 2s, aging: 99ms}}", "")
	f("{queue: {aging: 99ms}}", "{queue: {max_wait: 50ms}}", "")
}

// TestAging is what ages in a pool's queue: as given, else 125ms but a quarter of the wait at most.
func TestAging(t *testing.T) {
	f := func(section string, want ...time.Duration) {
		t.Helper()
		c := mustParse(t, "pools: [{name: a, demo: {}}, {name: b, demo: {}, connections: {queue_timeout: 100ms}}, {name: c, demo: {}, connections: {queue_timeout: 10s}}, {name: d, demo: {}, connections: {queue_timeout: 0s}}]\n"+section)
		for i, want := range want {
			if got := c.Aging(&c.Pools[i]); got != want {
				t.Errorf("%s: pool %s: got %v, want %v", section, c.Pools[i].Name, got, want)
			}
		}
		if c.Backpressure == nil {
			return
		}
		shown, err := json.Marshal(c.Backpressure.View())
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.WithBackpressure(shown)
		if err != nil || again.Aging(&again.Pools[1]) != want[1] || again.Hash() != c.Hash() {
			t.Errorf("%s: shown as %s it is another, %v", section, shown, err)
		}
	}
	const ms = time.Millisecond
	f("", 125*ms, 25*ms, 125*ms, 0)
	f("backpressure: {}", 125*ms, 25*ms, 125*ms, 0)
	f("backpressure: {queue: {max_wait: 200ms}}", 50*ms, 25*ms, 125*ms, 0)
	f("backpressure: {queue: {max_wait: 200ms, aging: }}", 50*ms, 25*ms, 125*ms, 0)
	f("backpressure: {queue: {max_wait: 200ms, aging: 99ms}}", 99*ms, 99*ms, 99*ms)
	f("backpressure: {queue: {aging: 0}}", 0, 0, 0, 0)
	f("backpressure: {queue: {max_wait: 0s, aging: 50ms}}", 50*ms, 50*ms, 50*ms)
}
