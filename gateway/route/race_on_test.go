//go:build race

package route

// Under the race detector sync.Pool drops what it is given at random.
const race = true
