package main

import (
	"flag"
	"strings"
	"testing"

	"weir/tests/bench/machine"
)

var overloadReport = flag.String("overload-report", "", "run the tests of overload at full length and write this file (make bench-overload)")

// TestOverloadReport writes the report, with -overload-report only.
func TestOverloadReport(t *testing.T) {
	if *overloadReport == "" {
		t.Skip("part of make bench-overload")
	}
	if err := runOverload(t.Context(), &options{repo: "../..", out: *overloadReport, loadBefore: machine.LoadAverage()}); err != nil {
		t.Error(err)
	}
}

// TestRenderOverload checks that what does not hold stands first, and that each table is told about.
func TestRenderOverload(t *testing.T) {
	var tables []*scenarioTable
	for i := range overloadOrder {
		name := overloadOrder[len(overloadOrder)-1-i]
		if overloadAbout[name] == "" {
			t.Errorf("nothing is said about %q", name)
		}
		tables = append(tables, &scenarioTable{name: name, columns: []string{"a", "b"}, rows: [][]string{{"1", "2"}}})
	}
	report := renderOverload(&options{repo: "../.."}, tables)
	at := -1
	for _, name := range overloadOrder {
		i := strings.Index(report, "\n## "+name+"\n")
		if i <= at {
			t.Errorf("%q stands at %d, after %d", name, i, at)
		}
		at = i
	}
	if len(overloadAbout) != len(overloadOrder) {
		t.Errorf("%d tables have an order, %d are told about", len(overloadOrder), len(overloadAbout))
	}
}
