package balancer

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// TestWindowIsALog compares the window with a list of everything that was ever added.
func TestWindowIsALog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		type entry struct{ second, a, b uint64 }
		var log []entry
		now := mono.Time(rapid.Int64Range(0, 3_000_000e9).Draw(t, "start"))
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 2500).Draw(t, "ms")) * time.Millisecond)
			a, b := rapid.Uint64Range(0, 1).Draw(t, "a"), rapid.Uint64Range(0, 1).Draw(t, "b")
			w.add(a, b, now)
			log = append(log, entry{uint64(now) / 1e9, a, b})
			var wantA, wantB uint64
			for _, e := range log {
				if uint64(now)/1e9-e.second < windowSeconds {
					wantA, wantB = wantA+e.a, wantB+e.b
				}
			}
			if gotA, gotB := w.sum(now); gotA != wantA || gotB != wantB {
				t.Fatalf("sum %d, %d, want %d, %d", gotA, gotB, wantA, wantB)
			}
		}
		if a, b := w.sum(now.Add(11 * time.Second)); a != 0 || b != 0 {
			t.Fatalf("%d, %d after 11 s", a, b)
		}
	})
}

func TestWindowDropsWhatComesTooLate(t *testing.T) {
	var w window
	w.add(1, 0, second(20))
	w.add(1, 1, second(10)) // the same cell, ten seconds ago
	w.add(1, 1, second(15)) // late, but within the window
	if a, b := w.sum(second(20)); a != 2 || b != 1 {
		t.Errorf("sum %d, %d, want 2, 1", a, b)
	}
}

// TestBudgetBound: in any ten seconds of the clock, retries ≤ r + max(0, m − r/2), and what the bound allows is given.
func TestBudgetBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := BudgetConfig{Ratio: rapid.Float64Range(0, 1).Draw(t, "ratio"), MinPerSecond: float64(rapid.IntRange(0, 3).Draw(t, "min"))}
		var b Budget
		b.cfg.Store(&c)
		nodes := rapid.IntRange(0, 8).Draw(t, "nodes")
		b.Share(nodes)
		requests, retries := map[uint64]int{}, map[uint64]int{}
		now := second(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "ms")) * time.Millisecond)
			s := uint64(now) / 1e9
			if rapid.Bool().Draw(t, "request") {
				b.Request(now)
				requests[s]++
				continue
			}
			q, r := 0, 0
			for i := range uint64(windowSeconds) {
				q, r = q+requests[s-i], r+retries[s-i]
			}
			earned, least := c.Ratio*float64(q), 10*c.MinPerSecond/float64(max(nodes, 1))
			want := float64(r+1) <= max(earned, earned/2+least)
			if got := b.Retry(now); got != want {
				t.Fatalf("Retry = %v after %d requests and %d retries", got, q, r)
			} else if got {
				retries[s]++
			}
		}
	})
}

// TestFleetBudget: whatever nodes that share the minimum do, their retries together are in any ten seconds of the clock at most
// ratio × requests of twenty + 10 × minimum, and over any time ratio × requests + minimum × (time + 10 s).
func TestFleetBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := BudgetConfig{Ratio: rapid.SampledFrom([]float64{0, 0.1, 0.2, 0.5, 1}).Draw(t, "ratio"), MinPerSecond: float64(rapid.IntRange(0, 3).Draw(t, "min"))}
		nodes := make([]Budget, rapid.IntRange(1, 12).Draw(t, "nodes"))
		for i := range nodes {
			nodes[i].cfg.Store(&c)
			nodes[i].Share(len(nodes))
		}
		requests, retries := map[uint64]int{}, map[uint64]int{}
		allRequests, allRetries := 0, 0
		now := second(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "ms")) * time.Millisecond)
			s := uint64(now) / 1e9
			b := &nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")]
			for range rapid.IntRange(0, 40).Draw(t, "requests") {
				b.Request(now)
				requests[s]++
				allRequests++
			}
			for range rapid.IntRange(0, 40).Draw(t, "retries") {
				if b.Retry(now) {
					retries[s]++
					allRetries++
				}
			}
			q, r := 0, 0
			for i := range uint64(windowSeconds) {
				q, r = q+requests[s-i]+requests[s-10-i], r+retries[s-i]
			}
			if float64(r) > c.Ratio*float64(q)+10*c.MinPerSecond+1e-9 {
				t.Fatalf("%d retries in 10 s, %d requests in 20 s", r, q)
			}
			if most := c.Ratio*float64(allRequests) + c.MinPerSecond*(now.Sub(second(0)).Seconds()+10) + 1e-9; float64(allRetries) > most {
				t.Fatalf("%d retries in all, at most %v", allRetries, most)
			}
		}
	})
	var alone [4]Budget
	taken := 0
	for i := range alone {
		alone[i].cfg.Store(&BudgetConfig{MinPerSecond: 3})
		alone[i].Share(len(alone))
		for alone[i].Retry(second(0)) {
			taken++
		}
	}
	if taken != 28 { // 30, less the fraction that each has left
		t.Errorf("four idle nodes have %d retries, want 28", taken)
	}
}

