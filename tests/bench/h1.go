package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weir/tests/bench/stats"
)

// figures are the measured values of one gateway in one scenario, one element a round.
type figures struct {
	leg      string
	cpu      []float64 // µs of CPU per request
	system   []float64 // share of it in the kernel
	rps      []float64
	p50, p99 []float64 // µs
	requests int64
	resident float64 // MiB after the last round
}

// table is one scenario's result.
type table struct {
	name, about string
	peer        string // the leg that ratios refer to
	rows        []*figures
}

// loader loads a gateway for a while.
type loader func(ctx context.Context, opt *options, l *leg, d time.Duration) (wrkResult, error)

// scenario is one load on several gateways.
type scenario struct {
	name, about string
	peer        string
	settings    settings
	legs        []string              // of options.legs, those that take part
	variants    map[string]settings   // more weir legs, by name, instead of legs
	script      string                // wrk script, "" for the one request
	load        loader                // nil: wrk
	verify      func(wrkResult) error // what the answers must be
}

const (
	passAbout   = "Every request is routed, passes the limits and is answered by the upstream."
	refuseAbout = "Every request is refused with 429 (nginx, haproxy: by the client's address). The bare proxy cannot refuse. " +
		"Access logs are off everywhere: weir would else write each refusal."
	policiesAbout = "10,000 clients (tenant and user vary from request to request); 3 policies apply to each request. " +
		"How many others exist must not matter: every second of the 997 belongs to a route that no request takes, the others to all routes, with a " +
		"condition that never holds, `tenant == 'nobody-N'`. Both have 120 routes."
)

func noErrors(r wrkResult) error {
	if r.NonOK > 0 || r.SocketErrors > 0 {
		return fmt.Errorf("%d of %d answers were not 2xx, %d socket errors", r.NonOK, r.Requests, r.SocketErrors)
	}
	return nil
}

func nearlyAllRefused(r wrkResult) error {
	if r.SocketErrors > 0 || r.NonOK*1000 < r.Requests*999 {
		return fmt.Errorf("only %d of %d answers were refusals, %d socket errors", r.NonOK, r.Requests, r.SocketErrors)
	}
	return nil
}

// runH1 measures the scenarios and writes the report.
func runH1(ctx context.Context, opt *options) error {
	var tables []*table
	peak := 0.0
	for _, name := range opt.scenarios {
		var t *table
		var err error
		switch name {
		case "pass":
			t, err = measure(ctx, opt, scenario{name: "Proxied", about: passAbout, peer: "nginx", legs: opt.legs, verify: noErrors})
			if err == nil {
				peak = slowest(t)
			}
		case "refuse":
			legs := slices.DeleteFunc(slices.Clone(opt.legs), func(l string) bool { return strings.HasPrefix(l, "barefasthttp") })
			t, err = measure(ctx, opt, scenario{name: "Refused", about: refuseAbout, peer: "nginx", legs: legs,
				settings: settings{Refuse: true}, verify: nearlyAllRefused})
		case "latency":
			t, err = measureLatency(ctx, opt, peak/2)
		case "policies":
			if !slices.Contains(opt.legs, "weir") {
				continue
			}
			t, err = measure(ctx, opt, scenario{name: "Many policies", about: policiesAbout, peer: "weir, 3 policies", verify: noErrors,
				script: clientsScript, variants: manyPolicies()})
		default:
			return fmt.Errorf("no scenario is called %q: pass, refuse, latency or policies", name)
		}
		if err != nil {
			fmt.Print(render(opt, tables, h1Loads(opt))) // what is known so far; the file is not written
			return fmt.Errorf("scenario %s: %w", name, err)
		}
		tables = append(tables, t)
	}
	report := render(opt, tables, h1Loads(opt))
	fmt.Print(report)
	if opt.out == "" {
		return nil
	}
	return os.WriteFile(opt.out, []byte(report), 0o644)
}

// manyPolicies are two configurations with the same 120 routes, one with the 3 policies that apply, one with 997 others: half of them are ruled
// out by the route, half by a value of the request.
func manyPolicies() map[string]settings {
	extra := upTo(100)
	others := make([]other, 997)
	for i := range others {
		others[i] = other{N: i, Route: i % len(extra), ByValue: i%2 == 1}
	}
	return map[string]settings{"weir, 3 policies": {Extra: extra}, "weir, 1,000 policies": {Extra: extra, Others: others}}
}

