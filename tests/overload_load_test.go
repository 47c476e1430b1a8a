package tests

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// crowd is an open-loop load of many clients: each request is sent when it is due, whatever became of those before, on a connection that is
// free or a new one. A client leaves, and closes its connection, when it has waited for patience.
type crowd struct {
	addr     string
	patience time.Duration
	asks     []ask
	events   []event

	begin  time.Time
	calls  []call // in the order of sending
	unsent int    // due while crowdConns were in use

	mu   sync.Mutex
	open int
	idle []*shooter
	wg   sync.WaitGroup
}

// crowdConns is how many connections a crowd has at once at most; what is due then is not sent.
const crowdConns = 4000

// ask is a stream of requests with random gaps (Poisson).
type ask struct {
	who    string
	fields []string // "Name: value"
	rate   func(at time.Duration) float64
}

// event is something that happens at a time after the beginning of a load.
type event struct {
	at time.Duration
	do func()
}

// call is one request: due, sent and answered. The status of one without an answer is 0, and reason says why: "left" or a fault.
type call struct {
	shot
	who    int
	due    time.Time
	reason string // Weir-Reason
	after  bool   // has Retry-After
}

// constantly is a rate that does not change.
func constantly(rate float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return rate }
}

// run sends for long and returns when every answer is there or waited for in vain. Gaps of a stream are the same in every run.
func (c *crowd) run(long time.Duration) {
	next, gaps, requests := make([]time.Duration, len(c.asks)), make([]*rand.Rand, len(c.asks)), make([][]byte, len(c.asks))
	for i, a := range c.asks {
		gaps[i] = rand.New(rand.NewPCG(1, uint64(i)))
		next[i] = gap(gaps[i], a.rate(0))
		head := append([]string{"GET / HTTP/1.1", "Host: a.test"}, a.fields...)
		requests[i] = []byte(strings.Join(head, "\r\n") + "\r\n\r\n")
	}
	c.begin = time.Now()
	for _, e := range c.events {
		c.wg.Go(func() { time.Sleep(e.at); e.do() })
	}
	for {
		i := 0
		for j := range next {
			if next[j] < next[i] {
				i = j
			}
		}
		at := next[i]
		if at >= long {
			break
		}
		rate := c.asks[i].rate(at)
		next[i] += gap(gaps[i], rate)
		if rate <= 0 {
			continue
		}
		due := c.begin.Add(at)
		if d := time.Until(due); d > 0 {
			time.Sleep(d)
		}
		c.send(call{who: i, due: due}, requests[i])
	}
	c.wg.Wait()
	for _, s := range c.idle {
		s.c.Close()
	}
	slices.SortFunc(c.calls, func(a, b call) int { return a.sent.Compare(b.sent) })
}

// gap is a random time to the next request; without a rate a time to look again.
func gap(r *rand.Rand, rate float64) time.Duration {
	if rate <= 0 {
		return 5 * time.Millisecond
	}
	return time.Duration(r.ExpFloat64() / rate * float64(time.Second))
}

// send has a call sent by a goroutine of its own on a connection that was used last, or a new one.
func (c *crowd) send(x call, request []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var s *shooter
	switch n := len(c.idle); {
	case n > 0:
		s = c.idle[n-1]
		c.idle = c.idle[:n-1]
	case c.open < crowdConns:
		c.open++
		s = &shooter{addr: c.addr}
	default:
		c.unsent++
		return
	}
	c.wg.Go(func() {
		ok := x.ask(s, request, c.patience)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.calls = append(c.calls, x)
		if ok {
			c.idle = append(c.idle, s)
			return
		}
		c.open--
		if s.c != nil {
			s.c.Close()
		}
	})
}

// ask sends the request on s, reads the answer, and reports whether s can be used again.
func (x *call) ask(s *shooter, request []byte, patience time.Duration) bool {
	x.sent = time.Now()
	var err error
	if s.c == nil {
		err = s.connect()
	}
	if err == nil {
		s.c.SetDeadline(x.sent.Add(patience))
		_, err = s.c.Write(request)
	}
	var r *response
	if err == nil {
		r = readResponse(s.br, false)
		err = r.err
	}
	x.received = time.Now()
	if err != nil {
		x.reason = "left"
		if !isTimeout(err) {
			x.reason = "fault: " + err.Error()
		}
		return false
	}
	x.status, x.reason, x.after = r.status, r.reason(), r.get("Retry-After") != ""
	return !r.closed && !strings.EqualFold(r.get("Connection"), "close")
}

// fate is what became of calls.
type fate struct {
	sent, ok int
	kinds    map[string]int // "200", "503 queue_full", "left", …
	bare     int            // refusals without Retry-After
	p50, p99 time.Duration  // of those served
}

