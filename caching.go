package main

import (
	"errors"
	"fmt"
	"time"

	"weir/admin"
	"weir/cluster"
	"weir/gateway"
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
