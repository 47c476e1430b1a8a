package shaping

// laneHeap is a binary heap of flows, each of which knows its place in it by at. All but top is O(log n).
type laneHeap struct {
	flows  []*flow
	before func(a, b *flow) bool
	at     int
}

func (h *laneHeap) len() int { return len(h.flows) }

// top returns the first of all; there must be one.
func (h *laneHeap) top() *flow { return h.flows[0] }

func (h *laneHeap) push(f *flow) {
	f.at[h.at] = len(h.flows)
	h.flows = append(h.flows, f)
	h.up(f.at[h.at])
}

func (h *laneHeap) remove(f *flow) {
	i, last := f.at[h.at], len(h.flows)-1
	moved := h.flows[last]
	h.flows[i] = moved
	moved.at[h.at] = i
	h.flows[last] = nil
	h.flows = h.flows[:last]
	if i < last {
		h.fix(moved)
	}
}

// fix moves f to where it belongs after it has changed.
func (h *laneHeap) fix(f *flow) {
	h.up(f.at[h.at])
	h.down(f.at[h.at])
}

func (h *laneHeap) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.before(h.flows[i], h.flows[parent]) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *laneHeap) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h.flows) {
			return
		}
		if child+1 < len(h.flows) && h.before(h.flows[child+1], h.flows[child]) {
			child++
		}
		if !h.before(h.flows[child], h.flows[i]) {
			return
		}
		h.swap(i, child)
		i = child
	}
}

func (h *laneHeap) swap(i, j int) {
	h.flows[i], h.flows[j] = h.flows[j], h.flows[i]
	h.flows[i].at[h.at], h.flows[j].at[h.at] = i, j
}
