package shaping

import (
	"testing"

	"weir/internal/mono"
)

// TestCrowds: who has about as much waiting as anybody crowds the queue, who has little beside others does not; weights count.
func TestCrowds(t *testing.T) {
	g := NewGate(GateConfig{Limit: 1, MaxLength: 100, MaxWait: 1 << 40})
	g.TryEnter()
	f := func(flow uint64, weight uint16, want bool) {
		t.Helper()
		if got := g.Crowds(Class{Normal, weight, flow}); got != want {
			t.Errorf("flow %d: %v, want %v", flow, got, want)
		}
	}
	come := func(flow uint64, weight uint16, n int) {
		for range n {
			if w, _, r := g.enqueue(&Ask{Class: Class{Normal, weight, flow}, Due: mono.Never}, 1); w == nil {
				t.Fatal(r)
			}
		}
	}
	f(1, 1, false)
	come(1, 1, 1)
	f(1, 1, true)
	come(2, 1, 9)
	f(1, 1, false)
	f(2, 1, true)
	f(3, 1, false)
	come(4, 4, 17) // for its weight less than half of the nine
	f(4, 4, false)
	come(4, 4, 1)
	f(4, 4, true)
	if g.Crowds(Class{High, 1, 2}) {
		t.Error("in another band")
	}
}
