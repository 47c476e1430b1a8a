//go:build race

package cache

// raceEnabled: the race detector allocates, so allocations cannot be counted.
const raceEnabled = true
