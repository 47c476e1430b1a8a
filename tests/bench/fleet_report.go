package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/tests/bench/machine"
	"weir/tests/bench/stats"
)

// fleetAbout says of each table of the tests what was done.
var fleetAbout = map[string]string{
	"Three gateways in touch": "Three processes on loopback, a token bucket of 400/s with a burst of 80 for each client, one client a row, all rows at the same time for a minute.",
	"One of three killed, and started again": "One client at twice the limit at all three. After 5 s one gateway gets SIGKILL and its requests go to the other two, which reserve its share " +
		"until it is declared dead, and 2 s longer; after 18 s it is started again.",
	"A network that fails for a while": "Three processes in network namespaces, one client at twice the limit at all three. A second limit, in which nothing comes back, is spent besides: " +
		"counters are equal when all three gateways show the same rest of it, which must be what the clients were not given. A minority that is cut off keeps a tenth of its share while the majority takes over, so that all together " +
		"may admit R × (1 + w/10), w being that share: that much of what is over the envelope is by design.",
	"Gateways 50 ms apart that lose 5 % of the packets": "Three processes in network namespaces, 50 ms one way and 5 % loss on every path between them.",
	"What gateways send each other": "For each gateway, to all others together. All keys are asked for twice their limit, evenly at all gateways; with a cluster key, an interval of 100 ms. " +
		"Packets are counted between the namespaces with their IP headers, TCP included.",
	"What does not hold": "Assertions of the tests that failed in this run.",
}

// fleetOrder is the order of the tables; one that is not in it comes first.
var fleetOrder = []string{"What does not hold", "Three gateways in touch", "Gateways 50 ms apart that lose 5 % of the packets", "One of three killed, and started again",
	"A network that fails for a while", "What gateways send each other"}

// renderFleet is the report as Markdown.
func renderFleet(opt *options, rows []sharedRow, tables []*scenarioTable) string {
	var b strings.Builder
	m := machine.This()
	fmt.Fprintf(&b, "# Limits that gateways share\n\n%s, commit %s. %s, %s, %s. Load average before the run: %s (gateways, clients and the network between "+
		"them share the machine).\n\n", time.Now().UTC().Format(time.DateOnly), machine.Commit(opt.repo), m.CPU, m.Kernel, m.OS, opt.loadBefore)
	slices.SortStableFunc(tables, func(x, y *scenarioTable) int {
		return slices.Index(fleetOrder, x.name) - slices.Index(fleetOrder, y.name)
	})
	for _, t := range tables {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n%s\n", t.name, fleetAbout[t.name], t.markdown())
	}
	fmt.Fprintf(&b, "## CPU per request\n\nµs of the gateway's CPU-time clock per answered request with three policies that all apply, of `scope: local` at a gateway by itself and of "+
		"`scope: cluster` at one of three, loaded in turn: median of %d rounds of %v with the lowest and highest, and the median of the rounds' ratios. What the gateway tells and "+
		"hears is included. The load is wrk with %d connections; each gateway has one thread, the measured ones on core %d, the load, the upstream (nginx) and the other two gateways on core %d.\n\n"+
		"| requests | local | cluster | ratio |\n|---|---:|---:|---:|\n", opt.rounds, opt.duration, opt.conns, opt.gatewayCore, opt.loadCore)
	for _, r := range rows {
		l, s, x := stats.Of(r.local.cpu), stats.Of(r.shared.cpu), stats.Of(pairwise(r.shared.cpu, r.local.cpu, over))
		fmt.Fprintf(&b, "| %s | %.2f (%.2f–%.2f) | %.2f (%.2f–%.2f) | **%.2f** (%.2f–%.2f) |\n", r.about, l.Median, l.Min, l.Max, s.Median, s.Min, s.Max, x.Median, x.Min, x.Max)
	}
	b.WriteString(fleetMethod)
	fmt.Fprintf(&b, "\n- weir: %s (CPU per request)\n\nRepeat with `make deps bench-fleet` (Linux, two cores or more, root for the network namespaces).\n", machine.Build(opt.weir))
	return b.String()
}

const fleetMethod = `
## How it is measured

Every gateway is a process of its own. A client of each gateway sends at a rate that the answers do not change (open loop) on four connections,
and notes when each request was sent, when its answer came, and whether that was 200 or 429. The rest is computed from these.

- *One bucket admits*: what a single token bucket admits of the same requests, taken in the order and at the times in which they were sent. It is the smaller of the
  demand and burst + rate × T.
- *Error*: admitted beside that, over the whole run. It is uncertain by what passes during the latency of a request at the end of the run, less than one request here.
- *Most over the envelope*: by how much admissions exceed burst + rate × T, over all intervals T of the run. A decision lies between sending and answer; this figure takes the
  longest interval that can hold the decisions, so it is exceeded for sure, and the figure *by times of answers* is the same as if a request had been decided about when its answer came.
  Negative: never exceeded, by that much.
- *Bound shown* and *seen by nodes* are what ` + "`GET /api/v1/policies/{name}`" + ` says under ` + "`excess`" + `, the highest of the three gateways.
- *Views complete*: every gateway's ` + "`GET /api/v1/cluster`" + ` lists all as alive and hears all. The gateways' counters of decisions must sum to what the clients counted.

The network between namespaces is a switch in the test's own process, behind a TUN device in each namespace: a packet that one sends is handed to the other, late, or not at all.
It stands for tc netem, which the kernel of a small virtual machine may lack, and adds some 0.1 ms.
`
