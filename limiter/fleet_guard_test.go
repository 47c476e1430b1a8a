package limiter

import (
	"testing"
	"time"

	"weir/internal/mono"
)

// says is a frame of node 1 of a crew with one record of k.
func says(seq uint32, r record) []byte {
	f := NewFleet(FleetOptions{Self: nodeID(1), Incarnation: 1, Interval: time.Second})
	f.seq = seq
	r.limit = 7
	return f.frames(0, true, &writer{records: []record{r}})[0]
}

// TestFleetCounts: what a peer said it spent does not come back when it says less later, however often, and is not charged twice.
func TestFleetCounts(t *testing.T) {
	for _, s := range []Spec{
		{Rate: Rate{N: 1, Per: time.Hour, Burst: 100}},
		{Algorithm: FixedWindow, Rate: Rate{N: 100, Per: time.Hour}},
		{Algorithm: SlidingWindow, Rate: Rate{N: 100, Per: time.Hour}, Parts: 60},
	} {
		c := newCrew(t, 3, s, Options{})
		k, now := simKey(1), mono.Time(time.Second)
		c.limiters[0].Take(k, 1, now)
		window := uint8(0)
		for seq := range uint32(10) {
			now = now.Add(100 * time.Millisecond)
			r := record{key: k, count: 60 * 256, life: 1, level: 8192, window: window}
			if seq%2 == 1 {
				r.count = 0
			}
			if err := c.fleets[0].Receive(says(seq+1, r), now); err != nil {
				t.Fatal(err)
			}
			cell := c.hotCell(0, k)
			if window = cell.of.epoch(cell); seq == 0 {
				continue // of which window it is was not known
			}
			if cell.level < 38 || cell.level > 41 {
				t.Errorf("%v: %.1f are left after %d frames, 60 of 100 were spent", s.Algorithm, cell.level, seq+1)
			}
		}
	}
}

// TestFleetFloor: what is charged below the least level is not forgotten: it comes back before anything does.
func TestFleetFloor(t *testing.T) {
	c := newCrew(t, 3, Spec{Rate: Rate{N: 100, Per: time.Second, Burst: 100}}, Options{})
	k, now := simKey(1), mono.Time(time.Second)
	hear := func(seq uint32, r record) {
		r.key, r.life = k, 1
		if err := c.fleets[0].Receive(says(seq, r), now); err != nil {
			t.Fatal(err)
		}
	}
	hear(0, record{})
	// It foretells twice the rate for long, all of which is beyond what a bucket can owe, and then says that it spent none.
	hear(1, record{count: 400 * 256, slope: packLog(600)})
	for range 30 {
		now = now.Add(100 * time.Millisecond)
		cell := c.hotCell(0, k)
		cell.shard.mu.Lock()
		cell.advance(now)
		cell.shard.mu.Unlock()
	}
	hear(2, record{count: 400 * 256})
	if cell := c.hotCell(0, k); cell.level > 1 {
		t.Errorf("the level is %.0f: 400 of 100 were spent, and 300 came back since", cell.level)
	}
}

// TestFleetThaw: what was presumed of a silent peer comes back when it is heard again only as far as the bucket still lacks it.
func TestFleetThaw(t *testing.T) {
	c := newCrew(t, 3, Spec{Rate: Rate{N: 100, Per: time.Second, Burst: 100}}, Options{})
	k, now := simKey(1), mono.Time(time.Second)
	f := c.fleets[0]
	r := record{key: k, life: 1, count: 10 * 256, slope: packLog(30), demand: packLog(30)}
	if err := f.Receive(says(0, r), now); err != nil {
		t.Fatal(err)
	}
	for range 9 { // silent, and presumed to spend its share; the bucket is full all the same
		now = now.Add(100 * time.Millisecond)
		f.Step(now)
	}
	cell := c.hotCell(0, k)
	if cell.frozen == 0 {
		t.Fatal("the peer is heard")
	}
	cell.shard.mu.Lock()
	cell.advance(now)
	cell.charge(60) // of somebody else
	before := cell.level
	cell.shard.mu.Unlock()
	r.slope = 0
	if err := f.Receive(says(1, r), now); err != nil {
		t.Fatal(err)
	}
	if back := cell.level - before; back > 1 {
		t.Errorf("%.0f units came back that nothing had taken off a full bucket", back)
	}
}
