package cache

import (
	"fmt"
	"strings"
	"time"

	"weir/internal/mono"
)

// head is a message head for tests.
type head struct {
	method        string
	status        int
	names, values []string
}

func (h *head) Method() string              { return h.method }
func (h *head) Status() int                 { return h.status }
func (h *head) Len() int                    { return len(h.names) }
func (h *head) FieldAt(i int) (n, v string) { return h.names[i], h.values[i] }
func (h *head) field(name, value string) *head {
	h.names, h.values = append(h.names, name), append(h.values, value)
	return h
}

func (h *head) FieldValue(name string, i int) (string, bool) {
	if name != strings.ToLower(name) {
		panic("not in lower case: " + name)
	}
	for j, n := range h.names {
		if strings.EqualFold(n, name) {
			if i == 0 {
				return h.values[j], true
			}
			i--
		}
	}
	return "", false
}

func get(path string, fields ...string) *head { return request("GET", path, fields...) }

// request makes a request; fields are "name: value". The path is the caller's to remember.
func request(method, _ string, fields ...string) *head {
	h := &head{method: method}
	for _, f := range fields {
		n, v, _ := strings.Cut(f, ":")
		h.field(n, strings.TrimSpace(v))
	}
	return h
}

func response(status int, fields ...string) *head {
	h := request("", "", fields...)
	h.status = status
	return h
}

// epoch is where the wall clock of a sim starts.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// tester is what a testing.TB and a rapid.T have in common.
type tester interface {
	Helper()
	Error(...any)
	Errorf(string, ...any)
	Fatal(...any)
	Fatalf(string, ...any)
}

// A sim is a client, a cache and an origin, with clocks of their own.
type sim struct {
	t     tester
	c     *Cache
	p     Policy
	now   mono.Time
	wall  time.Time
	n     int // responses of the origin
	delay time.Duration

	req  *asked1
	resp *reply1
}

// asked1 is a request that waits for its expectation.
type asked1 struct {
	*head
	key    Key
	body   bool
	known  bool
	loaded bool
}

// reply1 is what the origin says if it is asked.
type reply1 struct {
	*head
	body string
	cut  bool
	fail bool
}

// result is what came of a request.
type result struct {
	outcome Outcome
	fate    Fate
	status  int
	head    string // with its field names as they are
	body    string
	sent    string
	length  int64
	asked   bool // the origin was
}

func newSim(t tester, size int64) *sim {
	c, err := New(Options{MaxSize: size})
	if err != nil {
		t.Fatal(err)
	}
	return &sim{t: t, c: c, now: mono.Time(time.Hour), wall: epoch}
}

func (s *sim) pass(d time.Duration) {
	s.now = s.now.Add(d)
	s.wall = s.wall.Add(d)
}

func (s *sim) date(offset time.Duration) string { return s.wall.Add(offset).UTC().Format(imfLayout) }

// do carries one request to its end as the gateway would.
func (s *sim) do(r *asked1, o *reply1) result {
	q := &Query{Request: r.head, Key: &r.key, Policy: &s.p, Now: s.now, Bypass: r.body, Known: r.known, Loaded: r.loaded}
	a := s.c.Lookup(q)
	res := result{outcome: a.Outcome}
	switch a.Outcome {
	case Hit, Stale, Unavailable:
		s.answer(&res, &a)
		if a.Flight != nil {
			s.behind(&res, a.Flight, o)
		}
	case Wait:
		s.t.Fatal("waits for itself")
	default:
		s.forward(&res, q, &a, o)
	}
	return res
}

func (s *sim) answer(res *result, a *Answer) {
	res.status, res.body, res.length = a.Status, string(a.Body), a.Length
	res.head = string(a.AppendFields(append([]byte(nil), a.Head...)))
}

func (s *sim) behind(res *result, f *Flight, o *reply1) {
	defer f.Abort()
	if o == nil {
		return
	}
	res.sent, res.asked = string(f.AppendConditions(nil)), true
	if o.fail {
		return
	}
	q := &Query{Policy: &s.p, Now: s.now}
	if res.fate = f.Begin(q, o.head, s.wall); res.fate == Stores {
		f.Fill([]byte(o.body))
		f.Commit()
	}
}

func (s *sim) forward(res *result, q *Query, a *Answer, o *reply1) {
	f := a.Flight
	if f != nil {
		defer f.Abort()
		res.sent = string(f.AppendConditions(nil))
	}
	if o == nil {
		return
	}
	res.asked = true
	s.pass(s.delay)
	q.Now = s.now
	if o.fail {
		if f != nil {
			if b, ok := f.Rescue(q, 0); ok {
				res.outcome = b.Outcome
				s.answer(res, &b)
			}
		}
		return
	}
	s.c.Invalidate(q.Request.Method(), q.Key, o.head)
	if f != nil {
		res.fate = f.Begin(q, o.head, s.wall)
	}
	switch res.fate {
	case Freshened:
		b := f.Answer(q)
		s.answer(res, &b)
		return
	case Failed:
		b, ok := f.Rescue(q, o.status)
		if !ok {
			s.t.Fatal("Begin says Failed, and Rescue has nothing")
		}
		res.outcome = b.Outcome
		s.answer(res, &b)
		return
	case Stores:
		half := len(o.body) / 2
		f.Fill([]byte(o.body[:half]))
		f.Fill([]byte(o.body[half:]))
		if !o.cut && !f.Commit() {
			res.fate = f.fate
		}
	}
	var h lines
	for i, n := range o.names {
		h = h.add(n, o.values[i])
	}
	res.status, res.body = o.status, o.body
	res.head = string(a.AppendForwarded(h, o.status, res.fate))
}

func (r *result) String() string {
	return fmt.Sprintf("%v, fate %v, status %d, body %q, sent %q, head\n%s", r.outcome, r.fate, r.status, r.body, r.sent, r.head)
}

func (r *result) field(name string) (string, bool) {
	return lines(r.head).FieldValue(strings.ToLower(name), 0)
}
