package gateway

import (
	"runtime"
	"testing"
	"time"
)

// waiting returns how many quotas that are not in force are kept for requests in flight.
func (q *quotas) waiting(g *Gateway) (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id := range q.held {
		if g.live.limiter(id) == nil {
			n++
		}
	}
	return n
}

// letGo waits until there are none: that nobody uses them is known when memory was collected.
func letGo(t *testing.T, g *Gateway) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); g.quotas.waiting(g) > 0; time.Sleep(5 * time.Millisecond) {
		if runtime.GC(); time.Now().After(end) {
			t.Fatal("limiters that nobody uses are kept")
		}
	}
}

const quotaSettled = "policies: [{name: q, algorithm: quota, limit: 1000, window: month, cost: 1, settle: response.status}]\n"

// TestQuotaSettlesWhenAway: what requests in flight settle or give back counts, whether their policy is away just then, is back, or comes
// back when it was let go, and in the next life too.
func TestQuotaSettlesWhenAway(t *testing.T) {
	f := func(name, back string, want int64, during func(g *Gateway, settle func()), after func(g *Gateway)) {
		t.Helper()
		s := newFakeStore()
		g := keeping(t, s, quotaSettled)
		askTimes(g, 3) // the fake carrier settles nothing by itself
		func() {
			car := request("GET", "/")
			x := g.exchange(car)
			switch back {
			case "settled":
				car.deliver = func() { during(g, x.settleCost) }
			case "refunded":
				car.script = []Result{{Fault: FaultConnect}}
				car.onTry = func(try int) {
					if try == 1 {
						during(g, func() {})
					}
				}
			}
			g.serve(x)
		}()
		after(g)
		mustDo(t, renew(t, g, quotaRoute+quotaSettled, time.Minute))
		if got := left(t, g, "q", request("GET", "/")); got != want {
			t.Errorf("%s, %s: %d left, want %d", name, back, got, want)
		}
		mustDo(t, g.ReleaseQuotas(t.Context()))
		g = keeping(t, s, quotaSettled)
		if got := left(t, g, "q", request("GET", "/")); got != want {
			t.Errorf("%s, %s: %d left in the next life, want %d", name, back, got, want)
		}
		mustDo(t, g.ReleaseQuotas(t.Context()))
	}
	away := func(g *Gateway) { mustDo(t, renew(t, g, quotaRoute, time.Minute)) }
	here := func(g *Gateway) { mustDo(t, renew(t, g, quotaRoute+quotaSettled, time.Minute)) }
	none := func(*Gateway) {}
	for back, want := range map[string]int64{"settled": 797, "refunded": 997} {
		f("while it is away", back, want, func(g *Gateway, settle func()) { away(g); settle() }, none)
		f("when it was let go since", back, want, func(g *Gateway, settle func()) { away(g); settle() }, func(g *Gateway) { letGo(t, g) })
		f("when it is back", back, want-2, func(g *Gateway, settle func()) { away(g); here(g); askTimes(g, 2); settle() }, none)
		f("when it was away twice", back, want-1, func(g *Gateway, settle func()) { away(g); here(g); askTimes(g, 1); away(g); settle() }, none)
	}
}

// TestQuotaWaitsForItsReturn: a limiter that a reload is about to put in force again is not let go meanwhile.
func TestQuotaWaitsForItsReturn(t *testing.T) {
	s := newFakeStore()
	g := keeping(t, s, quotaOne)
	askTimes(g, 3)
	var snap *Snapshot
	func() {
		car := request("GET", "/")
		car.deliver = func() {
			mustDo(t, renew(t, g, quotaRoute, time.Minute))
			var err error
			snap, err = g.Compile(parse(t, quotaRoute+quotaOne))
			mustDo(t, err)
			_, err = g.LoadQuotas(t.Context(), snap)
			mustDo(t, err)
		}
		g.serve(g.exchange(car))
	}()
	for range 4 {
		runtime.GC()
		time.Sleep(keepEvery)
	}
	g.Install(snap)
	if got := left(t, g, "q", request("GET", "/")); got != 6 {
		t.Errorf("%d left, want 6", got)
	}
	mustDo(t, g.ReleaseQuotas(t.Context()))
}

// TestQuotaWaitsForRequests: a quota that is gone keeps its limiter for a request in flight, and no longer than that. Where nothing is kept
// on disk, it keeps it for nobody.
func TestQuotaWaitsForRequests(t *testing.T) {
	s := newFakeStore()
	g := keeping(t, s, quotaSettled)
	func() {
		car := request("GET", "/")
		x := g.exchange(car)
		car.deliver = func() {
			mustDo(t, renew(t, g, quotaRoute, time.Minute))
			for range 4 {
				runtime.GC()
				time.Sleep(keepEvery)
			}
			if g.quotas.waiting(g) != 1 {
				t.Error("it was let go")
			}
			x.settleCost()
		}
		g.serve(x)
	}()
	letGo(t, g)
	if n := g.budget.Used(); n != 0 {
		t.Errorf("%d bytes are in use", n)
	}
	mustDo(t, g.ReleaseQuotas(t.Context()))

	g = newGateway(t, quotaRoute+quotaOne)
	askTimes(g, 1)
	if mustDo(t, renew(t, g, quotaRoute, time.Minute)); g.quotas.waiting(g) != 0 || g.budget.Used() != 0 {
		t.Error("a limiter is kept that nobody writes")
	}
}
