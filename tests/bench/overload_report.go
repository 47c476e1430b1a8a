package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weir/tests/bench/machine"
)

// overloadTests are the tests that the report is made of.
const overloadTests = "^Test(Overload|Fair|Priorities|Bandwidth)"

// overloadAbout says of each table of the tests what was done.
var overloadAbout = map[string]string{
	"Offered more than the upstream can do": "Steps of 12 s, figures from the third second of each on; the last row of a gate is from two seconds after the overload on. *None*: 4,096 connections and " +
		"no queue, as good as no gate. *Fixed*: 22 connections, which somebody must know. *Gradient*: nothing is known. *At the upstream* is the mean time there, 60 ms of it work.",
	"An upstream in trouble, and retries": "One and a half times the capacity is offered. Two attempts on a fault, a time-out of 200 ms or a 503, with a budget of 20 %; no breaker, so that the budget is all " +
		"that holds attempts back.",
	"The upstream killed for 2 s at three times its capacity": "Every socket of the upstream is closed at once. The breaker opens at ten failures, half-opens after 300 ms, and doubles that once.",
	"One tenant of ten at a hundred times its share":          "A share is a tenth of the capacity; nine tenants ask for 90 % of theirs.",
	"Weights 4 : 2 : 1, each asks for the whole capacity":     "Shares of what was served.",
	"Ten tenants, each asks for 1.5 to 4.5 times its share":   "All have the same weight. Jain's index is (Σx)² / (n·Σx²): 1 if all have the same.",
	"Priorities at three times the capacity":                  "The queue alone, and with load shedding in front of it.",
	"Bandwidth":                                               "The rates of one flow are measured beside each other, after the burst. The others are the mean over the run but its first second.",
	"What does not hold":                                      "Assertions of the tests that failed in this run.",
}

// overloadOrder is the order of the tables; one that is not in it comes first.
var overloadOrder = []string{"What does not hold", "Offered more than the upstream can do", "One tenant of ten at a hundred times its share", "Weights 4 : 2 : 1, each asks for the whole capacity",
	"Ten tenants, each asks for 1.5 to 4.5 times its share", "Priorities at three times the capacity", "An upstream in trouble, and retries",
	"The upstream killed for 2 s at three times its capacity", "Bandwidth"}

// runOverload has the tests of overload run at full length and writes what they measured to opt.out, whatever they find.
func runOverload(ctx context.Context, opt *options) error {
	tables, failed := overloadScenarios(ctx, opt.repo)
	if len(tables) == 0 {
		return errors.Join(failed, errors.New("nothing was measured"))
	}
	report := renderOverload(opt, tables)
	fmt.Print(report)
	if opt.out == "" {
		return failed
	}
	return errors.Join(failed, os.WriteFile(opt.out, []byte(report), 0o644))
}

// overloadScenarios returns what the tests recorded, also if they fail.
func overloadScenarios(ctx context.Context, repo string) ([]*scenarioTable, error) {
	dir, err := os.MkdirTemp("", "weir-overload-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a leftover in the temporary directory harms nobody
	path := filepath.Join(dir, "figures")
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout", "30m", "-v", "-run", overloadTests, "./tests")
	cmd.Dir, cmd.Stdout, cmd.Stderr = repo, os.Stderr, os.Stderr
	cmd.Env = append(os.Environ(), "WEIR_OVERLOAD_FULL=1", "WEIR_FLEET_FIGURES="+path) // all tests record to the latter
	failed := cmd.Run()
	if failed != nil {
		failed = fmt.Errorf("tests of overload: %w", failed)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	defer func() { _ = file.Close() }() // read only
	tables, err := readFigures(file)
	return tables, errors.Join(failed, err)
}

// renderOverload is the report as Markdown.
func renderOverload(opt *options, tables []*scenarioTable) string {
	var b strings.Builder
	m := machine.This()
	fmt.Fprintf(&b, "# Overload, fairness, priorities and bandwidth\n\n%s, commit %s. %s, %s, %s. Load average before the run: %s (gateway, clients and upstream share the machine).\n\n",
		time.Now().UTC().Format(time.DateOnly), machine.Commit(opt.repo), m.CPU, m.Kernel, m.OS, opt.loadBefore)
	slices.SortStableFunc(tables, func(x, y *scenarioTable) int {
		return slices.Index(overloadOrder, x.name) - slices.Index(overloadOrder, y.name)
	})
	for _, t := range tables {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n%s\n", t.name, overloadAbout[t.name], t.markdown())
	}
	b.WriteString(overloadMethod)
	return b.String()
}

const overloadMethod = `
## How it is measured

- The upstream has 20 workers that take 60 ms ± 20 % for a request, which is a capacity of 333/s, and a queue without bound, first come first served. It works on requests whose client has
  left as well. A worker that wakes up late is credited the time, so that the capacity holds.
- Clients send at random times (Poisson) whatever was answered before (open loop), each request on a free connection or a new one, and leave after 1.5 s, closing the connection. A run in which more
  than 1 % of the requests was sent more than 50 ms late, or one more than 500 ms, is repeated.
- *Goodput* is answers of 200 within that time, by when they came. *Served*, latencies and what was not served are by when requests were sent.
- *503 queue_timeout*, *queue_full* and *shed* are the gateway's refusals by their Weir-Reason, each with Retry-After; *left* are clients that waited in vain.
- The queue's longest wait is 500 ms.

Repeat with ` + "`make bench-overload`" + ` (Linux, two cores or more).
`
