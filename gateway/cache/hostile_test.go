package cache

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestPurgedIsNotRevived has a request under way that would say that what is stored is still good, and a purge of that meanwhile: good it may
// be for the client, but it is not stored again, nor sent if the upstream fails.
func TestPurgedIsNotRevived(t *testing.T) {
	f := func(p Purge) {
		t.Helper()
		s := newSim(t, 64<<20)
		s.p.StaleIfError, s.p.Tags = time.Hour, "tags"
		s.store("/a", "poison", "cache-control: max-age=10", `etag: "v"`, "tags: red")
		s.pass(11 * time.Second)
		q, a := s.ask("/a")
		s.want(a, Revalidate)
		r, b := s.ask("/a")
		s.want(b, Revalidate)
		if n := s.c.Purge(p); n != 1 {
			t.Fatalf("%v: purged %d", p, n)
		}
		if _, ok := b.Flight.Rescue(r, 0); ok {
			t.Errorf("%v: sent instead of an error", p)
		}
		if fate := b.Flight.Begin(r, response(503), s.wall); fate == Failed {
			t.Errorf("%v: %v", p, fate)
		}
		if fate := a.Flight.Begin(q, response(304, "cache-control: max-age=60"), s.wall); fate != Freshened {
			t.Errorf("%v: %v", p, fate)
		}
		a.Flight.Abort()
		b.Flight.Abort()
		_, c := s.ask("/a")
		s.want(c, Miss)
		c.Flight.Abort()
		s.idle()
	}
	f(Purge{PurgeURL, "http://h/a"})
	f(Purge{PurgePrefix, "http://h/"})
	f(Purge{PurgeTag, "red"})
	f(Purge{PurgeAll, ""})
}

// TestPurgeBetweenLookAndFlight: the same if the purge is over before the flight is known to anybody.
func TestPurgeBetweenLookAndFlight(t *testing.T) {
	s := newSim(t, 64<<20)
	s.store("/a", "poison", "cache-control: max-age=10", `etag: "v"`)
	s.pass(11 * time.Second)
	q, _ := s.ask("/a")
	l := look{q: q, hash: s.c.hash(q.Key.b), wants: blank}
	l.found = s.c.get(l.hash, q.Key)
	l.base = l.found.find(q.Request)
	s.c.Purge(Purge{PurgeURL, "http://h/a"})
	a := Answer{cache: s.c}
	s.c.forward(&l, &a, forStale)
	s.want(a, Revalidate)
	if fate := a.Flight.Begin(q, response(304, "cache-control: max-age=60"), s.wall); fate != Freshened {
		t.Error(fate)
	}
	_, b := s.ask("/a")
	s.want(b, Miss)
	b.Flight.Abort()
}

// TestRescueIsForTheSameVariant: who waited for a flight gets what that has stale only if it is what was selected for him too.
func TestRescueIsForTheSameVariant(t *testing.T) {
	s := coalescing(t)
	q, a := s.ask("/a", "x-b: 1")
	a.Flight.Begin(q, response(200, "cache-control: max-age=10, stale-if-error=60", "vary: x-b"), s.wall)
	a.Flight.Commit()
	q, a = s.ask("/a", "x-a: 1", "x-b: 3")
	a.Flight.Begin(q, response(200, "cache-control: max-age=10, stale-if-error=60", "vary: x-a"), s.wall)
	a.Flight.Commit()
	s.pass(11 * time.Second)
	q, a = s.ask("/a", "x-a: 2", "x-b: 1")
	s.want(a, Miss)
	r, b := s.ask("/a", "x-a: 2", "x-b: 2")
	if b.Outcome == Wait {
		if _, ok := a.Flight.Rescue(q, 0); !ok {
			t.Error("not rescued")
		}
		if _, ok := b.Await.Rescue(r, 0); ok {
			t.Error("rescued by what is another's")
		}
	} else {
		b.Flight.Abort()
	}
	a.Flight.Abort()
	s.idle()
}

// TestWhoIsKnownIsNotWaitedFor: an answer to who is known is mostly his alone. Others do not wait for it, and go on waiting for each other.
func TestWhoIsKnownIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := coalescing(t)
		q, known := s.ask("/a", "authorization: x")
		s.want(known, Miss)
		_, first := s.ask("/a")
		s.want(first, Miss)
		_, b := s.ask("/a", "authorization: y")
		s.want(b, Wait)
		if fate := known.Flight.Begin(q, response(200, "cache-control: max-age=60"), s.wall); fate != Forbidden {
			t.Error(fate)
		}
		_, c := s.ask("/a")
		s.want(c, Wait)
		_, d := s.ask("/a", "authorization: y")
		s.want(d, Miss)
		_, e := s.ask("/a", "authorization: z")
		s.want(e, Miss)
		for _, a := range []Answer{known, first, d, e} {
			a.Flight.Abort()
		}
		s.idle()
	})
}

// TestSlowReadersBoundMemory: bodies that clients are slow to take are not counted as stored once they gave way to others; when that is too much
// nothing more is stored, until they are taken.
func TestSlowReadersBoundMemory(t *testing.T) {
	s := newSim(t, 8<<20)
	body := string(make([]byte, 1<<20))
	var slow []Answer
	for i := range 100 {
		path := string(rune('a'+i%26)) + string(rune('a'+i/26))
		for range 3 { // W-TinyLFU wants to see it wanted
			if q, a := s.ask(path); a.Flight != nil {
				if a.Flight.Begin(q, response(200, "cache-control: max-age=60"), s.wall) == Stores && a.Flight.Fill([]byte(body)) {
					a.Flight.Commit()
				}
				a.Flight.Abort()
			}
		}
		if _, a := s.ask(path); a.Outcome == Hit {
			a.Lend()
			slow = append(slow, a)
		} else {
			a.Flight.Abort()
		}
		if st := s.c.Stats(); st.Lent > st.MaxBytes+2<<20 {
			t.Fatalf("%d bytes are lent beside %d", st.Lent, st.Bytes)
		}
	}
	if st := s.c.Stats(); st.Refused[NoRoom] == 0 || st.Evicted == 0 || st.Lent < 4<<20 {
		t.Errorf("%+v", st)
	}
	slow[0].Lend() // to two at once, counted once
	slow[0].Return()
	for i := range slow {
		slow[i].Return()
	}
	if n := s.c.Stats().Lent; n != 0 {
		t.Errorf("%d bytes are still lent", n)
	}
	s.store("/new", body, "cache-control: max-age=60")
	s.idle()
}

// TestLongFillsLeaveRoom: long bodies on their way do not keep short ones from being stored.
func TestLongFillsLeaveRoom(t *testing.T) {
	s := newSim(t, 32<<20)
	var slow []*Flight
	for i := range 20 {
		q, a := s.ask(string(rune('a' + i)))
		a.Flight.Begin(q, response(200, "cache-control: max-age=60"), s.wall)
		a.Flight.Fill(make([]byte, 3<<20))
		slow = append(slow, a.Flight)
	}
	if s.c.Stats().Refused[NoRoom] == 0 {
		t.Error("all of it found room")
	}
	for i := range 4 {
		q, a := s.ask(string(rune('A' + i)))
		a.Flight.Begin(q, response(200, "cache-control: max-age=60"), s.wall)
		if !a.Flight.Fill(make([]byte, 900<<10)) {
			t.Errorf("short body %d finds no room", i)
		}
		slow = append(slow, a.Flight)
	}
	for _, f := range slow {
		f.Abort()
	}
	s.idle()
}
