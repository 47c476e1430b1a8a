package cache

import (
	"fmt"
	"hash/maphash"
	"runtime"
	"testing"
)

var seedForTests = maphash.MakeSeed()

// TestMemoryIsBounded floods a cache with small objects of different keys, which are the dearest beside what they carry, and holds the
// heap to MaxSize.
func TestMemoryIsBounded(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	const size = 32 << 20
	f := func(name string, body int, fields ...string) {
		t.Helper()
		before := heap()
		s := newSim(t, size)
		s.p.Tags = "tags"
		for i := range 2 * size / (body + 1000) {
			s.store(fmt.Sprint("/", name, "/", i), string(make([]byte, body)), append(fields, fmt.Sprint("tags: t", i, " all"), fmt.Sprint("x-n: ", i))...)
			if st := s.c.Stats(); st.Bytes > st.MaxBytes {
				t.Fatalf("%s: %d bytes of %d after %d", name, st.Bytes, st.MaxBytes, i)
			}
		}
		used := int64(heap()) - int64(before)
		st := s.c.Stats()
		t.Logf("%s: %d resources, counted %d KiB, used %d KiB", name, st.Resources, st.Bytes>>10, used>>10)
		if used > size {
			t.Errorf("%s: %d bytes of heap for %d", name, used, size)
		}
		if st.Evicted == 0 || st.Resources < 10 {
			t.Errorf("%s: %+v", name, st)
		}
		s.audit()
		runtime.KeepAlive(s)
	}
	f("tiny", 10, "cache-control: max-age=60")
	f("page", 10_000, "cache-control: max-age=60", "content-type: text/html")
	f("large", 1<<20, "cache-control: max-age=60")
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestVariantsAreBounded(t *testing.T) {
	s := newSim(t, 64<<20)
	for i := range 3 * maxVariants {
		q, a := s.ask("/a", fmt.Sprint("x-a: ", i))
		s.want(a, Miss)
		a.Flight.Begin(q, response(200, "cache-control: max-age=60", "vary: x-a"), s.wall)
		a.Flight.Commit()
	}
	hits := 0
	for i := range 3 * maxVariants {
		if _, a := s.ask("/a", fmt.Sprint("x-a: ", i)); a.Outcome == Hit {
			hits++
			if i < 2*maxVariants {
				t.Errorf("%d is there, though it is older than others", i)
			}
		} else {
			a.Flight.Abort()
		}
	}
	if hits != maxVariants {
		t.Errorf("%d variants", hits)
	}
}

func TestTooManyTagsOrFields(t *testing.T) {
	f := func(want Fate, fields ...string) {
		t.Helper()
		s := newSim(t, 64<<20)
		s.p.Tags = "tags"
		q, a := s.ask("/a")
		if got := a.Flight.Begin(q, response(200, append(fields, "cache-control: max-age=60")...), s.wall); got != want {
			t.Errorf("%v, want %v", got, want)
		}
		a.Flight.Abort()
		s.idle()
	}
	many := func(n int, name string) string {
		v := name + ": a0"
		for i := range n - 1 {
			v += fmt.Sprint(", a", i+1)
		}
		return v
	}
	f(Stores, many(maxTags, "tags"))
	f(TooLarge, many(maxTags+1, "tags"))
	f(TooLarge, "tags: "+string(make([]byte, maxTagLength+1)))
	f(Stores, many(maxVaryFields, "vary"))
	f(Varies, many(maxVaryFields+1, "vary"))
}

// TestAdmission has few keys that are asked for often and a flood of keys that are asked for once. The flood must not drive the others out.
func TestAdmission(t *testing.T) {
	s := newSim(t, MinSize)
	const hot = 20
	body := string(make([]byte, 8<<10))
	for range 20 {
		for i := range hot {
			if _, a := s.ask(fmt.Sprint("/hot/", i)); a.Outcome != Hit {
				a.Flight.Abort()
				s.store(fmt.Sprint("/hot/", i), body, "cache-control: max-age=60")
			}
		}
	}
	hits := 0
	for i := range 2000 {
		s.store(fmt.Sprint("/cold/", i), body, "cache-control: max-age=60")
		if _, a := s.ask(fmt.Sprint("/hot/", i%hot)); a.Outcome == Hit {
			hits++
		} else {
			a.Flight.Abort()
		}
	}
	if hits < 1900 {
		t.Errorf("%d of 2000 hits in a flood", hits)
	}
}

func TestResize(t *testing.T) {
	s := newSim(t, 16<<20)
	for i := range 200 {
		s.store(fmt.Sprint("/", i), string(make([]byte, 30<<10)), "cache-control: max-age=60")
	}
	s.c.Resize(2 << 20)
	if st := s.c.Stats(); st.Bytes > 2<<20 || st.Bytes == 0 {
		t.Errorf("%d bytes", st.Bytes)
	}
	s.audit()
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Options{MaxSize: MinSize - 1}); err == nil {
		t.Error("took a size that is too small")
	}
	if _, err := New(Options{MaxSize: MinSize, Name: "a b"}); err == nil {
		t.Error("took a name that is no token")
	}
}
