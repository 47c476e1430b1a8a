package cluster

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// memberlist's probes and streams end some seconds after it was shut down, and nobody can wait for them.
func TestMain(m *testing.M) {
	code := m.Run()
	var err error
	for end := time.Now().Add(20 * time.Second); code == 0 && time.Now().Before(end); {
		if err = goleak.Find(); err == nil {
			break
		}
		<-time.After(100 * time.Millisecond)
	}
	if code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// patience is for what needs failure detection, on a machine that does other things too. Nothing waits longer than it has to.
const patience = 60 * time.Second

func eventually(t testing.TB, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > patience {
			t.Fatalf("not within %v: %s", patience, what)
		}
		<-time.After(5 * time.Millisecond)
	}
	return time.Since(start)
}

// replica remembers everything.
type replica struct {
	mu          sync.Mutex
	frames      [][]byte
	merged      []string
	state       []byte
	alive, left []uint64
	wasLeft     []uint64
	bad         string
	hold        chan struct{} // Receive waits for it
	ended       bool          // no call may come any more
}

func (r *replica) Receive(k Kind, frame []byte) {
	if r.hold != nil {
		<-r.hold
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late()
	r.frames = append(r.frames, append([]byte{byte(k)}, frame...))
}

func (r *replica) State() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late()
	return r.state
}

func (r *replica) Merge(s []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late()
	r.merged = append(r.merged, string(s[:min(len(s), 100)]))
}

func (r *replica) Members(alive, left []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late()
	if !slices.IsSorted(alive) {
		r.bad = "alive is not in order"
	}
	r.alive, r.left = alive, left
	r.wasLeft = append(r.wasLeft, left...)
}

func (r *replica) late() {
	if r.ended {
		r.bad = "called after the end"
	}
}

func (r *replica) sees(names ...string) bool {
	ids := idsOf(names)
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Equal(r.alive, ids)
}

func idsOf(names []string) []uint64 {
	ids := make([]uint64, len(names))
	for i, n := range names {
		ids[i] = ID(n)
	}
	slices.Sort(ids)
	return ids
}

func (r *replica) told(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.wasLeft, ID(name))
}

func (r *replica) got(frame string) bool { return r.times(frame) > 0 }

func (r *replica) times(frame string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.frames {
		if string(f[1:]) == frame {
			n++
		}
	}
	return n
}

// all returns the frames, each with its kind before it; merges returns the states.
func (r *replica) all() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.frames)
}

func (r *replica) merges() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.merged)
}

func (r *replica) setState(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = b
}

func (r *replica) has(merged string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.merged, merged)
}

// node is a cluster member under test.
type node struct {
	*Cluster
	*replica
	logged *logBuffer
}

func (n *node) addr() string { return n.Address().String() }

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) has(s string) bool { return strings.Contains(l.String(), s) }

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t testing.TB, name string, change func(*Config), seeds ...string) *node {
	t.Helper()
	n := &node{replica: &replica{state: []byte("state of " + name)}, logged: &logBuffer{}}
	n.start(t, name, change, seeds...)
	return n
}

func (n *node) start(t testing.TB, name string, change func(*Config), seeds ...string) {
	t.Helper()
	cfg := Config{Name: name, Zone: "z-" + name, Version: "1.2", Cluster: "test", Bind: "127.0.0.1:0", Join: seeds,
		Log: slog.New(slog.NewTextHandler(n.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if change != nil {
		change(&cfg)
	}
	c, err := Start(context.Background(), cfg, n.replica)
	if err != nil {
		t.Fatal(err)
	}
	n.Cluster = c
	t.Cleanup(func() {
		c.Close()
		n.replica.mu.Lock()
		defer n.replica.mu.Unlock()
		n.replica.ended = true
		if n.replica.bad != "" {
			t.Error(n.replica.bad)
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, n.logged)
		}
	})
}

// three starts a, b and c, and waits until all know all.
func three(t testing.TB, change func(*Config)) (a, b, c *node) {
	t.Helper()
	a = start(t, "a", change)
	b = start(t, "b", change, a.addr())
	c = start(t, "c", change, b.addr())
	eventually(t, "three members everywhere", func() bool { return a.sees("a", "b", "c") && b.sees("a", "b", "c") && c.sees("a", "b", "c") })
	return a, b, c
}

func (n *node) member(name string) Member {
	for _, m := range n.Cluster.Members() {
		if m.Name == name {
			return m
		}
	}
	return Member{}
}

// cut keeps everything from being sent to the addresses.
func (n *node) cut(to ...*node) {
	var away []netip.AddrPort
	for _, o := range to {
		away = append(away, o.Address())
	}
	f := func(a netip.AddrPort) bool { return slices.Contains(away, a) }
	n.transport.block.Store(&f)
}
