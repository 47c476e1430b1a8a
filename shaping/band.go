package shaping

// Band is how much a request matters; those of a higher one go first.
type Band uint8

const (
	Critical Band = iota // the highest
	High
	Normal
	Low
	Bands = 4
)
