package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"weir/tests/bench/stats"
)

const direct = "direct to the upstream"

// measureLatency loads every gateway, and the upstream itself, at the same constant rate in turn.
func measureLatency(ctx context.Context, opt *options, rate float64) (*table, error) {
	if opt.rate > 0 {
		rate = opt.rate
	}
	if rate <= 0 {
		return nil, fmt.Errorf("no rate: run the scenario pass first, or give -rate")
	}
	r, err := newRig(ctx, opt, settings{})
	if r != nil {
		defer r.close()
	}
	if err != nil {
		return nil, err
	}
	legs, err := scenario{legs: opt.legs}.start(ctx, r)
	if err != nil {
		return nil, err
	}
	legs = append([]*leg{{name: direct, address: local(r.upstream), server: r.servers[0]}}, legs...)
	t := &table{name: "Latency at half load", peer: direct, about: fmt.Sprintf(
		"Requests at a constant %.0f/s on %d connections: half of the peak of the slowest gateway above. Latency is to the last byte of "+
			"the answer. CPU per request is higher than at the peak: a gateway that sleeps between requests finds fewer of them per wake-up.",
		rate, opt.conns)}
	for _, l := range legs {
		t.rows = append(t.rows, &figures{leg: l.name})
	}
	for round := range opt.rounds {
		for i, l := range legs {
			res, err := t.rows[i].add(l, func() (wrkResult, error) { return steady(ctx, opt, l.address, rate) })
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", l.name, round+1, err)
			}
			fmt.Fprintf(os.Stderr, "%s %d/%d %-22s p50 %v p99 %v\n", t.name, round+1, opt.rounds, l.name, res.P50, res.P99)
		}
	}
	return t, nil
}

// steady is a constant-rate load in wrk's terms. The first half second warms up and does not count. Anything but 200 is an
// error.
func steady(ctx context.Context, opt *options, address string, rate float64) (wrkResult, error) {
	const warm = 500 * time.Millisecond
	out, err := pacedFrom(ctx, opt.loadCore, paceConfig{Address: address, Request: rawRequest(requestPath), Rate: rate,
		Duration: opt.duration, Conns: opt.conns})
	if err != nil {
		return wrkResult{}, err
	}
	if ok := out.count(200, 200); out.Failed > 0 || ok != len(out.Samples) || ok == 0 {
		return wrkResult{}, fmt.Errorf("%d of %d answers were 200, %d requests failed %s", ok, len(out.Samples), out.Failed, out.Why)
	}
	l := out.latencies(warm, opt.duration)
	return wrkResult{Requests: int64(len(out.Samples)), Elapsed: opt.duration, P50: stats.Quantile(l, 0.50), P99: stats.Quantile(l, 0.99)}, nil
}
