package gateway

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"weir/internal/mono"
)

// TestRetryRules goes through every combination of what decides about a retry, and compares with the rules as they are
// told to users.
func TestRetryRules(t *testing.T) {
	type table struct {
		on     []string
		fault  Fault
		status int
		sent   bool
		method string
		stored bool
		tries  int
		budget bool
		due    int // 0 none, 1 in time, 2 over
	}
	may := func(r table) bool {
		const attempts = 3
		name := map[Fault]string{FaultConnect: "connect", FaultHandshake: "connect", FaultReset: "reset", FaultProtocol: "reset", FaultTimeout: "timeout", NoFault: fmt.Sprint(r.status)}[r.fault]
		listed := name != "" && slices.Contains(r.on, name)
		harmless := !r.sent || slices.Contains([]string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}, r.method)
		return listed && harmless && r.stored && r.tries < attempts && r.budget && r.due != 2
	}
	rich := newGateway(t, poolYAML("    retry: {attempts: 3, budget: 100%}\n", "127.0.0.1:1")+"routes: [{name: all, pool: api}]")
	poor := newGateway(t, poolYAML("    retry: {attempts: 3, budget: 0%}\n", "127.0.0.1:1")+"routes: [{name: all, pool: api}]")
	now := mono.Now()
	empty := poor.snap.Load().pools[0].balancer.Budget()
	for empty.Retry(now) { // what there is in any case
	}
	full := rich.snap.Load().pools[0].balancer.Budget()
	for range 100_000 {
		full.Request(now)
	}
	n, yes := 0, 0
	check := func(r table) {
		g := rich
		if !r.budget {
			g = poor
		}
		c := request(r.method, "/")
		c.stored = r.stored
		x := g.exchange(c)
		x.route = &entry{}
		conf := *g.snap.Load().pools[0]
		conf.retryOn, conf.backoff = retryOn{}, 0
		if err := conf.retryOn.set(r.on); err != nil {
			t.Fatal(err)
		}
		x.conf, x.pool, x.tries, x.headAt = &conf, conf.pool, r.tries, now
		x.due = [...]mono.Time{0, now.Add(time.Second), now}[r.due]
		_, got := g.retry(x, &Result{Fault: r.fault, Status: r.status, Sent: r.sent})
		if want := may(r); got != want {
			t.Fatalf("%+v: retry %v, want %v", r, got, want)
		}
		if n++; got {
			yes++
		}
	}
	for _, on := range [][]string{nil, {"connect"}, {"reset", "503"}, {"timeout"}, {"connect", "reset", "timeout", "500", "503"}} {
		for fault := NoFault; fault <= FaultAborted; fault++ {
			for _, status := range []int{200, 500, 503} {
				if fault != NoFault && status != 200 {
					continue
				}
				for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH", "PURGE", "get"} {
					for bits := range 8 {
						for tries := 1; tries <= 4; tries++ {
							for due := range 3 {
								s := status
								if fault != NoFault {
									s = 0
								}
								check(table{on, fault, s, bits&1 > 0, method, bits&2 > 0, tries, bits&4 > 0, due})
							}
						}
					}
				}
			}
		}
	}
	if yes == 0 || yes == n {
		t.Errorf("%d of %d are retried: the table decides nothing", yes, n)
	}
}

func TestRetryOnRefusesNonsense(t *testing.T) {
	for _, s := range []string{"", "conect", "-1", "600", "5xx"} {
		if err := new(retryOn).set([]string{s}); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

// TestBackoff: the first retry is at once, later ones wait a random time up to a bound that doubles.
func TestBackoff(t *testing.T) {
	g := newGateway(t, poolYAML("    retry: {attempts: 5, budget: 100%, backoff: 8ms}\n", "127.0.0.1:1")+"routes: [{name: all, pool: api}]")
	conf := g.snap.Load().pools[0]
	for range 10_000 {
		conf.balancer.Budget().Request(mono.Now())
	}
	for tries, most := range map[int]time.Duration{1: 0, 2: 8 * ms, 3: 16 * ms, 4: 32 * ms} {
		var longest time.Duration
		for range 300 {
			x := g.exchange(request("GET", "/"))
			x.conf, x.pool, x.tries, x.headAt = conf, conf.pool, tries, mono.Now()
			wait, ok := g.retry(x, &Result{Fault: FaultConnect})
			if !ok || wait < 0 || wait > most {
				t.Fatalf("after %d attempts: %v, %v; want up to %v", tries, wait, ok, most)
			}
			longest = max(longest, wait)
		}
		if longest < most/2 {
			t.Errorf("after %d attempts: never more than %v of %v", tries, longest, most)
		}
	}
}

// TestRetriesGoElsewhere: attempts of one exchange go to different endpoints as long as there are some.
func TestRetriesGoElsewhere(t *testing.T) {
	g := newGateway(t, poolYAML("    retry: {attempts: 3, budget: 100%, backoff: 0s}\n", "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")+"routes: [{name: all, pool: api}]")
	for range 20 { // as many as the budget has for a start
		c := request("GET", "/")
		c.script = []Result{{Fault: FaultReset, Sent: true}, {Status: 503, Sent: true}, {Status: 200, Sent: true}}
		g.serve(g.exchange(c))
		slices.Sort(c.picked)
		if len(slices.Compact(c.picked)) != 3 || c.status != 200 || c.dropped != 1 {
			t.Fatalf("tried %v, status %d, %d answers dropped", c.picked, c.status, c.dropped)
		}
	}
}

// TestFallback: what the route says instead of a refusal, for the reasons it names and for no other.
func TestFallback(t *testing.T) {
	f := func(name, route string, c *fakeCarrier, status int, picked ...string) {
		t.Helper()
		g := newGateway(t, "pools:\n  - {name: api, retry: {attempts: 1}, endpoints: [{address: '127.0.0.1:1'}]}\n  - {name: spare, retry: {attempts: 1}, endpoints: [{address: '127.0.0.1:2'}]}\nroutes: ["+route+"]")
		x := g.exchange(c)
		g.serve(x)
		if c.status != status || !slices.Equal(c.picked, picked) {
			t.Errorf("%s: status %d from %v, want %d from %v", name, c.status, c.picked, status, picked)
		}
	}
	fails := func(method string, r ...Result) *fakeCarrier {
		c := request(method, "/")
		c.script = r
		return c
	}
	text := `{name: r, pool: api, fallback: {on: [timeout, breaker_open], respond: {status: 200, body: later}}}`
	spare := `{name: r, pool: api, fallback: {on: [upstream_error, no_endpoint], pool: spare}}`
	reset, connect, fine := Result{Fault: FaultReset, Sent: true}, Result{Fault: FaultConnect}, Result{Status: 200, Sent: true}
	f("a reason it names", text, fails("GET", Result{Fault: FaultTimeout, Sent: true}), 200, "127.0.0.1:1")
	f("another reason", text, fails("GET", reset), 502, "127.0.0.1:1")
	f("a pool", spare, fails("GET", reset, fine), 200, "127.0.0.1:1", "127.0.0.1:2")
	f("a pool that fails too", spare, fails("GET", reset, reset), 502, "127.0.0.1:1", "127.0.0.1:2")
	f("what may have been acted on", spare, fails("POST", reset, fine), 502, "127.0.0.1:1")
	f("what was not sent", spare, fails("POST", connect, fine), 200, "127.0.0.1:1", "127.0.0.1:2")
	gone := fails("GET", reset, fine)
	gone.stored = false
	f("a body that is gone", spare, gone, 502, "127.0.0.1:1")
}
