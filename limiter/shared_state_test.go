package limiter

import (
	"testing"
	"time"

	"weir/internal/mono"
)

var sharedQuota = Spec{Algorithm: Quota, Rate: Rate{N: 300}, Calendar: Calendar{Period: "hour"}}

// takeAll takes units one by one until none is left, and returns how many that were.
func (c *crew) takeAll(i int, k Key, most int, now *mono.Time) (n int) {
	for refused := 0; refused < 40 && n < most; {
		if c.limiters[i].Take(k, 1, *now).OK {
			n++
			refused = 0
		} else {
			refused++
		}
		*now = now.Add(3 * time.Millisecond)
		c.talk(*now)
	}
	return n
}

// restart has node i begin anew, with what is on disk and, if there is time before, the state of another.
func (c *crew) restart(i int, s Spec, disk map[Key][2]int64, stateFirst bool, now mono.Time) {
	var ids []uint64
	for j := range c.fleets {
		ids = append(ids, nodeID(j))
	}
	f := NewFleet(FleetOptions{Self: ids[i], Incarnation: c.fleets[i].incarnation + 1, Interval: 100 * time.Millisecond, Start: now})
	l, err := New("crew", s, Options{Fleet: f, Share: 7, Track: true})
	if err != nil {
		c.t.Fatal(err)
	}
	l.Join(now)
	f.Members(ids, nil, now)
	c.fleets[i], c.limiters[i] = f, l
	merge := func() {
		if err := f.Merge(c.fleets[(i+1)%len(ids)].State(1<<20, now), now); err != nil {
			c.t.Fatal(err)
		}
	}
	if stateFirst {
		merge()
	}
	for k, v := range disk {
		l.Restore(k, v[0], v[1], now)
	}
	if !stateFirst {
		merge()
	}
}

// changed is what a node would write to disk.
func changed(l *Limiter) map[Key][2]int64 {
	disk := map[Key][2]int64{}
	l.Changed(func(k Key, window, used int64) { disk[k] = [2]int64{window, used} })
	return disk
}

// TestSharedQuotaRestart: what a node has spent of a quota counts once after its restart: as other nodes heard, and as the disk has it.
func TestSharedQuotaRestart(t *testing.T) {
	for _, first := range []int{10, 90, 140} { // cold, just hot, more than its share
		for _, disk := range []bool{false, true} {
			for _, stateFirst := range []bool{false, true} {
				c, k, now := newCrew(t, 3, sharedQuota, Options{Track: true}), simKey(1), mono.Time(0)
				total := c.takeAll(0, k, first, &now) + c.takeAll(1, k, 90, &now)
				now = now.Add(time.Second)
				c.talk(now)
				saved := changed(c.limiters[0])
				if saved[k][1] != int64(first) {
					t.Fatalf("%d are on disk, %d were spent", saved[k][1], first)
				}
				if !disk {
					saved = nil
				}
				c.restart(0, sharedQuota, saved, stateFirst, now)
				if again := changed(c.limiters[0])[k][1]; disk && c.hotCell(0, k) == nil && again != 0 && again != int64(first) {
					t.Errorf("%d are to be written again", again)
				}
				c.takeAll(2, k, 10, &now)
				total += 10
				for i := range 3 {
					total += c.takeAll((i+2)%3, k, 300, &now)
				}
				least, most := 297, 303
				if first == 10 && !disk { // nobody knew
					most += 10
				}
				if total < least || total > most {
					t.Errorf("%d spent at first, disk %v, state first %v: %d units in all", first, disk, stateFirst, total)
				}
			}
		}
	}
}

