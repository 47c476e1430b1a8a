package balancer

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func drawWeights(t *rapid.T) []int {
	return rapid.SliceOfN(rapid.IntRange(1, 30), 1, 12).Draw(t, "weights")
}

// TestWeightedIsExactAndSmooth: in every cycle each endpoint has exactly its weight, and within any number of generations
// it is never more than one lease from its share.
func TestWeightedIsExactAndSmooth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := drawWeights(t)
		p, err := New("test", Config{Balance: Weighted, Endpoints: hosts(len(weights), weights...)}, Hooks{}, second(0))
		if err != nil {
			t.Fatal(err)
		}
		total, highest := 0, 0
		for _, w := range weights {
			total += w
			highest = max(highest, w)
		}
		members := p.members
		for cycle := range 3 {
			got := map[*Endpoint]int{}
			for range total {
				l, _ := p.Lease(0, nil, second(0))
				got[l.Endpoint()]++
				l.Done(second(0))
				generations := float64(p.seq.n.Load()) / float64(len(weights))
				for i, e := range members {
					share := math.Mod(generations, float64(highest)) * float64(weights[i]) / float64(highest)
					if d := float64(got[e]) - share; len(members) > 1 && math.Abs(d) > 2 && math.Abs(d-float64(weights[i])) > 2 {
						t.Fatalf("weights %v: endpoint %d has %d leases after %.1f generations, share %.1f", weights, i, got[e], generations, share)
					}
				}
			}
			for i, e := range members {
				if got[e] != weights[i] {
					t.Fatalf("weights %v, cycle %d: endpoint %d has %d leases", weights, cycle, i, got[e])
				}
			}
		}
	})
}

func TestRoundRobinIsExact(t *testing.T) {
	p := newPool(t, Config{Balance: RoundRobin, Endpoints: hosts(7, 1, 9)}, Hooks{})
	got := map[*Endpoint]int{}
	for range 700 {
		got[exchange(t, p, Success, second(0))]++
	}
	for e, n := range got {
		if n != 100 {
			t.Errorf("%s has %d, want 100", e.Address(), n)
		}
	}
}

func TestRoundRobinSharesWhatOneCannotTake(t *testing.T) {
	p := newPool(t, Config{Balance: RoundRobin, Endpoints: hosts(3), MaxConnections: 1}, Hooks{})
	full := lease(t, p, 0, nil, second(0))
	got := map[*Endpoint]int{}
	for range 600 {
		got[exchange(t, p, Success, second(0))]++
	}
	if got[full.Endpoint()] != 0 || len(got) != 2 {
		t.Fatalf("leases %v", got)
	}
	for e, n := range got {
		if n != 300 {
			t.Errorf("%s has %d, want 300", e.Address(), n)
		}
	}
	full.Done(second(0))
}

func TestRandomFollowsWeights(t *testing.T) {
	p := newPool(t, Config{Balance: Random, Endpoints: hosts(3, 1, 2, 7)}, Hooks{})
	const n = 100_000
	for range n {
		exchange(t, p, Success, second(0))
	}
	for i, w := range []float64{0.1, 0.2, 0.7} {
		if got := float64(member(t, p, i).leases.Load()) / n; math.Abs(got-w) > 0.01 { // over six standard deviations
			t.Errorf("endpoint %d has %.3f, want %.1f", i, got, w)
		}
	}
}

// TestLeastRequestsIsLeast: each lease goes to a lowest (in flight + 1) / weight.
func TestLeastRequestsIsLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := drawWeights(t)
		p, err := New("test", Config{Balance: LeastRequests, Endpoints: hosts(len(weights), weights...)}, Hooks{}, second(0))
		if err != nil {
			t.Fatal(err)
		}
		cost := func(e *Endpoint, n int64) float64 { return float64(n) / float64(e.weight.Load()) }
		var out []Lease
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			if len(out) > 0 && rapid.IntRange(0, 2).Draw(t, "done") == 0 {
				i := rapid.IntRange(0, len(out)-1).Draw(t, "which")
				out[i].Done(second(0))
				out = append(out[:i], out[i+1:]...)
				continue
			}
			l, _ := p.Lease(0, nil, second(0))
			for _, e := range p.members {
				if e != l.Endpoint() && cost(e, e.InFlight()+1) < cost(l.Endpoint(), l.Endpoint().InFlight()) {
					t.Fatalf("took one at %.3f, %s was at %.3f", cost(l.Endpoint(), l.Endpoint().InFlight()), e.Address(), cost(e, e.InFlight()+1))
				}
			}
			out = append(out, l)
		}
	})
}

