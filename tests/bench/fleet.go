package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"weir/tests/bench/stats"
)

// runFleet measures gateways that share limits: what a shared limit costs a request, here, and what it admits, by the tests of the main
// module at full length. The report is written whatever they find; what does not hold is in it, and is an error. With the one scenario
// "cpu" only the cost is measured, and no report written.
func runFleet(ctx context.Context, opt *options) error {
	rows, failed := measureShared(ctx, opt)
	var tables []*scenarioTable
	if !slices.Equal(opt.scenarios, list{"cpu"}) {
		var err error
		tables, err = fleetScenarios(ctx, opt.repo)
		failed = errors.Join(failed, err)
	}
	report := renderFleet(opt, rows, tables)
	fmt.Print(report)
	if len(tables) > 0 && opt.out != "" {
		failed = errors.Join(failed, os.WriteFile(opt.out, []byte(report), 0o644))
	}
	return failed
}

// sharedConfig has policies of the same numbers that are shared or not. At /hot and /short a third of the limit is less than the load,
// so that one gateway of three can only admit it if the others leave it their shares; at /cold it is far more.
const sharedConfig = `
node: {name: bench-{{.Node}}, data_dir: ""}
admin: {address: "127.0.0.1:{{.Admin}}"}
telemetry: {access_log: {output: "off"}, log: {level: warn}}
listeners: [{name: web, address: "127.0.0.1:{{.Listen}}"}]
dimensions:
  - {name: api_key, from: "header:x-api-key", secret: true}
  - {name: user_id, from: "header:x-user-id"}
  - {name: tenant, from: "header:x-tenant", default: anonymous}
pools: [{name: api, endpoints: [{address: "127.0.0.1:{{.Upstream}}"}]}]
routes:
  - {name: hot, match: {path: /hot}, pool: api}
  - {name: cold, match: {path: /cold}, pool: api}
  - {name: short, match: {path: /short}, respond: {body: ok}}
  - {name: refused, match: {path: /refused}, respond: {body: ok}}
{{- if eq .Scope "cluster"}}
cluster: {enabled: true, name: bench, bind: "127.0.0.1:{{.Cluster}}", join: [{{.Seeds}}]}
{{- end}}
policies:
{{- range .Limits}}
  - {name: {{.Route}}-tenant, routes: [{{.Route}}], dimensions: [tenant], algorithm: token_bucket, limit: {{.Limit}}, burst: {{.Burst}}, window: 1s, scope: {{$.Scope}}}
  - {name: {{.Route}}-user, routes: [{{.Route}}], dimensions: [tenant, user_id], algorithm: token_bucket, limit: {{.Limit}}, burst: {{.Burst}}, window: 1s, scope: {{$.Scope}}}
  - {name: {{.Route}}-key, routes: [{{.Route}}], dimensions: [api_key], algorithm: token_bucket, limit: {{.Limit}}, burst: {{.Burst}}, window: 1s, scope: {{$.Scope}}}
{{- end}}
`

// sharedSettings is what sharedConfig is filled with.
type sharedSettings struct {
	Node, Listen, Admin, Upstream, Cluster int
	Scope, Seeds                           string
	Limits                                 []sharedLimit
}

type sharedLimit struct {
	Route        string
	Limit, Burst int
}

// sharedScene is a load on a gateway whose policies are its own, and on one of three that share them.
type sharedScene struct {
	path, about string
	verify      func(wrkResult) error
	hot         int // keys that must be told
}

var sharedScenes = []sharedScene{
	{"/cold", "proxied, far below three limits: nothing is told", noErrors, 0},
	{"/hot", "proxied, three hot keys: each request spends what others left", noErrors, 3},
	{"/short", "answered by the gateway itself, three hot keys", noErrors, 3},
	{"/refused", "refused by a hot key", nearlyAllRefused, 1},
}

// sharedRow is a scene's figures.
type sharedRow struct {
	sharedScene
	local, shared *figures
}

