package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/tests/bench/machine"
	"weir/tests/bench/stats"
)

// loads is how a report's load is told of.
type loads struct {
	about string // a sentence
	tools []string
	again string // the make target
}

func h1Loads(opt *options) loads {
	return loads{fmt.Sprintf("The load of the first tables is wrk with %d keep-alive connections, as fast as it gets answers.", opt.conns), []string{wrkVersion()}, "bench"}
}

func wrkVersion() string {
	return strings.TrimSpace(strings.SplitAfter(machine.Version("wrk", "-v"), "]")[0])
}

// render is the report as Markdown.
func render(opt *options, tables []*table, by loads) string {
	var b strings.Builder
	m := machine.This()
	fmt.Fprintf(&b, "# %s\n\n", opt.title)
	fmt.Fprintf(&b, "%s, commit %s. %s, %s, %s. Load average before the run: %s (a quiet machine is below 0.5; on a busy one the "+
		"figures scatter).\n\n", time.Now().UTC().Format(time.DateOnly), machine.Commit(opt.repo), m.CPU, m.Kernel, m.OS, opt.loadBefore)
	for _, t := range tables {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n%s\n", t.name, t.about, t.markdown())
	}
	b.WriteString("## How it is measured\n\n")
	fmt.Fprintf(&b, "The gateway is pinned to core %d with one thread (GOMAXPROCS=1, `worker_processes 1`, `nbthread 1`); the load and the "+
		"upstream (nginx, a 110-byte JSON answer) share core %d. All gateways run side by side and are loaded in turn, %d rounds of %v "+
		"each, after a second of warm-up. Figures are medians of the rounds with the lowest and highest in brackets; a ratio is the median "+
		"of the rounds' ratios. %s\n\n",
		opt.gatewayCore, opt.loadCore, opt.rounds, opt.duration, by.about)
	b.WriteString("CPU per request is the growth of the gateway's CPU-time clock (user and kernel, all its processes) over the requests " +
		"that the load saw answered. It stands still when the speed of the machine drifts; requests per second and latency do not. " +
		"An answer that is not what the scenario expects, or a socket error, fails the run.\n\n")
	b.WriteString("What each does: weir has 20 routes, 3 dimensions, 3 token buckets that all apply, breaker, active and passive health, " +
		"retries, metrics, `X-Forwarded-*` and `X-Request-Id`, and an access log of 1 % of the requests to a file. nginx has one `limit_req` and " +
		"keep-alive to the upstream, haproxy one stick table with a request rate; both without access log and forwarded headers. " +
		"The bare fasthttp proxy has no feature at all.\n\n")
	for _, l := range opt.legs {
		fmt.Fprintf(&b, "- %s\n", versionOfLeg(opt, l))
	}
	for _, tool := range by.tools {
		fmt.Fprintf(&b, "- load: %s\n", tool)
	}
	fmt.Fprintf(&b, "\nRepeat with `make deps %s` (Linux, two cores or more, root for `deps` only).\n", by.again)
	return b.String()
}

func versionOfLeg(opt *options, name string) string {
	kind, binary, other := strings.Cut(name, "=")
	switch {
	case other:
		return name + ": " + machine.Build(binary, "github.com/valyala/fasthttp")
	case kind == "nginx":
		return machine.Version("nginx", "-v")
	case kind == "haproxy":
		return machine.Version("haproxy", "-v")
	case kind == "barefasthttp":
		return "barefasthttp: " + machine.Build(opt.bare, "github.com/valyala/fasthttp")
	}
	return "weir: " + machine.Build(opt.weir)
}

// markdown is t as a table, one row a gateway. Latencies are compared by difference when the peer is the upstream itself.
func (t *table) markdown() string {
	var b strings.Builder
	ratio := "× " + t.peer
	if t.peer == direct {
		ratio = "added p50 / p99"
	}
	fmt.Fprintf(&b, "| gateway | CPU µs/request | %s | in the kernel | requests/s | p50 | p99 | MiB |\n|---|---|---|---:|---:|---:|---:|---:|\n", ratio)
	peer := t.row(t.peer)
	for _, f := range t.rows {
		cpu := stats.Of(f.cpu)
		resident := "–"
		if f.resident > 0 {
			resident = fmt.Sprintf("%.0f", f.resident)
		}
		fmt.Fprintf(&b, "| %s | **%.2f** (%.2f–%.2f) | %s | %.0f %% | %.0f | %s | %s | %s |\n", f.leg, cpu.Median, cpu.Min, cpu.Max,
			t.compare(f, peer), 100*stats.Of(f.system).Median, stats.Of(f.rps).Median, orNone(stats.Of(f.p50).Median),
			orNone(stats.Of(f.p99).Median), resident)
	}
	return b.String()
}

func (t *table) row(name string) *figures {
	i := slices.IndexFunc(t.rows, func(f *figures) bool { return f.leg == name })
	if i < 0 {
		return nil
	}
	return t.rows[i]
}

// compare is f beside peer, round by round: the ratio of CPU, or the latency added.
func (t *table) compare(f, peer *figures) string {
	if peer == nil || f == peer {
		return "–"
	}
	if t.peer == direct {
		return inMicros(stats.Of(pairwise(f.p50, peer.p50, minus)).Median) + " / " + inMicros(stats.Of(pairwise(f.p99, peer.p99, minus)).Median)
	}
	r := stats.Of(pairwise(f.cpu, peer.cpu, over))
	return fmt.Sprintf("**%.2f** (%.2f–%.2f)", r.Median, r.Min, r.Max)
}

func minus(a, b float64) float64 { return a - b }
func over(a, b float64) float64  { return a / b }

// pairwise applies op to the elements of a and b that belong to the same round.
func pairwise(a, b []float64, op func(a, b float64) float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = op(a[i], b[i])
	}
	return out
}

// orNone is inMicros for what a load may not tell of.
func orNone(us float64) string {
	if us == 0 {
		return "–"
	}
	return inMicros(us)
}

// inMicros writes µs for people.
func inMicros(us float64) string {
	if us >= 1000 || us <= -1000 {
		return fmt.Sprintf("%.2f ms", us/1000)
	}
	return fmt.Sprintf("%.0f µs", us)
}
