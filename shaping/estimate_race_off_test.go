//go:build !race

package shaping

const estimateRace = false