func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// slowest is the lowest median rate of a table.
func slowest(t *table) float64 {
	low := stats.Of(t.rows[0].rps).Median
	for _, f := range t.rows[1:] {
		low = min(low, stats.Of(f.rps).Median)
	}
	return low
}

// measure runs sc: all gateways at once, loaded in turn, so that each round meets the machine in one state.
func measure(ctx context.Context, opt *options, sc scenario) (*table, error) {
	r, err := newRig(ctx, opt, sc.settings)
	if r != nil {
		defer r.close()
	}
	if err != nil {
		return nil, err
	}
	legs, err := sc.start(ctx, r)
	if err != nil {
		return nil, err
	}
	script := ""
	if sc.script != "" {
		script = filepath.Join(r.dir, "requests.lua")
		if err := os.WriteFile(script, []byte(sc.script), 0o644); err != nil {
			return nil, err
		}
	}
	load := sc.load
	if load == nil {
		load = func(ctx context.Context, opt *options, l *leg, d time.Duration) (wrkResult, error) {
			return runWrk(ctx, opt.loadCore, "http://"+l.address+requestPath, opt.conns, d, script)
		}
	}
	t := &table{name: sc.name, about: sc.about, peer: sc.peer}
	for _, l := range legs {
		t.rows = append(t.rows, &figures{leg: l.name})
		if _, err := load(ctx, opt, l, time.Second); err != nil {
			return nil, fmt.Errorf("warm up %s: %w", l.name, err)
		}
	}
	for round := range opt.rounds {
		for i, l := range legs {
			res, err := t.rows[i].add(l, func() (wrkResult, error) { return load(ctx, opt, l, opt.duration) })
			if err == nil {
				err = sc.verify(res)
			}
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", l.name, round+1, err)
			}
			fmt.Fprintf(os.Stderr, "%s %d/%d %-20s %6.2f µs/request %8.0f/s\n", sc.name, round+1, opt.rounds, l.name,
				t.rows[i].cpu[round], res.RPS())
		}
	}
	for i, l := range legs {
		if t.rows[i].resident, err = residentMiB(l.server.pid()); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// start starts the gateways of the scenario.
func (sc scenario) start(ctx context.Context, r *rig) ([]*leg, error) {
	var legs []*leg
	for _, name := range sc.legs {
		l, err := r.gateway(ctx, name, sc.settings)
		if err != nil {
			return nil, err
		}
		legs = append(legs, l)
	}
	names := make([]string, 0, len(sc.variants))
	for name := range sc.variants {
		names = append(names, name)
	}
	slices.Sort(names)
	slices.Reverse(names) // "3 policies" before "1,000 policies"
	for _, name := range names {
		l, err := r.gateway(ctx, "weir", sc.variants[name])
		if err != nil {
			return nil, err
		}
		l.name = name
		legs = append(legs, l)
	}
	if len(legs) == 0 {
		return nil, errors.New("no gateways to measure")
	}
	return legs, nil
}

// add runs one load on l and appends what it cost.
func (f *figures) add(l *leg, load func() (wrkResult, error)) (wrkResult, error) {
	before, err := readCPU(l.server.pid())
	if err != nil {
		return wrkResult{}, err
	}
	res, err := load()
	if err != nil {
		return wrkResult{}, err
	}
	after, err := readCPU(l.server.pid())
	if err != nil {
		return wrkResult{}, err
	}
	used := after.Sub(before)
	f.requests += res.Requests
	f.cpu = append(f.cpu, micros(used.Total)/float64(res.Requests))
	f.system = append(f.system, used.System)
	f.rps = append(f.rps, res.RPS())
	f.p50 = append(f.p50, micros(res.P50))
	f.p99 = append(f.p99, micros(res.P99))
	return res, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// clientsScript makes wrk cycle through 10,000 clients in 100 tenants.
var clientsScript = strings.TrimLeft(`
local requests = {}
for i = 1, 10000 do
  requests[i] = wrk.format("GET", "`+requestPath+`", {
    ["Host"] = "api.example.com", ["x-api-key"] = "k-" .. i, ["x-user-id"] = "user-" .. i, ["x-tenant"] = "tenant-" .. (i % 100)})
end
local n = 0
request = function()
  n = n % 10000 + 1
  return requests[n]
end
`, "\n")
