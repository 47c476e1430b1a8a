package cluster

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"weir/internal/mono"
)

const (
	joinsAtOnce   = 8
	lookupTimeout = 2 * time.Second
	maxBackoff    = 30 * time.Second
	maxContested  = 4 * time.Second  // the same while our name is contested
	contestFor    = 30 * time.Second // after the last sign of it: some nodes learn later than others that its old bearer is dead
)

// contest notes that nodes know another one of our name: it is a second one, or our own former self with another address.
func (c *Cluster) contest() { c.contested.Store(int64(mono.Now().Add(contestFor))) }

// backoff is how long an address that was reached is left alone that did not become a member: it refused us, or it is another
// address of a member. An address that is not reached at all is tried at every turn.
type backoff struct {
	wait time.Duration
	next mono.Time
}

// rejoiner tries the seeds that are no members, and the members that died: memberlist gives up the nodes on the other side of a
// split for ever. Only its own goroutine uses it.
type rejoiner struct {
	c      *Cluster
	off    map[netip.AddrPort]backoff
	deaths uint64
}

// run joins at once, closes first when that is done, and then goes on till ctx is.
func (r *rejoiner) run(ctx context.Context, first chan<- struct{}) {
	r.turn(ctx)
	close(first)
	for {
		every := r.c.config().RejoinEvery
		every += time.Duration(rand.Int64N(int64(every)/5+1)) - every/10
		select {
		case <-time.After(every):
		case <-r.c.rejoinNow:
		case <-ctx.Done():
			return
		}
		r.turn(ctx)
	}
}

func (r *rejoiner) turn(ctx context.Context) {
	now := mono.Now()
	r.c.table.prune(now)
	if n := r.c.deaths.Load(); n != r.deaths { // the cluster may be split: what was let be is needed again
		r.deaths = n
		clear(r.off)
	}
	contested := mono.Time(r.c.contested.Load()) > now
	missing := r.missing(ctx, contested)
	for a := range r.off {
		if !slices.Contains(missing, a) {
			delete(r.off, a)
		}
	}
	missing = slices.DeleteFunc(missing, func(a netip.AddrPort) bool { return r.off[a].next > now })
	reached := make([]bool, len(missing))
	seats := make(chan struct{}, joinsAtOnce)
	var wg sync.WaitGroup
	for i, a := range missing {
		if ctx.Err() != nil {
			break
		}
		seats <- struct{}{}
		wg.Go(func() {
			reached[i] = r.join(a)
			<-seats
		})
	}
	wg.Wait()
	for i, a := range missing {
		r.letBe(a, reached[i], contested)
	}
}

// letBe sets how long an address that was tried is left alone.
func (r *rejoiner) letBe(a netip.AddrPort, reached, contested bool) {
	if !reached {
		delete(r.off, a)
		return
	}
	limit := maxBackoff
	if contested {
		limit = maxContested
	}
	b := r.off[a]
	b.wait = min(max(2*b.wait, r.c.config().RejoinEvery), limit)
	b.next = mono.Now().Add(b.wait)
	r.off[a] = b
}

// join reports whether the address was reached, whatever came of it.
func (r *rejoiner) join(a netip.AddrPort) (reached bool) {
	c := r.c
	unreachable := c.transport.watch(a)
	c.count.rejoins.Add(1)
	_, err := c.list.Join([]string{a.String()})
	reached = !unreachable()
	if err != nil && !c.closing() {
		c.count.rejoinErrors.Add(1)
		c.log.once("join "+a.String(), slog.LevelWarn, "cannot join a node", "address", a, "error", err)
	}
	return reached
}

// missing returns the addresses of the seeds and of dead members without those of members, but for the ones that came back. When
// our name is contested, the members are asked too: nothing else would tell them of us once their node of that name is dead.
func (r *rejoiner) missing(ctx context.Context, contested bool) []netip.AddrPort {
	alive, dead := r.c.table.addresses()
	known := map[netip.AddrPort]bool{r.c.transport.advertise: true, r.c.transport.bound: true}
	if !contested {
		for _, a := range alive {
			known[a] = true
		}
	}
	var all []netip.AddrPort
	add := func(a netip.AddrPort) {
		if !known[a] {
			known[a] = true
			all = append(all, a)
		}
	}
	for _, a := range r.seeds(ctx) {
		add(a)
	}
	for _, a := range dead {
		add(a)
	}
	for _, a := range r.c.table.planned() {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	if contested && len(alive) > 0 {
		add(alive[rand.IntN(len(alive))])
	}
	return all
}

// seeds resolves the join list, all names at once.
func (r *rejoiner) seeds(ctx context.Context) []netip.AddrPort {
	list := r.c.config().Join
	found := make([][]netip.AddrPort, len(list))
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for i, s := range list {
		host, port, err := splitSeed(s, r.c.transport.bound.Port())
		if err != nil {
			continue // Check has seen it
		}
		if ip, err := netip.ParseAddr(host); err == nil {
			found[i] = []netip.AddrPort{netip.AddrPortFrom(ip.Unmap(), port)}
			continue
		}
		wg.Go(func() {
			ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
			if err != nil && !errors.Is(err, context.Canceled) {
				r.c.log.once("lookup "+host, slog.LevelWarn, "cannot look up a name of the join list", "name", host, "error", err)
			}
			for _, ip := range ips {
				found[i] = append(found[i], netip.AddrPortFrom(ip.Unmap(), port))
			}
		})
	}
	wg.Wait()
	return slices.Concat(found...)
}
