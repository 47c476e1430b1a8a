package jwt

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// clock is a wall clock that goes as told.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

// TestRemembered is a table of time: how long a verdict is remembered.
func TestRemembered(t *testing.T) {
	c := &clock{now}
	v := all(t, func(o *Options) { o.Now = c.now })
	f := func(at time.Duration, token string, good, remembered bool) {
		t.Helper()
		c.t = now.Add(at)
		before := v.Stats()
		_, err := v.Verify(token)
		after := v.Stats()
		hit := after.Hits + after.BadHits - before.Hits - before.BadHits
		if (err == nil) != good || (hit == 1) != remembered || after.Misses-before.Misses == hit {
			t.Errorf("at %v: %v, hit %d; want good %v, remembered %v", at, err, hit, good, remembered)
		}
	}
	const s = time.Second
	short := sign(ed, edKey(), named("d"), object{"exp": now.Unix() + 60})
	f(0, short, true, false)
	f(89*s, short, true, true) // exp and leeway
	f(90*s, short, false, false)
	f(90*s, short, false, true)

	long := sign(ed, edKey(), named("d"), object{"sub": "x"})
	f(0, long, true, false)
	f(299*s, long, true, true)
	f(300*s, long, true, false) // 5 min
	f(300*s, long, true, true)
	f(-3600*s, long, true, false) // a clock set back does not prolong
	f(-3600*s, long, true, true)

	bad := sign(ed, newEd(), named("d"), object{})
	f(0, bad, false, false)
	f(9*s, bad, false, true)
	f(10*s, bad, false, false)

	early := sign(ed, edKey(), named("d"), object{"nbf": now.Unix() + 35})
	f(0, early, false, false)
	f(0, early, false, false) // time cures it
	f(5*s, early, true, false)

	unknown := sign(ed, edKey(), named("x"), object{})
	f(0, unknown, false, false)
	f(0, unknown, false, false) // a refresh may cure it
}

// TestKeyChangeForgets: a key that left is refused at once, also for tokens that are remembered, and one that came is used,
// also for tokens that are remembered as bad.
func TestKeyChangeForgets(t *testing.T) {
	v := all(t)
	old, next := edKey(), newEd()
	oldToken, nextToken := sign(ed, old, named("d"), object{}), sign(ed, next, named("d"), object{})
	f := func(token string, good bool) {
		t.Helper()
		for range 2 {
			if _, err := v.Verify(token); (err == nil) != good {
				t.Errorf("%v, want good %v", err, good)
			}
		}
	}
	f(oldToken, true)
	f(nextToken, false)
	keys, _, _ := parseSet(set(jwk(next, "d")))
	if !v.install(&v.file, keys) || v.install(&v.file, keys) {
		t.Error("change not seen, or seen twice")
	}
	f(oldToken, false)
	f(nextToken, true)
}

// TestFlood: distinct tokens, good and bad, neither grow the caches past their bounds nor does the bad kind evict good ones.
func TestFlood(t *testing.T) {
	v := must(New(Options{Secret: secret, Now: frozen}))
	steady := raw(plainHeader, `{"sub":"steady"}`)
	if _, err := v.Verify(steady); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * badEntries {
		if _, err := v.Verify(fmt.Sprintf("%d", i)); err == nil {
			t.Fatal("accepted")
		}
	}
	if s := v.Stats(); s.Entries > badEntries+1 || s.Entries < badEntries/2 || s.Bytes > badBytes {
		t.Errorf("bad ones: %+v", s)
	}
	if before := v.Stats().Hits; must(v.Verify(steady)) == nil || v.Stats().Hits != before+1 {
		t.Error("bad tokens pushed out a good one")
	}
	n := 3 * goodEntries
	if raceEnabled || testing.Short() {
		n = goodEntries / 4
	}
	for i := range n {
		if _, err := v.Verify(raw(plainHeader, fmt.Sprintf(`{"sub":"%d"}`, i))); err != nil {
			t.Fatal(err)
		}
	}
	if s := v.Stats(); s.Entries > goodEntries+badEntries || s.Entries < n/4 || s.Bytes > goodBytes+badBytes {
		t.Errorf("good ones: %+v", s)
	}
}

// TestBytes: big tokens are bounded in bytes, and the count of bytes is the truth.
func TestBytes(t *testing.T) {
	const limit = 1 << 20
	c := newCache(goodEntries, limit)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 4000 {
		token, ok := newToken(object{"sub": fmt.Sprint(i), "x": strings.Repeat("x", 5000)})
		if !ok {
			t.Fatal("too big")
		}
		c.put(&entry{sum: sumOf(uint64(i) * 0x9e3779b97f4a7c15), until: 1, token: token})
		if b := c.bytes.Load(); b > limit {
			t.Fatalf("%d bytes", b)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	var sum int64
	for i := range c.slots {
		if e := c.slots[i].e.Load(); e != nil {
			sum += e.weight()
		}
	}
	if sum != c.bytes.Load() || sum < limit/2 {
		t.Errorf("%d bytes counted, %d held", c.bytes.Load(), sum)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 2*limit {
		t.Errorf("the heap grew by %d", grown)
	}
	runtime.KeepAlive(c)
}

func sumOf(n uint64) (d digest) {
	for i := range 16 {
		d[i] = byte(n >> (i % 8 * 8))
	}
	return d
}

// TestCacheModel: find returns what was last put for the digest or nothing, never what ended, is of other keys or another's.
func TestCacheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCache(16, 4<<10)
		last := map[digest]*entry{}
		var clock int64
		var generation uint64
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				sum := sumOf(rapid.Uint64Range(0, 40).Draw(t, "n"))
				e := &entry{sum: sum, generation: generation, from: clock, until: clock + rapid.Int64Range(1, 20).Draw(t, "life")}
				last[sum] = e
				c.put(e)
				if c.find(&sum, generation, clock) != e {
					t.Fatal("just put, not found")
				}
			},
			"time":   func(t *rapid.T) { clock += rapid.Int64Range(-3, 10).Draw(t, "d") },
			"rotate": func(t *rapid.T) { generation++ },
			"find": func(t *rapid.T) {
				sum := sumOf(rapid.Uint64Range(0, 40).Draw(t, "n"))
				if e := c.find(&sum, generation, clock); e != nil && (e != last[sum] || !e.good(generation, clock)) {
					t.Fatalf("found %+v", e)
				}
			},
			"": func(t *rapid.T) {
				if c.entries() > 16 || c.bytes.Load() > 4<<10 {
					t.Fatal("out of bounds")
				}
			},
		})
	})
}

// TestWholeDigest: nothing less than the whole digest makes two tokens the same.
func TestWholeDigest(t *testing.T) {
	c := newCache(8, 1<<20)
	sum := sumOf(1)
	c.put(&entry{sum: sum, until: 1})
	for i := range sum {
		other := sum
		other[i] ^= 1
		if c.find(&other, 0, 0) != nil {
			t.Errorf("byte %d does not count", i)
		}
	}
}

func TestHitDoesNotAllocate(t *testing.T) {
	v := all(t)
	for alg, token := range goodTokens() {
		if n := testing.AllocsPerRun(100, func() {
			got, err := v.Verify(token)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := got.Claim("realm.tenant"); !ok {
				t.Fatal("no claim")
			}
		}); n != 0 && !raceEnabled {
			t.Errorf("%s: %v allocations", alg, n)
		}
		bad := token[:len(token)-10]
		if n := testing.AllocsPerRun(100, func() { v.Verify(bad) }); n != 0 && !raceEnabled {
			t.Errorf("bad %s: %v allocations", alg, n)
		}
	}
}
