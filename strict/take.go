package strict

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"weir/limiter"
)

// maxTurns is how often one call is sent anew: behind a slot that moves, or for another period.
const maxTurns = 4

// seatCount numbers the seats of this process.
var seatCount atomic.Uint64

// Take spends every step or none, and fills answers, of which there is one a step. refusedBy is the index of the step that refused, or
// -1. Where a step refused, the others say how they stand with nothing spent.
//
// An error is an ErrAway: Redis gave no answer within the timeout, or none that counts. Nothing is known to be spent then, and at most
// the chain is. It takes no longer than the timeout, or the end of ctx, and no time at all while the breaker is open.
func (s *Store) Take(ctx context.Context, asks []Ask, answers []Answer) (refusedBy int, err error) {
	return s.ask(ctx, modeTake, asks, answers)
}

// Peek gives the answers of Take and has no effect.
func (s *Store) Peek(ctx context.Context, asks []Ask, answers []Answer) (refusedBy int, err error) {
	return s.ask(ctx, modePeek, asks, answers)
}

func (s *Store) ask(ctx context.Context, mode string, asks []Ask, answers []Answer) (int, error) {
	if len(answers) < len(asks) {
		panic("BUG: strict: fewer answers than asks")
	}
	if len(asks) == 0 {
		return -1, nil
	}
	clear(answers[:len(asks)])
	start := time.Now()
	s.stats.calls.Add(1)
	refusedBy, err := -1, errNoServer
	if v := s.view.Load(); v != nil && !v.cluster() && v.nodes[0].down.Load() {
		err = errOpen // before anything is made ready
	} else if v != nil {
		t := turn{s: s, v: v, ctx: ctx, deadline: start.Add(s.config.Timeout), mode: mode, answers: answers}
		refusedBy, err = t.run(asks)
	}
	if err != nil {
		s.stats.errors.Add(1)
		return -1, err
	}
	s.stats.observe(time.Since(start))
	return refusedBy, nil
}

// turn is one chain on its way.
type turn struct {
	s        *Store
	v        *view
	ctx      context.Context
	deadline time.Time
	mode     string
	answers  []Answer
	buf      [4]*call
}

// run asks the groups of the chain, one a slot, in the order of their first steps. The rest of the groups is not asked where one refuses.
func (t *turn) run(asks []Ask) (int, error) {
	groups := t.split(asks)
	for i, c := range groups {
		got, err := t.send(c, t.s.nodeOf(t.v, c.steps[0].key))
		if err != nil {
			t.abandon(groups[:i], groups[i+1:])
			return -1, err
		}
		groups[i] = got
		if got.reply.refusedBy >= 0 {
			refused := got.index[got.reply.refusedBy]
			for _, c := range groups[:i+1] {
				t.fill(c, refused)
			}
			t.undo(groups[:i], groups[i+1:])
			for _, c := range groups[:i+1] {
				releaseCall(c)
			}
			return refused, nil
		}
	}
	for _, c := range groups {
		t.fill(c, -1)
		releaseCall(c)
	}
	return -1, nil
}

// split makes a call of the steps of each slot; of a single server all slots are one.
func (t *turn) split(asks []Ask) []*call {
	groups := t.buf[:0]
	for i := range asks {
		a := &asks[i]
		if a.N < 0 {
			panic("BUG: strict: negative number of units")
		}
		st := step{Ask: *a, key: a.Policy.key(t.s.config.Prefix, a.Key, a.Group)}
		if a.Policy.kind == 'c' && t.mode == modeTake {
			st.mark.seat = seatCount.Add(1)
		}
		var c *call
		for _, g := range groups {
			if !t.v.cluster() || slotOf(g.steps[0].key) == slotOf(st.key) {
				c = g
				break
			}
		}
		if c == nil {
			c = acquireCall(t.mode)
			groups = append(groups, c)
		}
		c.steps, c.index = append(c.steps, st), append(c.index, i)
	}
	return groups
}

// send asks n and waits. It returns the call with its answer, or an error, and then the call is no longer the caller's.
func (t *turn) send(c *call, n *node) (*call, error) {
	if err := t.submit(c, n); err != nil {
		releaseCall(c)
		return nil, err
	}
	return t.await(c, n)
}

func (t *turn) submit(c *call, n *node) error {
	if n == nil {
		return errNoServer
	}
	c.args = command(c.args, c.mode, t.s.at(), c.steps, n.now(), t.s.config.Lease.Microseconds())
	return n.submit(c)
}

