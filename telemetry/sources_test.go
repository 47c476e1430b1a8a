package telemetry

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"weir/balancer"
	"weir/limiter"
	"weir/shaping"
)

func someSources() Sources {
	return Sources{
		Pools: func() []balancer.PoolStats {
			return []balancer.PoolStats{{Name: "api", Panic: true, RetriesRefused: 6, Endpoints: []balancer.EndpointStats{
				{Address: "127.0.0.1:9001", Healthy: true, BreakerState: "closed", InFlight: 7, Tunnels: 5},
				{Address: "127.0.0.1:9002", BreakerState: "open", BreakerTransitions: 3},
				{Address: "127.0.0.1:9003", BreakerState: "half_open"},
			}}}
		},
		Limiters: func() []LimiterStats {
			return []LimiterStats{{Name: "tenant", Factor: 1.5, Shared: true, MayExceed: 7.5, Seen: 0.5, Stats: limiter.Stats{Keys: 5, Bytes: 400, Evictions: 2, Overflow: 1}}}
		},
		Gates: func() []GateStats {
			g := GateStats{Pool: "api", GateStats: shaping.GateStats{Limit: 20, InFlight: 20, Flows: 2, Delay: 30 * time.Millisecond}}
			g.Depth[shaping.Low] = 7
			g.Refused[shaping.TooLate][shaping.Low] = 3
			return []GateStats{g}
		},
		Load: func() (LoadStats, bool) {
			l := LoadStats{Features: []string{"mirror", "retries"}, Off: []string{"mirror"}}
			l.Level = 0.9
			l.Node.Parts[shaping.CPU] = shaping.Part{Load: 0.4, On: true, Known: true}
			l.Node.Parts[shaping.Memory] = shaping.Part{Load: 0.9, On: true}
			l.Pools = []PoolLoad{{Pool: "api", Load: shaping.Load{Level: 0.9, Known: true}, Shed: [shaping.Bands]uint64{shaping.Low: 11}}}
			return l, true
		},
		Pacings: func() []PacingStats {
			return []PacingStats{{Rule: "files", Direction: "download", PacersStats: shaping.PacersStats{Bytes: 1000, Waits: 4, Flows: 2}}}
		},
		Connections: func() []ListenerStats {
			return []ListenerStats{{Name: "web", Open: 3, Accepted: 9, Refused: map[string]uint64{"connections": 2}}}
		},
		Certificates: func() []CertExpiry { return []CertExpiry{{Name: "a\xffb", NotAfter: time.Unix(1_700_000_000, 0)}} },
		Config: func() ConfigInfo {
			return ConfigInfo{Hash: "abc", ReloadOK: true, ReloadedAt: time.Unix(1_600_000_000, 0)}
		},
		LimiterMemory: func() (int64, int64) { return 400, 1 << 20 },
		Tokens: func() (TokenStats, bool) {
			return TokenStats{Keys: 2, Good: 7, Bad: 1, Checked: 3, RefreshFailures: 1}, true
		},
		Cluster: func() (ClusterStats, bool) {
			return ClusterStats{Alive: 3, Suspect: 1, Dead: 2, Left: 4, Share: 0.1, HotKeys: 6, SentBytes: 10, ReceivedBytes: 20, SentFrames: 1, ReceivedFrames: 2,
				Dropped: 5, NamesTaken: 8, Refused: 9, Lag: []PeerLag{{"b", 70 * time.Millisecond}}}, true
		},
		Store: func() (StoreStats, bool) {
			return StoreStats{Up: true, Calls: 9, Failed: 2, Dropped: 1, Bounds: []time.Duration{time.Millisecond}, Latency: []uint64{4, 3}, LatencySum: time.Second}, true
		},
		Cache: func() (CacheStats, bool) {
			return CacheStats{Entries: 3, Bytes: 4000, MaxBytes: 1 << 20, Filling: 50, Stored: 6, Freshened: 2, Evicted: 1, Purged: 7, Lent: 70, Refused: map[string]int64{"no_room": 9, "too_large": 8}}, true
		},
		AccessLogDropped: func() uint64 { return 4 },
	}
}

