package stats

import "testing"

func TestOf(t *testing.T) {
	f := func(values []float64, want Spread) {
		t.Helper()
		if got := Of(values); got != want {
			t.Errorf("Of(%v) = %v, want %v", values, got, want)
		}
	}
	f([]float64{3}, Spread{3, 3, 3})
	f([]float64{9, 1, 5}, Spread{1, 5, 9})
	f([]float64{4, 1, 2, 9}, Spread{1, 3, 9})
}

func TestQuantile(t *testing.T) {
	f := func(sorted []int, q float64, want int) {
		t.Helper()
		if got := Quantile(sorted, q); got != want {
			t.Errorf("Quantile(%v, %v) = %d, want %d", sorted, q, got, want)
		}
	}
	f(nil, 0.5, 0)
	f([]int{1, 2, 3, 4}, 0, 1)
	f([]int{1, 2, 3, 4}, 0.5, 2)
	f([]int{1, 2, 3, 4}, 0.51, 3)
	f([]int{1, 2, 3, 4}, 0.99, 4)
	f([]int{1, 2, 3, 4}, 1, 4)
}
