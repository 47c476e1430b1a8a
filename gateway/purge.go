package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"weir/gateway/cache"
	"weir/gateway/route"
	"weir/telemetry"
)

// MaxPurge bounds the value of a purge, so that it fits into one frame to the other gateways.
const MaxPurge = 1200

// ErrPurge is what an order to forget that makes no sense wraps.
var ErrPurge = errors.New("it is no order to forget")

// Purge forgets answers: by is url, prefix, tag or all. It returns how many that were, and the order as the other gateways are told it.
func (g *Gateway) Purge(by, value string) (n int, frame []byte, err error) {
	kinds := map[string]cache.PurgeKind{"url": cache.PurgeURL, "prefix": cache.PurgePrefix, "tag": cache.PurgeTag, "all": cache.PurgeAll}
	kind, ok := kinds[by]
	if !ok {
		return 0, nil, fmt.Errorf("%w: by %q", ErrPurge, by)
	}
	if by == "url" || by == "prefix" {
		value = normalURL(value)
	}
	p, err := cache.NewPurge(kind, value)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrPurge, err)
	}
	if len(p.Value) > MaxPurge {
		return 0, nil, fmt.Errorf("%w: more than %d bytes cannot be told to other gateways: purge by a prefix or a tag", ErrPurge, MaxPurge)
	}
	return g.purge(p), p.Append(nil), nil
}

func (g *Gateway) purge(p cache.Purge) int {
	if c := g.live.cached(); c != nil {
		return c.Purge(p)
	}
	return 0
}

// HearPurge does what another gateway has been told to forget, up to what is no order.
func (g *Gateway) HearPurge(frame []byte) error {
	for {
		p, rest, err := cache.ParsePurge(frame)
		if err != nil {
			return err
		}
		g.purge(p)
		if frame = rest; len(frame) == 0 {
			return nil
		}
	}
}

// normalURL has the path of a URL in the form that those of requests have; what has none stays as it is.
func normalURL(s string) string {
	at := strings.Index(s, "://")
	if at < 0 {
		return s
	}
	at += len("://")
	slash := strings.IndexByte(s[at:], '/')
	if slash < 0 {
		return s
	}
	at += slash
	path, rest := s[at:], ""
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path, rest = path[:i], path[i:]
	}
	p, err := route.Normalize(nil, []byte(path))
	if err != nil || bytes.HasSuffix([]byte(path), []byte("/")) != bytes.HasSuffix(p, []byte("/")) {
		return s
	}
	return s[:at] + string(p) + rest
}

// CacheStats is what metrics show of the cache; false if there is none.
func (g *Gateway) CacheStats() (telemetry.CacheStats, bool) {
	c := g.live.cached()
	if c == nil {
		return telemetry.CacheStats{}, false
	}
	s := c.Stats()
	refused := map[string]int64{"purged": s.Voided}
	for f, n := range s.Refused {
		if f >= int(cache.Forbidden) {
			refused[strings.ReplaceAll(cache.Fate(f).String(), " ", "_")] = n
		}
	}
	return telemetry.CacheStats{Entries: s.Resources, Bytes: s.Bytes, MaxBytes: s.MaxBytes, Filling: s.Filling,
		Stored: s.Stored, Freshened: s.Freshened, Evicted: s.Evicted, Purged: s.Purged, Lent: s.Lent, Untold: int64(g.outdated.untold.Load()), Refused: refused}, true
}
