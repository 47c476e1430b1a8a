package tests

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// tenantAsk is a tenant's stream at a rate.
func tenantAsk(name string, rate float64) ask {
	return ask{who: name, fields: []string{"X-Tenant: " + name}, rate: constantly(rate)}
}

// numbered is n names.
func numbered(prefix string, n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint(prefix, i))
	}
	return names
}

const floodColumns = "load | nine tenants sent | served | the worst served of them | their p50 | p99 | the tenth sent | goodput/s"

// TestFairFlood has ten tenants share an upstream. Nine ask for 90 % of their shares, the tenth for a hundred times its own: it is refused what it
// asks for too much, and the nine hardly notice.
func TestFairFlood(t *testing.T) {
	steadily(t, func(r *trial) {
		m := newMill(t, millWorkers, millService)
		w := startOverload(t, m, map[string]string{"rest": pressured + "  load_shedding: {}\n"})
		fair := m.capacity() / 10
		nine := numbered("tenant-", 9)
		settle, end := either(time.Second, 4*time.Second), either(3500*time.Millisecond, 24*time.Second) // when the gate has found its size
		run := func(load string, flood float64) (all, worst float64, o fate) {
			c := &crowd{addr: w.addr("web"), patience: clientPatience}
			for _, name := range nine {
				c.asks = append(c.asks, tenantAsk(name, 0.9*fair))
			}
			if flood > 0 {
				c.asks = append(c.asks, tenantAsk("flooder", flood))
			}
			r.load(c, end)
			worst = 1
			for _, name := range nine {
				worst = min(worst, c.sent(settle, end, name).served())
			}
			o = c.sent(settle, end, nine...)
			flooder := c.sent(settle, end, "flooder")
			r.row("One tenant of ten at a hundred times its share", floodColumns, load, o.sent, share(o.served()), share(worst), whole(o.p50), whole(o.p99), flooder.sent,
				fmt.Sprintf("%.1f", c.goodput(settle, end, "flooder")))
			r.expect(flood == 0 || flooder.odd() == 0 && flooder.bare == 0, "the flooder: %s; %d without Retry-After", flooder.seen(), flooder.bare)
			return c.goodput(settle, end, nine...), worst, o
		}
		calm, _, before := run("nine alone", 0)
		kept, worst, o := run("and the tenth", 100*fair)
		r.expect(kept >= either(0.92, 0.95)*calm, "the nine: %.1f/s beside the flood, %.1f/s without it", kept, calm)
		r.expect(worst >= either(0.85, 0.95), "the worst served of the nine: %s", share(worst))
		bound := max(2*before.p99, before.p99+50*time.Millisecond)
		r.expect(o.p99 <= either(2*bound, bound), "the nine: p99 %v beside the flood, %v without it", o.p99, before.p99)
		w.stop()
	})
}

// TestFairWeights has tenants of weights 4, 2 and 1 ask for more than there is: they are served in that proportion.
func TestFairWeights(t *testing.T) {
	steadily(t, func(r *trial) {
		m := newMill(t, millWorkers, millService)
		w := startOverload(t, m, map[string]string{"rest": `
backpressure:
  signals: {cpu: "off", memory: "off"}
  concurrency: {algorithm: gradient, min: 4, max: 1000}
  queue: {by: tenant, weights: [{value: gold, weight: 4}, {value: silver, weight: 2}], max_wait: 500ms, max_length: 1024}
`})
		tenants := []struct {
			name   string
			weight float64
		}{{"gold", 4}, {"silver", 2}, {"bronze", 1}}
		settle, end := either(time.Second, 2*time.Second), either(4*time.Second, 30*time.Second)
		c := &crowd{addr: w.addr("web"), patience: clientPatience}
		for _, x := range tenants {
			c.asks = append(c.asks, tenantAsk(x.name, m.capacity()))
		}
		r.load(c, end)
		total := c.goodput(settle, end)
		for _, x := range tenants {
			got, want := c.goodput(settle, end, x.name)/total, x.weight/7
			r.row("Weights 4 : 2 : 1, each asks for the whole capacity", "tenant | weight | due | got | off by", x.name, x.weight, share(want), share(got), percent(got/want-1))
			r.expect(math.Abs(got/want-1) <= either(0.08, 0.05), "%s has %s, due are %s", x.name, share(got), share(want))
		}
		r.expect(total >= either(0.9, 0.95)*m.capacity(), "goodput is %s of the capacity", share(total/m.capacity()))
		w.stop()
	})
}

// TestFairEqual has ten tenants that all ask for three times their share, some much more often than others: all are served alike.
func TestFairEqual(t *testing.T) {
	steadily(t, func(r *trial) {
		m := newMill(t, millWorkers, millService)
		w := startOverload(t, m, map[string]string{"rest": pressured})
		settle, end := either(time.Second, 2*time.Second), either(4*time.Second, 30*time.Second)
		c := &crowd{addr: w.addr("web"), patience: clientPatience}
		names := numbered("tenant-", 10)
		for i, name := range names {
			c.asks = append(c.asks, tenantAsk(name, (1.5+float64(i)/3)*m.capacity()/10)) // 1.5 to 4.5 times the share
		}
		r.load(c, end)
		var got []float64
		for _, name := range names {
			got = append(got, c.goodput(settle, end, name))
		}
		total := c.goodput(settle, end)
		j := jain(got)
		r.row("Ten tenants, each asks for 1.5 to 4.5 times its share", "Jain's index | least served | most served | goodput/s | of the capacity", fmt.Sprintf("%.4f", j),
			fmt.Sprintf("%.1f/s", slices.Min(got)), fmt.Sprintf("%.1f/s", slices.Max(got)), fmt.Sprintf("%.0f", total), share(total/m.capacity()))
		r.expect(j >= 0.98, "Jain's index is %.4f: %.1f", j, got)
		r.expect(total >= either(0.9, 0.95)*m.capacity(), "goodput is %s of the capacity", share(total/m.capacity()))
		w.stop()
	})
}

// jain is Jain's fairness index: 1 if all have the same, 1/n if one has all.
func jain(x []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, v := range x {
		sum += v
		squares += v * v
	}
	return sum * sum / (float64(len(x)) * squares)
}
