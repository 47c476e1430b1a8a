package tests

import (
	"strings"
	"testing"
	"time"
)

// byPriority is a route whose requests say how much they matter.
const byPriority = `timeout: 30s, priority: {from: "header:x-priority", default: normal}`

const priorityColumns = "shedding | priority | of the load | sent | served | p50 | p99 | not served"

// ageing is a queue in which the lowest priority gets something after this time.
var ageing = strings.Replace(pressured, "max_length: 1024", "max_length: 1024, aging: 150ms", 1)

// TestPriorities mixes requests of all priorities to three times what the upstream can do: the more a request matters the likelier it is served,
// what is critical always is. By the queue alone what matters least is served sometimes; load shedding may refuse all of that.
func TestPriorities(t *testing.T) {
	mix := []struct {
		name string
		part float64
	}{{"critical", 0.1}, {"high", 0.2}, {"normal", 0.4}, {"low", 0.3}}
	for _, shedding := range []struct{ name, rest string }{{"off", ageing}, {"on", ageing + `  load_shedding: {shedding_rate: 0.1, priority_levels: [{level: 1, multiplier: 0.1}, {level: 2, multiplier: 0.5}, {level: 3, multiplier: 1.0}]}
`}} {
		t.Run("shedding-"+shedding.name, func(t *testing.T) {
			steadily(t, func(r *trial) {
				m := newMill(t, millWorkers, millService)
				w := startOverload(t, m, map[string]string{"rest": shedding.rest, "route": byPriority})
				settle, end := either(1500*time.Millisecond, 2*time.Second), either(4500*time.Millisecond, 30*time.Second)
				c := &crowd{addr: w.addr("web"), patience: clientPatience}
				for _, p := range mix {
					c.asks = append(c.asks, ask{who: p.name, fields: []string{"X-Priority: " + p.name}, rate: constantly(3 * p.part * m.capacity())})
				}
				r.load(c, end)
				served := map[string]float64{}
				for _, p := range mix {
					o := c.sent(settle, end, p.name)
					served[p.name] = o.served()
					r.row("Priorities at three times the capacity", priorityColumns, shedding.name, p.name, share(p.part), o.sent, share(o.served()), whole(o.p50), whole(o.p99), o.seen())
					r.expect(o.odd() == 0, "%s: %s", p.name, o.seen())
					r.expect(o.bare == 0, "%s: %d refusals without Retry-After", p.name, o.bare)
					r.expect(p.name != "critical" || o.kinds["503 shed"] == 0, "critical: %s", o.seen())
				}
				r.expect(served["critical"] >= either(0.99, 0.999), "critical: %s are served", share(served["critical"]))
				r.expect(served["low"] > 0 || shedding.name == "on", "low: none is served")
				for i, p := range mix[1:] {
					r.expect(served[p.name] <= served[mix[i].name], "%s are served of %s, %s of %s", share(served[p.name]), p.name, share(served[mix[i].name]), mix[i].name)
				}
				good := c.goodput(settle, end)
				r.expect(good >= either(0.9, 0.95)*m.capacity(), "goodput is %s of the capacity", share(good/m.capacity()))
				if shedding.name == "on" {
					r.expect(c.sent(settle, end).kinds["503 shed"] > 0, "nothing is shed: %s", c.sent(settle, end).seen())
				}
				w.stop()
			})
		})
	}
}
