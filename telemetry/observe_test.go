package telemetry

import (
	"net/http/httptest"
	"testing"
	"time"
)

func TestObserveDoesNotAllocate(t *testing.T) {
	h := NewHub()
	r, e, p, c := h.Route("v1"), h.Endpoint("api", "1"), h.Policy("p", "enforce"), h.Retry("api")
	if n := testing.AllocsPerRun(1000, func() {
		r.Observe(MethodOf("GET"), 200, 3*time.Millisecond, 10, 100)
		e.Observe(200, time.Millisecond)
		p.Allowed()
		p.Refused()
		c.Inc()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRouteObserve(b *testing.B) {
	r := NewHub().Route("v1")
	b.ReportAllocs()
	for b.Loop() {
		r.Observe(GET, 200, 3*time.Millisecond, 10, 100)
	}
}

func BenchmarkRouteObserveContended(b *testing.B) {
	r := NewHub().Route("v1")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r.Observe(GET, 200, 3*time.Millisecond, 10, 100)
		}
	})
}

func BenchmarkEndpointObserve(b *testing.B) {
	e := NewHub().Endpoint("api", "1")
	b.ReportAllocs()
	for b.Loop() {
		e.Observe(200, 3*time.Millisecond)
	}
}

func BenchmarkScrapeOf10000Routes(b *testing.B) {
	h := NewHub()
	for i := range 10_000 {
		h.Route("route-"+string(AppendRequestID(nil))).Observe(Method(i%10), 200, 3*time.Millisecond, 10, 100)
	}
	for b.Loop() {
		w := httptest.NewRecorder()
		h.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if w.Code != 200 {
			b.Fatal(w.Body.String())
		}
	}
}
