package gateway

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"weir/internal/mono"
	"weir/limiter"
)

const settleYAML = `
routes:
  - {name: fixed, match: {path: "/fixed/*"}, respond: {body: "hello"}}
  - {name: spare, match: {path: "/spare/*"}, pool: api, fallback: {on: [upstream_error, no_endpoint], pool: other}}
  - {name: text, match: {path: "/text/*"}, pool: api, fallback: {on: [upstream_error, limited, timeout], respond: {status: 200, body: "sorry"}}}
  - {name: empty, match: {path: "/empty/*"}, pool: empty}
  - {name: cached, match: {path: "/cached/*"}, pool: api, cache: {enabled: true, stale_if_error: 1h}}
  - {name: cached-spare, match: {path: "/cached-spare/*"}, pool: api, cache: {enabled: true, stale_while_revalidate: 1h}, fallback: {on: [upstream_error, no_endpoint], pool: other}}
  - {name: api, match: {path: "/api/*"}, pool: api}
policies:
  - {name: all, limit: 20, burst: 100, window: 1ms}
  - {name: shadow, limit: 10, window: 1h, mode: shadow}
  - {name: few, limit: 2, burst: 3, window: 1ms, routes: [api, text]}
`

func settleGateway(t testing.TB) *Gateway {
	pools := poolYAML("    retry: {attempts: 3, budget: 50%, backoff: 0s}\n    connections: {max: 4, queue: 2, queue_timeout: 0s}\n", "127.0.0.1:1", "127.0.0.1:2") +
		"  - {name: other, breaker: {failure_threshold: 2}, endpoints: [{address: '127.0.0.1:3'}]}\n  - {name: empty, health: {panic: 0%}, endpoints: [{address: 'nowhere.invalid:80'}]}\n"
	return newGateway(t, pools+settleYAML)
}

// everythingBack checks that nobody holds anything any more.
func everythingBack(g *Gateway) error {
	for _, p := range g.snap.Load().pools {
		if n := p.gate.Stats().InFlight; n != 0 {
			return fmt.Errorf("pool %s: %d seats in use", p.name, n)
		}
		for _, e := range p.balancer.Stats().Endpoints {
			if e.InFlight != 0 || e.Tunnels != 0 {
				return fmt.Errorf("endpoint %s: %d in flight, %d tunnels", e.Name, e.InFlight, e.Tunnels)
			}
		}
	}
	if s, _ := g.CacheStats(); s.Filling != 0 {
		return fmt.Errorf("%d bytes on their way into the cache", s.Filling)
	}
	return nil
}

type stats map[string]limiter.Stats

func (g *Gateway) spending() stats {
	s := stats{}
	for _, l := range g.LimiterStats() {
		s[l.Name] = l.Stats
	}
	return s
}

// randomCarrier draws how an exchange goes; with panics at random places if asked.
func randomCarrier(intn func(int) int, panics bool) *fakeCarrier {
	pick := func(list ...string) string { return list[intn(len(list))] }
	c := request(pick("GET", "GET", "POST"), pick("/api/a", "/spare/a", "/text/a", "/empty/a", "/fixed/a", "/nowhere", "/cached/a", "/cached/b", "/cached-spare/a"))
	c.stored = intn(4) > 0
	if intn(8) == 0 {
		c.prepare = Verdict{Reason: RequestTimeout, Close: true}
	}
	c.whole = intn(3) > 0
	c.answer = map[string]string{"cache-control": pick("max-age=60", "max-age=0", "max-age=0", "no-cache", "no-store")}
	if intn(2) == 0 {
		c.answer["etag"] = pick(`"1"`, `"2"`)
	}
	c.script = nil
	for range 4 {
		switch n := intn(10); {
		case n == 9:
			c.script = append(c.script, Result{Status: 304, Sent: true})
		case n < 3:
			c.script = append(c.script, Result{Status: []int{200, 404, 503}[n], Sent: true})
		case n == 3:
			c.script = append(c.script, Result{Fault: FaultConnect})
		default:
			c.script = append(c.script, Result{Fault: Fault(1 + intn(int(FaultAborted))), Sent: true})
		}
	}
	if panics {
		switch intn(6) {
		case 0:
			c.deliver = func() { panic("deliver") }
		case 1:
			first := true
			c.refuse = func(*Reply) {
				if first {
					first = false
					panic("answer")
				}
			}
		case 2:
			c.onTry = func(n int) {
				if n == 2 {
					panic("attempt")
				}
			}
		}
	}
	return c
}

