package main

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"weir/tests/bench/stats"
)

// runLoad loads all targets at once, each at the same rate, and prints a table of what they answered.
func runLoad(opt *options) error {
	if len(opt.targets) == 0 {
		return errors.New("load: -targets must name addresses, as 127.0.0.1:8001,127.0.0.1:8002")
	}
	rate := opt.rate
	if rate == 0 {
		rate = 150
	}
	request := []byte("GET /orders/17 HTTP/1.1\r\nHost: api.example.com\r\n" + opt.header + "\r\n\r\n")
	results := make([]*paceResult, len(opt.targets))
	failures := make([]error, len(opt.targets))
	var wg sync.WaitGroup
	for i, target := range opt.targets {
		wg.Go(func() {
			results[i], failures[i] = pace(paceConfig{Address: target, Request: request, Rate: rate, Duration: opt.duration, Conns: 8})
		})
	}
	wg.Wait()
	if err := errors.Join(failures...); err != nil {
		return fmt.Errorf("load: %w (is it running?)", err)
	}
	fmt.Printf("%.0f requests/s to each of %d gateways for %v, %s\n\n", rate, len(opt.targets), opt.duration, opt.header)
	fmt.Print(loadTable(opt.targets, results))
	return nil
}

// loadTable counts answers by class, one row a target and one for all.
func loadTable(targets []string, results []*paceResult) string {
	var b strings.Builder
	b.WriteString("| gateway | 2xx | 429 | other | no answer | p50 | p99 |\n|---|---:|---:|---:|---:|---:|---:|\n")
	var sum paceResult
	row := func(name string, r *paceResult) {
		ok, limited := r.count(200, 299), r.count(429, 429)
		l := r.latencies(0, time.Hour)
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %v | %v |\n", name, ok, limited, len(r.Samples)-ok-limited, r.Failed,
			stats.Quantile(l, 0.50).Round(time.Microsecond), stats.Quantile(l, 0.99).Round(time.Microsecond))
	}
	for i, r := range results {
		row(targets[i], r)
		sum.Samples = append(sum.Samples, r.Samples...)
		sum.Failed += r.Failed
	}
	row("all", &sum)
	return b.String()
}
