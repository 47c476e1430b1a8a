package cluster

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"weir/internal/mono"
)

// Replica is what the nodes keep alike. Its methods may be called concurrently with each other, each but State and Merge by one
// goroutine at a time; none is called after Leave or Close has returned. They must not call Leave or Close.
type Replica interface {
	// Receive takes a frame that a member sent with Broadcast. The slice is only for the call. Frames come mostly in the order
	// in which they arrived, but memberlist may turn a burst around, lose some, and the network may double one.
	Receive(k Kind, frame []byte)
	// State returns all there is, at most MaxState bytes. It goes to a node that joins or is joined, and to a random member
	// about every 30 s. More than MaxState is not sent, and logged.
	State() []byte
	// Merge takes what another member's State returned. The slice is only for the call.
	Merge(state []byte)
	// Members tells who is there, at Start and at every change: the ids of all members, this node included, in order; and of
	// those that left gracefully since the last call. A node that is missing without having left crashed, or is cut off. One
	// that came back since is in both. Changes in quick succession may come as one, and a call may come without any.
	Members(alive, left []uint64)
}

// Cluster is this node's membership. Its methods are safe for concurrent use.
type Cluster struct {
	cfg       Config // as given to Start: for what cannot change
	current   atomic.Pointer[Config]
	replica   Replica
	list      *memberlist.Memberlist
	transport *transport
	keyring   *memberlist.Keyring
	instance  uint64
	started   mono.Time
	meta      atomic.Pointer[meta]
	table     *table
	queue     *queue
	log       *logs
	count     counters

	seq       atomic.Uint32
	contested atomic.Int64  // until this mono.Time our name is taken to be another node's to some
	deaths    atomic.Uint64 // of members
	changed   chan struct{} // has room for one
	rejoinNow chan struct{} // has room for one
	misuse    sync.Once     // logs a wrong call of Broadcast

	gate    sync.RWMutex // held to read while memberlist's goroutines call the Replica
	closed  bool         // under gate: they may not any more
	mu      sync.Mutex   // one Update, Leave or Close at a time
	ended   bool         // under mu
	ctx     context.Context
	cancel  context.CancelFunc // ends the goroutines of wg
	wg      sync.WaitGroup
	logDone chan struct{}
	logWG   sync.WaitGroup
}

const (
	firstJoin    = 5 * time.Second // Start waits no longer for the seeds
	updateBudget = time.Second     // to tell the members what changed about this node
)

// Start joins the cluster. It tries the seeds once before it returns, so that what they know is merged; that none can be
// reached is no error, for it goes on trying. ctx bounds only this first attempt.
func Start(ctx context.Context, cfg Config, r Replica) (*Cluster, error) {
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	cfg = cfg.clone()
	keyring, err := newKeyring(cfg.Keys)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	t, err := listen(&cfg)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		cfg: cfg, replica: r, transport: t, keyring: keyring, instance: rand.Uint64(), started: mono.Now(), table: newTable(), queue: newQueue(queueFrames),
		log: newLogs(cfg.Log), changed: make(chan struct{}, 1), rejoinNow: make(chan struct{}, 1), logDone: make(chan struct{}),
	}
	c.current.Store(&cfg)
	c.meta.Store(&meta{instance: c.instance, cluster: cfg.Cluster, zone: cfg.Zone, version: cfg.Version})
	c.seq.Store(rand.Uint32())
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.logWG.Go(func() { c.log.run(c.logDone) })
	r.Members([]uint64{ID(cfg.Name)}, nil)
	if c.list, err = memberlist.Create(c.memberlist()); err != nil {
		c.stop()
		return nil, fmt.Errorf("cluster: %w", err)
	}
	c.wg.Go(c.deliver)
	c.wg.Go(c.tell)
	first := make(chan struct{})
	c.wg.Go(func() { (&rejoiner{c: c, off: map[netip.AddrPort]backoff{}}).run(c.ctx, first) })
	select {
	case <-first:
	case <-ctx.Done():
	case <-time.After(firstJoin):
	}
	return c, nil
}

// memberlist returns its configuration: that for a LAN, but for what is set here.
func (c *Cluster) memberlist() *memberlist.Config {
	d := delegate{c}
	m := memberlist.DefaultLANConfig()
	m.Name = c.cfg.Name
	m.Transport = c.transport
	m.Keyring = c.keyring
	m.EnableCompression = false               // frames are dense, and compressed ones could be bombs
	m.GossipInterval = 100 * time.Millisecond // costs nothing while nothing changes
	m.DeadNodeReclaimTime = time.Millisecond  // a dead node's name may come back with another address at once
	m.DelegateProtocolMin, m.DelegateProtocolMax, m.DelegateProtocolVersion = wireVersion, wireVersion, wireVersion
	m.Delegate, m.Events, m.Conflict, m.Merge, m.Alive, m.Ping = d, d, d, d, d, d
	m.Logger = log.New(c.log, "", 0)
	return m
}

// Address returns what the other nodes reach this one at.
func (c *Cluster) Address() netip.AddrPort { return c.transport.advertise }

