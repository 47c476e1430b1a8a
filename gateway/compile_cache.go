package gateway

import (
	"fmt"
	"slices"
	"strings"

	"weir/config"
	"weir/gateway/cache"
	"weir/telemetry"
)

// cacheConf is a route's cache.
type cacheConf struct {
	store    *cache.Cache
	policy   cache.Policy
	key      []int  // dimensions
	identity string // of all that gives a stored answer its meaning: a route that changes finds nothing of what it was
	results  [cacheResults]*telemetry.Counter
}

// compileCache takes over the memory for answers, or makes it.
func (p *compiler) compileCache() (err error) {
	wanted := false
	for i := range p.conf.Routes {
		wanted = wanted || p.conf.Routes[i].Cache.Enabled
	}
	if !wanted || !p.conf.Cache.Enabled {
		return nil
	}
	if p.snap.cache = p.gw.live.cached(); p.snap.cache == nil {
		p.snap.cache, err = cache.New(cache.Options{MaxSize: int64(p.conf.Cache.MaxSize)})
	}
	return err
}

// routeCache compiles what a route says of its cache; nil if it has none.
func (p *compiler) routeCache(e *entry, c *config.Route) *cacheConf {
	k := &c.Cache
	if p.snap.cache == nil || !k.Enabled || len(e.targets) == 0 {
		return nil
	}
	cc := &cacheConf{store: p.snap.cache, policy: cache.Policy{MaxObject: int64(k.MaxObject), TTL: k.TTL, StaleWhileRevalidate: k.StaleWhileRevalidate,
		StaleIfError: k.StaleIfError, StaleUnderLoad: k.StaleUnderLoad, Heuristic: float64(k.Heuristic),
		IgnoreClient: k.IgnoreClient, StoreCookies: k.IgnoreCookies, Coalesce: k.Coalesce}}
	_, name, _ := strings.Cut(k.Tags, ":")
	cc.policy.Tags = strings.ToLower(name)
	for _, d := range k.Key {
		cc.key = append(cc.key, p.dim(d))
	}
	if q := e.rewrite.query; q != nil { // another query is another answer
		for i := range q.add {
			for _, part := range q.add[i].value {
				if part.dim >= 0 && !slices.Contains(cc.key, part.dim) {
					cc.key = append(cc.key, part.dim)
				}
			}
		}
	}
	changed := int64(0) // what is stored by a route that changes JSON can be changed
	if e.asksPlain() {
		changed = e.recode.answer.limit
	}
	cc.identity = identity(c.Name, c.Pool, fmt.Sprint(c.Split), fmt.Sprint(c.Rewrite), fmt.Sprint(c.Request), e.response.drop, changed, k.IgnoreCookies, p.dimensionMeaning(k.Key))[:16]
	for r := range cc.results {
		cc.results[r] = p.gw.hub.CacheRequests(c.Name, cacheResultNames[r])
	}
	return cc
}

// cached returns the memory in force; nil if there is none.
func (l *live) cached() *cache.Cache {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cache
}

// useCache puts the memory of a snapshot in force.
func (l *live) useCache(s *Snapshot) {
	l.mu.Lock()
	l.cache = s.cache
	l.mu.Unlock()
	if s.cache != nil {
		s.cache.Resize(int64(s.conf.Cache.MaxSize))
	}
}
