package tests

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// overloadConfig is a gateway before one mill. @connections and @rest are the scenario's.
const overloadConfig = base + `
listeners: [{name: web, address: "@web", limits: {connections: 20000, connections_per_ip: 20000}}]
dimensions: [{name: tenant, from: "header:x-tenant", default: nobody}]
pools:
  - name: up
    endpoints: [{address: "@up"}]
    health: {passive: {consecutive_failures: 0, error_rate: 0%}}
    @pool
routes: [{name: all, pool: up, @route}]
@rest
`

// noBreaker is a pool that asks its endpoint once, whatever that did before.
const noBreaker = `breaker: {failure_threshold: 0}
    retry: {attempts: 1}
    `

// pressured is a gate that finds its size by itself, and a queue in front of it.
const pressured = `
backpressure:
  signals: {cpu: "off", memory: "off"}
  concurrency: {algorithm: gradient, min: 4, max: 1000}
  queue: {by: tenant, max_wait: 500ms, max_length: 1024}
`

// maxWait is the longest wait in the queue of every scenario, and clientPatience how long its clients wait for an answer.
const (
	maxWait        = 500 * time.Millisecond
	clientPatience = 1500 * time.Millisecond
)

// startOverload runs a gateway before m. Parts of the config that are not given are nothing.
func startOverload(t *testing.T, m *mill, parts map[string]string) *weir {
	t.Helper()
	vars := map[string]string{"up": m.addr, "pool": noBreaker + "connections: {max: 4096}", "route": "timeout: 30s", "rest": ""}
	for k, v := range parts {
		vars[k] = v
	}
	return startWeir(t, overloadConfig, vars)
}

const stepColumns = "gate | offered | sent | goodput/s | of the capacity | p50 | p99 | at the upstream | not served"

// gates are the ways to stand before a mill.
var gates = []struct {
	name   string
	parts  map[string]string
	steps  []float64 // offered, as multiples of the capacity
	bounds bool      // goodput and latency are held to the bounds; if not, goodput must fall below half of the capacity
}{
	{"none", map[string]string{"pool": noBreaker + "connections: {max: 4096, queue: 0}"}, []float64{3, 3}, false},
	{"fixed at the right size", map[string]string{"pool": noBreaker + fmt.Sprintf("connections: {max: %d, queue: 1024, queue_timeout: 500ms}", millWorkers+2)},
		[]float64{3}, true},
	{"gradient", map[string]string{"rest": pressured}, []float64{0.5, 1, 1.5, 2, 3, 5, 10}, true},
}

// TestOverloadSteps offers an upstream from half of its capacity to ten times as much. With a gate it does what it can do whatever is offered, and
// who is served is served soon; afterwards all is as before at once. Without one it works for clients who have left.
func TestOverloadSteps(t *testing.T) {
	for _, g := range gates {
		t.Run(strings.ReplaceAll(g.name, " ", "-"), func(t *testing.T) {
			steadily(t, func(r *trial) {
				m := newMill(t, millWorkers, millService)
				w := startOverload(t, m, g.parts)
				hold, settle, last := either(1800*time.Millisecond, 12*time.Second), either(800*time.Millisecond, 2*time.Second), either(time.Second, 2*time.Second)
				steps := append(slices.Clone(g.steps), 0.5)
				long := hold * time.Duration(len(steps))
				c := &crowd{addr: w.addr("web"), patience: clientPatience, asks: []ask{{who: "all", rate: func(at time.Duration) float64 {
					return steps[min(int(at/hold), len(steps)-1)] * m.capacity()
				}}}}
				r.load(c, long+last)
				for i, step := range g.steps {
					r.step(c, m, g.name, step, hold*time.Duration(i)+settle, hold*time.Duration(i+1))
					if step <= 1 || !g.bounds && i == 0 { // it takes a while until all come too late
						continue
					}
					good := c.goodput(hold*time.Duration(i)+settle, hold*time.Duration(i+1)) / m.capacity()
					p99 := c.sent(hold*time.Duration(i)+settle, hold*time.Duration(i+1)).p99
					if !g.bounds {
						r.expect(good < 0.5, "%s, %g × the capacity: goodput is %s of the capacity although nothing guards it: the test shows nothing", g.name, step, share(good))
						continue
					}
					r.expect(good >= either(0.9, 0.95), "%s, %g × the capacity: goodput is %s of it", g.name, step, share(good))
					r.expect(p99 <= 2*maxWait, "%s, %g × the capacity: p99 of those served is %v", g.name, step, p99)
				}
				r.afterwards(c, m, g.name, long-hold, long+last, g.bounds)
				w.stop()
			})
		})
	}
}

