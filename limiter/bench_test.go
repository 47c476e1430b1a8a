package limiter

import (
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/mono"
)

func newLimiter(t fataler, r Rate, o Options) *Limiter {
	t.Helper()
	return newSpec(t, Spec{Rate: r}, o)
}

func newSpec(t fataler, s Spec, o Options) *Limiter {
	t.Helper()
	l, err := New("test", s, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

type fataler interface {
	Helper()
	Fatal(...any)
}

// key makes distinct keys that are spread like a Hasher's.
func key(i int) Key {
	x := uint64(i)*0x9e3779b97f4a7c15 + 1
	x ^= x >> 31
	x *= 0xbf58476d1ce4e5b9
	return Key{Hi: x ^ x>>29, Lo: uint64(i)}
}

var plenty = Rate{N: 999_983, Per: time.Second, Burst: 1_000_000}

// specs are one of each algorithm that never refuse, but for concurrency.
func specs() []Spec {
	const n = 1 << 31
	return []Spec{
		{Rate: plenty}, {Algorithm: LeakyBucket, Rate: plenty, MaxWait: time.Second}, {Algorithm: Adaptive, Rate: plenty},
		{Algorithm: FixedWindow, Rate: Rate{N: n, Per: time.Second}}, {Algorithm: Quota, Rate: Rate{N: n}, Calendar: Calendar{Period: "month"}},
		{Algorithm: Concurrency, Rate: Rate{N: n}}, {Algorithm: SlidingWindow, Rate: Rate{N: n, Per: time.Second}, Parts: 60},
	}
}

func BenchmarkTake(b *testing.B) {
	f := func(name string, spec Spec, keys int, pass time.Duration) {
		b.Run(name, func(b *testing.B) {
			l := newSpec(b, spec, Options{})
			ks := make([]Key, keys)
			for i := range ks {
				ks[i] = key(i)
				l.Take(ks[i], 1, 0)
			}
			b.ReportAllocs()
			i, now := 0, mono.Time(0)
			for b.Loop() {
				now = now.Add(pass)
				l.Take(ks[i], 1, now)
				if i += 7919; i >= keys {
					i %= keys
				}
			}
		})
	}
	for _, s := range specs() {
		f(s.Algorithm.String()+"/one key", s, 1, 50)
		f(s.Algorithm.String()+"/10k keys", s, 10_000, 50)
		f(s.Algorithm.String()+"/1M keys", s, 1_000_000, 50)
		if s.Rate = (Rate{N: 1, Per: 360 * time.Hour, Burst: 1}); s.MaxWait > 0 {
			s.MaxWait = 1
		}
		f(s.Algorithm.String()+"/refused", s, 1, 50)
	}
	f("token_bucket/whole interval", Spec{Rate: Rate{N: 1000, Per: time.Second, Burst: 1000}}, 1, 50)
	long := Spec{Algorithm: SlidingWindow, Rate: Rate{N: 1 << 31, Per: time.Second}, Parts: 1000}
	f("sliding_window/ring of 1001, a sub-window each", long, 1, time.Millisecond)
	f("sliding_window/ring of 1001, 500 sub-windows each", long, 1, 500*time.Millisecond)
	long.Rate.N = 100
	f("sliding_window/ring of 1001, 5 of 6 refused", long, 1, 1667*time.Microsecond)
}

func BenchmarkTakeParallel(b *testing.B) {
	f := func(name string, spec Spec, keys int) {
		b.Run(name, func(b *testing.B) {
			l := newSpec(b, spec, Options{})
			var id atomic.Int64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				i := int(id.Add(1)) * 31
				now := mono.Time(0)
				for pb.Next() {
					now += 50
					l.Take(key(i%keys), 1, now)
					i++
				}
			})
		})
	}
	for _, s := range specs() {
		f(s.Algorithm.String()+"/hot key", s, 1)
	}
	f("token_bucket/10k keys", Spec{Rate: plenty}, 10_000)
}

func BenchmarkPeek(b *testing.B) {
	l := newLimiter(b, plenty, Options{})
	l.Take(key(1), 1, 0)
	b.ReportAllocs()
	for b.Loop() {
		l.Peek(key(1), 1, 0)
	}
}

func BenchmarkNewKey(b *testing.B) {
	f := func(name string, o Options) {
		b.Run(name, func(b *testing.B) {
			l := newLimiter(b, Rate{N: 1, Per: time.Minute, Burst: 1 << 20}, o)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				l.Take(key(i), 1, 0)
				i++
			}
		})
	}
	f("growing", Options{MaxBytes: 4 << 30})
	f("full", Options{MaxBytes: 1 << 20})
}

func BenchmarkCharge(b *testing.B) {
	ls := [3]*Limiter{}
	for i := range ls {
		ls[i] = newLimiter(b, plenty, Options{})
	}
	var c Charge
	b.ReportAllocs()
	now := mono.Time(0)
	for b.Loop() {
		now += 50
		for i, l := range ls {
			c.Add(l, key(i), 1)
		}
		c.Take(now)
		c.Settle(now)
		c.Reset()
	}
}

func BenchmarkHash(b *testing.B) {
	h := NewHasher([16]byte{1})
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendPart(buf[:0], "tenant-plan")
		buf = AppendPart(buf, "198.51.100.7")
		h.Sum(buf)
	}
}

func BenchmarkSetSpec(b *testing.B) {
	for _, s := range specs() {
		b.Run(s.Algorithm.String()+"/1M keys", func(b *testing.B) {
			l := newSpec(b, s, Options{})
			for i := range 1_000_000 {
				l.Take(key(i), 1, 0)
			}
			other := s
			other.Rate = Rate{N: 7, Per: time.Minute, Burst: 2000}
			for i := 0; b.Loop(); i++ {
				if err := l.SetSpec([]Spec{other, s}[i&1], 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// refund gives back n units that k never spent.
func refund(l *Limiter, k Key, n int64, now mono.Time) {
	s, h := l.shard(k)
	if n > 0 {
		s.give(k, h, n, &spending{}, false, now)
	}
	s.refunded.Add(1)
}

// spendAs is take, with what was spent.
func (s *shard) spendAs(k Key, h uint64, n int64, now mono.Time) (d Decision, sp spending) {
	s.take(k, h, n, now, &d, &sp)
	return d, sp
}
