package cache

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// ask returns what Lookup says about a GET of a path.
func (s *sim) ask(path string, fields ...string) (*Query, Answer) {
	var k Key
	k.SetURL("http", "h", path, "")
	q := &Query{Request: get(path, fields...), Key: &k, Policy: &s.p, Now: s.now}
	return q, s.c.Lookup(q)
}

func (s *sim) want(a Answer, o Outcome) {
	s.t.Helper()
	if a.Outcome != o {
		s.t.Fatalf("outcome %v, want %v", a.Outcome, o)
	}
}

// store makes a response to GET of a path stored.
func (s *sim) store(path, body string, fields ...string) {
	s.t.Helper()
	q, a := s.ask(path)
	if a.Flight == nil {
		s.t.Fatalf("%s: %v without a flight", path, a.Outcome)
	}
	if f := a.Flight.Begin(q, response(200, fields...), s.wall); f != Stores {
		s.t.Fatalf("%s: %v", path, f)
	}
	a.Flight.Fill([]byte(body))
	if !a.Flight.Commit() {
		s.t.Fatalf("%s: not stored", path)
	}
}

func coalescing(t testing.TB) *sim {
	s := newSim(t, 64<<20)
	s.p.Coalesce = true
	return s
}

// idle fails if the cache still knows of a flight.
func (s *sim) idle() {
	s.t.Helper()
	for i := range s.c.shards {
		for _, p := range s.c.shards[i].spots {
			if len(p.flights) > 0 {
				s.t.Errorf("flights left: %d", len(p.flights))
			}
		}
	}
	if n := s.c.filling.Load(); n != 0 {
		s.t.Errorf("filling %d", n)
	}
}

func TestWaitersGetWhatTheFirstFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := coalescing(t)
		q, first := s.ask("/a")
		s.want(first, Miss)
		var served atomic.Int32
		for range 10 {
			q, a := s.ask("/a")
			s.want(a, Wait)
			go func() {
				if !a.Await.Wait(time.Second, nil) {
					t.Error("not worth to wait again")
				}
				q.Waited = true
				b := s.c.Lookup(q)
				if b.Outcome != Hit || string(b.Body) != "body" {
					t.Errorf("%v %q", b.Outcome, b.Body)
				}
				if got := string(b.AppendFields(nil)); got != "Age: 0\r\nCache-Status: weir; fwd=uri-miss; collapsed; ttl=60\r\n" {
					t.Errorf("%q", got)
				}
				served.Add(1)
			}()
		}
		synctest.Wait()
		first.Flight.Begin(q, response(200, "cache-control: max-age=60"), s.wall)
		first.Flight.Fill([]byte("body"))
		synctest.Wait()
		if n := served.Load(); n != 0 {
			t.Errorf("%d were served before the end", n)
		}
		first.Flight.Commit()
		synctest.Wait()
		if n := served.Load(); n != 10 {
			t.Errorf("%d were served", n)
		}
		s.idle()
	})
}

func TestWaitersAreLetThrough(t *testing.T) {
	f := func(name string, again bool, end func(*sim, *Query, *Flight)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			s := coalescing(t)
			q, first := s.ask("/a")
			_, a := s.ask("/a")
			s.want(a, Wait)
			got := make(chan bool, 1)
			go func() { got <- a.Await.Wait(time.Minute, nil) }()
			synctest.Wait()
			end(s, q, first.Flight)
			synctest.Wait()
			select {
			case g := <-got:
				if g != again {
					t.Errorf("%s: worth to wait again is %v", name, g)
				}
			default:
				t.Errorf("%s: still waiting", name)
			}
			_, b := s.ask("/a")
			s.want(b, Miss)
			_, c := s.ask("/a")
			if again {
				s.want(c, Wait)
			} else {
				s.want(c, Miss) // for a while nobody waits
				s.pass(11 * time.Second)
				_, d := s.ask("/a")
				s.want(d, Miss)
				_, e := s.ask("/a")
				s.want(e, Wait)
				c.Flight.Abort()
				d.Flight.Abort()
			}
			first.Flight.Abort()
			b.Flight.Abort()
			s.idle()
		})
	}
	f("aborted", true, func(_ *sim, _ *Query, f *Flight) { f.Abort() })
	f("not storable", false, func(s *sim, q *Query, f *Flight) { f.Begin(q, response(200), s.wall) })
	f("stale at once", false, func(s *sim, q *Query, f *Flight) {
		f.Begin(q, response(200, "cache-control: no-cache", `etag: "v"`), s.wall)
	})
	f("too large", false, func(s *sim, q *Query, f *Flight) {
		s.p.MaxObject = 10
		f.Begin(q, response(200, "cache-control: max-age=60"), s.wall)
		if f.Fill(make([]byte, 11)) {
			t.Error("took too much")
		}
	})
	f("cut", true, func(s *sim, q *Query, f *Flight) {
		f.Begin(q, response(200, "cache-control: max-age=60", "content-length: 10"), s.wall)
		f.Fill([]byte("12345"))
		if f.Commit() {
			t.Error("stored a cut body")
		}
	})
}

