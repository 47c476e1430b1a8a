package limiter

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/fleetsim"
	"weir/internal/mono"
)

// liar is the last node of a crew. It says what it likes, of itself and, in states, of others.
type liar struct {
	id          uint64
	others      []uint64
	incarnation uint32
	seq         uint32
	life        uint16
	count       uint64

	slope, demand uint16
	level         int16
	deaf          bool
}

// plot draws what l says for a while: mostly what takes little of the limit, for that leaves honest nodes the most to gain.
func (l *liar) plot(t *rapid.T) {
	small, any := rapid.Just(packLog(0.1)), rapid.Uint16()
	none := rapid.Just(uint16(0))
	l.slope = rapid.OneOf(none, none, rapid.Uint16Range(25_000, 36_000), any).Draw(t, "slope")
	l.demand = rapid.OneOf(none, small, small, small, any).Draw(t, "demand")
	l.level = rapid.SampledFrom([]int16{math.MaxInt16, 8192, 0, math.MinInt16}).Draw(t, "level")
	l.deaf = rapid.IntRange(0, 5).Draw(t, "deaf") == 0
}

// frame is a well-formed frame with one record of k.
func (l *liar) frame(t *rapid.T, k Key) []byte {
	le := binary.LittleEndian
	switch rapid.IntRange(0, 100).Draw(t, "start") {
	case 0:
		l.incarnation, l.seq, l.count = l.incarnation+1, 0, 0
	case 1:
		l.life, l.count = l.life+1, 0
	}
	l.seq += rapid.Uint32Range(0, 3).Draw(t, "skip")
	b := le.AppendUint64([]byte{frameVersion, byte(rapid.IntRange(0, 1).Draw(t, "regular"))}, l.id)
	b = le.AppendUint32(le.AppendUint32(b, l.incarnation), l.seq)
	if !l.deaf {
		b = append(b, 0)
	} else {
		b = append(b, byte(len(l.others)))
		for _, id := range l.others {
			b = le.AppendUint64(b, id)
		}
	}
	switch rapid.IntRange(0, 20).Draw(t, "counts") {
	case 0:
		l.count += rapid.Uint64Range(0, 100<<8).Draw(t, "more")
	case 1:
		l.count = rapid.Uint64Range(0, l.count).Draw(t, "less")
	}
	b = append(le.AppendUint64(b, 7), 1)
	r := record{key: k, count: l.count, slope: l.slope, demand: l.demand, level: l.level,
		age: rapid.OneOf(rapid.Just(uint16(calmBit)), rapid.Uint16()).Draw(t, "age"), life: l.life}
	return r.append(b)
}

// state is a well-formed state of k.
func (l *liar) state(t *rapid.T, k Key) []byte {
	le := binary.LittleEndian
	f64 := func(b []byte, v float64) []byte { return le.AppendUint64(b, math.Float64bits(v)) }
	number := rapid.OneOf(rapid.Float64Range(-200, 200), rapid.Float64())
	b := le.AppendUint64([]byte{stateVersion}, l.id)
	b = le.AppendUint64(le.AppendUint64(le.AppendUint64(b, 7), k.Hi), k.Lo)
	for _, name := range []string{"level", "cur", "refill"} {
		b = f64(b, number.Draw(t, name))
	}
	b = le.AppendUint64(le.AppendUint64(b, 0), rapid.OneOf(rapid.Uint64Range(0, 1e10), rapid.Uint64()).Draw(t, "age"))
	b = le.AppendUint32(b, uint32(len(l.others)))
	for _, id := range l.others {
		b = le.AppendUint16(le.AppendUint32(le.AppendUint64(b, id), 1), rapid.Uint16Range(0, 3).Draw(t, "life"))
		b = f64(b, rapid.Float64Range(0, 1e6).Draw(t, "count"))
		b = le.AppendUint32(b, math.Float32bits(float32(rapid.Float64Range(0, 1e4).Draw(t, "slope"))))
		b = le.AppendUint32(b, math.Float32bits(float32(rapid.Float64Range(0, 1e4).Draw(t, "demand"))))
	}
	return b
}

