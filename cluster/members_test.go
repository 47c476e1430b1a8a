package cluster

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"weir/internal/mono"
)

func nodeNamed(name string, port int) *memberlist.Node {
	return &memberlist.Node{Name: name, Addr: []byte{127, 0, 0, 1}, Port: uint16(port)}
}

func TestTableForgets(t *testing.T) {
	tb := newTable()
	for i := range maxMembers {
		name := fmt.Sprint("n", i)
		if !tb.room(name) {
			t.Fatal(i)
		}
		tb.put(nodeNamed(name, i+1), meta{instance: uint64(i)}, true, 0)
	}
	if tb.room("more") || !tb.room("n5") {
		t.Error("it does not know when it is full")
	}
	tb.gone("n7", 2)
	tb.gone("n8", 1)
	if !tb.room("more") || tb.byName["n8"] != nil || tb.byName["n7"] == nil || tb.knows(8) || !tb.knows(7) {
		t.Error("the one that is gone longest must make room")
	}
	tb.prune(forgetAfter + 2)
	if tb.byName["n7"] == nil {
		t.Error("forgotten too early")
	}
	tb.prune(forgetAfter + 3)
	if tb.byName["n7"] != nil || tb.knows(7) || len(tb.byName) != maxMembers-2 || len(tb.instance) != maxMembers-2 {
		t.Error("not forgotten")
	}
}

func TestTableTells(t *testing.T) {
	tb := newTable()
	tb.put(nodeNamed("b", 1), meta{instance: 1}, true, 0)
	tb.put(nodeNamed("c", 2), meta{instance: 2}, true, 0)
	tb.put(nodeNamed("c", 2), meta{instance: 2, leaving: true}, false, 0)
	if s, ok := tb.gone("c", 5); s != Left || !ok {
		t.Error(s, ok)
	}
	if s, ok := tb.gone("b", 5); s != Dead || !ok {
		t.Error(s, ok)
	}
	if _, ok := tb.gone("who", 5); ok {
		t.Error("who is that")
	}
	tb.put(nodeNamed("c", 3), meta{instance: 3}, true, 6)
	alive, left := tb.take(ID("a"))
	if !slices.Equal(alive, idsOf([]string{"a", "c"})) || !slices.Equal(left, idsOf([]string{"c"})) {
		t.Errorf("%x %x", alive, left)
	}
	if _, left := tb.take(ID("a")); len(left) != 0 {
		t.Errorf("told twice: %x", left)
	}
	if tb.knows(2) || !tb.knows(3) || !tb.knows(1) {
		t.Error("instances")
	}
	if to := *tb.targets.Load(); len(to) != 1 || to[0].Name != "c" || to[0].Port != 3 {
		t.Errorf("%+v", to)
	}
	alone, dead := tb.addresses()
	if !slices.Equal(alone, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:3")}) || !slices.Equal(dead, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}) {
		t.Error(alone, dead)
	}
}

// Of many members just three meet one that came back, whatever each of them calls itself.
func TestPlan(t *testing.T) {
	const n = 20
	name := func(i int) string { return fmt.Sprint("n", i) }
	for back := range n {
		met := 0
		for self := range n {
			tb := newTable()
			for i := range n {
				if i != self && tb.put(nodeNamed(name(i), i+1), meta{instance: uint64(i)}, true, 0) {
					t.Fatal("it is new")
				}
			}
			if self == back {
				continue
			}
			tb.gone(name(back), 1)
			if !tb.put(nodeNamed(name(back), 99), meta{instance: 99}, true, 2) {
				t.Fatal("it came back")
			}
			if tb.plan(ID(name(self)), name(back)) {
				met++
				if a := tb.planned(); len(a) != 1 || a[0].Port() != 99 || len(tb.planned()) != 0 {
					t.Errorf("%v", a)
				}
			}
		}
		if met != welcomers {
			t.Errorf("%d members meet %s", met, name(back))
		}
	}
	tb := newTable()
	tb.put(nodeNamed("b", 1), meta{instance: 1}, true, 0)
	if tb.put(nodeNamed("b", 1), meta{instance: 1, zone: "z"}, false, 1) || !tb.put(nodeNamed("b", 1), meta{instance: 2}, false, 1) {
		t.Error("a new instance has come back, the same one has not")
	}
}

func TestMemberTimes(t *testing.T) {
	tb := newTable()
	at := func(s float64) mono.Time { return mono.Time(s * 1e9) }
	tb.put(nodeNamed("b", 1), meta{instance: 1}, true, at(10))
	f := func(now mono.Time, lag, silent time.Duration, s State) {
		t.Helper()
		if m := tb.members(now)[0]; m.Lag != lag || m.Silent != silent || m.State != s {
			t.Errorf("lag %v silent %v %v, want %v %v %v", m.Lag, m.Silent, m.State, lag, silent, s)
		}
	}
	f(at(11), time.Second, time.Second, Alive)
	tb.hear(header{instance: 1, seq: 5}, at(12))
	f(at(13), time.Second, time.Second, Alive)
	tb.pinged("b", 7, at(14))
	f(at(19), 7*time.Second, 5*time.Second, Alive)
	f(at(19.1), 7100*time.Millisecond, 5100*time.Millisecond, Suspect)
	tb.pinged("b", 7, at(20))
	f(at(20), 8*time.Second, 0, Alive)
	tb.gone("b", at(21))
	f(at(22), 0, 2*time.Second, Dead)
}

func TestLost(t *testing.T) {
	f := func(want uint64, seqs ...uint32) {
		t.Helper()
		tb := newTable()
		tb.put(nodeNamed("b", 1), meta{instance: 1}, true, 0)
		for _, s := range seqs {
			tb.hear(header{instance: 1, seq: s}, 1)
		}
		if m := tb.members(1)[0]; m.Lost != want || m.Frames != uint64(len(seqs)) {
			t.Errorf("%v: %d lost of %d, want %d", seqs, m.Lost, m.Frames, want)
		}
	}
	f(0, 5, 6, 7)
	f(2, 5, 8)
	f(1, 5, 8, 6)
	f(0, 5, 7, 6, 8)
	f(0, math.MaxUint32, 0, 1)
	f(1, math.MaxUint32, 1)
	f(0, 5, 5, 4)
	if tb := newTable(); tb.hear(header{instance: 1}, 1) {
		t.Error("nobody is known")
	}
}
