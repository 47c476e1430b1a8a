package gateway

import (
	"fmt"
	"strings"
	"testing"

	"weir/internal/mono"
)

const benchHead = " HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: wrk\r\nX-User: somebody\r\n\r\n"

// BenchmarkProxy is one request after the other over one connection, client and upstream in the same process: the time is
// mostly the kernel's and the scheduler's. Compare between builds, not with other gateways.
func BenchmarkProxy(b *testing.B) {
	g := newGateway(b, poolYAML("", plainUpstream(b, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"))+threePolicies)
	k := dial(b, g)
	request, end := []byte("GET /v1/items/42"+benchHead), []byte("{}")
	b.ReportAllocs()
	for b.Loop() {
		k.roundTrip(request, end)
	}
}

// BenchmarkRefuse is BenchmarkProxy for requests that are over a limit.
func BenchmarkRefuse(b *testing.B) {
	g := newGateway(b, poolYAML("", plainUpstream(b, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))+threePolicies)
	k := dial(b, g)
	request, end := []byte("GET /limited/x"+benchHead), []byte("}\n")
	k.roundTrip(request, []byte("{}"))
	b.ReportAllocs()
	for b.Loop() {
		k.roundTrip(request, end)
	}
}

// manyPolicies is a configuration with n policies on routes of their own, and three more on the route that is asked.
func manyPolicies(n int) string {
	var routes, policies strings.Builder
	for i := range n {
		fmt.Fprintf(&routes, "  - {name: r%d, match: {path: '/r%d/*'}, pool: api}\n", i, i)
		fmt.Fprintf(&policies, "  - {name: other-%d, dimensions: [user], limit: 1000, routes: [r%d]}\n", i, i)
	}
	return "dimensions: [{name: user, from: 'header:x-user'}]\nroutes:\n" + routes.String() + "  - {name: all, pool: api}\npolicies:\n" + policies.String() + `
  - {name: everybody, limit: 100000000, routes: [all]}
  - {name: by-ip, dimensions: [ip], limit: 100000000, routes: [all]}
  - {name: by-user, dimensions: [user, route], limit: 100000000, routes: [all]}
`
}

// BenchmarkAdmit is the way to an upstream without the way: routing, dimensions, three policies taken and settled. How many
// policies there are beside those three must not matter.
func BenchmarkAdmit(b *testing.B) {
	f := func(name, yaml string) {
		b.Run(name, func(b *testing.B) {
			g := newGateway(b, poolYAML("", "127.0.0.1:1")+yaml)
			c := request("GET", "/v1/items/42")
			c.fields = map[string]string{"x-user": "somebody"}
			x := g.exchange(c)
			x.frame = make([]byte, 0, 256)
			b.ReportAllocs()
			for b.Loop() {
				x.charge.Reset()
				x.dims.reset()
				x.route, x.start = nil, mono.Now()
				if v := g.admit(x); v.Reason != Pass {
					b.Fatal(v)
				}
			}
		})
	}
	f("3 policies", manyPolicies(0))
	f("3 policies of 1000", manyPolicies(997))
}

// BenchmarkServe is BenchmarkAdmit with all the rest of the pipeline: seat, lease, attempt, answer, settle, account.
func BenchmarkServe(b *testing.B) {
	g := newGateway(b, poolYAML("", "127.0.0.1:1", "127.0.0.1:2")+threePolicies)
	c := request("GET", "/v1/items/42")
	c.fields = map[string]string{"x-user": "somebody"}
	x := g.exchange(c)
	x.frame = make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		c.picked = c.picked[:0]
		again(x)
		g.serve(x)
	}
}

// BenchmarkCompile is what a reload of a large configuration costs the gateway, beside reading the file.
func BenchmarkCompile(b *testing.B) {
	g := newGateway(b, poolYAML("", "127.0.0.1:1")+"routes: [{name: all, pool: api}]\n")
	conf := parse(b, poolYAML("", "127.0.0.1:1")+manyPolicies(997))
	for b.Loop() {
		if _, err := g.Compile(conf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHit is BenchmarkProxy for an answer that is stored.
func BenchmarkHit(b *testing.B) {
	g := newGateway(b, poolYAML("", plainUpstream(b, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=600\r\nContent-Length: 2\r\n\r\n{}"))+
		strings.Replace(threePolicies, "{name: all, pool: api}", "{name: all, pool: api, cache: {enabled: true}}", 1))
	k := dial(b, g)
	request, end := []byte("GET /v1/items/42"+benchHead), []byte("{}")
	k.roundTrip(request, end)
	b.ReportAllocs()
	for b.Loop() {
		k.roundTrip(request, end)
	}
}
