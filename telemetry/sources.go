package telemetry

import (
	"time"

	"weir/balancer"
	"weir/limiter"
)

// Sources are asked at every scrape, from a goroutine of the scrape; each may be nil. They must be safe for concurrent
// use and quick. One that panics costs its own metrics, not the process.
type Sources struct {
	Pools            func() []balancer.PoolStats
	Limiters         func() []LimiterStats
	LimiterMemory    func() (used, most int64) // bytes
	Tokens           func() (stats TokenStats, ok bool)
	Cluster          func() (stats ClusterStats, ok bool)
	Store            func() (stats StoreStats, ok bool)
	Cache            func() (stats CacheStats, ok bool)
	Gates            func() []GateStats
	Load             func() (stats LoadStats, ok bool)
	Pacings          func() []PacingStats
	Connections      func() []ListenerStats
	Certificates     func() []CertExpiry
	Config           func() ConfigInfo
	AccessLogDropped func() uint64
}

// LimiterStats is what a policy's limiter counts. Of it the size is shown and what was pushed out; decisions are those of
// the policy's [PolicyCell], which knows the mode they were made in.
type LimiterStats struct {
	Name   string  // of the policy
	Factor float64 // of an adaptive one: what its limit is multiplied by; else 0
	// How far one that gateways share may be exceeded, in units, and the most that was seen; of no meaning unless Shared.
	Shared          bool
	MayExceed, Seen float64
	limiter.Stats
}

// TokenStats is what the check of tokens counts.
type TokenStats struct {
	Keys               int
	Good, Bad, Checked uint64 // remembered as good, as bad, and checked
	RefreshFailures    uint64
}

// ListenerStats is what a listener counts. Refused holds the connections closed at accept, by reason; the reasons must
// come from a fixed list.
type ListenerStats struct {
	Name     string
	Open     int64
	Accepted uint64
	Refused  map[string]uint64
}

// CertExpiry is when a certificate ends. Name tells it from the others: a file or a host name.
type CertExpiry struct {
	Name     string
	NotAfter time.Time
}

// ConfigInfo is the configuration in force. ReloadedAt is when the last reload was tried, or when the process started;
// ReloadOK says whether it succeeded.
type ConfigInfo struct {
	Hash       string
	ReloadOK   bool
	ReloadedAt time.Time
}

// ClusterStats is what a gateway of several counts.
type ClusterStats struct {
	Alive, Suspect, Dead, Left int // nodes; this one is alive
	Share                      float64
	HotKeys                    int
	SentBytes, ReceivedBytes   uint64 // on the wire
	SentFrames, ReceivedFrames uint64
	Dropped                    uint64 // frames
	NamesTaken                 uint64 // announcements of a living member's name with another address
	Refused                    uint64 // announcements of nodes that may not join
	Lag                        []PeerLag
}

// PeerLag is how old is what another node told last.
type PeerLag struct {
	Node string
	Lag  time.Duration
}

// CacheStats is what the cache counts.
type CacheStats struct {
	Entries                            int
	Bytes, MaxBytes, Filling, Lent     int64
	Stored, Freshened, Evicted, Purged int64
	Untold                             int64
	Refused                            map[string]int64 // by reason
}

// StoreStats is what the store of strict policies counts.
type StoreStats struct {
	Up                     bool
	Calls, Failed, Dropped uint64 // questions, those without an answer, corrections that were not written
	Bounds                 []time.Duration
	Latency                []uint64 // answers by how long they took, up to each bound; one more for the rest
	LatencySum             time.Duration
}
