package cluster

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/memberlist"
	"pgregory.net/rapid"

	"weir/internal/mono"
)

func TestCheck(t *testing.T) {
	good := Config{Name: "a", Bind: "127.0.0.1:7946"}
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := good
		change(&c)
		err := c.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("", func(c *Config) {})
	f("", func(c *Config) { c.Bind = "localhost:0" })
	f("", func(c *Config) { c.Bind = "[::1]:7946" })
	f("", func(c *Config) { c.Bind, c.Keys = ":7946", [][]byte{key(1)} })
	f("", func(c *Config) {
		c.Advertise, c.Join = "10.1.2.3", []string{"seed", "seed:1", "::1", "[::1]:5", "10.0.0.1:7"}
	})
	f("node name", func(c *Config) { c.Name = "" })
	f("node name", func(c *Config) { c.Name = "a/b" })
	f("node name", func(c *Config) { c.Name = "a b" })
	f("node name", func(c *Config) { c.Name = strings.Repeat("x", 129) })
	f("zone has 65", func(c *Config) { c.Zone = strings.Repeat("x", 65) })
	f("cluster name has 65", func(c *Config) { c.Cluster = strings.Repeat("x", 65) })
	f("not on loopback", func(c *Config) { c.Bind = "0.0.0.0:7946" })
	f("not on loopback", func(c *Config) { c.Bind = ":7946" })
	f("not on loopback", func(c *Config) { c.Bind = "10.0.0.5:7946" })
	f("give IP:port", func(c *Config) { c.Bind = "" })
	f("give IP:port", func(c *Config) { c.Bind = "127.0.0.1" })
	f("give IP:port", func(c *Config) { c.Bind = "gateway:7946" })
	f("give IP:port", func(c *Config) { c.Bind = "127.0.0.1:99999" })
	f("advertise", func(c *Config) { c.Advertise = "0.0.0.0:1" })
	f("advertise", func(c *Config) { c.Advertise = "gateway:1" })
	f("advertise", func(c *Config) { c.Advertise = "10.0.0.1:0" })
	f(`join "a b:1"`, func(c *Config) { c.Join = []string{"a b:1"} })
	f(`join ":7946"`, func(c *Config) { c.Join = []string{":7946"} })
	f(`join "a:0"`, func(c *Config) { c.Join = []string{"a:0"} })
	f(`join "name/a:1"`, func(c *Config) { c.Join = []string{"name/a:1"} })
	f("key 2 has 5 bytes", func(c *Config) { c.Keys = [][]byte{key(1), []byte("short")} })
	f("negative", func(c *Config) { c.RejoinEvery = -1 })
	f("negative", func(c *Config) { c.RejoinEvery, c.Name = -1, "" }) // all mistakes at once
	if _, err := Start(context.Background(), Config{Name: "a", Bind: "0.0.0.0:0"}, &replica{}); err == nil || !strings.Contains(err.Error(), "not on loopback") {
		t.Errorf("Start: %v", err)
	}
}

func TestStartTakenPort(t *testing.T) {
	a := start(t, "a", nil)
	if _, err := Start(context.Background(), Config{Name: "b", Bind: a.addr()}, &replica{}); err == nil {
		t.Error("two nodes on one port")
	}
}

