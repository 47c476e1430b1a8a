package shaping

// Backlogged reports whether somebody of c's flow waits in c's band: then the flow has its share, and asks for more. No lock if nobody waits.
func (g *Gate) Backlogged(c Class) bool {
	if word(g.word.Load())&waiting == 0 {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.queue.lanes[c.Band].flows[c.Flow]
	return f != nil && f.length > 0
}
