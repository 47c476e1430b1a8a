package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"weir/cluster"
	"weir/config"
	"weir/gateway"
	"weir/internal/mono"
	"weir/limiter"
	"weir/strict"
	"weir/telemetry"
)

// fleet is this gateway as one of several: what it spends it tells the others.
type fleet struct {
	log     *slog.Logger
	name    string
	limits  *limiter.Fleet
	node    *cluster.Cluster
	stopped chan struct{} // tell has ended
}

// newFleet makes the limits of a fleet, alone at first, or returns nil if the configuration has none.
func newFleet(conf *config.Config, log *slog.Logger) (*fleet, error) {
	if !conf.Cluster.Enabled {
		return nil, nil
	}
	name, err := nodeName(conf)
	if err != nil {
		return nil, err
	}
	// Tenths of a second since 2024: higher after every restart, for 13 years.
	incarnation := uint32((time.Now().UnixMilli() - 1_704_067_200_000) / 100)
	return &fleet{log: log, name: name, stopped: make(chan struct{}), limits: limiter.NewFleet(limiter.FleetOptions{
		Self: cluster.ID(name), Incarnation: incarnation, Interval: conf.Cluster.Interval, Delay: firstDelay, Start: mono.Now(),
	})}, nil
}

// firstDelay is what a frame is taken to need until a round trip was measured.
const firstDelay = 500 * time.Microsecond

// nodeName is what this gateway is called by the others.
func nodeName(conf *config.Config) (string, error) {
	if conf.Node.Name != "" {
		return conf.Node.Name, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("cluster: there is no host name to go by, write node.name: %w", err)
	}
	return name, nil
}

func clusterConfig(conf *config.Config, log *slog.Logger) (cluster.Config, error) {
	name, err := nodeName(conf)
	c := &conf.Cluster
	return cluster.Config{Name: name, Zone: conf.Node.Zone, Version: buildVersion(), Cluster: c.Name, Bind: c.Bind, Advertise: c.Advertise,
		Join: c.Join, Keys: c.ClusterKeys(), Log: log.With("part", "cluster")}, err
}

// start joins the others, for which it waits until ctx ends, and goes on telling them, until life does.
func (f *fleet) start(ctx, life context.Context, conf *config.Config, gw *gateway.Gateway) error {
	cfg, err := clusterConfig(conf, f.log)
	if err != nil {
		return err
	}
	node, err := cluster.Start(ctx, cfg, replica{f.limits, gw})
	if err != nil {
		return err
	}
	f.node = node
	go f.tell(life, gw)
	return nil
}

// tell sends what Step has to say, when it is due, until ctx ends.
func (f *fleet) tell(ctx context.Context, gw *gateway.Gateway) {
	defer close(f.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	measured, pressed := mono.Now(), mono.Time(0)
	outdated, purges := gw.Outdated(), purgeTeller{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.limits.Wake():
		case <-outdated:
			purges.more = true
		case <-timer.C:
		}
		now := mono.Now()
		frames, next := f.limits.Step(now)
		for _, b := range frames {
			f.node.Broadcast(cluster.KindSpending, b)
		}
		if now.Sub(pressed) >= gateway.PressureEvery {
			pressed = now
			f.node.Broadcast(cluster.KindPressure, gw.AppendPressure(nil, cluster.ID(f.name)))
		}
		next = min(next, purges.step(now, gw.TakeOutdated, func(frame []byte) { f.node.Broadcast(cluster.KindPurge, frame) }))
		if now.Sub(measured) > time.Second {
			measured = now
			f.limits.SetDelay(f.delay(), now)
		}
		timer.Reset(max(0, min(next, pressed.Add(gateway.PressureEvery)).Sub(mono.Now())))
	}
}