// measureShared loads a gateway with local policies and one of a fleet of three in turn. The other two of the fleet run on the core of
// the load and hear what there is to hear.
func measureShared(ctx context.Context, opt *options) ([]sharedRow, error) {
	r, err := newRig(ctx, opt, settings{})
	if r != nil {
		defer r.close()
	}
	if err != nil {
		return nil, err
	}
	// How fast is it? By that the limits are chosen.
	probe, _, err := r.sharing(ctx, 1, "local", []sharedLimit{{"hot", 10_000_000, 10_000_000}, {"short", 10_000_000, 10_000_000}})
	if err != nil {
		return nil, err
	}
	limits := []sharedLimit{{"cold", 100_000_000, 100_000_000}, {"refused", 10, 10}}
	for _, name := range []string{"hot", "short"} {
		res, err := runWrk(ctx, opt.loadCore, "http://"+probe.address+"/"+name, opt.conns, time.Second, "")
		if err != nil {
			return nil, err
		}
		limit := int(1.5 * res.RPS())
		limits = append(limits, sharedLimit{name, limit, limit / 10})
	}
	probe.server.stop()
	local, _, err := r.sharing(ctx, 1, "local", limits)
	if err != nil {
		return nil, err
	}
	shared, admin, err := r.sharing(ctx, 3, "cluster", limits)
	if err != nil {
		return nil, err
	}
	var rows []sharedRow
	for _, sc := range sharedScenes {
		row := sharedRow{sc, &figures{leg: "local"}, &figures{leg: "cluster"}}
		for round := -1; round < opt.rounds; round++ { // the first one warms up
			for i, f := range []*figures{row.local, row.shared} {
				l, long := []*leg{local, shared}[i], opt.duration
				if round < 0 {
					f, long = &figures{}, time.Second
				}
				res, err := f.add(l, func() (wrkResult, error) {
					return runWrk(ctx, opt.loadCore, "http://"+l.address+sc.path, opt.conns, long, "")
				})
				if err == nil && round >= 0 {
					err = sc.verify(res)
				}
				if err == nil && round >= 0 && l == shared {
					err = hasHotKeys(admin, sc.hot)
				}
				if err != nil {
					return rows, fmt.Errorf("%s, %s, round %d: %w", sc.path, l.name, round+1, err)
				}
			}
		}
		fmt.Fprintf(os.Stderr, "%-9s local %.2f µs, cluster %.2f µs\n", sc.path, stats.Of(row.local.cpu).Median, stats.Of(row.shared.cpu).Median)
		rows = append(rows, row)
		time.Sleep(2 * time.Second) // hot keys become cold
	}
	return rows, nil
}

// sharing starts n gateways of sharedConfig and returns the first, which has the gateway's core, and its admin address.
func (r *rig) sharing(ctx context.Context, n int, scope string, limits []sharedLimit) (*leg, string, error) {
	all := make([]sharedSettings, n)
	var seeds []string
	for i := range all {
		s := &all[i]
		*s = sharedSettings{Node: i, Upstream: r.upstream, Scope: scope, Limits: limits}
		for _, p := range []*int{&s.Listen, &s.Admin, &s.Cluster} {
			var err error
			if *p, err = freePort(); err != nil {
				return nil, "", err
			}
		}
		seeds = append(seeds, fmt.Sprintf("%q", local(s.Cluster)))
	}
	config := template.Must(template.New("").Parse(sharedConfig))
	var first *leg
	for i, s := range all {
		s.Seeds = strings.Join(seeds, ", ")
		var text bytes.Buffer
		if err := config.Execute(&text, s); err != nil {
			return nil, "", err
		}
		path := filepath.Join(r.dir, fmt.Sprintf("shared-%d.yaml", s.Listen))
		if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
			return nil, "", err
		}
		core := r.opt.loadCore
		if i == 0 {
			core = r.opt.gatewayCore
		}
		server, err := r.start(ctx, "weir", core, s.Listen, []string{"GOMAXPROCS=1"}, r.opt.weir, "run", "-c", path)
		if err != nil {
			return nil, "", err
		}
		if i == 0 {
			first = &leg{name: scope, address: local(s.Listen), server: server}
		}
	}
	admin := local(all[0].Admin)
	for end := time.Now().Add(15 * time.Second); n > 1; time.Sleep(50 * time.Millisecond) {
		if v, err := fleetView(admin); err == nil && v.Nodes == n && v.Heard == n {
			break
		} else if time.Now().After(end) {
			return nil, "", fmt.Errorf("%d gateways do not find each other: %+v, %w", n, v, err)
		}
	}
	return first, admin, nil
}

