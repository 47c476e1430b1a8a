package limiter

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// check is rapid.Check, for properties that draw a great deal, many times over.
func check(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	rounds := 10
	if testing.Short() || raceEnabled {
		rounds = 3
	}
	for range rounds {
		rapid.Check(t, property)
		if t.Failed() {
			return
		}
	}
}

// More keys than there is room for, of any algorithm: no key gets what a limiter of its own would not have given it, seats come
// back to where they were taken, and in the end all is as at the start.
func TestCrowdIsNeverGivenTooMuch(t *testing.T) {
	type held struct {
		k int
		spending
		i   int
		n   int64
		now mono.Time
	}
	check(t, func(t *rapid.T) {
		spec := anySpec().Filter(func(s Spec) bool { return s.MaxWait == 0 }).Draw(t, "spec")
		l := newSpec(t, spec, Options{MaxBytes: MinMaxBytes})
		shrink(l, tableBytes(1)+rapid.Int64Range(0, 3).Draw(t, "rings")*400)
		s := &l.shards[0]
		oracles := map[int]oracle{}
		var all []held
		now := mono.Time(1 << 50)
		seed := rapid.Uint64()
		random := rand.New(rand.NewPCG(seed.Draw(t, "seed"), seed.Draw(t, "more"))) // rapid prefers small numbers: too few keys
		for range 200 {
			if random.IntN(6) == 0 {
				now = now.Add(stride(t, spec))
			}
			at := now.Add(-[]time.Duration{0, 0, 0, 0, 1, 5}[random.IntN(6)])
			k, n := random.IntN(31), 1+random.Int64N(3)
			o := oracles[k]
			if o == nil {
				o = newOracle(spec, 0)
				if w, ok := o.(*logged); ok {
					w.still = true // the bucket may be gone
				}
				oracles[k] = o
			}
			if len(all) > 0 && random.IntN(3) == 0 {
				i := random.IntN(len(all))
				p := all[i]
				all = append(all[:i], all[i+1:]...)
				if windowed := spec.Algorithm >= SlidingWindow && spec.Algorithm != Adaptive; windowed || p.now == now {
					s.give(key(p.k), mix(key(p.k)), p.n, &p.spending, false, now) // later, a full bucket's gift helps what was spent since
					oracles[p.k].give(p.i, p.n, now)
				}
				continue
			}
			peek := l.Peek(key(k), n, at)
			got, sp := s.spendAs(key(k), mix(key(k)), n, at)
			if peek != got {
				t.Fatalf("peeked %+v, took %+v", peek, got)
			}
			if got.OK {
				for at < now && !o.take(n, at, false).OK { // where a bucket was evicted since, an earlier instant counts as that
					at++
				}
				if !o.take(n, at, false).OK {
					t.Fatalf("key %d was given %d at %d", k, n, at)
				}
				all = append(all, held{k, sp, o.spend(n, at), n, now})
			}
			checkTable(t, s)
			checkRings(t, s)
		}
		for _, p := range all {
			s.give(key(p.k), mix(key(p.k)), p.n, &p.spending, false, now)
		}
		if spec.Algorithm == Concurrency {
			for k := range 31 {
				if d := l.Peek(key(k), 0, now); d != allowed(spec.Rate.N, 0) {
					t.Fatalf("key %d has seats in use: %+v", k, d)
				}
			}
			if s.unknown.x != 0 {
				t.Fatalf("%d shared seats in use", s.unknown.x)
			}
		}
	})
}

// FuzzOperations lets bytes drive a small table of every algorithm.
func FuzzOperations(f *testing.F) {
	for a := range algorithmNames {
		f.Add(byte(a), []byte("\x00\x01\x02\x13\x24\x35\x46\x57\x68\x79\x8a\x9b\xac\xbd\xce\xdf\xe0\xf1 take and give \xff\x88\x77"))
	}
	f.Fuzz(func(t *testing.T, algorithm byte, ops []byte) {
		spec := func(x byte) Spec {
			n := int64(x%7) + 1
			s := Spec{Algorithm: Algorithm(algorithm % byte(len(algorithmNames))), Rate: Rate{N: n, Per: time.Duration(60 + 7*int64(x%5)), Burst: n}}
			s.Parts = int(x%60) + 1
			s.Calendar.Period = []string{"hour", "day", "week", "month"}[x%4]
			s.MaxWait = time.Duration(x % 3 * 50)
			return s
		}
		now := mono.Time(1000)
		l := newSpec(t, spec(0), Options{MaxBytes: MinMaxBytes, Track: true, Budget: NewBudget(1 << 20)})
		shrink(l, tableBytes(1)+800)
		s := &l.shards[0]
		var open []*Charge
		for len(ops) >= 2 {
			op, x := ops[0], ops[1]
			ops = ops[2:]
			k := key(int(x % 20))
			switch op % 12 {
			case 0, 1, 2:
				c := new(Charge)
				c.Add(l, k, int64(op/12%4))
				c.AddSoft(l, key(int(op%20)), 1)
				if c.Take(now) < 0 {
					open = append(open, c)
				}
			case 3:
				now += mono.Time(x)
			case 4:
				now -= mono.Time(x) / 2
			case 5:
				now += mono.Time(x) << 34
			case 6, 7:
				if len(open) > 0 {
					open[0].Correct(int(op/12%2), int64(x%9), now)
				}
			case 8:
				if len(open) > 0 {
					if op/12%2 == 0 {
						open[0].Refund(now)
					} else {
						open[0].Settle(now)
					}
					open = open[1:]
				}
			case 9:
				if err := l.SetSpec(spec(x), now); err != nil {
					t.Fatal(err)
				}
			case 10:
				l.Reset(k, now)
				l.Restore(k, int64(x), int64(op), now)
			case 11:
				if x < 4 {
					l.Retire()
				}
				l.Changed(func(_ Key, _, used int64) {
					if used < 0 {
						t.Fatal("negative use")
					}
				})
			}
			checkTable(t, s)
			checkRings(t, s)
			for _, n := range []int64{0, 1, 9} {
				if d := l.Peek(k, n, now); d.Left < 0 || d.Wait < 0 || d.Retry < 0 && d.Retry != Unknown || d.Reset < 0 && d.Reset != Unknown {
					t.Fatalf("%+v", d)
				}
			}
			if s.bytes > s.limit || s.budget != nil && s.budget.Used() != s.bytes {
				t.Fatalf("%d bytes of %d", s.bytes, s.limit)
			}
		}
		for _, c := range open {
			c.Settle(now)
		}
		if s.seats {
			for slot := range s.used {
				if x := s.at(slot).x; x != 0 {
					t.Fatalf("%d seats are lost", x)
				}
			}
			if s.unknown.x != 0 {
				t.Fatalf("%d shared seats are lost", s.unknown.x)
			}
		}
	})
}
