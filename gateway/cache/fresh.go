package cache

import (
	"time"

	"weir/internal/mono"
)

// An instant is when something happened, by both clocks. The wall clock only serves to understand dates that others wrote: whatever
// happens after a response has come is measured with the monotonic one.
type instant struct {
	mono mono.Time
	wall int64 // seconds since 1970
}

// A timing says how long a response may be used: instants at which something ends.
type timing struct {
	born            mono.Time // when its age was 0
	fresh           mono.Time
	whileRevalidate mono.Time // until then it may be served and revalidated behind
	ifError         mono.Time // until then it may be served if the upstream fails
	always          bool      // validate before every use: no-cache
	strict          bool      // never stale, whoever allows it: no-cache, must-revalidate, proxy-revalidate, s-maxage
	explicit        bool      // the response says itself how long
}

// heuristically reports whether a status may be cached although the response does not say so (RFC 9110, section 15.1), leaving out 206.
func heuristically(status int) bool {
	switch status {
	case 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// ofRequest reports whether a status speaks of how the request was made, or by whom, more than of what it asked for: it depends on fields
// that are in no key, and stored it would let one client have everybody refused.
func ofRequest(status int) bool {
	switch status {
	case 400, 401, 406, 407, 408, 411, 412, 413, 415, 416, 417, 421, 425, 426, 428, 429, 431:
		return true
	}
	return false
}

// ofTarget reports whether a status says that what was stored of a target is not what it is any more.
func ofTarget(status int) bool {
	return status >= 200 && status < 400 && status != 206 && status != 304 || status == 404 || status == 410
}

// understood reports whether the package knows what a status asks of a cache (RFC 9111, section 5.2.2.3).
func understood(status int) bool {
	switch status {
	case 206, 304, 306:
		return false
	case 418:
		return false
	case 421, 422, 426:
		return true
	}
	return status >= 200 && status <= 205 || status >= 300 && status <= 308 || status >= 400 && status <= 417 || status >= 500 && status <= 505
}

// fieldDate reads a date of a response.
func fieldDate(r Fields, name string, at instant) (sec int64, ok bool) {
	v, ok := r.FieldValue(name, 0)
	if !ok {
		return 0, false
	}
	return parseDate(v, time.Unix(at.wall, 0).UTC().Year())
}

// ageOf reads Age: the first element of the first field, or 0 if that is not a number (RFC 9111, section 5.1).
func ageOf(r Fields) time.Duration {
	l := listOf(r, "age")
	e, _ := l.next()
	return seconds(e)
}

// timingOf works out how long a response may be used that was asked for at begun and came at at (RFC 9111, section 4.2).
func timingOf(p *Policy, r Response, d *directives, begun mono.Time, at instant) timing {
	date, ok := fieldDate(r, "date", at)
	if !ok {
		date = at.wall
	}
	apparent := time.Duration(min(max(0, at.wall-date), maxSeconds)) * time.Second
	corrected := ageOf(r) + max(0, at.mono.Sub(begun))
	t := timing{born: at.mono.Add(-max(apparent, corrected))}
	life, explicit := lifetime(p, r, d, date, at)
	t.explicit = explicit
	t.fresh = t.born.Add(life)
	t.always = d.has(noCache)
	t.strict = t.always || d.has(mustRevalidate|proxyRevalidate) || d.sMaxAge != none
	t.whileRevalidate = t.until(d.whileRevalidate, p.StaleWhileRevalidate, d)
	t.ifError = t.until(d.ifError, p.StaleIfError, d)
	return t
}

// until is the end of a time after freshness in which stale is allowed: by the response itself, which s-maxage beside it does not
// forbid, or else by the policy.
func (t *timing) until(own, ours time.Duration, d *directives) mono.Time {
	switch {
	case d.has(noCache | mustRevalidate | proxyRevalidate):
		return t.fresh
	case own != none:
		return t.fresh.Add(own)
	case d.sMaxAge != none:
		return t.fresh
	}
	return t.fresh.Add(ours)
}

// lifetime is the freshness lifetime of RFC 9111, section 4.2.1.
func lifetime(p *Policy, r Response, d *directives, date int64, at instant) (life time.Duration, explicit bool) {
	switch {
	case d.sMaxAge != none:
		return d.sMaxAge, true
	case d.maxAge != none:
		return d.maxAge, true
	}
	if v, ok := r.FieldValue("expires", 0); ok && !d.targeted {
		sec, ok := parseDate(v, time.Unix(at.wall, 0).UTC().Year())
		if !ok {
			return 0, true // as in the past: section 5.3
		}
		return time.Duration(min(max(0, sec-date), maxSeconds)) * time.Second, true
	}
	if !heuristically(r.Status()) && !d.has(public) {
		return 0, false
	}
	if p.TTL > 0 {
		return p.TTL, false
	}
	if modified, ok := fieldDate(r, "last-modified", at); ok && modified < date && p.Heuristic > 0 {
		share := float64(min(date-modified, maxSeconds)) * p.Heuristic
		return min(time.Duration(share)*time.Second, heuristicLimit), false
	}
	return 0, false
}

// age is how old the response is at now, in whole seconds.
func (t *timing) age(now mono.Time) int64 { return int64(max(0, now.Sub(t.born)) / time.Second) }

// left is how long it is fresh still, in whole seconds; negative if it is stale.
func (t *timing) left(now mono.Time) int64 {
	d := t.fresh.Sub(now)
	if d < 0 {
		return -int64((-d + time.Second - 1) / time.Second)
	}
	return int64(d / time.Second)
}

type use uint8

const (
	useFresh   use = iota
	useStale       // allowed, with nothing to be done
	useLenient     // allowed because of load
	useBehind      // allowed while it is revalidated
	useRefused     // the client wants it validated
	useExpired     // must be validated
)

// judge says whether the response may be used at now for a client with wishes d (RFC 9111, sections 4.2 and 5.2.1; RFC 5861, 3). Until lenient it
// may though it is stale.
func (t *timing) judge(d *directives, now, lenient mono.Time) use {
	switch {
	case t.always:
		return useExpired
	case d.has(noCache):
		return useRefused
	}
	aged := d.maxAge != none && d.maxStale == none && now.Sub(t.born) > d.maxAge
	if now < t.fresh {
		if aged {
			return useRefused
		}
		if d.minFresh != none && t.fresh.Sub(now) < d.minFresh {
			return useRefused
		}
		return useFresh
	}
	if aged || d.minFresh != none {
		return useExpired
	}
	if now < lenient {
		return useLenient
	}
	if now < t.whileRevalidate {
		return useBehind
	}
	if !t.strict && d.maxStale != none && now.Sub(t.fresh) <= d.maxStale {
		return useStale
	}
	return useExpired
}

// lenient is until when the response may be served for want of means to get another.
func (t *timing) lenient(p *Policy) mono.Time {
	if t.strict {
		return t.ifError
	}
	return max(t.ifError, t.fresh.Add(p.StaleUnderLoad))
}

// forgives reports whether the response may be served at now although the upstream failed: by stale-if-error of the response, the
// policy or the request (RFC 5861, section 4).
func (t *timing) forgives(d *directives, now mono.Time) bool {
	if t.always || d.has(noCache) {
		return false
	}
	return now < t.fresh || now < t.ifError || !t.strict && d.ifError != none && now < t.fresh.Add(d.ifError)
}

// reusable reports whether the response may be used at now without asking.
func (t *timing) reusable(now mono.Time) bool { return !t.always && now < t.fresh }
