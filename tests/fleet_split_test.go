package tests

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestFleetKill kills one of three gateways under load, whose clients go to the others, and starts it again: no more than the bound is
// admitted on top of the limit, and in the end all of it is used.
func TestFleetKill(t *testing.T) {
	const killed, back = 5 * time.Second, 18 * time.Second
	long := lasting(28*time.Second, time.Minute)
	twice(t, func() (problems []string, stall time.Duration) {
		f := startFleet(t, 3, nil, fleetPolicy)
		var up atomic.Bool
		up.Store(true)
		d := &drive{nodes: f.nodes, field: "x-user", users: []string{"a"}, rate: func(node int, _ time.Duration) float64 {
			switch {
			case up.Load():
				return 2 * fleetRate / 3
			case node == 2:
				return 0
			}
			return fleetRate
		}}
		bound, _ := f.excess("shared")
		begin := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { d.run(t, long) })
		time.Sleep(time.Until(begin.Add(killed)))
		up.Store(false)
		f.nodes[2].kill()
		dead := f.until(back-killed, "both call the killed one dead", func() bool { return f.view(0).dead() == 1 && f.view(1).dead() == 1 })
		time.Sleep(time.Until(begin.Add(back)))
		f.nodes[2] = f.nodes[2].again()
		together := f.until(10*time.Second, "all are together again", f.together)
		up.Store(true)
		wg.Wait()

		o := d.tally(fleetBurst, fleetRate)
		stall = d.stall
		share := func(a, b time.Duration) string {
			return percent(float64(o.between(a, b))/(fleetRate*(b-a).Seconds()) - 1)
		}
		full := killed + time.Second
		for full < back && float64(o.between(full, full+time.Second)) < 0.98*fleetRate {
			full += 100 * time.Millisecond
		}
		record(t, "One of three killed, and started again",
			"offered | admitted | one bucket admits | error over the run | rate until held dead | all used again after | rate in the last 5 s | most over the envelope | bound shown | held dead after | together after",
			o.offered, o.admitted, o.ideal, percent(o.err()), share(killed+time.Second, killed+dead), (full - killed).Round(100*time.Millisecond),
			share(long-5*time.Second, long), fmt.Sprintf("%+.1f", o.over), bound, dead.Round(100*time.Millisecond), together.Round(100*time.Millisecond))
		if o.over > bound {
			problems = append(problems, fmt.Sprintf("%.1f over the envelope, the bound is %.1f", o.over, bound))
		}
		if n := o.between(long-5*time.Second, long); float64(n) < 0.99*5*fleetRate {
			problems = append(problems, fmt.Sprintf("%d admitted in the last 5 s, the limit is %d", n, 5*fleetRate))
		}
		if full >= back {
			problems = append(problems, "two do not use the whole limit before the third is back")
		}
		if o.faults > 4*len(f.nodes) {
			problems = append(problems, fmt.Sprintf("%d requests without an answer", o.faults))
		}
		f.stop()
		return problems, stall
	})
}

// until polls until ok holds and returns how long that took, or fails the test.
func (f *fleet) until(d time.Duration, what string, ok func() bool) time.Duration {
	f.t.Helper()
	begin := time.Now()
	eventually(f.t, d, what, ok)
	return time.Since(begin)
}

// together reports whether all nodes see all.
func (f *fleet) together() bool {
	for i := range f.nodes {
		if !f.view(i).complete(len(f.nodes)) {
			return false
		}
	}
	return true
}

// countedPolicy is a limit in which nothing comes back: what nodes have told each other can be compared with what clients were given.
const countedLimit = 4200

var splitPolicies = fleetPolicy + fmt.Sprintf(`  - {name: counted, dimensions: [counted], algorithm: fixed_window, limit: %d, window: 8760h, scope: cluster}
`, countedLimit)

// counted is what is left of the counted limit, as node i sees it.
func (f *fleet) counted(i int) int {
	f.t.Helper()
	_, body := f.nodes[i].admin("POST", "/api/v1/check", `{"key":"k","tokens":0,"metadata":{"counted":"c"}}`)
	return number(body, `"policy": *"counted"[^}]*"remaining": *(\d+)`)
}

// disturbed is a scenario in which the network between three gateways is not what it should be for a while.
type disturbed struct {
	name    string
	what    string
	disturb func(nw *network)
	long    time.Duration // of the disturbance
	before  time.Duration
	after   time.Duration
	rate    func(int, time.Duration) float64
	deaths  bool    // are in order
	apart   float64 // the share of a minority, which keeps a tenth of it although the majority takes over: limiter/doc.go, Silence
}

