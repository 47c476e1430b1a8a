//go:build !race

package body

// raceEnabled: sync.Pool drops at random under the race detector, so allocations cannot be counted.
const raceEnabled = false