func TestLeastRequestsOfManyFindsIdleOnes(t *testing.T) {
	p := newPool(t, Config{Balance: LeastRequests, Endpoints: hosts(200)}, Hooks{})
	for range 2000 {
		lease(t, p, 0, nil, second(0))
	}
	for _, e := range p.members {
		if n := e.InFlight(); n > 14 { // one at random would leave some at 20 and more
			t.Errorf("%s has %d in flight, the mean is 10", e.Address(), n)
		}
	}
}

func TestP2CPrefersTheFast(t *testing.T) {
	p := newPool(t, Config{Balance: P2C, Endpoints: hosts(3)}, Hooks{})
	slow := member(t, p, 0)
	now := second(0)
	for range 10_000 {
		now = now.Add(time.Millisecond)
		l := lease(t, p, 0, nil, now)
		rtt := time.Millisecond
		if l.Endpoint() == slow {
			rtt = 50 * time.Millisecond
		}
		l.Report(Success, rtt, now)
		l.Done(now)
	}
	if n := slow.leases.Load(); n > 100 {
		t.Errorf("the slow one has %d of 10000", n)
	}
}

func TestP2CDoesNotFallForFastFaults(t *testing.T) {
	p := newPool(t, Config{Balance: P2C, Endpoints: hosts(2)}, Hooks{})
	bad := member(t, p, 0)
	now := second(0)
	for range 1000 {
		now = now.Add(time.Millisecond)
		l := lease(t, p, 0, nil, now)
		if l.Endpoint() == bad && now > second(0.5) {
			l.Report(Fault, time.Microsecond, now)
		} else {
			l.Report(Success, 10*time.Millisecond, now)
		}
		l.Done(now)
	}
	if share := float64(bad.leases.Load()) / 1000; share > 0.6 {
		t.Errorf("the one that faults at once has %.2f of the leases", share)
	}
}

func TestEWMAPeaksAndDecays(t *testing.T) {
	var m ewma
	f := func(at float64, rtt time.Duration, failed bool, want time.Duration) {
		t.Helper()
		m.observe(rtt, failed, second(at))
		if got := time.Duration(m.value(second(at))); (got - want).Abs() > want/100+time.Microsecond {
			t.Errorf("at %v s: %v, want %v", at, got, want)
		}
	}
	f(0, 5*time.Millisecond, true, 0)                     // a fault tells nothing of one unknown
	f(0, 10*time.Millisecond, false, 10*time.Millisecond) // the first sample
	f(1, 100*time.Millisecond, false, 100*time.Millisecond)
	f(11, 10*time.Millisecond, false, 43109*time.Microsecond) // 100/e + 10 (1 - 1/e)
	f(21, 1*time.Millisecond, true, 43109*time.Microsecond)   // a fast fault keeps it
	f(20, 80*time.Millisecond, false, 80*time.Millisecond)    // late, and a peak all the same
	m.reset()
	if m.value(second(30)) != 0 || m.last() != 0 {
		t.Error("known after reset")
	}
}

func owners(p *Pool, keys int) []*Endpoint {
	got := make([]*Endpoint, keys)
	for i := range got {
		l, _ := p.Lease(uint64(i), nil, second(0))
		got[i] = l.Endpoint()
		l.Done(second(0))
	}
	return got
}

func moved(t *testing.T, before, after []*Endpoint) float64 {
	t.Helper()
	n := 0
	for i := range before {
		if before[i] != after[i] {
			n++
		}
	}
	return float64(n) / float64(len(before))
}