// TestFleetSplit cuts the network between gateways, or has it lose packets, under load, and heals it. No side admits much more than the
// limit in any second, a heal gives no second burst, and within 3 s all see and count the same. While a minority is cut off it keeps a tenth
// of its share: the bound is then over R·(1 + w/10), w being the share.
func TestFleetSplit(t *testing.T) {
	cut := lasting(12*time.Second, 30*time.Second)
	lossy := lasting(8*time.Second, 30*time.Second)
	even := spread(2*fleetRate, 1, 1, 1)
	for _, c := range []disturbed{
		{name: "split", what: "two of three cut off from the third", disturb: func(nw *network) { nw.rule(2, -1, rule{loss: 1}) }, long: cut, before: 4 * time.Second, after: 8 * time.Second, rate: even, deaths: true, apart: 1.0 / 3},
		{name: "one-way", what: "nothing gets from one to another, all else does", disturb: func(nw *network) { nw.oneWay(2, 0, rule{loss: 1}) }, long: lossy, before: 4 * time.Second, after: 5 * time.Second, rate: even},
		{name: "loss", what: "20 % of all packets are lost", disturb: func(nw *network) { nw.rule(-1, -1, rule{loss: 0.2}) }, long: lossy, before: 4 * time.Second, after: 5 * time.Second, rate: even},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !inFull {
				t.Parallel()
			}
			twice(t, func() ([]string, time.Duration) { return c.run(t) })
		})
	}
}

func (c disturbed) run(t *testing.T) (problems []string, stall time.Duration) {
	nw := newNetwork(t, 3)
	f := startFleet(t, 3, nw, splitPolicies)
	d := &drive{nodes: f.nodes, field: "x-user", users: []string{"a"}, rate: c.rate}
	counts := &drive{nodes: f.nodes, field: "x-counted", users: []string{"c"}, rate: func(_ int, at time.Duration) float64 {
		if at < c.before {
			return 200 // until more than half of the limit is spent, and the nodes tell each other
		}
		return 10
	}}
	bound, _ := f.excess("shared")
	begin := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() { d.run(t, c.before+c.long+c.after) })
	wg.Go(func() { counts.run(t, c.before+c.long) })
	time.Sleep(time.Until(begin.Add(c.before)))
	c.disturb(nw)
	dead, lost, course := 0, 0, []string(nil)
	for time.Since(begin) < c.before+c.long-50*time.Millisecond {
		time.Sleep(50 * time.Millisecond)
		lost = 0
		line := ""
		for i := range f.nodes {
			v := f.view(i)
			line += fmt.Sprintf("  node %d: %d of %d heard, share %g, %d dead", i, v.Heard, v.Nodes, v.Share, v.dead())
			dead = max(dead, v.dead())
			for _, m := range v.Members {
				lost += m.Lost
			}
		}
		if line = strings.TrimSpace(line); len(course) == 0 || !strings.HasSuffix(course[len(course)-1], line) {
			course = append(course, fmt.Sprintf("%5.2f s %s", time.Since(begin).Seconds(), line))
		}
	}
	time.Sleep(time.Until(begin.Add(c.before + c.long)))
	nw.rule(-1, -1, rule{})
	healed := time.Now()
	views, equal := never, never
	for time.Since(healed) < c.after-time.Second/2 && max(views, equal) == never {
		if views == never && f.together() {
			views = time.Since(healed)
		}
		if a := f.counted(0); equal == never && a == f.counted(1) && a == f.counted(2) {
			equal = time.Since(healed)
		}
		time.Sleep(10 * time.Millisecond)
	}
	wg.Wait()

	o, spent := d.tally(fleetBurst, fleetRate), counts.tally(countedLimit, 1)
	stall = max(d.stall, counts.stall)
	left := []int{f.counted(0), f.counted(1), f.counted(2)}
	during := o.between(c.before+time.Second, c.before+c.long)
	calm, until := c.before+c.long+3*time.Second, min(c.before+c.long+c.after, o.end.Sub(o.begin)) // when the last request was sent
	after := o.between(calm, until)
	least := 1.0 // all ask for the same
	for i := range d.nodes {
		own := tally{begin: o.begin, passed: d.passed(i)}
		least = min(least, 3*float64(own.between(calm, until))/float64(after))
	}
	shareOf := func(n int, d time.Duration) string { return percent(float64(n)/(fleetRate*d.Seconds()) - 1) }
	record(t, "A network that fails for a while",
		"what happens | for | offered | admitted | one bucket admits | error over the run | rate while it lasts | rate from 3 s after the heal | least of the gateways then, of a third | most over the envelope | by times of answers | bound shown | most in one second | views complete after the heal | counters equal after | held dead at once | frames missed",
		c.what, c.long, o.offered, o.admitted, o.ideal, percent(o.err()), shareOf(during, c.long-time.Second), shareOf(after, until-calm), fmt.Sprintf("%.0f %%", 100*least),
		fmt.Sprintf("%+.1f", o.over), fmt.Sprintf("%+.1f", o.apparent), bound, o.busiest(time.Second), took(views), took(equal), dead, lost)
	t.Logf("views:\n%s\nadmitted in each second:\n%s", strings.Join(course, "\n"), d.course())
	no := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if over := overRate(o.passed, fleetBurst, fleetRate*(1+c.apart/10)); over > bound {
		no("%.1f over the envelope of %.0f%% of the rate, the bound is %.1f", over, 100*(1+c.apart/10), bound)
	}
	if n := o.busiest(time.Second); float64(n) > 1.1*fleetRate+fleetBurst {
		no("%d admitted within a second", n)
	}
	if views > 3*time.Second {
		no("the views are complete after %s", took(views))
	}
	if equal > 3*time.Second {
		no("the counters are equal after %s: %v", took(equal), left)
	}
	for i, n := range left {
		if n != countedLimit-spent.admitted {
			no("node %d counts %d left of %d, clients were given %d", i, n, countedLimit, spent.admitted)
		}
	}
	if got, want := f.decided("shared", "allowed"), o.admitted; got != want {
		no("the gateways admitted %d, the clients were given %d", got, want)
	}
	if got, want := f.decided("shared", "refused"), o.refused; got != want {
		no("the gateways refused %d, the clients were refused %d", got, want)
	}
	if !c.deaths && dead > 0 {
		no("%d held dead that live", dead)
	}
	if o.faults+spent.faults > 0 {
		no("%d requests without an answer", o.faults+spent.faults)
	}
	if n := float64(after); n < 0.99*fleetRate*(until-calm).Seconds() {
		no("%.0f admitted from 3 s after the heal", n)
	}
	if least < 0.5 {
		no("from 3 s after the heal one gateway is given %.0f %% of its third", 100*least)
	}
	f.stop()
	return problems, stall
}

