package strict

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	probeMin  = 100 * time.Millisecond // between two probes of a server that is down
	probeMax  = 500 * time.Millisecond
	refreshed = 10 * time.Second // between two looks at a cluster where all is well
	maxNodes  = 512              // of a cluster
)

// keep is the goroutine that finds the servers, probes those that are down, and follows a cluster that changes.
func (s *Store) keep() {
	pause, last := time.Duration(0), time.Time{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.kicks:
		case <-timer.C:
		}
		stale := s.stale.Swap(false)
		v := s.view.Load()
		if v == nil || v.cluster() && (stale || !s.Up() || time.Since(last) > refreshed) || stale {
			s.look()
			last = time.Now()
		}
		s.probe()
		if s.Up() && !s.stale.Load() {
			pause = 0
			timer.Reset(time.Second)
		} else {
			pause = min(max(probeMin, pause*3/2), probeMax)
			timer.Reset(pause)
		}
		select { // not more often than that, whoever kicks
		case <-s.stop:
			return
		case <-time.After(probeMin / 2):
		}
	}
}

// kick has the keeper look now.
func (s *Store) kick() {
	select {
	case s.kicks <- struct{}{}:
	default:
	}
}

// look asks the servers what they are, and makes the view of it. Without an answer the old one stays.
func (s *Store) look() {
	if s.config.Master != "" || s.config.SentinelUsername != "" || s.config.SentinelPassword != "" {
		s.sentinels(s.config.Master)
		return
	}
	var addrs []string
	if v := s.view.Load(); v != nil && v.cluster() {
		for _, n := range v.nodes {
			if !n.down.Load() {
				addrs = append(addrs, n.addr)
			}
		}
	}
	addrs = append(addrs, s.config.Addresses...)
	var troubles []string
	for _, addr := range addrs {
		if s.stopping() {
			return
		}
		err := s.lookAt(addr)
		if err == nil {
			s.trouble.Store(nil)
			return
		}
		troubles = append(troubles, addr+": "+err.Error())
	}
	text := strings.Join(troubles, "; ")
	if old := s.trouble.Load(); s.view.Load() == nil && (old == nil || *old != text) {
		s.log.Warn("redis is away: strict limits go by on_outage", "error", text)
	}
	s.trouble.Store(&text)
}

func (s *Store) stopping() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// lookAt asks one server.
func (s *Store) lookAt(addr string) error {
	o := s.options(addr)
	o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = s.patience(), s.patience(), s.patience()
	client := redis.NewClient(o)
	defer func() { _ = client.Close() }() // nothing is lost by it
	ctx, cancel := context.WithTimeout(context.Background(), s.patience())
	defer cancel()
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		return err
	}
	switch mode := field(info, "redis_mode"); mode {
	case "cluster":
		parts := redis.NewClusterSlotsCmd(ctx, "cluster", "slots") // CLUSTER SHARDS is of Redis 7
		if err := client.Process(ctx, parts); err != nil {
			return err
		}
		return s.clustered(addr, parts.Val())
	case "sentinel":
		masters, err := client.Do(ctx, "sentinel", "masters").Slice()
		if err != nil {
			return err
		}
		name, err := onlyMaster(masters)
		if err != nil {
			return err
		}
		s.sentinels(name)
		return nil
	case "standalone", "":
		if len(s.config.Addresses) > 1 {
			return errors.New("there are several addresses, and this is no node of a cluster and no sentinel: leave one address")
		}
		s.single("standalone", addr, func() *redis.Client { return redis.NewClient(s.options(addr)) })
		return nil
	default:
		return fmt.Errorf("a redis_mode of %q is unknown", mode)
	}
}

// field reads a line of INFO.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// onlyMaster reads the name of the one master of SENTINEL MASTERS.
func onlyMaster(masters []any) (string, error) {
	var names []string
	for _, m := range masters {
		list, _ := m.([]any)
		for i := 0; i+1 < len(list); i += 2 {
			if list[i] == "name" {
				names = append(names, fmt.Sprint(list[i+1]))
			}
		}
		if fields, ok := m.(map[any]any); ok {
			names = append(names, fmt.Sprint(fields["name"]))
		}
	}
	if len(names) != 1 {
		return "", fmt.Errorf("the sentinel knows %d masters %q: name one", len(names), names)
	}
	return names[0], nil
}