// step records what came of a step from a to b.
func (r *trial) step(c *crowd, m *mill, gate string, step float64, a, b time.Duration) {
	o, good := c.sent(a, b), c.goodput(a, b)
	mean, _ := m.within(c.begin.Add(a), c.begin.Add(b))
	r.row("Offered more than the upstream can do", stepColumns, gate, fmt.Sprintf("%g × the capacity", step), o.sent, fmt.Sprintf("%.0f", good), share(good/m.capacity()),
		whole(o.p50), whole(o.p99), whole(mean), o.seen())
	if gate != "none" {
		r.expect(o.bare == 0, "%s, %g × the capacity: %d refusals without Retry-After", gate, step, o.bare)
		r.expect(o.odd() == 0, "%s, %g × the capacity: %s", gate, step, o.seen())
	}
}

// afterwards records how half of the capacity is answered from two seconds after the overload's end to the end of the load.
func (r *trial) afterwards(c *crowd, m *mill, gate string, after, end time.Duration, bounds bool) {
	after += 2 * time.Second
	r.step(c, m, gate, 0.5, after, end)
	o := c.sent(after, end)
	if bounds {
		r.expect(o.served() >= either(0.99, 1), "%s, 2 s after the overload: %s of the requests are served: %s", gate, share(o.served()), o.seen())
		r.expect(o.p50 < 3*m.service/2 && o.p99 < either[time.Duration](4, 3)*m.service, "%s, 2 s after the overload: p50 %v, p99 %v; the service time is %v", gate, o.p50, o.p99, m.service)
	}
}

// troubles are what a mill does for a while.
var troubles = []struct {
	name       string
	begin, end func(m *mill)
	full       bool // only in full runs
}{
	{"ten times as slow", func(m *mill) { m.slow.Store(10) }, func(m *mill) { m.slow.Store(1) }, false},
	{"503 with Retry-After", func(m *mill) { m.mood.Store(refuses) }, func(m *mill) { m.mood.Store(works) }, true},
	{"connections closed", func(m *mill) { m.mood.Store(fails) }, func(m *mill) { m.mood.Store(works) }, true},
}

const troubleColumns = "trouble for 5 s | sent | attempts at the upstream | first attempts until it ended | retries until then | goodput/s before | from 2 s after | of the capacity | not served"

// TestOverloadTrouble has the upstream in trouble for five seconds while it is asked for one and a half times what it can do, with retries: their
// budget holds, and two seconds later all is well.
func TestOverloadTrouble(t *testing.T) {
	for _, x := range troubles {
		t.Run(strings.ReplaceAll(x.name, " ", "-"), func(t *testing.T) {
			if x.full && !overloadInFull {
				t.Skip("part of make bench-overload")
			}
			steadily(t, func(r *trial) {
				m := newMill(t, millWorkers, millService)
				w := startOverload(t, m, map[string]string{"rest": pressured, "pool": `breaker: {failure_threshold: 0}
    retry: {attempts: 2, on: [connect, reset, timeout, "503"], budget: 20%}
    timeout: {response_header: 200ms}
    connections: {max: 4096}`})
				const from, to = 1500 * time.Millisecond, 6500 * time.Millisecond
				end := to + 2*time.Second + either(1500*time.Millisecond, 8*time.Second)
				var attempts, retries float64 // until the trouble ended
				c := &crowd{addr: w.addr("web"), patience: clientPatience, asks: []ask{{who: "all", rate: constantly(1.5 * m.capacity())}},
					events: []event{{from, func() { x.begin(m) }}, {to, func() {
						attempts, retries = float64(m.hits.Load()), w.metric("weir_upstream_retries_total")
						x.end(m)
					}}}}
				r.load(c, end)
				o, all := c.sent(0, end), float64(m.hits.Load())
				first := attempts - retries
				before, after := c.goodput(from/2, from), c.goodput(to+2*time.Second, end)
				r.row("An upstream in trouble, and retries", troubleColumns, x.name, o.sent, all, first, retries,
					fmt.Sprintf("%.0f", before), fmt.Sprintf("%.0f", after), share(after/m.capacity()), o.seen())
				r.expect(all <= 1.2*float64(o.sent), "%s: %v attempts for %d requests", x.name, all, o.sent)
				// The budget is 20 % of what was sent on in the last 10 s, and 3 a second.
				r.expect(retries > 0 && retries <= 0.2*first+30+2, "%s: %v retries beside %v first attempts", x.name, retries, first)
				r.expect(after >= either(0.9, 0.95)*m.capacity(), "%s: goodput is %s of the capacity from 2 s after it on", x.name, share(after/m.capacity()))
				w.stop()
			})
		})
	}
}

