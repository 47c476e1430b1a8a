package balancer

import (
	"sync"
	"testing"
	"time"
)

func TestStress(t *testing.T) {
	for _, b := range allBalances {
		t.Run(b.String(), func(t *testing.T) {
			c := Config{Balance: b, Endpoints: hosts(5, 1, 3), Passive: testPassive(), Breaker: testBreaker(), Zone: "a",
				MaxConnections: 4, SlowStart: time.Second, Budget: BudgetConfig{Ratio: 0.2, MinPerSecond: 3}, Panic: 0.3}
			p := newPool(t, c, Hooks{Event: func(Event) {}, Attach: func(e *Endpoint) any { return e.ID() }})
			first := p.members
			var wg sync.WaitGroup
			for g := range 8 {
				wg.Go(func() {
					for i := range 2000 {
						now := second(float64(i) / 100)
						var tried Set
						l, miss := p.Lease(uint64(i), &tried, now)
						if miss != OK {
							continue
						}
						if l.Endpoint().Value != l.Endpoint().ID() {
							t.Error("leased before Attach")
						}
						if n := l.Endpoint().InFlight(); n < 1 || n > 4 {
							t.Errorf("%d in flight while held", n)
						}
						p.Budget().Request(now)
						o := Success
						if (i/300+int(l.Endpoint().ID()))%3 == 0 {
							o = Outcome(i % 4)
						}
						l.Report(o, time.Duration(i), now)
						if i%50 == 0 {
							l.Rest(time.Second, now)
						}
						tried.Add(l.Endpoint())
						if p.Budget().Retry(now) {
							again, _ := p.Lease(uint64(g), &tried, now)
							again.Done(now)
						}
						l.Done(now)
					}
				})
			}
			wg.Go(func() { shake(t, p, c) })
			wg.Wait()
			for _, e := range append(p.members, first...) {
				if e.InFlight() != 0 {
					t.Errorf("%s: %d in flight at the end", e.Address(), e.InFlight())
				}
			}
		})
	}
}

// shake changes the pool and tells it things from outside.
func shake(t *testing.T, p *Pool, c Config) {
	for i := range 100 {
		now := second(float64(i) / 5)
		c.Endpoints = hosts(4+i%3, 1, 2, 3)
		if err := p.Reconfigure(c, now); err != nil {
			t.Error(err)
		}
		_ = p.Drain("10.0.0.2:80")
		p.Stats()
		p.Budget().Share(i % 4)
		for _, b := range p.AppendBreakers([]PeerBreaker{{"10.0.0.1:80", BreakerStateOpen}}) {
			p.Hear(b.Address, uint64(i), b.State, now)
		}
		_ = p.Ready("10.0.0.2:80")
	}
}