// TestSharedChanged: keys that become hot and cold, change windows and are reset are reported once for each change, and the count of
// changed entries holds.
func TestSharedChanged(t *testing.T) {
	s := Spec{Algorithm: FixedWindow, Rate: Rate{N: 90, Per: 4 * time.Second}}
	c, now := newCrew(t, 3, s, Options{Track: true}), mono.Time(0)
	check := func(when string) {
		t.Helper()
		for i, l := range c.limiters {
			for j := range l.shards {
				s, n := &l.shards[j], 0
				for slot := range s.used {
					switch e := s.at(slot); {
					case e.last == hot && s.rings.cells.get(int(e.x)).changed, e.last != hot && e.last != 0:
						n++
					}
				}
				if n != s.changed {
					t.Fatalf("%s: node %d counts %d changed entries of a shard, there are %d", when, i, s.changed, n)
				}
			}
		}
	}
	for round := range 6 {
		for k := range uint64(20) {
			for n := 0; n < int(k)*3; n++ {
				c.limiters[n%3].Take(simKey(k), 1, now)
			}
		}
		c.talk(now)
		check("spent")
		if round%2 == 0 {
			changed(c.limiters[0])
		}
		check("told")
		c.limiters[0].Reset(simKey(15), now)
		c.limiters[1].Reset(simKey(1), now)
		check("reset")
		c.run(now, now.Add(5*time.Second))
		now = now.Add(5 * time.Second)
		check("a window later")
		if err := c.limiters[2].SetSpec(Spec{Algorithm: FixedWindow, Rate: Rate{N: 90 + int64(round), Per: 4 * time.Second}}, now); err != nil {
			t.Fatal(err)
		}
		check("another limit")
	}
	if list := changed(c.limiters[0]); len(list) == 0 {
		t.Error("nothing changed")
	}
	if list := changed(c.limiters[0]); len(list) != 0 {
		t.Errorf("%d keys changed again", len(list))
	}
	check("at the end")
}

// TestSharedBudget: what a cell takes is counted, and given back when its key is cold again; without room, a key keeps to its share.
func TestSharedBudget(t *testing.T) {
	for _, s := range sharedSpecs {
		budget := NewBudget(1 << 30)
		c, k, now := newCrew(t, 3, s, Options{Budget: budget}), simKey(1), mono.Time(0)
		for i := range 3 {
			c.limiters[i].Take(k, 1, now)
		}
		c.talk(now)
		before := budget.Used()
		var open []*Charge
		for range 60 {
			ch := new(Charge)
			ch.Add(c.limiters[0], k, 1)
			if ch.Take(now) < 0 {
				open = append(open, ch)
			}
			now = now.Add(5 * time.Millisecond)
			c.talk(now)
		}
		if c.hotCell(0, k) == nil || c.hotCell(2, k) == nil || budget.Used() <= before {
			t.Fatalf("%v: the key is not hot, or its memory not counted", s.Algorithm)
		}
		s.Rate.N++ // numbers change meanwhile
		s.Parts *= 2
		for _, l := range c.limiters {
			if err := l.SetSpec(s, now); err != nil {
				t.Fatal(err)
			}
		}
		for _, ch := range open {
			ch.Settle(now)
		}
		now = mono.Time(time.Hour)
		c.run(now, now.Add(12*time.Second))
		rings := int64(0) // of cold sliding windows, which are kept
		for i, l := range c.limiters {
			if c.hotCell(i, k) != nil && s.Algorithm != Concurrency {
				t.Errorf("%v: node %d: the key is still hot", s.Algorithm, i)
			}
			for j := range l.shards {
				r := &l.shards[j].rings
				rings += r.bytes*int64(len(r.all)) + listBytes*int64(cap(r.all))
			}
		}
		if got := budget.Used() - rings; got != before && s.Algorithm != Concurrency {
			t.Errorf("%v: %d bytes are in use, %d were before", s.Algorithm, got, before)
		}
		for _, l := range c.limiters {
			l.Retire()
		}
		if budget.Used() != 0 {
			t.Errorf("%v: %d bytes are in use of a limiter that is retired", s.Algorithm, budget.Used())
		}
	}
}

// TestSharedFull: keys without room for a cell get this node's share at most, all together where they share a bucket.
func TestSharedFull(t *testing.T) {
	c, now := newCrew(t, 3, sharedQuota, Options{MaxBytes: MinMaxBytes, Budget: NewBudget(0)}), mono.Time(0)
	n := 0
	for k := range uint64(200) {
		for range 200 {
			if c.limiters[0].Take(simKey(k), 1, now).OK {
				n++
			}
		}
	}
	if shards := len(c.limiters[0].shards); n == 0 || n > shards*100 {
		t.Errorf("%d units of %d shards' shared buckets, of 100 each", n, shards)
	}
	for i := range 3 {
		c.talk(now.Add(time.Duration(i) * time.Second))
	}
}
