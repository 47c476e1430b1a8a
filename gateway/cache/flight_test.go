package cache

import (
	"fmt"
	"testing"
	"time"
)

func TestPurgeComesBeforeWhatIsUnderWay(t *testing.T) {
	f := func(name string, p Purge, head, stored bool) {
		t.Helper()
		s := coalescing(t)
		s.p.Tags = "tags"
		q, a := s.ask("/x/a")
		begin := func() { a.Flight.Begin(q, response(200, "cache-control: max-age=60", "tags: one two"), s.wall) }
		if head {
			begin()
		}
		if n := s.c.Purge(p); n != 0 {
			t.Errorf("%s: purged %d", name, n)
		}
		_, b := s.ask("/x/a")
		if name == "url" {
			s.want(b, Miss) // what is under way will not do
			b.Flight.Abort()
		} else {
			s.want(b, Wait)
		}
		if !head {
			begin()
		}
		a.Flight.Fill([]byte("x"))
		if got := a.Flight.Commit(); got != stored {
			t.Errorf("%s: stored is %v", name, got)
		}
		if n := s.c.Stats().Voided; (n == 1) == stored {
			t.Errorf("%s: voided %d", name, n)
		}
		s.idle()
	}
	for _, head := range []bool{false, true} {
		f("url", Purge{PurgeURL, "http://h/x/a"}, head, false)
		f("other url", Purge{PurgeURL, "http://h/x/b"}, head, true)
		f("prefix", Purge{PurgePrefix, "http://h/x/"}, head, false)
		f("other prefix", Purge{PurgePrefix, "http://h/y/"}, head, true)
		f("tag", Purge{PurgeTag, "two"}, head, false)
		f("other tag", Purge{PurgeTag, "tw"}, head, true)
		f("all", Purge{PurgeAll, ""}, head, false)
	}
}

func TestMorePurgesThanAreRemembered(t *testing.T) {
	s := newSim(t, 64<<20)
	q, a := s.ask("/a")
	a.Flight.Begin(q, response(200, "cache-control: max-age=60"), s.wall)
	for i := range remembered + 1 {
		s.c.Purge(Purge{PurgeTag, fmt.Sprint(i)})
	}
	if a.Flight.Commit() {
		t.Error("stored though it is not known what was purged")
	}
	s.store("/a", "x", "cache-control: max-age=60")
}

func TestEarlierDoesNotReplaceLater(t *testing.T) {
	s := newSim(t, 64<<20)
	q, slow := s.ask("/a")
	slow.Flight.Begin(q, response(200, "cache-control: max-age=60"), s.wall)
	slow.Flight.Fill([]byte("old"))
	s.pass(time.Second)
	s.store("/a", "new", "cache-control: max-age=60")
	slow.Flight.Commit()
	_, a := s.ask("/a")
	s.want(a, Hit)
	if string(a.Body) != "new" {
		t.Errorf("serves %q", a.Body)
	}
}

// TestKeysThatCollide has two keys with the same hash: each is told apart, and takes the other's place.
func TestKeysThatCollide(t *testing.T) {
	s := newSim(t, 64<<20)
	s.p.Tags = "tags"
	s.store("/a", "a", "cache-control: max-age=60", "tags: a")
	q, b := s.ask("/b")
	_, a := s.ask("/a")
	s.want(a, Hit)
	var k Key
	k.SetURL("http", "h", "/a", "")
	hash := s.c.hash(k.b)
	b.Flight.hash = hash
	b.Flight.Begin(q, response(200, "cache-control: max-age=60", "tags: b"), s.wall)
	if s.c.get(hash, q.Key) != nil {
		t.Error("one is found under the key of the other")
	}
	b.Flight.Fill([]byte("b"))
	b.Flight.Commit()
	if r := s.c.get(hash, q.Key); r == nil || len(r.variants) != 1 || string(r.variants[0].body.bytes) != "b" {
		t.Errorf("%+v", r)
	}
	_, a = s.ask("/a")
	s.want(a, Miss)
	a.Flight.Abort()
	s.idle()
	s.audit()
}

func TestFillInPieces(t *testing.T) {
	f := func(total int64, declared bool, pieces int) {
		t.Helper()
		s := newSim(t, 64<<20)
		q, a := s.ask("/a")
		r := response(200, "cache-control: max-age=60")
		if declared {
			r.field("content-length", fmt.Sprint(total))
		}
		a.Flight.Begin(q, r, s.wall)
		if s.c.filling.Load() == 0 {
			t.Error("the head is not counted")
		}
		body := make([]byte, total)
		for i := range body {
			body[i] = byte(i)
		}
		for rest := body; len(rest) > 0; {
			n := min(len(rest), pieces)
			if !a.Flight.Fill(rest[:n]) {
				t.Fatalf("%d in %d: gave up", total, pieces)
			}
			rest = rest[n:]
			if b := s.c.filling.Load(); b < int64(len(body)-len(rest)) || b > 2*max(total, minBody)+1024 {
				t.Fatalf("%d in %d: %d counted at %d", total, pieces, b, len(body)-len(rest))
			}
		}
		if !a.Flight.Commit() {
			t.Fatal("not stored")
		}
		_, h := s.ask("/a")
		if string(h.Body) != string(body) {
			t.Errorf("%d in %d: another body", total, pieces)
		}
		if waste := cap(h.Body) - len(h.Body); waste > len(h.Body)/8 {
			t.Errorf("%d in %d: %d bytes wasted", total, pieces, waste)
		}
		s.idle()
	}
	for _, declared := range []bool{false, true} {
		f(0, declared, 1)
		f(1, declared, 1)
		f(4096, declared, 100)
		f(5000, declared, 4096)
		f(3<<20, declared, 16384)
	}
}

func TestFillingIsBounded(t *testing.T) {
	s := newSim(t, MinSize)
	most := s.c.maxFilling.Load()
	var flights []*Flight
	for i := range 100 {
		q, a := s.ask(fmt.Sprint("/", i))
		a.Flight.Begin(q, response(200, "cache-control: max-age=60"), s.wall)
		for range 10 {
			a.Flight.Fill(make([]byte, 10_000))
		}
		if n := s.c.filling.Load(); n > most {
			t.Fatalf("%d of %d bytes on their way", n, most)
		}
		flights = append(flights, a.Flight)
	}
	if s.c.Stats().Refused[NoRoom] == 0 {
		t.Error("none was given up")
	}
	for _, f := range flights {
		f.Commit()
	}
	s.idle()
}
