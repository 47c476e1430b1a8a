package limiter

import (
	"sync"
	"testing"
	"time"

	"weir/internal/mono"
)

func changes(l *Limiter) map[Key][2]int64 {
	m := map[Key][2]int64{}
	l.Changed(func(k Key, window, used int64) { m[k] = [2]int64{window, used} })
	return m
}

func TestChangedAndRestore(t *testing.T) {
	spec := Spec{Algorithm: FixedWindow, Rate: Rate{N: 10, Per: 100}}
	l := newSpec(t, spec, Options{Track: true})
	want := func(m map[Key][2]int64, k int, window, used int64) {
		t.Helper()
		if got, ok := m[key(k)]; !ok || got != [2]int64{window, used} {
			t.Errorf("key %d: %v, want window %d, %d used", k, got, window, used)
		}
	}
	var c Charge
	c.Add(l, key(1), 4)
	c.Add(l, key(2), 3)
	c.Take(250)
	m := changes(l)
	want(m, 1, 2, 4)
	want(m, 2, 2, 3)
	if again := changes(l); len(again) != 0 {
		t.Errorf("told twice: %v", again)
	}
	c.Correct(0, 6, 251)
	want(changes(l), 1, 2, 6)
	c.Refund(252)
	back := changes(l)
	want(back, 1, 2, 0)
	want(back, 2, 2, 0)
	l.Take(key(3), 2, 260)
	l.Reset(key(3), 261)
	want(changes(l), 3, 2, 0)

	r := newSpec(t, spec, Options{})
	for k, s := range m {
		if !r.Restore(k, s[0], s[1], 270) {
			t.Error("no room")
		}
	}
	left := func(k int, now mono.Time, want int64) {
		t.Helper()
		if d := r.Peek(key(k), 0, now); d.Left != want {
			t.Errorf("key %d at %d: %+v, want %d left", k, now, d, want)
		}
	}
	left(1, 270, 6)
	left(2, 270, 7)
	left(1, 300, 10)
	r.Take(key(2), 5, 270)
	r.Restore(key(2), 2, 3, 270) // less than it has
	left(2, 270, 2)
	r.Restore(key(4), 1, 9, 270) // over
	r.Restore(key(4), 3, 9, 270) // not yet
	r.Restore(key(4), 2, 0, 270)
	left(4, 270, 10)
	r.Take(key(5), 8, 300)
	r.Restore(key(5), 2, 1, 299) // by a late clock
	left(5, 300, 2)
	if other := newSpec(t, Spec{Algorithm: Concurrency, Rate: Rate{N: 3}}, Options{Track: true}); !other.Restore(key(1), 0, 3, 0) || len(changes(other)) != 0 ||
		other.Stats().Keys != 0 {
		t.Error("seats were restored")
	}
}

// A slot whose key gave back everything is not given away before that was told; and each slot is told once, whoever had it.
func TestChangedOfEvictedSlots(t *testing.T) {
	l := newSpec(t, Spec{Algorithm: FixedWindow, Rate: Rate{N: 10, Per: 100}}, Options{MaxBytes: MinMaxBytes, Track: true})
	shrink(l, tableBytes(1))
	var c Charge
	for i := range 16 {
		c.Add(l, key(i), 1)
	}
	c.Take(0)
	changes(l)
	c.Refund(0)
	if l.Take(key(100), 1, 0); l.Stats().Evictions != 0 {
		t.Error("evicted before the refund was told")
	}
	if m := changes(l); len(m) != 16 || m[key(3)] != [2]int64{} {
		t.Errorf("%v", m)
	}
	for round := range 100 { // nobody asks, windows pass, all slots go from hand to hand
		for i := range 16 {
			l.Take(key(1000+16*round+i), 1, mono.Time(100+100*round))
		}
	}
	if m := changes(l); len(m) != 16 || l.shards[0].changed != 0 {
		t.Errorf("%d changes, %d left", len(m), l.shards[0].changed)
	}
	if st := l.Stats(); st.Evictions < 100 || st.Bytes > st.MaxBytes {
		t.Errorf("%+v", st)
	}
}

func TestChangedWhileTaking(t *testing.T) {
	l := newSpec(t, Spec{Algorithm: Quota, Rate: Rate{N: 1 << 30}, Calendar: Calendar{Period: "day"}}, Options{Track: true})
	const workers, rounds, keys = 4, 5000, 50
	seen := map[Key]int64{}
	collect := func() { l.Changed(func(k Key, _, used int64) { seen[k] = used }) }
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				l.Take(key((i+w)%keys), 1, mono.Time(i))
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for run := true; run; {
		select {
		case <-done:
			run = false
		default:
		}
		collect()
	}
	for k := range keys {
		if seen[key(k)] != workers*rounds/keys {
			t.Errorf("key %d: %d told last", k, seen[key(k)])
		}
	}
	r := newSpec(t, l.Spec(), Options{})
	for k, used := range seen {
		r.Restore(k, 0, used, mono.Time(time.Hour))
	}
	if d := r.Peek(key(1), 0, 0); d.Left != 1<<30-workers*rounds/keys {
		t.Errorf("%+v", d)
	}
}
