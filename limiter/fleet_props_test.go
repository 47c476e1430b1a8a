package limiter

import (
	"math"
	"math/rand"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/fleetsim"
	"weir/internal/mono"
)

// bookkeeper is a node of which every request is booked with the ideal bucket.
type bookkeeper struct {
	*simNode
	start fleetsim.Time
	book  *ledgerBook
}

type ledgerBook struct {
	nodes  []*bookkeeper
	oracle *fleetsim.Oracle
	size   int
	worst  float64
	checks int
}

func (b *bookkeeper) Allow(now fleetsim.Time, key uint64, cost int) bool {
	ok := b.simNode.Allow(now, key, cost)
	if ok {
		b.book.oracle.Force(now-b.start, cost)
	}
	b.book.check(now - b.start)
	return ok
}

// check holds what the nodes may spend, together and without slack, against what is left.
func (l *ledgerBook) check(at fleetsim.Time) {
	sum := 0.0
	for _, n := range l.nodes {
		now := mono.Time(at + n.start)
		if len(n.fleet.cells) == 0 {
			return
		}
		c := n.fleet.cells[0]
		sum += c.limit(now) - c.used - c.slack
	}
	if len(l.nodes) == l.size && at > fleetsim.Second {
		l.checks++
		l.worst = max(l.worst, math.Abs(sum-l.oracle.Avail(at)))
	}
}

// TestFleetLedger: at every request, what all nodes may spend adds up to what one bucket has left, told or not.
func TestFleetLedger(t *testing.T) {
	for _, n := range []int{3, 10, 20} {
		p := simParams(n)
		p.Duration, p.Skew, p.Drift = 6*fleetsim.Second, 0, 0
		sc := fleetsim.Make("balanced", p)
		book := &ledgerBook{oracle: fleetsim.NewOracle(sc.Limit()), size: n}
		f := simFactory(t, nil)
		fleetsim.Run(sc, func(env fleetsim.Env) fleetsim.Node {
			b := &bookkeeper{f(env).(*simNode), env.Now, book}
			book.nodes = append(book.nodes, b)
			return b
		}, 5)
		if book.checks < 100 || book.worst > 0.12*p.Burst {
			t.Errorf("%d nodes: the sum is off by up to %.1f of %v, in %d checks", n, book.worst, p.Burst, book.checks)
		}
	}
}

// TestFleetMembership: whoever crashes, leaves, joins or is cut off when, no second is far over.
func TestFleetMembership(t *testing.T) {
	runs := int64(12)
	if raceEnabled {
		runs = 4
	}
	for seed := int64(1); seed <= runs; seed++ {
		rnd := rand.New(rand.NewSource(seed))
		p := simParams(3 + rnd.Intn(5))
		p.Duration, p.Loss = 24*fleetsim.Second, float64(rnd.Intn(3))*0.02
		sc := fleetsim.Make("balanced", p)
		next := comings(rnd, p.N)
		if seed%2 == 0 { // not both: who starts in a split knows no others
			next = splits(rnd, p.N)
		}
		for at := 2.0; at < 16; at += 0.3 + 2*rnd.Float64() {
			e := next()
			e.At = fleetsim.Time(at * 1e9)
			sc.Events = append(sc.Events, e)
		}
		sc.Events = append(sc.Events, fleetsim.Event{At: 17 * fleetsim.Second, What: fleetsim.Heal})
		m := fleetsim.Run(sc, simFactory(t, nil), seed)
		if m.Over1s > 10 || m.Err > 5 {
			t.Errorf("seed %d: in a second %.1f %% over, error %+.1f %%", seed, m.Over1s, m.Err)
		}
	}
}

// comings returns a source of crashes, leaves and joins of n nodes, of which most are there at any time.
func comings(rnd *rand.Rand, n int) func() fleetsim.Event {
	away := map[int]bool{}
	return func() fleetsim.Event {
		i := rnd.Intn(n)
		for !away[i] && 2*len(away)+2 >= n {
			i = rnd.Intn(n)
		}
		if away[i] {
			delete(away, i)
			return fleetsim.Event{What: fleetsim.Join, Nodes: []int{i}}
		}
		away[i] = true
		return fleetsim.Event{What: []fleetsim.What{fleetsim.Crash, fleetsim.Leave}[rnd.Intn(2)], Nodes: []int{i}}
	}
}

// splits returns a source of cuts, two ways and one way, and of their ends.
func splits(rnd *rand.Rand, n int) func() fleetsim.Event {
	cut := false
	return func() fleetsim.Event {
		if cut = !cut; !cut {
			return fleetsim.Event{What: fleetsim.Heal}
		}
		return fleetsim.Event{What: []fleetsim.What{fleetsim.Cut, fleetsim.CutTo}[rnd.Intn(2)], Nodes: rnd.Perm(n)[:1+rnd.Intn(n-1)]}
	}
}

