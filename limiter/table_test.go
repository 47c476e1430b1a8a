package limiter

import (
	"runtime"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

func TestChunkIsASizeClass(t *testing.T) {
	if n := unsafe.Sizeof(chunk{}); n != 768 {
		t.Errorf("a chunk is %d bytes", n)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestBytesPerKey(t *testing.T) {
	f := func(name string, spec Spec, keys int, most float64, instants ...mono.Time) {
		t.Helper()
		before := heap()
		l := newSpec(t, spec, Options{MaxBytes: 1 << 30})
		for _, now := range instants {
			for i := range keys {
				l.Take(key(i), 1, now)
			}
		}
		used, st := heap()-before, l.Stats()
		runtime.KeepAlive(l)
		t.Logf("%s, %d keys: %.1f bytes each (Stats: %.1f)", name, keys, float64(used)/float64(keys), float64(st.Bytes)/float64(keys))
		if st.Keys != int64(keys) || float64(used) > most*float64(keys) {
			t.Errorf("%s: %d keys in %d bytes, %+v", name, keys, used, st)
		}
		if d := used - st.Bytes; d > used/50 || d < -used/50 {
			t.Errorf("%s: Stats says %d bytes, the heap %d", name, st.Bytes, used)
		}
	}
	million := 1_000_000
	if testing.Short() || raceEnabled {
		million = 300_000
	}
	token, sliding := Spec{Rate: plenty}, Spec{Algorithm: SlidingWindow, Rate: Rate{N: 100, Per: 600}, Parts: 60}
	f("token bucket", token, 200_000, 64, 0)
	f("token bucket", token, 400_000, 64, 0)
	f("token bucket", token, 800_000, 64, 0)
	f("token bucket", token, million, 64, 0)
	f("leaky bucket", Spec{Algorithm: LeakyBucket, Rate: plenty, MaxWait: time.Second}, million, 64, 0)
	f("adaptive", Spec{Algorithm: Adaptive, Rate: plenty}, million, 64, 0)
	f("fixed window", Spec{Algorithm: FixedWindow, Rate: Rate{N: 100, Per: time.Hour}}, million, 64, 0)
	f("quota", Spec{Algorithm: Quota, Rate: Rate{N: 100}, Calendar: Calendar{Period: "month"}}, million, 64, 0)
	f("concurrency", Spec{Algorithm: Concurrency, Rate: Rate{N: 100}}, million, 64, 0)
	f("sliding window, one sub-window", sliding, million, 64, 0)
	f("sliding window, two sub-windows", sliding, million, 64, 0, 10)
	f("sliding window with rings of 61", sliding, 50_000, 64+256+56, 0, 10, 20)
	sliding.Parts = 600
	f("sliding window with rings of 601", sliding, 10_000, 64+2688+56, 0, 10, 20)
}

// A flood of fresh keys: memory stays in its bound, and keys that are limited stay limited.
func TestFlood(t *testing.T) {
	flood := 10_000_000
	if testing.Short() || raceEnabled {
		flood = 2_000_000
	}
	const limited, burst, maxBytes, period = 1000, 3, 8 << 20, time.Hour
	f := func(spec Spec) {
		t.Helper()
		before := heap()
		l := newSpec(t, spec, Options{MaxBytes: maxBytes})
		for i := range limited {
			l.Take(key(-1-i), burst, 0)
		}
		admitted := 0
		for i := range flood {
			now := mono.Time(i) * mono.Time(time.Second) / mono.Time(flood)
			if l.Take(key(i), 1, now).OK {
				admitted++
			}
			if i%1000 == 0 && l.Take(key(-1-i/1000%limited), 1, now).OK {
				t.Fatalf("%v: a limited key was let in after %d fresh ones", spec.Algorithm, i)
			}
		}
		st := l.Stats()
		if used := heap() - before; st.Bytes > maxBytes || used > maxBytes+maxBytes/50 {
			t.Errorf("%v: %d bytes on the heap, %+v", spec.Algorithm, used, st)
		}
		if most := st.Keys + int64(len(l.shards))*burst; int64(admitted) > most {
			t.Errorf("%v: %d of the flood were let in: more than %d", spec.Algorithm, admitted, most)
		}
		if st.Evictions != 0 || st.Overflow == 0 || st.Bytes < maxBytes*8/10 {
			t.Errorf("%v: %+v", spec.Algorithm, st)
		}
		if spec.Algorithm == Concurrency {
			return
		}
		later := mono.Time(2 * burst * period) // everything is full again, and gives way to new keys
		for i := range 1000 {
			if d := l.Take(key(flood+i), burst, later); !d.OK {
				t.Fatalf("%v: newcomer %d long after the flood: %+v", spec.Algorithm, i, d)
			}
		}
		if after := l.Stats(); after.Evictions != 1000 || after.Overflow != st.Overflow || after.Bytes != st.Bytes {
			t.Errorf("%v: %+v, after %+v", spec.Algorithm, after, st)
		}
	}
	f(Spec{Rate: Rate{1, period, burst}})
	f(Spec{Algorithm: FixedWindow, Rate: Rate{N: burst, Per: period}})
	f(Spec{Algorithm: SlidingWindow, Rate: Rate{N: burst, Per: period}, Parts: 60})
	f(Spec{Algorithm: Concurrency, Rate: Rate{N: burst}})
}

// tiny returns a limiter of one shard that has room for 16 keys.
func tiny(t fataler, r Rate) *Limiter {
	l := newLimiter(t, r, Options{MaxBytes: MinMaxBytes})
	shrink(l, tableBytes(1))
	return l
}

// shrink leaves l one shard of so many bytes.
func shrink(l *Limiter, bytes int64) {
	l.shards, l.shift = l.shards[:1], 64
	l.shards[0].limit = bytes
}

func TestKeysWithoutRoomShare(t *testing.T) {
	const s = mono.Time(time.Second)
	l := tiny(t, Rate{1, time.Second, 10})
	var third Charge
	third.Add(l, key(3), 10)
	third.Take(0)
	for i := range 16 {
		l.Take(key(i), 10, 0)
	}
	if d := l.Take(key(100), 6, 0); d != allowed(4, 6*time.Second) {
		t.Errorf("first newcomer: %+v", d)
	}
	if d := l.Take(key(101), 6, 0); d != refuse(4, 2*time.Second, 6*time.Second) {
		t.Errorf("second newcomer: %+v", d)
	}
	var c Charge
	c.Add(l, key(102), 4)
	if c.Take(0); c.Decisions()[0] != allowed(0, 10*time.Second) {
		t.Errorf("third newcomer: %+v", c.Decisions())
	}
	c.Refund(0)
	if d := l.Peek(key(100), 0, 0); d.Left != 4 {
		t.Errorf("after the refund of the third: %+v", d)
	}
	if st := l.Stats(); st.Keys != 16 || st.Overflow != 2 || st.Evictions != 0 {
		t.Errorf("%+v", st)
	}
	// A slot falls free while the first newcomer still owes: it does not get a fresh bucket with it.
	third.Refund(2 * s)
	if d := l.Take(key(100), 1, 2*s); d != allowed(5, 5*time.Second) {
		t.Errorf("first newcomer with its own bucket: %+v", d)
	}
	if st := l.Stats(); st.Keys != 16 || st.Overflow != 2 || st.Evictions != 1 {
		t.Errorf("%+v", st)
	}
	// key 3 was full when it went, at 2 s: an earlier now counts as that.
	if d := l.Peek(key(3), 0, 0); d.Left != 6 {
		t.Errorf("the key that went: %+v", d)
	}
}

func TestSetRateKeepsWhatUnknownKeysOwe(t *testing.T) {
	l := tiny(t, Rate{1, time.Second, 10})
	for i := range 17 {
		l.Take(key(i), 10, 0)
	}
	if err := l.SetSpec(Spec{Rate: Rate{2, time.Second, 10}}, 0); err != nil {
		t.Fatal(err)
	}
	if d := l.Peek(key(100), 1, 0); d != refuse(0, time.Second/2, 5*time.Second) {
		t.Errorf("%+v", d)
	}
}

// No key is given what its own bucket would not have given it, in a table that is always too small; and the table finds
// exactly the keys it has.
func TestFullTableNeverAdmitsTooMuch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rate{rapid.Int64Range(1, 7).Draw(t, "n"), 10, rapid.Int64Range(1, 6).Draw(t, "burst")}
		l := tiny(t, r)
		models := map[int]*model{}
		now := mono.Time(0)
		for range rapid.IntRange(1, 300).Draw(t, "takes") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 2, 20}).Draw(t, "pass")))
			k, n := rapid.IntRange(0, 30).Draw(t, "key"), rapid.Int64Range(1, 3).Draw(t, "units")
			m := models[k]
			if m == nil {
				m = newModel(r)
				models[k] = m
			}
			peek, got := l.Peek(key(k), n, now), l.Take(key(k), n, now)
			if peek != got {
				t.Fatalf("peeked %+v, took %+v", peek, got)
			}
			if got.OK && !m.take(n, now, true).OK { // the reverse may be, for want of room
				t.Fatalf("key %d was given %d at %d", k, n, now)
			}
		}
		checkTable(t, &l.shards[0])
	})
}

