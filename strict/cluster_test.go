package strict

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/limiter"
)

// newCluster is three masters with a replica each, six processes.
func newCluster(t testing.TB) []*server {
	t.Helper()
	cli := binary(t, "redis-cli")
	var nodes []*server
	args := []string{"--cluster", "create"}
	for range 6 {
		n := newServer(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "1000",
			"--cluster-replica-validity-factor", "0", "--cluster-require-full-coverage", "no",
			"--repl-diskless-sync-delay", "0")
		nodes = append(nodes, n)
		args = append(args, n.addr())
	}
	out, err := exec.Command(cli, append(args, "--cluster-replicas", "1", "--cluster-yes")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, n := range nodes {
		c := n.client()
		until(t, 15*time.Second, "the cluster is whole", func() bool {
			ctx := context.Background()
			return strings.Contains(c.ClusterInfo(ctx).Val(), "cluster_state:ok") && strings.Count(c.ClusterNodes(ctx).Val(), "slave") == 3 &&
				(strings.Contains(c.Info(ctx, "replication").Val(), "role:master") || strings.Contains(c.Info(ctx, "replication").Val(), "master_link_status:up"))
		})
	}
	return nodes
}

func TestCluster(t *testing.T) {
	nodes := newCluster(t)
	s := opened(t, Config{Addresses: []string{nodes[4].addr(), nodes[1].addr()}}, nil)
	if st := s.Stats(); st.Mode != "cluster" || len(st.Servers) != 3 {
		t.Fatalf("%+v", st)
	}
	t.Run("chains over slots", func(t *testing.T) {
		wholeChains(t, s, false)
		if st := s.Stats(); st.Undone == 0 || st.Dropped > 0 {
			t.Errorf("%+v", st)
		}
	})
	t.Run("chains in one slot", func(t *testing.T) {
		undone := s.Stats().Undone
		wholeChains(t, s, true)
		if got := s.Stats().Undone; got != undone {
			t.Errorf("%d slots were undone", got-undone)
		}
	})
	t.Run("refusal", func(t *testing.T) { refusalOverSlots(t, s) })
	t.Run("a slot moves", func(t *testing.T) { slotMoves(t, s, nodes) })
	t.Run("failover", func(t *testing.T) { failover(t, s, nodes) })
}

// refusalOverSlots: where the last step refuses, the earlier ones are as they were, and all say how they stand.
func refusalOverSlots(t *testing.T, s *Store) {
	day := 24 * time.Hour
	asks := []Ask{
		{Policy: policy(t, 11, bucketOf(1, day, 100)), Key: key(1), N: 7},
		{Policy: policy(t, 12, windowOf(limiter.FixedWindow, 100, day)), Key: key(2), N: 7},
		{Policy: policy(t, 13, windowOf(limiter.SlidingWindow, 100, day)), Key: key(3), N: 7},
		{Policy: policy(t, 14, limiter.Spec{Algorithm: limiter.Concurrency, Rate: limiter.Rate{N: 100}}), Key: key(4), N: 7},
		{Policy: policy(t, 15, windowOf(limiter.FixedWindow, 5, day)), Key: key(5), N: 7},
		{Policy: policy(t, 16, windowOf(limiter.FixedWindow, 100, day)), Key: key(6), N: 7},
	}
	for range 3 {
		answers := make([]Answer, len(asks))
		refused, err := s.Take(context.Background(), asks, answers)
		must(t, err)
		if refused != 4 || answers[4].OK || answers[4].Retry != limiter.Never {
			t.Fatalf("refused by %d: %s", refused, show(answers))
		}
		for i, a := range answers {
			if i != 4 && (!a.OK || a.Left != 100 || a.Reset != 0 || !a.Asked) {
				t.Errorf("step %d: %+v", i, a)
			}
		}
	}
}

// slotMoves: while a slot is on its way to another node and when it is there, nothing is lost or counted twice.
func slotMoves(t *testing.T, s *Store, nodes []*server) {
	ctx := context.Background()
	p := policy(t, 21, windowOf(limiter.FixedWindow, 1000, 24*time.Hour))
	a := Ask{Policy: p, Key: key(77), N: 1}
	take(t, s, a)
	name := p.key("weir", a.Key, limiter.Key{})
	slot := slotOf(name)
	from := s.view.Load().owner[slot]
	var to *node
	for _, n := range s.view.Load().nodes {
		if n != from {
			to = n
		}
	}
	id := func(n *node) string { return n.client.Do(ctx, "cluster", "myid").Val().(string) }
	must(t, to.client.Do(ctx, "cluster", "setslot", int(slot), "importing", id(from)).Err())
	must(t, from.client.Do(ctx, "cluster", "setslot", int(slot), "migrating", id(to)).Err())
	take(t, s, a) // the key is still there
	_, port, _ := strings.Cut(to.addr, ":")
	must(t, from.client.Do(ctx, "migrate", "127.0.0.1", port, name, 0, 5000).Err())
	take(t, s, a) // ASK
	for _, n := range []*node{to, from} {
		must(t, n.client.Do(ctx, "cluster", "setslot", int(slot), "node", id(to)).Err())
	}
	take(t, s, a) // MOVED
	if got := take(t, s, a); got.Left != 995 {
		t.Errorf("%d are left, want 995", got.Left)
	}
	if s.Stats().Redirects < 2 {
		t.Errorf("%d redirects", s.Stats().Redirects)
	}
	until(t, 5*time.Second, "the view is right", func() bool { return s.view.Load().owner[slot].addr == to.addr })
}

// failover: when a master dies, its slots fail at once until its replica has taken over; those of the others go on.
func failover(t *testing.T, s *Store, nodes []*server) {
	v := s.view.Load()
	victim := v.nodes[0]
	p := policy(t, 31, bucketOf(1_000_000, time.Second, 1_000_000))
	var its, others Ask
	for i := uint64(0); its.Policy == nil || others.Policy == nil; i++ {
		a := Ask{Policy: p, Key: key(5000 + i), N: 1}
		if s.nodeOf(v, p.key("weir", a.Key, limiter.Key{})) == victim {
			its = a
		} else {
			others = a
		}
	}
	take(t, s, its)
	for _, n := range nodes {
		if n.addr() == victim.addr {
			n.kill()
		}
	}
	var answers [1]Answer
	failed, slow := 0, 0
	began := time.Now()
	for back := false; !back; {
		take(t, s, others)
		start := time.Now()
		_, err := s.Take(context.Background(), []Ask{its}, answers[:])
		if back = err == nil; !back {
			if failed++; time.Since(start) > 20*time.Millisecond {
				slow++
			}
			time.Sleep(time.Millisecond)
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("no failover: %v, %s", err, s.Trouble())
		}
	}
	t.Logf("failover: back after %v; %d calls failed, %d of them slowly", time.Since(began), failed, slow)
	if slow > tolerated {
		t.Errorf("%d calls waited for a dead node", slow)
	}
	until(t, 10*time.Second, "all is up", s.Up)
}

// TestSentinel: three sentinels, a master and a replica; the master dies.
func TestSentinel(t *testing.T) {
	master := newServer(t)
	replica := newServer(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(master.port), "--repl-diskless-sync-delay", "0")
	until(t, 10*time.Second, "the replica follows", func() bool {
		return strings.Contains(replica.client().Info(context.Background(), "replication").Val(), "master_link_status:up")
	})
	var addrs []string
	for range 3 {
		addrs = append(addrs, newSentinel(t, master).addr())
	}
	s := opened(t, Config{Addresses: addrs, Timeout: 500 * time.Millisecond}, nil)
	if s.Stats().Mode != "sentinel" {
		t.Fatalf("%+v", s.Stats())
	}
	a := Ask{Policy: policy(t, 1, windowOf(limiter.FixedWindow, 100, 24*time.Hour)), Key: key(1), N: 10}
	take(t, s, a)
	time.Sleep(1500 * time.Millisecond) // the sentinels find each other, and the replica
	master.kill()
	var answers [1]Answer
	d := until(t, 20*time.Second, "the replica is asked", func() bool {
		_, err := s.Take(context.Background(), []Ask{a}, answers[:])
		return err == nil
	})
	t.Logf("failover: back after %v", d)
	if answers[0].Left != 80 {
		t.Errorf("%d are left, want 80: the replica does not know", answers[0].Left)
	}
}

func newSentinel(t *testing.T, master *server) *server {
	t.Helper()
	binary(t, "redis-server")
	s := &server{t: t, dir: t.TempDir(), port: freePort(t)}
	conf := filepath.Join(s.dir, "sentinel.conf")
	writeFile(t, conf, fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nlogfile %s/log\nsentinel monitor m 127.0.0.1 %d 2\n"+
		"sentinel down-after-milliseconds m 600\nsentinel failover-timeout m 3000\n", s.port, s.dir, s.dir, master.port))
	s.launch(conf, "--sentinel")
	t.Cleanup(s.kill)
	return s
}
