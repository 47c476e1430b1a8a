//go:build race

package telemetry

// raceEnabled: sync.Pool drops values at random under the race detector, so allocation budgets do not hold there.
const raceEnabled = true
