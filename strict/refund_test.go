package strict

import (
	"context"
	"math/big"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/limiter"
)

// rat is s in microseconds.
func (p pace) rat(s span) *big.Rat {
	return new(big.Rat).Add(new(big.Rat).SetInt64(s.us), new(big.Rat).SetFrac(new(big.Int).SetUint64(s.frac), new(big.Int).SetUint64(p.num)))
}

// place is a spending: when it went on, and what of it was kept, in microseconds of refilling.
type place struct {
	goes, kept *big.Rat
	answer     Answer
	ask        Ask
}

// stored is the arrival time that the server has.
func stored(t *rapid.T, s *Store, key string) span {
	v, err := s.view.Load().nodes[0].client.Get(context.Background(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(v)
	us, err1 := strconv.ParseInt(f[0], 10, 64)
	frac, err2 := strconv.ParseUint(f[1], 10, 64)
	if err1 != nil || err2 != nil {
		t.Fatal(v)
	}
	return span{us, frac}
}

// TestGivenBackNeverTooMuch: whatever is given back, whenever, over every interval no more is kept than burst + rate·time.
func TestGivenBackNeverTooMuch(t *testing.T) {
	r := newServer(t)
	var clock atomic.Int64
	s := opened(t, Config{Addresses: []string{r.addr()}}, clock.Load)
	rapid.Check(t, func(t *rapid.T) {
		clock.Store(start)
		spec := limiter.Spec{
			Algorithm: rapid.SampledFrom([]limiter.Algorithm{limiter.TokenBucket, limiter.LeakyBucket}).Draw(t, "algorithm"),
			Rate:      limiter.Rate{N: rapid.SampledFrom([]int64{1, 3, 7, 10}).Draw(t, "n"), Per: 70 * time.Microsecond, Burst: rapid.Int64Range(1, 12).Draw(t, "burst")},
			MaxWait:   time.Duration(rapid.IntRange(0, 3).Draw(t, "wait")) * 40 * time.Microsecond,
		}
		p, err := NewPolicy(1, spec)
		if err != nil {
			t.Fatal(err)
		}
		var line []place
		k := key(runs.Add(1))
		for range rapid.IntRange(2, 25).Draw(t, "turns") {
			clock.Add(rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 30), rapid.Int64Range(0, 200)).Draw(t, "us"))
			if len(line) > 0 && rapid.IntRange(0, 2).Draw(t, "act") == 0 {
				i := rapid.IntRange(0, len(line)-1).Draw(t, "which")
				giveBack(t, s, p, &line[i], clock.Load())
				continue
			}
			a := Ask{Policy: p, Key: k, N: rapid.Int64Range(1, min(spec.Rate.Burst, 5)).Draw(t, "units")}
			var answer [1]Answer
			if refused, err := s.Take(context.Background(), []Ask{a}, answer[:]); err != nil {
				t.Fatal(err)
			} else if refused < 0 {
				goes := new(big.Rat).SetInt64(clock.Load())
				late := new(big.Rat).Sub(p.rat(answer[0].Mark.tat), p.rat(p.full))
				if p.smooth {
					late = new(big.Rat).Sub(p.rat(answer[0].Mark.tat), p.rat(p.cost(a.N)))
				}
				if late.Cmp(goes) > 0 {
					goes = late
				}
				line = append(line, place{goes, p.rat(p.cost(a.N)), answer[0], a})
			}
		}
		bounded(t, p, line)
	})
}

// giveBack gives all of a place back, and notes how much came back.
func giveBack(t *rapid.T, s *Store, p *Policy, pl *place, now int64) {
	if pl.answer.Mark.n == 0 {
		return
	}
	key := p.key("weir", pl.ask.Key, limiter.Key{})
	before := stored(t, s, key)
	want := s.Stats().Settled + 1
	n := rapid.Int64Range(1, pl.ask.N).Draw(t, "back")
	s.Correct(&pl.ask, &pl.answer.Mark, -n)
	for s.Stats().Settled < want {
		time.Sleep(10 * time.Microsecond)
	}
	after := stored(t, s, key)
	pl.answer.Mark = Mark{}
	if at := (span{us: now}); at.after(before) {
		return
	}
	back := new(big.Rat).Sub(p.rat(before), p.rat(after))
	pl.kept.Sub(pl.kept, back)
	if pl.kept.Sign() < 0 {
		t.Fatalf("%v more came back than was spent", pl.kept)
	}
	if n == pl.ask.N && pl.kept.Sign() == 0 {
		pl.goes = nil // it was never there
	}
}

func bounded(t *rapid.T, p *Policy, line []place) {
	full := p.rat(p.full)
	for i := range line {
		if line[i].goes == nil {
			continue
		}
		sum := new(big.Rat)
		for j := i; j < len(line); j++ {
			if line[j].goes == nil {
				continue
			}
			sum.Add(sum, line[j].kept)
			most := new(big.Rat).Sub(line[j].goes, line[i].goes)
			if most.Add(most, full); sum.Cmp(most) > 0 {
				t.Fatalf("from %d to %d: %v µs' worth are kept, at most %v are possible", i, j, sum.FloatString(3), most.FloatString(3))
			}
		}
	}
}
