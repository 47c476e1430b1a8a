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
			if q.withholds(name) {
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
	return slices.ContainsFunc(diverting[:], func(name string) bool { return q.header.Get(name) != "" && !q.withholds(name) })
}
func (q *question) Upgrades() bool  { return q.header.Get("Upgrade") != "" }
func (q *question) Certified() bool { return false }
func (q *question) SentField(name string, i int) (string, int) {
	var v []string
	if !q.withholds(name) {
		v = q.header.Values(name)
	} else if name == "accept-encoding" && q.x.wantsJSON && !q.x.route.asksPlain() {
		v = []string{"identity"}
	}
	if i < len(v) {
		return v[i], i + 1
	}
	return "", len(v)
}

// withholds reports whether the route, or a policy that reads the answer, keeps a field from endpoints.
func (q *question) withholds(name string) bool {
	return q.x.wantsJSON && name == "accept-encoding" || q.x.route.request.drops([]byte(name))
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
func (e *Explanation) cache(x *Exchange) {
	if x.route.cache == nil || e.Verdict != "pass" {
		return
	}
	if x.car.Method() != "GET" && x.car.Method() != "HEAD" || x.car.Upgrades() {
		e.Cache = "pass"
		return
	}
	for i := range x.uses {
		s := x.uses[i].p.settle
		x.wantsJSON = x.wantsJSON || s != nil && s.Needs().JSON
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
