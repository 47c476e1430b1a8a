package gateway

import (
	"slices"

	"weir/gateway/cache"
)

func (q *question) Bodiless() bool  { return true }
func (q *question) BareQuery() bool { return q.bare }
func (q *question) AppendClaims(dst, host []byte) []byte {
	for i, name := range append([]string{"x-forwarded-host", "x-forwarded-proto"}, claims[:]...) {
		for n, v := range q.header.Values(name) {
			if q.withheld.drops([]byte(name)) {
				break
			}
			if i > 1 || i == 0 && v != string(host) || i == 1 && (n > 0 || v != "http" && v != "https") {
				dst = appendClaim(dst, name, v)
			}
		}
	}
	return dst
}
func (q *question) Diverts() bool {
	return slices.ContainsFunc(diverting[:], func(name string) bool { return q.header.Get(name) != "" && !q.withheld.drops([]byte(name)) })
}
func (q *question) Upgrades() bool  { return q.header.Get("Upgrade") != "" }
func (q *question) Certified() bool { return false }
func (q *question) SentField(name string, i int) (string, int) {
	v := q.header.Values(name)
	if q.withheld.drops([]byte(name)) {
		v = nil
	}
	if q.plain && name == "accept-encoding" {
		v = []string{"identity"}
	}
	if i < len(v) {
		return v[i], i + 1
	}
	return "", len(v)
}

// looking is a request that wants nothing but what is stored, so that the cache sends nobody.
type looking struct{ cache.Request }

func (l looking) FieldValue(name string, i int) (string, bool) {
	v, ok := l.Request.FieldValue(name, i)
	if ok || name != "cache-control" || i > 0 && !l.has(name, i-1) {
		return v, ok
	}
	return "only-if-cached", true
}

func (l looking) has(name string, i int) bool {
	_, ok := l.Request.FieldValue(name, i)
	return ok
}

// cache says what the route's cache would do.
func (e *Explanation) cache(x *Exchange, q *question) {
	if x.route.cache == nil || e.Verdict != "pass" {
		return
	}
	if x.car.Method() != "GET" && x.car.Method() != "HEAD" || x.car.Upgrades() {
		e.Cache = "pass"
		return
	}
	q.withheld = x.route.request
	for i := range x.uses {
		s := x.uses[i].p.settle
		q.plain = q.plain || s != nil && s.Needs().JSON && !x.route.asksPlain()
	}
	c := x.openCache()
	c.query.Request = looking{c.query.Request}
	switch a := c.conf.store.Lookup(&c.query); a.Outcome {
	case cache.Hit:
		e.Cache = "hit"
	case cache.Stale:
		if a.Flight != nil {
			a.Flight.Abort()
		}
		e.Cache = "stale"
	case cache.Unavailable:
		e.Cache = "miss"
	default:
		e.Cache = "pass"
	}
}
