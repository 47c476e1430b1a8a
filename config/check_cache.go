package config

import (
	"fmt"
	"slices"
	"strings"
)

// checkCache checks what a route says of its cache.
func (k *checker) checkCache(r *Route, path string) {
	c := &r.Cache
	for i, name := range c.Key {
		at := fmt.Sprintf("%s.key[%d]", path, i)
		k.checkReference(at, "dimension", name, &k.known.dimensions)
		if slices.Index(c.Key, name) < i {
			k.fault(at, "the dimension %s is given twice: remove one", quote(name))
		}
	}
	if kind, name, _ := strings.Cut(c.Tags, ":"); c.Tags != "" && (kind != "header" || !isToken(name)) {
		k.fault(path+".tags", "%s is no response field: write for example header:surrogate-key", quote(c.Tags))
	}
	if most := k.c.Cache.longest(); c.MaxObject > most && k.given(path+".max_object") && !k.faultyBelow("cache.") {
		k.fault(path+".max_object", "%v finds no room: cache.max_size, %v, has room for bodies of %v: write as much or less, or a larger cache.max_size", c.MaxObject, k.c.Cache.MaxSize, most)
	}
	if c.Heuristic > 0 && c.TTL > 0 {
		k.fault(path+".heuristic", "ttl says how long such answers are fresh, so heuristic is of no meaning: leave one of them out")
	}
	if !c.Enabled {
		return
	}
	if r.Respond != nil || r.Redirect != nil {
		k.fault(path+".enabled", "the route answers itself, which needs no cache: leave cache out")
	}
	if m := r.Rewrite.Method; m != "" && m != "GET" {
		k.fault(path+".enabled", "the upstream gets %s from this route, and only answers to GET are kept: leave cache out, or rewrite.method", m)
	}
	if m := r.Match.Methods; len(m) > 0 && !slices.Contains(m, "GET") && !slices.Contains(m, "HEAD") {
		k.fault(path+".enabled", "the route takes no GET, and nothing else is kept: leave cache out, or add GET to match.methods")
	}
}

// caches says whether some route keeps answers, or that cannot be known.
func (k *checker) caches() bool {
	return k.c == nil || k.c.Cache.Enabled && slices.ContainsFunc(k.c.Routes, func(r Route) bool { return r.Cache.Enabled })
}

// smallestWay is what bodies on their way may take of a small cache, up to half of it.
const smallestWay = Size(16 << 20)

// longest is the longest body that finds room.
func (c *Cache) longest() Size {
	way := max(c.MaxSize/8, min(c.MaxSize/2, smallestWay))
	return min(way, (c.MaxSize-way)/2)
}
