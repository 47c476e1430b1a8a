// Package stats sums up measurements.
package stats

import (
	"cmp"
	"slices"
)

// Spread is the median of some runs with the lowest and highest.
type Spread struct{ Min, Median, Max float64 }

// Of sums up values; it panics on none. The median of an even number is the mean of the two in the middle.
func Of(values []float64) Spread {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return Spread{Min: s[0], Median: (s[(n-1)/2] + s[n/2]) / 2, Max: s[n-1]}
}

// Quantile is the smallest element of sorted that at least the share q (0 to 1) of all does not exceed; 0 of none.
func Quantile[T cmp.Ordered](sorted []T, q float64) T {
	var zero T
	if len(sorted) == 0 {
		return zero
	}
	i := int(q*float64(len(sorted))+0.9999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}
