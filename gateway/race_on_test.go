//go:build race

package gateway

// raceEnabled: sync.Pool drops at random under the race detector, so allocations cannot be counted.
const raceEnabled = true