func TestPressureAsShown(t *testing.T) {
	want := `
# HELP weir_concurrency_limit Requests that a pool may have in progress now; 0 is no limit.
# TYPE weir_concurrency_limit gauge
weir_concurrency_limit{pool="api"} 20
# HELP weir_concurrency_inflight Requests that a pool has in progress.
# TYPE weir_concurrency_inflight gauge
weir_concurrency_inflight{pool="api"} 20
# HELP weir_queue_depth Requests waiting for room in a pool.
# TYPE weir_queue_depth gauge
weir_queue_depth{pool="api",priority="critical"} 0
weir_queue_depth{pool="api",priority="high"} 0
weir_queue_depth{pool="api",priority="low"} 7
weir_queue_depth{pool="api",priority="normal"} 0
# HELP weir_load Load of the gateway by signal, 1 is full; all: the worst of these and of all pools.
# TYPE weir_load gauge
weir_load{signal="all"} 0.9
weir_load{signal="cpu"} 0.4
# HELP weir_pool_load Load of a pool's queue, 1 is full.
# TYPE weir_pool_load gauge
weir_pool_load{pool="api"} 0.9
# HELP weir_shed_total Requests refused for load before they waited, the gateway's or the pool's.
# TYPE weir_shed_total counter
weir_shed_total{pool="api",priority="critical"} 0
weir_shed_total{pool="api",priority="high"} 0
weir_shed_total{pool="api",priority="low"} 11
weir_shed_total{pool="api",priority="normal"} 0
# HELP weir_degraded Whether something is done without for load: 1 or 0.
# TYPE weir_degraded gauge
weir_degraded{feature="mirror"} 1
weir_degraded{feature="retries"} 0
# HELP weir_shaping_bytes_total Bytes of bodies that a shaping rule let pass.
# TYPE weir_shaping_bytes_total counter
weir_shaping_bytes_total{direction="download",rule="files"} 1000
`
	if err := testutil.GatherAndCompare(observed().registry, strings.NewReader(want), "weir_concurrency_limit", "weir_concurrency_inflight", "weir_queue_depth",
		"weir_load", "weir_pool_load", "weir_shed_total", "weir_degraded", "weir_shaping_bytes_total"); err != nil {
		t.Error(err)
	}
}

func TestClusterAsShown(t *testing.T) {
	want := `
# HELP weir_cluster_members Gateways of the cluster, this one included.
# TYPE weir_cluster_members gauge
weir_cluster_members{state="alive"} 3
weir_cluster_members{state="dead"} 2
weir_cluster_members{state="left"} 4
weir_cluster_members{state="suspect"} 1
# HELP weir_cluster_lag_seconds Age of what another gateway told last.
# TYPE weir_cluster_lag_seconds gauge
weir_cluster_lag_seconds{node="b"} 0.07
# HELP weir_cluster_bytes_total Bytes exchanged with other gateways.
# TYPE weir_cluster_bytes_total counter
weir_cluster_bytes_total{direction="received"} 20
weir_cluster_bytes_total{direction="sent"} 10
# HELP weir_cluster_refused_total Announcements of gateways that were refused: name_taken, another gateway of that name lives; not_allowed, of another cluster or version.
# TYPE weir_cluster_refused_total counter
weir_cluster_refused_total{reason="name_taken"} 8
weir_cluster_refused_total{reason="not_allowed"} 9
# HELP weir_limiter_excess_units By how much a limit that gateways share may be exceeded (bound) and was, as far as this one knows (seen).
# TYPE weir_limiter_excess_units gauge
weir_limiter_excess_units{kind="bound",policy="tenant"} 7.5
weir_limiter_excess_units{kind="seen",policy="tenant"} 0.5
`
	if err := testutil.GatherAndCompare(observed().registry, strings.NewReader(want), "weir_cluster_members", "weir_cluster_lag_seconds", "weir_cluster_bytes_total", "weir_cluster_refused_total",
		"weir_limiter_excess_units"); err != nil {
		t.Error(err)
	}
}

