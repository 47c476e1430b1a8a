package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func keyed(keys ...[]byte) func(*Config) { return func(c *Config) { c.Keys = keys } }

// hears reports that frames of one get to the other, sending until they do.
func hears(t *testing.T, from, to *node, what string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s hears %s: %s", to.cfg.Name, from.cfg.Name, what), func() bool {
		from.Broadcast(KindSpending, []byte(what))
		return to.got(what)
	})
}

func TestWrongKey(t *testing.T) {
	t.Parallel()
	a := start(t, "a", keyed(key(1)))
	wrong := start(t, "wrong", keyed(key(2)), a.addr())
	clear := start(t, "clear", nil, a.addr())
	right := start(t, "right", keyed(key(1)), a.addr())
	eventually(t, "the right key is let in", func() bool { return a.sees("a", "right") && right.sees("a", "right") })
	for _, n := range []*node{wrong, clear} {
		eventually(t, "it is said why", func() bool { return n.logged.has("cannot join a node") })
		if !n.sees(n.cfg.Name) || len(n.merges()) != 0 {
			t.Errorf("%s is in: merged %q", n.cfg.Name, n.merges())
		}
	}
	if !a.sees("a", "right") || a.has("state of wrong") || a.has("state of clear") {
		t.Errorf("a let them in: merged %q", a.merges())
	}
	if n := wrong.Stats().RejoinErrors; n > 3 {
		t.Errorf("%d attempts at once", n)
	}
}

func TestRotateKeys(t *testing.T) {
	t.Parallel()
	old, next := key(1), key(2)
	a, b, c := three(t, keyed(old))
	all := []*node{a, b, c}
	for step, keys := range [][][]byte{{old, next}, {next, old}, {next}} {
		for i, n := range all {
			cfg := n.cfg
			cfg.Keys = keys
			if restart, err := n.Update(cfg); err != nil || len(restart) > 0 {
				t.Fatal(restart, err)
			}
			for _, o := range all {
				if o != n { // while some have the new keys and some not
					hears(t, n, o, fmt.Sprintf("step %d.%d, from", step, i))
					hears(t, o, n, fmt.Sprintf("step %d.%d, to", step, i))
				}
			}
		}
	}
	for _, n := range all {
		if !n.sees("a", "b", "c") || n.logged.has("Decrypt packet failed") {
			t.Errorf("%s lost members or frames", n.cfg.Name)
		}
		if got := n.keyring.GetKeys(); len(got) != 1 || !bytes.Equal(got[0], next) {
			t.Errorf("%s holds %d keys", n.cfg.Name, len(got))
		}
	}
	d := start(t, "d", keyed(old), a.addr())
	e := start(t, "e", keyed(next), a.addr())
	eventually(t, "the new key is let in", func() bool { return e.sees("a", "b", "c", "e") && a.sees("a", "b", "c", "e") })
	if !d.sees("d") {
		t.Error("the old key is let in")
	}
	cfg := a.cfg
	cfg.Keys = nil
	if restart, err := a.Update(cfg); err != nil || len(restart) != 1 || restart[0] != "Keys" {
		t.Error(restart, err)
	}
}

func TestOtherCluster(t *testing.T) {
	t.Parallel()
	a := start(t, "a", nil)
	other := start(t, "other", func(c *Config) { c.Cluster = "another" }, a.addr())
	for _, n := range []*node{a, other} {
		eventually(t, "it is said why", func() bool { return n.logged.has("a node is refused") })
		if got := n.logged.String(); !strings.Contains(got, `another`) {
			t.Errorf("log:\n%s", got)
		}
		eventually(t, "it is counted", func() bool { return n.Stats().Refused > 0 })
	}
	eventually(t, "it goes on asking", func() bool { return other.Stats().Rejoins > 2 })
	if n := strings.Count(a.logged.String(), `msg="a node is refused"`); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if !a.sees("a") || !other.sees("other") || len(a.merges())+len(other.merges()) != 0 {
		t.Errorf("they mixed: %q and %q", a.merges(), other.merges())
	}
}

// A second node of a living one's name is refused, says so, and nothing that it sends is taken.
func TestDuplicateName(t *testing.T) {
	t.Parallel()
	a, b, _ := three(t, nil)
	b2 := start(t, "b", nil, a.addr())
	b2.setState([]byte("state of the second b"))
	eventually(t, "the second one says it", func() bool { return b2.logged.has("the name of this node is taken") })
	eventually(t, "so does one of the others", func() bool { return a.logged.has("two nodes of one name") })
	eventually(t, "it goes on asking, and is heard of no more than this", func() bool {
		b2.Broadcast(KindSpending, []byte("from the second"))
		return b2.Stats().Rejoins > 3 && a.Stats().Strangers > 0
	})
	if a.got("from the second") || a.has("state of the second b") {
		t.Error("it was taken for the first one")
	}
	if m := a.member("b"); m.Address != b.Address() || m.State != Alive {
		t.Errorf("%+v", m)
	}
	if s := a.Stats(); s.Conflicts == 0 || s.Alive != 3 {
		t.Errorf("%+v", s)
	}
	b.Close()
	eventually(t, "it is let in when the first one is dead", func() bool {
		return a.member("b").Address == b2.Address() && a.sees("a", "b", "c")
	})
	hears(t, b2, a, "let in")
	hears(t, a, b2, "let in")
}

