package fleetsim

// headers are the bytes that a message has on the wire besides its data: IPv4, UDP, and two for its type.
const headers = 20 + 8 + 2

func (e *engine) send(i int, msgs []Message) {
	for _, m := range msgs {
		m.From = i
		if m.To != Broadcast {
			e.sendTo(m.To, m)
			continue
		}
		for j := range e.nodes {
			if e.nodes[i].alive[j] {
				e.sendTo(j, m)
			}
		}
	}
}

func (e *engine) sendTo(j int, m Message) {
	if j == m.From {
		return
	}
	e.rec.sent(len(m.Data) + headers)
	if e.net.Float64() < e.Loss || e.cut[m.From][j] {
		return
	}
	m.To = j
	d := Time(float64(e.Delay) * min(0.5+0.5*e.net.ExpFloat64(), 10))
	e.at(e.now+d, func() {
		if s := e.nodes[j]; s.up {
			s.node.Receive(s.local(e.now), m)
			e.poll(j)
		}
	})
}

// happen makes an event of the scenario come true.
func (e *engine) happen(ev Event) {
	e.views++
	switch ev.What {
	case Cut, CutTo:
		e.sever(ev)
		e.announce(e.Detect, 0.8, 0.4, nil, -1)
	case Heal:
		for _, row := range e.cut {
			clear(row)
		}
		e.announce(Second, 0.3, 0.5, nil, -1)
	case Crash:
		for _, i := range ev.Nodes {
			e.stop(i)
		}
		e.announce(e.Detect, 0.8, 0.4, nil, -1)
	case Leave:
		for _, i := range ev.Nodes {
			if l, ok := e.nodes[i].node.(Leaver); ok {
				e.send(i, l.Leave(e.nodes[i].local(e.now)))
			}
			e.stop(i)
		}
		e.announce(Second, 0.05, 0.2, ev.Nodes, -1)
	case Join:
		for _, i := range ev.Nodes {
			e.join(i)
		}
	}
}

func (e *engine) sever(ev Event) {
	in := func(list []int) []bool {
		set := make([]bool, e.N)
		for _, i := range list {
			set[i] = true
		}
		return set
	}
	from, to := in(ev.Nodes), in(ev.To)
	for i := range e.N {
		for j := range e.N {
			if from[i] && !from[j] && (len(ev.To) == 0 || to[j]) {
				e.cut[i][j] = true
				if ev.What == Cut {
					e.cut[j][i] = true
				}
			}
		}
	}
}

// reach returns the nodes that i sees alive once the failure detector has settled: those with which messages pass both
// ways, directly or through others, since probes also go through others.
func (e *engine) reach(i int) (alive []int) {
	seen := make([]bool, e.N)
	seen[i] = true
	for todo := []int{i}; len(todo) > 0; {
		a := todo[0]
		todo = todo[1:]
		for b, m := range e.nodes {
			if m.up && !seen[b] && !e.cut[a][b] && !e.cut[b][a] {
				seen[b] = true
				todo = append(todo, b)
			}
		}
	}
	for j, ok := range seen {
		if ok {
			alive = append(alive, j)
		}
	}
	return alive
}

// announce tells every node but one what is alive as of now, after base*(least to least+spread), each at its own time.
func (e *engine) announce(base Time, least, spread float64, left []int, but int) {
	for i, m := range e.nodes {
		if !m.up || i == but {
			continue
		}
		view, alive := e.views, e.reach(i)
		e.at(e.now+Time(float64(base)*(least+spread*e.misc.Float64())), func() {
			if !m.up || view < m.view {
				return // it has newer news, or another life
			}
			m.view = view
			e.setMembers(m, alive, append([]int(nil), left...))
			e.poll(i)
		})
	}
}

func (e *engine) setMembers(m *member, alive, left []int) {
	clear(m.alive)
	for _, j := range alive {
		m.alive[j] = true
	}
	if n, ok := m.node.(Member); ok {
		n.SetMembers(m.local(e.now), alive, left)
	}
}

// join starts a node, which gets the state of two others at once.
func (e *engine) join(i int) {
	e.views++
	e.nodes[i].up = true
	e.start(i, e.reach(i), false)
	m := e.nodes[i]
	self, ok := m.node.(Snapshotter)
	from := e.misc.Intn(e.N)
	for k, got := 0, 0; ok && k < e.N && got < 2; k++ {
		j := (from + k) % e.N
		if !m.alive[j] || j == i {
			continue
		}
		if p, ok := e.nodes[j].node.(Snapshotter); ok {
			self.Restore(m.local(e.now), p.Snapshot(e.nodes[j].local(e.now)))
			got++
		}
	}
	e.announce(Second, 0.05, 0.3, nil, i)
}
