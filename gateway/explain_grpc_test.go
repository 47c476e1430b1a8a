package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestExplainCall: of a call of gRPC it says how it is refused, what it waits for, what is tried again, and what counts as a failure.
func TestExplainCall(t *testing.T) {
	const more = `  - {name: down, protocol: h2c, health: {panic: 0%}, endpoints: [{address: 'nowhere.invalid:80'}]}
  - {name: calls, protocol: h2c, endpoints: [{address: "127.0.0.1:1"}], timeout: {response_header: 3s, total: 9s}, retry: {attempts: 3, on: [connect, "503", grpc-unavailable]}}
routes:
  - {name: down, match: {path: /down}, pool: down}
  - {name: long, match: {path: /long}, pool: calls, timeout: 0s}
  - {name: calls, match: {path: /calls}, pool: calls, timeout: 2s}
  - {name: plain, match: {path: /plain}, pool: api, timeout: 0s}
  - {name: never, match: {path: /never}, pool: calls}
  - {name: slow, match: {path: /slow}, respond: {body: x}}
policies:
  - {name: never, dimensions: [ip], limit: 1, window: 1h, cost: "5", routes: [never]}
  - {name: slow, dimensions: [path], limit: 1, window: 10s, routes: [slow]}
  - {name: slower, dimensions: [path], limit: 1, window: 1000s, routes: [slow]}
`
	g := newGateway(t, poolYAML("    timeout: {response_header: 0s}\n", "127.0.0.1:1")+more)
	get(t, g, "/slow") // spends what it has
	const passes = "grpc-status 8 over a limit, 14 for want of room or an endpoint; with grpc-retry-pushback-ms"
	const retries = "connect, grpc-unavailable: 3 attempts in all"
	f := func(path, timeout, refusal string, want ExplainedCall) {
		t.Helper()
		h := http.Header{"Content-Type": {"application/grpc+proto"}}
		if timeout != "" {
			h.Set("grpc-timeout", timeout)
		}
		e, err := g.Explain(g.Snapshot(), Question{URL: path, Header: h})
		switch {
		case err != nil:
			t.Error(err)
		case !strings.HasPrefix(e.Refusal, refusal):
			t.Errorf("%s: refusal %q, want %q", path, e.Refusal, refusal)
		case want == (ExplainedCall{}):
		case len(e.Pools) != 1 || e.Pools[0].Call == nil || *e.Pools[0].Call != want:
			t.Errorf("%s: %+v %+v, want %+v", path, e, e.Pools[0].Call, want)
		}
	}
	f("/calls", "", passes, ExplainedCall{"2s, timeout of the route", retries, "grpc-status 4, 14"})
	f("/calls", "250m", passes, ExplainedCall{"250ms, grpc-timeout", retries, "grpc-status 14; 4 is of the client's own deadline"})
	f("/calls", "5S", passes, ExplainedCall{"2s, timeout of the route", retries, "grpc-status 4, 14"})
	f("/calls", "junk", passes, ExplainedCall{"2s, timeout of the route", retries, "grpc-status 4, 14"})
	f("/long", "5S", passes, ExplainedCall{"3s, timeout.response_header of the pool", retries, "grpc-status 14; 4 is of the client's own deadline"})
	f("/calls", "0m", "grpc-status 4, no pushback", ExplainedCall{"0s, grpc-timeout", retries, "grpc-status 14; 4 is of the client's own deadline"})
	f("/plain", "", passes, ExplainedCall{"none", "none: gRPC needs protocol h2, h2c or auto", "none: gRPC needs protocol h2, h2c or auto"})
	f("/down", "", "grpc-status 14, pushback 1000 to 3000", ExplainedCall{"30s, timeout of the route", "connect, reset: 2 attempts in all", "grpc-status 4, 14"})
	f("/down", "900m", "grpc-status 14, pushback -1", ExplainedCall{})
	f("/never", "", "grpc-status 8, pushback -1", ExplainedCall{})
	f("/none", "", "grpc-status 12, pushback -1", ExplainedCall{})

	e, err := g.Explain(g.Snapshot(), Question{URL: "/slow", Header: http.Header{"Content-Type": {"application/grpc"}}})
	least := 0
	if err == nil {
		fmt.Sscanf(e.Refusal, "grpc-status 8, pushback %d", &least)
	}
	if least < 900_000 || least > 1_000_000 {
		t.Errorf("%v, %v: not what the policy that takes longest asks for", e, err)
	}
	e, err = g.Explain(g.Snapshot(), Question{URL: "/calls"})
	if err != nil || e.Refusal != "" || e.Pools[0].Call != nil {
		t.Errorf("what is no call is explained as one: %+v, %v", e, err)
	}
}
