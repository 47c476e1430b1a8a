package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"weir/tests/bench/machine"
	"weir/tests/bench/stats"
)

const (
	reloadRoutes   = 10_000
	reloadPolicies = 1_000
)

// reloadFigures is what one reload under load did.
type reloadFigures struct {
	took          time.Duration // of the admin call
	before, after time.Duration // p99 in the seconds before, and from the call until a second after its end
}

// runReload changes a large configuration under a constant load, once a round, and reports how long that took and what the
// requests noticed. It fails if a request failed.
func runReload(ctx context.Context, opt *options) error {
	r, err := newRig(ctx, opt, settings{})
	if r != nil {
		defer r.close()
	}
	if err != nil {
		return err
	}
	listen, err := freePort()
	if err != nil {
		return err
	}
	admin, err := freePort()
	if err != nil {
		return err
	}
	path := filepath.Join(r.dir, "large.yaml")
	version := func(n int) string { return largeConfig(listen, admin, r.upstream, n) }
	if err := os.WriteFile(path, []byte(version(0)), 0o644); err != nil {
		return err
	}
	began := time.Now()
	if _, err := r.start(ctx, "weir", -1, listen, nil, opt.weir, "run", "-c", path); err != nil {
		return err
	}
	startUp := time.Since(began)
	rate := opt.rate
	if rate == 0 {
		rate = 5000
	}
	load := reloadLoad{opt: opt, path: path, version: version, admin: local(admin), address: local(listen), rate: rate}
	rounds, err := load.run(ctx)
	if err != nil {
		return err
	}
	report := renderReload(opt, rate, startUp, rounds)
	fmt.Print(report)
	if opt.out == "" {
		return nil
	}
	return os.WriteFile(opt.out, []byte(report), 0o644)
}

// reloadLoad is a gateway under a constant load whose file changes.
type reloadLoad struct {
	opt            *options
	path           string
	version        func(int) string
	admin, address string
	rate           float64
}

// run reloads once a round, duration apart, under one load.
func (l reloadLoad) run(ctx context.Context) ([]reloadFigures, error) {
	type loaded struct {
		out *paceResult
		err error
	}
	done := make(chan loaded, 1)
	total := time.Duration(l.opt.rounds+1) * l.opt.duration
	began := time.Now()
	go func() {
		out, err := pacedFrom(ctx, -1, paceConfig{Address: l.address, Request: rawRequest("/r/9999/x"), Rate: l.rate, Duration: total,
			Conns: l.opt.conns})
		done <- loaded{out, err}
	}()
	var rounds []reloadFigures
	var calls []time.Duration
	for n := range l.opt.rounds {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Until(began.Add(time.Duration(n+1) * l.opt.duration))):
		}
		call := time.Since(began)
		f, err := l.reload(ctx, n+1)
		if err != nil {
			return nil, fmt.Errorf("reload %d: %w", n+1, err)
		}
		rounds, calls = append(rounds, f), append(calls, call)
	}
	load := <-done
	if load.err != nil {
		return nil, load.err
	}
	if ok := load.out.count(200, 200); load.out.Failed > 0 || ok != len(load.out.Samples) {
		return nil, fmt.Errorf("%d of %d answers were 200, %d requests failed %s", ok, len(load.out.Samples), load.out.Failed, load.out.Why)
	}
	for i := range rounds {
		rounds[i].before = stats.Quantile(load.out.latencies(calls[i]-2*time.Second, calls[i]-100*time.Millisecond), 0.99)
		rounds[i].after = stats.Quantile(load.out.latencies(calls[i], calls[i]+rounds[i].took+time.Second), 0.99)
	}
	return rounds, nil
}

