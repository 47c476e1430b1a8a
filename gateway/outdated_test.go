package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"weir/gateway/cache"
)

// TestOutdatedIsTold: what an unsafe request makes out of date is gathered for the others, once, in frames that fit, and they forget it.
func TestOutdatedIsTold(t *testing.T) {
	origin := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		if r.Method == "POST" {
			w.Header().Set("Location", "/made")
		}
		if r.URL.Path == "/bad" {
			w.WriteHeader(400)
		}
	}
	g, _ := cachedOrigin(t, "cache: {enabled: true}", "", origin)
	other, _ := cachedOrigin(t, "cache: {enabled: true}", "", origin)
	long := "/" + strings.Repeat("x", 2*MaxPurge)
	for _, path := range []string{"/a", "/a?b", "/made", long, "/bad"} {
		get(t, other, path)
	}
	before, _ := other.CacheStats()
	tell(t, g, "POST /before HTTP/1.1", "Host: api.example.com", "Content-Length: 0")
	if frames := g.TakeOutdated(); len(frames) != 0 {
		t.Errorf("nobody wants to know, and there is %q", frames)
	}
	waiting := g.Outdated()
	for range 2 {
		tell(t, g, "POST /a HTTP/1.1", "Host: api.example.com", "Content-Length: 0")
	}
	tell(t, g, "POST "+long+" HTTP/1.1", "Host: api.example.com", "Content-Length: 0")
	tell(t, g, "POST /bad HTTP/1.1", "Host: api.example.com", "Content-Length: 0")
	get(t, g, "/get")
	<-waiting
	frames := g.TakeOutdated()
	if len(frames) != 2 || len(g.TakeOutdated()) != 0 {
		t.Fatalf("%q", frames)
	}
	for _, f := range frames {
		if len(f) > 1300 {
			t.Errorf("a frame of %d bytes", len(f))
		}
		if err := other.HearPurge(f); err != nil {
			t.Error(err)
		}
	}
	if after, _ := other.CacheStats(); before.Entries != 5-1 || after.Entries != 1 {
		t.Errorf("%d are kept, then %d", before.Entries, after.Entries)
	}
	if err := other.HearPurge([]byte{byte(cache.PurgeAll), 0, 99}); err == nil {
		t.Error("it understood nonsense")
	}
	if after, _ := other.CacheStats(); after.Entries != 0 {
		t.Error("what came before the nonsense was not done")
	}
}

// TestOutdatedIsBounded: clients that change much cannot have more told than fits, and the rest is counted.
func TestOutdatedIsBounded(t *testing.T) {
	g, _ := cachedOrigin(t, "cache: {enabled: true}", "", func(http.ResponseWriter, *http.Request) {})
	for i := range 10_000 {
		g.outdated.add([]cache.Purge{{Kind: cache.PurgeURL, Value: fmt.Sprint("http://a.example/", i)}})
	}
	size, frames := 0, g.TakeOutdated()
	for _, f := range frames {
		if size += len(f); len(f) > 1300 {
			t.Errorf("a frame of %d bytes", len(f))
		}
	}
	s, _ := g.CacheStats()
	if size > maxOutdated || size < maxOutdated/2 || s.Untold < 8000 {
		t.Errorf("%d bytes in %d frames, %d untold", size, len(frames), s.Untold)
	}
}