// sharedView is what GET /api/v1/cluster answers, as far as it is needed.
type sharedView struct {
	Nodes   int `json:"nodes"`
	Heard   int `json:"heard"`
	HotKeys int `json:"hot_keys"`
}

func fleetView(admin string) (v sharedView, err error) {
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Get("http://" + admin + "/api/v1/cluster")
	if err != nil {
		return v, err
	}
	defer func() { _ = resp.Body.Close() }() // it is read
	return v, json.NewDecoder(resp.Body).Decode(&v)
}

// hasHotKeys says so if a gateway does not tell as many keys as a scene is about.
func hasHotKeys(admin string, n int) error {
	v, err := fleetView(admin)
	if err == nil && v.Nodes != v.Heard {
		err = fmt.Errorf("hears %d of %d gateways", v.Heard, v.Nodes)
	}
	if err == nil && (v.HotKeys < n || n == 0 && v.HotKeys > 0) {
		err = fmt.Errorf("%d hot keys, want %d", v.HotKeys, n)
	}
	return err
}

// scenarioTable is what the tests recorded of one kind.
type scenarioTable struct {
	name    string
	columns []string
	rows    [][]string
}

// fleetScenarios runs the tests of fleets at full length and returns what they recorded, also if they fail.
func fleetScenarios(ctx context.Context, repo string) ([]*scenarioTable, error) {
	dir, err := os.MkdirTemp("", "weir-fleet-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a leftover in the temporary directory harms nobody
	path := filepath.Join(dir, "figures")
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout", "30m", "-v", "-run", "^TestFleet", "./tests")
	cmd.Dir, cmd.Stdout, cmd.Stderr = repo, os.Stderr, os.Stderr
	cmd.Env = append(os.Environ(), "WEIR_FLEET_FULL=1", "WEIR_FLEET_FIGURES="+path)
	failed := cmd.Run()
	if failed != nil {
		failed = fmt.Errorf("tests of fleets: %w", failed)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	defer func() { _ = file.Close() }() // read only
	tables, err := readFigures(file)
	return tables, errors.Join(failed, err)
}

// readFigures gathers the lines that tests wrote into tables.
func readFigures(from io.Reader) ([]*scenarioTable, error) {
	var tables []*scenarioTable
	byName := map[string]*scenarioTable{}
	for in := json.NewDecoder(from); ; {
		var line struct {
			Table          string
			Columns, Cells []string
		}
		if err := in.Decode(&line); err == io.EOF {
			return tables, nil
		} else if err != nil {
			return tables, fmt.Errorf("figures: %w", err)
		}
		t := byName[line.Table]
		if t == nil {
			t = &scenarioTable{name: line.Table, columns: line.Columns}
			byName[line.Table] = t
			tables = append(tables, t)
		}
		t.rows = append(t.rows, line.Cells)
	}
}

// markdown is t with its rows as rows, or, where few have many figures, with its rows as columns.
func (t *scenarioTable) markdown() string {
	grid := append([][]string{t.columns}, t.rows...)
	if len(t.columns) > 9 {
		turned := make([][]string, len(t.columns))
		for i := range turned {
			for _, row := range grid {
				turned[i] = append(turned[i], row[i])
			}
		}
		grid = turned
		if len(t.rows) == 1 {
			grid = append([][]string{{"", ""}}, grid...)
		}
	}
	var b strings.Builder
	for i, row := range grid {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString("|---" + strings.Repeat("|---:", len(row)-1) + "|\n")
		}
	}
	return b.String()
}
