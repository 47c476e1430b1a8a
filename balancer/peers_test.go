package balancer

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// TestPeersHastenABreaker is a table of time: what peers said, and how many failures in a row then open a breaker of a threshold.
func TestPeersHastenABreaker(t *testing.T) {
	type word struct {
		at    float64
		node  uint64
		state BreakerState
	}
	const closed, open, half = BreakerStateClosed, BreakerStateOpen, BreakerStateHalfOpen
	f := func(threshold int, at float64, want int, said ...word) {
		t.Helper()
		c := testBreaker()
		c.FailureThreshold = threshold
		p := newPool(t, Config{Endpoints: hosts(2), Breaker: c}, Hooks{})
		e := member(t, p, 1)
		for _, w := range said {
			p.Hear(e.address, w.node, w.state, second(w.at))
		}
		got := 0
		for ; got < 2*threshold && e.breaker.State() == closed; got++ {
			fail(e, 1, second(at))
		}
		if got != want || member(t, p, 0).breaker.State() != closed {
			t.Errorf("threshold %d, %v: open after %d failures at %v s, want %d", threshold, said, got, at, want)
		}
	}
	f(10, 1, 10)
	f(10, 1, 2, word{0, 7, open})
	f(10, 1, 2, word{0, 7, half})
	f(10, 1, 10, word{0, 7, closed})
	f(10, 1, 10, word{0, 7, 3})
	f(10, 2.999, 2, word{0, 7, open})
	f(10, 3, 10, word{0, 7, open})
	f(10, 3, 2, word{0, 7, open}, word{1, 7, open})
	f(10, 3, 2, word{0, 7, open}, word{1, 8, open})
	f(10, 1, 10, word{0, 7, open}, word{1, 7, closed})
	f(10, 1, 2, word{0, 7, open}, word{0, 8, open}, word{1, 8, closed})
	f(10, 3, 10, word{0, 7, open}, word{0, 8, open}, word{1, 8, closed})
	f(100, 1, 25, word{0, 7, open})
	f(8, 1, 2, word{0, 7, open})
	f(7, 1, 1, word{0, 7, open})
	f(1, 1, 1, word{0, 7, open})
}

// TestWhatPeersSay compares with a list of all that was said, and floods it with nodes that do not exist.
func TestWhatPeersSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := New("test", Config{Endpoints: hosts(2), Breaker: testBreaker()}, Hooks{}, second(0))
		if err != nil {
			t.Fatal(err)
		}
		last := map[string]map[uint64]mono.Time{"10.0.0.1:80": {}, "10.0.0.2:80": {}, "10.9.9.9:80": {}} // until when, by node
		now := second(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "ms")) * time.Millisecond)
			address := rapid.SampledFrom([]string{"10.0.0.1:80", "10.0.0.2:80", "10.9.9.9:80"}).Draw(t, "address")
			node, state := rapid.Uint64Range(1, maxHeard).Draw(t, "node"), BreakerState(rapid.IntRange(0, 4).Draw(t, "state"))
			p.Hear(address, node, state, now)
			switch state {
			case BreakerStateClosed:
				delete(last[address], node)
			case BreakerStateOpen, BreakerStateHalfOpen:
				last[address][node] = now.Add(3 * time.Second)
			}
			for _, e := range p.members {
				want := false
				for _, until := range last[e.address] {
					want = want || now < until
				}
				if got := e.breaker.thresholdLocked(now) == 2; got != want {
					t.Fatalf("%s hastened: %v, want %v", e.address, got, want)
				}
				if e.breaker.State() != BreakerStateClosed {
					t.Fatal("words opened a breaker")
				}
			}
		}
		e := p.members[0]
		for node := range uint64(1000) {
			p.Hear(e.address, 1000+node, BreakerStateOpen, now)
			p.Hear(e.address, node+5000, BreakerStateClosed, now)
		}
		if len(e.heard) > maxHeard || e.heard[0].node < 1900 || p.Stats().Endpoints[0].PeersEnd != now.Add(3*time.Second) {
			t.Fatalf("%d words are kept: %v", len(e.heard), e.heard)
		}
	})
}

