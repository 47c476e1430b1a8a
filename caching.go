package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"weir/admin"
	"weir/cluster"
	"weir/gateway"
	"weir/internal/mono"
)

// purged is the answer to a purge.
type purged struct {
	Purged int `json:"purged"` // answers that this gateway forgot
}

// A purge is told more than once, as datagrams get lost. To forget again does no harm.
const (
	tellings  = 3
	tellAgain = 20 * time.Millisecond
)

// A purgeTeller tells the other gateways what requests made out of date: as often as other purges, in batches.
type purgeTeller struct {
	rounds [tellings][][]byte // the latest first
	last   mono.Time
	more   bool // there is something to be taken
}

// step tells what is due, and returns when to come again.
func (t *purgeTeller) step(now mono.Time, take func() [][]byte, tell func(frame []byte)) (next mono.Time) {
	next = t.last.Add(tellAgain)
	if now >= next {
		copy(t.rounds[1:], t.rounds[:])
		t.rounds[0], t.more = take(), false
		for _, round := range t.rounds {
			for _, frame := range round {
				tell(frame)
			}
		}
		t.last, next = now, now.Add(tellAgain)
	}
	if t.more || slices.ContainsFunc(t.rounds[:tellings-1], func(round [][]byte) bool { return len(round) > 0 }) {
		return next
	}
	return mono.Never
}

// Purge forgets answers, and has the other gateways do so.
func (c controller) Purge(_, by, value string) (any, error) {
	n, frame, err := c.a.gw.Purge(by, value)
	if err != nil {
		if errors.Is(err, gateway.ErrPurge) {
			err = fmt.Errorf("%w: %w", admin.ErrInvalid, err)
		}
		return nil, err
	}
	if f := c.a.fleet; f != nil && f.node != nil {
		for range tellings {
			f.node.Broadcast(cluster.KindPurge, frame)
			time.Sleep(tellAgain)
		}
	}
	return purged{n}, nil
}