// TestNobodyWaitsForValidation has something stored that must be validated for each request: those who waited for one's 304 go on.
func TestNobodyWaitsForValidation(t *testing.T) {
	s := coalescing(t)
	s.store("/a", "x", "cache-control: no-cache", `etag: "v"`)
	s.pass(11 * time.Second)
	q, first := s.ask("/a")
	s.want(first, Revalidate)
	_, a := s.ask("/a")
	s.want(a, Wait)
	if fate := first.Flight.Begin(q, response(304), s.wall); fate != Freshened {
		t.Fatal(fate)
	}
	if a.Await.Wait(0, nil) {
		t.Error("worth to wait again")
	}
	_, b := s.ask("/a")
	s.want(b, Revalidate)
	_, c := s.ask("/a")
	s.want(c, Revalidate)
	b.Flight.Abort()
	c.Flight.Abort()
	s.idle()
}

func TestWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := coalescing(t)
		_, first := s.ask("/a")
		_, a := s.ask("/a")
		start := time.Now()
		if a.Await.Wait(3*time.Second, nil) {
			t.Error("worth to wait again")
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("waited %v", d)
		}
		gone := make(chan struct{})
		close(gone)
		if a.Await.Wait(time.Hour, gone) || time.Since(start) != 3*time.Second {
			t.Error("waited for one who has left")
		}
		q, b := s.ask("/a")
		s.want(b, Wait)
		q.Waited, q.Alone = true, true
		b = s.c.Lookup(q)
		s.want(b, Miss)
		first.Flight.Abort()
		b.Flight.Abort()
		s.idle()
	})
}

func TestWhoWaitsForWhom(t *testing.T) {
	s := coalescing(t)
	s.store("/v", "x", "cache-control: max-age=10", "vary: x-a")
	_, first := s.ask("/a")
	f := func(want Outcome, path string, fields ...string) {
		t.Helper()
		_, a := s.ask(path, fields...)
		s.want(a, want)
		if a.Flight != nil && a.Flight != first.Flight {
			defer a.Flight.Abort()
		}
	}
	f(Wait, "/a")
	f(Wait, "/a", "cookie: x")
	f(Miss, "/b")
	f(Miss, "/a", "cache-control: no-cache")
	f(Miss, "/a", "range: bytes=0-1")
	f(Miss, "/a", `if-none-match: "x"`)
	f(Pass, "/a", "cache-control: no-store")
	_, one := s.ask("/v", "x-a: 1")
	s.want(one, Miss)
	f(Wait, "/v", "x-a: 1")
	f(Miss, "/v", "x-a: 2")
	s.p.Coalesce = false
	f(Miss, "/a")
	first.Flight.Abort()
	one.Flight.Abort()
	s.idle()
}

func TestOneRevalidatesBehind(t *testing.T) {
	s := newSim(t, 64<<20)
	s.store("/a", "x", "cache-control: max-age=10, stale-while-revalidate=60", `etag: "v"`)
	s.pass(11 * time.Second)
	_, a := s.ask("/a")
	s.want(a, Stale)
	if a.Flight == nil {
		t.Fatal("nobody revalidates")
	}
	_, b := s.ask("/a")
	s.want(b, Stale)
	if b.Flight != nil {
		t.Error("two revalidate")
	}
	a.Flight.Abort()
	if _, c := s.ask("/a"); c.Flight == nil {
		t.Error("nobody does after the first gave up")
	} else {
		c.Flight.Abort()
	}
	s.idle()
}

func TestWaitersAreRescuedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := coalescing(t)
		s.store("/a", "x", "cache-control: max-age=10, stale-if-error=60")
		s.pass(11 * time.Second)
		q, first := s.ask("/a")
		s.want(first, Miss)
		r, a := s.ask("/a")
		s.want(a, Wait)
		go func() {
			if a.Await.Wait(time.Minute, nil) {
				t.Error("worth to wait again")
			}
			if !a.Await.Failed() {
				t.Error("not known to have failed")
			}
			if b, ok := a.Await.Rescue(r, 0); !ok || string(b.Body) != "x" {
				t.Errorf("%v %q", ok, b.Body)
			}
		}()
		synctest.Wait()
		if fate := first.Flight.Begin(q, response(503), s.wall); fate != Failed {
			t.Fatal(fate)
		}
		if _, ok := first.Flight.Rescue(q, 503); !ok {
			t.Error("not rescued")
		}
		synctest.Wait()
		s.idle()
	})
}

// TestOvertake: those who wait for a body that comes too slowly go on, one of them in its place, and what was slow is stored all the same.
func TestOvertake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := coalescing(t)
		q, first := s.ask("/a")
		_, second := s.ask("/a")
		s.want(second, Wait)
		if second.Await.Overtake(s.now.Add(time.Hour)) {
			t.Error("overtaken before its head came")
		}
		first.Flight.Begin(q, response(200, "cache-control: max-age=60"), s.wall)
		if second.Await.Overtake(s.now) {
			t.Error("overtaken at once")
		}
		waited := make(chan bool)
		go func() { waited <- second.Await.Wait(time.Hour, nil) }()
		synctest.Wait()
		if !second.Await.Overtake(s.now.Add(1)) || !<-waited || !second.Await.Over() {
			t.Error("not overtaken")
		}
		_, third := s.ask("/a")
		s.want(third, Miss)
		third.Flight.Abort()
		first.Flight.Fill([]byte("slow"))
		if !first.Flight.Commit() {
			t.Error("not stored")
		}
		_, fourth := s.ask("/a")
		s.want(fourth, Hit)
		s.idle()
	})
}
