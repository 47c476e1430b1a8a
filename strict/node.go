package strict

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	senders    = 4    // goroutines a server: this many batches are on their way at once
	batchLimit = 128  // calls in a batch
	queueLimit = 4096 // calls that wait for a sender; beyond that they fail at once
	tolerated  = 3    // failures in a row that open the breaker; one if nobody is there
)

// node is a server that takes writes: its queue, its senders and its breaker.
type node struct {
	addr    string
	store   *Store
	client  *redis.Client
	queue   chan *call
	settles chan *call
	stop    chan struct{}
	wg      sync.WaitGroup

	offset atomic.Int64 // the server's clock less ours, in microseconds

	asked   atomic.Bool // since the last probe
	down    atomic.Bool // the breaker is open
	fails   atomic.Int32
	trouble atomic.Pointer[string] // the last failure
}

// newNode starts the senders. The breaker is open until the keeper has seen that the server is there.
func newNode(s *Store, addr string, client *redis.Client) *node {
	n := &node{addr: addr, store: s, client: client, stop: make(chan struct{}),
		queue: make(chan *call, queueLimit), settles: make(chan *call, settleLimit)}
	n.down.Store(true)
	for range senders {
		n.wg.Go(n.send)
	}
	n.wg.Go(n.settle)
	return n
}

// close ends the goroutines; whoever waits gets an error. The settler writes what it has, up to the end of ctx.
func (n *node) close() {
	close(n.stop)
	n.wg.Wait()
	n.drain(errClosed)
	if err := n.client.Close(); err != nil {
		n.store.log.Debug("closing redis", "address", n.addr, "error", err)
	}
}

// submit queues c, or reports why not; then c is still the caller's.
func (n *node) submit(c *call) error {
	if n.down.Load() {
		return errOpen
	}
	select {
	case n.queue <- c:
		return nil
	default:
		return errFull
	}
}

// send takes what waits and sends it at once: one call when idle, a batch under load.
func (n *node) send() {
	batch := make([]*call, 0, batchLimit)
	for {
		select {
		case <-n.stop:
			return
		case c := <-n.queue:
			batch = n.exchange(n.gather(append(batch[:0], c)))
		}
	}
}

func (n *node) gather(batch []*call) []*call {
	for len(batch) < batchLimit {
		select {
		case c := <-n.queue:
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// exchange sends a batch and hands out the replies. It returns the batch, empty, to be used again.
func (n *node) exchange(batch []*call) []*call {
	live := batch[:0]
	for _, c := range batch {
		switch {
		case c.state.Load() == abandoned && c.mode != modeGive: // what is to be given back is, whoever waits
			releaseCall(c)
		case n.down.Load():
			n.hand(c, errOpen)
		default:
			live = append(live, c)
		}
	}
	if len(live) > 0 {
		n.store.stats.batches.Add(1)
		cmds := make([]*redis.Cmd, len(live))
		n.exec(live, cmds)
		for i, c := range live {
			n.take(c, cmds[i])
		}
	}
	clear(batch)
	return batch[:0]
}

// exec sends the commands in one pipeline, and those again to which the server did not know the script, with it.
func (n *node) exec(live []*call, cmds []*redis.Cmd) {
	ctx, cancel := context.WithTimeout(context.Background(), n.store.config.Timeout)
	defer cancel()
	var unknown bool
	err := n.pipe(ctx, live, cmds, false)
	for _, cmd := range cmds {
		unknown = unknown || isNoScript(cmd.Err())
	}
	if unknown {
		n.store.stats.scripts.Add(1)
		err = n.pipe(ctx, live, cmds, true)
	}
	n.judge(err, cmds)
}

// pipe runs one pipeline: of all commands, or of those that need the script, behind it.
func (n *node) pipe(ctx context.Context, live []*call, cmds []*redis.Cmd, load bool) error {
	pipe := n.client.Pipeline()
	if load {
		pipe.ScriptLoad(ctx, script)
	}
	for i, c := range live {
		if load && !isNoScript(cmds[i].Err()) {
			continue
		}
		if c.asking {
			pipe.Do(ctx, "asking")
		}
		cmds[i] = redis.NewCmd(ctx, c.args...)
		_ = pipe.Process(ctx, cmds[i]) // queues it
	}
	_, err := pipe.Exec(ctx)
	for _, cmd := range cmds { // a pipeline that broke off leaves some without a word
		if err != nil && cmd.Err() == nil && cmd.Val() == nil {
			cmd.SetErr(err)
		}
	}
	return err
}

// judge moves the breaker by the outcome of a batch.
func (n *node) judge(err error, cmds []*redis.Cmd) {
	worst, cause := judge(err), err
	for _, cmd := range cmds {
		if v := judge(cmd.Err()); v > worst {
			worst, cause = v, cmd.Err()
		}
	}
	n.report(worst, cause)
}

// report counts a failure, and opens the breaker with the last that is tolerated.
func (n *node) report(v verdict, err error) {
	if v == fine {
		n.asked.Store(true)
		n.fails.Store(0)
		return
	}
	n.store.stats.failures.Add(1)
	text := err.Error()
	n.trouble.Store(&text)
	if fails := n.fails.Add(1); v == refusing || fails >= tolerated {
		if n.down.CompareAndSwap(false, true) {
			n.store.log.Warn("redis is away: strict limits go by on_outage", "address", n.addr, "error", text)
			n.store.kick()
		}
		n.drain(errOpen)
	}
}

// up closes the breaker.
func (n *node) up() {
	n.fails.Store(0)
	n.trouble.Store(nil)
	if n.down.CompareAndSwap(true, false) {
		n.store.log.Info("redis answers", "address", n.addr)
	}
}

// drain fails everybody who waits.
func (n *node) drain(err error) {
	for {
		select {
		case c := <-n.queue:
			n.hand(c, err)
		default:
			return
		}
	}
}

// take reads the answer to c.
func (n *node) take(c *call, cmd *redis.Cmd) {
	err := cmd.Err()
	if err == nil {
		told := len(c.steps)
		if c.mode == modeGive {
			told = 0
		}
		if !c.reply.parse(cmd.Val(), told) {
			err = errNonsense
		} else {
			n.offset.Store(c.reply.now - time.Now().UnixMicro())
		}
		n.hand(c, err)
		return
	}
	if addr, ask, ok := redirect(err, n.addr); ok {
		c.moved, c.asking = addr, ask
	}
	var answer redis.Error
	if errors.As(err, &answer) {
		n.hand(c, answered(err))
	} else {
		n.hand(c, away{err})
	}
}

// hand finishes c. If its caller is gone, seats that came too late are given back.
func (n *node) hand(c *call, err error) {
	if c.finish(err) {
		return
	}
	if err == nil && c.mode == modeTake && c.reply.refusedBy == -1 {
		n.store.stats.late.Add(1)
		for i := range c.steps {
			s := &c.steps[i]
			if s.Policy.kind == 'c' && s.Policy.decide(&c.reply.raw[i], s.N, c.reply.now).OK && s.N > 0 {
				s.mark.n = s.N
				n.store.later(modeGive, *s)
			}
		}
	}
	releaseCall(c)
}

// now is about what the server's clock shows, in microseconds.
func (n *node) now() int64 {
	if at, ok := n.store.at().(int64); ok {
		return at
	}
	return time.Now().UnixMicro() + n.offset.Load()
}

func isNoScript(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") }
