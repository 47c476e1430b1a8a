package tests

import (
	"io"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// mill is an upstream of known capacity: workers that take a service time for each request, first come first served from a queue without
// bound. It works on requests whose client has left as well, which is what makes an overload without a gate collapse.
//
// A worker goes by the time at which it should have been done with the last request, so that waking up late costs no capacity. Service
// times are spread evenly over ±20 % of their mean. Latency and what it does with a request can be changed while it runs.
type mill struct {
	*server
	workers int
	service time.Duration // the mean
	slow    atomic.Int32  // times the service time; what a worker begins from now on
	mood    atomic.Int32

	mu    sync.Mutex
	wake  *sync.Cond
	queue []*grist
	begun int // requests that a worker took
	stays []stay
	ended bool
}

// What a mill does with a request.
const (
	works   int32 = iota // answers 200 when it is done
	refuses              // answers 503 with Retry-After at once
	fails                // closes the connection
)

// grist is a request at a mill.
type grist struct {
	arrived time.Time
	done    chan struct{}
}

// stay is when a request came to a mill and when it was done.
type stay struct{ from, to time.Time }

// millWorkers and millService give a capacity of 333/s: ten times that is what two cores can send, refuse and serve besides.
const (
	millWorkers = 20
	millService = 60 * time.Millisecond
)

// newMill starts a mill on a free address; it ends with the test.
func newMill(t testing.TB, workers int, service time.Duration) *mill {
	t.Helper()
	m := &mill{workers: workers, service: service}
	m.wake = sync.NewCond(&m.mu)
	m.slow.Store(1)
	m.server = serve(t, m.handle)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(m.work)
	}
	t.Cleanup(func() {
		m.mu.Lock()
		m.ended = true
		m.mu.Unlock()
		m.dropQueue()
		m.wake.Broadcast()
		wg.Wait()
	})
	return m
}

// capacity is how many requests a second it can do.
func (m *mill) capacity() float64 { return float64(m.workers) / m.service.Seconds() }

func (m *mill) handle(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" {
		return
	}
	switch m.mood.Load() {
	case refuses:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(503)
		return
	case fails:
		panic(http.ErrAbortHandler)
	}
	g := &grist{arrived: time.Now(), done: make(chan struct{})}
	m.mu.Lock()
	m.queue = append(m.queue, g)
	m.mu.Unlock()
	m.wake.Signal()
	<-g.done
	io.WriteString(w, "ok")
}

// work is a worker: a request that came while it was busy begins when it should have been free.
func (m *mill) work() {
	var free time.Time
	for {
		g, service := m.next()
		if g == nil {
			return
		}
		begin := g.arrived
		if begin.Before(free) {
			begin = free
		}
		free = begin.Add(service)
		time.Sleep(time.Until(free))
		m.mu.Lock()
		m.stays = append(m.stays, stay{g.arrived, time.Now()})
		m.mu.Unlock()
		close(g.done)
	}
}

// next waits for a request and says how long it takes; nil: the mill has ended.
func (m *mill) next() (*grist, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.queue) == 0 {
		if m.ended {
			return nil, 0
		}
		m.wake.Wait()
	}
	g := m.queue[0]
	m.queue = m.queue[1:]
	m.begun++
	_, even := math.Modf(float64(m.begun) * math.Phi) // evenly spread over [0, 1), in any run of requests
	return g, time.Duration(float64(m.service) * float64(m.slow.Load()) * (0.8 + 0.4*even))
}

func (m *mill) dropQueue() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range m.queue {
		close(g.done)
	}
	m.queue = nil
}

// die is what SIGKILL of a server's process is to its clients: the kernel closes every socket; what was queued is gone.
func (m *mill) die() {
	m.kill()
	m.dropQueue()
}

// within is the mean time that requests spent at the mill that were done from a to b, waiting for a worker included, and how many those
// were.
func (m *mill) within(a, b time.Time) (mean time.Duration, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var sum time.Duration
	for _, s := range m.stays {
		if !s.to.Before(a) && s.to.Before(b) {
			sum += s.to.Sub(s.from)
			n++
		}
	}
	return sum / time.Duration(max(1, n)), n
}

// TestMill checks that the upstream of the overload tests has the capacity that it says, and that it counts what it did.
func TestMill(t *testing.T) {
	m := newMill(t, 4, 10*time.Millisecond) // 400/s
	begin := time.Now()
	var mu sync.Mutex
	var all []time.Duration // from the beginning to each answer
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			for range 10 {
				fetch(t, "GET", "http://"+m.addr+"/", "")
				mu.Lock()
				all = append(all, time.Since(begin))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	took := slices.Max(all)
	if rate := 400 / took.Seconds(); rate > 1.03*m.capacity() || rate < 0.9*m.capacity() { // a busy machine is slow, never fast
		t.Errorf("%.1f/s, want %.1f", rate, m.capacity())
	}
	if mean, n := m.within(begin, time.Now()); n != 400 || mean < 60*time.Millisecond || mean > 115*time.Millisecond {
		t.Errorf("%d were there, for %v each: 40 at once on 4 workers are there for 100 ms, and fewer at the ends", n, mean)
	}
	if n := m.hits.Load(); n != 400 {
		t.Errorf("%d arrived", n)
	}
}