// trouble is a run of a pool in simulated time: rate requests a second for length, all attempts that begin within [from, to) fail,
// each after wait, and are repeated as often as the budget allows, up to 5 attempts.
type trouble struct {
	rate             int
	length, from, to time.Duration
	wait             time.Duration
}

func (o trouble) run(b *Budget) (requests, attempts int) {
	const step = 10 * time.Millisecond
	due := map[mono.Time][]int{} // attempts that fail at an instant, by how many there were
	start, credit := second(0), 0
	for at := time.Duration(0); at < o.length+5*o.wait+step; at += step {
		now := start.Add(at)
		try := func(n int) {
			attempts++
			if at >= o.from && at < o.to && n < 5 {
				end := now.Add(o.wait)
				due[end] = append(due[end], n)
			}
		}
		if at < o.length {
			for credit += o.rate; credit >= 100; credit -= 100 {
				requests++
				b.Request(now)
				try(1)
			}
		}
		for i := 0; i < len(due[now]); i++ {
			if b.Retry(now) {
				try(due[now][i] + 1)
			}
		}
		delete(due, now)
	}
	return requests, attempts
}

// TestTroubleIsNotMultiplied: five seconds in which all attempts fail, slowly, at any moment of a run, its very start included,
// make no more than 1.2 attempts a request, if there are 300 requests by their end. A minute of trouble may take the
// minimum besides: once at 30 requests a second and more, else as often as it comes.
func TestTroubleIsNotMultiplied(t *testing.T) {
	c := BudgetConfig{Ratio: 0.2, MinPerSecond: 3}
	used := 0.0
	rapid.Check(t, func(t *rapid.T) {
		from := time.Duration(rapid.IntRange(0, 1500).Draw(t, "from")) * 10 * time.Millisecond
		o := trouble{rate: rapid.IntRange(60, 600).Draw(t, "rate"), from: from, to: from + 5*time.Second,
			wait: time.Duration(rapid.IntRange(0, 50).Draw(t, "wait")) * 10 * time.Millisecond}
		o.length = o.to + time.Duration(rapid.IntRange(0, 500).Draw(t, "after"))*10*time.Millisecond
		var b Budget
		b.cfg.Store(&c)
		requests, attempts := o.run(&b)
		if float64(attempts) > 1.2*float64(requests) {
			t.Fatalf("%+v: %d attempts of %d requests", o, attempts, requests)
		}
		used = max(used, float64(attempts)/float64(requests))
	})
	if used < 1.19 {
		t.Errorf("never more than %.3f attempts a request: the budget was not tried", used)
	}
	rapid.Check(t, func(t *rapid.T) {
		o := trouble{rate: rapid.IntRange(1, 200).Draw(t, "rate"), to: time.Minute, length: time.Minute}
		var b Budget
		b.cfg.Store(&c)
		requests, attempts := o.run(&b)
		least := 60 * c.MinPerSecond
		if o.rate >= 30 {
			least = 10 * c.MinPerSecond
		}
		if float64(attempts) > 1.2*float64(requests)+least {
			t.Fatalf("%+v: %d attempts of %d requests", o, attempts, requests)
		}
	})
}