// TestLiarsOpenNothing: with peers that say everything is open all the time, a breaker of threshold 10 stays closed while no two
// failures in a row are its own, and half open it is as it would be without them.
func TestLiarsOpenNothing(t *testing.T) {
	p := newPool(t, Config{Endpoints: hosts(1), Breaker: testBreaker()}, Hooks{})
	e := member(t, p, 0)
	for i := range 1000 {
		now := second(float64(i) / 10)
		for node := range uint64(20) {
			p.Hear(e.address, node, BreakerStateOpen, now)
		}
		if i%2 == 0 {
			fail(e, 1, now)
		} else if exchange(t, p, Success, now) == nil {
			t.Fatal("no lease")
		}
	}
	if n := e.breaker.Transitions(); n != 0 {
		t.Fatalf("%d transitions", n)
	}
	fail(e, 2, second(100))
	for i := range 5 {
		now := second(130 + float64(i)/10)
		p.Hear(e.address, 1, BreakerStateOpen, now)
		exchange(t, p, Success, now)
	}
	if s := e.breaker.State(); s != BreakerStateClosed {
		t.Errorf("%v after five good answers while half open", s)
	}
}

// TestAppendBreakers: what is not closed, by address, after what was there, and no more than the bound.
func TestAppendBreakers(t *testing.T) {
	f := func(n int, open []int, half []int, want ...PeerBreaker) {
		t.Helper()
		c := Config{Endpoints: hosts(n), Breaker: testBreaker()}
		slices.Reverse(c.Endpoints)
		p := newPool(t, c, Hooks{})
		for _, i := range append(open, half...) {
			fail(p.index[hosts(n)[i].Address], 10, second(0))
		}
		for _, i := range half {
			p.index[hosts(n)[i].Address].breaker.HalfOpen()
		}
		had := PeerBreaker{"z", BreakerStateClosed}
		got := p.AppendBreakers([]PeerBreaker{had})
		if !slices.Equal(got, append([]PeerBreaker{had}, want...)) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	f(3, nil, nil)
	f(3, []int{0, 2}, []int{1}, PeerBreaker{"10.0.0.1:80", BreakerStateOpen}, PeerBreaker{"10.0.0.2:80", BreakerStateHalfOpen}, PeerBreaker{"10.0.0.3:80", BreakerStateOpen})
	var all []int
	var told []PeerBreaker
	for i, h := range hosts(100) {
		all = append(all, i)
		told = append(told, PeerBreaker{h.Address, BreakerStateOpen})
	}
	slices.SortFunc(told, func(x, y PeerBreaker) int { return slices.Compare([]byte(x.Address), []byte(y.Address)) })
	f(100, all, nil, told[:64]...)
}

// TestTwoGatewaysTell: what one appends the other hears; a member that came later can be heard of, too.
func TestTwoGatewaysTell(t *testing.T) {
	ours, theirs := newPool(t, Config{Endpoints: hosts(1), Breaker: testBreaker()}, Hooks{}), newPool(t, Config{Endpoints: hosts(3), Breaker: testBreaker()}, Hooks{})
	if err := ours.Reconfigure(Config{Endpoints: hosts(3), Breaker: testBreaker()}, second(0)); err != nil {
		t.Fatal(err)
	}
	fail(member(t, theirs, 2), 10, second(0))
	for _, b := range theirs.AppendBreakers(nil) {
		ours.Hear(b.Address, 2, b.State, second(0))
	}
	for i, want := range []BreakerState{BreakerStateClosed, BreakerStateClosed, BreakerStateOpen} {
		fail(member(t, ours, i), 2, second(1))
		if got := member(t, ours, i).breaker.State(); got != want {
			t.Errorf("%d is %v after two failures, want %v", i, got, want)
		}
	}
}

// TestEarlyOpeningIsTold: an operator who sees a breaker open after two failures is told why, and only then.
func TestEarlyOpeningIsTold(t *testing.T) {
	var details []string
	p := newPool(t, Config{Endpoints: hosts(1), Breaker: testBreaker()}, Hooks{Event: func(e Event) {
		if e.Kind == BreakerOpened {
			details = append(details, e.Detail)
		}
	}})
	e := member(t, p, 0)
	p.Hear(e.address, 1, BreakerStateOpen, second(0))
	fail(e, 2, second(0))
	l := lease(t, p, 0, nil, second(30)) // half open
	p.Hear(e.address, 1, BreakerStateOpen, second(30))
	l.Report(Fault, 0, second(30))
	if want := []string{"for 30s, early since a peer's is open", "for 1m0s"}; !slices.Equal(details, want) {
		t.Errorf("told %q, want %q", details, want)
	}
}
