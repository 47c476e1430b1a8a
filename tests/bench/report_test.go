package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestMarkdownRatios(t *testing.T) {
	tab := &table{peer: "nginx", rows: []*figures{
		{leg: "weir", cpu: []float64{10, 30, 20}, system: []float64{0.5, 0.5, 0.5}, rps: []float64{1, 2, 3}, p50: []float64{900, 900, 900},
			p99: []float64{1500, 1500, 1500}, resident: 20},
		{leg: "nginx", cpu: []float64{20, 30, 10}, system: []float64{0.8, 0.8, 0.8}, rps: []float64{1, 2, 3}, p50: []float64{1, 1, 1},
			p99: []float64{1, 1, 1}},
	}}
	got := tab.markdown()
	for _, want := range []string{
		"| weir | **20.00** (10.00–30.00) | **1.00** (0.50–2.00) | 50 % | 2 | 900 µs | 1.50 ms | 20 |\n",
		"| nginx | **20.00** (10.00–30.00) | – | 80 % | 2 | 1 µs | 1 µs | – |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("table lacks %q:\n%s", want, got)
		}
	}
}

func TestMarkdownAddedLatency(t *testing.T) {
	one := func(leg string, p50, p99 float64) *figures {
		return &figures{leg: leg, cpu: []float64{1}, system: []float64{1}, rps: []float64{1}, p50: []float64{p50}, p99: []float64{p99}}
	}
	got := (&table{peer: direct, rows: []*figures{one(direct, 40, 100), one("weir", 130, 1600)}}).markdown()
	if !strings.Contains(got, "| 90 µs / 1.50 ms |") {
		t.Errorf("table lacks the difference:\n%s", got)
	}
}

func TestLoadTable(t *testing.T) {
	r := &paceResult{Failed: 2, Samples: []sample{{Latency: time.Millisecond, Status: 200}, {Latency: 3 * time.Millisecond, Status: 429},
		{Latency: 2 * time.Millisecond, Status: 503}}}
	got := loadTable([]string{"a:1", "b:2"}, []*paceResult{r, r})
	for _, want := range []string{"| a:1 | 1 | 1 | 1 | 2 | 2ms | 3ms |\n", "| all | 2 | 2 | 2 | 4 | 2ms | 3ms |\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("table lacks %q:\n%s", want, got)
		}
	}
}

func TestTemplatesFill(t *testing.T) {
	r := &rig{dir: t.TempDir()}
	for _, name := range []string{"upstream.conf", "nginx.conf", "haproxy.cfg", "weir.yaml"} {
		for _, set := range []settings{{Dir: "d", Listen: 1, Upstream: 2}, {Refuse: true, Extra: upTo(2), Others: []other{{N: 1, Route: 1}, {N: 2, ByValue: true}}}} {
			if _, err := r.write("out", name, set); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestVerify(t *testing.T) {
	f := func(check func(wrkResult) error, r wrkResult, ok bool) {
		t.Helper()
		if err := check(r); (err == nil) != ok {
			t.Errorf("%+v: %v", r, err)
		}
	}
	f(noErrors, wrkResult{Requests: 10}, true)
	f(noErrors, wrkResult{Requests: 10, NonOK: 1}, false)
	f(noErrors, wrkResult{Requests: 10, SocketErrors: 1}, false)
	f(nearlyAllRefused, wrkResult{Requests: 10_000, NonOK: 9_995}, true)
	f(nearlyAllRefused, wrkResult{Requests: 10_000, NonOK: 9_000}, false)
	f(nearlyAllRefused, wrkResult{Requests: 10_000, NonOK: 10_000, SocketErrors: 1}, false)
}

func TestOtherPoliciesApplyToNoRequest(t *testing.T) {
	r := &rig{dir: t.TempDir()}
	path, err := r.write("out", "weir.yaml", settings{Extra: upTo(2), Others: []other{{N: 4, Route: 1}, {N: 5, ByValue: true}}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"name: other-4, ", "window: 1s, routes: [extra-1]}\n", "name: other-5, ", "window: 1s, when: \"tenant == 'nobody-5'\"}\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("lacks %q", want)
		}
	}
}
