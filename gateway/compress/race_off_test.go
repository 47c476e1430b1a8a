//go:build !race

package compress

// raceEnabled: sync.Pool drops at random under the race detector, so allocations cannot be counted.
const raceEnabled = false
