package cache

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/mono"
)

// TestRace has clients, invalidations and purges at the same keys, for the race detector; and checks that no key gets another's body.
func TestRace(t *testing.T) {
	c, err := New(Options{MaxSize: MinSize})
	if err != nil {
		t.Fatal(err)
	}
	p := &Policy{Coalesce: true, Tags: "tags", StaleWhileRevalidate: time.Millisecond}
	var clock atomic.Int64
	var wg sync.WaitGroup
	var outcomes [7]atomic.Int64
	pad := strings.Repeat(".", 30<<10) // so that not all fits
	for w := range 8 {
		wg.Go(func() {
			var k Key
			for i := range 1500 {
				now := mono.Time(clock.Add(1000))
				n := (i*7 + w*13) % 20
				k.SetURL("http", "h", fmt.Sprint("/", n), "")
				switch {
				case i%97 == 0:
					c.Purge(Purge{PurgeTag, fmt.Sprint("t", n)})
				case i%89 == 0:
					c.Invalidate("POST", &k, response(200))
				case i%501 == 0:
					c.Purge(Purge{PurgePrefix, "http://h/1"})
				default:
					o := raceRequest(t, c, &Query{Request: get("", fmt.Sprint("x-a: ", i%2)), Key: &k, Policy: p, Now: now}, fmt.Sprint(n, " ", i%2, pad), n)
					outcomes[o].Add(1)
				}
			}
		})
	}
	wg.Wait()
	if outcomes[Hit].Load() == 0 || outcomes[Miss].Load() == 0 {
		t.Errorf("hits %d, misses %d", outcomes[Hit].Load(), outcomes[Miss].Load())
	}
	if st := c.Stats(); st.Bytes > st.MaxBytes || st.Evicted == 0 {
		t.Errorf("%+v", st)
	}
	s := &sim{t: t, c: c}
	s.idle()
	s.audit()
}

// TestPurgeIsFinal has an origin change and purge what is stored of it, all the time, while others fetch and store: nothing from before a
// purge is served after it.
func TestPurgeIsFinal(t *testing.T) {
	c, err := New(Options{MaxSize: MinSize})
	if err != nil {
		t.Fatal(err)
	}
	p := &Policy{Tags: "tags"}
	var version, floor atomic.Int64
	var done atomic.Bool
	var hits atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var k Key
			k.SetURL("http", "h", "/a", "")
			for !done.Load() {
				least := floor.Load()
				q := &Query{Request: get(""), Key: &k, Policy: p, Now: 1}
				a := c.Lookup(q)
				if a.Outcome == Hit {
					hits.Add(1)
					if n, _ := number(string(a.Body)); n < least {
						t.Errorf("version %d is served after %d was purged for", n, least)
						return
					}
					continue
				}
				body := fmt.Sprint(version.Load())
				runtime.Gosched()
				if a.Flight.Begin(q, response(200, "cache-control: max-age=60", "tags: t"), epoch) == Stores {
					a.Flight.Fill([]byte(body))
					a.Flight.Commit()
				}
				a.Flight.Abort()
			}
		})
	}
	orders := []Purge{{PurgeURL, "http://h/a"}, {PurgePrefix, "http://h/"}, {PurgeTag, "t"}, {PurgeAll, ""}}
	for i := 0; i < 4000 || hits.Load() < 1000; i++ {
		n := version.Add(1)
		c.Purge(orders[i%len(orders)])
		floor.Store(n)
		runtime.Gosched()
	}
	done.Store(true)
	wg.Wait()
}

// TestCommitWaitsForPurge has a commit come while a purge is being noted: it must wait, else it could look before that and store after.
func TestCommitWaitsForPurge(t *testing.T) {
	s := newSim(t, MinSize)
	q, a := s.ask("/a")
	a.Flight.Begin(q, response(200, "cache-control: max-age=60"), s.wall)
	var done atomic.Bool
	var wg sync.WaitGroup
	s.c.purges.mu.Lock()
	wg.Go(func() {
		a.Flight.Commit()
		done.Store(true)
	})
	for range 10_000 {
		runtime.Gosched()
	}
	if done.Load() {
		t.Error("it did not")
	}
	s.c.purges.mu.Unlock()
	wg.Wait()
}

func raceRequest(t *testing.T, c *Cache, q *Query, body string, n int) Outcome {
	a := c.Lookup(q)
	for a.Outcome == Wait {
		q.Waited, q.Alone = true, !a.Await.Wait(time.Second, nil)
		a = c.Lookup(q)
	}
	if a.Outcome == Hit || a.Outcome == Stale {
		if string(a.Body) != body {
			t.Errorf("%q instead of %q", a.Body, body)
		}
	}
	if f := a.Flight; f != nil {
		defer f.Abort()
		r := response(200, "cache-control: max-age=0, stale-while-revalidate=0", `etag: "v"`, "vary: x-a", fmt.Sprint("tags: t", n))
		if n%2 == 0 {
			r = response(200, "cache-control: max-age=1", "vary: x-a", fmt.Sprint("tags: t", n))
		}
		if a.Outcome == Stale {
			q.Request = nil
		}
		if f.Begin(q, r, epoch) == Stores && f.Fill([]byte(body)) {
			f.Commit()
		}
	}
	return a.Outcome
}

// audit fails if the indices do not say just what is stored.
func (s *sim) audit() {
	s.t.Helper()
	keys, tags := 0, 0
	for hash, r := range s.c.mem.All() {
		keys++
		found := false
		for _, k := range s.c.shard(r.urlHash).spots[r.urlHash].keys {
			found = found || k == hash
		}
		if !found {
			s.t.Errorf("%s is not listed", r.key[:r.url])
		}
		seen := map[string]bool{}
		r.eachTag(func(tag string) {
			if _, ok := s.c.tags.keys[tag][hash]; !ok {
				s.t.Errorf("%s is not listed by %s", r.key[:r.url], tag)
			}
			seen[tag] = true
		})
		tags += len(seen)
	}
	for i := range s.c.shards {
		for _, p := range s.c.shards[i].spots {
			keys -= len(p.keys)
		}
	}
	for _, m := range s.c.tags.keys {
		tags -= len(m)
	}
	if keys != 0 || tags != 0 {
		s.t.Errorf("off by %d keys, %d tags", keys, tags)
	}
}
