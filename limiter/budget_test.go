package limiter

import (
	"sync"
	"testing"
	"time"

	"weir/internal/mono"
)

func TestBudgetIsABound(t *testing.T) {
	var none *Budget
	if !none.take(1 << 60) {
		t.Error("no budget is a bound")
	}
	none.give(1)
	b := NewBudget(100)
	if !b.take(60) || b.take(41) || !b.take(40) || b.take(1) || b.Used() != 100 || b.Most() != 100 {
		t.Errorf("%d of %d", b.Used(), b.Most())
	}
	b.Set(50)
	b.give(45)
	if b.take(1) || b.Used() != 55 {
		t.Errorf("%d of %d", b.Used(), b.Most())
	}
	if b.give(10); !b.take(5) || b.take(1) {
		t.Errorf("%d of %d", b.Used(), b.Most())
	}
	var wg sync.WaitGroup
	b = NewBudget(1000)
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				if b.take(7) {
					if b.Used() > 1000 {
						t.Error("more than the bound, for a moment")
					}
					b.give(7)
				}
			}
		})
	}
	if wg.Wait(); b.Used() != 0 {
		t.Errorf("%d left", b.Used())
	}
}

// Several limiters, some with rings, are held to one bound to the byte; what one gives back, another may have.
func TestLimitersShareABudget(t *testing.T) {
	const bytes = 1_000_000
	b := NewBudget(bytes)
	sliding := Spec{Algorithm: SlidingWindow, Rate: Rate{N: 100, Per: 60}, Parts: 60}
	specs := []Spec{{Rate: Rate{1, time.Hour, 3}}, sliding, {Algorithm: FixedWindow, Rate: Rate{N: 3, Per: time.Hour}}, {Algorithm: Concurrency, Rate: Rate{N: 3}}}
	limiters := make([]*Limiter, len(specs))
	for i, s := range specs {
		limiters[i] = newSpec(t, s, Options{Budget: b})
	}
	sum := func() (sum int64) {
		for _, l := range limiters {
			for i := range l.shards {
				sum += l.shards[i].bytes
			}
		}
		return sum
	}
	for i := range 500 {
		for now := range mono.Time(4) {
			limiters[1].Take(key(i), 1, now)
		}
	}
	var wg sync.WaitGroup
	for _, l := range limiters {
		wg.Go(func() {
			for i := range 20_000 {
				for now := range mono.Time(4) {
					l.Take(key(i), 1, now)
				}
			}
		})
	}
	wg.Wait()
	if b.Used() != sum() || b.Used() > bytes || b.Used() < bytes*95/100 {
		t.Errorf("%d of %d used, %d in the limiters", b.Used(), bytes, sum())
	}
	rings := func() (n int) {
		for i := range limiters[1].shards {
			s := &limiters[1].shards[i]
			n += len(s.rings.all)
			checkRings(t, s)
			if want := tableBytes(len(s.chunks)) - tableBytes(0) + s.rings.bytes*int64(len(s.rings.all)) + listBytes*int64(cap(s.rings.all)); s.bytes != want {
				t.Errorf("shard %d counts %d bytes, has %d", i, s.bytes, want)
			}
		}
		return n
	}
	if rings() == 0 {
		t.Error("no rings")
	}
	b.Set(bytes / 2)
	was := b.Used()
	for i := range 1000 {
		limiters[0].Take(key(100_000+i), 1, 0)
	}
	if b.Used() != was {
		t.Errorf("%d used, then %d beyond a lower bound", was, b.Used())
	}
	sliding.Parts = 30
	if err := limiters[1].SetSpec(sliding, 4); err != nil || b.Used() >= was || b.Used() != sum() || rings() != 0 {
		t.Errorf("%v; %d used with shorter rings, %d before, %d in the limiters", err, b.Used(), was, sum())
	}
	limiters[1].Take(key(0), 1, 20)
	limiters[1].Take(key(0), 1, 40)
	limiters[1].Take(key(0), 1, 50)
	for _, l := range limiters {
		l.Retire()
		l.Retire()
		for i := range 100 {
			l.Take(key(200_000+i), 1, 5) // in flight
		}
	}
	sliding.Parts = 10
	if err := limiters[1].SetSpec(sliding, 60); err != nil || b.Used() != 0 {
		t.Errorf("%v, %d bytes are left", err, b.Used())
	}
}
