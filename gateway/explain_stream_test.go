package gateway

import (
	"net/http"
	"testing"
)

// TestExplainStream: it says how long a seat is held and what ends what goes on for long, of a WebSocket too.
func TestExplainStream(t *testing.T) {
	g := newGateway(t, poolYAML("    timeout: {idle: 7s}\n    connections: {tunnels: 5}\n", "127.0.0.1:1")+`routes:
  - {name: events, match: {path: /events}, pool: api, hold: headers, stream: {idle_timeout: 5m, max_lifetime: 1h}}
  - {name: fixed, match: {path: /fixed}, respond: {body: x}}
  - {name: rest, match: {path: /*}, pool: api}
`)
	f := func(path, upgrade string, want *ExplainedStream) {
		t.Helper()
		e, err := g.Explain(g.Snapshot(), Question{URL: path, Header: http.Header{"Upgrade": {upgrade}}})
		if upgrade == "" {
			e, err = g.Explain(g.Snapshot(), Question{URL: path})
		}
		switch {
		case err != nil:
			t.Error(err)
		case want == nil || e.Stream == nil:
			if want != e.Stream {
				t.Errorf("%s: %+v, want %+v", path, e.Stream, want)
			}
		case *e.Stream != *want || e.Pools[0].MaxTunnels != 5:
			t.Errorf("%s: %+v, want %+v; %+v", path, e.Stream, want, e.Pools)
		}
	}
	f("/events", "", &ExplainedStream{"until the answer begins", "5m0s", "1h0m0s"})
	f("/events", "websocket", &ExplainedStream{"until the 101; then one of the pool's tunnels", "5m0s", "1h0m0s"})
	f("/x", "", &ExplainedStream{"until the answer is sent", "7s, as its pool says", "none"})
	f("/x", "websocket", &ExplainedStream{"until the 101; then one of the pool's tunnels", "as its listener's limits.idle_timeout", "none"})
	f("/fixed", "", nil)
}