// delay is half the mean round trip to the others, as it is measured.
func (f *fleet) delay() time.Duration {
	var sum time.Duration
	n := 0
	for _, m := range f.node.Members() {
		if m.RTT > 0 && m.State == cluster.Alive {
			sum += m.RTT / 2
			n++
		}
	}
	if n == 0 {
		return firstDelay
	}
	return min(max(sum/time.Duration(n), firstDelay/5), 250*time.Millisecond)
}

// leave says goodbye. What was spent last is told before. ctx ends tell when it is done.
func (f *fleet) leave(timeout time.Duration) error {
	if f.node == nil {
		return nil
	}
	for _, b := range f.limits.Leave(mono.Now()) {
		f.node.Broadcast(cluster.KindSpending, b)
	}
	return f.node.Leave(timeout)
}

// joinFleet joins the others, the first time.
func (a *app) joinFleet(conf *config.Config) error {
	if a.fleet == nil || a.fleet.node != nil {
		return nil
	}
	ctx, cancel := a.patience()
	defer cancel()
	return a.fleet.start(ctx, a.ctx, conf, a.gw)
}

// checkCluster says what is wrong with the cluster's part of a configuration beyond what the file shows.
func checkCluster(conf *config.Config) error {
	if !conf.Cluster.Enabled {
		return nil
	}
	c, err := clusterConfig(conf, slog.New(slog.DiscardHandler))
	if err == nil {
		err = c.Check()
	}
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	return nil
}

// prepareFleet says whether conf can be put in force without a restart; apply does so.
func (a *app) prepareFleet(conf *config.Config) (apply func(), err error) {
	if err := checkCluster(conf); err != nil {
		return nil, err
	}
	old := a.conf.Load()
	switch {
	case old != nil && conf.Cluster.Enabled != (a.fleet != nil):
		return nil, errors.New("cluster.enabled needs a restart of the gateway to change")
	case old == nil || a.fleet == nil:
		return func() {}, nil
	}
	was, err := clusterConfig(old, a.log)
	if err != nil {
		return nil, err
	}
	is, err := clusterConfig(conf, a.log)
	if err != nil {
		return nil, err
	}
	var restart []string
	for _, f := range []struct {
		key     string
		differs bool
	}{
		{"node.name", was.Name != is.Name}, {"cluster.name", was.Cluster != is.Cluster}, {"cluster.bind", was.Bind != is.Bind},
		{"cluster.advertise", was.Advertise != is.Advertise}, {"cluster.interval", old.Cluster.Interval != conf.Cluster.Interval},
		{"cluster.key (from none, or to none)", (len(was.Keys) == 0) != (len(is.Keys) == 0)},
	} {
		if f.differs {
			restart = append(restart, f.key)
		}
	}
	if len(restart) > 0 {
		return nil, fmt.Errorf("%s: a change needs a restart of the gateway", strings.Join(restart, ", "))
	}
	return func() {
		if _, err := a.fleet.node.Update(is); err != nil {
			a.log.Error("BUG: the cluster's configuration passed validation and cannot be changed", "error", err)
		}
	}, nil
}

// replica lets the cluster carry what the limits have to say, and how loaded the gateways are.
type replica struct {
	limits *limiter.Fleet
	gw     *gateway.Gateway
}

func (r replica) Receive(k cluster.Kind, frame []byte) {
	switch k {
	case cluster.KindSpending:
		r.limits.Receive(frame, mono.Now()) //nolint:errcheck // Stats counts what was not understood
	case cluster.KindPressure:
		r.gw.HearPressure(frame, mono.Now()) //nolint:errcheck // what a later version says otherwise is not for this one
	case cluster.KindPurge:
		r.gw.HearPurge(frame) //nolint:errcheck // as above
	}
}

func (r replica) State() []byte { return r.limits.State(cluster.MaxState, mono.Now()) }

func (r replica) Merge(state []byte) {
	r.limits.Merge(state, mono.Now()) //nolint:errcheck // as above
}

func (r replica) Members(alive, left []uint64) { r.limits.Members(alive, left, mono.Now()) }

