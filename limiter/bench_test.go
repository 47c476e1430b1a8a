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

func BenchmarkTake(b *testing.B) {
	f := func(name string, r Rate, keys int) {
		b.Run(name, func(b *testing.B) {
			l := newLimiter(b, r, Options{})
			ks := make([]Key, keys)
			for i := range ks {
				ks[i] = key(i)
				l.Take(ks[i], 1, 0)
			}
			b.ReportAllocs()
			i, now := 0, mono.Time(0)
			for b.Loop() {
				now += 50
				l.Take(ks[i], 1, now)
				if i += 7919; i >= keys {
					i %= keys
				}
			}
		})
	}
	f("one key", plenty, 1)
	f("one key, whole interval", Rate{N: 1000, Per: time.Second, Burst: 1000}, 1)
	f("one key, refused", Rate{N: 1, Per: time.Hour, Burst: 1}, 1)
	f("10k keys", plenty, 10_000)
	f("1M keys", plenty, 1_000_000)
}

func BenchmarkTakeParallel(b *testing.B) {
	f := func(name string, keys int) {
		b.Run(name, func(b *testing.B) {
			l := newLimiter(b, plenty, Options{})
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
	f("hot key", 1)
	f("10k keys", 10_000)
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

func BenchmarkSetRate(b *testing.B) {
	l := newLimiter(b, plenty, Options{})
	for i := range 100_000 {
		l.Take(key(i), 1000, 0)
	}
	rates := [2]Rate{plenty, {N: 7, Per: time.Second, Burst: 2000}}
	for i := 0; b.Loop(); i++ {
		if err := l.SetSpec(Spec{Rate: rates[i&1]}, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// refund gives n units of k back, as a charge of one step would.
func refund(l *Limiter, k Key, n int64, now mono.Time) {
	s, h := l.shard(k)
	if n > 0 {
		s.give(k, h, n, spending{}, false, now)
	}
	s.refunded.Add(1)
}