// TestHashingMovesFewKeys: one more or one less of n endpoints moves about 1/n of the keys, and illness moves only the keys of
// the one that is ill, which spread over all.
func TestHashingMovesFewKeys(t *testing.T) {
	const keys = 20_000
	for _, b := range []Balance{RingHash, Maglev} {
		for _, n := range []int{3, 10, 50} {
			c := Config{Balance: b, Endpoints: hosts(n)}
			p := newPool(t, c, Hooks{})
			before := owners(p, keys)
			share := map[*Endpoint]float64{}
			for _, e := range before {
				share[e] += float64(n) / keys
			}
			for e, s := range share {
				if s < 0.65 || s > 1.45 || b == Maglev && (s < 0.85 || s > 1.15) {
					t.Errorf("%v of %d: %s has %.2f of its share", b, n, e.Address(), s)
				}
			}
			if err := p.Drain(c.Endpoints[1].Address); err != nil {
				t.Fatal(err)
			}
			ill := member(t, p, 1)
			took := map[*Endpoint]int{}
			for i, e := range owners(p, keys) {
				if e == ill || before[i] != ill && e != before[i] {
					t.Fatalf("%v of %d: key %d of %s moved to %s", b, n, i, before[i].Address(), e.Address())
				}
				if before[i] == ill {
					took[e]++
				}
			}
			if len(took) < (n-1)*9/10 {
				t.Errorf("%v of %d: the keys went to only %d", b, n, len(took))
			}
			if err := p.Ready(c.Endpoints[1].Address); err != nil {
				t.Fatal(err)
			}
			c.Endpoints = c.Endpoints[:n-1]
			if err := p.Reconfigure(c, second(0)); err != nil {
				t.Fatal(err)
			}
			if m := moved(t, before, owners(p, keys)); m > 1.5/float64(n)+0.02 {
				t.Errorf("%v of %d: one less moved %.3f of the keys", b, n, m)
			}
		}
	}
}

func TestMaglevFollowsWeights(t *testing.T) {
	p := newPool(t, Config{Balance: Maglev, Endpoints: hosts(4, 1, 2, 5, 2)}, Hooks{})
	got := make([]float64, 4)
	for _, m := range p.lookup.table {
		got[m] += 10.0 / maglevSize
	}
	for i, want := range []float64{1, 2, 5, 2} {
		if math.Abs(got[i]-want) > 0.01 {
			t.Errorf("endpoint %d has %.3f tenths of the slots, want %v", i, got[i], want)
		}
	}
}

// TestRingIsBounded: however skewed the keys, nobody is over ⌈1.25 × its share⌉ of what is in flight when it is leased.
func TestRingIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := drawWeights(t)
		p, err := New("test", Config{Balance: RingHash, Endpoints: hosts(len(weights), weights...)}, Hooks{}, second(0))
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, w := range weights {
			total += w
		}
		keys := rapid.IntRange(1, 4).Draw(t, "keys")
		var out []Lease
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if len(out) > 0 && rapid.IntRange(0, 3).Draw(t, "done") == 0 {
				i := rapid.IntRange(0, len(out)-1).Draw(t, "which")
				out[i].Done(second(0))
				out = append(out[:i], out[i+1:]...)
				continue
			}
			l, _ := p.Lease(uint64(rapid.IntRange(1, keys).Draw(t, "key")), nil, second(0))
			out = append(out, l)
			e := l.Endpoint()
			if bound := math.Ceil(1.25 * float64(len(out)) * float64(e.weight.Load()) / float64(total)); float64(e.InFlight()) > bound {
				t.Fatalf("%d of %d in flight at weight %d of %d, bound %v", e.InFlight(), len(out), e.weight.Load(), total, bound)
			}
		}
	})
}

func TestHashingIgnoresTheOrderOfEndpoints(t *testing.T) {
	for _, b := range []Balance{RingHash, Maglev} {
		c := Config{Balance: b, Endpoints: hosts(5)}
		p := newPool(t, c, Hooks{})
		before := owners(p, 5000)
		rand.Shuffle(5, func(i, j int) { c.Endpoints[i], c.Endpoints[j] = c.Endpoints[j], c.Endpoints[i] })
		if err := p.Reconfigure(c, second(0)); err != nil {
			t.Fatal(err)
		}
		if m := moved(t, before, owners(p, 5000)); m > 0.001 {
			t.Errorf("%v: another order moved %.3f of the keys", b, m)
		}
	}
}

func TestParseBalance(t *testing.T) {
	for _, b := range allBalances {
		if got, err := ParseBalance(b.String()); err != nil || got != b {
			t.Errorf("%v: %v, %v", b, got, err)
		}
	}
	if _, err := ParseBalance("best"); err == nil {
		t.Error("no error")
	}
}
