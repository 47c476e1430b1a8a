package gateway

import (
	"io"
	"net/http"
	"testing"
)

// TestExplainCacheAsServed: explain looks for what endpoints would be asked for, not for what the client asks for.
func TestExplainCacheAsServed(t *testing.T) {
	f := func(want, name, route, policies string) {
		t.Helper()
		g, n := cachedOrigin(t, "cache: {enabled: true}"+route, policies, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Vary", name)
			io.WriteString(w, `{"a":1}`) //nolint:errcheck // the client tells
		})
		get(t, g, "/a")
		e, err := g.Explain(g.snap.Load(), Question{URL: "http://api.example.com/a", Header: http.Header{name: {"gzip"}}})
		get(t, g, "/a", name+": gzip")
		if err != nil || e.Cache != want || (n.Load() == 1) != (want == "hit") {
			t.Errorf("%s, %s, %s: %v %+v, want %s, asked %d times", name, route, policies, err, e, want, n.Load())
		}
	}
	f("hit", "Accept-Encoding", ", response: {json: {remove: [secret]}}", "")
	f("hit", "Accept-Encoding", "", "policies: [{name: tokens, limit: 100, window: 1h, settle: \"int(response.json.a)\"}]\n")
	f("hit", "X-Lang", ", request: {remove: [x-lang]}", "")
	f("hit", "X-Host", ", request: {remove: [x-host]}", "")
	f("miss", "X-Lang", "", "")
}
