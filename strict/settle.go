package strict

import (
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	settleLimit = 8192 // corrections that wait for a server; beyond that they are dropped and counted
	settleBatch = 256
	renewBatch  = 100 // holders in one call
)

// Correct makes the cost of a step what it turned out to be: delta units more, whatever is left, or fewer, as far as they have not come
// back by themselves and nobody who waits relies on them. a and m are of a Take; it is for steps that were spent, and for those of 0 units.
// What is given back of one mark is at most what was spent under it. Nothing is done for seats.
//
// It never waits. It is best effort: while the server is away, or if its queue is full, it is dropped, and counted.
func (s *Store) Correct(a *Ask, m *Mark, delta int64) {
	if delta == 0 || a.Policy.kind == 'c' {
		return
	}
	st := step{Ask: *a, key: a.Policy.key(s.config.Prefix, a.Key, a.Group), mark: *m}
	mode := modeCharge
	if st.N = delta; delta < 0 {
		if m.n == 0 {
			return
		}
		mode, st.N = modeGive, min(-delta, m.n)
	}
	s.later(mode, st)
}

// Release gives seats back, once. It never waits; where it is dropped, the seats come back when their lease is over.
func (s *Store) Release(a *Ask, m *Mark) {
	if a.Policy.kind != 'c' || m.n == 0 || !s.held.remove(m.seat) {
		return
	}
	st := step{Ask: *a, key: a.Policy.key(s.config.Prefix, a.Key, a.Group), mark: *m}
	st.N = m.n
	s.later(modeGive, st)
}

// later queues a correction.
func (s *Store) later(mode string, st step) {
	if v := s.view.Load(); v != nil {
		if n := s.nodeOf(v, st.key); n != nil && !n.down.Load() {
			c := acquireCall(mode)
			c.steps = append(c.steps, st)
			if n.enqueue(c) {
				return
			}
			releaseCall(c)
		}
	}
	s.stats.dropped.Add(1)
}

func (n *node) enqueue(c *call) bool {
	select {
	case n.settles <- c:
		return true
	default:
		return false
	}
}

// settle writes corrections in their order, and renews what is held. That both are one goroutine's keeps a seat that was given
// back from being renewed.
func (n *node) settle() {
	ticker := time.NewTicker(n.store.config.Lease / 3)
	defer ticker.Stop()
	for {
		select {
		case c := <-n.settles:
			n.write(c)
		case <-ticker.C:
			n.renew()
		case <-n.stop:
			for {
				select {
				case c := <-n.settles:
					n.write(c)
				default:
					return
				}
			}
		}
	}
}

// write sends c and what waits behind it.
func (n *node) write(c *call) {
	batch := []*call{c}
	for len(batch) < settleBatch {
		select {
		case c := <-n.settles:
			batch = append(batch, c)
			continue
		default:
		}
		break
	}
	now, lease := n.now(), n.store.config.Lease.Microseconds()
	for _, c := range batch {
		c.args = command(c.args, c.mode, n.store.at(), c.steps, now, lease)
	}
	n.post(batch)
}

// post sends calls for which nobody waits.
func (n *node) post(batch []*call) {
	if n.down.Load() {
		n.store.stats.dropped.Add(uint64(len(batch)))
		for _, c := range batch {
			releaseCall(c)
		}
		return
	}
	cmds := make([]*redis.Cmd, len(batch))
	n.exec(batch, cmds)
	for i, c := range batch {
		err := cmds[i].Err()
		if addr, ask, ok := redirect(err, n.addr); ok && c.mode != modeRenew && c.turns < maxTurns {
			if to := n.store.moved(addr, !ask); to != nil {
				turns := c.turns + 1
				c.again()
				c.asking, c.turns = ask, turns
				if to.enqueue(c) {
					continue
				}
			}
		}
		if err != nil || !c.reply.parse(cmds[i].Val(), 0) || c.reply.refusedBy == notCurrent {
			n.store.stats.dropped.Add(1)
		} else {
			n.store.stats.settled.Add(1)
		}
		releaseCall(c)
	}
}

// renew writes anew until when the seats are held that lie on this server. What the server has forgotten is there again then.
func (n *node) renew() {
	v := n.store.view.Load()
	if v == nil || n.down.Load() {
		return
	}
	byKey := n.store.held.list(func(key string) bool { return n.store.nodeOf(v, key) == n })
	var batch []*call
	for key, seats := range byKey {
		for len(seats) > 0 {
			some := seats[:min(renewBatch, len(seats))]
			seats = seats[len(some):]
			c := acquireCall(modeRenew)
			c.args = append(c.args, "evalsha", scriptSHA, 1, key, modeRenew, n.store.at(), n.store.config.Lease.Microseconds())
			for _, h := range some {
				c.args = append(c.args, seatID(h.seat), h.n)
			}
			if batch = append(batch, c); len(batch) == settleBatch {
				n.post(batch)
				batch = batch[:0]
			}
		}
	}
	if len(batch) > 0 {
		n.post(batch)
	}
}

// held are the seats that this process has in use.
type held struct {
	mu    sync.Mutex
	seats map[uint64]holder
}

type holder struct {
	seat uint64
	key  string
	n    int64
}

func (h *held) add(seat uint64, key string, n int64) {
	h.mu.Lock()
	h.seats[seat] = holder{seat, key, n}
	h.mu.Unlock()
}

func (h *held) remove(seat uint64) bool {
	h.mu.Lock()
	_, ok := h.seats[seat]
	delete(h.seats, seat)
	h.mu.Unlock()
	return ok
}

// list is what is held, by key.
func (h *held) list(of func(key string) bool) map[string][]holder {
	all := map[string][]holder{}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.seats {
		if of(s.key) {
			all[s.key] = append(all[s.key], s)
		}
	}
	return all
}
