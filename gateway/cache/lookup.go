package cache

import (
	"hash/maphash"

	"weir/internal/mono"
)

// Lookup says what is to be done about a request: what is stored answers it, or it is forwarded, or it waits for another one's response.
// A Flight must be ended: by Commit, or by Abort, which may be called in any case. A hit costs no allocation and copies nothing.
//
// A request that leaves HTTP (Upgrade, CONNECT) must not come here.
func (c *Cache) Lookup(q *Query) Answer {
	a := Answer{cache: c, Outcome: Pass, why: forBypass}
	if q.Policy == nil {
		return a
	}
	if m := q.Request.Method(); m != "GET" && m != "HEAD" {
		a.why = forMethod
		return a
	}
	if q.Bypass || has(q.Request, "if-match") || has(q.Request, "if-unmodified-since") { // for the origin alone: RFC 9111, section 4.3.2
		return a
	}
	l := look{q: q, hash: maphash.Bytes(c.seed, q.Key.b), wants: requestDirectives(q.Request)}
	if q.Policy.IgnoreClient {
		d := blank
		d.flags = l.wants.flags & (noStore | onlyIfCached)
		l.wants = d
	}
	if l.found = c.get(l.hash, q.Key); l.found == nil {
		c.forward(&l, &a, forURI)
		return a
	}
	if l.base = l.found.find(q.Request); l.base == nil {
		c.forward(&l, &a, forVary)
		return a
	}
	lenient := mono.Time(0)
	if q.Loaded {
		lenient = l.base.lenient(q.Policy)
	}
	switch l.base.judge(&l.wants, q.Now, lenient) {
	case useFresh:
		a.Outcome, a.why = Hit, notForwarded
	case useLenient:
		a.Outcome, a.why, a.detail = Stale, notForwarded, "load"
	case useStale:
		a.Outcome, a.why = Stale, notForwarded
	case useBehind:
		a.Outcome, a.why = Stale, notForwarded
		a.Flight = c.behind(&l)
	case useRefused:
		c.forward(&l, &a, forRequest)
		return a
	case useExpired:
		c.forward(&l, &a, forStale)
		return a
	}
	if q.Waited && a.Outcome == Hit {
		a.why, a.collapsed = forURI, true
	}
	a.serve(q, l.base)
	return a
}

// A look is a look-up under way.
type look struct {
	q     *Query
	hash  uint64
	wants directives
	found *resource // under the key, or nil
	base  *stored   // of it what answers the request, or nil
}

// authorized reports whether the request is one of somebody who is known (RFC 9111, section 3.5).
func (l *look) authorized() bool { return l.q.Known || has(l.q.Request, "authorization") }

// forward makes a an answer for a request that must go to the upstream, or may wait for one that does.
func (c *Cache) forward(l *look, a *Answer, why forward) {
	q := l.q
	a.why = why
	if l.wants.has(onlyIfCached) { // RFC 9111, section 5.2.1.7
		*a = Answer{cache: c, Outcome: Unavailable, Status: 504, detail: "only-if-cached"}
		return
	}
	head := q.Request.Method() == "HEAD"
	if l.wants.has(noStore) || head && l.base == nil {
		a.Outcome = Pass
		return
	}
	f := c.newFlight(l)
	f.head, f.why = head, why
	conditional := f.conditional()
	plain := conditional || !has(q.Request, "if-none-match") && !has(q.Request, "if-modified-since") && !has(q.Request, "range")
	f.shared = plain && !head && q.Policy.Coalesce && why != forRequest && !l.wants.has(noCache) && !c.isSolo(f.soloHash(), q.Now)
	if other := c.launch(f, !q.Alone); other != nil {
		a.Outcome, a.Await = Wait, other
		return
	}
	a.Outcome, a.Flight = Miss, f
	if conditional {
		a.Outcome = Revalidate
	}
}

// behind returns a flight to revalidate what is served stale, or nil if there is one already.
func (c *Cache) behind(l *look) *Flight {
	if l.q.Request.Method() != "GET" || l.wants.has(noStore) {
		return nil
	}
	f := c.newFlight(l)
	f.shared = true
	if c.launch(f, true) != nil {
		return nil
	}
	return f
}
