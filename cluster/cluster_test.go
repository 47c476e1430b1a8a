package cluster

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestAlone(t *testing.T) {
	t.Parallel()
	a := start(t, "a", nil)
	if !a.sees("a") {
		t.Error("not told of itself at the start")
	}
	a.Broadcast(KindSpending, []byte("nobody hears it"))
	if m := a.Cluster.Members(); len(m) != 1 || !m[0].Self || m[0].Name != "a" || m[0].State != Alive {
		t.Errorf("%+v", m)
	}
	took := time.Now()
	if err := a.Leave(10 * time.Second); err != nil {
		t.Error(err)
	}
	if d := time.Since(took); d > 5*time.Second {
		t.Errorf("a lone node took %v to leave", d)
	}
	if err := a.Leave(time.Second); err != nil {
		t.Error(err)
	}
	a.Close()
	a.Broadcast(KindSpending, []byte("nobody hears it"))
	if _, err := a.Update(a.cfg); err == nil {
		t.Error("a node that left was updated")
	}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	a, b, c := three(t, nil)
	// Start returns only when it has merged.
	if !b.has("state of a") || !c.has("state of b") {
		t.Errorf("b merged %q, c %q", b.merges(), c.merges())
	}
	eventually(t, "a merges the states of those that join it", func() bool { return a.has("state of b") && b.has("state of c") })
	m := c.member("a")
	if m.ID != ID("a") || m.Zone != "z-a" || m.Version != "1.2" || m.Address != a.Address() || m.State != Alive || time.Since(m.Since) > patience || m.Self {
		t.Errorf("%+v", m)
	}
	eventually(t, "round trips are measured", func() bool { return a.member("b").RTT > 0 && a.member("c").RTT > 0 })
	if s := a.Stats(); s.Alive != 3 || s.Suspect+s.Dead+s.Left != 0 || s.StatesReceived.Count == 0 || s.PacketsSent.Bytes == 0 || s.StreamBytesReceived == 0 {
		t.Errorf("%+v", s)
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	a, b, c := three(t, func(cfg *Config) { cfg.Keys = [][]byte{bytes.Repeat([]byte{7}, 32)} })
	for _, size := range []int{0, 1, MaxFrame} {
		frame := bytes.Repeat([]byte{0xa5}, size)
		eventually(t, "the frame arrives", func() bool { // datagrams may be lost
			a.Broadcast(KindSpending, frame)
			clear(frame) // it is ours again
			for i := range frame {
				frame[i] = 0xa5
			}
			return b.got(string(frame)) && c.got(string(frame))
		})
	}
	if a.got("") {
		t.Error("a node heard itself")
	}
	for _, f := range b.all() {
		if Kind(f[0]) != KindSpending {
			t.Errorf("kind %d", f[0])
		}
	}
	sent := a.Stats()
	a.Broadcast(KindSpending, make([]byte, MaxFrame+1))
	a.Broadcast(0, nil)
	a.Broadcast(kinds, nil)
	s := a.Stats()
	if s.Oversized != 3 || s.Kinds[KindSpending].Sent != sent.Kinds[KindSpending].Sent {
		t.Errorf("%+v", s)
	}
	eventually(t, "the mistake is logged", func() bool { return a.logged.has("BUG: a frame cannot be sent") })
	if n := strings.Count(a.logged.String(), "BUG:"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if m := b.member("a"); m.Frames == 0 || m.Lag > patience || m.Silent > m.Lag {
		t.Errorf("%+v", m)
	}
	if got := b.Stats().Kinds[KindSpending].Received; got.Count == 0 || got.Bytes < MaxFrame {
		t.Errorf("%+v", got)
	}
}

func TestLeave(t *testing.T) {
	t.Parallel()
	a, b, c := three(t, nil)
	took := time.Now()
	if err := c.Leave(20 * time.Second); err != nil {
		t.Error(err)
	}
	t.Logf("leaving took %v", time.Since(took))
	eventually(t, "the others are told that it left", func() bool { return a.sees("a", "b") && b.sees("a", "b") && a.told("c") && b.told("c") })
	if m := a.member("c"); m.State != Left || m.Lag != 0 {
		t.Errorf("%+v", m)
	}
	if s := b.Stats(); s.Left != 1 || s.Alive != 2 || s.Dead != 0 {
		t.Errorf("%+v", s)
	}
	// and comes back, elsewhere
	c2 := start(t, "c", nil, a.addr())
	eventually(t, "it is a member again", func() bool { return a.sees("a", "b", "c") && b.sees("a", "b", "c") && c2.sees("a", "b", "c") })
	if m := a.member("c"); m.State != Alive || m.Address != c2.Address() {
		t.Errorf("%+v", m)
	}
}

func TestLeaveInNoTime(t *testing.T) {
	t.Parallel()
	a, b, c := three(t, nil)
	c.cut(a, b)
	start := time.Now()
	if err := c.Leave(50 * time.Millisecond); err == nil {
		t.Error("nobody can have heard it")
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestCrashAndRestartElsewhere(t *testing.T) {
	t.Parallel()
	a, b, c := three(t, nil)
	old := c.Address()
	c.Close()
	crash := time.Now()
	c2 := start(t, "c", nil, a.addr()) // another port, before anybody noticed
	eventually(t, "the old one is dead, the new one a member", func() bool {
		return a.member("c").Address == c2.Address() && b.member("c").Address == c2.Address() && c2.sees("a", "b", "c") && a.sees("a", "b", "c") && b.sees("a", "b", "c")
	})
	t.Logf("let in %v after the crash", time.Since(crash))
	if a.told("c") || b.told("c") {
		t.Error("a crash was taken for a leave")
	}
	if !a.logged.has("Updating address for left or failed node c") && !b.logged.has("Updating address for left or failed node c") {
		t.Error("it was let in only when memberlist had forgotten the old one")
	}
	if old == c2.Address() {
		t.Fatal("the test needs another port")
	}
	eventually(t, "frames of the new one are taken", func() bool {
		c2.Broadcast(KindSpending, []byte("here again"))
		return a.got("here again") && b.got("here again")
	})
	eventually(t, "and it gets those of others", func() bool {
		a.Broadcast(KindSpending, []byte("welcome"))
		b.Broadcast(KindSpending, []byte("back"))
		return c2.got("welcome") && c2.got("back")
	})
}

func TestCrashIsNoticed(t *testing.T) {
	t.Parallel()
	a, b, c := three(t, nil)
	at := c.Address().String()
	c.Close()
	crash := time.Now()
	eventually(t, "one of the others notices", func() bool { return a.sees("a", "b") || b.sees("a", "b") })
	first := time.Since(crash)
	eventually(t, "both of them", func() bool { return a.sees("a", "b") && b.sees("a", "b") })
	t.Logf("noticed %v after the crash, by both %v", first, time.Since(crash))
	if a.told("c") || b.told("c") {
		t.Error("a crash was taken for a leave")
	}
	if m := a.member("c"); m.State != Dead || m.Lag != 0 {
		t.Errorf("%+v", m)
	}
	// Nothing but the crash brings it back: the others ask for it.
	crash = time.Now()
	c2 := start(t, "c", func(cfg *Config) { cfg.Bind = at })
	eventually(t, "it is found where it was", func() bool { return a.sees("a", "b", "c") && b.sees("a", "b", "c") && c2.sees("a", "b", "c") })
	t.Logf("found again after %v without seeds of its own", time.Since(crash))
	eventually(t, "it has their states", func() bool { return c2.has("state of a") || c2.has("state of b") })
}

func TestQuickRestartInPlace(t *testing.T) {
	t.Parallel()
	a, b, c := three(t, nil)
	at := c.Address().String()
	c.Close()
	c2 := start(t, "c", func(cfg *Config) { cfg.Bind, cfg.Zone = at, "new" }, a.addr())
	took := eventually(t, "its new self is known", func() bool { return a.member("c").Zone == "new" && b.member("c").Zone == "new" })
	t.Logf("known again after %v", took)
	eventually(t, "its frames are taken", func() bool {
		c2.Broadcast(KindSpending, []byte("new self"))
		return a.got("new self") && b.got("new self")
	})
}

func TestSplitHeals(t *testing.T) {
	t.Parallel()
	a, b, c := three(t, nil)
	a.cut(c)
	b.cut(c)
	c.cut(a, b)
	split := time.Now()
	eventually(t, "both sides notice", func() bool { return a.sees("a", "b") && b.sees("a", "b") && c.sees("c") })
	t.Logf("split noticed by all after %v", time.Since(split))
	for _, n := range []*node{a, b, c} {
		n.transport.block.Store(nil)
	}
	healed := eventually(t, "they are one again", func() bool { return a.sees("a", "b", "c") && b.sees("a", "b", "c") && c.sees("a", "b", "c") })
	t.Logf("healed in %v", healed)
	if a.told("c") || c.told("a") {
		t.Error("a split was taken for a leave")
	}
	for _, n := range []*node{a, b, c} {
		if got := n.Stats().Alive; got != 3 {
			t.Errorf("%d alive", got)
		}
	}
}

func TestStartedApart(t *testing.T) {
	t.Parallel()
	a := start(t, "a", nil)
	b := start(t, "b", nil)
	cfg := b.cfg
	cfg.Join = []string{a.addr()}
	if restart, err := b.Update(cfg); err != nil || len(restart) != 0 {
		t.Fatal(restart, err)
	}
	took := eventually(t, "one cluster", func() bool { return a.sees("a", "b") && b.sees("a", "b") && a.has("state of b") && b.has("state of a") })
	t.Logf("joined by the new list after %v", took)
}

// A seed that starts later is found, by name.
func TestSeedComesLater(t *testing.T) {
	t.Parallel()
	a := start(t, "a", nil)
	at := a.Address()
	a.Close()
	b := start(t, "b", nil, fmt.Sprintf("localhost:%d", at.Port()))
	if !b.sees("b") {
		t.Error("it is not alone")
	}
	a2 := start(t, "a", func(cfg *Config) { cfg.Bind = at.String() })
	eventually(t, "they meet", func() bool { return a2.sees("a", "b") && b.sees("a", "b") })
	eventually(t, "attempts are counted", func() bool { s := b.Stats(); return s.Rejoins > 1 && s.RejoinErrors > 0 })
	if !b.logged.has("cannot join a node") {
		t.Error("not logged")
	}
}