func TestPoolsAndLimitersAsShown(t *testing.T) {
	want := `
# HELP weir_upstream_healthy Whether an endpoint is healthy: 1, or 0 if it is unhealthy, ejected or draining.
# TYPE weir_upstream_healthy gauge
weir_upstream_healthy{endpoint="127.0.0.1:9001",pool="api"} 1
weir_upstream_healthy{endpoint="127.0.0.1:9002",pool="api"} 0
weir_upstream_healthy{endpoint="127.0.0.1:9003",pool="api"} 0
# HELP weir_upstream_inflight Attempts in progress at an endpoint.
# TYPE weir_upstream_inflight gauge
weir_upstream_inflight{endpoint="127.0.0.1:9001",pool="api"} 7
weir_upstream_inflight{endpoint="127.0.0.1:9002",pool="api"} 0
weir_upstream_inflight{endpoint="127.0.0.1:9003",pool="api"} 0
# HELP weir_upstream_tunnels WebSockets and other tunnels open to an endpoint.
# TYPE weir_upstream_tunnels gauge
weir_upstream_tunnels{endpoint="127.0.0.1:9001",pool="api"} 5
weir_upstream_tunnels{endpoint="127.0.0.1:9002",pool="api"} 0
weir_upstream_tunnels{endpoint="127.0.0.1:9003",pool="api"} 0
# HELP weir_upstream_panic Whether too few endpoints of a pool are healthy, so that all are used: 1 or 0.
# TYPE weir_upstream_panic gauge
weir_upstream_panic{pool="api"} 1
# HELP weir_upstream_retries_refused_total Retries that the retry budget did not allow.
# TYPE weir_upstream_retries_refused_total counter
weir_upstream_retries_refused_total{pool="api"} 6
# HELP weir_breaker_state State of an endpoint's circuit breaker: 0 closed, 1 half open, 2 open.
# TYPE weir_breaker_state gauge
weir_breaker_state{endpoint="127.0.0.1:9001",pool="api"} 0
weir_breaker_state{endpoint="127.0.0.1:9002",pool="api"} 2
weir_breaker_state{endpoint="127.0.0.1:9003",pool="api"} 1
# HELP weir_breaker_transitions_total Changes of state of an endpoint's circuit breaker.
# TYPE weir_breaker_transitions_total counter
weir_breaker_transitions_total{endpoint="127.0.0.1:9001",pool="api"} 0
weir_breaker_transitions_total{endpoint="127.0.0.1:9002",pool="api"} 3
weir_breaker_transitions_total{endpoint="127.0.0.1:9003",pool="api"} 0
# HELP weir_limiter_keys Buckets in memory.
# TYPE weir_limiter_keys gauge
weir_limiter_keys{policy="tenant"} 5
# HELP weir_limiter_bytes Memory of the buckets.
# TYPE weir_limiter_bytes gauge
weir_limiter_bytes{policy="tenant"} 400
# HELP weir_limiter_evictions_total Full buckets that made room for another key.
# TYPE weir_limiter_evictions_total counter
weir_limiter_evictions_total{policy="tenant"} 2
# HELP weir_limiter_overflow_total Decisions made on a shared bucket for want of room.
# TYPE weir_limiter_overflow_total counter
weir_limiter_overflow_total{policy="tenant"} 1
`
	var names []string
	for line := range strings.Lines(want) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			names = append(names, strings.Fields(rest)[0])
		}
	}
	if err := testutil.GatherAndCompare(observed().registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

// TestBreakerStatesAreThoseOfTheBalancer fails if the balancer gets a state that has no number here.
func TestBreakerStatesAreThoseOfTheBalancer(t *testing.T) {
	for s := balancer.BreakerStateClosed; s <= balancer.BreakerStateHalfOpen; s++ {
		if _, ok := breakerLevel[s.String()]; !ok {
			t.Errorf("%s has no level", s)
		}
	}
	if len(breakerLevel) != int(balancer.BreakerStateHalfOpen)+1 {
		t.Errorf("%d levels", len(breakerLevel))
	}
}
