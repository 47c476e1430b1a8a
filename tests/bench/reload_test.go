package main

import (
	"strings"
	"testing"
	"time"
)

func TestLargeConfig(t *testing.T) {
	old, changed := largeConfig(1, 2, 3, 0), largeConfig(1, 2, 3, 1)
	for _, want := range []string{"{name: r9999, match: {path: \"/r/9999/*\"}", "{name: p999,", "routes: [r9999]}"} {
		if !strings.Contains(old, want) {
			t.Errorf("configuration lacks %q", want)
		}
	}
	a, b := strings.Split(old, "\n"), strings.Split(changed, "\n")
	differ := 0
	for i := range a {
		if a[i] != b[i] {
			differ++
		}
	}
	if want := 1 + reloadRoutes/10 + reloadPolicies; len(a) != len(b) || differ != want {
		t.Errorf("%d lines differ, want %d", differ, want)
	}
}

func TestRenderReload(t *testing.T) {
	got := renderReload(&options{weir: "none"}, 5000, time.Second, []reloadFigures{
		{took: 321 * time.Millisecond, before: 200 * time.Microsecond, after: 1500 * time.Microsecond},
		{took: 300 * time.Millisecond}})
	for _, want := range []string{"| 1 | 321ms | 200 µs | 1.50 ms |\n", "| 2 | 300ms | 0 µs | 0 µs |\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("report lacks %q:\n%s", want, got)
		}
	}
}