// TestSettle drives random exchanges, one after the other, and looks after each: everything was given back, one answer was
// given, and the limiters got their units back exactly if nothing was sent and no limit was the reason.
func TestSettle(t *testing.T) {
	g := settleGateway(t)
	rapid.Check(t, func(rt *rapid.T) {
		before := g.spending()
		panics := rapid.Bool().Draw(rt, "panics")
		c := randomCarrier(func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "choice") }, panics)
		x := g.exchange(c)
		g.serve(x)
		if err := everythingBack(g); err != nil {
			rt.Fatalf("%v after %+v", err, x.verdict)
		}
		if !x.settled {
			rt.Fatal("not settled")
		}
		if c.done+c.replies != 1 && x.verdict.Reason != Internal {
			rt.Fatalf("%d delivered and %d replied", c.done, c.replies)
		}
		if c.status == 0 {
			rt.Fatal("nobody answered")
		}
		if begun := x.verdict.Reason == Internal && c.done > 0; c.aborted > 0 != begun { // an answer that broke off is not the end of a message
			rt.Fatalf("%d times aborted after %+v", c.aborted, x.verdict)
		}
		sent := false
		for i := range c.picked {
			sent = sent || c.scripted(i).Sent
		}
		spent := len(x.uses) > 0 && x.verdict.Reason != Limited
		refund := spent && !sent && x.verdict.Reason != Pass && !x.consoled
		if panics && x.verdict.Reason == Internal && x.sent != sent { // it panicked before it could tell
			return
		}
		for name, s := range g.spending() {
			got := s.Refunded - before[name].Refunded
			if got > 1 || got == 1 && !refund || refund && got == 0 && s.Allowed > before[name].Allowed {
				rt.Fatalf("%s: %d refunds, want %v; sent %v, %+v", name, got, refund, sent, x.verdict)
			}
		}
		charge := fmt.Sprintf("%+v", &x.charge) // settle happens once: whoever calls it again changes nothing
		g.settle(x)
		if fmt.Sprintf("%+v", &x.charge) != charge || everythingBack(g) != nil {
			rt.Fatal("a second settle did something")
		}
	})
}

// TestSettleConcurrently is the same with many at once: seats and connections run out, and afterwards all is free.
func TestSettleConcurrently(t *testing.T) {
	g := settleGateway(t)
	before := g.hub.Panics().Value()
	var tasks sync.WaitGroup
	for i := range 8 {
		tasks.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for range 500 {
				c := randomCarrier(r.IntN, true)
				x := g.exchange(c)
				g.serve(x)
				if !x.settled || c.status == 0 {
					t.Errorf("not settled, or not answered: %+v", x.verdict)
				}
			}
		})
	}
	tasks.Wait()
	if err := everythingBack(g); err != nil {
		t.Error(err)
	}
	if g.hub.Panics().Value() == before {
		t.Error("nothing panicked")
	}
}

// TestSeatsRunOut: a pool that is full refuses, gives the charge back, and has room again afterwards.
func TestSeatsRunOut(t *testing.T) {
	g := newGateway(t, poolYAML("    connections: {max: 1, queue: 0}\n", "127.0.0.1:1")+"routes: [{name: all, pool: api}]\npolicies: [{name: all, limit: 10, window: 1h}]")
	first := request("GET", "/")
	first.deliver = func() {
		second := request("GET", "/")
		second.refuse = func(*Reply) {
			if s := g.spending()["all"]; s.Refunded != 1 {
				t.Errorf("%d refunds when the client is answered: its next request would find them missing", s.Refunded)
			}
		}
		x := g.exchange(second)
		g.serve(x)
		if second.status != 503 || x.verdict.Reason != QueueFull {
			t.Errorf("status %d, %v", second.status, x.verdict.Reason)
		}
		if s := g.spending()["all"]; s.Refunded != 1 {
			t.Errorf("%d refunds", s.Refunded)
		}
	}
	g.serve(g.exchange(first))
	if first.status != 200 {
		t.Errorf("status %d", first.status)
	}
	p := g.snap.Load().policies[0]
	x := g.exchange(request("GET", "/"))
	x.use(p, true)
	u := x.uses[0]
	if d := u.v.limiter.Peek(u.key, 1, mono.Now()); d.Left != 8 {
		t.Errorf("%d left after one request of 10, want 8 after the next", d.Left)
	}
	if err := everythingBack(g); err != nil {
		t.Error(err)
	}
}