func checkTable(t fataler, s *shard) {
	cells := 0
	for _, c := range s.index {
		if c != 0 {
			cells++
		}
	}
	if cells != s.used {
		t.Fatal("cells: ", cells, " entries: ", s.used)
	}
	for slot := range s.used {
		if e := s.findLocked(s.at(slot).key, mix(s.at(slot).key)); e != s.at(slot) {
			t.Fatal("lost entry ", slot)
		}
	}
}

func TestBoundIsKeptToTheByte(t *testing.T) {
	f := func(maxBytes int64) {
		t.Helper()
		l := newLimiter(t, Rate{1, time.Hour, 1}, Options{MaxBytes: maxBytes})
		for i := range int(maxBytes / 20) {
			l.Take(key(i), 1, 0)
		}
		st := l.Stats()
		t.Logf("%d bytes: %d keys, %.1f bytes each", maxBytes, st.Keys, float64(st.Bytes)/float64(st.Keys))
		if st.Bytes > maxBytes || st.Bytes < maxBytes*7/10 || st.Overflow == 0 {
			t.Errorf("%+v", st)
		}
		for i := range l.shards {
			checkTable(t, &l.shards[i])
		}
	}
	f(MinMaxBytes)
	f(100_000)
	f(1 << 20)
	f(3_333_333)
}

// Keys that are all alike in most of their bits are found all the same.
func TestPoorKeys(t *testing.T) {
	f := func(k func(i uint64) Key) {
		t.Helper()
		l := newLimiter(t, Rate{1, time.Hour, 1}, Options{})
		for i := range uint64(20_000) {
			if !l.Take(k(i), 1, 0).OK {
				t.Fatalf("key %d was there", i)
			}
		}
		for i := range uint64(20_000) {
			if l.Take(k(i), 1, 0).OK {
				t.Fatalf("key %d was lost", i)
			}
		}
	}
	f(func(i uint64) Key { return Key{Lo: i} })
	f(func(i uint64) Key { return Key{Hi: i} })
	f(func(i uint64) Key { return Key{Hi: i << 40, Lo: i << 48} })
	f(func(i uint64) Key { return Key{Hi: key(int(i)).Hi} })
	f(func(i uint64) Key { return Key{Lo: key(int(i)).Hi} })
}
