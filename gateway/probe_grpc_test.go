package gateway

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"weir/balancer"
)

func TestHealthMessages(t *testing.T) {
	if got := string(appendHealthRequest(nil, "")); got != "\x00\x00\x00\x00\x00" {
		t.Errorf("the server: %q", got)
	}
	if got := string(appendHealthRequest(nil, "shop.Cart")); got != "\x00\x00\x00\x00\x0b\x0a\x09shop.Cart" {
		t.Errorf("a service: %q", got)
	}
	f := func(b string, want uint64, ok bool) {
		t.Helper()
		if got, is := parseHealthResponse([]byte(b)); got != want || is != ok {
			t.Errorf("%q: %d %v, want %d %v", b, got, is, want, ok)
		}
	}
	f("\x00\x00\x00\x00\x00", 0, true)
	f("\x00\x00\x00\x00\x02\x08\x01", 1, true)
	f("\x00\x00\x00\x00\x04\x08\x01\x08\x02", 2, true) // the last one counts
	f("\x00\x00\x00\x00\x03\x08\x80\x01", 128, true)
	f("\x01\x00\x00\x00\x02\x08\x01", 0, false) // compressed
	f("\x00\x00\x00\x00\x02\x08", 0, false)
	f("\x00\x00\x00\x00\x01\x08", 0, false)
	f("\x00\x00\x00\x00\x02\x10\x01", 0, false)
	f("\x00\x00\x00\x00\x02\x08\x01\x00", 0, false) // more behind it
	f("\x00\xff\xff\xff\xff", 0, false)
	f("", 0, false)
}

func FuzzHealthResponse(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x02\x08\x01"))
	f.Add([]byte("\x00\x00\x00\x00\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, ok := parseHealthResponse(b); n != 0 && (!ok || len(b) < 7) {
			t.Errorf("%q: %d %v", b, n, ok)
		}
	})
}

// TestHealthGRPC: an endpoint is well if its health service says SERVING, and what else it says is told in words.
func TestHealthGRPC(t *testing.T) {
	f := func(name, want string, h func(w http.ResponseWriter)) {
		t.Helper()
		address := endpoint(t, "h2c", func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			if r.URL.Path != "/grpc.health.v1.Health/Check" || r.Method != "POST" || !isGRPC(r.Header.Get("Content-Type")) || r.Header.Get("Te") != "trailers" || !strings.HasSuffix(string(b), "\x0a\x09shop.Cart") {
				t.Errorf("%s: asked %s %s %v %q", name, r.Method, r.URL.Path, r.Header, b)
			}
			w.Header().Set("Content-Type", "application/grpc")
			h(w)
		})
		g := newGateway(t, poolYAML("    protocol: h2c\n", address)+"routes: [{name: all, pool: api}]\n") // without probes of its own
		pool := g.snap.Load().pools[0]
		c := parse(t, strings.Replace(poolYAML("    protocol: h2c\n", address), "health: {", "health: {active: {grpc: {service: shop.Cart}}, ", 1)+"routes: [{name: all, pool: api}]\n")
		if err := pool.setProbe(&c.Pools[0]); err != nil {
			t.Fatal(err)
		}
		l, _ := pool.balancer.Lease(0, new(balancer.Set), 1)
		defer l.Done(1)
		got := ""
		if err := pool.probeEndpoint(context.Background(), l.Endpoint()); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	says := func(body, status string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			io.WriteString(w, body) //nolint:errcheck // the probe tells
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", status)
			w.Header().Set(http.TrailerPrefix+"Grpc-Message", "not%20today")
		}
	}
	alone := func(status string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.Header().Set("Grpc-Status", status) }
	}
	f("well", "", says("\x00\x00\x00\x00\x02\x08\x01", "0"))
	f("ill", "NOT_SERVING", says("\x00\x00\x00\x00\x02\x08\x02", "0"))
	f("of no service", "SERVICE_UNKNOWN", says("\x00\x00\x00\x00\x02\x08\x03", "0"))
	f("a new word", "serving status 77", says("\x00\x00\x00\x00\x02\x08\x4d", "0"))
	f("unknown", "UNKNOWN", says("\x00\x00\x00\x00\x00", "0"))
	f("malformed", "the health service's answer is malformed", says("ok", "0"))
	f("well, but failed", `grpc status 13: "not today"`, says("\x00\x00\x00\x00\x02\x08\x01", "13"))
	f("no status", `grpc status 2: ""`, func(w http.ResponseWriter) { io.WriteString(w, "\x00\x00\x00\x00\x02\x08\x01") }) //nolint:errcheck // the probe tells
	f("no such method", "the endpoint has no grpc.health.v1.Health: register one there, or probe by path", alone("12"))
	f("no such service", `the endpoint's health service knows no service "shop.Cart"`, alone("5"))
	f("no gRPC", "status 404: no answer of gRPC", func(w http.ResponseWriter) { w.WriteHeader(404) })
}
