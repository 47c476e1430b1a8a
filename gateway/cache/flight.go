package cache

import (
	"time"

	"weir/internal/mono"
)

// A Flight is a request on its way to the upstream, whose response may be stored. Others may wait for it. But for Wait, which anybody
// may call, it belongs to one goroutine. It ends with Commit or Abort.
type Flight struct {
	cache   *Cache
	policy  *Policy
	key     Key
	hash    uint64
	urlHash uint64
	second  uint64 // what the request says in the fields by which the latest variant was selected
	begun   mono.Time
	since   uint64  // purges before it
	base    *stored // what is being validated, or would be served on an error
	head    bool    // HEAD
	shared  bool    // others may wait for it

	why forward // why it went on its way

	authorized bool // the request has Authorization, or what counts as that
	cookie     bool // it has Cookie

	// For Begin and after it.
	request Request
	making  *stored // without its body
	body    []byte
	length  int64 // what the body must come to, or -1
	booked  int64 // bytes counted for head and body
	fate    Fate

	// Under the mutex of the URL's shard.
	void    bool          // purged or invalidated meanwhile: must not be stored
	over    bool          // nothing will come any more
	useless bool          // and what came was not for all
	failed  bool          // something stale was sent instead
	landing mono.Time     // when the head came of what will be stored; 0: it has not
	done    chan struct{} // there if somebody waits; closed when over
}

// Fate says what becomes of a response.
type Fate uint8

// The fates. From Forbidden on the response is not stored, and only to be passed on.
const (
	NotAsked  Fate = iota
	Stores         // give its body to Fill, then Commit
	Freshened      // it says that what is stored is still good: send Answer
	Failed         // it is an error, and Rescue has something to send instead
	Unmatched      // it says 304 of something else than what is stored: drop it, and forward the request as the client sent it
	Forbidden      // no-store, private, or Authorization (RFC 9111, section 3.5)
	Unfit          // its method, its status, or a part only
	Silent         // it does not say how long it is fresh, and the policy does not either; or it is stale and cannot be validated
	Varies         // by *, or by too much
	Cookie         // see Policy.StoreCookies
	TooLarge
	NoRoom // too much is on its way
	fates
)

var fateText = [fates]string{"not asked", "stored", "freshened", "failed", "unmatched", "forbidden", "unfit", "silent", "varies", "cookie", "too large", "no room"}

func (f Fate) String() string { return fateText[f] }

func (c *Cache) newFlight(l *look) *Flight {
	f := &Flight{cache: c, policy: l.q.Policy, hash: l.hash, begun: l.q.Now, since: c.purges.seq.Load(), base: l.base}
	f.key = Key{b: append([]byte(nil), l.q.Key.b...), url: l.q.Key.url, origin: l.q.Key.origin}
	f.urlHash = c.hash(f.key.URL())
	f.second = l.found.secondary(c.seed, l.q.Request)
	f.cookie = has(l.q.Request, "cookie")
	if f.authorized = l.authorized(); f.authorized {
		f.second = ^f.second
	}
	return f
}

// conditional reports whether the flight asks whether what is stored is still good.
func (f *Flight) conditional() bool {
	return f.base != nil && (f.base.etag != "" || f.base.lastModified != "")
}

// IsCondition reports whether a request field of that lower-case name is left out of a request that goes out for Revalidate, or behind a
// Stale answer, so that the client's own conditions and ranges do not meddle with the cache's.
func IsCondition(name string) bool {
	switch name {
	case "if-none-match", "if-modified-since", "if-range", "range":
		return true
	}
	return false
}

// AppendConditions appends the header lines that ask whether what is stored is still good (RFC 9111, section 4.3.1).
func (f *Flight) AppendConditions(b []byte) []byte {
	if !f.conditional() {
		return b
	}
	if f.base.etag != "" {
		b = lines(b).add("If-None-Match", f.base.etag)
	}
	if f.base.lastModified != "" {
		b = lines(b).add("If-Modified-Since", f.base.lastModified)
	}
	return b
}

// Begin shows f the head of the response, which came at q.Now, or at wall by the wall clock, and returns what becomes of it. Those who
// wait go on at once where nothing will be stored.
func (f *Flight) Begin(q *Query, r Response, wall time.Time) Fate {
	f.request = q.Request
	at := instant{q.Now, wall.Unix()}
	f.fate = f.begin(q, r, at)
	f.request = nil
	if f.fate >= Forbidden && !f.head {
		f.cache.counters.refused[f.fate].Add(1)
	}
	switch f.fate {
	case Failed: // who waits, waits for Rescue too
	case Stores:
		if !f.making.reusable(at.mono) {
			f.unshare(at.mono)
			f.release()
		}
		f.lands(at.mono)
	default:
		f.leave(r.Status(), at)
	}
	return f.fate
}

