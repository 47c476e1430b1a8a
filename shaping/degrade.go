package shaping

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/mono"
)

// DegradeLevel says from which load to do without something.
type DegradeLevel struct {
	At       float64 // load, in (0,1]
	Features uint32  // a bit for each thing to do without; what they are the caller knows
}

const (
	degradeAfter = 200 * time.Millisecond // at a level's load before it is on
	restoreAfter = time.Second            // below it before it is off
	restoreBelow = 0.1                    // how far below
)

// ValidateDegrade returns what is wrong with levels, in the words of the configuration.
func ValidateDegrade(levels []DegradeLevel) error {
	var errs []error
	for i, l := range levels {
		if !(l.At > 0 && l.At <= 1) {
			errs = append(errs, fmt.Errorf("degrade[%d].at is %v: above 0 and up to 1", i, l.At))
		} else if i > 0 && l.At <= levels[i-1].At {
			errs = append(errs, fmt.Errorf("degrade[%d].at is %v after %v: in ascending order", i, l.At, levels[i-1].At))
		}
		if l.Features == 0 {
			errs = append(errs, fmt.Errorf("degrade[%d] does without nothing: name what to disable", i))
		}
	}
	return errors.Join(errs...)
}

// Degrader switches levels on under load, the lowest first, and off again in reverse order one by one: on after 200 ms at a level's load or above, off after
// 1 s at 0.1 below it or less, each level a second of its own. Safe for concurrent use.
type Degrader struct {
	active atomic.Uint32 // features of the levels that are on

	mu     sync.Mutex
	levels []DegradeLevel
	above  []mono.Time // by level: since when the load has been at it, mono.Never if it is not
	on     int         // levels that are on: the first so many
	below  mono.Time   // since when the load has been below the highest of these, mono.Never if it is not
	at     mono.Time
}

// DegradeChange says how many levels were on before and after a tick.
type DegradeChange struct{ From, To int }

// NewDegrader returns one with all levels off.
func NewDegrader(levels []DegradeLevel) (*Degrader, error) {
	d := &Degrader{}
	return d, d.Reshape(levels)
}

// Reshape changes the levels in place. Those are on that come no later than the highest that was on. It changes nothing on an error.
func (d *Degrader) Reshape(levels []DegradeLevel) error {
	if err := ValidateDegrade(levels); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	reached := 0.0
	if d.on > 0 {
		reached = d.levels[d.on-1].At
	}
	d.levels = append([]DegradeLevel(nil), levels...)
	d.above = make([]mono.Time, len(levels))
	d.on = 0
	for d.on < len(levels) && levels[d.on].At <= reached {
		d.on++
	}
	d.forgetLocked()
	d.publishLocked()
	return nil
}

// Tick takes the load at now into account and says what has changed, for the log. It is meant for every 100 ms; after more than a second without, all times
// start anew, for nobody knows what the load was.
func (d *Degrader) Tick(now mono.Time, load float64) DegradeChange {
	d.mu.Lock()
	defer d.mu.Unlock()
	if gap := now.Sub(d.at); gap > time.Second || gap < 0 {
		d.forgetLocked()
	}
	d.at = now
	c := DegradeChange{From: d.on}
	for i, l := range d.levels {
		switch {
		case !(load >= l.At):
			d.above[i] = mono.Never
		case d.above[i] == mono.Never:
			d.above[i] = now
		case i == d.on && now.Sub(d.above[i]) >= degradeAfter:
			d.on++
			d.below = mono.Never
		}
	}
	if d.on > 0 && c.From == d.on {
		d.restoreLocked(now, load)
	}
	c.To = d.on
	d.publishLocked()
	return c
}

// restoreLocked switches the highest level off if its time has come.
func (d *Degrader) restoreLocked(now mono.Time, load float64) {
	switch {
	case load >= d.levels[d.on-1].At-restoreBelow:
		d.below = mono.Never
	case d.below == mono.Never:
		d.below = now
	case now.Sub(d.below) >= restoreAfter:
		d.on--
		d.below = now
		if d.on > 0 && load >= d.levels[d.on-1].At-restoreBelow {
			d.below = mono.Never
		}
	}
}

func (d *Degrader) forgetLocked() {
	d.below = mono.Never
	for i := range d.above {
		d.above[i] = mono.Never
	}
}

func (d *Degrader) publishLocked() {
	features := uint32(0)
	for _, l := range d.levels[:d.on] {
		features |= l.Features
	}
	d.active.Store(features)
}

// Active returns what to do without now. One atomic load.
func (d *Degrader) Active() uint32 { return d.active.Load() }