const killColumns = "sent | in progress when killed | 502 | not served of what was sent while it was away | not served before and after | goodput/s from 2 s after its return | of the capacity"

// TestOverloadKilled kills the upstream while it is asked for three times what it can do, and starts it again after two seconds: those in progress
// fail, the others are told at once that nobody is there, and two seconds after its return it does what it can do.
func TestOverloadKilled(t *testing.T) {
	steadily(t, func(r *trial) {
		m := newMill(t, millWorkers, millService)
		w := startOverload(t, m, map[string]string{"rest": pressured, "pool": `breaker: {failure_threshold: 10, timeout: 300ms, max_timeout: 600ms}
    retry: {attempts: 2}
    connections: {max: 4096, dial_timeout: 300ms}`})
		const killed, back = 2 * time.Second, 4 * time.Second
		inFlight := 0.0
		end := back + 2*time.Second + either(1500*time.Millisecond, 8*time.Second)
		c := &crowd{addr: w.addr("web"), patience: clientPatience, asks: []ask{{who: "all", rate: constantly(3 * m.capacity())}},
			events: []event{{killed - 50*time.Millisecond, func() { inFlight = w.metric("weir_upstream_inflight") }}, {killed, m.die}, {back, m.start}}}
		r.load(c, end)
		o, away, good := c.sent(0, end), c.sent(killed, back), c.goodput(back+2*time.Second, end)
		around := fate{kinds: map[string]int{}}
		for k, n := range o.kinds {
			if n -= away.kinds[k]; n > 0 {
				around.kinds[k] = n
			}
		}
		bad := 0
		for k, n := range o.kinds {
			if strings.HasPrefix(k, "502") {
				bad += n
			}
		}
		r.row("The upstream killed for 2 s at three times its capacity", killColumns, o.sent, inFlight, bad, away.seen(), around.seen(), fmt.Sprintf("%.0f", good), share(good/m.capacity()))
		// Those in progress, those whose failures open the breaker, and three at each half-opening.
		r.expect(float64(bad) <= 1.5*inFlight+10+3*10, "%d answers of 502; %v were in progress", bad, inFlight)
		r.expect(good >= either(0.9, 0.95)*m.capacity(), "goodput is %s of the capacity from 2 s after the return on", share(good/m.capacity()))
		w.stop()
	})
}

// TestQueueClientGone has clients leave the queue: they are nobody's place in it, and none of them reaches the upstream.
func TestQueueClientGone(t *testing.T) {
	h := serveHeld(t)
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools: [{name: up, endpoints: [{address: "@up"}], connections: {max: 2, queue: 50, queue_timeout: 20s}}]
routes: [{name: all, pool: up}]
`, map[string]string{"up": h.addr})
	depth := func(n int) func() bool {
		return func() bool { return w.metric("weir_queue_depth") == float64(n) }
	}
	for i := range 2 {
		sit(t, w, i)
		h.waitIn(i + 1)
	}
	var leavers []*raw
	for i := range 50 {
		leavers = append(leavers, sit(t, w, 10+i))
	}
	eventually(t, 3*time.Second, "50 wait", depth(50))
	if resp, _ := fetch(t, "GET", w.url("/"), ""); resp.StatusCode != 503 || reasonOf(resp) != "queue_full" || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %d %v, want 503 queue_full", resp.StatusCode, resp.Header)
	}
	for _, c := range leavers {
		c.c.Close()
	}
	eventually(t, time.Second, "none waits", depth(0))
	last := sit(t, w, 100)
	eventually(t, time.Second, "one waits", depth(1))
	for range 3 {
		h.free <- struct{}{}
	}
	if r := last.read(3*time.Second, false); r.status != 200 {
		t.Errorf("who came after them: %s %v", r.line, r.err)
	}
	if _, most, all := h.now(); most > 2 || strings.Join(all, " ") != "0 1 100" {
		t.Errorf("%d at once, arrived %v", most, all)
	}
}
