package cache

import (
	"fmt"
	"testing"
	"time"

	"weir/internal/mono"
)

// hot is a cache with a page that has what pages have, and a request as browsers make it.
func hot(t testing.TB, body int) (*sim, *Query) {
	s := newSim(t, 64<<20)
	s.p.Coalesce = true
	q := &Query{Key: new(Key), Policy: &s.p, Now: s.now}
	q.Request = &views{get("", "host: h", "user-agent: test/1.0", "accept: */*", "accept-encoding: gzip, br", "cookie: a=b")}
	q.Key.SetURL("http", "h", "/v1/items/42", "?page=2")
	a := s.c.Lookup(q)
	a.Flight.Begin(q, response(200, "server: test", "cache-control: max-age=60", "content-type: application/json", "vary: Accept-Encoding",
		`etag: "v1"`, "last-modified: "+s.date(-time.Hour), "date: "+s.date(0)), s.wall)
	a.Flight.Fill(make([]byte, body))
	a.Flight.Commit()
	return s, q
}

// views looks fields up without allocating; their names are in lower case.
type views struct{ *head }

func (v *views) FieldValue(name string, i int) (string, bool) {
	for j, n := range v.names {
		if n == name {
			if i == 0 {
				return v.values[j], true
			}
			i--
		}
	}
	return "", false
}

func (v *views) with(field, value string) *views {
	h := *v.head
	h.names = append(append([]string(nil), h.names...), field)
	h.values = append(append([]string(nil), h.values...), value)
	return &views{&h}
}

func TestHitAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	f := func(name string, status int, field, value string, lookup func(*sim, *Query) Answer) {
		t.Helper()
		s, q := hot(t, 1000)
		if field != "" {
			q.Request = q.Request.(*views).with(field, value)
		}
		out := make([]byte, 0, 512)
		var a Answer
		n := testing.AllocsPerRun(5000, func() {
			q.Key.SetURL("http", "H", "/v1/items/42", "?page=2")
			a = lookup(s, q)
			out = a.AppendFields(append(out[:0], a.Head...))
		})
		if n != 0 || a.Status != status {
			t.Errorf("%s: %v allocations, status %d", name, n, a.Status)
		}
	}
	plain := func(s *sim, q *Query) Answer { return s.c.Lookup(q) }
	f("hit", 200, "", "", plain)
	f("304", 304, "if-none-match", `"v0", W/"v1"`, plain)
	f("304 by date", 304, "if-modified-since", epoch.Format(imfLayout), plain)
	f("206", 206, "range", "bytes=10-20", plain)
	f("client's wishes", 200, "cache-control", "max-age=30, max-stale, min-fresh=1", plain)
	f("stale", 200, "", "", func(s *sim, q *Query) Answer {
		s.p.StaleUnderLoad, q.Now, q.Loaded = time.Hour, s.now.Add(2*time.Minute), true
		return s.c.Lookup(q)
	})
	f("unsafe method on nothing", 200, "", "", func(s *sim, q *Query) Answer {
		q.Key.SetURL("http", "h", "/other", "")
		s.c.Invalidate("POST", q.Key, nothing)
		q.Key.SetURL("http", "h", "/v1/items/42", "?page=2")
		return s.c.Lookup(q)
	})
}

var nothing = response(204)

func BenchmarkHit(b *testing.B) {
	s, q := hot(b, 1000)
	out := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		q.Key.SetURL("http", "h", "/v1/items/42", "?page=2")
		a := s.c.Lookup(q)
		out = a.AppendFields(append(out[:0], a.Head...))
	}
}

func BenchmarkHitParallel(b *testing.B) {
	s, q := hot(b, 1000)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		q := *q
		q.Key = new(Key)
		out := make([]byte, 0, 512)
		for pb.Next() {
			q.Key.SetURL("http", "h", "/v1/items/42", "?page=2")
			a := s.c.Lookup(&q)
			out = a.AppendFields(append(out[:0], a.Head...))
		}
	})
}

func BenchmarkPass(b *testing.B) {
	s, q := hot(b, 1000)
	q.Request = &views{&head{method: "POST"}}
	b.ReportAllocs()
	for b.Loop() {
		s.c.Lookup(q)
	}
}

func BenchmarkMissNotStored(b *testing.B) {
	s, q := hot(b, 1000)
	r := response(200, "content-type: application/json")
	b.ReportAllocs()
	for b.Loop() {
		q.Key.SetURL("http", "h", "/other", "")
		a := s.c.Lookup(q)
		a.Flight.Begin(q, r, s.wall)
		a.Flight.Abort()
	}
}

func BenchmarkStore(b *testing.B) {
	s, q := hot(b, 1000)
	body := make([]byte, 1000)
	r := response(200, "cache-control: max-age=60", "content-type: application/json", "content-length: 1000", "date: "+s.date(0))
	path := []byte("/0000000")
	b.ReportAllocs()
	for b.Loop() {
		for i := len(path) - 1; i > 0; i-- {
			if path[i]++; path[i] <= '9' {
				break
			}
			path[i] = '0'
		}
		q.Now += mono.Time(time.Millisecond)
		q.Key.SetURL("http", "h", string(path), "")
		a := s.c.Lookup(q)
		if a.Flight == nil {
			continue
		}
		a.Flight.Begin(q, r, s.wall)
		a.Flight.Fill(body)
		a.Flight.Commit()
	}
}

func BenchmarkPurgePrefix(b *testing.B) {
	s := newSim(b, 256<<20)
	for i := range 50_000 {
		s.store(fmt.Sprint("/", i), "x", "cache-control: max-age=60")
	}
	b.ReportAllocs()
	for b.Loop() {
		s.c.Purge(Purge{PurgePrefix, "http://h/none"})
	}
}