// sentinels makes the view of a server that sentinels know.
func (s *Store) sentinels(master string) {
	if master == "" {
		text := "sentinels with credentials of their own: name the master"
		s.trouble.Store(&text)
		return
	}
	s.single("sentinel", "sentinel:"+master, func() *redis.Client {
		c := &s.config
		o := s.options("")
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: master, SentinelAddrs: c.Addresses, SentinelUsername: c.SentinelUsername, SentinelPassword: c.SentinelPassword,
			Protocol: o.Protocol, Username: c.Username, Password: c.Password, TLSConfig: c.TLS,
			MaxRetries: o.MaxRetries, DialerRetries: o.DialerRetries, DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout,
			WriteTimeout: o.WriteTimeout, PoolTimeout: o.PoolTimeout, ContextTimeoutEnabled: true, PoolSize: o.PoolSize,
			DisableIdentity: true, Dialer: o.Dialer,
		})
	})
}

// single makes the view of one server.
func (s *Store) single(mode, addr string, client func() *redis.Client) {
	if v := s.view.Load(); v != nil && v.mode == mode && v.nodes[0].addr == addr {
		return
	}
	s.mu.Lock()
	n := s.nodes[addr]
	if n == nil {
		n = newNode(s, addr, client())
		s.nodes[addr] = n
	}
	s.mu.Unlock()
	s.show(&view{mode: mode, nodes: []*node{n}})
}

// clustered makes the view of a cluster, as the server at from sees it.
func (s *Store) clustered(from string, parts []redis.ClusterSlot) error {
	v := &view{mode: "cluster", owner: new([slots]*node)}
	seen := map[*node]bool{}
	for _, p := range parts {
		if len(p.Nodes) == 0 || p.Start < 0 || p.End >= slots {
			continue
		}
		n := s.nodeAt(withHost(p.Nodes[0].Addr, from), false)
		if n == nil {
			return errors.New("too many nodes")
		}
		if !seen[n] {
			seen[n] = true
			v.nodes = append(v.nodes, n)
		}
		for i := p.Start; i <= p.End; i++ {
			v.owner[i] = n
		}
	}
	if len(v.nodes) == 0 {
		return errors.New("CLUSTERDOWN no node of the cluster has any slots")
	}
	s.show(v)
	return nil
}

// show makes v the view, and ends the nodes that are not in it.
func (s *Store) show(v *view) {
	s.view.Store(v)
	s.mu.Lock()
	var gone []*node
	for addr, n := range s.nodes {
		if !contains(v.nodes, n) {
			gone = append(gone, n)
			delete(s.nodes, addr)
		}
	}
	s.mu.Unlock()
	for _, n := range gone {
		n.close()
	}
}

func contains(nodes []*node, n *node) bool {
	for _, m := range nodes {
		if m == n {
			return true
		}
	}
	return false
}

// nodeAt is the node of a cluster at that address; a new one is taken for up if a server says that it is the one to ask.
func (s *Store) nodeAt(addr string, up bool) *node {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[addr]; n != nil {
		return n
	}
	if s.nodes == nil || len(s.nodes) >= maxNodes {
		return nil
	}
	n := newNode(s, addr, redis.NewClient(s.options(addr)))
	n.down.Store(!up)
	s.nodes[addr] = n
	return n
}

// moved is the node that somebody was sent to. For good means that the view is out of date.
func (s *Store) moved(addr string, forGood bool) *node {
	if forGood {
		s.stale.Store(true)
		s.kick()
	}
	if v := s.view.Load(); v == nil || !v.cluster() || s.stopping() {
		return nil
	}
	return s.nodeAt(addr, true)
}

// probe asks those that are down for a write that changes nothing, with the script it takes; all at once, one each. Those that nobody
// asked since the last time are asked too, so that an idle gateway knows as well.
func (s *Store) probe() {
	v := s.view.Load()
	if v == nil {
		return
	}
	var wg sync.WaitGroup
	for _, n := range v.nodes {
		down := n.down.Load()
		if !down && n.asked.Swap(false) {
			continue
		}
		wg.Go(func() {
			switch err := n.probe(v); {
			case err == nil:
				n.up()
			case down:
				text := err.Error()
				n.trouble.Store(&text)
			default:
				n.report(judge(err), err)
			}
		})
	}
	wg.Wait()
}

func (n *node) probe(v *view) error {
	ctx, cancel := context.WithTimeout(context.Background(), n.store.patience())
	defer cancel()
	if err := n.client.ScriptLoad(ctx, script).Err(); err != nil {
		return err
	}
	key := n.store.config.Prefix + ":{probe}"
	for i := 0; v.cluster() && v.owner[slotOf(key)] != n && i < 8*slots; i++ {
		key = n.store.config.Prefix + ":{probe" + strconv.Itoa(i) + "}"
	}
	cmd := redis.NewCmd(ctx, "evalsha", scriptSHA, 1, key, modeRenew, n.store.at(), n.store.config.Lease.Microseconds())
	if err := n.client.Process(ctx, cmd); err != nil {
		return err
	}
	var r reply
	if !r.parse(cmd.Val(), 0) {
		return errNonsense
	}
	n.offset.Store(r.now - time.Now().UnixMicro())
	return nil
}