func TestGarbage(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){"clear": nil, "keyed": keyed(key(9))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := start(t, "a", change)
			b := start(t, "b", change, a.addr())
			eventually(t, "two", func() bool { return a.sees("a", "b") && b.sees("a", "b") })
			udp, err := net.Dial("udp", a.addr())
			if err != nil {
				t.Fatal(err)
			}
			defer udp.Close()
			r := rand.New(rand.NewPCG(1, 2))
			for i := range 5000 {
				p := make([]byte, 1+r.IntN(600))
				for j := range p {
					p[j] = byte(r.Uint32())
				}
				p[0] = byte(i % 16) // memberlist's types of messages, and a few that are none
				if i%64 == 0 {
					p = append(p, make([]byte, maxPacket)...)
				}
				_, _ = udp.Write(p)
			}
			for i := range 100 {
				tcp, err := net.Dial("tcp", a.addr())
				if err != nil {
					t.Fatal(err)
				}
				_, _ = tcp.Write([]byte{byte(i % 16), 0x83, 0xff, 0xff, 0xff, 0xff, 0, 1, 2})
				if i%2 == 0 {
					tcp.Close()
				} else {
					defer tcp.Close() // held open, saying no more
				}
			}
			hears(t, b, a, "after the garbage")
			hears(t, a, b, "after the garbage")
			s := a.Stats()
			if s.RefusedConns == 0 {
				t.Errorf("all of 50 connections of one address were held: %+v", s)
			}
			if n := strings.Count(a.logged.String(), "\n"); n > 200 {
				t.Errorf("%d lines logged, %d dropped", n, s.LogDropped)
			}
			if s.Alive != 2 && s.Alive+s.Suspect != 2 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// What memberlist lets through is still not believed.
func TestBadFrames(t *testing.T) {
	t.Parallel()
	a := start(t, "a", nil)
	b := start(t, "b", nil, a.addr())
	eventually(t, "two", func() bool { return a.sees("a", "b") && b.sees("a", "b") })
	f := func(what string, count func(Stats) uint64, frame []byte) {
		t.Helper()
		before := count(a.Stats())
		to := (*b.table.targets.Load())[0]
		if err := b.list.SendReliable(&to, frame); err != nil { // by TCP, where memberlist allows 20 MiB
			t.Fatal(err)
		}
		eventually(t, what, func() bool { return count(a.Stats()) > before })
	}
	good := appendFrame(nil, KindSpending, b.instance, 1, []byte("good"))
	with := func(at int, v byte) []byte {
		x := bytes.Clone(good)
		x[at] = v
		return x
	}
	f("too short", func(s Stats) uint64 { return s.BadFrames }, good[:frameHeader-1])
	f("too long", func(s Stats) uint64 { return s.BadFrames }, append(bytes.Clone(good), make([]byte, MaxFrame)...))
	f("far too long", func(s Stats) uint64 { return s.BadFrames }, make([]byte, 5<<20))
	f("another version", func(s Stats) uint64 { return s.Unknown }, with(0, 2))
	f("another kind", func(s Stats) uint64 { return s.Unknown }, with(1, 77))
	f("another instance", func(s Stats) uint64 { return s.Strangers }, with(5, good[5]+1))
	f("good", func(s Stats) uint64 { return s.Kinds[KindSpending].Received.Count }, good)
	eventually(t, "the good one arrives", func() bool { return a.got("good") })
	if n := a.times("good"); n != 1 || len(a.all()) != 1 {
		t.Errorf("%d frames arrived: %q", len(a.all()), a.all())
	}
}

// A flood that Receive cannot follow is dropped and counted, and takes no memory beyond the queue.
func TestFlood(t *testing.T) {
	t.Parallel()
	a := &node{replica: &replica{hold: make(chan struct{})}, logged: &logBuffer{}}
	a.start(t, "a", nil)
	defer close(a.hold)
	b := start(t, "b", nil, a.addr())
	eventually(t, "two", func() bool { return a.sees("a", "b") && b.sees("a", "b") })
	frame := make([]byte, MaxFrame)
	eventually(t, "frames are dropped", func() bool {
		for range 200 {
			b.Broadcast(KindSpending, frame)
		}
		return a.Stats().Dropped > 500
	})
	a.queue.mu.Lock()
	waiting, bytes := a.queue.n, 0
	for _, q := range a.queue.ring {
		bytes += cap(q.frame)
	}
	a.queue.mu.Unlock()
	if waiting > queueFrames || bytes > 2*queueFrames*MaxFrame {
		t.Errorf("%d frames wait, in %d bytes", waiting, bytes)
	}
	s := a.Stats()
	if got := s.Kinds[KindSpending].Received; got.Count < s.Dropped+uint64(waiting) {
		t.Errorf("received %d, dropped %d, waiting %d", got.Count, s.Dropped, waiting)
	}
	if m := a.member("b"); m.State != Alive {
		t.Errorf("%+v", m)
	}
}

func TestBigState(t *testing.T) {
	t.Parallel()
	a := start(t, "a", nil)
	a.setState(make([]byte, MaxState+1))
	b := start(t, "b", nil, a.addr())
	eventually(t, "it is a member nevertheless, and counted", func() bool { return b.sees("a", "b") && a.sees("a", "b") && a.Stats().BigStates > 0 })
	if m := b.merges(); len(m) != 0 {
		t.Errorf("merged %d bytes", len(m[0]))
	}
	eventually(t, "it is logged", func() bool { return a.logged.has("the state is too big") })
	a.setState(append([]byte("just right"), make([]byte, MaxState-10)...))
	c := start(t, "c", nil, a.addr())
	eventually(t, "the largest one arrives", func() bool {
		m := c.merges()
		return len(m) == 1 && strings.HasPrefix(m[0], "just right")
	})
	for _, bad := range [][]byte{{1, 2}, append([]byte{2}, make([]byte, stateHeader)...), make([]byte, stateHeader+MaxState+1)} {
		before := c.Stats().BadStates
		delegate{c.Cluster}.MergeRemoteState(bad, false)
		if c.Stats().BadStates != before+1 {
			t.Errorf("a state of %d bytes was not refused", len(bad))
		}
	}
	delegate{c.Cluster}.MergeRemoteState(appendState(12345, []byte("whose?")), true)
	if c.has("whose?") || c.Stats().Strangers != 1 {
		t.Error("the state of a stranger was merged")
	}
}

// Nothing of memberlist's calls the Replica after the end, and an end comes soon even while a node is joining one that hangs.
func TestEndIsSoon(t *testing.T) {
	t.Parallel()
	hangs, err := net.Listen("tcp", "127.0.0.1:0") // connects, and never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer hangs.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	r := &replica{state: []byte("x")}
	begin := time.Now()
	c, err := Start(ctx, Config{Name: "a", Bind: "127.0.0.1:0", Join: []string{hangs.Addr().String()}}, r)
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d > 4*time.Second {
		t.Errorf("Start took %v", d)
	}
	begin = time.Now()
	if err := c.Leave(20 * time.Second); err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d > 4*time.Second {
		t.Errorf("Leave took %v", d)
	}
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	delegate{c}.MergeRemoteState(appendState(c.instance, []byte("late")), false)
	if b := (delegate{c}).LocalState(false); b != nil {
		t.Error("a state after the end")
	}
	if r.bad != "" {
		t.Error(r.bad)
	}
}

// What strangers can make a node hold is bounded: connections, and what is read from one.
func TestStreamBounds(t *testing.T) {
	t.Parallel()
	tr, err := listen(&Config{Bind: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Shutdown()
	var conns []net.Conn
	for range maxStreamsIP + 5 {
		c, err := net.Dial("tcp", tr.bound.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	var got []net.Conn
	for range maxStreamsIP {
		got = append(got, <-tr.streams)
	}
	eventually(t, "the others are refused", func() bool { return tr.refused.Load() == 5 })
	got[0].Close()
	got[0].Close() // counts once
	c, err := net.Dial("tcp", tr.bound.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	again := <-tr.streams
	tr.mu.Lock()
	if n := tr.perIP[netip.MustParseAddr("127.0.0.1")]; n != maxStreamsIP || len(tr.open) != maxStreamsIP {
		t.Errorf("%d connections, %d", n, len(tr.open))
	}
	tr.mu.Unlock()
	go func() {
		b := make([]byte, 1<<20)
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}()
	n, err := io.Copy(io.Discard, again)
	if n != maxStream || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	for i := range maxStreams { // other addresses share one bound
		tr.admit(conns[0], netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
	}
	if tr.admit(conns[0], netip.MustParseAddr("10.1.1.1")) != nil {
		t.Error("connections of many addresses have no bound")
	}
}