// reload puts version n in place of the file and asks for a reload. Version n must answer then, also on the connection that the
// last look left idle.
func (l reloadLoad) reload(ctx context.Context, n int) (reloadFigures, error) {
	next := l.path + ".next"
	if err := os.WriteFile(next, []byte(l.version(n)), 0o644); err != nil {
		return reloadFigures{}, err
	}
	if err := os.Rename(next, l.path); err != nil {
		return reloadFigures{}, err
	}
	began := time.Now()
	status, _, err := call(ctx, http.MethodPost, "http://"+l.admin+"/api/v1/config/reload")
	took := time.Since(began)
	if err != nil {
		return reloadFigures{}, err
	}
	if status/100 != 2 {
		return reloadFigures{}, fmt.Errorf("the admin API answered %d", status)
	}
	_, body, err := call(ctx, http.MethodGet, "http://"+l.address+"/version")
	if err != nil {
		return reloadFigures{}, err
	}
	if want := fmt.Sprintf("version %d", n); body != want {
		return reloadFigures{}, fmt.Errorf("the gateway says %q after the reload, want %q", body, want)
	}
	return reloadFigures{took: took}, nil
}

func call(ctx context.Context, method, url string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), errors.Join(err, resp.Body.Close())
}

// largeConfig is a configuration of reloadRoutes routes and reloadPolicies policies. Versions differ in a fixed answer, in every
// tenth route and in every policy's limit.
func largeConfig(listen, admin, upstream, version int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "node: {name: bench, data_dir: \"\"}\nadmin: {address: \"127.0.0.1:%d\"}\n", admin)
	fmt.Fprintf(&b, "listeners:\n  - {name: web, address: \"127.0.0.1:%d\"}\n", listen)
	b.WriteString("dimensions:\n  - {name: tenant, from: \"header:x-tenant\"}\n  - {name: user_id, from: \"header:x-user-id\"}\n")
	fmt.Fprintf(&b, "pools:\n  - {name: api, endpoints: [{address: \"127.0.0.1:%d\"}]}\nroutes:\n", upstream)
	fmt.Fprintf(&b, "  - {name: version, match: {path: /version}, respond: {status: 200, body: \"version %d\"}}\n", version)
	for i := range reloadRoutes {
		timeout := 30
		if i%10 == 0 {
			timeout += version
		}
		fmt.Fprintf(&b, "  - {name: r%d, match: {path: \"/r/%d/*\"}, pool: api, timeout: %ds}\n", i, i, timeout)
	}
	b.WriteString("policies:\n")
	for i := range reloadPolicies {
		fmt.Fprintf(&b, "  - {name: p%d, dimensions: [tenant, user_id], limit: %d, routes: [r%d]}\n", i, 1_000_000+version, i*10+9)
	}
	b.WriteString("telemetry: {access_log: {output: \"off\"}, log: {level: warn}}\n")
	return b.String()
}

func renderReload(opt *options, rate float64, startUp time.Duration, rounds []reloadFigures) string {
	var b strings.Builder
	m := machine.This()
	fmt.Fprintf(&b, "# Reload under load\n\n%s, commit %s. %s, %s, %s. weir: %s. Load average before the run: %s.\n\n", time.Now().UTC().Format(time.DateOnly), machine.Commit(opt.repo),
		m.CPU, m.Kernel, m.OS, machine.Build(opt.weir), opt.loadBefore)
	fmt.Fprintf(&b, "%d routes and %d policies; %.0f requests/s on %d connections while the file is replaced and `POST /api/v1/config/reload` "+
		"called. Each version changes every tenth route and every policy. No request failed and each version answered as soon as the call returned (else there would be no report). Start to the "+
		"first accepted connection with this file: %v. Nothing is pinned: gateway, load and upstream share the machine.\n\n", reloadRoutes,
		reloadPolicies, rate, opt.conns, startUp.Round(time.Millisecond))
	b.WriteString("| reload | took | p99 in the 2 s before | p99 from the call to 1 s after it |\n|---:|---:|---:|---:|\n")
	for i, f := range rounds {
		fmt.Fprintf(&b, "| %d | %v | %s | %s |\n", i+1, f.took.Round(time.Millisecond), inMicros(micros(f.before)), inMicros(micros(f.after)))
	}
	b.WriteString("\nRepeat with `make bench-reload`.\n")
	return b.String()
}
