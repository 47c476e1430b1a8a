package balancer

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/internal/mono"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// second is a moment well after the start, in seconds.
func second(s float64) mono.Time { return mono.Time(1000e9 + s*1e9) }

// hosts makes n endpoints 10.0.0.1:80 …; weights repeat.
func hosts(n int, weights ...int) []EndpointConfig {
	c := make([]EndpointConfig, n)
	for i := range c {
		c[i] = EndpointConfig{Address: fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1), Weight: 1}
		if len(weights) > 0 {
			c[i].Weight = weights[i%len(weights)]
		}
	}
	return c
}

func testBreaker() BreakerConfig {
	return BreakerConfig{FailureThreshold: 10, RecoveryThreshold: 5, Timeout: 30 * time.Second, MaxTimeout: 5 * time.Minute, HalfOpen: 3}
}

func testPassive() PassiveConfig {
	return PassiveConfig{ConsecutiveFailures: 5, ErrorRate: 0.5, MinRequests: 20, Eject: 5 * time.Second, MaxEject: 0.5}
}

func testActive() ActiveConfig {
	return ActiveConfig{Enabled: true, Interval: 2 * time.Second, Timeout: 500 * time.Millisecond, Rise: 2, Fall: 3, Key: "/"}
}

func noProbe(context.Context, *Endpoint) error { return nil }

func newPool(t testing.TB, c Config, h Hooks) *Pool {
	t.Helper()
	if h.Probe == nil {
		h.Probe = noProbe
	}
	p, err := New("test", c, h, second(0))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// lease takes one or fails the test.
func lease(t testing.TB, p *Pool, hint uint64, tried *Set, now mono.Time) Lease {
	t.Helper()
	l, miss := p.Lease(hint, tried, now)
	if miss != OK || l.Endpoint() == nil {
		t.Fatalf("miss %v, want a lease", miss)
	}
	return l
}

// exchange leases, reports and gives back.
func exchange(t testing.TB, p *Pool, o Outcome, now mono.Time) *Endpoint {
	t.Helper()
	l := lease(t, p, 0, nil, now)
	l.Report(o, time.Millisecond, now)
	l.Done(now)
	return l.Endpoint()
}

func member(t testing.TB, p *Pool, i int) *Endpoint {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if i >= len(p.members) {
		t.Fatalf("no endpoint %d among %d", i, len(p.members))
	}
	return p.members[i]
}

func states(p *Pool) string {
	s := ""
	for _, e := range p.Stats().Endpoints {
		s += map[string]string{"healthy": "h", "unhealthy": "u", "ejected": "e", "draining": "d", "resting": "r"}[e.State]
	}
	return s
}

// journal keeps events.
type journal struct {
	mu sync.Mutex
	ev []Event
}

func (j *journal) note(e Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ev = append(j.ev, e)
}

// kinds returns what was noted since the last call.
func (j *journal) kinds() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := ""
	for i, e := range j.ev {
		if i > 0 {
			s += " "
		}
		s += e.Kind.String()
	}
	j.ev = nil
	return s
}
