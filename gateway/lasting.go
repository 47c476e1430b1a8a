package gateway

import (
	"math/rand/v2"
	"time"

	"weir/internal/mono"
)

// place is where something that lasts came in.
type place struct{ listener, route string }

// farewellRate is how many clients a second are told to go: they come again at once, there or elsewhere.
const farewellRate = 500

// What part of the time that there is has passed when the last tunnel is told, and when event streams begin to end, and have ended: who
// listens to one loses nothing by staying, and one that ends by itself until then is not cut.
const (
	tunnelsGone = 0.6
	feedsBegin  = 0.5
	feedsGone   = 0.9
)

// farewell has what lasts at the places that are gone end within that time, at random instants, so that not all clients come again at once.
// Tunnels begin now and event streams later. It returns when the last of these ends.
func (g *Gateway) farewell(gone func(place) bool, within time.Duration, why ending) (last mono.Time) {
	var tunnels []*tunnel
	var feeds []*feed
	g.mu.Lock()
	for t := range g.tunnels {
		if gone(t.place) {
			tunnels = append(tunnels, t)
		}
	}
	for f := range g.feeds {
		if gone(f.place) {
			feeds = append(feeds, f)
		}
	}
	g.mu.Unlock()
	now := mono.Now()
	spread := spreadOf(len(tunnels), portion(within, tunnelsGone))
	for _, t := range tunnels {
		t.leaveBy(now.Add(rand.N(spread)), why)
	}
	begin := now.Add(portion(within, feedsBegin))
	spread = spreadOf(len(feeds), portion(within, feedsGone-feedsBegin))
	for _, f := range feeds {
		f.leaveBy(begin.Add(rand.N(spread)), why)
	}
	return begin.Add(spread)
}

func portion(d time.Duration, share float64) time.Duration { return time.Duration(float64(d) * share) }

// spreadOf is over how long n ends are spread, most at most; never 0.
func spreadOf(n int, most time.Duration) time.Duration {
	return max(1, min(time.Duration(n)*time.Second/farewellRate, most))
}

// endStrays has what lasts on routes that a reload has taken away end.
func (g *Gateway) endStrays(s *Snapshot) {
	there := make(map[string]bool, len(s.routes))
	for _, e := range s.routes {
		there[e.name] = true
	}
	g.farewell(func(p place) bool { return !there[p.route] }, s.conf.ShutdownTimeout, endedReload)
}

// enrollTunnel lists a tunnel, so that it can be told to end. One that begins while the gateway drains is at once.
func (g *Gateway) enrollTunnel(t *tunnel) {
	g.mu.Lock()
	g.tunnels[t] = struct{}{}
	g.mu.Unlock()
	if g.draining.Load() {
		t.leaveBy(mono.Now(), endedShutdown)
	}
}

func (g *Gateway) leaveTunnel(t *tunnel) {
	g.mu.Lock()
	delete(g.tunnels, t)
	g.mu.Unlock()
}

func (g *Gateway) enrollFeed(f *feed) {
	g.mu.Lock()
	g.feeds[f] = struct{}{}
	g.mu.Unlock()
	if g.draining.Load() {
		f.leaveBy(mono.Time(g.feedsEnd.Load()), endedShutdown)
	}
}

func (g *Gateway) leaveFeed(f *feed) {
	g.mu.Lock()
	delete(g.feeds, f)
	g.mu.Unlock()
}
