package shaping

// Crowds reports whether c's flow is one of those that make the queue long: it has, for its weight, at least half as many waiting in its band as the
// flow that has most. No lock if nobody waits.
func (g *Gate) Crowds(c Class) bool {
	if word(g.word.Load())&waiting == 0 {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	l := &g.queue.lanes[c.Band]
	f := l.flows[c.Flow]
	if f == nil || f.length == 0 {
		return false
	}
	most := l.longest.top()
	return 2*uint64(f.length)*most.weight >= uint64(most.length)*f.weight
}