// clusterView is what GET /api/v1/cluster shows.
type clusterView struct {
	Enabled bool         `json:"enabled"`
	Name    string       `json:"name,omitempty"`
	Nodes   int          `json:"nodes"`
	Heard   int          `json:"heard"`
	Share   float64      `json:"share"`
	HotKeys int          `json:"hot_keys"`
	Members []memberView `json:"members"`
	Sent    trafficView  `json:"sent"`
	Recv    trafficView  `json:"received"`
	Dropped uint64       `json:"dropped"`
}

type trafficView struct {
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
	Wire   uint64 `json:"wire_bytes"`
}

type memberView struct {
	Name    string         `json:"name"`
	Self    bool           `json:"self,omitempty"`
	Address netip.AddrPort `json:"address"`
	Zone    string         `json:"zone,omitempty"`
	Version string         `json:"version"`
	State   string         `json:"state"`
	Since   time.Time      `json:"since"`
	RTT     float64        `json:"rtt_ms,omitempty"`
	Lag     float64        `json:"lag_ms"`
	Lost    uint64         `json:"lost_frames"`
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (c controller) Cluster() any {
	f := c.a.fleet
	if f == nil || f.node == nil {
		return clusterView{Nodes: 1, Heard: 1, Share: 1, Members: []memberView{}}
	}
	limits, net := f.limits.Stats(), f.node.Stats()
	spending := net.Kinds[cluster.KindSpending]
	v := clusterView{Enabled: true, Name: c.a.conf.Load().Cluster.Name, Nodes: limits.Nodes, Heard: limits.Heard, Share: limits.Share, HotKeys: limits.Cells, Dropped: net.Dropped,
		Sent: trafficView{spending.Sent.Count, spending.Sent.Bytes, net.PacketsSent.Bytes + net.StreamBytesSent},
		Recv: trafficView{spending.Received.Count, spending.Received.Bytes, net.PacketsReceived.Bytes + net.StreamBytesReceived}}
	for _, m := range f.node.Members() {
		v.Members = append(v.Members, memberView{m.Name, m.Self, m.Address, m.Zone, m.Version, m.State.String(), m.Since, ms(m.RTT), ms(m.Lag), m.Lost})
	}
	return v
}

// clusterStats is what metrics show of the fleet; false if there is none.
func (a *app) clusterStats() (telemetry.ClusterStats, bool) {
	f := a.fleet
	if f == nil || f.node == nil {
		return telemetry.ClusterStats{}, false
	}
	limits, net := f.limits.Stats(), f.node.Stats()
	s := telemetry.ClusterStats{Alive: net.Alive, Suspect: net.Suspect, Dead: net.Dead, Left: net.Left, Share: limits.Share, HotKeys: limits.Cells,
		SentBytes: net.PacketsSent.Bytes + net.StreamBytesSent, ReceivedBytes: net.PacketsReceived.Bytes + net.StreamBytesReceived,
		SentFrames: net.Kinds[cluster.KindSpending].Sent.Count, ReceivedFrames: net.Kinds[cluster.KindSpending].Received.Count, Dropped: net.Dropped,
		NamesTaken: net.Conflicts, Refused: net.Refused}
	for _, m := range slices.DeleteFunc(f.node.Members(), func(m cluster.Member) bool { return m.Self || m.State > cluster.Suspect }) {
		s.Lag = append(s.Lag, telemetry.PeerLag{Node: m.Name, Lag: m.Lag})
	}
	return s, true
}

// storeStats is what metrics show of the store of strict policies; false if there is none.
func (a *app) storeStats() (telemetry.StoreStats, bool) {
	st, ok := a.gw.StoreStats()
	return telemetry.StoreStats{Up: st.Up, Calls: st.Calls, Failed: st.Errors, Dropped: st.Dropped, Bounds: strict.Bounds[:], Latency: st.Latency[:], LatencySum: st.LatencySum}, ok
}