// await waits for a call that was submitted to n, and follows it where the answer is elsewhere.
func (t *turn) await(c *call, n *node) (*call, error) {
	for turns := 0; ; turns++ {
		err, mine := c.wait(t.ctx, t.deadline)
		again := mine && (c.moved != "" || err == nil && c.reply.refusedBy == notCurrent)
		switch {
		case !mine:
			return nil, err
		case err == nil && !again:
			return c, nil
		case !again || turns == maxTurns:
			releaseCall(c)
			if again {
				err = errElsewhere
			}
			return nil, err
		}
		to, asking := c.moved, c.asking
		c.again() // of a quota: the offset of the clocks is known now
		if to != "" {
			t.s.stats.redirects.Add(1)
			n, c.asking = t.s.moved(to, !asking), asking
		}
		if err := t.submit(c, n); err != nil {
			releaseCall(c)
			return nil, err
		}
	}
}

var errElsewhere error = away{errors.New("no server says that the slot is its own")}

// fill writes the answers of a call of a chain that step refused refused.
func (t *turn) fill(c *call, refused int) {
	for i := range c.steps {
		st, raw, a := &c.steps[i], &c.reply.raw[i], &t.answers[c.index[i]]
		a.Asked = true
		if refused >= 0 && c.index[i] != refused {
			a.Decision = st.Policy.stands(raw, st.N, c.reply.now)
			continue
		}
		a.Decision = st.Policy.decide(raw, st.N, c.reply.now)
		if a.OK && st.N > 0 && c.mode == modeTake && refused < 0 {
			a.Mark = st.Policy.mark(raw, st.N, c.reply.now, st.mark.seat)
			if st.Policy.kind == 'c' {
				t.s.held.add(st.mark.seat, st.key, st.N)
			}
		}
	}
}

// undo gives back what groups spent that were asked before the one that refused, and has those behind it say how they stand.
func (t *turn) undo(before, behind []*call) {
	type pending struct {
		c *call
		n *node
	}
	var list []pending
	if t.mode == modeTake {
		for _, c := range before {
			u := back(c)
			if len(u.steps) == 0 {
				releaseCall(u)
				continue
			}
			n := t.s.nodeOf(t.v, c.steps[0].key)
			t.s.stats.undone.Add(1)
			if err := t.submit(u, n); err != nil {
				t.s.stats.dropped.Add(1)
				releaseCall(u)
				continue
			}
			list = append(list, pending{u, n})
		}
	}
	for _, c := range behind {
		c.mode = modePeek
		n := t.s.nodeOf(t.v, c.steps[0].key)
		if err := t.submit(c, n); err != nil {
			releaseCall(c)
			continue
		}
		list = append(list, pending{c, n})
	}
	for _, p := range list {
		give := p.c.mode == modeGive
		c, err := t.await(p.c, p.n)
		switch {
		case err != nil && give && !errors.Is(err, errGaveUp) && t.ctx.Err() == nil: // else it is still on its way
			t.s.stats.dropped.Add(1)
		case err == nil:
			if !give {
				t.fillStanding(c)
			}
			releaseCall(c)
		}
	}
}

// fillStanding writes how steps stand that were only looked at.
func (t *turn) fillStanding(c *call) {
	for i := range c.steps {
		st, a := &c.steps[i], &t.answers[c.index[i]]
		a.Asked, a.Decision = true, st.Policy.stands(&c.reply.raw[i], st.N, c.reply.now)
	}
}

// back is the call that gives back what c spent.
func back(c *call) *call {
	u := acquireCall(modeGive)
	for i := range c.steps {
		st := c.steps[i]
		if st.N == 0 || !st.Policy.decide(&c.reply.raw[i], st.N, c.reply.now).OK {
			continue
		}
		st.mark = st.Policy.mark(&c.reply.raw[i], st.N, c.reply.now, st.mark.seat)
		u.steps, u.index = append(u.steps, st), append(u.index, i)
	}
	return u
}

// abandon gives back what groups spent before the one that got no answer, in the background.
func (t *turn) abandon(before, behind []*call) {
	for _, c := range before {
		if t.mode == modeTake {
			u := back(c)
			for _, st := range u.steps {
				t.s.later(modeGive, st)
			}
			releaseCall(u)
		}
		releaseCall(c)
	}
	for _, c := range behind {
		releaseCall(c)
	}
}

// Forget has k start anew at p, as a key never seen; its seats in use go too, and come back when they are renewed. It waits for ctx.
func (s *Store) Forget(ctx context.Context, p *Policy, k, group limiter.Key) error {
	v := s.view.Load()
	if v == nil {
		return errNoServer
	}
	key := p.key(s.config.Prefix, k, group)
	n := s.nodeOf(v, key)
	if n == nil || n.down.Load() {
		return errOpen
	}
	if err := n.client.Del(ctx, key).Err(); err != nil {
		return answered(err)
	}
	return nil
}