// sent sums up the calls of some (none given: of all) that were sent from a to b after the beginning.
func (c *crowd) sent(a, b time.Duration, who ...string) fate {
	o := fate{kinds: map[string]int{}}
	var times []time.Duration
	for _, x := range c.calls {
		if at := x.sent.Sub(c.begin); at < a || at >= b || len(who) > 0 && !slices.Contains(who, c.asks[x.who].who) {
			continue
		}
		o.sent++
		kind := x.reason
		if x.status != 0 {
			kind = strings.TrimSpace(fmt.Sprint(x.status, " ", x.reason))
		}
		o.kinds[kind]++
		if (x.status == 429 || x.status == 503) && !x.after {
			o.bare++
		}
		if x.status == 200 {
			o.ok++
			times = append(times, x.received.Sub(x.sent))
		}
	}
	slices.Sort(times)
	o.p50, o.p99 = quantile(times, 0.5), quantile(times, 0.99)
	return o
}

// goodput is how many 200s a second came from a to b after the beginning, to some or to all.
func (c *crowd) goodput(a, b time.Duration, who ...string) float64 {
	n := 0
	for _, x := range c.calls {
		if at := x.received.Sub(c.begin); x.status == 200 && at >= a && at < b && (len(who) == 0 || slices.Contains(who, c.asks[x.who].who)) {
			n++
		}
	}
	return float64(n) / (b - a).Seconds()
}

// served is the share of what was sent that was answered 200.
func (o fate) served() float64 { return float64(o.ok) / float64(max(1, o.sent)) }

// seen lists what came instead of a 200, most often first.
func (o fate) seen() string {
	kinds := slices.SortedFunc(maps.Keys(o.kinds), func(a, b string) int { return o.kinds[b] - o.kinds[a] })
	var parts []string
	for _, k := range kinds {
		if k != "200" {
			parts = append(parts, fmt.Sprintf("%d × %s", o.kinds[k], k))
		}
	}
	return strings.Join(append(parts, "")[:max(1, len(parts))], ", ")
}

// odd counts the answers that are neither 200 nor a refusal for want of room.
func (o fate) odd() (n int) {
	for k, v := range o.kinds {
		if !slices.Contains([]string{"200", "503 shed", "503 queue_full", "503 queue_timeout"}, k) {
			n += v
		}
	}
	return n
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))]
}

// lag is by how much calls were sent late: all but one in a hundred by less than the first, none by more than the second.
func (c *crowd) lag() (usual, worst time.Duration) {
	var all []time.Duration
	for _, x := range c.calls {
		all = append(all, x.sent.Sub(x.due))
	}
	slices.Sort(all)
	return quantile(all, 0.99), quantile(all, 1)
}

// trial is one run of a scenario: its rows, and what does not hold.
type trial struct {
	t        *testing.T
	rows     []func()
	problems []string
	busy     string // why the machine was too busy to measure
}

// row is what is recorded if the trial counts.
func (r *trial) row(table, columns string, cells ...any) {
	r.rows = append(r.rows, func() { r.t.Helper(); record(r.t, table, columns, cells...) })
}

// expect notes a problem unless ok.
func (r *trial) expect(ok bool, format string, args ...any) {
	if !ok {
		r.problems = append(r.problems, fmt.Sprintf(format, args...))
	}
}

// load runs a crowd, and notes if it could not send what was due when it was due.
func (r *trial) load(c *crowd, long time.Duration) {
	c.run(long)
	usual, worst := c.lag()
	r.t.Logf("%d calls; the load was late by %v at most, by less than %v in 99 of 100", len(c.calls), worst.Round(time.Millisecond), usual.Round(10*time.Microsecond))
	if usual > 50*time.Millisecond || worst > 500*time.Millisecond {
		r.busy = fmt.Sprintf("the machine is too busy: the load was late by %v, and by %v once", usual.Round(time.Millisecond), worst.Round(time.Millisecond))
	}
	r.expect(c.unsent == 0, "%d calls were not sent: %d connections were in use", c.unsent, crowdConns)
}

// steadily runs a scenario, and once more if something does not hold: others use the machine as well. If the load itself was late both
// times, nothing was measured, and the test is skipped; a full run fails then.
func steadily(t *testing.T, scenario func(r *trial)) {
	t.Helper()
	if raced {
		t.Skip("the race detector takes the time that is measured here")
	}
	r := &trial{t: t}
	scenario(r)
	if len(r.problems) > 0 && (r.busy != "" || !overloadInFull) {
		t.Logf("once more: %s %s", r.busy, strings.Join(r.problems, "; "))
		first := r
		r = &trial{t: t}
		scenario(r)
		if len(r.problems) > 0 && r.busy != "" && first.busy != "" && !overloadInFull {
			t.Skipf("%s (%s)", r.busy, strings.Join(r.problems, "; "))
		}
	}
	for _, row := range r.rows {
		row()
	}
	for _, p := range r.problems {
		record(t, "What does not hold", "test | what", t.Name(), strings.ReplaceAll(p, "|", "/"))
		t.Error(p, r.busy)
	}
}

// overloadInFull says that scenarios run at full length and are held to the full bounds, as `make bench-overload` has them do.
var overloadInFull = os.Getenv("WEIR_OVERLOAD_FULL") == "1"

// either is what a scenario goes by in a short run, and in a full one.
func either[T any](short, full T) T {
	if overloadInFull {
		return full
	}
	return short
}

// whole is a time in milliseconds; 0, of nothing, is a dash.
func whole(d time.Duration) string {
	if d == 0 {
		return "–"
	}
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
}

func share(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }
