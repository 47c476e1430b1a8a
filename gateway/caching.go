package gateway

import (
	"time"

	"weir/gateway/cache"
	"weir/internal/mono"
)

// caching is what an exchange has to do with the cache.
type caching struct {
	conf   *cacheConf
	key    cache.Key
	query  cache.Query
	answer cache.Answer // with a flight, if the upstream's answer may be kept
	fate   cache.Fate

	conditional bool // the request goes out with the flight's conditions in place of its own
	filling     bool // the body goes to the flight
	serving     bool // answer is what the client gets
	asked       bool // the upstream was asked with conditions in vain
	result      cacheResult
}

// cacheResult is what came of a request, for metrics.
type cacheResult uint8

const (
	resultHit cacheResult = iota
	resultCoalesced
	resultStale
	resultRescued
	resultMiss
	resultRevalidated
	resultPass
	resultUnavailable
	cacheResults
)

var cacheResultNames = [cacheResults]string{"hit", "coalesced", "stale", "rescued", "miss", "revalidated", "pass", "unavailable"}

// openCache makes x ready to ask the cache of its route.
func (x *Exchange) openCache() *caching {
	c := x.spare
	if c == nil {
		c = new(caching)
	}
	x.spare, x.cached = nil, c
	c.conf = x.route.cache
	x.setCacheKey(&c.key)
	c.key.Add(c.conf.identity, true)
	x.frame = x.appendSpelling(x.frame[:0], c.key.Authority())
	c.key.Add(view(x.frame), len(x.frame) > 0)
	for _, d := range c.conf.key {
		c.key.Add(x.Dimension(d))
	}
	known := x.token.claims != nil || x.car.Certified()
	c.query = cache.Query{Request: (*outgoing)(x), Key: &c.key, Policy: &c.conf.policy, Now: x.start, Known: known,
		Bypass: !x.car.Bodiless() || x.car.Diverts(), Loaded: x.off&noRevalidation != 0}
	if x.waited > 0 {
		c.query.Now = mono.Now()
	}
	return c
}

// setCacheKey makes k the key of the URL that was asked for. Proxies that are trusted say by which scheme and for which host.
func (x *Exchange) setCacheKey(k *cache.Key) {
	scheme, authority := "http", x.car.Authority()
	if x.secure {
		scheme = "https"
	}
	if x.trusted {
		switch v, _ := x.car.Field("x-forwarded-proto"); v {
		case "http", "https":
			scheme = v
		}
		if v, ok := x.car.Field("x-forwarded-host"); ok && v != "" {
			authority = v
		}
	}
	query := ""
	if q := x.car.RawQuery(); q != "" || x.car.BareQuery() {
		x.frame = append(append(x.frame[:0], '?'), q...)
		query = view(x.frame)
	}
	k.SetURL(scheme, authority, x.car.Path(), query)
}

// appendSpelling appends what an endpoint is told of host and scheme in other words than the URL in the key, whose authority that is: a
// port or a dot too many, capitals, or hosts and schemes of which a proxy that is trusted gives several. Some endpoints make much of
// it, and what they answer then is for those who ask so. A purge of the URL forgets it too.
func (x *Exchange) appendSpelling(dst, authority []byte) []byte {
	if a := x.car.Authority(); a != string(authority) {
		dst = append(append(dst, a...), 0)
	}
	if x.trusted {
		dst = x.car.AppendClaims(dst, authority)
	}
	return dst
}

// closeCache ends what x has to do with the cache, and counts it. What was not kept by now is not.
func (x *Exchange) closeCache() {
	c := x.cached
	if c == nil {
		return
	}
	c.leave()
	c.conf.results[c.result].Inc()
}

// leave keeps the cache out of what the upstream answers from now on.
func (c *caching) leave() {
	if f := c.answer.Flight; f != nil {
		f.Abort()
	}
	c.answer.Flight, c.conditional, c.filling, c.fate = nil, false, false, cache.NotAsked
}

// reset forgets the exchange, but not the memory.
func (c *caching) reset() {
	*c = caching{key: c.key}
}

// fromCache answers from the cache, if need be once another request for the same has brought it. It reports false if an endpoint must be
// asked.
func (g *Gateway) fromCache(x *Exchange) (answered bool) {
	if m := x.car.Method(); m != "GET" && m != "HEAD" || x.car.Authority() == "" || x.car.Upgrades() {
		return false
	}
	c := x.openCache()
	waited := waitedEnough
	for {
		c.answer = c.conf.store.Lookup(&c.query)
		if c.answer.Outcome != cache.Wait {
			break
		}
		f := c.answer.Await
		if waited = x.awaitFlight(c, f); waited == waitedInVain {
			c.result = resultPass
			g.answer(x, Verdict{Reason: ClientGone, Close: true})
			return true
		}
		if f.Failed() {
			if a, ok := f.Rescue(&c.query, 0); ok {
				c.result = resultRescued
				x.serveStored(a)
				return true
			}
		}
	}
	if g.judge(x, c) {
		return true
	}
	return waited == waitedTooLong && !g.fail(x, waitTooLong)
}

// waitTooLong is the verdict on who waited for another's answer for all his time. He is not sent on: that would have all who wait for an
// endpoint that does not answer go there at once.
var waitTooLong = Verdict{Reason: UpstreamTimeout, Detail: "another request for the same was not answered in time"}

// judge does what the cache says, and reports whether that was an answer.
func (g *Gateway) judge(x *Exchange, c *caching) (answered bool) {
	switch c.answer.Outcome {
	case cache.Hit:
		c.result = resultHit
		if c.query.Waited {
			c.result = resultCoalesced
		}
	case cache.Stale:
		c.result = resultStale
		if f := c.answer.Flight; f != nil {
			c.answer.Flight = nil
			g.revalidate(x, f)
		}
	case cache.Unavailable:
		c.result = resultUnavailable
	case cache.Revalidate:
		c.result, c.conditional = resultMiss, true
		return false
	case cache.Miss:
		c.result = resultMiss
		return false
	default:
		c.result = resultPass
		return false
	}
	x.serveStored(c.answer)
	return true
}

// lookEveryWait is how often somebody who waits for another's answer looks whether his client still does.
const lookEveryWait = 5 * goneEvery

// slowClient is how long a client may take for its answer while others wait for the same: then one of them is asked for in its place, so
// that nobody can slow others down by reading slowly.
const slowClient = 2 * time.Second

// waiting is how a wait for another's answer ended.
type waiting uint8

const (
	waitedEnough  waiting = iota
	waitedTooLong         // there is no time left
	waitedInVain          // the client left
)

// awaitFlight waits for another request's answer. However often this one waits, it has one time for that: its own for the head of an answer.
func (x *Exchange) awaitFlight(c *caching, f *cache.Flight) waiting {
	if !c.query.Waited {
		x.begun = mono.Now()
		if x.setDue(); x.due == 0 {
			x.due = x.begun.Add(longStall)
		}
	}
	c.query.Waited = true
	for {
		now := mono.Now()
		c.query.Now = now
		d := x.due.Sub(now)
		switch {
		case d <= 0:
			c.query.Alone = true
			return waitedTooLong
		case f.Wait(min(d, lookEveryWait), nil), f.Overtake(mono.Now().Add(-slowClient)):
			c.query.Now = mono.Now()
			return waitedEnough
		case f.Over(): // now, or to no avail
			c.query.Alone, c.query.Now = !f.Wait(0, nil), mono.Now()
			return waitedEnough
		case x.car.Gone():
			return waitedInVain
		}
	}
}

// serveStored sends what is stored. Nothing is held of an endpoint then.
func (x *Exchange) serveStored(a cache.Answer) {
	c := x.cached
	f := c.answer.Flight
	c.answer, c.serving = a, true
	if c.answer.Flight == nil {
		c.answer.Flight = f // to be ended
	}
	if x.begun == 0 {
		x.begun = x.start
	}
	x.pace()
	x.car.Serve(x, &c.answer)
}

