package limiter

import (
	"slices"

	"weir/internal/mono"
)

// correct sets the level without anybody having said so: no higher than by what nodes did say.
func (c *cell) correct(level float64) {
	level = min(level, c.level+c.presumed, c.of.size)
	c.presumed -= level - c.level
	c.setLevel(level)
}

// tolerance is by how much levels may differ for good.
func (m *shares) tolerance() float64 { return max(3, idleShare*m.size) }

// agree draws the level towards the median of the peers' (of two in the middle, the nearer one) where they differ for long, as after joins
// and healed splits. While most peers are honest, the median is no higher than some honest node's level, so that nobody's word
// makes anything that was not there; a single peer's word raises the level by no more than correct allows.
func (c *cell) agree() {
	list := make([]float64, 0, 32)
	for i := range c.peers {
		if q := &c.peers[i]; q.known && !q.stale && q.d > 0 {
			list = append(list, q.apart)
		}
	}
	if len(list) == 0 {
		return
	}
	slices.Sort(list)
	low, high := list[(len(list)-1)/2], list[len(list)/2]
	idle, by := c.of.tolerance(), 0.0
	switch {
	case high < -idle:
		by = (high + idle) / 4
	case low > idle:
		by = (low - idle) / 4
	default:
		return
	}
	old := c.level
	if len(list) > 1 {
		c.presumed = max(c.presumed, by)
	}
	c.correct(c.level + by)
	for i := range c.peers {
		if q := &c.peers[i]; q.known && !q.stale && q.d > 0 {
			q.apart -= c.level - old
		}
	}
}

// calm reports that the level has not jumped lately, so that it may be compared with others'.
func (c *cell) calm(now mono.Time) bool { return now.Sub(c.jumped) > 2*c.of.fleet.interval }