func TestKeys(t *testing.T) {
	k, err := ParseKey(NewKey())
	if err != nil || len(k) != 32 {
		t.Error(k, err)
	}
	if a, b := NewKey(), NewKey(); a == b {
		t.Error("the same key twice")
	}
	for _, n := range []int{16, 24, 32} {
		if k, err := ParseKey(" " + base64.StdEncoding.EncodeToString(make([]byte, n)) + "\n"); err != nil || len(k) != n {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for _, bad := range []string{"", "secret!secret!", base64.StdEncoding.EncodeToString([]byte("secretsecret"))} {
		if _, err := ParseKey(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestRotate: after any rotation the ring holds what it should, and at every moment it encrypts with an old or a new first key.
func TestRotate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfNDistinct(rapid.ByteRange(1, 6), 1, 6, rapid.ID)
		ring := func(s []byte) (all [][]byte) {
			for _, b := range s {
				all = append(all, key(b))
			}
			return all
		}
		old, next := ring(keys.Draw(t, "old")), ring(keys.Draw(t, "new"))
		k, err := newKeyring(old)
		if err != nil {
			t.Fatal(err)
		}
		before := k.GetKeys()
		was := slices.Clone(before)
		if err := rotate(k, next); err != nil {
			t.Fatal(err)
		}
		got := k.GetKeys()
		if !bytes.Equal(got[0], next[0]) || len(got) != len(next) {
			t.Fatalf("%d keys of %d", len(got), len(next))
		}
		for _, want := range next {
			if !slices.ContainsFunc(got, func(g []byte) bool { return bytes.Equal(g, want) }) {
				t.Fatalf("key %d is not there", want[0])
			}
		}
		for i := range before {
			if !bytes.Equal(before[i], was[i]) {
				t.Fatal("a slice that a reader may hold was changed")
			}
		}
	})
}

func TestID(t *testing.T) {
	if a, b := ID("a"), ID("b"); a == b || a != 0xca978112ca1bbdca {
		t.Errorf("%x %x: ids are for ever", a, b)
	}
}

func TestMetaFits(t *testing.T) {
	w := strings.Repeat("x", maxWord)
	m := meta{leaving: true, instance: math.MaxUint64, cluster: w, zone: w, version: w}
	if n := len(m.encode()); n > memberlist.MetaMaxSize {
		t.Errorf("%d bytes", n)
	}
}

func FuzzMeta(f *testing.F) {
	m := meta{leaving: true, instance: 7, cluster: "c", zone: "z", version: "v"}
	f.Add(m.encode())
	f.Add((&meta{}).encode())
	f.Add(append(m.encode(), "later"...))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		if e := m.encode(); len(b) < len(e) || !bytes.Equal(e[2:], b[2:len(e)]) {
			t.Errorf("%x is read as %+v", b, m)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(nil, KindSpending, 1<<60, 9, []byte("frame")))
	f.Add([]byte{})
	f.Add(make([]byte, frameHeader))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, frame, ok := parseFrame(b)
		if ok && h.version == wireVersion && !bytes.Equal(appendFrame(nil, h.kind, h.instance, h.seq, frame), b) {
			t.Errorf("%x is read as %+v %x", b, h, frame)
		}
		if !ok && len(b) >= frameHeader && len(b) <= frameHeader+MaxFrame {
			t.Errorf("%d bytes are refused", len(b))
		}
	})
}

// TestQueue compares with a slice.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 5).Draw(t, "size")
		q := newQueue(size)
		var model []string
		var got queued
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				s := rapid.String().Draw(t, "frame")
				b := []byte(s)
				dropped := q.push(Kind(len(s)), b)
				clear(b)
				if dropped != (len(model) == size) {
					t.Fatalf("dropped %v with %d of %d", dropped, len(model), size)
				}
				if dropped {
					model = model[1:]
				}
				model = append(model, s)
			},
			"pop": func(t *rapid.T) {
				ok := q.pop(&got)
				if ok != (len(model) > 0) || ok && (string(got.frame) != model[0] || got.kind != Kind(len(model[0]))) {
					t.Fatalf("%v %q of %q", ok, got.frame, model)
				}
				if ok {
					model = model[1:]
				}
			},
		})
	})
}

func TestLogs(t *testing.T) {
	out := &logBuffer{}
	l := newLogs(slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelInfo})))
	write := func(s string) { _, _ = l.Write([]byte(s + "\n")) }
	write("[DEBUG] memberlist: not shown")
	write("[INFO] memberlist: shown as info")
	write("[ERR] memberlist: shown as warning")
	write("odd line")
	for range 10 {
		l.once("thing", slog.LevelError, "said once")
	}
	for i := range 1000 {
		write(fmt.Sprint("[WARN] memberlist: flood ", i))
	}
	for i := range 2 * onceMemory {
		l.once(fmt.Sprint(i), slog.LevelDebug, "not shown")
	}
	done := make(chan struct{})
	close(done)
	l.run(done)
	for want, times := range map[string]int{`level=INFO msg="shown as info" by=memberlist`: 1, `level=WARN msg="shown as warning"`: 1, `msg="odd line"`: 1,
		"not shown": 0, "said once": 1, "flood": logBurst - 3} {
		if n := strings.Count(out.String(), want); n != times {
			t.Errorf("%d times %q, want %d", n, want, times)
		}
	}
	if l.dropped.Load() != 1000-(logBurst-3) || len(l.said) > onceMemory {
		t.Errorf("%d dropped, %d remembered", l.dropped.Load(), len(l.said))
	}
	if now := mono.Now(); l.mayWrite(now) || !l.mayWrite(now.Add(2*logEvery)) {
		t.Error("the rate does not recover")
	}
}

func TestAdvertised(t *testing.T) {
	f := func(s, bound, want string) {
		t.Helper()
		got, err := advertised(s, netip.MustParseAddrPort(bound))
		if err != nil || got.String() != want {
			t.Errorf("%v %v, want %s", got, err, want)
		}
	}
	f("", "127.0.0.1:7", "127.0.0.1:7")
	f("10.0.0.1", "0.0.0.0:7", "10.0.0.1:7")
	f("10.0.0.1:8", "127.0.0.1:7", "10.0.0.1:8")
	f("fd00::1", "[::]:7", "[fd00::1]:7")
	got, err := advertised("", netip.MustParseAddrPort("0.0.0.0:7"))
	if err == nil && (!got.Addr().IsGlobalUnicast() || got.Port() != 7) {
		t.Errorf("%v", got)
	}
}
