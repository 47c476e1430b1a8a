package gateway

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"

	"weir/internal/mono"
	"weir/shaping"
)

// control is a load and what is shed for it: the gateway's, of CPU, memory and what is in flight in all, or a pool's, of its queue. Its other
// methods but sheds and state are called by one goroutine at a time.
type control struct {
	shedder atomic.Pointer[shaping.Shedder] // nil: nothing is shed
	load    atomic.Pointer[shaping.Load]    // nil: there is none

	meter *shaping.Meter // nil: no signal is on
	shed  *shaping.Shedder
}

// controlConf is what a snapshot says of one.
type controlConf struct {
	load shaping.LoadConfig
	shed shaping.ShedConfig // Rate 0: nothing is shed
}

// on reports whether any signal is.
func (c *controlConf) on() bool {
	return c != nil && c.load != shaping.LoadConfig{Global: c.load.Global}
}

// install puts c in force; what is known of the load, and how much is shed, stays.
func (k *control) install(c *controlConf) (err error) {
	if !c.on() {
		k.meter, k.shed = nil, nil
		k.shedder.Store(nil)
		k.load.Store(nil)
		return nil
	}
	if k.meter == nil {
		k.meter, err = shaping.NewMeter(c.load)
	} else {
		err = k.meter.Reshape(c.load)
	}
	var problem error
	switch {
	case c.shed.Rate == 0:
		k.shed = nil
	case k.shed == nil:
		k.shed, problem = shaping.NewShedder(c.shed)
	default:
		problem = k.shed.Reshape(c.shed)
	}
	k.shedder.Store(k.shed)
	return errors.Join(err, problem)
}

// own is what the load was at the last tick, without that of peers.
func (k *control) own() float64 {
	if l := k.load.Load(); l != nil {
		return l.Own
	}
	return 0
}

// tick takes readings into account and returns the load; 0 if there is none.
func (k *control) tick(now mono.Time, r *shaping.Readings) shaping.Load {
	if k.meter == nil {
		return shaping.Load{}
	}
	load := k.meter.Tick(now, r)
	k.load.Store(&load)
	if k.shed != nil {
		k.shed.Tick(now, &load)
	}
	return load
}

// sheds reports whether it falls to a request of that band to be shed.
func (k *control) sheds(b shaping.Band) bool {
	s := k.shedder.Load()
	return s != nil && s.Shed(b, rand.Uint32())
}

// odds are those of a request of that band.
func (k *control) odds(b shaping.Band) float64 {
	if s := k.shedder.Load(); s != nil {
		return s.Stats().Odds[b]
	}
	return 0
}

// refusal is the verdict on a request that is shed.
func (k *control) refusal() Verdict {
	v := Verdict{Reason: Shed, Detail: "there is more to do than can be done, and what matters more goes first"}
	if s := k.shedder.Load(); s != nil {
		v.Retry = s.RetryAfter()
	}
	return v
}