// TestFleetMerge: frames may come twice, in any order and not at all; with the last of each node, two nodes know the same.
func TestFleetMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, k := newCrew(t, 4, Spec{Rate: Rate{N: 1000, Per: time.Second, Burst: 100}}, Options{}), simKey(1)
		var frames, last [][]byte
		now := mono.Time(0)
		for range rapid.IntRange(5, 20).Draw(t, "steps") {
			now = now.Add(30 * time.Millisecond)
			for i, f := range c.fleets[:2] {
				for range rapid.IntRange(20, 60).Draw(t, "takes") {
					c.limiters[i].Take(k, 1, now)
				}
				list, _ := f.Step(now)
				frames = append(frames, list...)
			}
		}
		now = now.Add(100 * time.Millisecond)
		for i := range c.fleets[:2] {
			c.limiters[i].Take(k, 1, now)
			x := c.hotCell(i, k)
			w := writer{}
			c.fleets[i].tell(x, now, &w)
			last = append(last, c.fleets[i].frames(now, false, &w)...)
		}
		for _, f := range c.fleets[2:] {
			sent := rapid.Permutation(frames).Draw(t, "order")
			sent = sent[:rapid.IntRange(0, len(sent)).Draw(t, "arrive")]
			sent = slices.Concat(sent, last, sent, last)
			for _, b := range sent {
				if err := f.Receive(b, now); err != nil {
					t.Fatal(err)
				}
			}
		}
		one, two := c.hotCell(2, k), c.hotCell(3, k)
		for i := range 2 {
			p, q := one.peer(i), two.peer(i)
			if p.line != q.line || p.d != q.d || p.seq != q.seq || p.life != q.life || p.incarnation != q.incarnation {
				t.Fatalf("node %d is known as %+v and %+v", i, *p, *q)
			}
		}
		if one.level > one.of.size || math.Abs(one.sumS-two.sumS) > grain || math.Abs(one.sumD-two.sumD) > 1e-6 {
			t.Fatalf("sums %v %v and %v %v", one.sumS, one.sumD, two.sumS, two.sumD)
		}
	})
}

// hammer takes until nothing more is to be had at now, at all nodes in turn, with what they tell each other in between.
func (c *crew) hammer(k Key, now mono.Time) (n int) {
	for range 30 {
		for range 20 {
			for _, l := range c.limiters {
				if l.Take(k, 1, now).OK {
					n++
				}
			}
		}
		c.talk(now)
		now = now.Add(2 * time.Millisecond)
	}
	return n
}

// TestFleetCool: a key that was quiet costs nothing, and counts right when it is wanted again.
func TestFleetCool(t *testing.T) {
	c, k := newCrew(t, 3, Spec{Rate: Rate{N: 100, Per: time.Second, Burst: 90}}, Options{}), simKey(1)
	bound, _ := c.limiters[0].Excess()
	now := mono.Time(0)
	lives := map[uint16]bool{}
	for round := range 3 {
		got, most := c.hammer(k, now), 90+100*0.06+bound
		if got < 80 || float64(got) > most {
			t.Fatalf("round %d: %d were admitted, 90 to %.0f are due", round, got, most)
		}
		lives[c.hotCell(0, k).life] = true
		c.run(now.Add(60*time.Millisecond), now.Add(8*time.Second))
		now = now.Add(8 * time.Second)
		for i, f := range c.fleets {
			if f.Stats().Cells != 0 || c.hotCell(i, k) != nil {
				t.Fatalf("round %d: node %d still tells of the key", round, i)
			}
		}
	}
	if len(lives) != 3 {
		t.Fatalf("lives %v", lives)
	}
}

// TestFleetRefund: what is given back is there again, at its node, whether the others had heard of it or not.
func TestFleetRefund(t *testing.T) {
	for _, told := range []bool{false, true} {
		c, k := newCrew(t, 3, Spec{Rate: Rate{N: 1, Per: 10 * time.Second, Burst: 300}}, Options{}), simKey(1)
		var charges []*Charge
		now := mono.Time(0)
		for {
			x := &Charge{}
			x.Add(c.limiters[0], k, 1)
			if x.Take(now) >= 0 {
				break
			}
			charges = append(charges, x)
			if told {
				c.talk(now)
				now = now.Add(2 * time.Millisecond)
			}
		}
		before := len(charges)
		for _, x := range charges[:before/2] {
			x.Refund(now)
		}
		again := 0
		for c.limiters[0].Take(k, 1, now).OK {
			again++
		}
		if want := before / 2; again < want*9/10-8 || again > want+2 {
			t.Errorf("told %v: of %d charges %d were given back and %d could be spent again", told, before, want, again)
		}
	}
}