// lands notes when the head came, for those who wait.
func (f *Flight) lands(now mono.Time) {
	s := f.cache.shard(f.urlHash)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.landing = max(now, 1)
}

// leave is for what is not stored.
func (f *Flight) leave(status int, at instant) {
	switch {
	case f.fate == Freshened:
		f.cache.counters.freshened.Add(1)
		if !f.base.reusable(at.mono) {
			f.unshare(at.mono)
			f.release()
		}
	case f.fate == Unmatched:
		f.forget()
	case status < 500:
		f.unshare(at.mono)
		if !f.head && ofTarget(status) && !f.authorized {
			f.forget()
		}
	}
	f.land(f.fate != Freshened && f.fate != Unmatched)
}

// unshare has nobody wait for what answers one request only.
func (f *Flight) unshare(now mono.Time) {
	if f.shared {
		f.cache.markSolo(f.soloHash(), now)
	}
}

// forget removes what the response came instead of.
func (f *Flight) forget() {
	if f.base != nil {
		f.cache.dropVariants(f.hash, func(_ *resource, s *stored) bool { return s == f.base })
	}
}

func (f *Flight) begin(q *Query, r Response, at instant) Fate {
	switch status := r.Status(); {
	case status == 304 && f.conditional():
		return f.freshen(r, at)
	case failure(status) && f.rescuable(q.Request, q.Now):
		return Failed
	case f.head:
		return f.update(r, at)
	}
	d := responseDirectives(r)
	if why := f.storable(r, &d); why != Stores {
		return why
	}
	s := f.assess(r, &d, at)
	if !s.useful(&d, at.mono) {
		return Silent
	}
	if why := f.complete(s, r, &d, at); why != Stores {
		return why
	}
	if f.presumes(s, &d) {
		return Cookie
	}
	f.making, f.length = s, -1
	if n, ok := number(first(r, "content-length")); ok {
		f.length = n
	}
	if f.length > f.cache.room(f.policy) {
		return TooLarge
	}
	if !f.book(s.weight()) {
		return NoRoom
	}
	return Stores
}

// failure reports whether a status is an error in the sense of RFC 5861, section 4.
func failure(status int) bool { return status == 500 || status >= 502 && status <= 504 }

// Rescue returns an answer from what is stored after the upstream failed: it could not be reached, or Begin said Failed. It is not ok
// if stale-if-error does not allow that. status is that of the error, 0 if there was no response.
func (f *Flight) Rescue(q *Query, status int) (a Answer, ok bool) {
	if q.Request == nil || !f.rescuable(q.Request, q.Now) {
		return Answer{}, false
	}
	s := f.cache.shard(f.urlHash)
	s.mu.Lock()
	f.failed = true
	s.mu.Unlock()
	f.land(true)
	a = Answer{cache: f.cache, Outcome: Stale, why: forStale, fwdStatus: status, detail: "stale-if-error"}
	a.serve(q, f.base)
	return a, true
}

// rescuable reports whether what is stored may be sent in place of an error to a request; nil is nobody's. What was purged
// since may not, and whoever waited for f may have been selected something else.
func (f *Flight) rescuable(r Request, now mono.Time) bool {
	if f.base == nil || f.outdated() {
		return false
	}
	d := blank
	if r != nil && !selects(f.base.vary, r) {
		return false
	}
	if r != nil && !f.policy.IgnoreClient {
		d = requestDirectives(r)
	}
	return f.base.forgives(&d, now)
}

// outdated reports whether what f is to validate was purged or invalidated meanwhile.
func (f *Flight) outdated() bool {
	s := f.cache.shard(f.urlHash)
	s.mu.Lock()
	void := f.void
	s.mu.Unlock()
	return void || f.cache.purges.hits(f.since, f.key.URL(), f.base.tags)
}

// soloHash is that under which is remembered that waiting is of no use: for who is known another than for the rest.
func (f *Flight) soloHash() uint64 { return soloHash(f.hash, f.authorized) }

func soloHash(hash uint64, authorized bool) uint64 {
	if authorized {
		return ^hash
	}
	return hash
}
