package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"weir/balancer"
)

// breakerLevel is a breaker's state as a number: the higher, the less it lets pass.
var breakerLevel = map[string]float64{"closed": 0, "half_open": 1, "open": 2}

func (s sink) sources(src *Sources) {
	if src.Pools != nil {
		s.ask(upstreamHealthy, func() { s.poolStats(src.Pools()) })
	}
	if src.Limiters != nil {
		s.ask(limiterKeys, func() { s.limiters(src.Limiters()) })
	}
	if src.LimiterMemory != nil {
		s.ask(limiterMemory, func() {
			used, most := src.LimiterMemory()
			s.gauge(limiterMemory, float64(used))
			s.gauge(limiterMemoryMax, float64(most))
		})
	}
	if src.Tokens != nil {
		s.ask(tokenKeys, func() { s.tokens(src.Tokens()) })
	}
	if src.Cluster != nil {
		s.ask(clusterMembers, func() { s.cluster(src.Cluster()) })
	}
	if src.Cache != nil {
		s.ask(cacheEntries, func() { s.cache(src.Cache()) })
	}
	if src.Store != nil {
		s.ask(redisUp, func() { s.store(src.Store()) })
	}
	if src.Gates != nil {
		s.ask(concurrencyLimit, func() { s.gates(src.Gates()) })
	}
	if src.Load != nil {
		s.ask(loadLevel, func() { s.load(src.Load()) })
	}
	if src.Pacings != nil {
		s.ask(shapingBytes, func() { s.pacings(src.Pacings()) })
	}
	if src.Connections != nil {
		s.ask(connections, func() { s.listeners(src.Connections()) })
	}
	if src.Certificates != nil {
		s.ask(certificateExpiry, func() {
			for _, c := range src.Certificates() {
				s.gauge(certificateExpiry, float64(c.NotAfter.Unix()), c.Name)
			}
		})
	}
	if src.Config != nil {
		s.ask(configInfo, func() { s.config(src.Config()) })
	}
	if src.AccessLogDropped != nil {
		s.ask(accessLogDropped, func() { s.counter(accessLogDropped, src.AccessLogDropped()) })
	}
}

func (s sink) poolStats(all []balancer.PoolStats) {
	for _, p := range all {
		s.gauge(upstreamPanic, oneIf(p.Panic), p.Name)
		s.counter(upstreamRetriesRefused, p.RetriesRefused, p.Name)
		for _, e := range p.Endpoints {
			s.gauge(upstreamHealthy, oneIf(e.Healthy), p.Name, e.Address)
			s.gauge(upstreamInflight, float64(e.InFlight), p.Name, e.Address)
			s.gauge(upstreamTunnels, float64(e.Tunnels), p.Name, e.Address)
			s.gauge(breakerState, breakerLevel[e.BreakerState], p.Name, e.Address)
			s.counter(breakerTransitions, e.BreakerTransitions, p.Name, e.Address)
		}
	}
}

func (s sink) limiters(all []LimiterStats) {
	for _, l := range all {
		s.gauge(limiterKeys, float64(l.Keys), l.Name)
		s.gauge(limiterBytes, float64(l.Bytes), l.Name)
		s.counter(limiterEvictions, l.Evictions, l.Name)
		s.counter(limiterOverflow, l.Overflow, l.Name)
		if l.Factor != 0 {
			s.gauge(limiterFactor, l.Factor, l.Name)
		}
		if l.Shared {
			s.gauge(limiterExcess, l.MayExceed, l.Name, "bound")
			s.gauge(limiterExcess, l.Seen, l.Name, "seen")
		}
	}
}

func (s sink) cluster(c ClusterStats, ok bool) {
	if !ok {
		return
	}
	s.gauge(clusterMembers, float64(c.Alive), "alive")
	s.gauge(clusterMembers, float64(c.Suspect), "suspect")
	s.gauge(clusterMembers, float64(c.Dead), "dead")
	s.gauge(clusterMembers, float64(c.Left), "left")
	s.gauge(clusterShare, c.Share)
	s.gauge(clusterHotKeys, float64(c.HotKeys))
	s.counter(clusterBytes, c.SentBytes, "sent")
	s.counter(clusterBytes, c.ReceivedBytes, "received")
	s.counter(clusterFrames, c.SentFrames, "sent")
	s.counter(clusterFrames, c.ReceivedFrames, "received")
	s.counter(clusterDropped, c.Dropped)
	s.counter(clusterRefused, c.NamesTaken, "name_taken")
	s.counter(clusterRefused, c.Refused, "not_allowed")
	for _, p := range c.Lag {
		s.gauge(clusterLag, p.Lag.Seconds(), p.Node)
	}
}

func (s sink) store(st StoreStats, ok bool) {
	if !ok {
		return
	}
	s.gauge(redisUp, oneIf(st.Up))
	s.counter(redisCalls, st.Calls-st.Failed, "answered")
	s.counter(redisCalls, st.Failed, "failed")
	s.counter(redisDropped, st.Dropped)
	buckets, n := make(map[float64]uint64, len(st.Bounds)), uint64(0)
	for i, b := range st.Bounds {
		n += st.Latency[i]
		buckets[b.Seconds()] = n
	}
	n += st.Latency[len(st.Bounds)]
	m, err := prometheus.NewConstHistogram(redisDuration, n, st.LatencySum.Seconds(), buckets)
	s.send(redisDuration, m, err)
}

func (s sink) cache(c CacheStats, ok bool) {
	if !ok {
		return
	}
	s.gauge(cacheEntries, float64(c.Entries))
	s.gauge(cacheBytes, float64(c.Bytes))
	s.gauge(cacheMax, float64(c.MaxBytes))
	s.gauge(cacheFilling, float64(c.Filling))
	s.gauge(cacheLent, float64(c.Lent))
	s.counter(cacheStored, uint64(c.Stored))
	s.counter(cacheFreshened, uint64(c.Freshened))
	s.counter(cacheEvicted, uint64(c.Evicted))
	s.counter(cachePurged, uint64(c.Purged))
	s.counter(cacheUntold, uint64(c.Untold))
	for reason, n := range c.Refused {
		s.counter(cacheRefused, uint64(n), reason)
	}
}

func (s sink) tokens(t TokenStats, ok bool) {
	if !ok {
		return
	}
	s.counter(tokenChecks, t.Good, "good")
	s.counter(tokenChecks, t.Bad, "bad")
	s.counter(tokenChecks, t.Checked, "checked")
	s.gauge(tokenKeys, float64(t.Keys))
	s.counter(tokenFailures, t.RefreshFailures)
}

func (s sink) listeners(all []ListenerStats) {
	for _, l := range all {
		s.gauge(connections, float64(l.Open), l.Name)
		s.counter(connectionsAccepted, l.Accepted, l.Name)
		for reason, n := range l.Refused {
			s.counter(connectionsRefused, n, l.Name, reason)
		}
	}
}

func (s sink) config(c ConfigInfo) {
	s.gauge(configInfo, 1, c.Hash)
	s.gauge(reloadSuccess, oneIf(c.ReloadOK))
	s.gauge(reloadTime, float64(c.ReloadedAt.UnixMilli())/1000)
}