// rescue sends something stale in place of a refusal or a failure, if the cache has that and may.
func (g *Gateway) rescue(x *Exchange, v Verdict) bool {
	c := x.cached
	f := c.answer.Flight
	if f == nil || x.fellBack {
		return false
	}
	switch v.Reason {
	case QueueFull, QueueTimeout, BreakerOpen, NoEndpoint, UpstreamError, UpstreamTimeout, Shed:
	default:
		return false
	}
	c.query.Now = mono.Now()
	a, ok := f.Rescue(&c.query, 0)
	if !ok {
		return false
	}
	x.verdict, x.consoled, c.result = v, true, resultRescued
	x.leaveSeat(c.query.Now)
	x.serveStored(a)
	return true
}

// deliver sends the answer that the last attempt brought, and shows it the cache. It reports whether the endpoints must be asked once more.
func (g *Gateway) deliver(x *Exchange) (again bool) {
	c := x.cached
	if c == nil {
		x.invalidate()
	}
	if c == nil || c.answer.Flight == nil {
		x.car.Deliver(x)
		return false
	}
	f := c.answer.Flight
	c.query.Now = x.headAt
	c.fate = f.Begin(&c.query, x.car.Received(), time.Now())
	switch c.fate {
	case cache.Freshened:
		c.result = resultRevalidated
		x.giveUpAnswer()
		x.serveStored(f.Answer(&c.query))
		return false
	case cache.Failed:
		if a, ok := f.Rescue(&c.query, x.result.Status); ok {
			c.result = resultRescued
			x.giveUpAnswer()
			x.serveStored(a)
			return false
		}
	case cache.Unmatched:
		return g.askPlainly(x)
	case cache.Stores:
		c.filling = true
	}
	x.car.Deliver(x)
	return false
}

// giveUpAnswer drops the answer that an attempt brought, and lets go of its endpoint and its seat.
func (x *Exchange) giveUpAnswer() {
	x.car.Discard()
	x.lease.Done(x.headAt)
	x.leaveSeat(x.headAt)
}

// askPlainly is for a 304 of something else than what is stored: the cache is asked once more, and then the endpoints, in the end as the
// client asked.
func (g *Gateway) askPlainly(x *Exchange) (again bool) {
	c := x.cached
	c.leave()
	x.giveUpAnswer()
	x.pool, x.conf = nil, nil
	x.tried.Reset()
	x.tries, x.headAt, x.result = 0, 0, Result{}
	if c.asked {
		return true
	}
	c.asked, c.query.Alone, c.query.Now = true, true, mono.Now()
	c.answer = c.conf.store.Lookup(&c.query)
	return !g.judge(x, c)
}

// fill shows the cache a piece of the answer's body.
func (x *Exchange) fill(p []byte) {
	if c := x.cached; c != nil && c.filling {
		c.filling = c.answer.Flight.Fill(p)
	}
}

// keep has the cache keep the answer, which is here to its end.
func (x *Exchange) keep() {
	if c := x.cached; c != nil && c.filling {
		c.filling = false
		c.answer.Flight.Commit()
	}
}

// invalidate has the cache forget what a request like x may have changed (RFC 9111, section 4.4), of whatever route.
func (x *Exchange) invalidate() {
	method := x.sentMethod()
	switch method {
	case "GET", "HEAD", "OPTIONS":
		return
	}
	if s := x.result.Status; s < 200 || s > 399 {
		return
	}
	if x.spare == nil {
		x.spare = new(caching)
	}
	k := &x.spare.key
	x.setCacheKey(k)
	if o := &x.gw.outdated; o.wanted.Load() {
		o.add(cache.Outdated(nil, method, k, x.car.Received()))
	}
	x.snap.cache.Invalidate(method, k, x.car.Received())
}