// Broadcast sends a frame to every other member, one datagram each, and does not wait: best effort, some may be lost. More than
// MaxFrame bytes, or a kind that does not exist, is a mistake in the program: nothing is sent, it is counted, and logged once.
// The frame may be used again when Broadcast has returned.
func (c *Cluster) Broadcast(k Kind, frame []byte) {
	if len(frame) > MaxFrame || !k.known() {
		c.count.oversized.Add(1)
		c.misuse.Do(func() {
			c.log.say(slog.LevelError, "BUG: a frame cannot be sent", "kind", byte(k), "bytes", len(frame), "limit", MaxFrame)
		})
		return
	}
	targets := *c.table.targets.Load()
	if len(targets) == 0 || c.ctx.Err() != nil {
		return
	}
	b := appendFrame(make([]byte, 0, frameHeader+len(frame)), k, c.instance, c.seq.Add(1), frame)
	for i := range targets {
		if err := c.list.SendBestEffort(&targets[i], b); err != nil {
			c.count.sendErrors.Add(1)
			continue
		}
		c.count.sent[k].add(len(frame))
	}
}

// Members lists all nodes that are known, this one first and the others by name. Those that are gone are listed for ten minutes.
func (c *Cluster) Members() []Member {
	cfg := c.config()
	self := Member{Name: cfg.Name, ID: ID(cfg.Name), Self: true, Address: c.transport.advertise, Zone: cfg.Zone, Version: cfg.Version,
		Since: c.started.Wall()}
	return slices.Insert(c.table.members(mono.Now()), 0, self)
}

// Update applies a configuration to a running node: the seeds, the keys, zone, version and the rejoin interval. Name, Cluster,
// Bind, Advertise and Log, and a change between keys and none, need a restart: it returns the names of those that differ and does
// not apply them. On an error nothing is changed.
//
// To rotate a key without losing a frame, give all nodes first [old, new], then [new, old], then [new].
func (c *Cluster) Update(cfg Config) (restart []string, err error) {
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil, errors.New("cluster: this node has left")
	}
	cfg = cfg.clone()
	now := *c.config()
	for _, f := range []struct {
		name     string
		old, new string
	}{{"Name", now.Name, cfg.Name}, {"Cluster", now.Cluster, cfg.Cluster}, {"Bind", now.Bind, cfg.Bind}, {"Advertise", now.Advertise, cfg.Advertise}} {
		if f.old != f.new {
			restart = append(restart, f.name)
		}
	}
	if (len(now.Keys) == 0) != (len(cfg.Keys) == 0) {
		restart = append(restart, "Keys")
	} else if err := rotate(c.keyring, cfg.Keys); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	} else {
		now.Keys = cfg.Keys
	}
	tell := now.Zone != cfg.Zone || now.Version != cfg.Version
	now.Join, now.RejoinEvery, now.Zone, now.Version = cfg.Join, cfg.RejoinEvery, cfg.Zone, cfg.Version
	c.current.Store(&now)
	if tell {
		m := *c.meta.Load()
		m.zone, m.version = now.Zone, now.Version
		c.meta.Store(&m)
		_ = c.list.UpdateNode(updateBudget) // it goes on with gossip when that was not enough
	}
	c.rejoinSoon()
	return restart, nil
}

// Leave tells the others that this node goes on purpose, and ends. It takes about a second, and no longer than timeout to tell
// and a moment to end; an error says that not all was told in time: to some this node may seem to have crashed.
// What the node has to say has to be broadcast before. Further calls do nothing.
func (c *Cluster) Leave(timeout time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil
	}
	c.cancel() // no more joining
	deadline := time.Now().Add(timeout)
	m := *c.meta.Load()
	m.leaving = true
	c.meta.Store(&m)
	var err error
	if half := timeout / 2; half > 0 { // 0 would wait for ever
		err = c.list.UpdateNode(half)
	}
	if left := time.Until(deadline); left > 0 {
		err = errors.Join(err, c.list.Leave(left))
	}
	c.end()
	if err != nil {
		return fmt.Errorf("cluster: leave: %w", err)
	}
	return nil
}

// Close ends at once, like a crash: the others find out by themselves. Further calls do nothing.
func (c *Cluster) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.end()
	}
}

// end stops everything. The caller holds mu.
func (c *Cluster) end() {
	c.ended = true
	c.stop()
}

func (c *Cluster) stop() {
	c.cancel()
	if c.list != nil {
		_ = c.list.Shutdown() // closes the transport
	} else {
		_ = c.transport.Shutdown()
	}
	c.gate.Lock()
	c.closed = true
	c.gate.Unlock()
	c.wg.Wait()
	close(c.logDone)
	c.logWG.Wait()
}

func (c *Cluster) config() *Config { return c.current.Load() }
func (c *Cluster) closing() bool   { return c.ctx.Err() != nil }

// enter lets a goroutine of memberlist's call the Replica. If it may, it has to unlock gate for reading afterwards.
func (c *Cluster) enter() bool {
	c.gate.RLock()
	if c.closed {
		c.gate.RUnlock()
		return false
	}
	return true
}

// change makes tell run.
func (c *Cluster) change() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// rejoinSoon makes the rejoiner's next turn come at once.
func (c *Cluster) rejoinSoon() {
	select {
	case c.rejoinNow <- struct{}{}:
	default:
	}
}

func (c *Cluster) tell() {
	for {
		select {
		case <-c.changed:
			c.replica.Members(c.table.take(ID(c.cfg.Name)))
		case <-c.ctx.Done():
			return
		}
	}
}

// deliver hands frames to the Replica.
func (c *Cluster) deliver() {
	var q queued
	for {
		select {
		case <-c.queue.wake:
		case <-c.ctx.Done():
			return
		}
		for c.ctx.Err() == nil && c.queue.pop(&q) {
			c.replica.Receive(q.kind, q.frame)
		}
	}
}