// never is when what was waited for did not happen.
const never = time.Hour

func took(d time.Duration) string {
	if d == never {
		return "never"
	}
	return d.Round(10 * time.Millisecond).String()
}

// TestFleetFarAway: 50 ms from node to node, and 5 % of the packets lost.
func TestFleetFarAway(t *testing.T) {
	loads := fleetDemands[:4]
	twice(t, func() (problems []string, stall time.Duration) {
		nw := newNetwork(t, 3)
		nw.rule(-1, -1, rule{loss: 0.05, delay: 50 * time.Millisecond})
		f := startFleet(t, 3, nw, fleetPolicy)
		time.Sleep(2 * time.Second) // round trips are measured
		long := lasting(12*time.Second, 30*time.Second)
		drives := make([]*drive, len(loads))
		var wg sync.WaitGroup
		for i, l := range loads {
			drives[i] = &drive{nodes: f.nodes, field: "x-user", users: []string{"user-" + l.name[:3] + string(rune('a'+i))}, rate: l.rate}
			wg.Go(func() { drives[i].run(t, long) })
		}
		dead := 0
		for begin := time.Now(); time.Since(begin) < long; time.Sleep(100 * time.Millisecond) {
			for i := range f.nodes {
				dead = max(dead, f.view(i).dead())
			}
		}
		wg.Wait()
		bound, seen := f.excess("shared")
		for i, d := range drives {
			o := d.tally(fleetBurst, fleetRate)
			stall = max(stall, d.stall)
			record(t, "Gateways 50 ms apart that lose 5 % of the packets", accuracyColumns, loads[i].name, o.offered, o.admitted, o.ideal, percent(o.err()),
				fmt.Sprintf("%+.1f", o.over), fmt.Sprintf("%+.1f", o.apparent), bound, seen)
			if o.over > bound {
				problems = append(problems, fmt.Sprintf("%s: %.1f over the envelope, the bound is %.1f", loads[i].name, o.over, bound))
			}
			if o.faults > 0 || o.err() < -0.1 {
				problems = append(problems, fmt.Sprintf("%s: error %s, %d without an answer", loads[i].name, percent(o.err()), o.faults))
			}
		}
		if dead > 0 {
			problems = append(problems, fmt.Sprintf("%d held dead that live", dead))
		}
		f.stop()
		return problems, stall
	})
}