// TestFleetLiar: whatever one node says, honest ones admit no more than they would without it, but for the bound.
func TestFleetLiar(t *testing.T) {
	for _, n := range []int{2, 3, 4} {
		rapid.Check(t, func(t *rapid.T) { lie(t, n) })
	}
}

func lie(t *rapid.T, n int) {
	const rate, burst = 200, 60
	c, k := newCrew(t, n, Spec{Rate: Rate{N: rate, Per: time.Second, Burst: burst}}, Options{}), simKey(1)
	p := &liar{id: nodeID(n - 1), incarnation: 1}
	for _, l := range c.limiters[:n-1] {
		p.others = append(p.others, l.fleet.self)
	}
	c.fleets, c.limiters = c.fleets[:n-1], c.limiters[:n-1]
	bound, _ := c.limiters[0].Excess()
	bound += 2*rate*0.02 + rate*0.1 // a frame is sent every 20 ms at most; and who lies can look like one whose frames are lost for an interval
	oracle := fleetsim.NewOracle(fleetsim.Limit{Kind: fleetsim.TokenBucket, Rate: rate, Burst: burst})
	busy, chatty := 0, 0
	for now := mono.Time(0); now < mono.Time(6*time.Second); now = now.Add(20 * time.Millisecond) {
		if now%mono.Time(300*time.Millisecond) == 0 {
			busy = rapid.IntRange(0, 1<<n-1).Draw(t, "busy") // bits: which nodes are
			chatty = rapid.IntRange(0, 2).Draw(t, "chatty")
			p.plot(t)
		}
		for ; chatty > 0 && rapid.IntRange(0, 2).Draw(t, "speaks") < chatty; p.seq++ {
			b := p.frame(t, k)
			for _, f := range c.fleets {
				if err := f.Receive(b, now); err != nil {
					t.Fatal(err)
				}
			}
			if rapid.IntRange(0, 100).Draw(t, "state") == 0 {
				_ = c.fleets[0].Merge(p.state(t, k), now)
			}
		}
		for range 12 {
			for i, l := range c.limiters {
				if busy>>i&1 != 0 && l.Take(k, 1, now).OK {
					if over := -oracle.Force(int64(now), 1); over > bound {
						t.Fatalf("%v: %.1f beyond the limit, bound %.1f", time.Duration(now), over, bound)
					}
				}
			}
		}
		c.talk(now)
		for i := range c.limiters {
			if x := c.hotCell(i, k); x != nil && !(x.level <= x.of.size) {
				t.Fatalf("%v: node %d has a level of %v", time.Duration(now), i, x.level)
			}
		}
	}
}

// FuzzFleetReceive: no frame and no state makes a node fail, or hold more than there is.
func FuzzFleetReceive(f *testing.F) {
	c, k := newCrew(f, 2, Spec{Rate: Rate{N: 100, Per: time.Second, Burst: 50}}, Options{}), simKey(1)
	for i, l := range c.limiters {
		for range 40 + i {
			l.Take(k, 1, mono.Time(i))
		}
	}
	frames, _ := c.fleets[1].Step(mono.Time(time.Second))
	for _, b := range frames {
		f.Add(b, false, int64(1e9))
	}
	f.Add(c.fleets[1].State(1<<16, mono.Time(time.Second)), true, int64(1e9))
	f.Fuzz(func(t *testing.T, b []byte, state bool, at int64) {
		for _, s := range sharedSpecs {
			c, now := newCrew(t, 2, s, Options{}), mono.Time(at&(1<<40-1))
			c.limiters[0].Take(k, 1, now)
			if state {
				_ = c.fleets[0].Merge(b, now)
			} else {
				_ = c.fleets[0].Receive(b, now)
			}
			for range 3 {
				now = now.Add(70 * time.Millisecond)
				c.limiters[0].Take(k, 1, now)
				c.fleets[0].Step(now)
			}
			for _, x := range c.fleets[0].cells {
				if !(x.level <= x.of.size) || !(x.level >= x.of.least()) || math.IsNaN(x.used) || math.IsNaN(x.limit(now)) {
					t.Fatalf("%v: level %v of %v, used %v, limit %v", s.Algorithm, x.level, x.of.size, x.used, x.limit(now))
				}
			}
		}
	})
}
