package expr

import (
	"strings"
	"testing"
	"time"
)

// No shape of JSON makes an evaluation long: the meter ends it.
func TestCostIsMetered(t *testing.T) {
	numbers := make([]any, 500_000) // 1 MiB of "0,"
	for i := range numbers {
		numbers[i] = 0.0
	}
	words := make([]any, 50)
	for i := range words {
		words[i] = strings.Repeat("a", MaxValue)
	}
	lists := make([]any, 170_000) // and of "[[]],"
	for i := range lists {
		lists[i] = []any{[]any{}}
	}
	resp := &response{json: map[string]any{"n": numbers, "w": words, "l": lists}}
	f := func(src, want string) {
		t.Helper()
		start := time.Now()
		_, err := compileSettle(t, src).Cost(newRequest(), resp)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", src, err, want)
		}
		if d := time.Since(start); d > 2*time.Second { // a hundredth of one when alone
			t.Errorf("%s took %v", src, d)
		}
	}
	const meter = "cost limit exceeded"
	f(`response.json.n.all(x, true) ? 1 : 2`, meter)
	f(`response.json.n.exists(x, x > 0) ? 1 : 2`, meter)
	f(`response.json.n.map(x, x + 1)[0]`, meter)
	f(`response.json.n.exists(x, response.json.n.exists(y, y > x)) ? 1 : 2`, meter)
	f(`response.json.n.exists(x, 1 in response.json.n) ? 1 : 2`, meter)
	f(`response.json.n.exists(x, response.json.n.exists(y, true) && false) ? 1 : 2`, meter)
	f(`response.json.n.map(x, response.json.n).exists(x, x[0] == 1) ? 1 : 2`, meter)
	f(`response.json.w.map(x, x + x + x + x + x + x + x + x + x + x + x + x + x + x + x + x).exists(x, size(x) == 0) ? 1 : 2`, meter)
	f(`response.json.w.exists(x, response.json.w.exists(y, x + "a" < y + "a")) ? 1 : 2`, meter)
	f(`response.json.n.exists(x, size(response.json.w[0]) == 0) ? 1 : 2`, meter)
	f(`response.json.w.exists(x, x.replace("a", "bbbbbbbbbbbbbbbb").contains("aab")) ? 1 : 2`, meter)
	f(`response.json.w.map(x, x.split("").map(y, y + x)).exists(x, size(x) == 0) ? 1 : 2`, meter)
	f(`response.json.l.exists(x, x == response.json.l) ? 1 : 2`, "as a whole")
	f(`response.json.l.map(x, response.json.l) == response.json.l ? 1 : 2`, meter)
	f(`response.json.l[0] in response.json.l ? 1 : 2`, "as a whole")
	f(`response.json.exists(k, true) ? 1 : 2`, "not listed")
}

var settleBenchmarks = []string{
	`response.headers["x-cost"]`,
	`response.json.usage.total_tokens`,
	`response.status < 500 ? int(response.json.usage.total_tokens) * 2 : 0`,
	`response.json.calls.exists(c, c.n > 4) ? 1 : 2`,
}

// Budgets: one is the meter's own; the others are what is looked at, and what a call costs whose overload is found late.
func TestCostAllocations(t *testing.T) {
	r, resp := newRequest(), newResponse(t, false)
	for i, want := range []float64{3, 2, 5} {
		s := compileSettle(t, settleBenchmarks[i])
		got := testing.AllocsPerRun(500, func() {
			if _, err := s.Cost(r, resp); err != nil {
				t.Fatal(err)
			}
		})
		if got > want {
			t.Errorf("%s: %v allocations, want %v", settleBenchmarks[i], got, want)
		}
	}
}

func BenchmarkCost(b *testing.B) {
	for _, src := range settleBenchmarks {
		s := compileSettle(b, src)
		b.Run(src, func(b *testing.B) {
			r, resp := newRequest(), newResponse(b, false)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Cost(r, resp); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
